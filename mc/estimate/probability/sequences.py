"""Confidence sequences of a probability, which hold at every number of trials at once, and their e-values (theory §8).

For holds X_1, X_2, ... with P(X_i = 1 | past) = p, s of the first n, and the law pi = Beta(1/2, 1/2),

    M_n(p) = int L_n(q)/L_n(p) pi(dq) = B(1/2 + s, 1/2 + n - s) / (B(1/2, 1/2) p^s (1 - p)^(n - s))

is a martingale with mean one, so P(M_n(p) >= 1/alpha for some n) <= alpha (Ville), and {p : M_n(p) < 1/alpha} covers p
at all n together. The one-sided version keeps only the bets on q > p:

    F_n(p) = int_p^1 L_n(q)/L_n(p) pi(dq) + pi([0, p])

is a supermartingale under every p' <= p, falls in p up to s/n and stays below one beyond: {p : F_n(p) < 1/alpha} is a
one-sided limit, and F_n(p_0) is the e-value against P <= p_0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

from mc.errors import InputError
from mc.estimate.probability.intervals import checked_counts, checked_tail
from mc.model.arrays import Array

PRIOR = 0.5
"""Both parameters of the law pi (Jeffreys' prior): it changes the width of a sequence, never its validity."""
NEWTON_STEPS = 200
"""Limit of the iterations; about ten are needed."""
RTOL = 1e-11
"""Last relative step of Newton's method: the error is about its square."""

Alternative = Literal["greater", "less", "two-sided"]


def _excess(v: Array, share: Array) -> Array:
    """Return the divergence of Bernoulli(share) from Bernoulli(p), v = log(p/share) <= 0, without cancellation."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(share < 1.0, -share * np.expm1(v) / (1.0 - share), 0.0)
    divergence: Array = -share * v - xlog1py(1.0 - share, ratio)
    return divergence


def _excess_slope(p: Array, share: Array) -> Array:
    """Return minus the derivative of `_excess` in v."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(share < 1.0, (share - p) / (1.0 - p), 1.0)


def _log_marginal_ratio(s: Array, n: Array) -> Array:
    """Return log of int L(q) pi(dq) / max L, at most zero."""
    f = n - s
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(n > 0, s / n, 0.5)
        top = np.where(s > 0, s * np.log(share), 0.0) + np.where(f > 0, f * np.log1p(-share), 0.0)
    ratio: Array = betaln(PRIOR + s, PRIOR + f) - betaln(PRIOR, PRIOR) - top
    return ratio


def _root(function: Callable[[Array], tuple[Array, Array]], low: Array) -> Array:
    """Find where functions that fall from >= 0 at `low` to <= 0 at 0 vanish.

    `function` returns value and slope. Newton's step is taken where it shrinks and stays inside the bracket, else the
    bracket is halved (scipy's `find_root` takes up to twenty times as long: it uses no slope).
    """
    low, high = low.copy(), np.zeros_like(low)
    x, last_step = low.copy(), np.full(low.shape, np.inf)
    for _ in range(NEWTON_STEPS):
        value, slope = function(x)
        positive = value > 0.0
        np.copyto(low, x, where=positive)
        np.copyto(high, x, where=~positive)
        with np.errstate(divide="ignore", invalid="ignore"):
            proposal = x - value / slope
        newton = (proposal > low) & (proposal < high) & (np.abs(proposal - x) <= 0.75 * last_step)
        # a step that rounding alone sends across the end of its bracket has converged as well
        converged = (value == 0.0) | (np.abs(proposal - x) <= RTOL * np.abs(x))
        following = np.where(converged, x, np.where(newton, proposal, 0.5 * (low + high)))
        last_step = np.abs(following - x)
        x = following
        if (last_step <= RTOL * np.abs(x)).all():
            break
    return x


def _two_sided_v(s: Array, n: Array, alpha: float) -> Array:
    """Return v = log(p n/s) at the lower end of {M < 1/alpha}; needs s > 0."""
    share = s / n
    target = (-np.log(alpha) - _log_marginal_ratio(s, n)) / n
    # KL >= -share v + (1 - share) log(1 - share), and KL >= 2 (share - p)^2: both put the root to their right
    far = (xlog1py(1.0 - share, -share) - target) / share
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.log1p(-np.sqrt(target / 2.0) / share)

    def gap(v: Array) -> tuple[Array, Array]:
        return _excess(v, share) - target, -_excess_slope(share * np.exp(v), share)

    # convex and falling: Newton from the left never passes the root
    return _root(gap, np.fmax(far, near))


def _one_sided_v(s: Array, n: Array, alpha: float) -> Array:
    """Return v = log(p n/s) where F = 1/alpha; needs s > 0."""
    share, f = s / n, n - s
    ratio = _log_marginal_ratio(s, n)

    def gap(v: Array) -> tuple[Array, Array]:
        p = share * np.exp(v)
        bets = np.exp(np.minimum(ratio + n * _excess(v, share), 700.0)) * betaincc(PRIOR + s, PRIOR + f, p)
        total = bets + betainc(PRIOR, PRIOR, p)
        return np.log(total * alpha), -n * _excess_slope(p, share) * bets / total

    return _root(gap, _two_sided_v(s, n, alpha))  # F >= M left of s/n


def _lower(holds: ArrayLike, trials: ArrayLike, alpha: float, one_sided: bool) -> Array:
    s, n = checked_counts(holds, trials)
    checked_tail(alpha)
    limit = np.zeros(s.shape)
    positive = s > 0
    if positive.any():
        # counts repeat, in simulations above all: each pair is solved once
        pairs, where = np.unique(s[positive] + 1j * n[positive], return_inverse=True)
        s_once, n_once = pairs.real.copy(), pairs.imag.copy()
        v = (_one_sided_v if one_sided else _two_sided_v)(s_once, n_once, alpha)
        limit[positive] = (s_once / n_once * np.exp(v))[where]
    return limit


def sequence_lower(holds: ArrayLike, trials: ArrayLike, alpha: float) -> Array:
    """Return one-sided lower limits of a confidence sequence: P(limit > p at some n) <= alpha; 0 where holds = 0."""
    return _lower(holds, trials, alpha, one_sided=True)


def sequence_upper(holds: ArrayLike, trials: ArrayLike, alpha: float) -> Array:
    """Return one-sided upper limits: one less the lower limits of the fails."""
    s, n = checked_counts(holds, trials)
    upper: Array = 1.0 - sequence_lower(n - s, n, alpha)
    return upper


def confidence_sequence(holds: ArrayLike, trials: ArrayLike, alpha: float = 0.05) -> tuple[Array, Array]:
    """Return the two-sided limits of the beta-binomial confidence sequence (theory §8).

    Parameters
    ----------
    holds, trials : array_like of int, broadcast against each other
    alpha : float
        Error probability over all numbers of trials together, in (0, 1).

    Returns
    -------
    lower, upper : ndarray
        Ends of {p : M_n(p) < 1/alpha}, solved to 1e-10 or better; they hold together at all n with probability
        >= 1 - alpha. 0 where holds = 0, 1 where holds = trials.

    Raises
    ------
    InputError
        If the counts are not whole numbers with 0 <= holds <= trials, or alpha is outside (0, 1).
    """
    s, n = checked_counts(holds, trials)
    return _lower(s, n, alpha, one_sided=False), 1.0 - _lower(n - s, n, alpha, one_sided=False)


def log_e_value(holds: ArrayLike, trials: ArrayLike, p0: ArrayLike, alternative: Alternative = "greater") -> Array:
    """Return the logarithm of the e-value against P <= p0 ("greater"), P >= p0 ("less") or P = p0 ("two-sided").

    E(e-value) <= 1 under the hypothesis at every stopping time, so P(e >= 1/alpha ever) <= alpha; e >= 1/alpha exactly
    where p0, in (0, 1), is outside the limit of the confidence sequence at alpha.
    """
    s, n = checked_counts(holds, trials)
    s, n, p = np.broadcast_arrays(s, n, np.asarray(p0, dtype=np.float64))
    if not np.all((p > 0.0) & (p < 1.0)):
        raise InputError("p0 must lie strictly between 0 and 1")
    if alternative == "less":
        return log_e_value(n - s, n, 1.0 - p, "greater")
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(n > 0, s / n, 0.5)
    gain = xlogy(s, share / p) + xlog1py(n - s, (p - share) / (1.0 - p))
    two_sided: Array = _log_marginal_ratio(s, n) + gain
    if alternative == "two-sided":
        return two_sided
    if alternative != "greater":
        raise InputError(f"alternative {alternative!r} is not known: choose greater, less or two-sided")
    with np.errstate(divide="ignore"):
        bets = two_sided + np.log(betaincc(PRIOR + s, PRIOR + n - s, p))
        total: Array = np.logaddexp(bets, np.log(betainc(PRIOR, PRIOR, p)))
    return total
