"""The median width of a certificate: where its probability crosses one half, without a model of the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mc.estimate.numbers import significant, spaced
from mc.estimate.widths.curves import Curve
from mc.model.arrays import Array, IntArray


@dataclass(frozen=True)
class MedianWidth:
    """Where a probability curve crosses a level (one half by default).

    Parameters
    ----------
    event, mode : str
    crossing : float
        The level crossed.
    estimate : float
        Interpolated width; 0 when the curve is above the level at the first width of the grid already, inf when it is
        below at the last.
    interval : tuple of float
        (low, high]: with confidence `confidence` the curve is below the level at every width of the grid up to `low`
        and has reached it at `high`; (0, .) and (., inf) are open ends.
    grid : tuple of int
        First and last width that was looked at.
    confidence : float
    """

    event: str
    mode: str
    crossing: float
    estimate: float
    interval: tuple[float, float]
    grid: tuple[int, int]
    confidence: float

    @property
    def label(self) -> str:
        """The estimate in words: a rounded width, or that it lies beyond the grid."""
        if self.estimate == 0.0:
            return f"below {spaced(self.grid[0])}"
        if math.isinf(self.estimate):
            return f"above {spaced(self.grid[1])}"
        return spaced(significant(self.estimate))

    @property
    def interval_label(self) -> str:
        """The interval in words."""
        low, high = self.interval
        if low == 0.0 and math.isinf(high):
            return "no information"
        if low == 0.0:
            return f"at most {spaced(int(high))}"
        if math.isinf(high):
            return f"above {spaced(int(low))}"
        return f"{spaced(int(low))} to {spaced(int(high))}"


def pooled(values: ArrayLike, weights: ArrayLike) -> Array:
    """The non-decreasing sequence nearest to `values` in weighted least squares (pool adjacent violators).

    Parameters
    ----------
    values, weights : array_like, shape (K,)
        Weights must be positive.

    Returns
    -------
    ndarray, shape (K,)
    """
    blocks: list[list[float]] = []
    for value, weight in zip(np.asarray(values, dtype=float), np.asarray(weights, dtype=float), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v, w, size = blocks.pop()
            last = blocks[-1]
            blocks[-1] = [(last[0] * last[1] + v * w) / (last[1] + w), last[1] + w, last[2] + size]
    return np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks])


def interpolated(widths: IntArray, fit: Array, crossing: float) -> float:
    """Where a non-decreasing curve first reaches a level, linearly in log k: 0 before the widths, inf beyond.

    At a single neuron it is 1: no network is narrower.
    """
    reached = np.flatnonzero(fit >= crossing)
    if not len(reached):
        return math.inf
    i = int(reached[0])
    if fit[i] == crossing or (i == 0 and widths[0] == 1):
        return float(widths[i])
    if i == 0:
        return 0.0
    share = (crossing - fit[i - 1]) / (fit[i] - fit[i - 1])
    return float(widths[i - 1] * (widths[i] / widths[i - 1]) ** share)


def median_width(curve: Curve, crossing: float = 0.5) -> MedianWidth:
    """The width at which a curve first reaches a level, with an interval read off the simultaneous band.

    The estimate interpolates, linearly in log k, the first crossing of the non-decreasing fit to the frequencies. The
    interval uses no fit: on the event that the band covers every probability of the grid (probability >= the level of
    the curve) all widths before the first with upper limit >= 1/2 are below the crossing, and the first with lower
    limit >= 1/2 is not. So the first width of the grid at which P >= 1/2 lies in (low, high] whatever the curve, and
    the crossing among all widths does when P is non-decreasing in k.

    Parameters
    ----------
    curve : Curve
        With a simultaneous band; with a pointwise one the confidence holds for no whole interval.
    crossing : float
        The level, in (0, 1).

    Returns
    -------
    MedianWidth
    """
    seen = curve.counts.trials > 0
    widths = curve.widths[seen]
    if not len(widths):
        return MedianWidth(curve.event, curve.mode, crossing, math.nan, (0.0, math.inf), (0, 0), curve.level)
    fit = pooled(curve.frequency[seen], curve.counts.trials[seen])
    possible, certain = curve.upper[seen] >= crossing, curve.lower[seen] >= crossing
    first = int(np.argmax(possible)) if possible.any() else len(widths)
    low = float(widths[first - 1]) if first else 0.0
    high = float(widths[int(np.argmax(certain))]) if certain.any() else math.inf
    return MedianWidth(
        event=curve.event,
        mode=curve.mode,
        crossing=crossing,
        estimate=interpolated(widths, fit, crossing),
        interval=(low, high),
        grid=(int(widths[0]), int(widths[-1])),
        confidence=curve.level,
    )
