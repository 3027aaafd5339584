"""Exact coverage: of intervals at a fixed number of trials, by summing binomials, and under looks after every trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mc.estimate.probability.methods import METHODS, MethodClass, get_method
from mc.estimate.probability.roots import smallest_whole
from mc.estimate.probability.tests import exact_p_value
from mc.estimate.probability.walks import Absorption, absorbed, ever_excluded

PROBABILITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999)
TRIALS = (20, 50, 100, 300, 1000, 10_000, 100_000)
DEVIATIONS = 12.0
"""Standard deviations of the holds that are summed over; the rest, below 1e-15, counts as not covered."""
SPARE = 60


@dataclass(frozen=True)
class Coverage:
    """How often an interval is right at one p.

    Parameters
    ----------
    method : str
    method_class : MethodClass
    level, p : float
    trials : int
    coverage : float
        Exact probability of lower <= p <= upper.
    above, below : float
        Probability of an interval that lies above p, and below it.
    width : float
        Mean width.
    """

    method: str
    method_class: MethodClass
    level: float
    p: float
    trials: int
    coverage: float
    above: float
    below: float
    width: float

    @property
    def kept(self) -> bool:
        """Whether the method keeps what its class promises; approximate ones promise nothing."""
        return self.method_class is MethodClass.APPROXIMATE or self.coverage >= self.level - ROUNDING


ROUNDING = 1e-12
"""Of a sum of at most a million products of doubles, and the mass left out."""


def exact_coverage(method: str, p: float, trials: int, level: float = 0.95) -> Coverage:
    """Exact coverage of the two-sided interval of a method at a fixed number of trials.

    Parameters
    ----------
    method : str
        A name of `mc.estimate.probability.methods.METHODS`.
    p : float
    trials : int
    level : float

    Returns
    -------
    Coverage
    """
    found = get_method(method)
    reach = DEVIATIONS * np.sqrt(trials * p * (1.0 - p)) + SPARE
    first, last = max(int(trials * p - reach), 0), min(int(trials * p + reach) + 1, trials)
    holds = np.arange(first, last + 1)
    mass = stats.binom.pmf(holds, trials, p)
    lower, upper = found.two_sided(holds, holds, trials, 1.0 - level)
    covered = (lower <= p) & (p <= upper)
    return Coverage(
        method=method,
        method_class=found.method_class,
        level=level,
        p=p,
        trials=trials,
        coverage=float(mass @ covered),
        above=float(mass @ (lower > p)),
        below=float(mass @ (upper < p)),
        width=float(mass @ (upper - lower)),
    )


def worst_coverage(method: str, trials: int, level: float = 0.95, between: ArrayLike = (0.5, 0.9999)) -> Coverage:
    """The least coverage over p: it is approached at the limits themselves, just outside each.

    Parameters
    ----------
    method, trials, level
        As in `exact_coverage`.
    between : pair of float
        Range of p.

    Returns
    -------
    Coverage
        At the worst p tried.
    """
    found = get_method(method)
    holds = np.arange(trials + 1)
    lower, upper = found.two_sided(holds, holds, trials, 1.0 - level)
    ends = np.concatenate([np.nextafter(lower, 0.0), np.nextafter(upper, 1.0)])
    low, high = np.asarray(between, dtype=np.float64)
    tried = np.unique(ends[(ends >= low) & (ends <= high)])
    if not len(tried):
        tried = np.array([low, high])
    inside = np.searchsorted(upper, tried, side="left"), np.searchsorted(lower, tried, side="right") - 1
    # limits rise with the holds, so an interval of holds covers each p
    mass = stats.binom.cdf(inside[1], trials, tried) - stats.binom.cdf(inside[0] - 1, trials, tried)
    return exact_coverage(method, float(tried[int(np.argmin(mass))]), trials, level)


def coverage_table(
    methods: tuple[str, ...] = tuple(METHODS),
    probabilities: tuple[float, ...] = PROBABILITIES,
    trials: tuple[int, ...] = TRIALS,
    level: float = 0.95,
) -> tuple[Coverage, ...]:
    """Coverage of every method at every p and number of trials."""
    return tuple(exact_coverage(method, p, n, level) for method in methods for p in probabilities for n in trials)


def sequence_error(p: float, trials: int, alpha: float = 0.05) -> Absorption:
    """Exact error of the worst stopping rule up to `trials` on the confidence sequence; at most alpha."""
    return ever_excluded(p, trials, alpha)


def peeking_error(p: float, trials: int, alpha: float = 0.05) -> Absorption:
    """Exact error of the worst stopping rule on fixed-size intervals: what looking after every trial does to them.

    The Clopper-Pearson interval at level 1 - alpha is computed after each of 1..trials trials, and the experiment stops
    at the first one that excludes the truth.
    """
    n = np.arange(1, trials + 1)
    middle = np.floor(n * p).astype(np.int64)
    too_many = smallest_whole(
        lambda s: (s > n) | (exact_p_value(np.minimum(s, n), n, p, "greater") < alpha / 2.0), middle + 1, n + 1
    )
    too_few = smallest_whole(
        lambda f: (f > n) | (exact_p_value(n - np.minimum(f, n), n, p, "less") < alpha / 2.0), n - middle, n + 1
    )
    return absorbed(p, n - too_few + 1, too_many - 1)
