"""The 50 % contour of a map: the continuous width at which a probability crosses one half, row by row.

A row is one value of the other axis, with its widths. The widths of a row share their draws, so no error is taken from
one width to the next: the limits of a contour are those of the width at which a binomial limit crosses one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2
from scipy.stats import t as student

from mc.estimate.probability.counts import Counts, Decision, Decisions
from mc.estimate.probability.intervals import checked_level
from mc.estimate.widths.crossings import CrossingWidth, interpolated, interpolated_width, pooled
from mc.estimate.widths.regression import weighted_line
from mc.model.arrays import Array, IntArray

GROUPS = 16
"""Groups of trials in the jackknife of `shift`."""


def contour(rows: Sequence[tuple[IntArray, Counts]], level: float, p: float = 0.5) -> tuple[CrossingWidth, ...]:
    """Return the crossing of every row (widths, counts), intervals at `level` for all rows together (Bonferroni)."""
    return tuple(interpolated_width(widths, counts, 1.0 - (1.0 - level) / len(rows), p) for widths, counts in rows)


@dataclass(frozen=True)
class Shift:
    """Ratio of two crossings on the same draws, first over second."""

    ratio: float  # NaN where one of them is off the grid, with all trials or without a group of them
    interval: tuple[float, float]  # approximate: Student limits of the grouped jackknife of log ratio


def shift(widths: IntArray, first: Decisions, second: Decisions, level: float = 0.95) -> Shift:
    """Return how much later (ratio above 1) the first event crosses one half than the second, draw by draw.

    The decisions, shape (trial, K), are of the same trials. Undecided trials count half in the ratio, and the interval
    is the hull over the two ways to decide all of them that are farthest apart.
    """
    checked_level(level)
    counted = (first != Decision.NOT_COUNTED).all(axis=1) & (second != Decision.NOT_COUNTED).all(axis=1)
    pair = np.stack([first[counted], second[counted]])
    # a crossing comes the sooner the more trials hold, so that all other ratios lie between these two
    half, *extreme = (_log_ratios(widths, pair, worth) for worth in ((0.5, 0.5), (0.0, 1.0), (1.0, 0.0)))
    ends = np.array([_limits(log_ratios, level) for log_ratios in extreme])
    return Shift(math.exp(half[0]), (float(ends.min()), float(ends.max())))


def _log_ratios(widths: IntArray, pair: Decisions, undecided: tuple[float, float]) -> Array:
    """Return log ratio of two crossings with all trials, then without each group; NaN where one of them is not known.

    `pair` has shape (2, trial, K); `undecided` is the value of an undecided trial in each of the two events.
    """
    trials = pair.shape[1]
    unknown = np.full(1 + GROUPS, np.nan)
    if trials < 2 * GROUPS:
        return unknown
    values = np.where(pair == Decision.UNDECIDED, np.reshape(undecided, (2, 1, 1)), pair == Decision.HOLDS)
    group = np.arange(trials) % GROUPS
    sums = np.stack([values[:, group == g].sum(axis=1) for g in range(GROUPS)])
    sizes = np.bincount(group, minlength=GROUPS)
    total = sums.sum(axis=0)

    def log_ratio(holds: Array, out_of: int) -> float:
        one, two = (interpolated(widths, pooled(row / out_of, np.ones(len(row))), 0.5) for row in holds)
        return math.log(one / two) if one > 0.0 and two > 0.0 and math.isfinite(one + two) else math.nan

    ratios = [log_ratio(total, trials), *(log_ratio(total - sums[g], trials - sizes[g]) for g in range(GROUPS))]
    return np.array(ratios) if np.isfinite(ratios).all() else unknown


def _limits(log_ratios: Array, level: float) -> tuple[float, float]:
    """Return Student limits of the grouped jackknife of `_log_ratios`; (0, inf) where they are not known."""
    whole, without = float(log_ratios[0]), log_ratios[1:]
    if math.isnan(whole):
        return 0.0, math.inf
    error = math.sqrt((GROUPS - 1) / GROUPS * float(np.sum(np.square(without - without.mean()))))
    reach = float(student.ppf(0.5 + level / 2.0, GROUPS - 1)) * error
    return math.exp(whole - reach), math.exp(whole + reach)


def heuristic_width(rank: float, square: float, low: float, high: float) -> float:
    """Return r + 2 pi (|A^+ y|^2 + r (a + b)^2/4)/(b - a)^2 of r, |A^+ y|^2 and the range (a, b) of the activation."""
    return rank + 2.0 * math.pi * (square + rank * (low + high) ** 2 / 4.0) / (high - low) ** 2


def gaussian_heuristic(rank: int, low: float, high: float) -> float:
    """Return heuristic (7.9) of theory §7.4 at the median draw, for a Gaussian signal without noise.

    A^+ y is then the part of N(0, I_n) in a space of r dimensions that does not depend on it: |A^+ y|^2 is chi-square
    with r degrees of freedom, whatever n and the singular values. The activation takes values in (low, high).
    """
    return heuristic_width(float(rank), float(chi2.median(rank)), low, high)


@dataclass(frozen=True)
class Exponent:
    """Exponent of a contour: the slope of log k against log of the other axis, with normal limits (approximate)."""

    estimate: float  # NaN with fewer than two rows on the grid
    error: float
    interval: tuple[float, float]


def exponent(values: Sequence[float], crossings: Sequence[CrossingWidth], level: float = 0.95) -> Exponent:
    """Fit the slope of a contour in logarithms; the rows are independent, each weighted by its own interval.

    Rows whose estimate or interval is off the grid are left out.
    """
    kept = [(v, c) for v, c in zip(values, crossings, strict=True) if c.interval[0] > 0.0 and c.interval[1] < math.inf]
    if len(kept) < 2:
        return Exponent(math.nan, math.nan, (-math.inf, math.inf))
    x, y = np.log([v for v, _ in kept]), np.log([c.estimate for _, c in kept])
    breadth = np.array([2.0 * student.ppf(0.5 + c.level / 2.0, math.inf) for _, c in kept])
    error = np.array([math.log(c.interval[1] / c.interval[0]) for _, c in kept]) / breadth
    slope, moment, _ = weighted_line(x, y, 1.0 / np.square(error))
    slope_error = math.sqrt(1.0 / moment)
    reach = float(student.ppf(0.5 + level / 2.0, math.inf)) * slope_error
    return Exponent(slope, slope_error, (slope - reach, slope + reach))
