"""Numbers of trials a claim takes, and claims that no outcome of an experiment can decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mc.errors import InputError
from mc.estimate import trials_for_power, trials_needed
from mc.estimate.probability.methods import METHODS
from mc.estimate.sampling.planning import least_trials, undecidable


@given(st.floats(1e-4, 0.5), st.floats(1e-6, 0.3))
def test_without_fails_the_number_is_a_ratio_of_logarithms(delta: float, alpha: float) -> None:
    ratio = math.log(alpha) / math.log1p(-delta)
    if abs(ratio - round(ratio)) > 1e-6:  # where the ratio is whole the last bit decides
        assert trials_needed(1 - delta, alpha).trials == max(math.ceil(ratio), 1)


def test_allowed_fails_are_those_of_the_tables() -> None:
    # the well-known numbers of 95 % / 95 % acceptance sampling
    assert least_trials(np.arange(4), 0.95).tolist() == [59, 93, 124, 153]
    for f, n in enumerate([59, 93, 124, 153]):
        assert stats.binom.cdf(f, n, 0.05) <= 0.05 < stats.binom.cdf(f, n - 1, 0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_number_is_the_least_that_supports(method: str) -> None:
    for fails in (0, 3):
        n = trials_needed(0.9, 0.05, fails, method).trials
        assert n is not None
        lower = METHODS[method].lower
        assert lower(n - fails, n, 0.05) >= 0.9 > lower(n - 1 - fails, n - 1, 0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_the_power_is_reached_and_not_before(method: str, power: float) -> None:
    found = trials_for_power(0.9, 0.97, power, 0.05, method)
    assert found.trials is not None

    def exact(n: int) -> float:
        holds = np.arange(n + 1)
        supports = METHODS[method].lower(holds, n, 0.05) >= 0.9
        return float(stats.binom.pmf(holds, n, 0.97) @ supports)

    assert exact(found.trials) == pytest.approx(found.power, rel=1e-9)
    assert found.power is not None
    assert found.power >= power
    assert max(exact(n) for n in range(max(found.trials - 40, 1), found.trials)) < power


def test_what_cannot_be_planned_is_refused_or_none() -> None:
    with pytest.raises(InputError, match="truth"):
        trials_for_power(0.9, 0.9)
    with pytest.raises(InputError, match=r"p = 1\.0"):
        trials_needed(1.0)
    assert trials_needed(1 - 1e-11).trials is None


def test_an_experiment_that_is_too_small_is_explained() -> None:
    message = undecidable(0.99, 20)
    assert message is not None
    assert "20 trials cannot support P >= 0.99" in message
    assert "299" in message
    assert "lower limit 0.86089" in message  # 0.05^(1/20)
    assert undecidable(0.99, 298) is not None
    assert undecidable(0.99, 299) is None
    shared = undecidable(0.99, 299, tests=7)
    assert shared is not None
    assert "7 tests" in shared
    assert undecidable(0.0, 1) is None
    assert "any number" in str(undecidable(1.0, 10**6))
