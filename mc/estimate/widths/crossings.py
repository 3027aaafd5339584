"""The width at which a probability curve crosses a level: one estimate, and three intervals for three questions.

`crossing_width` uses ordered exact tests (no share of alpha lost to the number of widths), `median_width` reads the
simultaneous band of a curve, `interpolated_width` inverts pointwise limits between the widths (for contours of a map).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.intervals import checked_level
from mc.estimate.probability.methods import get_method
from mc.estimate.widths.curves import Curve
from mc.model.arrays import Array, IntArray, Mask

CROSSINGS = (0.5, 0.9, 0.99)
EVERYTHING = (0.0, math.inf)


@dataclass(frozen=True)
class CrossingWidth:
    """k*(p), the first width at which P >= p."""

    p: float
    estimate: float
    """Interpolated in log k on the non-decreasing fit; 0 below the grid, inf beyond it, NaN without trials."""
    interval: tuple[float, float]
    """(low, high] of k*(p); 0 and inf are open ends where the grid is too short."""
    level: float
    method: str  # of the limits or tests behind the interval
    grid: tuple[int, int]  # first and last width with trials

    @property
    def label(self) -> str:
        """The estimate as text: a rounded width, or that it lies beyond the grid."""
        if self.estimate == 0.0:
            return f"below {spaced(self.grid[0])}"
        if math.isinf(self.estimate):
            return f"above {spaced(self.grid[1])}"
        return spaced(significant(self.estimate))

    @property
    def interval_label(self) -> str:
        """The interval as text."""
        low, high = self.interval
        if self.interval == EVERYTHING:
            return "no information"
        if low == 0.0:
            return f"at most {spaced(int(high))}"
        if math.isinf(high):
            return f"above {spaced(int(low))}"
        return f"{spaced(int(low))} to {spaced(int(high))}"


def pooled(values: ArrayLike, weights: ArrayLike) -> Array:
    """Return the non-decreasing sequence nearest to `values` in weighted least squares (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value, weight in zip(np.asarray(values, dtype=float), np.asarray(weights, dtype=float), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v, w, size = blocks.pop()
            last = blocks[-1]
            blocks[-1] = [(last[0] * last[1] + v * w) / (last[1] + w), last[1] + w, last[2] + size]
    return np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks])


def interpolated(widths: IntArray, fit: Array, p: float) -> float:
    """Return where a non-decreasing curve first reaches p, linearly in log k: 0 before the widths, inf beyond.

    At a single neuron it is 1: no network is narrower.
    """
    reached = np.flatnonzero(fit >= p)
    if not len(reached):
        return math.inf
    i = int(reached[0])
    if fit[i] == p or (i == 0 and widths[0] == 1):
        return float(widths[i])
    return crossing_between(widths, i, fit, p) if i else 0.0


