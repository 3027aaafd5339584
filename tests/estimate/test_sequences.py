"""Confidence sequences and e-values: inversion and duality; test_coverage has the error of stopping rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import betaln, xlog1py, xlogy

from mc.errors import InputError
from mc.estimate import confidence_sequence
from mc.estimate.probability.sequences import log_e_value, sequence_lower, sequence_upper

ALPHA = 0.05


def martingale(s: float, n: float, p: float) -> float:
    return float(betaln(0.5 + s, 0.5 + n - s) - betaln(0.5, 0.5) - xlogy(s, p) - xlog1py(n - s, -p))


@pytest.mark.parametrize(("holds", "trials"), [(1, 1), (0, 7), (7, 10), (990, 1000), (1000, 1000), (123_456, 10**6)])
def test_limits_invert_the_mixture_martingale(holds: int, trials: int) -> None:
    for alpha in (ALPHA, 1e-12):
        lower, upper = (float(x) for x in confidence_sequence(holds, trials, alpha))
        # an error of 1e-10 in p changes log M by the slope (s - n p)/(p (1 - p)) times it; rounding of log M beside
        for p, inside in ((lower, 1e-10), (upper, -1e-10)):
            if 0.0 < p < 1.0 and p + inside < 1.0:
                assert martingale(holds, trials, p + inside) < -math.log(alpha)
                if 0.0 < p - inside < 1.0:
                    assert martingale(holds, trials, p - inside) > -math.log(alpha)
        assert (lower == 0.0) == (holds == 0)
        assert (upper == 1.0) == (holds == trials)


def test_a_billion_trials_are_inverted() -> None:
    lower, upper = confidence_sequence([1, 5 * 10**8, 10**9 - 1], 10**9)
    # symmetry of the prior; log M is rounded at 1e-7 there, over its slope of 1e5: 1e-12 in p
    assert lower == pytest.approx(1 - upper[::-1], abs=1e-11)
    # Stirling: M = 1/alpha at n KL = log(1/alpha) + log(n 2/pi)/2 for p = 1/2, and KL = 2 (s/n - p)^2 to a percent
    radius = math.sqrt((math.log(1e9 * 2 / math.pi) / 2 + math.log(20)) / 2e9)
    assert 0.5 - lower[1] == pytest.approx(radius, rel=0.05)


def test_the_one_sided_bet_is_the_integral_it_is_said_to_be() -> None:
    s, n, p0 = 14, 20, 0.5

    def bet(q: float) -> float:
        return float(np.exp(xlogy(s, q / p0) + xlogy(n - s, (1 - q) / (1 - p0))) * stats.beta.pdf(q, 0.5, 0.5))

    by_hand = integrate.quad(bet, p0, 1, epsabs=1e-13)[0] + stats.beta.cdf(p0, 0.5, 0.5)
    assert log_e_value(s, n, p0, "greater") == pytest.approx(math.log(by_hand), abs=1e-10)
    both = integrate.quad(bet, 0, 1, epsabs=1e-13)[0]
    assert log_e_value(s, n, p0, "two-sided") == pytest.approx(math.log(both), abs=1e-10)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.999])
def test_e_values_have_mean_at_most_one(p: float) -> None:
    n = np.array([1, 5, 40])
    for trials in n:
        s = np.arange(trials + 1)
        mass = stats.binom.pmf(s, trials, p)
        # summed exactly; rounding of at most 41 products
        assert mass @ np.exp(log_e_value(s, trials, p, "two-sided")) == pytest.approx(1.0, abs=1e-12)
        assert mass @ np.exp(log_e_value(s, trials, p, "greater")) == pytest.approx(1.0, abs=1e-12)
        for true in (0.5 * p, 0.95 * p):  # inside the hypothesis P <= p, off its edge
            assert stats.binom.pmf(s, trials, true) @ np.exp(log_e_value(s, trials, p, "greater")) <= 1.0


@given(st.integers(1, 400), st.data(), st.floats(0.01, 0.99))
def test_e_values_and_limits_say_the_same(trials: int, data: st.DataObject, p: float) -> None:
    holds = data.draw(st.integers(0, trials))
    edge = -math.log(ALPHA)
    lower, upper = sequence_lower(holds, trials, ALPHA), sequence_upper(holds, trials, ALPHA)
    greater, less = log_e_value(holds, trials, p, "greater"), log_e_value(holds, trials, p, "less")
    if abs(lower - p) > 1e-9:
        assert (greater >= edge) == (p < lower)
    if abs(upper - p) > 1e-9:
        assert (less >= edge) == (p > upper)
    two = confidence_sequence(holds, trials, ALPHA)
    # one side never says less than two
    assert lower >= two[0] - 1e-10
    assert upper <= two[1] + 1e-10


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(InputError, match="p0"):
        log_e_value(1, 2, 1.0)
    with pytest.raises(InputError, match="alternative"):
        log_e_value(1, 2, 0.5, "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tail"):
        sequence_lower(1, 2, 0.0)
