"""Exact limits and named intervals: by hand, beside scipy, at their ends, and with undecided trials."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mc.errors import InputError
from mc.estimate import Counts, clopper_pearson, interval
from mc.estimate.probability.intervals import lower_limit, upper_limit
from mc.estimate.probability.methods import METHODS, MethodClass
from mc.estimate.widths.curves import curve_of_counts

LEVEL = 0.95
# The inverse of the incomplete beta function is solved to a few units in the last place of the limit; its tail then
# moves by that times the density times the limit over the tail, at most about 1e4 in the cases below: 1e-10.
TAIL_RTOL = 1e-10


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("trials", [1, 7, 1000])
def test_two_sided_limits_are_those_of_scipy_and_leave_half_of_alpha_on_each_side(trials: int, level: float) -> None:
    holds = np.unique(np.linspace(0, trials, 9).astype(int))
    lower, upper = clopper_pearson(holds, trials, level)
    for s, low, high in zip(holds, lower, upper, strict=True):
        expected = stats.binomtest(int(s), trials).proportion_ci(level, method="exact")
        # binomtest solves for its limits with an absolute tolerance of about 1e-12
        assert low == pytest.approx(expected.low, abs=1e-11)
        assert high == pytest.approx(expected.high, abs=1e-11)
        if s > 0:
            assert low == pytest.approx(stats.beta.ppf((1 - level) / 2, s, trials - s + 1), rel=1e-12)
            assert stats.binom.sf(s - 1, trials, low) == pytest.approx((1 - level) / 2, rel=TAIL_RTOL)
        if s < trials:
            assert high == pytest.approx(stats.beta.isf((1 - level) / 2, s + 1, trials - s), rel=1e-12)
            assert stats.binom.cdf(s, trials, high) == pytest.approx((1 - level) / 2, rel=TAIL_RTOL)


def test_the_ends_are_exact_by_hand() -> None:
    lower, upper = clopper_pearson([0, 5], [5, 5])
    assert (lower[0], upper[1]) == (0.0, 1.0)
    # P(no failure in 5) = p^5 = alpha/2 at the lower limit
    assert lower[1] == pytest.approx(0.025 ** (1 / 5), rel=1e-14)
    assert upper[0] == pytest.approx(1 - 0.025 ** (1 / 5), rel=1e-14)


def test_a_named_side_takes_all_of_alpha() -> None:
    lower, one = clopper_pearson([3, 0], 10, 0.9, "lower")
    zero, upper = clopper_pearson([3, 10], 10, 0.9, "upper")
    assert (one.tolist(), zero.tolist(), lower[1], upper[1]) == ([1.0, 1.0], [0.0, 0.0], 0.0, 1.0)
    assert stats.binom.sf(2, 10, lower[0]) == pytest.approx(0.1, rel=TAIL_RTOL)
    assert stats.binom.cdf(3, 10, upper[0]) == pytest.approx(0.1, rel=TAIL_RTOL)


def test_a_level_of_twelve_nines_keeps_its_tails() -> None:
    level = 1.0 - 1e-12
    tail = 1.0 - level  # what the level is in floating point, 1e-12 to four digits
    lower, upper = clopper_pearson(40, 100, level)
    assert stats.binom.sf(39, 100, lower) == pytest.approx(tail / 2, rel=TAIL_RTOL)
    assert stats.binom.cdf(40, 100, upper) == pytest.approx(tail / 2, rel=TAIL_RTOL)
    # k/K widths: the one-sided limits take the tail itself, so no digit is lost at 1e-15
    assert stats.binom.sf(39, 100, lower_limit(40, 100, 1e-15)) == pytest.approx(1e-15, rel=TAIL_RTOL)


def test_a_billion_trials_keep_the_tails() -> None:
    n = 10**9
    for tail in (0.025, 0.5e-12):
        x = float(upper_limit(1, n, tail))
        # P(at most one of n) by hand; the limit is a double, so n x has 1e-16 of relative error: 1e-14 of the tail
        by_hand = math.exp(n * math.log1p(-x)) * (1 + n * x / (1 - x))
        assert by_hand == pytest.approx(tail, rel=1e-10)
        x = float(upper_limit(0, n, tail))
        assert math.exp(n * math.log1p(-x)) == pytest.approx(tail, rel=1e-12)
        x = float(lower_limit(1, n, tail))
        assert -math.expm1(n * math.log1p(-x)) == pytest.approx(tail, rel=1e-12)
        # next to one a double resolves 1e-16 and the tail moves by n 1e-16: the limit is the nearest double
        x = float(lower_limit(n, n, tail))
        assert abs(x - math.exp(math.log(tail) / n)) <= np.spacing(1.0)
        assert lower_limit(n - 1, n, tail) == pytest.approx(1 - upper_limit(1, n, tail), abs=2e-16)


def test_a_hundred_thousand_intervals_are_quick(rng: np.random.Generator) -> None:
    holds = rng.integers(0, 1001, 100_000)
    start = time.process_time()
    clopper_pearson(holds, 1000)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((3, 2), "holds"),
        ((-1, 2), "holds"),
        ((0.5, 2), "whole"),
        ((math.nan, 2), "finite"),
        ((1, 2, 1.0), "level"),
        ((1, 2, 0.95, "middle"), "side"),
    ],
)
def test_impossible_input_is_refused(arguments: tuple[Any, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        clopper_pearson(*arguments)
    with pytest.raises(InputError, match=word):
        interval(*arguments)


def test_a_tail_outside_its_range_and_an_unknown_method_are_refused() -> None:
    with pytest.raises(InputError, match="tail"):
        upper_limit(1, 2, 0.0)
    with pytest.raises(InputError, match="interval method 'wilson'"):
        interval(1, 2, method="wilson")


def test_an_interval_records_how_it_was_made() -> None:
    made = interval(3, 10, 0.9, "lower", "beta-binomial")
    assert (made.method, made.method_class, made.level, made.side) == (
        "beta-binomial", MethodClass.TIME_UNIFORM, 0.9, "lower",
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_the_ends_are_closed_and_no_trials_give_everything(method: str) -> None:
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


@pytest.mark.parametrize("method", METHODS)
def test_undecided_trials_stand_against_both_ends_and_are_recorded(method: str) -> None:
    counts = Counts(np.array([6]), np.array([2]), np.array([2]))
    made = curve_of_counts("exact", "hidden", 0, np.array([5]), counts, method=method)
    (estimate,) = made.estimates()
    assert estimate.interval == (interval(6, 10, method=method).lower, interval(8, 10, method=method).upper)
    assert (estimate.policy, estimate.method, estimate.undecided_share) == ("bracket", method, 0.2)
    assert estimate.bracket == (0.6, 0.8)
    assert made.frequency[0] == pytest.approx(0.7)
