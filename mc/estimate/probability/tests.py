"""Exact p-values and their adjustment for several tests: Bonferroni and Holm, valid under any dependence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc

from mc.errors import InputError
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.intervals import checked_counts
from mc.estimate.probability.undecided import Policy, reading
from mc.model.arrays import Array, Mask

Alternative = Literal["greater", "less", "two-sided"]
ALTERNATIVES: tuple[Alternative, ...] = ("greater", "less", "two-sided")
Adjustment = Literal["holm", "bonferroni", "none"]
ADJUSTMENTS: tuple[Adjustment, ...] = ("holm", "bonferroni", "none")


def _at_least(s: Array, n: Array, p: Array) -> Array:
    """P(Bin(n, p) >= s)."""
    return np.where(s > 0, betainc(np.maximum(s, 1.0), n - s + 1.0, p), 1.0)


def _at_most(s: Array, n: Array, p: Array) -> Array:
    """P(Bin(n, p) <= s)."""
    return np.where(s < n, betaincc(s + 1.0, np.maximum(n - s, 1.0), p), 1.0)


def exact_p_value(holds: ArrayLike, trials: ArrayLike, p0: ArrayLike, alternative: Alternative = "greater") -> Array:
    """Exact binomial p-value, the inversion of the Clopper-Pearson limits.

    Parameters
    ----------
    holds, trials, p0 : array_like, broadcast against each other
    alternative : {"greater", "less", "two-sided"}
        "greater" tests P <= p0, "less" tests P >= p0, "two-sided" P = p0 by twice the smaller tail.

    Returns
    -------
    ndarray
        In (0, 1]; P(p-value <= u) <= u for every u under the hypothesis; 1 where trials = 0.

    Raises
    ------
    InputError
        If the counts, p0 or the alternative are impossible.
    """
    s, n = checked_counts(holds, trials)
    s, n, p = np.broadcast_arrays(s, n, np.asarray(p0, dtype=np.float64))
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise InputError("p0 must lie between 0 and 1")
    if alternative == "greater":
        return _at_least(s, n, p)
    if alternative == "less":
        return _at_most(s, n, p)
    if alternative == "two-sided":
        return np.minimum(2.0 * np.minimum(_at_least(s, n, p), _at_most(s, n, p)), 1.0)
    raise InputError(f"alternative {alternative!r} is not known: choose one of {', '.join(ALTERNATIVES)}")


def bonferroni(p_values: ArrayLike) -> Array:
    """Adjusted p-values: each times the number of tests.

    Parameters
    ----------
    p_values : array_like
        NaN marks a test that is not made: it takes no share and stays NaN.

    Returns
    -------
    ndarray
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted: Array = np.minimum(p * np.count_nonzero(~np.isnan(p)), 1.0)
    return adjusted


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p-values of Holm's step-down procedure, never above those of Bonferroni.

    The i-th smallest of K takes the factor K - i + 1, and none is below the one before; parameters as in `bonferroni`.
    """
    p = np.asarray(p_values, dtype=np.float64)
    flat = p.ravel()
    made = np.flatnonzero(~np.isnan(flat))
    order = made[np.argsort(flat[made], kind="stable")]
    adjusted = np.full(flat.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(flat[order] * factors), 1.0)
    return adjusted.reshape(p.shape)


def adjusted(p_values: ArrayLike, adjustment: Adjustment = "holm") -> Array:
    """Adjust p-values by a named procedure; see `holm` and `bonferroni`."""
    if adjustment == "holm":
        return holm(p_values)
    if adjustment == "bonferroni":
        return bonferroni(p_values)
    if adjustment == "none":
        return np.array(p_values, dtype=np.float64)
    raise InputError(f"adjustment {adjustment!r} is not known: choose one of {', '.join(ADJUSTMENTS)}")


@dataclass(frozen=True)
class Tests:
    """Exact tests of one probability per width (or per claim).

    Parameters
    ----------
    p0 : ndarray
    alternative, adjustment, policy : str
    p_values, adjusted : ndarray
        NaN where there is no trial or nothing is claimed (p0 NaN).
    """

    p0: Array
    alternative: Alternative
    adjustment: Adjustment
    policy: Policy
    p_values: Array
    adjusted: Array

    def rejected(self, alpha: float = 0.05) -> Mask:
        """Where the hypothesis is rejected; all true hypotheses survive together with probability >= 1 - alpha."""
        return np.asarray(self.adjusted <= alpha)


def exact_tests(
    counts: Counts,
    p0: ArrayLike,
    alternative: Alternative = "greater",
    adjustment: Adjustment = "holm",
    policy: Policy = "bracket",
) -> Tests:
    """Exact tests over a curve or over claims, undecided trials standing against every rejection.

    Parameters
    ----------
    counts : Counts
    p0 : array_like, shape of the counts
        NaN where nothing is claimed.
    alternative, adjustment, policy
        See `exact_p_value`, `adjusted` and `mc.estimate.probability.undecided.reading`.

    Returns
    -------
    Tests
    """
    read = reading(counts, policy)
    p = np.broadcast_to(np.asarray(p0, dtype=np.float64), read.trials.shape)
    made = ~np.isnan(p) & (read.trials > 0)
    safe = np.where(made, p, 0.5)
    greater = exact_p_value(read.least, read.trials, safe, "greater")
    less = exact_p_value(read.most, read.trials, safe, "less")
    if alternative == "greater":
        values = greater
    elif alternative == "less":
        values = less
    else:
        # no completion of the undecided trials has a larger p-value than twice the smaller of the two worst tails
        values = np.minimum(2.0 * np.minimum(greater, less), 1.0)
    values = np.where(made, values, np.nan)
    return Tests(p, alternative, adjustment, policy, values, adjusted(values, adjustment))
