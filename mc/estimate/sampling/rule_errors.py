"""Stopping rules and thresholds tried on known truths: how often what they report is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.streams import Purpose, stream
from mc.estimate.sampling.adaptive import METHOD, AdaptivePlan, Track, replay
from mc.estimate.widths.crossings import crossing_width
from mc.model.arrays import Array, IntArray


@dataclass(frozen=True)
class Goal:
    """A [sampling] table without a file."""

    target_half_width: float | None = None
    decide: bool = False
    min_trials: int = 20
    max_trials: int = 2000
    alpha: float = 0.05


@dataclass(frozen=True)
class Errors:
    """Wrong reports out of studies.

    Parameters
    ----------
    rule : str
    studies, wrong : int
    alpha : float
        What the probability of a wrong report is promised to stay below.
    mean_trials : float
        Trials per study and width.
    """

    rule: str
    studies: int
    wrong: int
    alpha: float
    mean_trials: float


TRUTH = np.array([0.5, 0.9, 0.99])
"""P at the three widths of the simulated cell, drawn from one uniform number per trial as widths share their draws."""
WIDTHS = np.array([10, 100, 1000], dtype=np.int64)


def _study(plan: AdaptivePlan, draws: Array) -> tuple[tuple[IntArray, ...], tuple[Counts, ...]]:
    holds = np.cumsum(draws[:, None] < TRUTH, axis=0)

    def observe(track: Track, trials: IntArray) -> Counts:
        s = np.where(trials > 0, holds[np.maximum(trials, 1) - 1, np.arange(len(WIDTHS))], 0)
        return Counts(s, trials - s, np.zeros_like(s))

    found = replay(plan, observe)
    return found.trials, found.counts


def adaptive_errors(seed: int, studies: int, goal: Goal, claims: Array, block_size: int = 16) -> Errors:
    """Run the adaptive rule to its end, again and again, on a cell whose probabilities are `TRUTH`.

    Parameters
    ----------
    seed : int
    studies : int
    goal : Goal
    claims : ndarray, shape (3,)
        p of the claims. Wrong is: an interval that misses the truth; and with `decide` a verdict against a claim that
        is true (p <= truth) or for one that is false.
    block_size : int

    Returns
    -------
    Errors
    """
    plan = AdaptivePlan(goal, (Track(0, "hidden", "exact", WIDTHS, claims),), block_size)
    tests, method = plan.tests(0), get_method(METHOD)
    wrong, trials = 0, 0
    for study in range(studies):
        draws = stream(seed, Purpose.ADAPTIVE, trial=study).random(goal.max_trials)
        (n,), (counts,) = _study(plan, draws)
        trials += int(n.sum())
        wanted, alpha = n > 0, goal.alpha / tests
        if goal.decide:
            supported = method.lower(counts.holds, n, alpha) >= claims
            contradicted = method.upper(counts.holds, n, alpha) < claims
            bad = np.where(claims <= TRUTH, contradicted, supported)
        else:
            lower, upper = method.two_sided(counts.holds, counts.holds, n, alpha)
            bad = (lower > TRUTH) | (upper < TRUTH)
        wrong += bool((bad & wanted).any())
    kind = "true" if bool((claims <= TRUTH).all()) else "false"
    name = f"decide {kind} claims" if goal.decide else f"half-width {goal.target_half_width}"
    return Errors(f"adaptive, {name}", studies, wrong, goal.alpha, trials / (studies * len(WIDTHS)))


def crossing_errors(
    seed: int, studies: int, steepness: float, trials: int = 100, p: float = 0.5, level: float = 0.95
) -> Errors:
    """How often the interval of k*(p) from ordered tests misses it, k* drawn between the widths of a coarse grid.

    Parameters
    ----------
    seed, studies : int
    steepness : float
        Slope of the logistic curve in log k; at 30 the data are separated in almost every study.
    trials : int
        Per width, widths paired.
    p, level : float

    Returns
    -------
    Errors
    """
    widths = np.array([10, 20, 40, 80, 160], dtype=np.int64)
    rng = stream(seed, Purpose.CROSSINGS, trial=int(1000 * steepness))
    wrong = 0
    for log_width in rng.uniform(np.log(20.0), np.log(80.0), studies):
        truth = expit(np.log(p / (1.0 - p)) + steepness * (np.log(widths) - log_width))
        holds = (rng.random((trials, 1)) < truth).sum(axis=0)
        found = crossing_width(widths, Counts(holds, trials - holds, np.zeros_like(holds)), p, level)
        low, high = found.interval
        wrong += not low < np.exp(log_width) <= high
    return Errors(f"k*({p:g}) by ordered tests, slope {steepness:g}", studies, wrong, 1.0 - level, float(trials))


def rules(seed: int, scale: int) -> tuple[Callable[[], Errors], ...]:
    """The simulations of the self-test, `scale` times as long as its short form."""
    half, decide = Goal(target_half_width=0.05), Goal(decide=True)
    nan = np.full(len(WIDTHS), np.nan)
    return (
        lambda: adaptive_errors(seed, 100 * scale, half, nan),
        # claims at the truth: a contradiction is wrong; just above it: a support is
        lambda: adaptive_errors(seed + 1, 100 * scale, decide, TRUTH),
        lambda: adaptive_errors(seed + 2, 100 * scale, decide, TRUTH + 1e-9),
        lambda: crossing_errors(seed, 300 * scale, 3.0),
        lambda: crossing_errors(seed, 300 * scale, 30.0),
    )
