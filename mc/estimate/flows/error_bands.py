"""Errors along saved trajectories: bands over trials at common times, and the times at which they settle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array
from mc.model.losses import Loss

QUANTILES = (0.05, 0.5, 0.95)


def common_times(t: Array, count: int, ended: float = 1.0) -> Array:
    """Return log-spaced times, (count,), from the median first one of the trials until a share of them has ended."""
    positive = np.where(t > 0.0, t, np.nan)
    if not np.isfinite(positive).any():
        return np.empty(0)
    started = positive[np.isfinite(positive).any(axis=1)]
    first, last = np.nanmedian(np.nanmin(started, axis=1)), np.quantile(np.nanmax(started, axis=1), ended)
    return np.asarray(np.geomspace(first, last, count))


def at_times(t: Array, values: Array, times: Array) -> Array:
    """Interpolate values (T, P) at times t (T, P), NaN after the end, to common times: (T, G).

    Interpolation is linear between saved times; after its end a trial keeps its last value.
    """
    known = np.isfinite(t) & np.isfinite(values)
    last = known.sum(axis=1, keepdims=True) - 1
    clock = np.where(known, t, np.inf)
    before = np.maximum((clock[:, None, :] <= times[None, :, None]).sum(axis=2) - 1, 0)
    after = np.minimum(before + 1, np.maximum(last, 0))
    take = np.take_along_axis
    left, right, begin, end = take(values, before, 1), take(values, after, 1), take(t, before, 1), take(t, after, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((times[None, :] - begin) / (end - begin), 0.0, 1.0)
    value = np.where(after > before, left + np.nan_to_num(share) * (right - left), left)
    return np.where(last < 0, np.nan, value)


def band(t: Array, values: Array, times: Array) -> Array:
    """Return the quantiles 5, 50 and 95 % over the trials at common times, (3, G); NaN without trajectories."""
    curves = at_times(t, values, times)
    curves = curves[np.isfinite(curves).all(axis=1)]
    return np.asarray(np.quantile(curves, QUANTILES, axis=0)) if curves.size else np.full((3, times.size), np.nan)


@dataclass(frozen=True)
class Settled:
    """Interval (low, high] of times, (T,) each, in which an error comes below a level to stay; high may be infinite."""

    low: Array
    high: Array


def settled(t: Array, values: Array, error: Array, level: Array) -> Settled:
    """Bound the time from which an observable (T, P) stays at most at a level (T,), by its integration error (T, P).

    ``low``: last saved time at which the observable is surely above the level (0 without one); ``high``: first saved
    time from which it surely is not. NaN without a trajectory.
    """
    known = np.isfinite(t) & np.isfinite(values)
    room = np.where(t == 0.0, 0.0, np.where(np.isnan(error), np.inf, error))
    bound = level[:, None]
    with np.errstate(invalid="ignore"):
        above, undecided = known & (values - room > bound), known & ~(values + room <= bound)
    low = np.where(above, t, 0.0).max(axis=1)
    count = known.sum(axis=1)
    last_undecided = np.where(undecided, np.arange(t.shape[1]), -1).max(axis=1)
    after = np.minimum(last_undecided + 1, np.maximum(count - 1, 0))
    high = np.where(last_undecided + 1 < count, np.take_along_axis(t, after[:, None], 1)[:, 0], np.inf)
    return Settled(np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan))


def stopping_bound(loss: Loss, psi_0: Array, norm_eps: Array, sigma: Array) -> Array:
    """Return the time, (T,), from which theory §4(ii) promises |y(t) - ybar| <= 2 |eps|; NaN without a promise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wait = loss.Psi(loss.psi_inverse(norm_eps)) - loss.Psi(loss.psi_inverse(psi_0))
        return np.asarray(np.maximum(wait, 0.0) / np.square(sigma))


@dataclass(frozen=True)
class Stops:
    """Signal errors of T trials under three stopping rules, (T,) each."""

    last: Array  # at the end
    best: Array  # the least at a saved time
    stopped: Array  # at the first saved time with |y(t) - y| <= |eps| (discrepancy principle), else at the end
    best_time: Array
    stop_time: Array


def stops(t: Array, signal_error: Array, residual: Array, norm_eps: Array) -> Stops:
    """Apply three stopping rules to |x - xbar| and psi(L), (T, P) each; psi(L) is |y(t) - y| for `mse`."""
    known = np.isfinite(t) & np.isfinite(signal_error)
    empty = ~known.any(axis=1)
    last = np.maximum(known.sum(axis=1) - 1, 0)
    best = np.where(known, signal_error, np.inf).argmin(axis=1)
    with np.errstate(invalid="ignore"):
        below = known & (residual <= norm_eps[:, None])
    stop = np.where(below.any(axis=1), below.argmax(axis=1), last)
    rows = np.arange(t.shape[0])
    columns = (
        signal_error[rows, last],
        signal_error[rows, best],
        signal_error[rows, stop],
        t[rows, best],
        t[rows, stop],
    )
    return Stops(*(np.where(empty, np.nan, value) for value in columns))
