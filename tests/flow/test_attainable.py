"""The exact limit of the hidden layer: Newton and its proofs against a linear programme, integration and a law."""

from __future__ import annotations

import numpy as np
import pytest
from cases import block_task, random_network, random_problem, reduced
from scipy.stats import binom

from mc.flow.attainable import Target, box_margin, decide, limit_point
from mc.flow.integrate import integrate
from mc.flow.settings import FlowSettings
from mc.flow.stopping import ToleranceRule
from mc.model.activations import get
from mc.model.draws import draw_network, draw_problem, get_law
from mc.theory.codes import Exact, ExactBy
from mc.trial.block import BlockTask, compute_block

INCREASING = ("sigmoid", "tanh", "softplus", "arctan", "erf", "identity")
BOXED = ("sin", "silu", "gelu")


def targets(rng: np.random.Generator, trials: int, r: int, k: int, size: float) -> Target:
    """Random problems whose data are of a given size."""
    return Target(
        rng.standard_normal((trials, k)),
        rng.uniform(-np.sqrt(3), np.sqrt(3), (trials, r, k)),
        size * rng.standard_normal((trials, r)),
        np.ones((1, r)),
        k,
    )


@pytest.mark.parametrize("activation", INCREASING + BOXED)
@pytest.mark.parametrize(("r", "k"), [(1, 1), (2, 7), (3, 12), (5, 60)])
def test_decisions_against_the_linear_programme(rng: np.random.Generator, activation: str, r: int, k: int) -> None:
    """Both answers occur, every one is that of the programme, and nothing is left to it."""
    phi = get(activation)
    unbounded = np.isinf(phi.sup_phi)
    target = targets(rng, 60, r, k, 2.5 if unbounded else 0.45 * phi.sup_phi * np.sqrt(k / r))
    decision = decide(target, phi)
    seen = set()
    for trial in range(60):
        lower, upper = phi.box(target.h[trial])
        margin = box_margin(target.Q[trial], np.sqrt(k) * target.a[trial], lower, upper)
        if abs(margin) < 1e-7:
            continue
        expected = Exact.REACHES_ZERO if margin > 0 else Exact.CANNOT
        assert decision.exact[trial] == expected, (trial, margin)
        seen.add(expected)
    assert (decision.by != ExactBy.LP).all()
    if activation != "identity":
        assert seen == {Exact.REACHES_ZERO, Exact.CANNOT} or (r, k) in {(1, 1), (5, 60)}


def test_the_distance_is_a_lower_bound_that_is_nearly_attained(rng: np.random.Generator) -> None:
    """limit_residual never exceeds the loss of any point of the box, and Frank-Wolfe comes close to it."""
    phi, k = get("sigmoid"), 9
    target = targets(rng, 40, 2, k, 3.0)
    decision = decide(target, phi)
    ratios = []
    for trial in np.flatnonzero(decision.exact == Exact.CANNOT):
        Q, a, w = target.Q[trial], target.a[trial], np.full(k, 0.5)
        for _ in range(4000):
            gap = Q @ w / np.sqrt(k) - a
            direction = (Q.T @ gap < 0).astype(float) - w
            move = Q @ direction / np.sqrt(k)
            if move @ move == 0.0:
                break
            w = w + np.clip(-(gap @ move) / (move @ move), 0.0, 1.0) * direction
        distance = np.linalg.norm(Q @ w / np.sqrt(k) - a)
        assert decision.residual[trial] <= distance * (1 + 1e-9)
        ratios.append(decision.residual[trial] / distance)
    assert len(ratios) > 20
    assert np.median(ratios) > 0.5


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus", "arctan", "erf", "sin", "silu"])
@pytest.mark.parametrize("loss", ["mse", "logcosh"])
def test_limit_point_against_a_long_integration(rng: np.random.Generator, activation: str, loss: str) -> None:
    """theta_inf is where the flow goes, for every loss."""
    problem = random_problem(rng, 3, 6)
    network = random_network(rng, 6, 80, 4, activation)
    flow = reduced(problem, network, "hidden", loss)
    h = network.pre_activations[None]
    ending = integrate(flow, h, FlowSettings(rtol=1e-9, atol=1e-12, horizon=1e4), ToleranceRule(1e-17))
    assert ending.loss[0] <= 1e-17
    target = Target(h, flow.Q_start, (problem.target / problem.S)[None], problem.S[None], 80)
    assert decide(target, network.activation).exact[0] == Exact.REACHES_ZERO
    limit, dual, residual = limit_point(target, network.activation)
    assert residual[0] < 1e-12
    # what is left of the path is psi(L)/sigma with psi = 4.5e-9 and sigma > 0.01; the integrator errs by less
    np.testing.assert_allclose(ending.state[0, 0], limit[0], atol=5e-7)
    primitive = network.activation.primitive
    moved = flow.Q_start[0].T @ dual[0] / np.sqrt(80)
    np.testing.assert_allclose(primitive(limit[0]), primitive(h[0]) - moved, rtol=1e-9, atol=1e-9)


