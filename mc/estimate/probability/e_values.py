"""Along a path of trials: running limits, e-values with their running maximum, and evidence against iid sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc, xlog1py, xlogy

from mc.errors import InputError
from mc.estimate.probability.counts import Counts, Decision, Decisions
from mc.estimate.probability.intervals import checked_counts, checked_tail
from mc.estimate.probability.sequences import JEFFREYS, Prior, confidence_sequence, log_marginal_ratio
from mc.estimate.probability.undecided import Policy, reading
from mc.model.arrays import Array, IntArray

Alternative = Literal["greater", "less", "two-sided"]


@dataclass(frozen=True)
class RunningLimits:
    """The intersection of the intervals of a confidence sequence up to each look.

    Parameters
    ----------
    trials : ndarray of int64, shape (looks, ...)
        Trials at each look.
    lower, upper : ndarray, shape (looks, ...)
        Running maximum of the lower and minimum of the upper limits. All of them hold together with probability
        1 - alpha, so does their intersection.
    crossed_at : ndarray of int64, shape (...)
        Trials at the first look at which the intersection is empty, -1 where it never is. Under iid trials an empty one
        has probability <= alpha: it is evidence that the trials are not iid (or not all undecided alike).
    """

    trials: IntArray
    lower: Array
    upper: Array
    crossed_at: IntArray


def running_limits(
    least: ArrayLike, most: ArrayLike, trials: ArrayLike, alpha: float = 0.05, prior: Prior = JEFFREYS
) -> RunningLimits:
    """Intersect a confidence sequence along its path.

    Parameters
    ----------
    least, most, trials : array_like of int, shape (looks, ...)
        Holds with all undecided trials failing and holding, and trials, in the order of the looks.
    alpha : float
    prior : Prior

    Returns
    -------
    RunningLimits
        An empty intersection is kept as it is: lower > upper.
    """
    n = np.asarray(trials, dtype=np.int64)
    lower = np.maximum.accumulate(confidence_sequence(least, n, alpha, prior)[0], axis=0)
    upper = np.minimum.accumulate(confidence_sequence(most, n, alpha, prior)[1], axis=0)
    empty = lower > upper
    first = np.take_along_axis(np.broadcast_to(n, empty.shape), empty.argmax(axis=0)[None], axis=0)[0]
    return RunningLimits(n, lower, upper, np.where(empty.any(axis=0), first, -1))


def path_counts(decisions: Decisions, looks: ArrayLike | None = None) -> Counts:
    """Counts after the first trials, of each width.

    Parameters
    ----------
    decisions : ndarray of int8, shape (trial, width)
        Values of `Decision`, in the order of the trials.
    looks : array_like of int, optional
        Numbers of trials looked at; all of 1, 2, ... by default.

    Returns
    -------
    Counts
        With arrays of shape (looks, width).
    """
    rows = np.arange(1, len(decisions) + 1) if looks is None else np.asarray(looks, dtype=np.int64)
    if rows.size and (rows.min() < 1 or rows.max() > len(decisions)):
        raise InputError(f"looks must lie between 1 and the number of trials, {len(decisions)}")
    holds, fails, undecided = (
        np.cumsum(decisions == which, axis=0, dtype=np.int64)[rows - 1]
        for which in (Decision.HOLDS, Decision.FAILS, Decision.UNDECIDED)
    )
    return Counts(holds, fails, undecided)


def running_curve(
    decisions: Decisions,
    alpha: float = 0.05,
    tests: int = 1,
    prior: Prior = JEFFREYS,
    policy: Policy = "bracket",
    looks: ArrayLike | None = None,
) -> RunningLimits:
    """Running limits of every width of a run, in the order of its trials.

    Parameters
    ----------
    decisions : ndarray of int8, shape (trial, width)
    alpha : float
        Error probability of all `tests` sequences together (Bonferroni).
    tests : int
        Number of widths and rungs looked at together.
    prior, policy, looks
        As in `running_limits`, `mc.estimate.probability.undecided.reading` and `path_counts`.

    Returns
    -------
    RunningLimits
    """
    checked_tail(alpha)
    read = reading(path_counts(decisions, looks), policy)
    return running_limits(read.least, read.most, read.trials, alpha / max(tests, 1), prior)


def log_e_value(
    holds: ArrayLike, trials: ArrayLike, p0: ArrayLike, alternative: Alternative = "greater", prior: Prior = JEFFREYS
) -> Array:
    """Logarithm of the e-value against a hypothesis on p.

    Parameters
    ----------
    holds, trials, p0 : array_like, broadcast against each other
    alternative : {"greater", "less", "two-sided"}
        "greater" is evidence against P <= p0 (and all of it), "less" against P >= p0, "two-sided" against P = p0.
    prior : Prior

    Returns
    -------
    ndarray
        At every stopping time E(e-value) <= 1 under the hypothesis, so P(e >= 1/alpha ever) <= alpha. e >= 1/alpha
        exactly where p0 is outside the limit of the confidence sequence of the same prior at level 1 - alpha.
    """
    s, n = checked_counts(holds, trials)
    s, n, p = np.broadcast_arrays(s, n, np.asarray(p0, dtype=np.float64))
    if not np.all((p > 0.0) & (p < 1.0)):
        raise InputError("p0 must lie strictly between 0 and 1")
    if alternative == "less":
        return log_e_value(n - s, n, 1.0 - p, "greater", prior.mirrored)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(n > 0, s / n, 0.5)
    gain = xlogy(s, share / p) + xlog1py(n - s, (p - share) / (1.0 - p))
    whole: Array = log_marginal_ratio(s, n, prior) + gain
    if alternative == "two-sided":
        return whole
    if alternative != "greater":
        raise InputError(f"alternative {alternative!r} is not known: choose greater, less or two-sided")
    with np.errstate(divide="ignore"):
        bets = whole + np.log(betaincc(prior.a + s, prior.b + n - s, p))
        total: Array = np.logaddexp(bets, np.log(betainc(prior.a, prior.b, p)))
    return total


def running_maximum(log_e: ArrayLike) -> Array:
    """The largest e-value so far (logarithm), along axis 0: e-processes may be stopped at their best look."""
    return np.asarray(np.maximum.accumulate(np.asarray(log_e, dtype=np.float64), axis=0))
