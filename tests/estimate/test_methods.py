"""Named intervals: their classes, ends and coverage, and what undecided trials count as."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mc.errors import InputError
from mc.estimate import METHODS, Counts, MethodClass, curve_of_counts, interval, lower_limit, reading, upper_limit

LEVEL = 0.95
Z = stats.norm.isf(0.025)


def test_every_method_says_of_which_class_it_is() -> None:
    classes = {name: str(method.method_class) for name, method in METHODS.items()}
    assert classes == {
        "clopper-pearson": "exact",
        "wilson": "approximate",
        "jeffreys": "approximate",
        "hoeffding": "exact",
        "beta-binomial": "time-uniform",
    }
    made = interval(3, 10, 0.9, "lower", "hoeffding")
    assert (made.method, made.method_class, made.level, made.side) == ("hoeffding", MethodClass.EXACT, 0.9, "lower")


def test_wilson_limits_are_the_roots_of_the_score_equation() -> None:
    made = interval([1, 30, 99], 100, LEVEL, method="wilson")
    for s, p in zip([1, 30, 99] * 2, [*made.lower, *made.upper], strict=True):
        # z-score of s/n against p; a few roundings, enlarged near p = 0 by 1/sqrt(p)
        assert abs(s / 100 - p) / math.sqrt(p * (1 - p) / 100) == pytest.approx(Z, rel=1e-11)


def test_jeffreys_and_hoeffding_limits_leave_their_tails() -> None:
    made = interval(7, 20, LEVEL, method="jeffreys")
    assert stats.beta.cdf(made.lower, 7.5, 13.5) == pytest.approx(0.025, rel=1e-10)
    assert stats.beta.sf(made.upper, 7.5, 13.5) == pytest.approx(0.025, rel=1e-10)
    made = interval(50, 100, LEVEL, method="hoeffding")
    assert math.exp(-2 * 100 * (0.5 - made.lower) ** 2) == pytest.approx(0.025, rel=1e-12)
    assert made.upper == pytest.approx(1 - made.lower, rel=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_the_ends_are_closed_and_no_trials_say_nothing(method: str) -> None:
    made = interval([0, 8, 0], [8, 8, 0], LEVEL, method=method)
    assert (made.lower[0], made.upper[1]) == (0.0, 1.0)
    assert 0.0 < made.upper[0] < 1.0
    assert made.upper[0] == pytest.approx(1 - made.lower[1], rel=1e-9)  # one number by two ways round
    assert (made.lower[2], made.upper[2]) == (0.0, 1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.5, 0.95, 1 - 1e-12])
def test_limits_rise_with_the_holds_and_one_side_is_inside_two(method: str, level: float) -> None:
    # the bracket of undecided trials rests on this monotonicity
    holds = np.arange(61)
    two, low, high = (interval(holds, 60, level, side, method) for side in ("two", "lower", "upper"))
    assert np.all(np.diff(two.lower) >= 0)
    assert np.all(np.diff(two.upper) >= 0)
    assert np.all(low.lower >= two.lower - 1e-12)
    assert np.all(high.upper <= two.upper + 1e-12)
    assert low.upper.tolist() == [1.0] * 61
    assert high.lower.tolist() == [0.0] * 61


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="interval method 'exact'"):
        interval(1, 2, method="exact")
    with pytest.raises(InputError, match="policy 'ignore'"):
        reading(Counts.zero(1), "ignore")  # type: ignore[arg-type]


N_BIG = 10**9


def test_a_billion_trials_keep_the_tails() -> None:
    for tail in (0.025, 0.5e-12):
        x = float(upper_limit(1, N_BIG, tail))
        # P(at most one of n) by hand; the limit is a double, so n x has 1e-16 of relative error: 1e-14 of the tail
        by_hand = math.exp(N_BIG * math.log1p(-x)) * (1 + N_BIG * x / (1 - x))
        assert by_hand == pytest.approx(tail, rel=1e-10)
        x = float(upper_limit(0, N_BIG, tail))
        assert math.exp(N_BIG * math.log1p(-x)) == pytest.approx(tail, rel=1e-12)
        x = float(lower_limit(1, N_BIG, tail))
        assert -math.expm1(N_BIG * math.log1p(-x)) == pytest.approx(tail, rel=1e-12)
        # next to one a double resolves 1e-16 and the tail moves by n 1e-16: the limit is the nearest double
        x = float(lower_limit(N_BIG, N_BIG, tail))
        assert abs(x - math.exp(math.log(tail) / N_BIG)) <= np.spacing(1.0)
        assert lower_limit(N_BIG - 1, N_BIG, tail) == pytest.approx(1 - upper_limit(1, N_BIG, tail), abs=2e-16)


@pytest.mark.parametrize("trials", [1, 10**3, 10**6])
def test_limits_are_those_of_the_beta_quantiles(trials: int) -> None:
    holds = np.unique(np.array([0, 1, trials // 3, trials - 1, trials]))
    made = interval(holds, trials, LEVEL)
    some, less = holds > 0, holds < trials
    s = holds[some]
    assert made.lower[some] == pytest.approx(stats.beta.ppf(0.025, s, trials - s + 1), abs=1e-12)
    s = holds[less]
    assert made.upper[less] == pytest.approx(stats.beta.isf(0.025, s + 1, trials - s), abs=1e-12)


COUNTS = Counts(np.array([6]), np.array([2]), np.array([2]))


@pytest.mark.parametrize(
    ("policy", "low", "high", "frequency"),
    [("bracket", (6, 10), (8, 10), 0.7), ("fail", (6, 10), (6, 10), 0.6), ("hold", (8, 10), (8, 10), 0.8),
     ("drop", (6, 8), (6, 8), 0.75)],
)  # fmt: skip
def test_a_policy_is_applied_and_recorded(
    policy: str, low: tuple[int, int], high: tuple[int, int], frequency: float
) -> None:
    for method in METHODS:
        made = curve_of_counts("exact", "hidden", 0, np.array([5]), COUNTS, method=method, policy=policy)  # type: ignore[arg-type]
        (estimate,) = made.estimates()
        assert estimate.interval[0] == interval(*low, method=method).lower
        assert estimate.interval[1] == interval(*high, method=method).upper
        assert (estimate.policy, estimate.method, estimate.undecided_share) == (policy, method, 0.2)
        assert estimate.bracket == (0.6, 0.8)
        assert made.frequency[0] == pytest.approx(frequency)