def block(activation: str, n: int, m: int, widths: tuple[int, ...], trials: int, **changes: object) -> BlockTask:
    problem = {"operator": "gaussian", "n": n, "m": m, "signal": "gaussian", "noise": 0.0, "resample": "trial"}
    return block_task(**{"activation": activation, "problem": problem, "widths": widths, "n_trials": trials, **changes})


@pytest.mark.parametrize(("n", "m"), [(10, 5), (4, 8), (3, 3)])
def test_softplus_obeys_the_orthant_law(n: int, m: int) -> None:
    """P(zero loss) = P(Bin(k, 1/2) >= r) at every width (theory §7.4), within four standard errors."""
    r, trials = min(m, n), 2000
    widths = tuple(sorted({r, 2 * r - 1, 2 * r + 3, 4 * r}))
    out = compute_block(block("softplus", n, m, widths, trials))
    assert np.isin(out["exact"], (Exact.REACHES_ZERO, Exact.CANNOT)).all()
    for at, k in enumerate(widths):
        law = binom.sf(r - 1, k, 0.5)
        found = (out["exact"][:, at] == Exact.REACHES_ZERO).mean()
        assert abs(found - law) < 4.0 * np.sqrt(law * (1.0 - law) / trials) + 1e-12, (k, found, law)
    assert binom.sf(r - 1, 2 * r - 1, 0.5) == pytest.approx(0.5)


def test_a_subset_decides_as_all_neurons_do() -> None:
    """Wide networks without all neurons: some solved in full, same answer."""
    task = block("sigmoid", 10, 5, (1500, 2500), 30)
    out = compute_block(task)
    subset = out["exact_by"] == ExactBy.SUBSET
    assert subset.any()
    for trial, at in np.argwhere(subset)[:10]:
        problem = draw_problem(task.problem, task.seed, task.cell, int(trial))
        h, V = draw_network(task.seed, task.cell, int(trial), task.widths[at], get_law("uniform"), 10)
        level = (problem.target / problem.S)[None]
        whole = decide(Target(h[None], (problem.Z.T @ V)[None], level, problem.S[None], h.size), get("sigmoid"))
        assert whole.exact[0] == Exact.REACHES_ZERO


def test_what_the_subset_cannot_decide_is_decided_in_full() -> None:
    """A signal so large that 1024 neurons do not reach it and 3000 do, or do not either."""
    huge = {"operator": "identity", "n": 3, "m": 3, "signal": "gaussian", "noise_norm": 11.0, "resample": "trial"}
    out = compute_block(block("sigmoid", 3, 3, (3000,), 20, problem=huge))
    assert np.isin(out["exact"], (Exact.REACHES_ZERO, Exact.CANNOT)).all()
    assert (out["exact_by"] == ExactBy.NEWTON).any()
    assert (out["exact_by"] != ExactBy.SUBSET).any()


def test_heuristic_half_width() -> None:
    """The width of one half lies near the heuristic of theory §7.4 (88 for r = 10, |xbar| ~ sqrt n; measured 81-87)."""
    widths = tuple(range(60, 121, 10))
    out = compute_block(block("sigmoid", 20, 10, widths, 300))
    share = (out["exact"] == Exact.REACHES_ZERO).mean(axis=0)
    half = np.interp(0.5, share, widths)
    # four standard errors of a share at one half, over the slope of the curve
    assert abs(half - 84.0) < 4.0 * 0.5 / np.sqrt(300) * 60 / (share[-1] - share[0]) + 4.0


def test_box_margin_of_an_infeasible_equation() -> None:
    Q = np.ones((1, 2))
    assert box_margin(Q, np.array([1.0]), np.zeros(2), np.ones(2)) == pytest.approx(0.5)
    assert box_margin(Q, np.array([3.0]), np.zeros(2), np.ones(2)) < 0.0
    assert box_margin(Q, np.array([3.0]), np.zeros(2), np.full(2, np.inf)) == pytest.approx(1.0)
    assert box_margin(np.zeros((1, 2)), np.array([1.0]), np.zeros(2), np.ones(2)) == -np.inf


@pytest.mark.parametrize("law", ["uniform", "rademacher", "gaussian"])
@pytest.mark.parametrize("activation", ["identity", "tanh", "softplus"])
def test_fewer_neurons_than_observations(activation: str, law: str) -> None:
    """k < r, and duplicate Rademacher columns: data in general position are never reached, nothing fails to factor."""
    # the identity leaves no hyperplane to find: each of its trials is a linear programme
    trials = 30 if activation == "identity" else 400
    out = compute_block(block(activation, 10, 5, (1, 2, 3, 4), trials, output_law=law))
    assert (out["exact"] == Exact.CANNOT).mean() > 0.99
    assert not (out["exact"] == Exact.REACHES_ZERO).any()


@pytest.mark.parametrize("first", [512, 2560, 4608, 4736])
def test_singular_newton_systems_are_solved(first: int) -> None:
    """Blocks in which a pivot vanished to the last bit once."""
    spec = {"operator": "orthonormal", "n": 10, "m": 5, "signal": "gaussian", "noise": 0.0, "resample": "cell"}
    out = compute_block(block("tanh", 10, 5, (1, 2, 3, 4, 5), 128, first_trial=first, problem=spec, seed=1))
    assert (out["exact"][:, :4] == Exact.CANNOT).all()
