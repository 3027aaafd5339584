"""Two events on the same trials: the exact McNemar test and the share of discordant pairs that favour one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import Decision, Decisions
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.p_values import p_value
from mc.estimate.probability.tests import Adjustment, adjusted
from mc.model.arrays import Array, IntArray, Mask


@dataclass(frozen=True)
class Comparison:
    """First against second, width by width; each pair is one trial, so what the draws have in common cancels.

    Parameters
    ----------
    pairs : ndarray of int64, shape (K,)
        Trials in which both were computed.
    only_first, only_second : ndarray of int64, shape (K,)
        Discordant pairs: the first holds and the second fails, and the reverse.
    open_first, open_second : ndarray of int64, shape (K,)
        Pairs that may become one or the other once the undecided are known (a pair with both undecided is in both).
    share : ndarray, shape (K,)
        Observed only_first/(only_first + only_second), NaN without discordant pairs.
    lower, upper : ndarray, shape (K,)
        Clopper-Pearson limits of the share of discordant pairs that favour the first; undecided pairs stand against
        both ends. Conditional on the number of discordant pairs, hence also without that condition.
    p_values, adjusted : ndarray, shape (K,)
        Exact two-sided McNemar p-values of "both shares are one half", the largest over all completions, and adjusted.
    level, simultaneous_level : float
        Of all intervals together, and of one of them.
    """

    pairs: IntArray
    only_first: IntArray
    only_second: IntArray
    open_first: IntArray
    open_second: IntArray
    share: Array
    lower: Array
    upper: Array
    p_values: Array
    adjusted: Array
    level: float
    simultaneous_level: float

    @property
    def odds(self) -> tuple[Array, Array]:
        """Limits of the odds only_first : only_second; infinite where the share may be one."""
        with np.errstate(divide="ignore"):
            return self.lower / (1.0 - self.lower), self.upper / (1.0 - self.upper)


def compare(
    first: Decisions,
    second: Decisions,
    level: float = 0.95,
    simultaneous: bool = True,
    adjustment: Adjustment = "holm",
    method: str = "clopper-pearson",
) -> Comparison:
    """Compare two events, rungs or activations on the same trials and widths.

    Parameters
    ----------
    first, second : ndarray of int8, shape (trial, width)
        Values of `Decision`; pairs with one side not counted are left out.
    level : float
    simultaneous : bool
        Bonferroni over the widths that have pairs.
    adjustment : {"holm", "bonferroni", "none"}
        Of the p-values over the widths.
    method : {"clopper-pearson", "beta-binomial"}
        "beta-binomial" where the number of trials followed the data: limits and p-values (1 over the e-value) that hold
        at whatever number of discordant pairs there are.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise InputError(f"a paired comparison needs equal trials and widths, not {first.shape} and {second.shape}")
    both = (first != Decision.NOT_COUNTED) & (second != Decision.NOT_COUNTED)

    def count(mask: Mask) -> IntArray:
        return np.asarray(np.sum(mask & both, axis=0), dtype=np.int64)

    b = count((first == Decision.HOLDS) & (second == Decision.FAILS))
    c = count((first == Decision.FAILS) & (second == Decision.HOLDS))
    may_b = count((first != Decision.FAILS) & (second != Decision.HOLDS)) - b
    may_c = count((first != Decision.HOLDS) & (second != Decision.FAILS)) - c
    pairs = count(both)
    widths = max(int(np.count_nonzero(pairs)), 1) if simultaneous else 1
    tail = (1.0 - level) / widths
    # the limits rise with b and fall with c, so the worst completion is at an end
    found = get_method(method)
    lower = found.lower(b, b + c + may_c, tail / 2.0)
    upper = found.upper(b + may_b, b + may_b + c, tail / 2.0)
    greater = p_value(b, b + c + may_c, 0.5, "greater", method)
    less = p_value(b + may_b, b + may_b + c, 0.5, "less", method)
    p_values = np.where(pairs > 0, np.minimum(2.0 * np.minimum(greater, less), 1.0), np.nan)
    with np.errstate(invalid="ignore"):
        share = b / (b + c)
    return Comparison(
        pairs, b, c, may_b, may_c, share, lower, upper, p_values, adjusted(p_values, adjustment), level, 1.0 - tail
    )
