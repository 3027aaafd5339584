"""The published width condition: the smallest constant C' for which the data support it (theory §7).

C' is not stated where the form is published, so no experiment can refute it; what can be measured is from which C' on
the promise P >= 1 - 1/n - 1/d (hidden), 1 - 2/n - 1/d (both) is seen to hold over a grid of cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.claims.findings import Finding
from mc.estimate.flows.protocol import zero_loss
from mc.estimate.numbers import short
from mc.estimate.probability.counts import CellLike, Counts, dataset, decisions
from mc.estimate.probability.support import Support
from mc.estimate.widths.crossings import CrossingWidth, crossing_width
from mc.theory.constants import published_probability, published_width

EVENTS = ("zero loss", "sharp", "trial", "paper")
"""What the promise is read as; the claim is on zero loss, the certificates show what a proof by them needs."""


@dataclass(frozen=True)
class Constant:
    """C' of one cell, mode and event.

    Parameters
    ----------
    cell, n, m : int
        Its index, and the sizes of its problems.
    mode, event : str
    trials : int
        Of the cell.
    p : float
        The promised probability.
    ratio : float
        psi/sigma_A: the largest over the trials and widths of the cell, a bound that each of them meets.
    spread : float
        The same over the median: with that psi instead C' is larger by its square (hidden) or fourth power (both).
    estimate : float
        C' at the width where P reaches p.
    interval : (float, float)
        C' of the last width known to be below p and of the first from which all are known to be above; 0 and inf are
        open ends.
    crossing : CrossingWidth
    """

    cell: int
    n: int
    m: int
    mode: str
    event: str
    trials: int
    p: float
    ratio: float
    spread: float
    estimate: float
    interval: tuple[float, float]
    crossing: CrossingWidth


def constant(
    cell: CellLike, mode: str, event: str, d: int, level: float, method: str = "clopper-pearson"
) -> Constant | None:
    """C' of one cell, from the width at which P reaches what is promised.

    Parameters
    ----------
    cell : CellLike
        Needs psi_0 and sigma_A.
    mode : str
    event : str
        A name of `EVENTS`.
    d : int
    level : float
        Of the interval.
    method : str

    Returns
    -------
    Constant or None
        None where the promise is vacuous, or the event was not computed.
    """
    n = int(cell.problem["n"])
    p = published_probability(mode, n=n, d=d)
    found = zero_loss(cell, mode) if event == "zero loss" else decisions(cell, event, mode)
    psi, sigma = dataset(cell, "psi_0"), dataset(cell, "sigma_A")
    if p <= 0.0 or found is None or psi is None or sigma is None:
        return None
    ratios = psi / sigma[:, None]
    ratios = ratios[np.isfinite(ratios)]
    counts = Counts.of(found)
    if not len(ratios) or ratios.max() == 0.0 or not counts.trials.any():
        return None
    largest = float(ratios.max())
    crossing = crossing_width(np.asarray(cell.widths, dtype=np.int64), counts, p, level, method)
    estimate, low, high = (
        k / published_width(mode, n=n, sigma_A=1.0, psi=largest) for k in (crossing.estimate, *crossing.interval)
    )
    spread = largest / float(np.median(ratios))
    trials = int(counts.trials.max())
    m = int(cell.problem["m"])
    return Constant(cell.index, n, m, mode, event, trials, p, largest, spread, estimate, (low, high), crossing)


def constants(
    cells: Sequence[CellLike], mode: str, event: str, d: int, alpha: float = 0.05, method: str = "clopper-pearson"
) -> tuple[Constant, ...]:
    """C' of every cell, their intervals at confidence 1 - alpha together (Bonferroni)."""
    return tuple(found for cell in cells if (found := constant(cell, mode, event, d, 1.0 - alpha / len(cells), method)))


def _finding(found: Sequence[Constant]) -> Finding:
    """The smallest C' of all cells together: the largest of theirs."""
    low, high = (max(one.interval[i] for one in found) for i in (0, 1))
    worst = max(found, key=lambda one: one.interval)
    power = 2 if worst.mode == "hidden" else 4
    words = f"the smallest C' is in {short(low)} to {short(high)}, over {len(found)} cells"
    further = max(one.spread for one in found) ** power
    return Finding(
        name="published",
        mode=worst.mode,
        hypothesis=f"{worst.mode}: P({worst.event})",
        cell=worst.cell if len(found) == 1 else -1,
        trials=sum(one.trials for one in found),
        hypothesis_true=sum(one.trials for one in found),
        verdict=(Support.SUPPORTED if math.isfinite(high) else Support.UNDECIDED).value,
        lower=low,
        upper=high,
        address=(None, int(worst.crossing.interval[0])) if len(found) == 1 and worst.crossing.interval[0] else None,
        detail=f"{words}; with the median psi in place of the largest up to {short(further, 2)} times that",
        figure="published",
    )


def published(
    cells: Sequence[CellLike],
    experiment: Mapping[str, Any],
    alpha: float = 0.05,
    method: str = "clopper-pearson",
) -> Iterator[tuple[Finding, tuple[Constant, ...]]]:
    """The claim over the cells of a run, in each mode, for zero loss and for each certificate.

    Parameters
    ----------
    cells : sequence of CellLike
    experiment : mapping
        The parsed experiment file: [network] d.
    alpha : float
        Of the interval of C' over all cells together.
    method : str

    Yields
    ------
    Finding, tuple of Constant
        With the C' of each cell; the finding is vacuous where no cell has n large enough for the promise.
    """
    d = int(experiment.get("network", {}).get("d", 500))
    for mode in dict.fromkeys(mode for cell in cells for mode in cell.modes):
        own = [cell for cell in cells if mode in cell.modes]
        for event in EVENTS:
            found = constants(own, mode, event, d, alpha, method)
            if found:
                yield _finding(found), found
            elif event == "zero loss" and not any(_promises(cell, mode, d) for cell in own):
                yield _vacuous(mode, len(own)), ()


def _promises(cell: CellLike, mode: str, d: int) -> bool:
    return published_probability(mode, n=int(cell.problem["n"]), d=d) > 0.0


def _vacuous(mode: str, cells: int) -> Finding:
    return Finding(
        "published", mode, f"{mode}: P(zero loss)", -1, 0, 0, Support.VACUOUS.value,
        detail=f"n is so small in all {cells} cells that nothing is promised",
    )  # fmt: skip
