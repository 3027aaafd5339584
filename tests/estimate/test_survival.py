"""Time to convergence as a censored quantity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mc.estimate.flows.survival import convergence_times
from mc.theory.codes import NOT_COMPUTED, Outcome


def times(outcomes: list[Outcome | int], stops: list[float], level: float = 0.95):  # type: ignore[no-untyped-def]
    return convergence_times(np.array(outcomes, dtype=np.int8), np.array(stops), 7, level)


def test_every_outcome_is_an_event_censored_never_or_left_out() -> None:
    found = times([*Outcome, NOT_COMPUTED], [1.0] * 10 + [math.nan])
    assert (found.events, found.never, found.censored, found.left_out) == (3, 1, 5, 1)
    assert found.trials == 9
    assert found.censored_by == {"horizon": 1, "step-budget": 1, "undecided": 1, "non-finite": 1, "error": 1}


def test_kaplan_meier_by_hand() -> None:
    c, h, never = Outcome.CONVERGED_CERTIFIED, Outcome.STEP_BUDGET, Outcome.NOT_CONVERGED_CERTIFIED
    found = times([c, c, h, c, never], [1.0, 2.0, 2.5, 4.0, 9.0])
    assert found.times.tolist() == [1.0, 2.0, 2.5, 4.0]
    # at risk 5, 4, then after one is lost 2 (the one that never converges stays at risk): 4/5, 3/5, 3/5 * 1/2
    assert found.probability == pytest.approx([0.2, 0.4, 0.4, 0.7])
    assert found.median() == 4.0
    assert found.least == pytest.approx([0.2, 0.4, 0.4, 0.6])
    assert found.most == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert np.all(found.least <= found.probability + 1e-12)
    assert np.all(found.probability <= found.most + 1e-12)


def test_nothing_converged() -> None:
    found = times([Outcome.HORIZON] * 4, [5.0] * 4)
    assert found.probability.tolist() == [0.0]
    assert found.median() == math.inf
    assert (found.lower[0], found.upper[0]) == (0.0, 1.0)
    assert times([NOT_COMPUTED], [math.nan]).trials == 0


def test_an_event_without_a_time_is_left_out() -> None:
    found = times([Outcome.CONVERGED_GD, Outcome.CONVERGED_GD], [math.nan, 1.0])
    assert (found.events, found.left_out) == (1, 1)


def test_the_band_covers_whatever_censors(rng: np.random.Generator) -> None:
    studies, trials, missed = 300, 60, 0
    for _ in range(studies):
        t = rng.exponential(1.0, trials)
        # those that would have been slow run out of steps early: censoring that tells
        budget = np.where(t > 1.5, 0.5, 5.0)
        outcome = np.where(t <= budget, Outcome.CONVERGED_CERTIFIED, Outcome.STEP_BUDGET).astype(np.int8)
        found = convergence_times(outcome, np.minimum(t, budget), level=0.9)
        truth = 1 - np.exp(-found.times)
        # the distribution function is continuous: just before a jump the lower step counts
        before = np.concatenate([[0.0], found.band_upper[:-1]])
        missed += bool(np.any(found.band_lower > truth) or np.any(before[1:] < truth[1:] - 1e-12))
    assert missed / studies <= 0.1 + 4 * math.sqrt(0.09 / studies)


def test_pointwise_limits_cover_near_their_level_when_censoring_tells_nothing(rng: np.random.Generator) -> None:
    studies, trials, covered = 400, 80, 0
    for _ in range(studies):
        t = rng.exponential(1.0, trials)
        outcome = np.where(t <= 2.0, Outcome.CONVERGED_CERTIFIED, Outcome.HORIZON).astype(np.int8)
        found = convergence_times(outcome, np.minimum(t, 2.0))
        i = int(np.searchsorted(found.times, 1.0)) - 1
        covered += found.lower[i] <= 1 - math.exp(-1.0) <= found.upper[i]
    # approximate: 0.02 beside four standard errors
    assert abs(covered / studies - 0.95) <= 0.02 + 4 * math.sqrt(0.95 * 0.05 / studies)