def crossing_between(widths: IntArray, i: int, curve: Array, p: float) -> float:
    """Return where a curve crosses p between widths i - 1 and i, linearly in log k."""
    share = (p - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(widths[i - 1] * (widths[i] / widths[i - 1]) ** share)


def _crossing(
    widths: IntArray, counts: Counts, p: float, interval: tuple[float, float], level: float, method: str
) -> CrossingWidth:
    """Add the estimate, with undecided trials counted half, to an interval."""
    seen = counts.trials > 0
    if not seen.any():
        return CrossingWidth(p, math.nan, EVERYTHING, level, method, (0, 0))
    k, trials = np.asarray(widths)[seen], counts.trials[seen]
    frequency = (counts.holds + 0.5 * counts.undecided)[seen] / trials
    estimate = interpolated(k, pooled(frequency, trials), p)
    return CrossingWidth(p, estimate, interval, level, method, (int(k[0]), int(k[-1])))


def _leading(rejected: Mask) -> int:
    """Count the tests that are rejected before the first one that is not."""
    return int(len(rejected) if rejected.all() else np.argmin(rejected))


def crossing_width(
    widths: IntArray, counts: Counts, p: float, level: float = 0.95, method: str = "clopper-pearson"
) -> CrossingWidth:
    """Estimate k*(p), the first width at which P >= p, with an interval from exact tests in a fixed order (theory §8).

    From the narrowest width up, P(k) >= p is tested at (1 - level)/2 until a test does not reject; from the widest
    down, P(k) < p likewise. In each order the first true hypothesis is rejected with probability <= (1 - level)/2 and
    no later hypothesis is tested unless it is, so both ends hold together with probability >= level under any
    dependence of the widths. The statement is about the widths of the grid as they are ordered; for the first crossing
    among all widths it needs P non-decreasing in k.

    Parameters
    ----------
    widths : ndarray of int64, shape (K,), increasing
    counts : Counts
        Of shape (K,); widths without trials are left out, undecided trials stand against both ends.
    p : float
        In (0, 1).
    level : float
        Of this one interval.
    method : {"clopper-pearson", "beta-binomial"}
        "beta-binomial" where the number of trials followed the data.

    Returns
    -------
    CrossingWidth
        With `estimate` and `interval` = (low, high]: 0 and inf where the grid is too short.

    Raises
    ------
    InputError
        If p or the level is outside (0, 1), or the method is unknown.
    """
    checked_level(level)
    if not 0.0 < p < 1.0:
        raise InputError(f"crossing p = {p!r}: give a probability strictly between 0 and 1")
    limits, seen, tail = get_method(method), counts.trials > 0, (1.0 - level) / 2.0
    k, trials = np.asarray(widths)[seen], counts.trials[seen]
    below = limits.upper(counts.most_holds[seen], trials, tail) < p
    above = limits.lower(counts.holds[seen], trials, tail) >= p
    from_narrow, from_wide = _leading(below), _leading(above[::-1])
    low = float(k[from_narrow - 1]) if from_narrow else 0.0
    high = float(k[len(k) - from_wide]) if from_wide else math.inf
    return _crossing(widths, counts, p, (low, high), level, method)


def median_width(curve: Curve, p: float = 0.5) -> CrossingWidth:
    """Estimate where a curve first reaches p, with an interval read off its simultaneous band.

    If the band covers every probability of the grid (probability >= the level of the curve), all widths before the
    first with upper limit >= p are below the crossing, and the first with lower limit >= p is not. So the first width
    of the grid at which P >= p lies in (low, high] whatever the curve, and the crossing among all widths does when P is
    non-decreasing in k.
    """
    seen = curve.counts.trials > 0
    widths = curve.widths[seen]
    possible, certain = curve.upper[seen] >= p, curve.lower[seen] >= p
    first = int(np.argmax(possible)) if possible.any() else len(widths)
    low = float(widths[first - 1]) if first else 0.0
    high = float(widths[int(np.argmax(certain))]) if certain.any() else math.inf
    return _crossing(curve.widths, curve.counts, p, (low, high), curve.level, curve.method)


def interpolated_width(widths: IntArray, counts: Counts, level: float, p: float = 0.5) -> CrossingWidth:
    """Estimate the width at which P = p, with an interval that no number of widths makes wrong.

    The interval runs from the first width to the last at which p lies between the Clopper-Pearson limits. It misses k*
    only if the test at k* itself does: no share of the error is lost to the other widths. Between two widths the
    limits, like the frequency, are interpolated in log k: approximate as far as P is not straight there, and on the
    safe side in that the mean of two frequencies varies no more than either.
    """
    checked_level(level)
    seen = counts.trials > 0
    k, trials = np.asarray(widths)[seen], counts.trials[seen]
    lower, upper = get_method("clopper-pearson").two_sided(
        counts.holds[seen], counts.most_holds[seen], trials, 1.0 - level
    )
    low, high = EVERYTHING
    if len(k):
        possible, short = np.flatnonzero(upper >= p), np.flatnonzero(lower < p)
        if not len(possible):
            low = float(k[-1])
        elif possible[0]:
            low = crossing_between(k, int(possible[0]), upper, p)
        if not len(short):
            high = float(k[0])
        elif short[-1] + 1 < len(k):
            high = crossing_between(k, int(short[-1]) + 1, lower, p)
    return _crossing(widths, counts, p, (low, high), level, "clopper-pearson")
