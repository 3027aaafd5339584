"""Regression on log k: links, Firth's fit, likelihood intervals, lack of fit, scaling laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from mc.errors import InputError
from mc.estimate import CellCurve, Counts, Decision, design_effect, fit_curve, fit_test, fitted_width, scaling_law
from mc.estimate.widths.links import LINKS
from mc.estimate.widths.profiles import profile, profile_limits
from mc.estimate.widths.regression import objective

WIDTHS = np.array([10, 20, 40, 80, 160])
X = np.log(WIDTHS)
SOME = np.array([3, 20, 55, 80, 97])
APART = np.array([0, 0, 100, 100, 100])


def of(holds: np.ndarray, trials: int = 100) -> Counts:
    return Counts(holds, trials - holds, np.zeros_like(holds))


@pytest.mark.parametrize("name", LINKS)
def test_a_link_and_its_derivatives_agree(name: str) -> None:
    link, step = LINKS[name], 1e-5
    eta = np.array([-3.0, -0.5, 0.7, 1.5])
    at, up, down = link.at(eta), link.at(eta + step), link.at(eta - step)
    # central differences: an error of step^2 times a third derivative of order ten, and 1e-16/step of rounding
    slope = (np.exp(up.log_mean) - np.exp(down.log_mean)) / (2 * step)
    assert slope / np.exp(at.log_mean) == pytest.approx(at.up, rel=1e-7)
    assert slope / np.exp(at.log_rest) == pytest.approx(at.down, rel=1e-7)
    assert (np.log(up.weight) - np.log(down.weight)) / (2 * step) == pytest.approx(at.weight_turn, abs=1e-6)
    assert np.exp(at.log_mean) + np.exp(at.log_rest) == pytest.approx(np.ones(4), rel=1e-14)
    for p in (0.01, 0.5, 0.99):
        assert np.exp(link.at(np.array([link.of(p)])).log_mean) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("holds", [SOME, APART, np.array([0, 0, 0, 0, 1]), np.array([100, 100, 100, 100, 100])])
def test_the_fit_is_the_maximum_of_the_penalised_likelihood(name: str, holds: np.ndarray) -> None:
    fit = fit_curve(WIDTHS, holds, 100, name)
    z = fit.x - fit.centre
    assert np.isfinite([fit.intercept, fit.slope]).all()

    def value(da: float, db: float) -> float:
        return float(objective(fit.link, fit.intercept + da + (fit.slope + db) * z, fit.holds, fit.trials, z))

    assert value(0, 0) == pytest.approx(float(fit.objective), rel=1e-12)
    # a step of 1e-3 loses 1e-6 times the curvature, far more than the rounding of the likelihood
    assert all(value(a, b) < value(0, 0) for a, b in [(1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)])


def test_the_penalty_is_half_the_log_determinant() -> None:
    link, z = LINKS["probit"], X - X.mean()
    eta = 0.3 + 0.8 * z
    d, p = stats.norm.pdf(eta), stats.norm.cdf(eta)
    design = np.stack([np.ones(5), z])
    information = (design * (100 * d**2 / (p * (1 - p)))) @ design.T
    plain = (SOME * np.log(p) + (100 - SOME) * np.log(1 - p)).sum()
    expected = plain + 0.5 * math.log(np.linalg.det(information))
    assert objective(link, eta, SOME.astype(float), np.full(5, 100.0), z) == pytest.approx(expected, rel=1e-12)


def test_batches_are_fitted_as_singles_and_counts_must_allow_a_curve() -> None:
    holds = np.stack([SOME, APART])
    both = fit_curve(WIDTHS, holds, 100)
    for i in range(2):
        single = fit_curve(WIDTHS, holds[i], 100)
        # each stops when its last step is below 1e-10
        assert both.slope[i] == pytest.approx(float(single.slope), rel=1e-8)
    with pytest.raises(InputError, match="two widths"):
        fit_curve(WIDTHS, [0, 0, 5, 0, 0], [0, 0, 9, 0, 0])
    with pytest.raises(InputError, match="link"):
        fit_curve(WIDTHS, SOME, 100, "tanh")


def test_firth_is_less_biased_than_it_is_variable_and_finite_always(rng: np.random.Generator) -> None:
    truth = 2.0
    holds = rng.binomial(20, expit(truth * (X - X[2])), (400, 5))
    slope = fit_curve(WIDTHS, holds, np.full((400, 5), 20)).slope
    assert np.isfinite(slope).all()
    assert abs(slope.mean() - truth) < 4 * slope.std() / 20 + 0.05  # the bias left is O(1/n^2)


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_the_profile_is_the_maximum_over_the_slope(p: float) -> None:
    link, m = LINKS["logit"], np.full(5, 100.0)
    at = np.array(np.log(35.0))
    slopes = np.exp(np.linspace(-4, 4, 4001))
    eta = link.of(p) + slopes[:, None] * (X - at)
    brute = objective(link, eta, np.broadcast_to(SOME.astype(float), (4001, 5)), m, X).max()
    # the grid is 0.002 apart: its best is off by half the curvature (a few hundred at most) times 1e-6
    assert profile(link, p, at, SOME.astype(float), m, X) == pytest.approx(brute, abs=1e-3)
    assert profile(link, p, at, SOME.astype(float), m, X) >= brute - 1e-9


@pytest.mark.parametrize("link", LINKS)
def test_separated_data_keep_the_whole_gap(link: str) -> None:
    found = fitted_width(WIDTHS, of(APART), 0.5, link=link)
    low, high = found.interval
    # every width of the gap explains the data equally well; outside it 100 trials do not
    assert 20 <= low < 24
    assert 34 < high <= 41
    assert 20 < found.estimate < 40
    assert (found.method, str(found.method_class)) == (f"firth-{link}", "approximate")


def test_no_slope_means_no_bound() -> None:
    flat = fitted_width(WIDTHS, of(np.full(5, 50)), 0.5)
    assert flat.interval == (0.0, math.inf)
    weak = fitted_width(WIDTHS, of(np.array([1, 0, 1, 1, 2]), 10), 0.9)
    assert math.isinf(weak.interval[1])


@pytest.mark.parametrize("steepness", [2.0, 30.0])
def test_likelihood_intervals_cover_near_their_level(steepness: float, rng: np.random.Generator) -> None:
    studies = 300
    k = rng.uniform(np.log(20), np.log(80), studies)
    holds = rng.binomial(100, expit(steepness * (X - k[:, None])))
    low, high = profile_limits(fit_curve(WIDTHS, holds, np.full_like(holds, 100)), 0.5)
    covered = ((low <= k) & (k <= high)).mean()
    # approximate: within 0.02 of the level, beside four standard errors
    assert covered >= 0.95 - 0.02 - 4 * math.sqrt(0.95 * 0.05 / studies)
    assert np.isfinite(high - low).mean() > 0.95


def test_undecided_trials_bracket_a_fit_and_paired_widths_widen_it(rng: np.random.Generator) -> None:
    sure = fitted_width(WIDTHS, of(SOME), 0.5)
    open_ = fitted_width(WIDTHS, Counts(SOME - 3, 100 - SOME, np.full(5, 3)), 0.5)
    assert open_.interval[1] > sure.interval[1]
    assert open_.bracket[0] < open_.estimate < open_.bracket[1]
    truth = expit(2.0 * (X - X[2]))
    paired = (rng.random((200, 1)) < truth).astype(np.int8)
    alone = (rng.random((200, 5)) < truth).astype(np.int8)
    wide = fitted_width(WIDTHS, Counts.of(paired), 0.5, decisions=paired)
    assert wide.design_effect > 1.5  # one draw for five widths: k* is known from fewer draws than there are pairs
    plain = fitted_width(WIDTHS, Counts.of(paired), 0.5)
    assert wide.interval[0] < plain.interval[0] < plain.interval[1] < wide.interval[1]
    independent = design_effect(fit_curve(WIDTHS, alone.sum(axis=0), 200), alone == Decision.HOLDS, 0.5)
    assert independent < 1.5  # 1 up to the error of a variance from 200 trials, 10 percent, and the floor at 1


def test_lack_of_fit_is_seen_and_a_good_fit_is_not_refused(rng: np.random.Generator) -> None:
    good = [fit_test(fit_curve(WIDTHS, rng.binomial(300, expit(1.2 * (X - X[2]))), 300)).p_value for _ in range(300)]
    assert np.mean(np.array(good) <= 0.05) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
    assert stats.kstest(good, "uniform").pvalue > 1e-4
    bad = fit_test(fit_curve(WIDTHS, np.array([150, 150, 150, 290, 150]), 300))
    assert bad.p_deviance < 1e-6
    assert bad.p_pearson < 1e-6
    assert not bad.sparse
    assert bad.p_bootstrap is None


def test_sparse_counts_are_bootstrapped_by_their_seed() -> None:
    fit = fit_curve(WIDTHS, APART, 100)
    first, again, other = (fit_test(fit, seed=s, simulations=99) for s in (1, 1, 2))
    assert first == again
    assert first.sparse
    assert first.p_bootstrap is not None
    assert first.p_bootstrap > 0.05
    assert other.p_bootstrap is not None
    assert (first.p_bootstrap * 100) % 1 == pytest.approx(0, abs=1e-9)
    strange = fit_test(fit_curve(WIDTHS, np.array([0, 10, 0, 10, 0]), 10), seed=1, simulations=99)
    assert strange.p_value == 0.01
    assert fit_test(fit_curve(WIDTHS[:2], [1, 9], 10)).freedom == 0


def law_cells(rng: np.random.Generator, exponents: dict[str, float], trials: int = 200) -> list[CellCurve]:
    cells = []
    for i, (n, sigma) in enumerate((n, s) for n in (10.0, 20.0, 40.0) for s in (0.5, 1.0)):
        scales = {"n": n, "m": 5.0, "sigma_A": sigma, "psi": 3.0 + 0.1 * i * (-1) ** i}
        log_width = 1.0 + sum(e * math.log(scales[name]) for name, e in exponents.items())
        widths = np.unique(np.round(np.exp(log_width + np.linspace(-1.5, 1.5, 7)))).astype(np.int64)
        truth = expit(3.0 * (np.log(widths) - log_width))
        found = (rng.random((trials, 1)) < truth).astype(np.int8)
        cells.append(CellCurve(scales, widths, found, (1, i)))
    return cells


def test_a_scaling_law_is_recovered_with_both_intervals(rng: np.random.Generator) -> None:
    cells = law_cells(rng, {"n": 1.0, "sigma_A": -2.0})
    law = scaling_law(cells, "hidden", "trial", seed=3, simulations=100)
    found = {e.name: e for e in law.exponents}
    assert law.held == ("m",)
    assert set(found) == {"n", "sigma_A", "psi"}
    for name, truth, theory in (("n", 1.0, 1.0), ("sigma_A", -2.0, -2.0)):
        low, high = found[name].bootstrap
        # 95 % intervals, here of one fixed draw
        assert low < truth < high
        assert found[name].jackknife[0] < truth < found[name].jackknife[1]
        assert found[name].theory == theory
        assert high - low < 0.5
    again = scaling_law(cells, "hidden", "trial", seed=3, simulations=100)
    assert again.exponents == law.exponents  # the same to the last digit
    ratios = [x[np.argmin(np.abs(y - 0.5))] for x, y in law.collapse(cells)]
    assert ratios == pytest.approx([1.0] * 6, abs=0.6)  # widths are half an e-fold apart


def test_cells_that_do_not_tell_exponents_apart_are_refused(rng: np.random.Generator) -> None:
    cells = [c for c in law_cells(rng, {"n": 1.0}) if c.scales["sigma_A"] == 1.0]
    with pytest.raises(InputError, match="apart"):
        scaling_law(cells, "hidden", "trial", seed=3, simulations=5)
