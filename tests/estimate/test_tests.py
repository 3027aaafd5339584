"""Exact p-values, their adjustment, and paired comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mc.errors import InputError
from mc.estimate import clopper_pearson, compare, holm
from mc.estimate.probability.counts import Decision
from mc.estimate.probability.tests import exact_p_value

F, H, U, O = (int(d) for d in (Decision.FAILS, Decision.HOLDS, Decision.UNDECIDED, Decision.NOT_COUNTED))


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_p_values_are_binomial_tails(holds: int, fails: int, p: float) -> None:
    n = holds + fails
    if n:
        for alternative in ("greater", "less"):
            expected = stats.binomtest(holds, n, p, alternative).pvalue
            # sums of at most 61 terms against the incomplete beta function
            assert exact_p_value(holds, n, p, alternative) == pytest.approx(expected, rel=1e-9, abs=1e-300)  # type: ignore[arg-type]
    low, high = clopper_pearson(holds, n)
    two = exact_p_value(holds, n, p, "two-sided")
    if min(abs(p - low), abs(p - high)) > 1e-9:
        assert (two < 0.05) == (not low <= p <= high)  # the test is the inversion of the interval


def test_no_trials_and_impossible_tests() -> None:
    assert exact_p_value(0, 0, 0.5, "two-sided") == 1.0
    with pytest.raises(InputError, match="p0"):
        exact_p_value(1, 2, 1.5)
    with pytest.raises(InputError, match="alternative"):
        exact_p_value(1, 2, 0.5, "both")  # type: ignore[arg-type]


def test_adjusted_p_values_by_hand() -> None:
    p = [0.01, 0.04, math.nan, 0.03, 0.5]
    # sorted 0.01*4, 0.03*3, 0.04*2 raised to 0.09, 0.5*1
    assert holm(p) == pytest.approx([0.04, 0.09, math.nan, 0.09, 0.5], nan_ok=True)


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=8))
def test_holm_lies_between_the_p_values_and_bonferroni(p: list[float]) -> None:
    found = holm(p)
    assert np.all(found >= np.array(p))
    assert np.all(found <= np.minimum(len(p) * np.array(p), 1.0))


def test_holm_keeps_the_error_of_all_tests_together(rng: np.random.Generator) -> None:
    # four true hypotheses on one paired draw and two false ones; the worst case of the level
    truth, p0, studies = np.array([0.5, 0.6, 0.7, 0.8, 0.95, 0.99]), np.array([0.5, 0.6, 0.7, 0.8, 0.5, 0.5]), 2000
    holds = rng.binomial(60, truth, (studies, 6))
    p = exact_p_value(holds, 60, p0, "greater")
    rejected = np.array([holm(row) <= 0.05 for row in p])
    wrong = rejected[:, :4].any(axis=1).mean()
    assert wrong <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / studies)
    assert rejected[:, 4:].all(axis=1).mean() > 0.99


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int8)[:, None]


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs() -> None:
    first = column(*[H] * 12, *[H] * 30, *[F] * 20, *[F] * 2, O, H)
    second = column(*[F] * 12, *[H] * 30, *[F] * 20, *[H] * 2, H, O)
    found = compare(first, second)
    assert (found.pairs[0], found.only_first[0], found.only_second[0]) == (64, 12, 2)
    assert found.p_values[0] == pytest.approx(stats.binomtest(12, 14).pvalue, rel=1e-9)
    low, high = clopper_pearson(12, 14)
    assert (found.lower[0], found.upper[0]) == (low, high)
    assert found.odds[0][0] == pytest.approx(low / (1 - low))


def test_pairs_with_an_undecided_side_cannot_make_a_difference() -> None:
    first, second = column(*[H] * 20, U, U, U), column(*[F] * 20, F, H, U)
    found = compare(first, second)
    # (U, F) may favour the first, (U, H) the second, (U, U) either
    assert (found.only_first[0], found.only_second[0]) == (20, 0)
    assert found.lower[0] == clopper_pearson(20, 22)[0]
    assert found.upper[0] == 1.0
    completions = [
        exact_p_value(20 + b, 20 + b + c, 0.5, "two-sided") for b in range(3) for c in range(3) if b + c <= 3
    ]
    assert found.p_values[0] >= max(completions)


def test_equal_events_show_no_difference_and_shapes_must_agree() -> None:
    same = column(H, F, H)
    found = compare(same, same)
    assert (found.p_values[0], found.lower[0], found.upper[0]) == (1.0, 0.0, 1.0)
    with pytest.raises(InputError, match="paired"):
        compare(same, same[:2])


def test_paired_tests_keep_their_level(rng: np.random.Generator) -> None:
    # two events with equal probabilities that share most of their draw
    studies, wrong = 1000, 0
    for _ in range(studies):
        u = rng.random((80, 2))
        first = (u[:, :1] < 0.6).astype(np.int8)
        second = np.where(rng.random((80, 1)) < 0.7, first, u[:, 1:] < 0.6).astype(np.int8)
        wrong += bool(compare(first, second).p_values[0] <= 0.05)
    assert wrong / studies <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / studies)
    assert wrong > 0
