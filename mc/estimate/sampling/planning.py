"""How many trials a claim takes: exactly, with a power, and whether N can decide it at all (theory §8).

Every method here supports "P >= p" when the holds reach a number that depends on the trials N alone: with f fails
allowed N has to reach N_f. The probability of at most f fails falls in N, so the least N with a given power is an N_f.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.intervals import checked_tail
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.roots import smallest_whole
from mc.estimate.probability.sequences import JEFFREYS, Prior
from mc.estimate.probability.tests import exact_p_value
from mc.estimate.probability.walks import Absorption, absorbed, corridor
from mc.model.arrays import IntArray, Mask

MOST_TRIALS = 10**9
"""Beyond this no plan is made."""
MOST_FAILS = 10**6
CHUNK = 512


@dataclass(frozen=True)
class TrialsNeeded:
    """A plan for supporting "P >= p" at error alpha.

    Parameters
    ----------
    trials : int or None
        None where no number below `MOST_TRIALS` does.
    fails : int
        Fails (and undecided trials) allowed among them.
    p, alpha : float
    method : str
    truth, power : float or None
        The true probability assumed, and the exact probability of support under it.
    """

    trials: int | None
    fails: int
    p: float
    alpha: float
    method: str
    truth: float | None = None
    power: float | None = None


def _checked(p: float, alpha: float) -> None:
    if not 0.0 < p < 1.0:
        raise InputError(f"p = {p!r}: the probability of a claim to plan for lies strictly between 0 and 1")
    checked_tail(alpha)


def _supported(fails: IntArray, trials: IntArray, p: float, alpha: float, method: str) -> Mask:
    holds = np.maximum(trials - fails, 0)
    if method == "clopper-pearson":
        # the test whose inversion the limit is: cheaper, and its own tail decides ties
        return np.asarray(exact_p_value(holds, trials, p, "greater") <= alpha)
    return np.asarray(get_method(method).lower(holds, trials, alpha) >= p)


def least_trials(fails: IntArray | int, p: float, alpha: float = 0.05, method: str = "clopper-pearson") -> IntArray:
    """The least number of trials N_f that supports P >= p with so many fails among them.

    Parameters
    ----------
    fails : int or ndarray of int64
    p, alpha : float
    method : str
        A name of `mc.estimate.probability.methods.METHODS`.

    Returns
    -------
    ndarray of int64
        `MOST_TRIALS` + 1 where more would be needed. Without fails and under Clopper-Pearson it is
        log(1/alpha)/-log(p), rounded up.
    """
    _checked(p, alpha)
    f = np.asarray(fails, dtype=np.int64)
    end = np.full(f.shape, MOST_TRIALS + 1)
    return smallest_whole(
        lambda n: (n > MOST_TRIALS) | _supported(f, np.minimum(n, MOST_TRIALS), p, alpha, method), f + 1, end
    )


def trials_needed(p: float, alpha: float = 0.05, fails: int = 0, method: str = "clopper-pearson") -> TrialsNeeded:
    """Trials that support P >= p when at most `fails` of them fail; see `least_trials`."""
    found = int(least_trials(fails, p, alpha, method))
    return TrialsNeeded(found if found <= MOST_TRIALS else None, fails, p, alpha, method)


def trials_for_power(
    p: float, truth: float, power: float = 0.9, alpha: float = 0.05, method: str = "clopper-pearson"
) -> TrialsNeeded:
    """The least fixed number of trials that supports P >= p with a given probability.

    Parameters
    ----------
    p : float
        The claim.
    truth : float
        The true probability it is planned for, above p.
    power : float
        Probability of support, e.g. 0.8 or 0.9; computed exactly from the binomial law.
    alpha : float
    method : str

    Returns
    -------
    TrialsNeeded

    Raises
    ------
    InputError
        If truth <= p, where no number of trials supports the claim with a power above alpha.
    """
    _checked(p, alpha)
    if not p < truth <= 1.0 or not 0.0 < power < 1.0:
        raise InputError(f"power {power!r} at truth {truth!r}: give a power inside (0, 1) and p = {p!r} < truth <= 1")
    for start in range(0, MOST_FAILS, CHUNK):
        f = np.arange(start, start + CHUNK, dtype=np.int64)
        n = least_trials(f, p, alpha, method)
        if n[0] > MOST_TRIALS:
            break
        reached = exact_p_value(f, n, 1.0 - truth, "less")
        good = (reached >= power) & (n <= MOST_TRIALS)
        if good.any():
            i = int(np.argmax(good))
            return TrialsNeeded(int(n[i]), int(f[i]), p, alpha, method, truth, float(reached[i]))
    return TrialsNeeded(None, 0, p, alpha, method, truth, None)


def sequential_power(
    p: float, truth: float, max_trials: int, alpha: float = 0.05, prior: Prior = JEFFREYS
) -> Absorption:
    """When a confidence sequence that is looked at after every trial supports P >= p, if the truth is `truth`.

    Parameters
    ----------
    p, truth : float
    max_trials : int
    alpha : float
        Of the one-sided sequence.
    prior : Prior

    Returns
    -------
    Absorption
        `probability` is the power within max_trials, `mean_trials` the expected number of trials.
    """
    _checked(p, alpha)
    return absorbed(truth, *corridor(p, max_trials, alpha, "greater", prior))


def best_limit(trials: int, alpha: float = 0.05, method: str = "clopper-pearson") -> float:
    """The lower limit when every trial holds: no claim above it can be supported."""
    return float(get_method(method).lower(trials, trials, alpha))


def undecidable(
    p: float, trials: int, alpha: float = 0.05, tests: int = 1, method: str = "clopper-pearson"
) -> str | None:
    """Why an experiment of this size cannot support a claim, whatever it finds.

    Parameters
    ----------
    p : float
        The claim "P >= p"; p <= 0 claims nothing and is no problem.
    trials : int
        Trials per width.
    alpha : float
        Error probability of all tests together.
    tests : int
        Number of widths (and rungs) the claim is tested at.
    method : str

    Returns
    -------
    str or None
        A sentence for the user with the number of trials that would do, or None where all trials holding supports it.
    """
    if not p > 0.0:
        return None
    if p >= 1.0:
        return f"P >= {p:g} cannot be supported by any number of trials: every interval reaches below 1"
    share = alpha / max(tests, 1)
    limit = best_limit(trials, share, method)
    if limit >= p:
        return None
    need = trials_needed(p, share, 0, method).trials
    enough = f"at least {need} are needed" if need is not None else f"more than {MOST_TRIALS} would be needed"
    at = f"error {share:.3g}" if tests <= 1 else f"error {alpha:g} over {tests} tests"
    digits = max(3, math.ceil(-math.log10(1.0 - p)) + 2)
    return (
        f"{trials} trials cannot support P >= {p:.{digits}g} at {at}, even if all hold (lower limit "
        f"{limit:.{digits + 2}g}): {enough}"
    )
