"""Coverage of the intervals and error rates of the rules at known truths; benchmarks/coverage.py prints the tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from benchmarks.coverage import (
    TRUTH,
    adaptive_errors,
    crossing_errors,
    ever_excluded,
    exact_coverage,
    peeking_error,
    sequence_error,
    worst_coverage,
)
from mc.estimate.probability.methods import METHODS, Method, MethodClass
from mc.estimate.probability.sequences import log_e_value
from mc.estimate.sampling.adaptive import Goal

NONE = np.full(3, np.nan)


@pytest.mark.parametrize("method", METHODS)
def test_coverage_is_the_sum_over_all_outcomes(method: str) -> None:
    holds = np.arange(41)
    lower, upper = METHODS[method].two_sided(holds, holds, 40, 0.1)
    mass = stats.binom.pmf(holds, 40, 0.83)
    assert exact_coverage(method, 0.83, 40, 0.1) == pytest.approx(
        mass[(lower <= 0.83) & (upper >= 0.83)].sum(), abs=1e-13
    )


@pytest.mark.parametrize("alpha", [0.1, 1e-3])
@pytest.mark.parametrize("trials", [20, 101])
@pytest.mark.parametrize("method", METHODS)
def test_no_method_falls_below_its_level(method: str, trials: int, alpha: float) -> None:
    worst = worst_coverage(method, trials, alpha)
    dense = min(exact_coverage(method, p, trials, alpha) for p in np.linspace(0.5, 0.9999, 60))
    assert 1 - alpha - 1e-12 <= worst <= dense + 1e-12  # nothing is worse than beside the limits


def test_a_method_that_breaks_its_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(holds: object, trials: object, tail: float) -> np.ndarray:
        return METHODS["clopper-pearson"].lower(holds, trials, 1.5 * tail)  # type: ignore[arg-type]

    broken = replace(METHODS["clopper-pearson"], lower=lower)
    assert isinstance(broken, Method)
    monkeypatch.setattr(coverage, "get_method", lambda _: broken)
    assert worst_coverage("clopper-pearson", 100, 0.05) < 0.95


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 1e-3])
def test_no_stopping_rule_errs_more_than_alpha(p: float, alpha: float) -> None:
    # exact: the probability that the truth is ever excluded in 2000 looks, for two sides and for each of them
    assert sequence_error(p, 2000, alpha)[-1] <= alpha
    for side in ("greater", "less"):
        error = ever_excluded(p, 2000, lambda s, n: log_e_value(s, n, p, side) >= -math.log(alpha))  # type: ignore[arg-type]  # noqa: B023
        assert error[-1] <= alpha


def test_a_sequence_is_not_trivially_wide_and_fixed_size_intervals_do_not_survive_looking() -> None:
    assert sequence_error(0.5, 2000)[-1] > 0.03
    assert peeking_error(0.9, 1)[-1] <= 0.05
    assert peeking_error(0.9, 1000)[-1] > 0.3


def test_absorption_by_hand() -> None:
    # excluded above with two holds in the first two trials, 0.3^2, and below with three fails in three, 0.7^3
    found = ever_excluded(0.3, 3, lambda s, n: ((n == 2) & (s == 2)) | ((n == 3) & (s == 0)))
    assert found == pytest.approx([0.0, 0.09, 0.09 + 0.343])


def test_the_exact_error_is_what_simulation_gives(rng: np.random.Generator) -> None:
    n, studies = 200, 4000
    holds = np.cumsum(rng.random((studies, n)) < 0.8, axis=1)
    log_e = log_e_value(holds, np.arange(1, n + 1), 0.8, "two-sided")
    wrong = (log_e.max(axis=1) >= -math.log(0.2)).mean()
    exact = sequence_error(0.8, n, 0.2)[-1]
    assert abs(wrong - exact) < 4 * math.sqrt(exact * (1 - exact) / studies)


@pytest.mark.parametrize("kind", ["half-width", "true claims", "false claims"])
def test_coverage_survives_the_adaptive_rule(kind: str) -> None:
    goal = Goal(0.12 if kind == "half-width" else None, decide=kind != "half-width", max_trials=500, alpha=0.2)
    claims = NONE if kind == "half-width" else TRUTH + (1e-9 if kind == "false claims" else 0.0)
    found = adaptive_errors(11, 60, goal, claims)
    assert found.kept
    assert 20 <= found.mean_trials <= 500
    assert found == adaptive_errors(11, 60, goal, claims)


def test_a_rule_on_fixed_size_intervals_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    # the same rule with Clopper-Pearson limits at the level of one look errs far above alpha: the simulation can fail
    monkeypatch.setattr("mc.estimate.sampling.adaptive.METHOD", "clopper-pearson")
    monkeypatch.setattr(coverage, "METHOD", "clopper-pearson")
    found = adaptive_errors(11, 150, Goal(decide=True, max_trials=4000, alpha=0.4), TRUTH, block_size=4)
    assert found.wrong / 150 > 0.4


def test_thresholds_of_known_curves_are_right() -> None:
    assert crossing_errors(5, 60, 30.0).kept


def test_a_false_alarm_is_as_rare_as_promised() -> None:
    errors = crossing_errors(5, 1, 30.0)
    for studies, alpha in ((100, 0.05), (300, 0.2)):
        kept = [replace(errors, studies=studies, wrong=w, alpha=alpha).kept for w in range(studies + 1)]
        most = kept.index(False) - 1
        assert not any(kept[most + 1 :])
        assert stats.binom.sf(most, studies, alpha) <= 1e-6 < stats.binom.sf(most - 1, studies, alpha)


def test_every_method_names_its_class() -> None:
    assert [method.method_class for method in METHODS.values()] == [MethodClass.EXACT, MethodClass.TIME_UNIFORM]
