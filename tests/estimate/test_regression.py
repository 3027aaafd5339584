"""Regression on log k with Firth's penalty, and scaling laws over cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from mc.errors import InputError
from mc.estimate.widths.regression import fit_curve, objective, weighted_line
from mc.estimate.widths.scaling import CellCurve, scaling_law

WIDTHS = np.array([10, 20, 40, 80, 160])
X = np.log(WIDTHS)
SOME = np.array([3, 20, 55, 80, 97])
APART = np.array([0, 0, 100, 100, 100])


def value(a: float, b: float, holds: np.ndarray) -> float:
    """Return the penalised log-likelihood of 100 trials at each width."""
    z = X - X.mean()
    return float(objective(a + b * z, holds.astype(float), np.full(5, 100.0), z))


@pytest.mark.parametrize("holds", [SOME, APART, np.array([0, 0, 0, 0, 1]), np.array([100, 100, 100, 100, 100])])
def test_the_fit_is_the_maximum_of_the_penalised_likelihood(holds: np.ndarray) -> None:
    fit = fit_curve(WIDTHS, holds, 100)
    a, b = float(fit.intercept), float(fit.slope)
    assert np.isfinite([a, b]).all()
    # a step of 1e-3 loses 1e-6 times the curvature, far more than the rounding of the likelihood
    steps = [(1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)]
    assert all(value(a + da, b + db, holds) < value(a, b, holds) for da, db in steps)


def test_the_penalty_is_half_the_log_determinant() -> None:
    z = X - X.mean()
    p = expit(0.3 + 0.8 * z)
    design = np.stack([np.ones(5), z])
    information = (design * (100 * p * (1 - p))) @ design.T
    plain = (SOME * np.log(p) + (100 - SOME) * np.log(1 - p)).sum()
    expected = plain + 0.5 * math.log(np.linalg.det(information))
    assert value(0.3, 0.8, SOME) == pytest.approx(expected, rel=1e-12)


def test_the_width_is_where_the_curve_reaches_p() -> None:
    fit = fit_curve(WIDTHS, SOME, 100)
    for p in (0.1, 0.5, 0.9):
        assert expit(fit.intercept + fit.slope * (fit.log_width(p) - fit.centre)) == pytest.approx(p, rel=1e-12)
    assert math.isnan(fit_curve(WIDTHS, SOME[::-1], 100).log_width(0.5))


def test_batches_are_fitted_as_singles_and_counts_must_allow_a_curve() -> None:
    holds = np.stack([SOME, APART])
    both = fit_curve(WIDTHS, holds, 100)
    for i in range(2):
        single = fit_curve(WIDTHS, holds[i], 100)
        # each stops when its last step is below 1e-10
        assert both.slope[i] == pytest.approx(float(single.slope), rel=1e-8)
    with pytest.raises(InputError, match="two widths"):
        fit_curve(WIDTHS, [0, 0, 5, 0, 0], [0, 0, 9, 0, 0])


def test_firth_is_less_biased_than_it_is_variable_and_finite_always(rng: np.random.Generator) -> None:
    truth = 2.0
    holds = rng.binomial(20, expit(truth * (X - X[2])), (400, 5))
    slope = fit_curve(WIDTHS, holds, np.full((400, 5), 20)).slope
    assert np.isfinite(slope).all()
    assert abs(slope.mean() - truth) < 4 * slope.std() / 20 + 0.05  # the remaining bias is O(1/n^2)


def test_a_weighted_line_is_that_of_numpy(rng: np.random.Generator) -> None:
    x, y, weight = rng.normal(size=9), rng.normal(size=9), rng.uniform(1.0, 3.0, 9)
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(weight))
    found, moment, residual = weighted_line(x, y, weight)
    assert found == pytest.approx(slope, rel=1e-10)
    assert residual == pytest.approx(y - intercept - slope * x, abs=1e-12)
    assert moment == pytest.approx(np.cov(x, aweights=weight, ddof=0) * weight.sum(), rel=1e-12)


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


def test_cells_that_do_not_separate_exponents_are_refused(rng: np.random.Generator) -> None:
    cells = [c for c in law_cells(rng, {"n": 1.0}) if c.scales["sigma_A"] == 1.0]
    with pytest.raises(InputError, match="separate"):
        scaling_law(cells, "hidden", "trial", seed=3, simulations=5)
