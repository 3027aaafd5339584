"""Exact probabilities of stopping rules: the law of the number of holds, absorbed where a rule stops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.e_values import Alternative, log_e_value
from mc.estimate.probability.roots import smallest_whole
from mc.estimate.probability.sequences import JEFFREYS, Prior
from mc.model.arrays import Array, IntArray


@dataclass(frozen=True)
class Absorption:
    """When a walk of Bernoulli(p) steps leaves its corridor.

    Parameters
    ----------
    below, above : ndarray, shape (N,)
        Probability of leaving for the first time after n = 1..N trials, with too few and with too many holds.
    """

    below: Array
    above: Array

    @property
    def probability(self) -> float:
        """Of leaving within the N trials."""
        return float(self.below.sum() + self.above.sum())

    @property
    def mean_trials(self) -> float:
        """Expected number of trials when stopping at the exit or after N."""
        n = np.arange(1, len(self.below) + 1)
        left = self.below + self.above
        return float(left @ n + (1.0 - left.sum()) * len(n))


def absorbed(p: float, low: IntArray, high: IntArray) -> Absorption:
    """The exit law of the number of holds from the corridor low <= s <= high, by recursion over the trials.

    Parameters
    ----------
    p : float
        Probability of a hold.
    low, high : ndarray of int64, shape (N,)
        First and last number of holds that stay inside after n = 1..N trials. Values beyond 0 and n are no limits.

    Returns
    -------
    Absorption
        Each probability is a sum of products of doubles without subtraction: exact to N units in the last place.
    """
    if low.shape != high.shape or low.ndim != 1:
        raise InputError("a corridor needs one lower and one upper end per trial")
    steps = len(low)
    below, above = np.zeros(steps), np.zeros(steps)
    start, law = 0, np.ones(1)
    for i in range(steps):
        following = np.empty(len(law) + 1)
        following[:-1] = law * (1.0 - p)
        following[-1] = 0.0
        following[1:] += law * p
        first = min(max(int(low[i]) - start, 0), len(following))
        last = max(min(int(high[i]) - start + 1, len(following)), first)
        below[i], above[i] = following[:first].sum(), following[last:].sum()
        start, law = start + first, following[first:last]
        if not len(law):
            break
    return Absorption(below, above)


def corridor(
    p: float, trials: int, alpha: float, alternative: Alternative = "two-sided", prior: Prior = JEFFREYS
) -> tuple[IntArray, IntArray]:
    """Where a confidence sequence still contains p: first and last number of holds after n = 1..trials.

    Parameters
    ----------
    p : float
    trials : int
    alpha : float
    alternative : {"two-sided", "greater", "less"}
        "greater" is left upwards only (P <= p is rejected), "less" downwards only.
    prior : Prior

    Returns
    -------
    low, high : ndarray of int64, shape (trials,)
    """
    n = np.arange(1, trials + 1)
    if alternative == "less":
        low, high = corridor(1.0 - p, trials, alpha, "greater", prior.mirrored)
        return n - high, n - low
    edge = -np.log(alpha)
    middle = np.minimum(np.floor(n * p).astype(np.int64), n)
    # one more hold than n stands for "never"
    too_many = smallest_whole(
        lambda s: (s > n) | (log_e_value(np.minimum(s, n), n, p, alternative, prior) >= edge), middle + 1, n + 1
    )
    if alternative == "greater":
        return np.zeros_like(n), too_many - 1
    too_few = smallest_whole(
        lambda f: (f > n) | (log_e_value(n - np.minimum(f, n), n, p, alternative, prior) >= edge), n - middle, n + 1
    )
    return n - too_few + 1, too_many - 1


def ever_excluded(
    p: float, trials: int, alpha: float, alternative: Alternative = "two-sided", prior: Prior = JEFFREYS
) -> Absorption:
    """When a confidence sequence that is looked at after every trial excludes the truth p for the first time.

    Its probability is the worst error of all stopping rules up to `trials` together; parameters as in `corridor`.
    """
    return absorbed(p, *corridor(p, trials, alpha, alternative, prior))
