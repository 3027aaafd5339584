"""The two ways to make an interval of a probability, each with what it promises (theory §8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.estimate.probability.intervals import Side, checked_level, lower_limit, upper_limit
from mc.estimate.probability.sequences import confidence_sequence, sequence_lower, sequence_upper
from mc.model.arrays import Array


class MethodClass(StrEnum):
    """What an interval promises."""

    EXACT = "exact"
    """Never below its level, at a number of trials fixed beforehand."""
    TIME_UNIFORM = "time-uniform"
    """Never below its level at all numbers of trials together: valid however the number was chosen."""


@dataclass(frozen=True)
class Method:
    """A way to make intervals."""

    name: str
    method_class: MethodClass
    lower: Callable[[ArrayLike, ArrayLike, float], Array]  # one-sided limits of (holds, trials) at an error probability
    upper: Callable[[ArrayLike, ArrayLike, float], Array]
    paired: Callable[[ArrayLike, ArrayLike, float], tuple[Array, Array]] | None = None
    """Two-sided limits, where they are not the one-sided ones at half of the error probability."""

    def two_sided(self, holds: ArrayLike, most: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[Array, Array]:
        """Return two-sided limits at error alpha; `most` >= holds counts the undecided trials as holds."""
        if self.paired is None:
            return self.lower(holds, trials, alpha / 2.0), self.upper(most, trials, alpha / 2.0)
        return self.paired(holds, trials, alpha)[0], self.paired(most, trials, alpha)[1]


@dataclass(frozen=True)
class Interval:
    """Limits with the method that made them."""

    lower: Array
    upper: Array
    method: str
    method_class: MethodClass
    level: float
    side: Side


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("clopper-pearson", MethodClass.EXACT, lower_limit, upper_limit),
        Method("beta-binomial", MethodClass.TIME_UNIFORM, sequence_lower, sequence_upper, confidence_sequence),
    )
}


def get_method(name: str) -> Method:
    """Return the method of a name; raise InputError if there is none."""
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
    """Return the confidence interval of a probability by a named method (theory §8).

    Parameters
    ----------
    holds, trials : array_like of int, broadcast against each other
        trials = 0 gives (0, 1).
    level : float
        In (0, 1), up to 1 - 1e-12.
    side : {"two", "lower", "upper"}
        "lower" gives (limit, 1) and "upper" (0, limit), each with the whole error 1 - level on its side.
    method : {"clopper-pearson", "beta-binomial"}
        Exact at a number of trials fixed beforehand, or valid however the number was chosen.

    Returns
    -------
    Interval
        With `lower`, `upper` (ndarray in [0, 1]), `method`, `method_class`, `level` and `side`.

    Raises
    ------
    InputError
        If counts, level, side or method are impossible.
    """
    chosen = get_method(method)
    checked_level(level, side)
    alpha = 1.0 - level
    if side == "two":
        lower, upper = chosen.two_sided(holds, holds, trials, alpha)
    elif side == "lower":
        lower = chosen.lower(holds, trials, alpha)
        upper = np.ones_like(lower)
    else:
        upper = chosen.upper(holds, trials, alpha)
        lower = np.zeros_like(upper)
    return Interval(lower, upper, chosen.name, chosen.method_class, level, side)
