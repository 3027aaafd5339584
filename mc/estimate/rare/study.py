"""A rare failure in a cell: estimates, the bound, and the rate at which the probability really falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from mc.estimate.probability.counts import dataset
from mc.estimate.rare.predicted import RareTheory, rare_theory
from mc.estimate.rare.probability import RareWidth, rare_widths, unreached
from mc.estimate.widths.predicted import CellTheory
from mc.estimate.widths.regression import weighted_line
from mc.model.arrays import Array
from mc.store.results import CellResults

DENSE = 60
"""Widths at which the bound is drawn."""


@dataclass(frozen=True)
class Rate:
    """The slope of -log P against the width in the tail, per neuron."""

    rate: float
    standard_error: float  # NaN for two widths
    interval: tuple[float, float]
    widths: tuple[int, ...]  # of the fit


TAIL = 0.01
"""Probabilities below it count as tail: there the slope is nearly that of the large deviations."""


def fitted_rate(widths: Sequence[RareWidth], level: float = 0.95) -> Rate | None:
    """Fit a weighted straight line through -log P over the trusted widths of the tail; None with fewer than two.

    Weights are the inverse squares of the intervals' half-widths on the log scale; the standard error is raised by the
    scatter about the line, which is curved where the factor before the exponential depends on the width.
    """
    tail = [w for w in widths if w.probability < TAIL and w.interval[0] > 0.0 and w.trusted]
    if len(tail) < 2:
        return None
    k = np.array([w.width for w in tail], dtype=float)
    y = -np.log([w.probability for w in tail])
    half = 0.5 * np.array([np.log(w.interval[1] / w.interval[0]) for w in tail])
    weight = 1.0 / np.square(half / student.ppf(0.5 + 0.5 * level, max(1, tail[0].repetitions - 1)))
    rate, moment, residual = weighted_line(k, y, weight)
    freedom = len(tail) - 2
    if not freedom:
        return Rate(rate, np.nan, (np.nan, np.nan), tuple(w.width for w in tail))
    scatter = float((weight * np.square(residual)).sum()) / freedom
    error = float(np.sqrt(max(1.0, scatter) / moment))
    reach = float(student.ppf(0.5 + 0.5 * level, freedom)) * error
    return Rate(rate, error, (rate - reach, rate + reach), tuple(w.width for w in tail))


@dataclass(frozen=True)
class RareStudy:
    """A rare failure in one cell."""

    table: Mapping[str, Any]  # [rare] of the frozen experiment
    level: float
    widths: tuple[RareWidth, ...]
    unreached: tuple[int, ...]  # widths at which splitting did not reach the threshold
    theory: RareTheory | None  # at the widths of `widths`
    drawn: tuple[Array, RareTheory] | None  # the same on a dense grid
    rate: Rate | None

    @property
    def pessimism(self) -> float:
        """How many times faster the probability falls than the bound; NaN where either rate is missing."""
        if self.rate is None or self.theory is None or self.theory.exact:
            return np.nan
        return self.rate.rate / self.theory.rate


def rare_study(
    cell: CellResults, experiment: Mapping[str, Any], level: float, theory: CellTheory | None
) -> RareStudy | None:
    """Estimate the rare failure of a cell; None without [rare], or before its first repetition is stored."""
    table = experiment.get("rare")
    if table is None or dataset(cell, "rare_probability") is None:
        return None
    moment = np.nan if theory is None else theory.settings[0].activation.moment_dphi
    block_size = experiment.get("experiment", {}).get("block_size")
    widths, without = rare_widths(cell, table, level, moment, block_size), unreached(cell)
    if not widths:
        return RareStudy(table, level, (), without, None, None, None) if without else None
    ranks = dataset(cell, "rank")
    rank = int(ranks[ranks > 0][0]) if ranks is not None and (ranks > 0).any() else 0
    law = experiment.get("network", {}).get("output_law", "uniform")
    k = np.array([w.width for w in widths], dtype=float)
    dense = np.unique(np.round(np.linspace(k[0], k[-1], DENSE))).astype(np.float64)
    bound, drawn = (rare_theory(table, law, theory, rank, grid) for grid in (k, dense))
    return RareStudy(
        table, level, widths, without, bound, None if drawn is None else (dense, drawn), fitted_rate(widths, level)
    )
