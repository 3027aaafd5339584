"""Two events on the same trials: the exact McNemar test and the share of discordant pairs that favour one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import Decision, Decisions
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.tests import holm, p_value
from mc.model.arrays import Array, IntArray, Mask


@dataclass(frozen=True)
class Comparison:
    """First event against second, width by width (arrays of shape (K,)); each pair is one trial.

    An undecided pair may become discordant either way (if both events are undecided, it counts in both): it stands
    against both limits and both p-values.
    """

    pairs: IntArray  # trials in which both events were computed
    only_first: IntArray  # discordant pairs: the first holds and the second fails
    only_second: IntArray
    lower: Array  # Clopper-Pearson limits of the probability that a discordant pair favours the first
    upper: Array
    p_values: Array  # exact two-sided McNemar p-values of "both shares are one half", the largest over all completions
    adjusted: Array  # by Holm over the widths

    @property
    def odds(self) -> tuple[Array, Array]:
        """Limits of the odds only_first : only_second; infinite where the share may be one."""
        with np.errstate(divide="ignore"):
            return self.lower / (1.0 - self.lower), self.upper / (1.0 - self.upper)


def compare(
    first: Decisions, second: Decisions, level: float = 0.95, simultaneous: bool = True, method: str = "clopper-pearson"
) -> Comparison:
    """Compare two events, rungs or activations on the same trials and widths (theory §8).

    Parameters
    ----------
    first, second : ndarray of int8, shape (trial, width)
        Values of `Decision`; pairs with one side not counted are left out.
    level : float
        Of all intervals together.
    simultaneous : bool
        Bonferroni over the widths that have pairs.
    method : {"clopper-pearson", "beta-binomial"}
        "beta-binomial" where the number of trials followed the data: limits and p-values (1 over the e-value) that hold
        at whatever number of discordant pairs there are.

    Returns
    -------
    Comparison
        With arrays of shape (width,): `pairs`, `only_first`, `only_second`, `lower`, `upper`, `p_values` and
        `adjusted` (Holm over the widths).

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise InputError(f"a paired comparison needs equal trials and widths, not {first.shape} and {second.shape}")
    paired = (first != Decision.NOT_COUNTED) & (second != Decision.NOT_COUNTED)

    def count(mask: Mask) -> IntArray:
        return np.asarray(np.sum(mask & paired, axis=0), dtype=np.int64)

    b = count((first == Decision.HOLDS) & (second == Decision.FAILS))
    c = count((first == Decision.FAILS) & (second == Decision.HOLDS))
    may_b = count((first != Decision.FAILS) & (second != Decision.HOLDS)) - b
    may_c = count((first != Decision.HOLDS) & (second != Decision.FAILS)) - c
    pairs = count(np.ones_like(paired))
    widths = max(int(np.count_nonzero(pairs)), 1) if simultaneous else 1
    tail = (1.0 - level) / widths / 2.0
    # the limits rise with b and fall with c, so the worst completion is at an end
    limits = get_method(method)
    lower = limits.lower(b, b + c + may_c, tail)
    upper = limits.upper(b + may_b, b + may_b + c, tail)
    greater = p_value(b, b + c + may_c, 0.5, "greater", method)
    less = p_value(b + may_b, b + may_b + c, 0.5, "less", method)
    p_values = np.where(pairs > 0, np.minimum(2.0 * np.minimum(greater, less), 1.0), np.nan)
    return Comparison(pairs, b, c, lower, upper, p_values, holm(p_values))
