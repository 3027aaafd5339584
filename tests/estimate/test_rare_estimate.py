"""Intervals over repetitions, warnings, bounds beside a rare failure, and fitted rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from stored_cells import cell as stored_cell

from mc.estimate.rare.predicted import rare_theory
from mc.estimate.rare.probability import RareWidth, disagreement, log_interval, rare_widths, unreached
from mc.estimate.rare.study import fitted_rate
from mc.estimate.widths.predicted import CellTheory
from mc.model import activations, losses
from mc.model.draws import What, generator
from mc.store.results import CellResults
from mc.theory import constants
from mc.theory.codes import Exact


def setting(activation: str = "sigmoid", n: int = 5) -> constants.Setting:
    return constants.Setting(
        n=n, m=3, sigma_A=1.0, norm_A=1.0, frobenius_A=np.sqrt(3.0), frobenius_AAT=np.sqrt(3.0), norm_y=1.0,
        loss=losses.get("mse"), activation=activations.get(activation), entry_bound=float(np.sqrt(3.0)),
        subgaussian=True,
    )  # fmt: skip


TABLE = {"margin": "lambda_min", "threshold": 0.75, "particles": 100}


def cell(estimates: list[float], width: int = 100, **changes: float) -> CellResults:
    """Return a cell with one width and one repetition for each estimate, in the first trials."""
    values = {"undecided": 0.0, "ideal_variance": 0.04, "acceptance": 0.4, "autocorrelation": 0.1, "survival": 0.2}
    values |= {"tilted": np.nan, "tilted_variance": np.nan, "direct": 0, "levels": 12} | changes
    rows = len(estimates)
    data = {f"rare_{name}": np.full((rows + 3, 1), -1 if name in ("direct", "levels") else np.nan) for name in values}
    for name, value in values.items():
        data[f"rare_{name}"][:rows, 0] = value
    data["rare_probability"] = np.append(estimates, [np.nan] * 3)[:, None]
    return stored_cell(("hidden",), (width,), **data)


def data_of(made: CellResults) -> dict[str, np.ndarray]:
    """Return the datasets of a cell, to change them."""
    assert isinstance(made.data, dict)
    return made.data


def one(estimates: list[float], **changes: float) -> RareWidth:
    return rare_widths(cell(estimates, **changes), TABLE, 0.95)[0]


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_the_interval_of_a_log_normal_mean_has_its_level(spread: float) -> None:
    rng, count, runs = generator(1, (0, 0), 0, What.ESTIMATION), 10, 2000
    samples = 1e-3 * np.exp(spread * rng.standard_normal((runs, count)) - 0.5 * spread**2)
    found = np.array([log_interval(row) for row in samples])
    hits = int(((found[:, 0] <= 1e-3) & (found[:, 1] >= 1e-3)).sum())
    # the modified Cox interval is exact as the spread vanishes and loses about 1.5 % at spread 1 with ten values:
    # 0.93 less 4 standard errors of a share of 2000, and 0.95 plus as many
    assert 0.93 - 4.0 * np.sqrt(0.065 / runs) <= hits / runs <= 0.95 + 4.0 * np.sqrt(0.0475 / runs)


@given(st.lists(st.floats(1e-30, 1e-3), min_size=2, max_size=20), st.floats(1e-3, 1.0))
def test_the_interval_scales_and_knows_its_order(values: list[float], factor: float) -> None:
    lower, upper = log_interval(values)
    assert 0.0 <= lower <= upper <= 1.0
    scaled = log_interval(np.array(values) * factor)
    if upper < 1.0:
        np.testing.assert_allclose(scaled, np.array([lower, upper]) * factor, rtol=1e-6)


def test_without_a_spread_nothing_is_claimed() -> None:
    assert log_interval([1e-9]) == (0.0, 1.0)
    assert log_interval([0.0, 1e-9, 1e-9]) == (0.0, 1.0)


GOOD = [1.0e-9, 1.2e-9, 0.9e-9, 1.1e-9, 0.8e-9, 1.0e-9]


def test_a_good_study_has_no_warning() -> None:
    found = one(GOOD)
    assert found.trusted
    assert found.repetitions == 6
    assert found.probability == pytest.approx(1e-9)
    assert found.interval == log_interval(GOOD)


@pytest.mark.parametrize(
    ("estimates", "changes", "word"),
    [
        (GOOD[:3], {}, "only 3 repetitions"),
        ([*GOOD, 0.0], {}, "died out"),
        (GOOD, {"acceptance": 0.01}, "hardly move"),
        (GOOD, {"autocorrelation": 0.95}, "autocorrelation 0.95"),
        (GOOD, {"survival": 0.001}, "particles survive"),
        ([1e-9, 1e-8, 1e-10, 1e-9, 1e-11, 1e-9], {}, "repetitions differ by a factor"),
        ([1.0e-9, 2.0e-9, 0.5e-9, 1.1e-9, 0.7e-9, 1.0e-9], {"ideal_variance": 0.001}, "times that of independent"),
        (GOOD, {"direct": 60}, "contradict the estimate"),
    ],
)
def test_a_diagnostic_that_forbids_trust_is_said(estimates: list[float], changes: dict[str, float], word: str) -> None:
    found = one(estimates, **changes)
    assert not found.trusted
    assert any(word in warning for warning in found.warnings)


def failing(rows: list[int], trials: int = 12) -> CellResults:
    """Six repetitions, two in each block of four trials, and trials that failed; the table of `RUN`."""
    data = {name: np.full((trials, 1), values[-1, 0]) for name, values in cell([np.nan] * 6).data.items()}
    there = [row for row in (0, 1, 4, 5, 8, 9) if row not in rows]
    for name, value in {"probability": 1e-3, "undecided": 0.0, "ideal_variance": 0.04, "survival": 0.2}.items():
        data[f"rare_{name}"][there, 0] = value
    for name, value in {"acceptance": 0.4, "autocorrelation": 0.1, "direct": 1, "levels": 12}.items():
        data[f"rare_{name}"][there, 0] = value
    data["computed"] = np.ones((trials, 1), dtype=np.int8)
    data["computed"][rows] = 2
    return stored_cell(("hidden",), (100,), **data)


RUN = {**TABLE, "widths": [100], "repetitions": 6, "per_block": 2}


def test_failed_repetitions_leave_the_probability_open() -> None:
    whole = rare_widths(failing([]), RUN, 0.95, block_size=4)[0]
    assert (whole.direct.fails, whole.direct.trials, whole.direct.undecided) == (6, 600, 0)
    found = rare_widths(failing([4, 5, 6, 7]), RUN, 0.95, block_size=4)[0]
    assert (found.repetitions, found.interval) == (4, (0.0, 1.0))
    # 100 first particles of each of two repetitions might have failed or not
    assert (found.direct.fails, found.direct.trials, found.direct.undecided) == (4, 600, 200)
    assert binom.cdf(204, 600, found.direct.upper) == pytest.approx(0.05, rel=1e-9)
    assert any(warning.startswith("2 repetitions failed") for warning in found.warnings)
    # trials 2 and 3 of a block carry none
    beside = rare_widths(failing([6, 7]), RUN, 0.95, block_size=4)[0]
    assert (beside.direct, beside.interval, beside.warnings) == (whole.direct, whole.interval, whole.warnings)


def test_a_width_whose_repetitions_all_failed_is_not_left_out() -> None:
    made = failing(list(range(12)))
    (found,) = rare_widths(made, RUN, 0.95, block_size=4)
    assert (found.repetitions, found.interval, found.direct.interval) == (0, (0.0, 1.0), (0.0, 1.0))
    assert np.isnan(found.probability)
    assert not found.trusted
    assert unreached(made) == ()
    # the widths of [rare] alone have repetitions to lose
    assert rare_widths(made, {**RUN, "widths": [50]}, 0.95, block_size=4) == ()


def test_estimators_that_contradict_each_other_are_named() -> None:
    made = cell(GOOD)
    data_of(made)["rare_tilted"][:6, 0] = 5.0 * np.array(GOOD[::-1])
    found = rare_widths(made, TABLE, 0.95)[0]
    assert any("splitting and tilting are" in warning for warning in found.warnings)
    assert disagreement(np.array(GOOD), np.array(GOOD[::-1])) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(disagreement(np.array(GOOD), np.array([])))


def test_undecided_particles_raise_the_upper_end_alone() -> None:
    plain, doubtful = one(GOOD), one(GOOD, undecided=1e-9)
    assert doubtful.interval[0] == plain.interval[0]
    assert doubtful.interval[1] > 1.5 * plain.interval[1]


def test_counts_come_from_the_trials_of_the_run() -> None:
    made = cell(GOOD)
    data_of(made)["sigma_0"] = np.full((1, 9, 1), 0.2)
    data_of(made)["sigma_0"][0, 0, 0] = 0.1
    found = rare_widths(made, TABLE, 0.95, moment_dphi=0.2)[0].counted
    assert found is not None
    # 0.1 <= sqrt(3/4) 0.2 = 0.173 < 0.2
    assert (found.fails, found.trials) == (1, 9)
    # the one-sided limit leaves 5 % for at most one failure of nine
    assert binom.cdf(1, 9, found.upper) == pytest.approx(0.05, rel=1e-9)
    assert rare_widths(made, TABLE, 0.95)[0].counted is None
    data_of(made)["exact"] = np.array([Exact.CANNOT, Exact.UNDECIDED, *[Exact.REACHES_ZERO] * 7])[:, None]
    exact = rare_widths(made, {"margin": "exact", "particles": 100}, 0.95)[0].counted
    assert exact is not None
    assert (exact.fails, exact.undecided, exact.trials) == (1, 1, 9)
    # undecided trials count as failures above and as holding below
    assert binom.cdf(2, 9, exact.upper) == pytest.approx(0.05, rel=1e-9)


def test_widths_that_were_not_reached_are_named() -> None:
    made = cell([np.nan, np.nan], levels=100)
    assert rare_widths(made, TABLE, 0.95) == ()
    assert unreached(made) == (100,)


# the bounds


def theory(table: dict[str, Any], k: list[int], activation: str = "sigmoid", outside: str = "") -> Any:
    return rare_theory(table, "uniform", CellTheory((setting(activation),), outside), 10, np.array(k, dtype=float))


def test_delta_1_is_the_bound_of_lambda_min_and_its_rate_the_slope() -> None:
    found = theory({"margin": "lambda_min", "threshold": 0.75}, [982, 983, 5000, 6000])
    known = activations.get("sigmoid")
    expected = constants.chernoff_failure(
        np.array([982, 983, 5000, 6000]),
        0.25,
        n=5,
        moment_dphi=known.moment_dphi,
        sup_dphi=0.25,
        entry_bound=np.sqrt(3),
    )
    np.testing.assert_allclose(found.failure, expected)
    assert found.failure[0] == 1.0 > found.failure[1]
    assert np.log(found.failure[2] / found.failure[3]) / 1000 == pytest.approx(found.rate)
    assert theory({"margin": "lambda_min", "threshold": 1.2}, [10]) is None


def test_the_exact_law_of_softplus() -> None:
    found = theory({"margin": "exact"}, [5, 19, 60], "softplus")
    assert found.exact
    np.testing.assert_allclose(found.failure, binom.cdf(9, [5, 19, 60], 0.5), rtol=1e-12)
    assert not theory({"margin": "exact"}, [60]).exact


@pytest.mark.parametrize(("margin", "threshold"), [("activation_norm_low", 0.9), ("activation_norm_high", 1.1)])
def test_the_norm_bounds_put_the_threshold_back(margin: str, threshold: float) -> None:
    known = activations.get("softplus")
    found = theory({"margin": margin, "threshold": threshold}, [10_000, 20_000], "softplus")
    side = constants.activation_norm_lower if margin.endswith("low") else constants.activation_norm_upper
    limit = side([10_000, 20_000], found.failure, moment_phi=known.moment_phi, sup_dphi=known.sup_dphi)
    np.testing.assert_allclose(limit, threshold * known.moment_phi, rtol=1e-12)


def test_the_output_bound_is_a_pair_of_deltas_that_reach_the_threshold() -> None:
    found, s = theory({"margin": "output_norm", "threshold": 3.0}, [1000], "softplus"), setting("softplus")
    known, best = s.activation, 1.0
    limit = 3.0 * known.moment_phi * s.frobenius_A
    for delta_2 in np.geomspace(1e-12, 0.5, 60):
        norm = constants.activation_norm_upper(1000, delta_2, moment_phi=known.moment_phi, sup_dphi=known.sup_dphi)
        for delta_3 in np.geomspace(1e-12, 0.5, 400):
            reached = constants.initial_output_upper(
                norm, delta_3, norm_A=s.norm_A, frobenius_A=s.frobenius_A, frobenius_AAT=s.frobenius_AAT,
                entry_bound=s.entry_bound, subgaussian=True,
            )  # fmt: skip
            if reached <= limit:
                best = min(best, delta_2 + delta_3)
                break
    # a coarse grid of both deltas comes within its own spacing, 7 % of delta_3
    assert found.failure[0] == pytest.approx(best, rel=0.12)


def test_no_bound_outside_the_theorem() -> None:
    assert theory({"margin": "lambda_min", "threshold": 0.75}, [10], outside="unbounded") is None
    assert rare_theory({"margin": "exact"}, "uniform", None, 3, np.array([10.0])) is None
    assert theory({"margin": "sharp", "mode": "both", "threshold": 2.0}, [10]) is None
    assert theory({"margin": "sharp", "mode": "both", "threshold": 1.0}, [10]).failure[0] == 1.0


# the rate


def at(k: int, p: float) -> RareWidth:
    return rare_widths(cell([p * factor for factor in (0.9, 1.0, 1.1, 1.0, 0.95, 1.05)], k), TABLE, 0.95)[0]


def test_the_rate_is_the_slope_of_the_tail() -> None:
    found = fitted_rate([at(k, 0.5 * np.exp(-0.02 * k)) for k in (50, 300, 500, 800, 1000)])
    assert found is not None
    # 0.5 exp(-1) = 0.18 at k = 50 is no tail
    assert found.widths == (300, 500, 800, 1000)
    assert found.rate == pytest.approx(0.02, rel=1e-9)
    assert found.interval[0] < 0.02 < found.interval[1]
    pair = fitted_rate([at(300, 1e-4), at(500, 1e-6)])
    assert pair is not None
    assert pair.rate == pytest.approx(np.log(100.0) / 200)
    assert np.isnan(pair.standard_error)
    assert fitted_rate([at(300, 1e-4)]) is None


def test_a_width_that_is_not_to_be_trusted_is_not_in_the_rate() -> None:
    widths = [at(k, 0.5 * np.exp(-0.02 * k)) for k in (300, 500, 800, 1000)]
    odd = replace(at(650, 1e-2), warnings=("the two estimates are apart",))
    assert not odd.trusted
    assert fitted_rate([*widths[:2], odd, *widths[2:]]) == fitted_rate(widths)
