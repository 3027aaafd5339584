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

from mc.estimate.claims.half_width import heuristic_width
from mc.estimate.probability.counts import Counts, Decision, Decisions
from mc.estimate.probability.intervals import checked_level
from mc.estimate.probability.methods import get_method
from mc.estimate.widths.median_width import interpolated, pooled
from mc.model.arrays import Array, IntArray

GROUPS = 16
"""Groups of trials that the jackknife of `shift` leaves out in turn."""


@dataclass(frozen=True)
class Crossing:
    """The width at which a row of a map crosses one half.

    Parameters
    ----------
    estimate : float
        Linear in log k between widths, on the non-decreasing fit; 0 below the grid, inf beyond it, NaN without trials.
    interval : tuple of float
        Limits at `level`; 0 and inf where the grid is too short.
    level : float
    grid : tuple of int
        First and last width.
    """

    estimate: float
    interval: tuple[float, float]
    level: float
    grid: tuple[int, int]


def _at(widths: IntArray, i: int, curve: Array, p: float) -> float:
    """Where a curve crosses p between widths i - 1 and i, linearly in log k."""
    share = (p - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(widths[i - 1] * (widths[i] / widths[i - 1]) ** share)


def crossing(widths: IntArray, counts: Counts, level: float, p: float = 0.5) -> Crossing:
    """The width at which P = p, with an interval that no number of widths makes wrong.

    The interval runs from the first width to the last at which p lies between the Clopper-Pearson limits. It misses k*
    only if the test at k* itself does: no share of the error is lost to the other widths. Between two widths the
    limits, like the frequency, are interpolated in log k: approximate as far as P is not straight there, and on the
    safe side in that the mean of two frequencies varies no more than either. Undecided trials stand against both ends.

    Parameters
    ----------
    widths : ndarray of int64, shape (K,), increasing
    counts : Counts
        Of shape (K,); widths without trials are left out.
    level : float
        Of this one interval.
    p : float
        In (0, 1).
    """
    checked_level(level)
    seen = counts.trials > 0
    if not seen.any():
        return Crossing(math.nan, (0.0, math.inf), level, (0, 0))
    k, trials = np.asarray(widths)[seen], counts.trials[seen]
    least = counts.holds[seen]
    most = least + counts.undecided[seen]
    lower, upper = get_method("clopper-pearson").two_sided(least, most, trials, 1.0 - level)
    fit = pooled((least + most) / 2.0 / trials, trials)
    possible, short = np.flatnonzero(upper >= p), np.flatnonzero(lower < p)
    if not len(possible):
        low = float(k[-1])
    else:
        low = _at(k, int(possible[0]), upper, p) if possible[0] else 0.0
    if not len(short):
        high = float(k[0])
    else:
        last = int(short[-1]) + 1
        high = _at(k, last, lower, p) if last < len(k) else math.inf
    return Crossing(interpolated(k, fit, p), (low, high), level, (int(k[0]), int(k[-1])))


def contour(rows: Sequence[tuple[IntArray, Counts]], level: float, p: float = 0.5) -> tuple[Crossing, ...]:
    """The crossing of every row, intervals at `level` for all rows together (Bonferroni).

    Parameters
    ----------
    rows : sequence of (widths, Counts)
    level : float
    p : float
    """
    return tuple(crossing(widths, counts, 1.0 - (1.0 - level) / len(rows), p) for widths, counts in rows)


@dataclass(frozen=True)
class Shift:
    """Ratio of two crossings on the same draws.

    Parameters
    ----------
    ratio : float
        First over second; NaN where one of them is off the grid, with all trials or without a group of them.
    interval : tuple of float
        Approximate: Student limits of the grouped jackknife of log ratio.
    level : float
    """

    ratio: float
    interval: tuple[float, float]
    level: float


def shift(widths: IntArray, first: Decisions, second: Decisions, level: float = 0.95) -> Shift:
    """How much later (ratio above 1) the first event crosses one half than the second, draw by draw.

    Parameters
    ----------
    widths : ndarray of int64, shape (K,)
    first, second : ndarray of int8, shape (trial, K)
        Values of `Decision`, of the same trials; undecided trials count half in the ratio, and the interval holds
        those of both ways to decide all of them that are farthest apart.
    level : float
    """
    checked_level(level)
    both = (first != Decision.NOT_COUNTED).all(axis=1) & (second != Decision.NOT_COUNTED).all(axis=1)
    made = np.stack([first[both], second[both]])
    # a crossing comes the sooner the more trials hold, so that all other ratios lie between these two
    half, *extreme = (_log_ratios(widths, made, worth) for worth in ((0.5, 0.5), (0.0, 1.0), (1.0, 0.0)))
    ends = np.array([_limits(own, level) for own in extreme])
    return Shift(math.exp(half[0]), (float(ends.min()), float(ends.max())), level)


def _log_ratios(widths: IntArray, made: Decisions, undecided: tuple[float, float]) -> Array:
    """log ratio of two crossings with all trials, then without each group; NaN where one of them is not known.

    Parameters
    ----------
    widths : ndarray of int64, shape (K,)
    made : ndarray of int8, shape (2, trial, K)
        Decisions of both events.
    undecided : (float, float)
        What an undecided trial counts as in each of them.
    """
    trials = made.shape[1]
    unknown = np.full(1 + GROUPS, np.nan)
    if trials < 2 * GROUPS:
        return unknown
    values = np.where(made == Decision.UNDECIDED, np.reshape(undecided, (2, 1, 1)), made == Decision.HOLDS)
    group = np.arange(trials) % GROUPS
    sums = np.stack([values[:, group == g].sum(axis=1) for g in range(GROUPS)])
    sizes = np.bincount(group, minlength=GROUPS)
    total = sums.sum(axis=0)

    def log_ratio(holds: Array, out_of: int) -> float:
        one, two = (interpolated(widths, pooled(row / out_of, np.ones(len(row))), 0.5) for row in holds)
        return math.log(one / two) if one > 0.0 and two > 0.0 and math.isfinite(one + two) else math.nan

    found = [log_ratio(total, trials), *(log_ratio(total - sums[g], trials - sizes[g]) for g in range(GROUPS))]
    return np.array(found) if np.isfinite(found).all() else unknown


def _limits(log_ratios: Array, level: float) -> tuple[float, float]:
    """Student limits of the grouped jackknife of `_log_ratios`; everything where they are not known."""
    whole, without = float(log_ratios[0]), log_ratios[1:]
    if math.isnan(whole):
        return 0.0, math.inf
    error = math.sqrt((GROUPS - 1) / GROUPS * float(np.sum(np.square(without - without.mean()))))
    reach = float(student.ppf(0.5 + level / 2.0, GROUPS - 1)) * error
    return math.exp(whole - reach), math.exp(whole + reach)


def gaussian_heuristic(rank: int, low: float, high: float) -> float:
    """Heuristic (7.9) of theory §7.4 for a Gaussian signal without noise, at the median draw.

    A^+ y is then the part of N(0, I_n) in a space of r dimensions, chosen without looking: |A^+ y|^2 is chi-square with
    r degrees of freedom, whatever n and the singular values.

    Parameters
    ----------
    rank : int
    low, high : float
        Range of the activation.
    """
    return heuristic_width(float(rank), float(chi2.median(rank)), low, high)


@dataclass(frozen=True)
class Exponent:
    """Exponent of a contour: the slope of log k against log of the other axis.

    Parameters
    ----------
    estimate, error : float
        Weighted least squares; NaN with fewer than two rows on the grid.
    interval : tuple of float
        Normal limits (approximate).
    """

    estimate: float
    error: float
    interval: tuple[float, float]


def exponent(values: Sequence[float], crossings: Sequence[Crossing], level: float = 0.95) -> Exponent:
    """Slope of the contour in logarithms; the rows are independent, each weighted by its own interval.

    Parameters
    ----------
    values : sequence of float
        The other axis.
    crossings : sequence of Crossing
        Rows whose estimate or interval is off the grid are left out.
    level : float
    """
    kept = [(v, c) for v, c in zip(values, crossings, strict=True) if c.interval[0] > 0.0 and c.interval[1] < math.inf]
    if len(kept) < 2:
        return Exponent(math.nan, math.nan, (-math.inf, math.inf))
    x, y = np.log([v for v, _ in kept]), np.log([c.estimate for _, c in kept])
    wide = np.array([2.0 * student.ppf(0.5 + c.level / 2.0, math.inf) for _, c in kept])
    error = np.array([math.log(c.interval[1] / c.interval[0]) for _, c in kept]) / wide
    weight = 1.0 / np.square(error)
    centred = x - np.average(x, weights=weight)
    scale = float(np.sum(weight * np.square(centred)))
    slope, own = float(np.sum(weight * centred * y) / scale), math.sqrt(1.0 / scale)
    reach = float(student.ppf(0.5 + level / 2.0, math.inf)) * own
    return Exponent(slope, own, (slope - reach, slope + reach))
