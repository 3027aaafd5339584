"""The study of noise: times and bands of curves that are known, the bound in closed form, the section of a tiny run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_cases import without

import mc
from mc.estimate.flows.error_bands import at_times, band, common_times, settled, stopping_bound, stops
from mc.estimate.flows.losses import loss_of, saved_of
from mc.model.losses import MeanSquare
from mc.report.paper.noise import kept, kernel_claims, section, stopped_of, stopping_claims
from mc.report.paper.section import Run, Runs

NETWORK = {"mode": ["hidden", "both"], "activation": "tanh", "d": 10}
PROBLEMS = {
    "noise-levels": {"n": 2, "m": 3, "operator": "spectrum", "condition": [1.0, 10.0], "noise": [0.1, 0.5]},
    "noise-bound": {"n": 2, "m": 2, "operator": "spectrum", "condition": 1.0, "noise": 0.1},
    "noise-kernel": {"n": 4, "m": 2, "operator": "orthonormal", "noise": 0.1},
}
WIDTHS = {"noise-levels": 40, "noise-bound": 1000, "noise-kernel": 40}
TRIALS = 6


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    base = tmp_path_factory.mktemp("noise")
    for name, problem in PROBLEMS.items():
        tables = {
            "experiment": {"name": name, "seed": 3, "trials": TRIALS},
            "problem": {**problem, "resample": "cell"},
            "network": NETWORK,
            "widths": {"values": [WIDTHS[name]]},
            "flow": {"widths": [WIDTHS[name]], "rule": "tolerance", "save": {"trials": TRIALS, "times": 24}},
            "claims": {"check": ["early-stopping"]},
        }
        mc.run(mc.Experiment.from_dict(tables), base / name, jobs=1)
    return Runs({name: Run(name, base / name) for name in PROBLEMS})


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


def test_the_section_of_a_tiny_run(runs: Runs) -> None:
    made = section(runs)
    assert [figure.name for figure in made.figures] == ["noise-bands", "noise-final", "noise-stopping", "noise-parts"]
    assert {claim.figure for claim in made.claims} <= {figure.name for figure in made.figures}
    assert {claim.experiment for claim in made.claims} == set(PROBLEMS)
    assert all(claim.explanation for claim in made.claims if claim.verdict.startswith(("contradicted", "violated")))
    final = next(claim for claim in made.claims if claim.figure == "noise-final")
    assert final.verdict == f"not violated in {2 * 4 * TRIALS} trajectories"  # two modes share the draws
    assert final.trials == 4 * TRIALS


def test_measured_early_stopping_is_not_later_than_its_bound(runs: Runs) -> None:
    run = runs["noise-bound"]
    loss, promised = loss_of(run.results.experiment_text), 0
    for cell in run.results.cells:
        for s in saved_of(cell):
            bound = stopping_bound(loss, s["psi_0"], s["norm_eps"], s.promised("sharp"))
            error = s["error_observation_error"]
            seen = settled(s["t"], s["observation_error"], error, 2.0 * s["norm_eps"])
            some = np.isfinite(bound)
            promised += int(some.sum())
            assert (seen.low[some] <= bound[some]).all()
    assert promised > 0


def test_failed_trials_stay_in_the_medians_of_early_stopping(runs: Runs) -> None:
    run = runs["noise-bound"]
    loss = loss_of(run.results.experiment_text)
    (whole,) = (s for s in saved_of(run.results.cells[0]) if s.mode == "hidden")
    count = stopped_of(whole, loss).ratio("trial")[0].size
    (before,) = stopping_claims([stopped_of(whole, loss)] * 2, 0.5)
    for lost in (range(1), range(TRIALS)):
        part = stopped_of(without(whole, lost), loss)
        low, high = part.ratio("trial")
        held = int((part.bounds["trial"] > 0.0).sum())
        assert low.size == high.size == held + len(lost)
        assert int(np.isnan(low).sum()) == int(np.isnan(high).sum()) == len(lost)
    # a problem of which every trial failed is one of two, and leaves the claim about both open
    (claim,) = stopping_claims([stopped_of(whole, loss), part], 0.5)
    assert count > 0
    assert "each of 2 problems" in claim.claim
    assert claim.verdict == "undecided"
    assert claim.trials == count + TRIALS
    assert claim.interval.startswith("lowest: [−∞, ∞]")
    assert "∞" not in before.interval
    (kernel,) = kernel_claims(
        [without(next(iter(saved_of(runs["noise-kernel"].results.cells[0]))), range(TRIALS))], 0.5
    )
    assert (kernel.verdict, kernel.trials) == ("undecided", TRIALS)


def test_the_kernel_part_is_what_the_flow_left(runs: Runs) -> None:
    for s in saved_of(runs["noise-kernel"].results.cells[0]):
        whole = np.square(s["signal_error"][:, 0])
        parts = np.square(s["signal_error_range"][:, 0]) + np.square(s["signal_error_kernel"][:, 0])
        np.testing.assert_allclose(parts, whole, rtol=1e-9)
        assert (kept(s) > 0.0).all()
