"""Margins are those a run stores; the gauge agrees with linear programmes and with the exact decision."""

from __future__ import annotations

import numpy as np
import pytest
from cases import block_task
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import bdtr

from mc.errors import InputError
from mc.flow.attainable import Target, decide
from mc.model import activations
from mc.model.draws import What, draw_network, draw_problem, generator, get_law
from mc.model.losses import get as get_loss
from mc.theory.codes import Exact
from mc.trial.block import compute_block
from mc.trial.rare.attainable import GaugePopulation, common_box
from mc.trial.rare.margins import ActivationNorm, LadderMargin, LambdaMin, OutputNorm, SummedPopulation
from mc.trial.rare.proposals import outputs

SPEC = {"n": 4, "m": 3, "operator": "gaussian", "signal": "gaussian", "noise": 0.1, "resample": "cell"}
SEED, CELL = 3, (1, 2)
T, K = 12, 60


def networks(k: int, n: int = 4, law: str = "uniform") -> tuple[np.ndarray, np.ndarray]:
    found = [draw_network(SEED, CELL, trial, k, get_law(law), n) for trial in range(T)]
    return np.stack([h for h, _ in found]), np.stack([V for _, V in found])


def block(activation: str, loss: str = "mse") -> dict[str, np.ndarray]:
    task = block_task(
        seed=SEED, cell=CELL, problem=SPEC, activation=activation, modes=("hidden", "both"), loss=loss,
        ladder=("paper", "trial", "sharp", "exact"), n_trials=T, widths=(K,),
    )  # fmt: skip
    return compute_block(task)


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "sin"])
def test_lambda_min_is_the_stored_sigma_0_squared(activation: str) -> None:
    known = activations.get(activation)
    population = SummedPopulation(LambdaMin(known, 4, K, 0.5), *networks(K))
    stored = np.square(block(activation)["sigma_0"][0, :, 0]) / known.moment_dphi**2
    # sigma_0 is lowered by its rounding, (n + 1024 + 1) 2^-53 of the trace, at most k n 3 B1^2
    slack = 1100 * 2.0**-53 * 4 * 3 * known.sup_dphi**2 / known.moment_dphi**2
    np.testing.assert_allclose(population.values(), stored, rtol=1e-12, atol=2.0 * slack)


@pytest.mark.parametrize("loss", ["mse", "logcosh"])
@pytest.mark.parametrize("mode", ["hidden", "both"])
@pytest.mark.parametrize("rung", ["paper", "trial", "sharp"])
def test_a_rung_is_the_stored_margin(rung: str, mode: str, loss: str) -> None:
    problem = draw_problem(SPEC, SEED, CELL, 0)
    known, law = activations.get("tanh"), get_law("uniform")
    margin = LadderMargin(rung, mode, known, get_loss(loss), law.entry_bound, problem, K, 2.0)
    population = SummedPopulation(margin, *networks(K), 17)
    stored = block("tanh", loss)[f"margin_{rung}"][("hidden", "both").index(mode), :, 0]
    assert margin.threshold == np.log(2.0)
    # the sums differ in their order only; margins are smooth functions of well-conditioned sums
    np.testing.assert_allclose(population.values(), np.log(stored), rtol=0.0, atol=1e-9)


def test_norms_are_those_of_the_network() -> None:
    problem, known = draw_problem(SPEC, SEED, CELL, 0), activations.get("softplus")
    h, V = networks(K)
    z = known.phi(h)
    s = np.linalg.norm(z, axis=1) / np.sqrt(K) / known.moment_phi
    y = np.linalg.norm(np.einsum("mn,tnk,tk->tm", problem.A, V, z), axis=1) / np.sqrt(K)
    low, high = (SummedPopulation(ActivationNorm(known, K, 1.1, high=side), h, V) for side in (False, True))
    large = SummedPopulation(OutputNorm(known, problem, K, 1.5), h, V)
    np.testing.assert_allclose(low.values(), s, rtol=1e-13)
    np.testing.assert_array_equal(low.failures()[0], s <= 1.1)
    np.testing.assert_array_equal(high.failures()[0], s >= 1.1)
    unit = known.moment_phi * np.linalg.norm(problem.A)
    np.testing.assert_allclose(-large.values(), y / unit, rtol=1e-12)
    np.testing.assert_array_equal(large.failures()[0], y / unit >= 1.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 10**6), st.floats(0.01, 2.0))
def test_pivots_and_eigenvalues_agree(n: int, k: int, seed: int, level: float) -> None:
    margin, rng = LambdaMin(activations.get("tanh"), n, k, 0.5), generator(seed, (0, 0), 0, What.RARE)
    sums = margin.sums(rng.standard_normal((20, k)), rng.standard_normal((20, n, k)))
    clear = np.abs(margin.value(sums, np.zeros((20, 0))) - level) > 1e-9
    below = margin.below(sums, np.zeros((20, 0)), level)
    np.testing.assert_array_equal(below[clear], (margin.value(sums, np.zeros((20, 0))) <= level)[clear])


