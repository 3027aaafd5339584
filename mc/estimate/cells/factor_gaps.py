"""The ladder as widths: where each rung is reached by half of the draws, and the factors between neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from mc.estimate.cells.study import CellStudy
from mc.estimate.widths.crossings import crossing_width

ORDER = ("exact", "conserved", "sharp", "trial", "paper")
"""From what is needed to what is proved with the crudest means."""

REASONS = {
    ("exact", "sharp"): "linearisation",
    ("conserved", "sharp"): "linearisation",
    ("sharp", "trial"): "the ball, and directions that are not observed",
    ("trial", "paper"): "worst-case columns",
    ("paper", "theory"): "union bounds and concentration",
}
"""What the step from one rung to the next gives away (theory §7.6)."""


@dataclass(frozen=True)
class Rung:
    """Where half of the draws have a certificate, or where the explicit bound promises it.

    Parameters
    ----------
    name : str
        A rung, or "theory": P_theory in the form of the published constant.
    estimate : float
        Width; inf beyond the grid, NaN without trials.
    interval : tuple of float
        (low, high] of the width; of a bound, which is computed, both are the estimate.
    top : int
        Largest width that was looked at.
    """

    name: str
    estimate: float
    interval: tuple[float, float]
    top: int


@dataclass(frozen=True)
class Gap:
    """How many times wider one rung is than the one before it.

    Parameters
    ----------
    lower, upper : Rung
    reason : str
    factor : float
        Ratio of the medians; NaN where neither is on the grid.
    interval : tuple of float
        From the intervals of the two widths: a factor on the grid, or an open end.
    """

    lower: Rung
    upper: Rung
    reason: str
    factor: float
    interval: tuple[float, float]


def rungs(study: CellStudy, mode: str, level: float, p: float = 0.5) -> tuple[Rung, ...]:
    """The rungs of a cell, from zero loss to the explicit bound.

    Parameters
    ----------
    study : CellStudy
    mode : {"hidden", "both"}
    level : float
        Of each interval (`mc.estimate.widths.crossings`).
    p : float
        The share of the draws; one half by default.

    Returns
    -------
    tuple of Rung
        Those that the cell has, in the order of `ORDER`; "theory" last, where the theorem applies.
    """
    found = []
    for name in ORDER:
        curve = study.curves.get((mode, name))
        if curve is None:
            continue
        at = crossing_width(curve.widths, curve.counts, p, level, curve.method)
        found.append(Rung(name, at.estimate, at.interval, at.grid[1]))
    claims = [claim for claim in study.claims if (claim.mode, claim.form) == (mode, "paper")]
    if claims and study.theory is not None and not study.theory.outside:
        width = study.theory.width_for(mode, "paper", 1.0 - p)
        found.append(Rung("theory", width, (width, width), int(study.cell.widths[-1])))
    return tuple(found)


def gaps(found: tuple[Rung, ...]) -> tuple[Gap, ...]:
    """The factor between each rung and the next, with an interval.

    The ends hold together when both intervals do, so the confidence is that of the two together (Bonferroni).

    Parameters
    ----------
    found : tuple of Rung

    Returns
    -------
    tuple of Gap
        Between neighbours that are both there.
    """
    return tuple(Gap(a, b, REASONS.get((a.name, b.name), ""), _ratio(b, a), _limits(b, a)) for a, b in pairwise(found))


def _ratio(above: Rung, below: Rung) -> float:
    if math.isinf(below.estimate) or below.estimate == 0.0:
        return math.nan
    return above.estimate / below.estimate


def _limits(above: Rung, below: Rung) -> tuple[float, float]:
    """Ends of above/below: a width is at least one neuron, and where only the grid ends, its end is what is known."""
    least, most = max(above.interval[0], 1.0), max(below.interval[1], 1.0)
    low = 0.0 if math.isinf(most) else least / most
    return low, above.interval[1] / max(below.interval[0], 1.0)
