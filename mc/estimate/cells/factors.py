"""Factors between widths: from one rung of the ladder to the next, and along one size of the problem (theory §7)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mc.errors import InputError
from mc.estimate.cells.study import CellStudy
from mc.estimate.probability.counts import dataset
from mc.estimate.widths.crossings import CrossingWidth, crossing_width
from mc.estimate.widths.scaling import CellCurve, Exponent, ScalingLaw, cell_curve, scaling_law
from mc.store.results import CellResults

ORDER = ("exact", "conserved", "sharp", "trial", "paper")
"""The rungs, from the necessary one to the crudest sufficient one."""

REASONS = {
    ("exact", "sharp"): "linearisation",
    ("conserved", "sharp"): "linearisation",
    ("sharp", "trial"): "the ball, and directions that are not observed",
    ("trial", "paper"): "worst-case columns",
    ("paper", "theory"): "union bounds and concentration",
}
"""Why the step from one rung to the next is loose (theory §7.6)."""

LEAST_CELLS = 3
"""Cells that a power of one factor is fitted to: one more than its two numbers."""


@dataclass(frozen=True)
class Rung:
    """The width at which half of the draws have a certificate, or at which the explicit bound promises it."""

    name: str  # a rung, or "theory": P_theory in the form of the published constant
    estimate: float  # inf beyond the grid, NaN without trials
    interval: tuple[float, float]  # (low, high] of the width; of a bound, which is computed, both are the estimate
    top: int  # largest width of the grid


@dataclass(frozen=True)
class Gap:
    """How many times wider one rung is than the one before it."""

    lower: Rung
    upper: Rung
    reason: str
    factor: float  # ratio of the medians; NaN where neither is on the grid
    interval: tuple[float, float]  # from the intervals of the two widths: factors on the grid, or open ends


def rungs(study: CellStudy, mode: str, level: float, p: float = 0.5) -> tuple[Rung, ...]:
    """Return the rungs of a cell in the order of `ORDER`, then "theory" where the theorem applies.

    `level` is of each interval (`mc.estimate.widths.crossings`), `p` the share of the draws.
    """
    rows = []
    for name in ORDER:
        curve = study.curves.get((mode, name))
        if curve is not None:
            crossing = crossing_width(curve.widths, curve.counts, p, level, curve.method)
            rows.append(Rung(name, crossing.estimate, crossing.interval, crossing.grid[1]))
    if (mode, "paper") in study.width_for and study.theory is not None and not study.theory.outside:
        width = study.theory.width_for(mode, "paper", 1.0 - p)
        rows.append(Rung("theory", width, (width, width), int(study.cell.widths[-1])))
    return tuple(rows)


def gaps(rows: tuple[Rung, ...]) -> tuple[Gap, ...]:
    """Return the factor between each rung and the next, with an interval.

    The ends hold together when both intervals of widths do, so the confidence is that of the two together (Bonferroni).
    """
    return tuple(Gap(a, b, REASONS.get((a.name, b.name), ""), _ratio(b, a), _limits(b, a)) for a, b in pairwise(rows))


def _ratio(above: Rung, below: Rung) -> float:
    if math.isinf(below.estimate) or below.estimate == 0.0:
        return math.nan
    return above.estimate / below.estimate


def _limits(above: Rung, below: Rung) -> tuple[float, float]:
    """Return the ends of above/below; a width is at least one neuron, and an open end is that of the grid."""
    least, most = max(above.interval[0], 1.0), max(below.interval[1], 1.0)
    low = 0.0 if math.isinf(most) else least / most
    return low, above.interval[1] / max(below.interval[0], 1.0)


@dataclass(frozen=True)
class Point:
    """The median width of a rung in one cell."""

    scales: Mapping[str, float]  # n, m, sigma_A and psi of the cell
    width: CrossingWidth
    curve: CellCurve

    @property
    def on_grid(self) -> bool:
        """Whether the curve passes one half between two widths of the grid."""
        return math.isfinite(self.width.estimate) and self.width.estimate > self.width.grid[0]


def points(cells: Sequence[CellStudy], mode: str, event: str, level: float) -> tuple[Point, ...]:
    """Return the median width of a rung, with an interval of this level, in every cell that computed it."""
    points = []
    for cell_study in cells:
        curve, measured = cell_study.curves.get((mode, event)), cell_curve(cell_study.cell, event, mode)
        if curve is not None and measured is not None:
            width = crossing_width(curve.widths, curve.counts, 0.5, level, curve.method)
            points.append(Point(measured.scales, width, measured))
    return tuple(points)


def law(points: Sequence[Point], mode: str, event: str, seed: int, level: float) -> ScalingLaw | None:
    """Return the law over all factors that vary; None where the cells on the grid cannot separate the factors."""
    curves = [point.curve for point in points if point.on_grid]
    if len(curves) < LEAST_CELLS:
        return None
    try:
        return scaling_law(curves, mode, event, seed, level=level)
    except InputError:
        # too few of these cells are on the grid, or they vary together
        return None


def power(points: Sequence[Point], factor: str, mode: str, event: str, seed: int, level: float) -> Exponent | None:
    """Return the power of one factor (n, m, sigma_A or psi) over the cells of an experiment that varies it.

    The effect of whatever varies with the factor is included. None with fewer than three cells on the grid.
    """
    alone = [replace(p, curve=replace(p.curve, scales={factor: p.scales[factor]})) for p in points]
    fitted = law(alone, mode, event, seed, level)
    return fitted.exponents[0] if fitted is not None and fitted.exponents else None


def widest(exponent: Exponent) -> tuple[float, float]:
    """Return the hull of both intervals of an exponent: over resampled trials, and over the choice of the cells."""
    ends = np.array([exponent.bootstrap, exponent.jackknife])
    return float(np.nanmin(ends[:, 0])), float(np.nanmax(ends[:, 1]))


def residual_along(cell: CellResults, widths: Sequence[int]) -> tuple[float, ...]:
    """Return the median over the trials of psi(L_0) at the nearest widths of the grid; NaN where not stored."""
    psi = dataset(cell, "psi_0")
    if psi is None or not len(cell.widths):
        return (math.nan,) * len(widths)
    columns = [int(np.argmin(np.abs(np.log(np.asarray(cell.widths) / width)))) for width in widths]
    values = [psi[..., i][np.isfinite(psi[..., i])] for i in columns]
    return tuple(float(np.median(column)) if column.size else math.nan for column in values)
