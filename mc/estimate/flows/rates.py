"""How fast a loss falls late in a trajectory: slopes of its logarithm, with what integration errors may do to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array, Mask

LATE_DECADES = 1.0
"""A polynomial rate is read off the last decade of time."""

LATE_LOSS = 1e3
"""An exponential rate is read off the last factor of the loss of this size."""

FEWEST = 3
"""Times that a slope needs."""


@dataclass(frozen=True)
class Slopes:
    """Rates of T trials, (T,) each, with intervals that hold the slope of the exact losses; NaN where none was seen."""

    value: Array
    low: Array
    high: Array


def power_exponent(t: Array, loss: Array, error: Array) -> Slopes:
    """Exponent q of L ~ t^-q in the last decade of time.

    Parameters
    ----------
    t, loss, error : (T, P) arrays
        Times, losses and the errors of their integration; NaN where there is none.

    Returns
    -------
    Slopes
        Of least squares of log L on log t.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = (loss > 0.0) & (t > 0.0)
        last = np.where(seen, t, 0.0).max(axis=1, keepdims=True)
        return _fall(np.log(t), loss, error, seen & (t >= last * 10.0**-LATE_DECADES))


def exponential_rate(t: Array, loss: Array, error: Array) -> Slopes:
    """Rate of L ~ exp(-rate t) over the last factor `LATE_LOSS` of the loss; see `power_exponent`."""
    with np.errstate(invalid="ignore"):
        seen = loss > 0.0
        least = np.where(seen, loss, np.inf).min(axis=1, keepdims=True)
        return _fall(t, loss, error, seen & (loss <= LATE_LOSS * least))


def _fall(x: Array, loss: Array, error: Array, late: Mask) -> Slopes:
    """Minus the slope of log L on x where `late`; it is linear in the logarithms, so that their errors add up."""
    count = late.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = np.where(late, x, 0.0) - np.where(
            late, np.where(late, x, 0.0).sum(axis=1, keepdims=True) / count, 0.0
        )
        weights = centred / np.square(centred).sum(axis=1, keepdims=True)
        logs = np.where(late, np.log(np.where(late, loss, 1.0)), 0.0)
        share = np.where(np.isnan(error), np.inf, error) / loss
        room = np.where(late, -np.log1p(-np.minimum(share, 1.0)), 0.0)
        slope = -(weights * logs).sum(axis=1)
        # a weight of zero takes nothing from an error, however large
        spread = np.where(weights == 0.0, 0.0, np.abs(weights) * room).sum(axis=1)
    few = count[:, 0] < FEWEST
    return Slopes(*(np.where(few, np.nan, s) for s in (slope, slope - spread, slope + spread)))
