"""Estimates on saved trajectories: times, bands, rates, medians, decibels and endings of curves that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.estimate.flows.error_bands import at_times, band, common_times, settled, stopping_bound, stops
from mc.estimate.flows.losses import exponential_rate, median_of, power_exponent
from mc.estimate.flows.recovery import first_within, psnr, true_span, truth_of
from mc.estimate.flows.stuck import exact_counts, stuck
from mc.model.draws import draw_problem
from mc.model.losses import MeanSquare
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Exact, Outcome, Verdict


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values)


@given(st.floats(0.05, 0.95), st.integers(10, 200))
def test_the_time_at_which_a_known_curve_settles_is_in_its_interval(level: float, count: int) -> None:
    t = np.linspace(0.0, 5.0, count)[None]
    found = settled(t, np.exp(-t), np.zeros_like(t), np.array([level]))
    assert found.low[0] < -np.log(level) <= found.high[0]
    if np.isfinite(found.high[0]):
        assert found.high[0] - found.low[0] == pytest.approx(5.0 / (count - 1))


def test_a_curve_that_rises_again_settles_the_last_time() -> None:
    t = rows([0.0, 1.0, 2.0, 3.0, 4.0])
    found = settled(t, rows([3.0, 0.5, 2.0, 0.5, 0.4]), np.zeros_like(t), np.ones(1))
    assert (found.low[0], found.high[0]) == (2.0, 3.0)


def test_errors_widen_the_interval_and_unknown_ones_leave_it_open() -> None:
    t, curve = rows([0.0, 1.0, 2.0, 3.0]), rows([3.0, 1.1, 0.9, 0.1])
    found = settled(t, curve, np.full_like(t, 0.2), np.ones(1))
    assert (found.low[0], found.high[0]) == (0.0, 3.0)
    found = settled(t, curve, np.full_like(t, np.nan), np.ones(1))
    assert (found.low[0], found.high[0]) == (0.0, np.inf)


def test_below_from_the_start_never_below_and_no_trajectory() -> None:
    t = rows([0.0, 1.0, np.nan], [0.0, 1.0, 2.0], [np.nan, np.nan, np.nan])
    curve = rows([0.5, 0.4, np.nan], [3.0, 3.0, 3.0], [np.nan, np.nan, np.nan])
    found = settled(t, curve, np.zeros_like(t), np.ones(3))
    np.testing.assert_array_equal(found.low, [0.0, 2.0, np.nan])
    np.testing.assert_array_equal(found.high, [0.0, np.inf, np.nan])


def test_the_bound_of_early_stopping_in_closed_form() -> None:
    # mse: Psi = -log(2 s)/2 + const, so that sigma^2 t = log(psi_0/|eps|), and 0 where the start is below the noise
    psi_0, eps, sigma = np.array([3.0, 0.5, 3.0]), np.array([0.1, 1.0, 0.1]), np.array([0.2, 0.2, np.nan])
    np.testing.assert_allclose(
        stopping_bound(MeanSquare(), psi_0, eps, sigma), [np.log(30.0) / 0.04, 0.0, np.nan], rtol=1e-12
    )


def test_values_at_common_times_are_interpolated_and_held() -> None:
    t = rows([0.0, 1.0, 3.0, np.nan], [0.0, 2.0, 4.0, 8.0])
    values = rows([4.0, 2.0, 1.0, np.nan], [0.0, 2.0, 4.0, 8.0])
    np.testing.assert_allclose(
        at_times(t, values, np.array([0.0, 0.5, 2.0, 3.0, 7.0])), [[4, 3, 1.5, 1, 1], [0, 0.5, 2, 3, 7]]
    )


def test_bands_are_the_quantiles_over_trials() -> None:
    t = np.tile(np.linspace(0.0, 1.0, 11), (101, 1))
    values = np.arange(101.0)[:, None] * np.ones((1, 11))
    found = band(t, values, common_times(t, 5))
    np.testing.assert_allclose(found, np.repeat([[5.0], [50.0], [95.0]], 5, axis=1))
    assert np.isnan(band(np.full_like(t, np.nan), values, np.ones(2))).all()


def test_three_rules_stop_where_they_should() -> None:
    t = rows([0.0, 1.0, 2.0, 3.0, np.nan], [np.nan] * 5)
    error = rows([5.0, 2.0, 3.0, 4.0, np.nan], [np.nan] * 5)
    residual = rows([9.0, 2.0, 1.0, 0.1, np.nan], [np.nan] * 5)
    found = stops(t, error, residual, np.ones(2))
    np.testing.assert_array_equal(found.best, [2.0, np.nan])
    np.testing.assert_array_equal(found.stopped, [3.0, np.nan])
    np.testing.assert_array_equal(found.last, [4.0, np.nan])
    np.testing.assert_array_equal(found.stop_time, [2.0, np.nan])


@given(st.floats(0.5, 6.0), st.floats(0.0, 5.0))
def test_a_power_of_the_time_has_its_exponent(q: float, log_scale: float) -> None:
    t = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 60)])[None]
    with np.errstate(divide="ignore"):
        loss = np.where(t > 0.0, math.exp(log_scale) * t**-q, 1e9)
    found = power_exponent(t, loss, np.zeros_like(loss))
    assert found.value[0] == pytest.approx(q, rel=1e-9)
    assert found.low[0] <= found.value[0] <= found.high[0]


@given(st.floats(0.01, 10.0), st.floats(-0.04, 0.04))
def test_an_exponential_has_its_rate_within_what_the_errors_leave(rate: float, wrong: float) -> None:
    t = np.linspace(0.0, 15.0 / rate, 80)[None]
    exact = 3.0 * np.exp(-rate * t)
    seen = exact * (1.0 + wrong * np.sign(np.arange(80) % 2 - 0.5))
    found = exponential_rate(t, seen, np.abs(seen - exact))
    assert found.low[0] <= rate * (1 + 1e-9)
    assert found.high[0] >= rate * (1 - 1e-9)
    assert exponential_rate(t, exact, np.zeros_like(t)).value[0] == pytest.approx(rate, rel=1e-9)


def test_early_times_do_not_count() -> None:
    t = np.geomspace(1e-3, 1e3, 200)[None]
    early = np.where(t < 50.0, 1.0, 0.0)
    loss = t**-2.0 * (1.0 + 7.0 * early)
    assert power_exponent(t, loss, np.zeros_like(t)).value[0] == pytest.approx(2.0, rel=1e-9)


def test_a_loss_of_which_nothing_is_known_leaves_the_slope_open() -> None:
    t = np.geomspace(1.0, 1e3, 50)[None]
    unknown = np.full_like(t, np.nan)
    found = power_exponent(t, t**-2.0, unknown)
    assert (found.low[0], found.high[0]) == (-np.inf, np.inf)
    assert np.isnan(power_exponent(t, unknown, unknown).value[0])


@pytest.mark.parametrize(("trials", "level"), [(6, 0.95), (17, 0.9), (100, 0.95), (101, 0.99)])
def test_ranks_of_the_median_are_the_largest_that_the_binomial_law_allows(trials: int, level: float) -> None:
    values = np.arange(1.0, trials + 1.0)
    found = median_of(values, values, level)
    rank = int(found.low)
    below = [math.fsum(math.comb(trials, i) for i in range(j)) / 2.0**trials for j in (rank, rank + 1)]
    assert below[0] <= 0.5 * (1.0 - level) < below[1]
    assert found.high == trials + 1 - rank


def test_five_trials_say_nothing_of_a_median_at_95_percent() -> None:
    values = np.arange(5.0)
    found = median_of(values, values, 0.95)
    assert (found.value, found.low, found.high) == (2.0, -np.inf, np.inf)
    assert median_of(np.empty(0), np.empty(0), 0.95).low == -np.inf


def test_unknown_trials_and_wide_ones_widen_the_interval_and_are_never_dropped() -> None:
    values = np.arange(1.0, 101.0)
    sure = median_of(values, values, 0.95)
    unknown = np.where(values > 90.0, np.nan, values)
    open_ = median_of(unknown, unknown, 0.95)
    assert open_.low < sure.low
    assert open_.high == sure.high  # the ten largest may still be the largest
    wide = median_of(values - 1.0, values + 2.0, 0.95)
    assert (wide.low, wide.high) == (sure.low - 1.0, sure.high + 2.0)


def test_psnr_of_errors_that_are_known() -> None:
    # an error of a tenth of the range in every entry: 20 dB; ten times less: 40
    np.testing.assert_allclose(psnr(np.array([0.4, 0.04]) * 5.0, 25, 4.0), [20.0, 40.0], rtol=1e-12)
    assert psnr(np.array([0.0]), 3, 1.0)[0] == np.inf


def test_the_discrepancy_principle_stops_at_the_first_time_within_the_noise() -> None:
    residual = np.array([9.0, 3.0, 1.0, 0.5, np.nan])
    assert [first_within(residual, level) for level in (10.0, 3.0, 0.9, 0.4)] == [0, 1, 3, -1]


@pytest.mark.parametrize("resample", ["trial", "cell"])
@pytest.mark.parametrize("operator", ["mask", "blur"])
def test_the_truth_is_that_of_the_problem(operator: str, resample: str) -> None:
    spec = {"operator": operator, "n": 12, "signal": "piecewise", "pieces": 3, "noise": 0.2, "resample": resample}
    spec |= {"keep": 0.5, "m": 6} if operator == "mask" else {"blur_width": 1.0}
    problem, truth = draw_problem(spec, 5, (1, 2), 3), truth_of(spec, 5, (1, 2), 3)
    np.testing.assert_array_equal(truth.signal, problem.xbar)
    np.testing.assert_allclose(truth.back, problem.y if operator == "blur" else problem.A.T @ problem.y, atol=1e-14)
    assert truth.seen.sum() == (6 if operator == "mask" else 12)
    assert truth.span == true_span(spec, 5, (1, 2), 3) == np.ptp(problem.xbar)


def cell() -> CellResults:
    """Three draws at widths 2, 4 and 8; the flow at 2 and 4."""
    reach, never, early = Exact.REACHES_ZERO, Exact.CANNOT, Exact.UNDECIDED
    arrived, stopped, late = Outcome.CONVERGED_TOLERANCE, Outcome.NOT_CONVERGED_CERTIFIED, Outcome.HORIZON
    data = {
        "exact": np.array([[never, reach, reach], [never, never, reach], [reach, early, reach]], dtype=np.int8),
        "outcome": np.array([[[stopped, arrived], [stopped, stopped], [arrived, late]]], dtype=np.int8),
        "verdict_zonotope_always": np.array(
            [[[Verdict.HOLDS, Verdict.HOLDS], [Verdict.HOLDS, Verdict.VIOLATED], [Verdict.HOLDS, Verdict.UNDECIDED]]],
            dtype=np.int8,
        ),
    }
    widths, empty = np.array([2, 4, 8]), np.array([], dtype=np.int64)
    return CellResults(0, "0" * 16, {"n": 2, "m": 1}, {}, ("hidden",), 3, widths, widths[:2], empty, data)


def test_ends_are_counted_and_the_widest_stuck_draws_are_named() -> None:
    found = stuck(cell(), "hidden")
    assert found is not None
    assert found.trials.tolist() == [3, 3]
    assert found.arrived.tolist() == [1, 1]
    assert found.cannot.tolist() == [2, 1]
    assert found.left_open.tolist() == [0, 1]
    assert found.checked.tolist() == [3, 2]
    assert found.broken.tolist() == [0, 1]
    # The first trial that cannot, at k = 4 and then at k = 2; at k = 8 nobody is stuck.
    assert found.examples == ((1, 4), (0, 2))
    counts = exact_counts(cell())
    assert counts is not None
    assert counts.fails.tolist() == [2, 1, 0]
    assert counts.undecided.tolist() == [0, 1, 0]


def test_every_trajectory_that_was_asked_for_ends_in_one_column() -> None:
    made = cell()
    outcome = np.array([[[NOT_COMPUTED] * 2, *([outcome] * 2 for outcome in Outcome)]], dtype=np.int8)
    found = stuck(replace(made, trials=outcome.shape[1], data={"outcome": outcome}), "hidden")
    assert found is not None
    assert found.trials.tolist() == [len(Outcome)] * 2
    assert (found.arrived + found.cannot + found.left_open).tolist() == found.trials.tolist()


def test_a_mode_that_was_not_run_has_no_ends() -> None:
    assert stuck(cell(), "both") is None
