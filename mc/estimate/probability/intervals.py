"""Exact binomial limits: the confidence limits of a probability from holds out of trials (theory §8)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, betainccinv, betaincinv, betaln, xlog1py, xlogy

from mc.errors import InputError
from mc.model.arrays import Array

Side = Literal["two", "lower", "upper"]
SIDES: tuple[Side, ...] = ("two", "lower", "upper")

MANY_TRIALS = 10_000
"""Trials beyond which the inverse of the incomplete beta function is followed by a Newton step."""


def checked_counts(holds: ArrayLike, trials: ArrayLike) -> tuple[Array, Array]:
    """Return counts as floats of one shape; raise InputError unless they are whole with 0 <= holds <= trials."""
    s, n = np.broadcast_arrays(np.asarray(holds, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not (np.all(np.isfinite(s)) and np.all(np.isfinite(n))):
        raise InputError("holds and trials must be finite whole numbers: remove the NaN or infinite entries")
    if np.any(s != np.floor(s)) or np.any(n != np.floor(n)):
        raise InputError("holds and trials are counts: give whole numbers")
    if np.any(s < 0) or np.any(s > n):
        raise InputError("holds must lie between 0 and trials")
    return s, n


def checked_tail(tail: float) -> None:
    """Raise InputError if an error probability is outside (0, 1)."""
    if not 0.0 < tail < 1.0:
        raise InputError(f"tail = {tail!r}: the error probability of a limit lies strictly between 0 and 1")


def checked_level(level: float, side: Side = "two") -> None:
    """Raise InputError if a confidence level is outside (0, 1), or the side is unknown."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level = {level!r}: a confidence level lies strictly between 0 and 1, e.g. 0.95")
    if side not in SIDES:
        raise InputError(f"side = {side!r}: choose one of {', '.join(SIDES)}")


def lower_limit(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
    """Return the exact lower limit, the p at which P(Bin(trials, p) >= holds) = tail; 0 where holds = 0."""
    s, n = checked_counts(holds, trials)
    checked_tail(tail)
    # The replaced argument keeps betaincinv inside its domain where the limit is exactly 0.
    a, b = np.maximum(s, 1.0), n - s + 1.0
    limit = betaincinv(a, b, tail)
    if n.size and n.max() > MANY_TRIALS:
        limit = _polished(limit, betainc(a, b, limit) - tail, a, b)
    return np.where(s > 0, limit, 0.0)


def upper_limit(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
    """Return the exact upper limit, the p at which P(Bin(trials, p) <= holds) = tail; 1 where holds = trials."""
    s, n = checked_counts(holds, trials)
    checked_tail(tail)
    # The complementary inverse keeps its accuracy at tail = 1e-12, where 1 - tail has lost four digits.
    a, b = s + 1.0, np.maximum(n - s, 1.0)
    limit = betainccinv(a, b, tail)
    if n.size and n.max() > MANY_TRIALS:
        limit = _polished(limit, tail - betaincc(a, b, limit), a, b)
    return np.where(s < n, limit, 1.0)


def _polished(limit: Array, excess: Array, a: Array, b: Array) -> Array:
    """Take one Newton step on the Beta distribution function: its inverse is off by 1e-8 of the limit at 1 of 1e9."""
    log_density = xlogy(a - 1.0, limit) + xlog1py(b - 1.0, -limit) - betaln(a, b)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        step = excess * np.exp(-log_density)
    small = np.abs(step) < 1e-4 * limit  # larger steps come from a density that underflowed
    return np.where(small, np.clip(limit - np.where(small, step, 0.0), 0.0, 1.0), limit)


def clopper_pearson(
    holds: ArrayLike, trials: ArrayLike, level: float = 0.95, side: Side = "two"
) -> tuple[Array, Array]:
    """Return the exact (Clopper-Pearson) confidence interval of a probability (theory §8).

    Parameters
    ----------
    holds, trials : array_like of int, broadcast against each other
        Successes and independent trials; trials = 0 gives (0, 1).
    level : float
        Confidence level in (0, 1), up to 1 - 1e-12.
    side : {"two", "lower", "upper"}
        "two": each tail has (1 - level)/2; "lower": (limit, 1) and "upper": (0, limit), one tail of 1 - level.

    Returns
    -------
    lower, upper : ndarray
        Limits in [0, 1] with the broadcast shape of the counts; 0 at holds = 0 and 1 at holds = trials are exact.

    Raises
    ------
    InputError
        If the counts, the level or the side are impossible.
    """
    checked_level(level, side)
    tail = 1.0 - level
    if side == "lower":
        lower = lower_limit(holds, trials, tail)
        return lower, np.ones_like(lower)
    if side == "upper":
        upper = upper_limit(holds, trials, tail)
        return np.zeros_like(upper), upper
    return lower_limit(holds, trials, tail / 2.0), upper_limit(holds, trials, tail / 2.0)
