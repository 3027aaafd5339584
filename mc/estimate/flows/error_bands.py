"""Errors along saved trajectories: bands over trials at common times, and the times at which they settle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array
from mc.model.losses import Loss

QUANTILES = (0.05, 0.5, 0.95)


def common_times(t: Array, count: int, ended: float = 1.0) -> Array:
    """Log-spaced times, (count,), from the median first one of the trials until a share of them has ended."""
    positive = np.where(t > 0.0, t, np.nan)
    if not np.isfinite(positive).any():
        return np.empty(0)
    there = positive[np.isfinite(positive).any(axis=1)]
    first, last = np.nanmedian(np.nanmin(there, axis=1)), np.quantile(np.nanmax(there, axis=1), ended)
    return np.asarray(np.geomspace(first, last, count))


def at_times(t: Array, values: Array, times: Array) -> Array:
    """Values of every trial at common times, (T, G): linear between its own times, its last value after its end.

    Parameters
    ----------
    t, values : (T, P) arrays
        Increasing times from 0 and an observable; NaN beyond the end of a trajectory.
    times : (G,) array
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
    found = np.where(after > before, left + np.nan_to_num(share) * (right - left), left)
    return np.where(last < 0, np.nan, found)


def band(t: Array, values: Array, times: Array) -> Array:
    """Quantiles 5, 50 and 95 % over the trials at common times, (3, G); NaN without trajectories."""
    found = at_times(t, values, times)
    found = found[np.isfinite(found).all(axis=1)]
    return np.asarray(np.quantile(found, QUANTILES, axis=0)) if found.size else np.full((3, times.size), np.nan)


@dataclass(frozen=True)
class Settled:
    """Interval (low, high] of times, (T,) each, in which an error comes below a level to stay; high may be infinite."""

    low: Array
    high: Array


def settled(t: Array, values: Array, error: Array, level: Array) -> Settled:
    """From when on an observable is at most a level, as far as the saved times tell.

    Parameters
    ----------
    t, values, error : (T, P) arrays
        Times from 0, the observable and the error of its integration; NaN beyond the end.
    level : (T,) array

    Returns
    -------
    Settled
        ``low``: the last saved time at which it is surely above (0 if none); ``high``: the first saved time from which
        on it is surely not. NaN without a trajectory.
    """
    known = np.isfinite(t) & np.isfinite(values)
    room = np.where(t == 0.0, 0.0, np.where(np.isnan(error), np.inf, error))
    bound = level[:, None]
    with np.errstate(invalid="ignore"):
        above, open_ = known & (values - room > bound), known & ~(values + room <= bound)
    low = np.where(above, t, 0.0).max(axis=1)
    count = known.sum(axis=1)
    last_open = np.where(open_, np.arange(t.shape[1]), -1).max(axis=1)
    after = np.minimum(last_open + 1, np.maximum(count - 1, 0))
    high = np.where(last_open + 1 < count, np.take_along_axis(t, after[:, None], 1)[:, 0], np.inf)
    return Settled(np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan))


def stopping_bound(loss: Loss, psi_0: Array, norm_eps: Array, sigma: Array) -> Array:
    """Time from which on |y(t) - ybar| <= 2 |eps| is promised, (T,); NaN where nothing is (theory §4(ii))."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wait = loss.Psi(loss.psi_inverse(norm_eps)) - loss.Psi(loss.psi_inverse(psi_0))
        return np.asarray(np.maximum(wait, 0.0) / np.square(sigma))


@dataclass(frozen=True)
class Stops:
    """Signal errors of T trials where they are read, (T,) each.

    ``last``: at the end; ``best``: the least at a saved time; ``stopped``: at the first saved time with |y(t) - y| <=
    |eps| (discrepancy principle), the end where there is none. ``best_time`` and ``stop_time``: when.
    """

    last: Array
    best: Array
    stopped: Array
    best_time: Array
    stop_time: Array


def stops(t: Array, signal_error: Array, residual: Array, norm_eps: Array) -> Stops:
    """Where three rules stop, and with which error.

    Parameters
    ----------
    t, signal_error, residual : (T, P) arrays
        Times, |x - xbar| and psi(L), which is |y(t) - y| for `mse`; NaN beyond the end.
    norm_eps : (T,) array
    """
    known = np.isfinite(t) & np.isfinite(signal_error)
    empty = ~known.any(axis=1)
    last = np.maximum(known.sum(axis=1) - 1, 0)
    best = np.where(known, signal_error, np.inf).argmin(axis=1)
    with np.errstate(invalid="ignore"):
        below = known & (residual <= norm_eps[:, None])
    stop = np.where(below.any(axis=1), below.argmax(axis=1), last)
    rows = np.arange(t.shape[0])
    found = (signal_error[rows, last], signal_error[rows, best], signal_error[rows, stop], t[rows, best], t[rows, stop])
    return Stops(*(np.where(empty, np.nan, value) for value in found))
