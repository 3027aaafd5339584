"""All that a cell says of its rare failure: estimates, the bound beside, and how fast the probability really falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from mc.estimate.probability.counts import CellLike, dataset
from mc.estimate.rare.predicted import RareTheory, rare_theory
from mc.estimate.rare.probability import RareWidth, rare_widths, unreached
from mc.estimate.widths.predicted import CellTheory
from mc.model.arrays import Array

DENSE = 60
"""Widths at which the bound is drawn."""


@dataclass(frozen=True)
class Rate:
    """The slope of -log P against the width in the tail.

    Parameters
    ----------
    rate, standard_error : float
        Per neuron; the standard error NaN for two widths.
    interval : (float, float)
    widths : tuple of int
        Those of the fit.
    """

    rate: float
    standard_error: float
    interval: tuple[float, float]
    widths: tuple[int, ...]


TAIL = 0.01
"""Probabilities below it count as tail: there the slope is nearly that of the large deviations."""


def fitted_rate(found: Sequence[RareWidth], level: float = 0.95) -> Rate | None:
    """Weighted straight line through -log P over the widths of the tail; None with fewer than two.

    Widths whose diagnostics forbid trust are left out: their intervals say too little, and would weigh most.

    Weights are the inverse squares of the intervals' half-widths on the log scale; the standard error is raised by the
    scatter about the line, which is curved where the factor before the exponential depends on the width.
    """
    tail = [w for w in found if w.probability < TAIL and w.interval[0] > 0.0 and w.trusted]
    if len(tail) < 2:
        return None
    k = np.array([w.width for w in tail], dtype=float)
    y = -np.log([w.probability for w in tail])
    half = 0.5 * np.array([np.log(w.interval[1] / w.interval[0]) for w in tail])
    weight = 1.0 / np.square(half / student.ppf(0.5 + 0.5 * level, max(1, tail[0].repetitions - 1)))
    centre = np.average(k, weights=weight)
    moment = float((weight * np.square(k - centre)).sum())
    rate = float((weight * (k - centre) * y).sum() / moment)
    freedom = len(tail) - 2
    if not freedom:
        return Rate(rate, np.nan, (np.nan, np.nan), tuple(w.width for w in tail))
    residual = y - np.average(y, weights=weight) - rate * (k - centre)
    scatter = float((weight * np.square(residual)).sum()) / freedom
    error = float(np.sqrt(max(1.0, scatter) / moment))
    reach = float(student.ppf(0.5 + 0.5 * level, freedom)) * error
    return Rate(rate, error, (rate - reach, rate + reach), tuple(w.width for w in tail))


@dataclass(frozen=True)
class RareStudy:
    """A rare failure in one cell.

    Parameters
    ----------
    table : mapping
        [rare] of the frozen experiment.
    level : float
    widths : tuple of RareWidth
    unreached : tuple of int
        Widths at which splitting did not come to the threshold.
    theory : RareTheory or None
        At the widths of `widths`.
    drawn : (float array, RareTheory) or None
        The same on a dense grid.
    rate : Rate or None
    """

    table: Mapping[str, Any]
    level: float
    widths: tuple[RareWidth, ...]
    unreached: tuple[int, ...]
    theory: RareTheory | None
    drawn: tuple[Array, RareTheory] | None
    rate: Rate | None

    @property
    def pessimism(self) -> float:
        """How many times faster the probability falls than the bound; NaN where either rate is missing."""
        if self.rate is None or self.theory is None or self.theory.exact:
            return np.nan
        return self.rate.rate / self.theory.rate


def rare_study(
    cell: CellLike, experiment: Mapping[str, Any], level: float, theory: CellTheory | None
) -> RareStudy | None:
    """The rare failure of a cell.

    Parameters
    ----------
    cell : CellLike
    experiment : mapping
        The parsed frozen experiment.
    level : float
    theory : CellTheory or None
        Of the cell.

    Returns
    -------
    RareStudy or None
        None without [rare], or before its first repetition is there.
    """
    table = experiment.get("rare")
    if table is None or dataset(cell, "rare_probability") is None:
        return None
    moment = np.nan if theory is None else theory.settings[0].activation.moment_dphi
    block_size = experiment.get("experiment", {}).get("block_size")
    found, gave_up = rare_widths(cell, table, level, moment, block_size), unreached(cell)
    if not found:
        return RareStudy(table, level, (), gave_up, None, None, None) if gave_up else None
    ranks = dataset(cell, "rank")
    rank = int(ranks[ranks > 0][0]) if ranks is not None and (ranks > 0).any() else 0
    law = experiment.get("network", {}).get("output_law", "uniform")
    k = np.array([w.width for w in found], dtype=float)
    dense = np.unique(np.round(np.linspace(k[0], k[-1], DENSE))).astype(np.float64)
    bound, drawn = (rare_theory(table, law, theory, rank, widths) for widths in (k, dense))
    return RareStudy(
        table, level, found, gave_up, bound, None if drawn is None else (dense, drawn), fitted_rate(found, level)
    )
