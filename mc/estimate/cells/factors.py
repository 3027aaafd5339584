"""How the median width grows with one factor at a time, and with all of them together (theory §7, Combination)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mc.errors import InputError
from mc.estimate.cells.study import CellStudy
from mc.estimate.probability.counts import CellLike, dataset
from mc.estimate.widths.crossings import CrossingWidth, crossing_width
from mc.estimate.widths.scaling import CellCurve, Exponent, ScalingLaw, cell_curve, scaling_law

LEAST_CELLS = 3
"""Cells that a power of one factor is fitted to: one more than its two numbers."""


@dataclass(frozen=True)
class Point:
    """The median width of a rung in one cell.

    Parameters
    ----------
    scales : mapping of str to float
        n, m, sigma_A and psi of the cell.
    width : CrossingWidth
    curve : CellCurve
    """

    scales: Mapping[str, float]
    width: CrossingWidth
    curve: CellCurve

    @property
    def on_grid(self) -> bool:
        """Whether the curve passes one half between two widths of the grid."""
        return math.isfinite(self.width.estimate) and self.width.estimate > self.width.grid[0]


def points(cells: Sequence[CellStudy], mode: str, event: str, level: float) -> tuple[Point, ...]:
    """The median widths of a rung in every cell that has it.

    Parameters
    ----------
    cells : sequence of CellStudy
    mode, event : str
    level : float
        Of each interval.
    """
    found = []
    for own in cells:
        curve, made = own.curves.get((mode, event)), cell_curve(own.cell, event, mode)
        if curve is not None and made is not None:
            at = crossing_width(curve.widths, curve.counts, 0.5, level, curve.method)
            found.append(Point(made.scales, at, made))
    return tuple(found)


def law(found: Sequence[Point], mode: str, event: str, seed: int, level: float) -> ScalingLaw | None:
    """The law over all factors that vary; None where the cells on the grid do not tell them apart."""
    curves = [point.curve for point in found if point.on_grid]
    if len(curves) < LEAST_CELLS:
        return None
    try:
        return scaling_law(curves, mode, event, seed, level=level)
    except InputError:
        # too few of these cells are on the grid, or they vary together
        return None


def power(found: Sequence[Point], factor: str, mode: str, event: str, seed: int, level: float) -> Exponent | None:
    """The power of one factor in an experiment that varies it, whatever varies with it counted in.

    Parameters
    ----------
    found : sequence of Point
        Of the cells of that experiment.
    factor : str
        n, m, sigma_A or psi.
    mode, event : str
    seed : int
        Of the bootstrap.
    level : float

    Returns
    -------
    Exponent or None
        None with fewer than three cells on the grid.
    """
    alone = [replace(p, curve=replace(p.curve, scales={factor: p.scales[factor]})) for p in found]
    fitted = law(alone, mode, event, seed, level)
    return fitted.exponents[0] if fitted is not None and fitted.exponents else None


def widest(exponent: Exponent) -> tuple[float, float]:
    """The hull of both intervals of an exponent: what the trials, or the choice of the cells, leave open."""
    ends = np.array([exponent.bootstrap, exponent.jackknife])
    return float(np.nanmin(ends[:, 0])), float(np.nanmax(ends[:, 1]))


def residual_along(cell: CellLike, widths: Sequence[int]) -> tuple[float, ...]:
    """The median over the trials of psi(L_0) at the grid's widths nearest to these; NaN where there is none."""
    psi = dataset(cell, "psi_0")
    if psi is None or not len(cell.widths):
        return (math.nan,) * len(widths)
    at = [int(np.argmin(np.abs(np.log(np.asarray(cell.widths) / width)))) for width in widths]
    columns = [psi[..., i][np.isfinite(psi[..., i])] for i in at]
    return tuple(float(np.median(column)) if column.size else math.nan for column in columns)
