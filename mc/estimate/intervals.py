"""Exact binomial limits: the confidence limits of a probability from holds out of trials (theory §8)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainccinv, betaincinv

from mc.errors import InputError

Side = Literal["two", "lower", "upper"]
SIDES: tuple[Side, ...] = ("two", "lower", "upper")


def _checked_counts(holds: ArrayLike, trials: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, n = np.broadcast_arrays(np.asarray(holds, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not (np.all(np.isfinite(s)) and np.all(np.isfinite(n))):
        raise InputError("holds and trials must be finite whole numbers: remove the NaN or infinite entries")
    if np.any(s != np.floor(s)) or np.any(n != np.floor(n)):
        raise InputError("holds and trials are counts: give whole numbers")
    if np.any(s < 0) or np.any(s > n):
        raise InputError("holds must lie between 0 and trials")
    return s, n


def lower_limit(holds: ArrayLike, trials: ArrayLike, tail: float) -> NDArray[np.float64]:
    """One-sided exact lower limit: the p at which P(Bin(trials, p) >= holds) = tail.

    Parameters
    ----------
    holds, trials : array_like of int, broadcast against each other
    tail : float
        Error probability of this one limit, in (0, 1).

    Returns
    -------
    ndarray
        Limits in [0, 1]; exactly 0 where holds = 0 (also at trials = 0).

    Raises
    ------
    InputError
        If the counts are not whole numbers with 0 <= holds <= trials, or `tail` is outside (0, 1).
    """
    s, n = _checked_counts(holds, trials)
    _check_tail(tail)
    # The replaced argument keeps betaincinv inside its domain where the limit is exactly 0.
    return np.where(s > 0, betaincinv(np.maximum(s, 1.0), n - s + 1.0, tail), 0.0)


def upper_limit(holds: ArrayLike, trials: ArrayLike, tail: float) -> NDArray[np.float64]:
    """One-sided exact upper limit: the p at which P(Bin(trials, p) <= holds) = tail.

    Parameters, return value and errors are those of `lower_limit`; exactly 1 where holds = trials.
    """
    s, n = _checked_counts(holds, trials)
    _check_tail(tail)
    # The complementary inverse keeps its accuracy at tail = 1e-12, where 1 - tail has lost four digits.
    return np.where(s < n, betainccinv(s + 1.0, np.maximum(n - s, 1.0), tail), 1.0)


def _check_tail(tail: float) -> None:
    if not 0.0 < tail < 1.0:
        raise InputError(f"tail = {tail!r}: the error probability of a limit lies strictly between 0 and 1")


def clopper_pearson(
    holds: ArrayLike, trials: ArrayLike, level: float = 0.95, side: Side = "two"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact (Clopper-Pearson) confidence interval of a probability.

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
    if not 0.0 < level < 1.0:
        raise InputError(f"level = {level!r}: a confidence level lies strictly between 0 and 1, e.g. 0.95")
    if side not in SIDES:
        raise InputError(f"side = {side!r}: choose one of {', '.join(SIDES)}")
    tail = 1.0 - level
    if side == "lower":
        lower = lower_limit(holds, trials, tail)
        return lower, np.ones_like(lower)
    if side == "upper":
        upper = upper_limit(holds, trials, tail)
        return np.zeros_like(upper), upper
    return lower_limit(holds, trials, tail / 2.0), upper_limit(holds, trials, tail / 2.0)
