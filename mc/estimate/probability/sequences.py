"""Confidence sequences of a probability: limits that hold at every number of trials at once (theory §8).

For holds X_1, X_2, ... with P(X_i = 1 | past) = p, s of the first n, and a Beta(a, b) prior pi,

    M_n(p) = int L_n(q)/L_n(p) pi(dq) = B(a + s, b + n - s) / (B(a, b) p^s (1 - p)^(n - s))

is a martingale with mean one, so P(M_n(p) >= 1/alpha for some n) <= alpha (Ville), and {p : M_n(p) < 1/alpha} covers p
at all n together. For one side the bets against p are withdrawn on the other:

    F_n(p) = int_p^1 L_n(q)/L_n(p) pi(dq) + pi([0, p])

is a supermartingale under every p' <= p, falls in p up to s/n and stays below one beyond: {p : F_n(p) < 1/alpha} is a
one-sided limit, and F_n(p_0) the e-process of H0: P <= p_0 of which it is the inversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, betaln, lambertw, xlog1py

from mc.errors import InputError
from mc.estimate.probability.intervals import checked_counts, checked_tail
from mc.estimate.probability.roots import falling_root
from mc.model.arrays import Array


@dataclass(frozen=True)
class Prior:
    """The Beta(a, b) law that spreads the bets; chosen before the data, it changes the width and never the validity."""

    a: float = 0.5
    b: float = 0.5

    def __post_init__(self) -> None:
        if not (0.0 < self.a < np.inf and 0.0 < self.b < np.inf):
            raise InputError(f"prior Beta({self.a!r}, {self.b!r}): both parameters must be positive and finite")

    @property
    def mirrored(self) -> Prior:
        """The same bets on fails instead of holds."""
        return Prior(self.b, self.a)


JEFFREYS = Prior()


def _excess(v: Array, share: Array) -> Array:
    """Kullback-Leibler divergence of Bernoulli(share) from Bernoulli(p), v = log(p/share) <= 0, no digit cancelled."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(share < 1.0, -share * np.expm1(v) / (1.0 - share), 0.0)
    divergence: Array = -share * v - xlog1py(1.0 - share, ratio)
    return divergence


