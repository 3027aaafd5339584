"""Intervals of a probability by name, each with the class of what it promises (theory §8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainccinv, betaincinv, ndtri

from mc.errors import InputError
from mc.estimate.probability.intervals import (
    Side,
    checked_counts,
    checked_level,
    checked_tail,
    lower_limit,
    upper_limit,
)
from mc.estimate.probability.sequences import confidence_sequence, sequence_lower, sequence_upper
from mc.model.arrays import Array

Limit = Callable[[ArrayLike, ArrayLike, float], Array]


class MethodClass(StrEnum):
    """What an interval promises."""

    EXACT = "exact"
    """Never below its level, at a number of trials fixed beforehand."""
    APPROXIMATE = "approximate"
    """Near its level on average over p, below it at some p."""
    TIME_UNIFORM = "time-uniform"
    """Never below its level at all numbers of trials together: valid however the number was chosen."""


@dataclass(frozen=True)
class Method:
    """A way to make intervals.

    Parameters
    ----------
    name : str
    method_class : MethodClass
    lower, upper : callable
        One-sided limits of (holds, trials) at an error probability.
    both : callable or None
        Two-sided limits at an error probability where they are not the one-sided ones at half of it.
    """

    name: str
    method_class: MethodClass
    lower: Limit
    upper: Limit
    both: Callable[[ArrayLike, ArrayLike, float], tuple[Array, Array]] | None = None

    def two_sided(self, holds: ArrayLike, most: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[Array, Array]:
        """Two-sided limits at error probability alpha; `most` >= holds counts the undecided trials as holds."""
        if self.both is None:
            return self.lower(holds, trials, alpha / 2.0), self.upper(most, trials, alpha / 2.0)
        return self.both(holds, trials, alpha)[0], self.both(most, trials, alpha)[1]


@dataclass(frozen=True)
class Interval:
    """Limits and where they are from.

    Parameters
    ----------
    lower, upper : ndarray
    method : str
    method_class : MethodClass
    level : float
    side : {"two", "lower", "upper"}
    """

    lower: Array
    upper: Array
    method: str
    method_class: MethodClass
    level: float
    side: Side


def wilson_lower(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
    """Score limit: the p < s/n whose z-score against s/n is the normal quantile; exactly 0 where holds = 0."""
    s, n = checked_counts(holds, trials)
    checked_tail(tail)
    z = -float(ndtri(tail))
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(z * z / 4.0 + s * (n - s) / n)
        limit = (s + z * z / 2.0 - z * root) / (n + z * z)
    # z < 0 (tails above one half) turns the sign at the ends: the limit is kept inside [0, s/n] by hand
    return np.where(s > 0, np.clip(limit, 0.0, 1.0), 0.0)


def jeffreys_lower(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
    """Quantile of Beta(s + 1/2, n - s + 1/2), the posterior of Jeffreys' prior; set to 0 where holds = 0."""
    s, n = checked_counts(holds, trials)
    checked_tail(tail)
    return np.where(s > 0, betaincinv(s + 0.5, n - s + 0.5, tail), 0.0)


def jeffreys_upper(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
    """The upper quantile of the same posterior; set to 1 where holds = trials."""
    s, n = checked_counts(holds, trials)
    checked_tail(tail)
    return np.where(s < n, betainccinv(s + 0.5, n - s + 0.5, tail), 1.0)


def hoeffding_lower(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
    """s/n less sqrt(log(1/tail)/2n): Hoeffding's inequality, valid for every p and never shorter than it must be."""
    s, n = checked_counts(holds, trials)
    checked_tail(tail)
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = s / n - np.sqrt(-np.log(tail) / (2.0 * n))
    return np.where(n > 0, np.maximum(limit, 0.0), 0.0)


def _mirrored(lower: Limit) -> Limit:
    def upper(holds: ArrayLike, trials: ArrayLike, tail: float) -> Array:
        s, n = checked_counts(holds, trials)
        limit: Array = 1.0 - lower(n - s, n, tail)
        return limit

    return upper


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("clopper-pearson", MethodClass.EXACT, lower_limit, upper_limit),
        Method("wilson", MethodClass.APPROXIMATE, wilson_lower, _mirrored(wilson_lower)),
        Method("jeffreys", MethodClass.APPROXIMATE, jeffreys_lower, jeffreys_upper),
        Method("hoeffding", MethodClass.EXACT, hoeffding_lower, _mirrored(hoeffding_lower)),
        Method("beta-binomial", MethodClass.TIME_UNIFORM, sequence_lower, sequence_upper, confidence_sequence),
    )
}


def get_method(name: str) -> Method:
    """Look a method up by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in METHODS:
        raise InputError(f"interval method {name!r} is not known: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def interval(
    holds: ArrayLike,
    trials: ArrayLike,
    level: float = 0.95,
    side: Side = "two",
    method: str = "clopper-pearson",
) -> Interval:
    """Confidence interval of a probability by a named method.

    Parameters
    ----------
    holds, trials : array_like of int, broadcast against each other
        trials = 0 gives (0, 1).
    level : float
        In (0, 1), up to 1 - 1e-12.
    side : {"two", "lower", "upper"}
        "lower" gives (limit, 1) and "upper" (0, limit), each with the whole error 1 - level on its side.
    method : str
        A name of `METHODS`.

    Returns
    -------
    Interval

    Raises
    ------
    InputError
        If counts, level, side or method are impossible.
    """
    found = get_method(method)
    checked_level(level, side)
    alpha = 1.0 - level
    if side == "two":
        lower, upper = found.two_sided(holds, holds, trials, alpha)
    elif side == "lower":
        lower = found.lower(holds, trials, alpha)
        upper = np.ones_like(lower)
    else:
        upper = found.upper(holds, trials, alpha)
        lower = np.zeros_like(upper)
    return Interval(lower, upper, found.name, found.method_class, level, side)
