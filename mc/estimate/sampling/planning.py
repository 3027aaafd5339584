"""How many trials a claim needs, and whether N trials can decide it at all (theory §8).

A method supports "P >= p" once the holds reach a number that depends on the trials N alone: with f fails allowed, N has
to reach N_f. The probability of at most f fails falls in N, so the least N with a given power is an N_f.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.intervals import checked_tail
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.tests import exact_p_value
from mc.model.arrays import IntArray, Mask

MOST_TRIALS = 10**9
"""Beyond this no plan is made."""
MOST_FAILS = 10**6
CHUNK = 512


def smallest_whole(condition: Callable[[IntArray], Mask], low: IntArray, high: IntArray) -> IntArray:
    """Find by bisection the smallest whole numbers in [low, high] at which a condition holds; high where it never does.

    The condition must stay true once it is true; it is called with arrays of the shape of `low`.
    """
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = low + (high - low) // 2
        true = condition(middle)
        high = np.where(true, middle, high)
        low = np.where(true | (low >= high), low, middle + 1)
        low = np.minimum(low, high)
    return high


@dataclass(frozen=True)
class TrialsNeeded:
    """A plan for supporting "P >= p" at error alpha."""

    trials: int | None  # None where no number up to `MOST_TRIALS` is enough
    fails: int  # fails (and undecided trials) allowed among them
    p: float
    alpha: float
    method: str
    truth: float | None = None  # the true probability assumed
    power: float | None = None  # the exact probability of support under it


def _check_claim(p: float, alpha: float) -> None:
    if not 0.0 < p < 1.0:
        raise InputError(f"p = {p!r}: the probability of a claim to plan for lies strictly between 0 and 1")
    checked_tail(alpha)


def least_trials(fails: IntArray | int, p: float, alpha: float = 0.05, method: str = "clopper-pearson") -> IntArray:
    """Return the least number of trials N_f that supports P >= p with so many fails, `MOST_TRIALS` + 1 if none does."""
    _check_claim(p, alpha)
    f = np.asarray(fails, dtype=np.int64)

    def supported(trials: IntArray) -> Mask:
        n = np.minimum(trials, MOST_TRIALS)
        holds = np.maximum(n - f, 0)
        if method == "clopper-pearson":
            # the test whose inversion the limit is: cheaper, and its own tail decides ties
            enough = exact_p_value(holds, n, p, "greater") <= alpha
        else:
            enough = get_method(method).lower(holds, n, alpha) >= p
        return np.asarray((trials > MOST_TRIALS) | enough)

    return smallest_whole(supported, f + 1, np.full(f.shape, MOST_TRIALS + 1))


def trials_needed(p: float, alpha: float = 0.05, fails: int = 0, method: str = "clopper-pearson") -> TrialsNeeded:
    """Return how many trials support P >= p when at most `fails` of them fail.

    Parameters
    ----------
    p : float
        The claim, in (0, 1).
    alpha : float
        Error probability of the one-sided limit.
    fails : int
        Fails allowed.
    method : {"clopper-pearson", "beta-binomial"}

    Returns
    -------
    TrialsNeeded
        `trials` is None where more than 1e9 would be needed.

    Raises
    ------
    InputError
        If p or alpha is outside (0, 1), or the method is unknown.
    """
    needed = int(least_trials(fails, p, alpha, method))
    return TrialsNeeded(needed if needed <= MOST_TRIALS else None, fails, p, alpha, method)


def trials_for_power(
    p: float, truth: float, power: float = 0.9, alpha: float = 0.05, method: str = "clopper-pearson"
) -> TrialsNeeded:
    """Return the least fixed number of trials that supports P >= p with a given probability.

    Parameters
    ----------
    p : float
        The claim.
    truth : float
        The true probability it is planned for, above p.
    power : float
        Probability of support, e.g. 0.8 or 0.9; computed exactly from the binomial law.
    alpha : float
        Error probability of the one-sided limit.
    method : {"clopper-pearson", "beta-binomial"}

    Returns
    -------
    TrialsNeeded
        With `trials`, the `fails` allowed among them and the exact `power`.

    Raises
    ------
    InputError
        If truth <= p, where no number of trials supports the claim with a power above alpha.
    """
    _check_claim(p, alpha)
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


def undecidable(
    p: float, trials: int, alpha: float = 0.05, tests: int = 1, method: str = "clopper-pearson"
) -> str | None:
    """Explain why this number of trials per width cannot support "P >= p", whatever their outcome; None if it can.

    `alpha` is shared by all `tests` (widths and rungs at which the claim is tested). p <= 0 claims nothing.
    """
    if not p > 0.0:
        return None
    if p >= 1.0:
        return f"P >= {p:g} cannot be supported by any number of trials: every interval reaches below 1"
    share = alpha / max(tests, 1)
    limit = float(get_method(method).lower(trials, trials, share))
    if limit >= p:
        return None
    need = trials_needed(p, share, 0, method).trials
    enough = f"at least {need} are needed" if need is not None else f"more than {MOST_TRIALS} would be needed"
    error = f"error {share:.3g}" if tests <= 1 else f"error {alpha:g} over {tests} tests"
    digits = max(3, math.ceil(-math.log10(1.0 - p)) + 2)
    return (
        f"{trials} trials cannot support P >= {p:.{digits}g} at {error}, even if all hold (lower limit "
        f"{limit:.{digits + 2}g}): {enough}"
    )