def _steepness(p: Array, share: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(share < 1.0, (share - p) / (1.0 - p), 1.0)


def log_marginal_ratio(holds: ArrayLike, trials: ArrayLike, prior: Prior = JEFFREYS) -> Array:
    """log of int L(q) pi(dq) / max L, at most zero."""
    s, n = checked_counts(holds, trials)
    f = n - s
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(n > 0, s / n, 0.5)
        top = np.where(s > 0, s * np.log(share), 0.0) + np.where(f > 0, f * np.log1p(-share), 0.0)
    made: Array = betaln(prior.a + s, prior.b + f) - betaln(prior.a, prior.b) - top
    return made


def _two_sided_v(s: Array, n: Array, alpha: float, prior: Prior) -> Array:
    """v = log(p n/s) at the lower end of {M < 1/alpha}; needs s > 0."""
    share = s / n
    target = (-np.log(alpha) - log_marginal_ratio(s, n, prior)) / n
    # KL >= -share v + (1 - share) log(1 - share), and KL >= 2 (share - p)^2: both put the root to their right
    far = (xlog1py(1.0 - share, -share) - target) / share
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.log1p(-np.sqrt(target / 2.0) / share)
    low = np.fmax(far, near)

    def gap(v: Array) -> tuple[Array, Array]:
        p = share * np.exp(v)
        return _excess(v, share) - target, -_steepness(p, share)

    # convex and falling: Newton from the left never passes the root
    return falling_root(gap, low, np.zeros_like(low), low)


def _one_sided_v(s: Array, n: Array, alpha: float, prior: Prior) -> Array:
    """v = log(p n/s) where F = 1/alpha; needs s > 0."""
    share, f = s / n, n - s
    ratio = log_marginal_ratio(s, n, prior)
    low = _two_sided_v(s, n, alpha, prior)  # F >= M left of s/n

    def gap(v: Array) -> tuple[Array, Array]:
        p = share * np.exp(v)
        bets = np.exp(np.minimum(ratio + n * _excess(v, share), 700.0)) * betaincc(prior.a + s, prior.b + f, p)
        total = bets + betainc(prior.a, prior.b, p)
        return np.log(total * alpha), -n * _steepness(p, share) * bets / total

    return falling_root(gap, low, np.zeros_like(low), low)


def _limit(holds: ArrayLike, trials: ArrayLike, alpha: float, prior: Prior, one_sided: bool) -> Array:
    s, n = checked_counts(holds, trials)
    checked_tail(alpha)
    limit = np.zeros(s.shape)
    some = s > 0
    if some.any():
        # counts repeat, in simulations above all: each pair is solved once
        pairs, where = np.unique(s[some] + 1j * n[some], return_inverse=True)
        ones, all_ = pairs.real.copy(), pairs.imag.copy()
        v = (_one_sided_v if one_sided else _two_sided_v)(ones, all_, alpha, prior)
        limit[some] = (ones / all_ * np.exp(v))[where]
    return limit


def sequence_lower(holds: ArrayLike, trials: ArrayLike, alpha: float, prior: Prior = JEFFREYS) -> Array:
    """One-sided lower limits of a confidence sequence: P(limit > p at some n) <= alpha.

    Parameters
    ----------
    holds, trials : array_like of int, broadcast against each other
    alpha : float
        Error probability over all n together, in (0, 1).
    prior : Prior

    Returns
    -------
    ndarray
        Limits in [0, 1], solved to 1e-10 or better; 0 where holds = 0.

    Raises
    ------
    InputError
        If counts or `alpha` are impossible.
    """
    return _limit(holds, trials, alpha, prior, one_sided=True)


def sequence_upper(holds: ArrayLike, trials: ArrayLike, alpha: float, prior: Prior = JEFFREYS) -> Array:
    """One-sided upper limits: one less the lower limits of the fails; see `sequence_lower`."""
    s, n = checked_counts(holds, trials)
    upper: Array = 1.0 - sequence_lower(n - s, n, alpha, prior.mirrored)
    return upper


def confidence_sequence(
    holds: ArrayLike, trials: ArrayLike, alpha: float = 0.05, prior: Prior = JEFFREYS
) -> tuple[Array, Array]:
    """Two-sided limits of the beta-binomial confidence sequence; parameters and errors are those of `sequence_lower`.

    Returns
    -------
    lower, upper : ndarray
        Both ends of {p : M_n(p) < 1/alpha}; they hold together at all n with probability >= 1 - alpha.
    """
    s, n = checked_counts(holds, trials)
    lower = _limit(s, n, alpha, prior, one_sided=False)
    return lower, 1.0 - _limit(n - s, n, alpha, prior.mirrored, one_sided=False)


def tuned_prior(p: float, trials: int, alpha: float = 0.05) -> Prior:
    """The prior that tells probabilities from p soonest at about this number of trials.

    Choose it before the data: from the probability aimed at, never from the one observed. Mean p, and the weight that
    minimises the deviation of s/n from p at which M_n(p) reaches 1/alpha at n = trials, in the normal approximation:
    a + b + 1 = trials/(-W(-alpha^2/e) - 1), W the lower branch of Lambert's function (Howard, Ramdas, McAuliffe and
    Sekhon 2021, §3.5).

    Parameters
    ----------
    p : float
        The probability aimed at, in (0, 1).
    trials : int
        The number of trials at which the interval should be short.
    alpha : float

    Returns
    -------
    Prior
        Of weight one at least: below that a sequence is narrow at its first trials only.
    """
    if not 0.0 < p < 1.0 or trials < 1:
        raise InputError(f"prior tuned to p = {p!r} at {trials!r} trials: give p inside (0, 1) and at least one trial")
    checked_tail(alpha)
    weight = max(trials / float(-lambertw(-(alpha**2) / np.e, -1).real - 1.0) - 1.0, 1.0)
    return Prior(p * weight, (1.0 - p) * weight)
