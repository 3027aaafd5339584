"""P-values of hypotheses on a probability, and their adjustment for several tests (theory §8)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc

from mc.errors import InputError
from mc.estimate.probability.intervals import checked_counts
from mc.estimate.probability.methods import MethodClass, get_method
from mc.estimate.probability.sequences import Alternative, log_e_value
from mc.model.arrays import Array


def exact_p_value(holds: ArrayLike, trials: ArrayLike, p0: ArrayLike, alternative: Alternative = "greater") -> Array:
    """Return exact binomial p-values, the inversion of the Clopper-Pearson limits; 1 where trials = 0.

    "greater" tests P <= p0, "less" tests P >= p0, "two-sided" tests P = p0 by twice the smaller tail.
    """
    s, n = checked_counts(holds, trials)
    s, n, p = np.broadcast_arrays(s, n, np.asarray(p0, dtype=np.float64))
    if not np.all((p >= 0.0) & (p <= 1.0)):
        raise InputError("p0 must lie between 0 and 1")
    at_least = np.where(s > 0, betainc(np.maximum(s, 1.0), n - s + 1.0, p), 1.0)  # P(Bin(n, p) >= s)
    at_most = np.where(s < n, betaincc(s + 1.0, np.maximum(n - s, 1.0), p), 1.0)
    if alternative == "greater":
        return at_least
    if alternative == "less":
        return at_most
    if alternative == "two-sided":
        return np.minimum(2.0 * np.minimum(at_least, at_most), 1.0)
    raise InputError(f"alternative {alternative!r} is not known: choose greater, less or two-sided")


def p_value(
    holds: ArrayLike,
    trials: ArrayLike,
    p0: ArrayLike,
    alternative: Literal["greater", "less"],
    method: str = "clopper-pearson",
) -> Array:
    """Return p-values of P <= p0 ("greater") or P >= p0 ("less"), p0 in [0, 1], of the class of the method.

    A time-uniform method gives one over the e-value, an exact one the binomial tail. They are 1 without trials, and 0
    where the observation has probability 0.
    """
    if get_method(method).method_class is not MethodClass.TIME_UNIFORM:
        return exact_p_value(holds, trials, p0, alternative)
    s, n, p = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (holds, trials, p0)))
    # below half an ulp of 1, 1 - p is 1: no evidence against P >= p is possible there
    inside = (p > 0.0) & (p < 1.0) & (1.0 - p < 1.0)
    log_e = log_e_value(s, n, np.where(inside, p, 0.5), alternative)
    # at an end of [0, 1] one trial against the hypothesis refutes it, and at the other none can
    impossible = (p <= 0.0) & (s > 0) if alternative == "greater" else (p >= 1.0) & (s < n)
    return np.where(inside, np.exp(-np.maximum(log_e, 0.0)), np.where(impossible, 0.0, 1.0))


def holm(p_values: ArrayLike) -> Array:
    """Adjust p-values by Holm's step-down procedure, valid under any dependence.

    The i-th smallest of K takes the factor K - i + 1, and none is below the one before.

    Parameters
    ----------
    p_values : array_like
        NaN marks a test that is not made: it takes no share and stays NaN.

    Returns
    -------
    ndarray
        Of the same shape, at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    flat = p.ravel()
    tested = np.flatnonzero(~np.isnan(flat))
    order = tested[np.argsort(flat[tested], kind="stable")]
    adjusted = np.full(flat.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(flat[order] * factors), 1.0)
    return adjusted.reshape(p.shape)
