"""The self-test passes here, repeats, and fails when a method does not keep its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mc.estimate import METHODS, Check, coverage_table, exact_coverage, run_selftest, worst_coverage
from mc.estimate.probability import methods as methods_module
from mc.estimate.probability.methods import Method, MethodClass
from mc.estimate.selftest.coverage import Coverage
from mc.estimate.selftest.selftest import FALSE_ALARM, SelfTest, most_errors


def test_coverage_is_the_sum_over_all_outcomes() -> None:
    for method in METHODS:
        found = exact_coverage(method, 0.83, 40, 0.9)
        holds = np.arange(41)
        lower, upper = METHODS[method].two_sided(holds, holds, 40, 0.1)
        mass = stats.binom.pmf(holds, 40, 0.83)
        assert found.coverage == pytest.approx(mass[(lower <= 0.83) & (upper >= 0.83)].sum(), abs=1e-13)
        assert found.coverage + found.above + found.below == pytest.approx(1.0, abs=1e-13)
        assert found.width == pytest.approx(mass @ (upper - lower), abs=1e-13)


@pytest.mark.parametrize("level", [0.9, 0.999])
def test_exact_and_time_uniform_methods_never_fall_below_their_level(level: float) -> None:
    for trials in (20, 101):
        for name, method in METHODS.items():
            worst = worst_coverage(name, trials, level)
            dense = min(exact_coverage(name, p, trials, level).coverage for p in np.linspace(0.5, 0.9999, 60))
            assert worst.coverage <= dense + 1e-12  # nothing is worse than the edges
            if method.method_class is MethodClass.APPROXIMATE:
                assert worst.coverage < level
            else:
                assert worst.kept


def test_the_table_has_every_combination() -> None:
    table = coverage_table(("wilson", "clopper-pearson"), (0.5, 0.9), (20, 50))
    assert {(row.method, row.p, row.trials) for row in table} == {
        (m, p, n) for m in ("wilson", "clopper-pearson") for p in (0.5, 0.9) for n in (20, 50)
    }


def test_a_false_alarm_is_as_rare_as_said() -> None:
    for studies, alpha in ((100, 0.05), (300, 0.2)):
        allowed = most_errors(studies, alpha, 1e-6)
        assert stats.binom.sf(allowed, studies, alpha) <= 1e-6 < stats.binom.sf(allowed - 1, studies, alpha)


def test_the_short_form_passes_and_repeats() -> None:
    found = run_selftest(seed=1)
    assert found.passed
    assert found.false_alarm == FALSE_ALARM == 1e-6
    lines = found.lines()
    assert len(lines) == len(found.checks) + 1
    assert all(line.startswith("ok") for line in lines[:-1])
    assert "1e-06" in lines[-1]
    simulated = [check for check in found.checks if "studies" in check.how]
    assert len(simulated) == 5


def test_a_failed_check_fails_the_whole() -> None:
    checks = (Check("good", 0.0, 1.0, "exact"), Check("bad", 0.2, 0.1, "exact"), Check("seen", 0.2, math.nan, "exact"))
    found = SelfTest(checks, FALSE_ALARM)
    assert not found.passed
    assert [line[:4] for line in found.lines()] == ["ok  ", "FAIL", "ok  ", "2 of"]
    assert Check("nan", math.nan, 0.1, "exact").passed is False


def test_a_method_that_breaks_its_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wilson = METHODS["wilson"]
    liar = Method("clopper-pearson", MethodClass.EXACT, wilson.lower, wilson.upper)
    monkeypatch.setattr(methods_module, "METHODS", {**METHODS, "clopper-pearson": liar})
    found: Coverage = worst_coverage("clopper-pearson", 50)
    assert not found.kept
