"""Confidence sequences, e-values and running limits: inversion, validity at every stopping time, duality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import betaln, xlog1py, xlogy

from mc.errors import InputError
from mc.estimate import (
    Decision,
    Prior,
    confidence_sequence,
    log_e_value,
    peeking_error,
    running_curve,
    running_limits,
    running_maximum,
    sequence_error,
    sequence_lower,
    sequence_upper,
    tuned_prior,
)
from mc.estimate.probability.walks import absorbed, corridor, ever_excluded

ALPHA = 0.05
PRIORS = (Prior(), Prior(1.0, 1.0), tuned_prior(0.9, 300))


def martingale(s: float, n: float, p: float, prior: Prior) -> float:
    return float(betaln(prior.a + s, prior.b + n - s) - betaln(prior.a, prior.b) - xlogy(s, p) - xlog1py(n - s, -p))


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize(("holds", "trials"), [(1, 1), (0, 7), (7, 10), (990, 1000), (1000, 1000), (123_456, 10**6)])
def test_limits_invert_the_mixture_martingale(prior: Prior, holds: int, trials: int) -> None:
    for alpha in (ALPHA, 1e-12):
        lower, upper = (float(x) for x in confidence_sequence(holds, trials, alpha, prior))
        # an error of 1e-10 in p changes log M by the slope (s - n p)/(p (1 - p)) times it; rounding of log M beside
        for p, inside in ((lower, 1e-10), (upper, -1e-10)):
            if 0.0 < p < 1.0 and p + inside < 1.0:
                assert martingale(holds, trials, p + inside, prior) < -math.log(alpha)
                if 0.0 < p - inside < 1.0:
                    assert martingale(holds, trials, p - inside, prior) > -math.log(alpha)
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
    prior, s, n, p0 = Prior(2.0, 3.0), 14, 20, 0.5

    def bet(q: float) -> float:
        return float(np.exp(xlogy(s, q / p0) + xlogy(n - s, (1 - q) / (1 - p0))) * stats.beta.pdf(q, 2, 3))

    by_hand = integrate.quad(bet, p0, 1, epsabs=1e-13)[0] + stats.beta.cdf(p0, 2, 3)
    assert log_e_value(s, n, p0, "greater", prior) == pytest.approx(math.log(by_hand), abs=1e-10)
    both = integrate.quad(bet, 0, 1, epsabs=1e-13)[0]
    assert log_e_value(s, n, p0, "two-sided", prior) == pytest.approx(math.log(both), abs=1e-10)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("prior", PRIORS)
def test_e_values_have_mean_at_most_one(p: float, prior: Prior) -> None:
    n = np.array([1, 5, 40])
    for trials in n:
        s = np.arange(trials + 1)
        mass = stats.binom.pmf(s, trials, p)
        # summed exactly; rounding of at most 41 products
        assert mass @ np.exp(log_e_value(s, trials, p, "two-sided", prior)) == pytest.approx(1.0, abs=1e-12)
        assert mass @ np.exp(log_e_value(s, trials, p, "greater", prior)) == pytest.approx(1.0, abs=1e-12)
        for true in (0.5 * p, 0.95 * p):  # inside the hypothesis P <= p, off its edge
            assert stats.binom.pmf(s, trials, true) @ np.exp(log_e_value(s, trials, p, "greater", prior)) <= 1.0


@given(st.integers(1, 400), st.data(), st.floats(0.01, 0.99), st.sampled_from(PRIORS))
def test_e_values_and_limits_say_the_same(trials: int, data: st.DataObject, p: float, prior: Prior) -> None:
    holds = data.draw(st.integers(0, trials))
    edge = -math.log(ALPHA)
    lower, upper = sequence_lower(holds, trials, ALPHA, prior), sequence_upper(holds, trials, ALPHA, prior)
    greater, less = log_e_value(holds, trials, p, "greater", prior), log_e_value(holds, trials, p, "less", prior)
    if abs(lower - p) > 1e-9:
        assert (greater >= edge) == (p < lower)
    if abs(upper - p) > 1e-9:
        assert (less >= edge) == (p > upper)
    two = confidence_sequence(holds, trials, ALPHA, prior)
    # one side never says less than two
    assert lower >= two[0] - 1e-10
    assert upper <= two[1] + 1e-10


def test_a_tuned_prior_is_shorter_where_it_was_tuned() -> None:
    for p, trials in ((0.9, 300), (0.99, 3000)):
        tuned, holds = tuned_prior(p, trials), np.arange(trials + 1)
        assert tuned.a / (tuned.a + tuned.b) == pytest.approx(p)
        # holds needed to tell P from p: the region of s/n in which p is not excluded
        region = [np.ptp(holds[log_e_value(holds, trials, p, "two-sided", prior) < -math.log(ALPHA)])
                  for prior in (tuned, Prior())]  # fmt: skip
        assert region[0] < region[1]
    with pytest.raises(InputError, match="prior"):
        tuned_prior(1.0, 10)
    with pytest.raises(InputError, match="prior"):
        Prior(0.0, 1.0)


def test_a_walk_is_absorbed_as_by_hand() -> None:
    # leave above with two holds in a row at the start: p^2; leave below at three fails of three: (1-p)^3
    low, high = np.array([0, 0, 1]), np.array([9, 1, 9])
    found = absorbed(0.3, low, high)
    assert found.above.tolist() == pytest.approx([0.0, 0.09, 0.0])
    assert found.below.tolist() == pytest.approx([0.0, 0.0, 0.343])
    assert found.mean_trials == pytest.approx(2 * 0.09 + 3 * 0.91)
    with pytest.raises(InputError, match="corridor"):
        absorbed(0.3, low, high[:2])


def test_the_corridor_is_the_set_of_holds_whose_sequence_contains_p() -> None:
    for alternative in ("two-sided", "greater", "less"):
        low, high = corridor(0.7, 60, ALPHA, alternative)  # type: ignore[arg-type]
        for n in (1, 13, 60):
            s = np.arange(n + 1)
            inside = log_e_value(s, n, 0.7, alternative) < -math.log(ALPHA)  # type: ignore[arg-type]
            assert inside.tolist() == ((s >= low[n - 1]) & (s <= high[n - 1])).tolist()


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 1e-3])
def test_no_stopping_rule_errs_more_than_alpha(p: float, alpha: float) -> None:
    # exact: the probability that the truth is ever excluded in 2000 looks, for two sides and for each one
    for prior in PRIORS:
        assert ever_excluded(p, 2000, alpha, "two-sided", prior).probability <= alpha
        for side in ("greater", "less"):
            assert ever_excluded(p, 2000, alpha, side, prior).probability <= alpha  # type: ignore[arg-type]
    assert sequence_error(0.5, 2000, 0.05).probability > 0.03  # and it is not trivially wide


def test_fixed_size_intervals_do_not_survive_looking() -> None:
    assert peeking_error(0.9, 1, 0.05).probability <= 0.05
    assert peeking_error(0.9, 1000, 0.05).probability > 0.3


def test_the_exact_error_is_what_simulation_gives(rng: np.random.Generator) -> None:
    n, studies = 200, 4000
    holds = np.cumsum(rng.random((studies, n)) < 0.8, axis=1)
    log_e = log_e_value(holds, np.arange(1, n + 1), 0.8, "two-sided")
    wrong = (running_maximum(log_e.T)[-1] >= -math.log(0.2)).mean()
    exact = ever_excluded(0.8, n, 0.2).probability
    assert abs(wrong - exact) < 4 * math.sqrt(exact * (1 - exact) / studies)


def test_running_limits_intersect_and_an_empty_intersection_is_reported() -> None:
    decisions = np.zeros((400, 2), dtype=np.int8)
    decisions[:200, 0] = Decision.HOLDS  # the first half holds, the second fails: not iid
    decisions[::2, 1] = Decision.HOLDS
    found = running_curve(decisions, ALPHA, tests=2)
    assert np.all(np.diff(found.lower, axis=0) >= 0)
    assert np.all(np.diff(found.upper, axis=0) <= 0)
    at = int(found.crossed_at[0])
    assert 200 < at <= 400
    assert found.lower[at - 1, 0] > found.upper[at - 1, 0]
    assert found.lower[at - 2, 0] <= found.upper[at - 2, 0]
    assert found.crossed_at[1] == -1
    single = confidence_sequence(200, 400, ALPHA / 2)
    assert found.lower[-1, 1] >= single[0]
    assert found.upper[-1, 1] <= single[1]


def test_undecided_trials_widen_a_path_and_looks_thin_it() -> None:
    decisions = np.full((50, 1), Decision.HOLDS, dtype=np.int8)
    decisions[10:30] = Decision.UNDECIDED
    open_ = running_curve(decisions)
    some = running_curve(decisions, looks=[10, 50])
    assert some.trials[:, 0].tolist() == [10, 50]
    assert some.lower[1, 0] <= open_.lower[-1, 0]
    assert open_.upper[-1, 0] == 1.0
    assert open_.lower[-1, 0] < running_curve(decisions, policy="hold").lower[-1, 0]
    with pytest.raises(InputError, match="looks"):
        running_curve(decisions, looks=[51])
    assert running_limits([1, 2], [1, 2], [1, 2]).crossed_at == -1


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(InputError, match="p0"):
        log_e_value(1, 2, 1.0)
    with pytest.raises(InputError, match="alternative"):
        log_e_value(1, 2, 0.5, "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tail"):
        sequence_lower(1, 2, 0.0)