# the gauge


def gauge_population(activation: str, k: int, rows: int, seed: int) -> GaugePopulation:
    problem = draw_problem({**SPEC, "n": 5}, SEED, CELL, 0)
    V = outputs([generator(seed, (0, 0), 0, What.RARE)], get_law("uniform"), rows, 5, k)
    return GaugePopulation(activations.get(activation), problem, np.zeros((rows, 0)), V)


def margin_by_programme(population: GaugePopulation, row: int) -> float:
    """log max{s : s t in Q [-c, c]^k}, or 1/B for the smallest box [0, B] that fits; 0 where none fits."""
    Q, data, (a, b) = population.Q[row], np.sqrt(population.Q.shape[2]) * population.level, population.box
    r, k = Q.shape
    objective = np.append(np.zeros(k), 1.0)
    if np.isinf(b):
        answer = linprog(
            objective, A_ub=np.hstack([np.eye(k), -np.ones((k, 1))]), b_ub=np.zeros(k),
            A_eq=np.hstack([Q, np.zeros((r, 1))]), b_eq=data, bounds=(0.0, None),
        )  # fmt: skip
        return 0.0 if answer.status == 2 else 1.0 / answer.fun
    t = data - 0.5 * (a + b) * Q.sum(axis=1)
    A = np.block([[np.eye(k), -np.ones((k, 1))], [-np.eye(k), -np.ones((k, 1))]])
    answer = linprog(
        objective, A_ub=A, b_ub=np.zeros(2 * k), A_eq=np.hstack([Q, np.zeros((r, 1))]), b_eq=t,
        bounds=[(None, None)] * k + [(0.0, None)],
    )  # fmt: skip
    return -float(np.log(answer.fun / (0.5 * (b - a))))


@pytest.mark.parametrize(("activation", "k"), [("sigmoid", 30), ("tanh", 14), ("sin", 12), ("softplus", 8)])
def test_the_gauge_is_that_of_a_linear_programme(activation: str, k: int) -> None:
    population = gauge_population(activation, k, 60, 1)
    expected = np.array([margin_by_programme(population, row) for row in range(60)])
    fails, undecided = population.failures()
    assert not undecided.any()
    # both answers occur, and the margin is positive exactly where zero loss is reached
    assert 0 < fails.sum() < 60
    np.testing.assert_array_equal(fails, expected <= 0.0)
    # bisection leaves 16 log(10)/2^14 = 1e-3 of the margin
    np.testing.assert_allclose(population.values()[~fails], expected[~fails], rtol=2e-3)
    np.testing.assert_array_equal(population.values()[fails], 0.0)
    for level in (0.05, 0.2, 0.5):
        clear = np.abs(expected - level) > 1e-6
        np.testing.assert_array_equal(population.below(level)[clear], (expected <= level)[clear])


@pytest.mark.parametrize("activation", ["sigmoid", "softplus"])
def test_failures_are_those_of_a_run(activation: str) -> None:
    problem = draw_problem(SPEC, SEED, CELL, 0)
    h, V = networks(10)
    known = activations.get(activation)
    population = GaugePopulation(known, problem, np.zeros((T, 0)), V)
    target = Target(h, np.matmul(problem.Z.T, V), np.tile(problem.target / problem.S, (T, 1)), problem.S[None], 10)
    np.testing.assert_array_equal(population.failures()[0], decide(target, known).exact == Exact.CANNOT)


def test_gauge_levels_are_nested_and_moves_keep_to_them() -> None:
    population = gauge_population("sigmoid", 24, 120, 2)
    before = None
    for level in (0.0, 0.05, 0.1, 0.3, 1.0):
        inside = population.below(level)
        assert before is None or not np.any(before & ~inside)
        before = inside
    level = float(np.median(population.values()))
    population = population.take(np.flatnonzero(population.below(level)))
    population.refresh(8)
    rng, V = generator(7, (0, 0), 0, What.RARE), population.V.copy()
    rows = V.shape[0]
    for number in range(6):
        population.move(number, np.zeros((rows, 0)), outputs([rng], get_law("uniform"), rows, 5, 8), level)
    assert population.below(level).all()
    assert not np.array_equal(population.V, V)
    np.testing.assert_allclose(population.Q, np.matmul(population.Zt, population.V), atol=1e-14)


def test_the_share_of_failures_is_the_exact_law_of_softplus() -> None:
    population = gauge_population("softplus", 6, 4000, 4)
    p = float(bdtr(2, 6, 0.5))
    assert abs(population.failures()[0].mean() - p) < 4.0 * np.sqrt(p * (1.0 - p) / 4000)


@pytest.mark.parametrize("activation", ["silu", "gelu", "identity"])
def test_activations_without_one_box_are_refused(activation: str) -> None:
    with pytest.raises(InputError, match="use an activation with one bounded range, or softplus"):
        common_box(activations.get(activation))
