"""The median of a quantity over trials, each known to an interval, without assuming a distribution (sign test)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from mc.model.arrays import Array


@dataclass(frozen=True)
class Median:
    """A median with a confidence interval.

    Attributes
    ----------
    value : float
        Median of the middles of what is known; NaN without any.
    low, high : float
        Interval; infinite where there are too few trials, or too many of which nothing is known.
    trials : int
        All of them.
    """

    value: float
    low: float
    high: float
    trials: int


def median_of(low: Array, high: Array, level: float) -> Median:
    """Median over independent trials from order statistics.

    With j the largest rank such that P(Bin(N, 1/2) < j) <= (1 - level)/2, the j-th smallest and the j-th largest value
    enclose every median with probability `level` or more. Taken of the lower ends, resp. of the upper ends, of the
    trials' own intervals they enclose it whatever the values in these intervals are.

    Parameters
    ----------
    low, high : (N,) arrays
        Interval of each trial's value; NaN where nothing is known, which leaves everything open.
    level : float
    """
    trials = low.size
    middle = np.where(np.isfinite(low) & np.isfinite(high), 0.5 * (low + high), np.where(np.isfinite(low), low, high))
    middle = middle[~np.isnan(middle)]
    value = float(np.median(middle)) if middle.size else float("nan")
    rank = int(binom.ppf(0.5 * (1.0 - level), trials, 0.5)) if trials else 0
    # ppf is the smallest c with P(Bin <= c) >= tail; j - 1 is c where that is an equality, else c - 1
    rank += int(bool(trials) and bool(binom.cdf(rank, trials, 0.5) <= 0.5 * (1.0 - level)))
    if rank < 1:
        return Median(value, -np.inf, np.inf, trials)
    least = np.sort(np.where(np.isnan(low), -np.inf, low))
    most = np.sort(np.where(np.isnan(high), np.inf, high))
    return Median(value, float(least[rank - 1]), float(most[trials - rank]), trials)
