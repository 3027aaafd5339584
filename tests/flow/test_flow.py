"""The reduced flow against the full one, its conserved quantities, the integrator's order, and how runs end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import random_network, random_problem, reduced
from scipy.integrate import solve_ivp
from scipy.integrate._ivp.rk import RK45

from mc.flow import dormand_prince as explicit
from mc.flow.attainable import Target, decide
from mc.flow.descent import descend, stable_step
from mc.flow.field import ReducedFlow
from mc.flow.integrate import METHODS, Ending, integrate, integrate_checked
from mc.flow.observables import OBSERVABLES, Observer, Origin
from mc.flow.observe import log_times
from mc.flow.settings import FlowSettings
from mc.flow.stepper import crossed
from mc.flow.stopping import Never, RestartRule, RestartTest, ToleranceRule
from mc.model.activations import get as get_activation
from mc.model.losses import get as get_loss
from mc.model.network import Network, flow_field
from mc.model.problem import ProblemBatch
from mc.theory.codes import Exact, Outcome

MODES = ("hidden", "both")
METHODS_BY_MODE = [(method, mode) for method in METHODS for mode in MODES if (method, mode) != ("dual", "both")]
PAIRS = [("sigmoid", "mse", 2.0), ("tanh", "power", 4.0), ("softplus", "logcosh", 2.0), ("gelu", "mse", 2.0)]
TIGHT = FlowSettings(rtol=1e-10, atol=1e-13, horizon=20.0)


def full_flow(problem, network: Network, mode: str, loss, t: float) -> Network:
    """The full state (V, W) at time t by DOP853 at a tolerance of 1e-12."""
    field = flow_field(problem.A, problem.y, network.u, network.activation, loss, mode, network.V.shape)
    theta = np.concatenate([network.V.ravel(), network.W.ravel()])
    solution = solve_ivp(field, (0.0, t), theta, method="DOP853", rtol=1e-12, atol=1e-13)
    end, split = solution.y[:, -1], network.V.size
    return Network(
        end[:split].reshape(network.V.shape), end[split:].reshape(network.W.shape), network.u, network.activation
    )


def to_horizon(flow: ReducedFlow, h: np.ndarray, controls: FlowSettings = TIGHT, **kwargs: object) -> Ending:
    return integrate(flow, h, controls, ToleranceRule(-1.0), **kwargs)


@pytest.mark.parametrize(
    "activation", ["sigmoid", "tanh", "softplus", "arctan", "erf", "identity", "sin", "silu", "gelu"]
)
def test_conserved_quantities(rng: np.random.Generator, activation: str) -> None:
    """theory §3.3: Phi(h) + Q^T Lambda/sqrt k in `hidden`; §3.4: |Z^T V_i|^2/2 - Pi(h_i) in `both`."""
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 8, 4, activation)
    h, phi, k = network.pre_activations, network.activation, 8
    both = to_horizon(reduced(problem, network, "both"), h[None]).state[0]
    start = np.square(problem.Z.T @ network.V).sum(axis=0) / 2 - phi.ratio_primitive(h)
    end = np.square(both[1:]).sum(axis=0) / 2 - phi.ratio_primitive(both[0])
    np.testing.assert_allclose(end, start, rtol=1e-8, atol=1e-8)
    flow = reduced(problem, network, "hidden")
    hidden = to_horizon(flow, h[None]).state[0, 0]
    # Phi(h) - Phi(h(0)) lies in the row space of Q
    moved = phi.primitive(hidden) - phi.primitive(h)
    dual, *_ = np.linalg.lstsq(flow.Q_start[0].T, -moved * np.sqrt(k), rcond=None)
    np.testing.assert_allclose(moved, -flow.Q_start[0].T @ dual / np.sqrt(k), rtol=1e-8, atol=1e-8)
    assert np.abs(moved).max() > 1e-3


def test_tableau_is_that_of_scipy() -> None:
    rows = [row[: i + 1] for i, row in enumerate(RK45.A)][1:]
    for ours, theirs in zip(explicit.STAGE_WEIGHTS[:-1], rows, strict=False):
        np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=1e-15)
    np.testing.assert_allclose(explicit.STAGE_WEIGHTS[-1], RK45.B, rtol=1e-15)
    np.testing.assert_allclose(explicit.ERROR_WEIGHTS, RK45.E, rtol=1e-12)
    np.testing.assert_allclose(explicit.DENSE_WEIGHTS, RK45.P, rtol=1e-15)


@pytest.mark.parametrize(("method", "mode"), METHODS_BY_MODE)
@pytest.mark.parametrize(("loss", "p"), [("mse", 2.0), ("power", 4.0), ("logcosh", 2.0)])
def test_order_by_regression(rng: np.random.Generator, method: str, mode: str, loss: str, p: float) -> None:
    """Fixed steps: log error against log step has the slope of the order, at the end and between steps."""
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 12, 4, "sigmoid")
    flow, h = reduced(problem, network, mode, loss, p), network.pre_activations[None]
    span, order = 1.0, {"explicit": 5, "dual": 4, "lowrank": 4}[method]
    reference = {
        at: to_horizon(flow, h, FlowSettings(rtol=1e-13, atol=1e-15, horizon=at, method="explicit")).state[0]
        for at in (span, 0.4 * span)
    }

    def march(steps: int) -> tuple[float, float]:
        stepper, dt, between = METHODS[method](flow, h), np.array([span / steps]), np.nan
        for step in range(steps):
            assert stepper.attempt(dt).sound.all()
            inside = 0.4 * steps - step
            if 0.0 <= inside < 1.0:
                between = np.linalg.norm(
                    stepper.interpolate(np.array([0]), np.array([inside]))[0] - reference[0.4 * span]
                )
            np.testing.assert_allclose(
                stepper.interpolate(np.array([0]), np.array([0.0]))[0], stepper.states()[0], atol=1e-14
            )
            stepper.accept(np.array([True]))
        return np.linalg.norm(stepper.states()[0] - reference[span]), between

    # 0.4 steps: a fraction of 0.6, 0.2, 0.8, 0.4 of a step
    steps = np.array([4, 6, 8, 10]) if method == "explicit" else np.array([4, 8, 12, 16])
    ends, between = zip(*(march(int(s)) for s in steps), strict=True)
    slope = np.polyfit(np.log(span / steps), np.log(ends), 1)[0]
    # superconvergence at coarse steps is no fault: the next term of the error still counts
    assert order - 0.4 < slope < order + 2.5
    assert max(between) < 30.0 * max(ends) + 1e-9


@pytest.mark.parametrize(("method", "mode"), METHODS_BY_MODE)
@pytest.mark.parametrize(("activation", "loss", "p"), PAIRS)
def test_the_estimate_is_honest(
    rng: np.random.Generator, method: str, mode: str, activation: str, loss: str, p: float
) -> None:
    """The stored estimate bounds the error made, and the error follows the tolerance."""
    problem, network = random_problem(rng, 3, 5, condition=5.0), random_network(rng, 5, 60, 2, activation)
    flow, h = reduced(problem, network, mode, loss, p), network.pre_activations[None]
    exact = to_horizon(flow, h, FlowSettings(rtol=1e-12, atol=1e-14, horizon=20.0, method="explicit")).state[0]
    path = np.linalg.norm(exact - flow.start(h)[0])
    errors = []
    for rtol in (1e-3, 1e-5, 1e-7):
        controls = FlowSettings(rtol=rtol, atol=1e-12, horizon=20.0, method=method)
        ending = integrate_checked(flow, h, controls, lambda _: Never())
        errors.append(np.linalg.norm(ending.state[0] - exact))
        assert errors[-1] < ending.error[0]
        assert errors[-1] < 300.0 * rtol * path
    assert errors[2] < errors[0]


def many(
    rng: np.random.Generator, activation: str, loss: str, p: float, condition: float, k: int
) -> tuple[ReducedFlow, np.ndarray]:
    """Twelve trials of the hidden layer, each with its problem."""
    problems = [random_problem(rng, 5, 8, condition=condition) for _ in range(12)]
    networks = [random_network(rng, 8, k, 2, activation) for _ in problems]
    Q = np.stack([problem.Z.T @ net.V for problem, net in zip(problems, networks, strict=True)])
    flow = ReducedFlow(
        "hidden",
        networks[0].activation,
        get_loss(loss, p if loss == "power" else None),
        ProblemBatch.stack(problems),
        Q,
    )
    return flow, np.stack([net.pre_activations for net in networks])


def test_growth_of_errors_in_the_hidden_layer(rng: np.random.Generator) -> None:
    """theory §3.5 along a trajectory: a small difference, on the leaf of the conserved part and off it."""
    for activation, loss, p in (("sigmoid", "mse", 2.0), ("tanh", "power", 4.0), ("sin", "logcosh", 2.0)):
        flow, h = many(rng, activation, loss, p, 1.5, 60)
        phi, size = flow.activation, 1e-6
        steps = np.concatenate([[0.0], np.geomspace(1e-2, 100.0, 120)])
        c = phi.primitive(h)
        for on_leaf in (True, False):
            if on_leaf:
                delta = np.matmul(rng.standard_normal((12, 1, 5)), flow.Q_start)[:, 0, :]
            else:
                delta = rng.standard_normal(h.shape) / np.abs(phi.dphi(h))
            delta *= size / np.linalg.norm(delta, axis=1, keepdims=True)
            one, two = h, phi.primitive_inverse(c + delta, h)
            bound = np.zeros(12)
            start = np.linalg.norm(two - one, axis=1)
            for dt in np.diff(steps):
                seen = flow.evaluate(one[:, None, :])
                root = flow.curvature_root(seen.residual)
                kernel = flow.kernel(seen)
                if root is not None:
                    kernel = root.swapaxes(1, 2) @ kernel @ root
                slowest = np.linalg.eigvalsh(kernel)[:, 0] if on_leaf else 0.0
                before = np.abs(phi.dphi(one))
                one, two = (
                    to_horizon(flow, x, replace(TIGHT, horizon=dt, method="dual")).state[:, 0] for x in (one, two)
                )
                bound += np.log(np.abs(phi.dphi(one)) / before).max(axis=1) - slowest * dt
                grown = np.log(np.linalg.norm(two - one, axis=1) / start)
                # the rate is that at the start of an interval, in which it changes by a few per cent; far below the
                # integrator's own error there is nothing to see
                assert (grown <= np.maximum(bound + 0.005 + 0.01 * np.abs(bound), -6.0)).all()
            # the bound says something: on the leaf that errors die out, off it that they do not explode
            assert (bound < 0.0).any() if on_leaf else (bound < 3.0).all()


@pytest.mark.parametrize("loss", [("mse", 2.0), ("power", 4.0), ("logcosh", 2.0)])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus", "arctan", "sin"])
def test_the_error_without_companion_bounds_the_true_one(
    rng: np.random.Generator, activation: str, loss: tuple[str, float]
) -> None:
    """Local errors propagated by theory §3.5 against a tight solution: condition numbers, widths and tolerances."""
    ratios = []
    for condition, k in ((3.0, 14), (30.0, 400), (1e3, 60)):
        flow, h = many(rng, activation, *loss, condition, k)
        for horizon in (30.0, 1e3):
            controls = FlowSettings(rtol=1e-11, atol=1e-14, horizon=horizon, method="dual")
            exact = integrate(flow, h, controls, Never())
            path = np.linalg.norm(exact.state[:, 0] - h, axis=1)
            for rtol in (1e-2, 1e-3, 1e-5):
                ending = integrate_checked(
                    flow, h, FlowSettings(rtol=rtol, atol=1e-3 * rtol, horizon=horizon), lambda _: Never()
                )
                error = np.linalg.norm(ending.state[:, 0] - exact.state[:, 0], axis=1)
                # where the error is that of the reference there is nothing to compare
                ratios.append((ending.error / error)[error > 1e-9 * path])
    ratio = np.concatenate(ratios)
    assert ratio.size > 100
    # an estimate of a single step may fall short (see DualRosenbrock._error), their sum hardly ever does
    assert (ratio > 1.0).mean() > 0.99
    assert ratio.min() > 0.2
    # at condition 1000 the slowest rate damps nothing, and the fast ones are not counted
    assert np.median(ratio) < 200.0


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "sin", "gelu"])
def test_the_error_with_companion_bounds_the_true_one(rng: np.random.Generator, activation: str) -> None:
    """The same for both layers, where a companion and the safety of the method stand in for theory §3.5."""
    ratios = []
    for loss, p, condition, k in (("mse", 2.0, 3.0, 60), ("logcosh", 2.0, 1e3, 60), ("power", 4.0, 30.0, 200)):
        hidden, h = many(rng, activation, loss, p, condition, k)
        flow = replace(hidden, mode="both")
        exact = integrate(flow, h, FlowSettings(rtol=1e-9, atol=1e-12, horizon=100.0), Never()).state
        for rtol in (1e-3, 1e-5):
            ending = integrate_checked(
                flow, h, FlowSettings(rtol=rtol, atol=1e-3 * rtol, horizon=100.0), lambda _: Never()
            )
            ratios.append(ending.error / np.linalg.norm((ending.state - exact).reshape(12, -1), axis=1))
    ratio = np.concatenate(ratios)
    # over 3607 such runs 0.6 % had an error above its estimate, none of more than 4 times it
    assert (ratio > 1.0).mean() > 0.94
    assert ratio.min() > 0.2
    assert np.median(ratio) < 30.0


@pytest.mark.parametrize(("method", "mode"), METHODS_BY_MODE)
def test_error_follows_the_tolerance_at_every_width(rng: np.random.Generator, method: str, mode: str) -> None:
    """The error in theta stays of the order of rtol times the path, from 20 to 2000 neurons: the norm knows none."""
    for k in (20, 200, 2000):
        problem, network = random_problem(rng, 3, 5), random_network(rng, 5, k, 2, "sigmoid")
        flow, h = reduced(problem, network, mode), network.pre_activations[None]
        exact = to_horizon(flow, h, replace(TIGHT, method="explicit")).state[0]
        path = np.linalg.norm(exact - flow.start(h)[0])
        for rtol in (1e-4, 1e-6):
            ending = to_horizon(flow, h, FlowSettings(rtol=rtol, atol=1e-12, horizon=20.0, method=method))
            error = np.linalg.norm(ending.state[0] - exact)
            assert error < 30.0 * rtol * path
            assert error < ending.error[0]


@pytest.mark.parametrize(("method", "mode"), METHODS_BY_MODE)
def test_a_trial_does_not_depend_on_its_batch(rng: np.random.Generator, method: str, mode: str) -> None:
    problem, k = random_problem(rng, 3, 5), 30
    networks = [random_network(rng, 5, k, 2, "sigmoid") for _ in range(6)]
    h = np.stack([net.pre_activations for net in networks])
    Q = np.stack([problem.Z.T @ net.V for net in networks])
    phi, loss = get_activation("sigmoid"), get_loss("mse")
    flow = ReducedFlow(mode, phi, loss, ProblemBatch.stack([problem]), Q)
    controls = FlowSettings(horizon=1e3, method=method)
    many = integrate(flow, h, controls, ToleranceRule(1e-7))
    for trial in range(6):
        one = integrate(flow.take(np.array([trial])), h[trial : trial + 1], controls, ToleranceRule(1e-7))
        assert one.steps[0] == many.steps[trial]
        np.testing.assert_allclose(one.state[0], many.state[trial], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(one.time[0], many.time[trial], rtol=1e-11)


def test_endings(rng: np.random.Generator) -> None:
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 40, 2, "sigmoid")
    flow, h = reduced(problem, network, "both"), network.pre_activations[None]
    converged = integrate(flow, h, FlowSettings(), ToleranceRule(1e-7))
    assert converged.outcome[0] == Outcome.CONVERGED_TOLERANCE
    assert converged.loss[0] <= 1e-7
    horizon = integrate(flow, h, FlowSettings(horizon=1.5), ToleranceRule(1e-7))
    assert horizon.outcome[0] == Outcome.HORIZON
    assert horizon.time[0] == 1.5
    budget = integrate(flow, h, FlowSettings(max_steps=3), ToleranceRule(1e-7))
    assert budget.outcome[0] == Outcome.STEP_BUDGET
    assert budget.steps[0] == 3
    broken = integrate(flow, np.full_like(h, np.nan), FlowSettings(), ToleranceRule(1e-7))
    assert broken.outcome[0] == Outcome.NON_FINITE
    certified = integrate(flow, h, FlowSettings(), RestartRule(1))
    assert certified.outcome[0] == Outcome.CONVERGED_CERTIFIED
    assert 0.0 < certified.time[0] < converged.time[0]


def test_restart_is_right(rng: np.random.Generator) -> None:
    """What restart certifies does converge, and the perturbed margin is below the plain one."""
    for mode in MODES:
        problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 60, 2, "tanh")
        flow, h = reduced(problem, network, mode), network.pre_activations[None]
        ending = integrate(flow, h, FlowSettings(), RestartRule(1))
        assert ending.outcome[0] == Outcome.CONVERGED_CERTIFIED
        seen = flow.evaluate(ending.state)
        psi = flow.loss.psi(seen.loss)
        plain, perturbed = (RestartTest.of(flow, seen, np.array([error])) for error in (0.0, 1e-3))
        assert plain.margin(psi)[0] > 1.0
        assert plain.moved[0] == 0.0
        assert perturbed.margin(psi)[0] < plain.margin(psi)[0]
        assert perturbed.moved[0] > 0.0
        onward = ReducedFlow(mode, flow.activation, flow.loss, flow.problems, seen.Q)
        final = integrate(onward, ending.state[:, 0], FlowSettings(rtol=1e-8), ToleranceRule(1e-14))
        assert final.outcome[0] == Outcome.CONVERGED_TOLERANCE


def test_the_restart_condition_is_open(rng: np.random.Generator) -> None:
    """The margin at theta with error delta is below the plain margin at every theta' within delta (theory §5.4)."""
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 60, 2, "sigmoid")
    for mode, loss in (("hidden", "mse"), ("both", "mse"), ("both", "logcosh")):
        flow, h = reduced(problem, network, mode, loss), network.pre_activations[None]
        state = integrate(flow, h, FlowSettings(), RestartRule(1)).state
        seen = flow.evaluate(state)
        for delta in (1e-3, 1e-2, 0.1):
            bound = RestartTest.of(flow, seen, np.array([delta])).margin(flow.loss.psi(seen.loss))
            for _ in range(20):
                move = rng.standard_normal(state.shape)
                there = flow.evaluate(state + delta * move / np.linalg.norm(move))
                margin = RestartTest.of(flow, there, np.zeros(1)).margin(flow.loss.psi(there.loss))
                assert bound[0] <= margin[0]


def test_an_error_that_decides_is_undecided(rng: np.random.Generator) -> None:
    """Where what is left of the loss drowns in the error nothing is certified; a little less error, and it is."""
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 300, 2, "sigmoid")
    for mode, drowned in (("both", Outcome.UNDECIDED), ("hidden", Outcome.CONVERGED_CERTIFIED)):
        flow, h = reduced(problem, network, mode), network.pre_activations[None]
        seen = flow.evaluate(integrate(flow, h, FlowSettings(), ToleranceRule(1e-9)).state)
        # in the hidden layer every point of the boxes has the same limit (theory §5.4)
        for error, outcome in (
            (0.0, Outcome.CONVERGED_CERTIFIED),
            (1e-7, Outcome.CONVERGED_CERTIFIED),
            (10.0, drowned),
        ):
            assert RestartRule(1).check(flow, seen, np.array([error]), np.arange(1))[0] == outcome
    early = flow.evaluate(flow.start(h))
    assert RestartRule(1).check(flow, early, np.zeros(1), np.arange(1))[0] == -1


def test_restart_of_the_hidden_layer_agrees_with_the_exact_limit_at_any_tolerance(rng: np.random.Generator) -> None:
    """Near the critical width: certified only where zero loss is reached, and nearly always, whatever the tolerance."""
    reached, found = 0, []
    for activation in ("sigmoid", "tanh", "sin"):
        flow, h = many(rng, activation, "mse", 2.0, 3.0, 22)
        batch = flow.problems
        target = Target(h, flow.Q_start, batch.target / batch.S, batch.S, flow.width)
        inside = decide(target, flow.activation).exact == Exact.REACHES_ZERO
        for rtol in (1e-5, 0.1):
            ending = integrate(flow, h, FlowSettings(rtol=rtol, horizon=1e5), RestartRule(12))
            certified = ending.outcome == Outcome.CONVERGED_CERTIFIED
            assert inside[certified].all()
            found.append((certified == inside).mean())
        reached += int(inside.sum())
    assert 0 < reached < 36
    # the rest is too slow for the horizon
    assert np.mean(found) > 0.9


@pytest.mark.parametrize("mode", MODES)
def test_gradient_descent_step_for_step(rng: np.random.Generator, mode: str) -> None:
    """theory §3.1-3.2 hold for gradient descent exactly: 50 steps of the full state."""
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 8, 4, "tanh")
    flow, h = reduced(problem, network, mode), network.pre_activations[None]
    gamma, net = 0.3, network
    for _ in range(50):
        grad_V, grad_W = net.gradient(problem.A, problem.y, flow.loss, mode)
        net = Network(net.V - gamma * grad_V, net.W - gamma * grad_W, net.u, net.activation)
    ending = descend(flow, h, FlowSettings(gamma=gamma, loss_tolerance=0.0, max_steps=50))
    assert ending.outcome[0] == Outcome.STEP_BUDGET
    assert ending.steps[0] == 50
    # fifty steps of rounding
    np.testing.assert_allclose(ending.state[0, 0], net.pre_activations, rtol=1e-12, atol=1e-13)
    assert ending.loss[0] == pytest.approx(float(flow.loss.value(problem.A @ net.output - problem.y)), rel=1e-11)
    converged = descend(flow, h, FlowSettings(gamma=None, loss_tolerance=1e-7, max_steps=25_000))
    assert converged.outcome[0] == Outcome.CONVERGED_GD
    assert converged.time[0] == pytest.approx(converged.steps[0] * stable_step(flow, h)[0])


def test_a_neuron_does_not_change_its_branch() -> None:
    """Even an even number of zeros of phi' in one step is seen."""
    flow = ReducedFlow("hidden", get_activation("sin"), get_loss("mse"), None, np.zeros((1, 1, 2)))
    old = np.array([[0.1, 2.0]])
    for new, expected in (([0.2, 2.1], False), ([0.1, 5.0], True), ([0.1, 2.0 + 2 * np.pi], True)):
        assert crossed(flow, old, np.array([new]))[0] == expected


@pytest.mark.parametrize("mode", MODES)
def test_observables_against_the_full_state(rng: np.random.Generator, mode: str) -> None:
    """Everything that is saved along a trajectory, from dense matrices at the same times."""
    problem, network = random_problem(rng, 3, 5), random_network(rng, 5, 9, 4, "sigmoid")
    flow, h = reduced(problem, network, mode), network.pre_activations[None]
    times = np.array([[0.0, 0.3, 2.0, 7.0]])
    observer = Observer(flow, Origin.of(flow, h, [problem], [network.V], None), times)
    controls = FlowSettings(rtol=1e-10, atol=1e-12, horizon=7.0)
    ending = to_horizon(flow, h, controls, on_step=observer.on_step)
    observer.finish(ending.state, ending.time)
    for at, t in enumerate(times[0]):
        net = full_flow(problem, network, mode, flow.loss, t) if t else network
        error = net.output - problem.xbar
        in_range = problem.Z @ (problem.Z.T @ error)
        expected = (
            float(flow.loss.value(problem.A @ net.output - problem.y)),
            np.sqrt(((net.V - network.V) ** 2).sum() + ((net.W - network.W) ** 2).sum()),
            np.linalg.svd(net.jacobian(mode), compute_uv=False)[-1],
            np.linalg.norm(problem.A @ net.output - problem.ybar),
            np.linalg.norm(error),
            np.linalg.norm(in_range),
            np.linalg.norm(error - in_range),
        )
        for name, value in zip(OBSERVABLES, expected, strict=True):
            assert observer.values[name][0, at] == pytest.approx(value, rel=1e-6, abs=1e-7), name


def test_log_times() -> None:
    times = log_times(5, np.array([0.1]), np.array([100.0]))
    np.testing.assert_allclose(times, [[0.0, 0.1, 1.0, 10.0, 100.0]])
    np.testing.assert_array_equal(log_times(2, np.array([0.1]), np.array([3.0])), [[0.0, 3.0]])
    np.testing.assert_array_equal(log_times(1, np.array([0.1]), np.array([3.0])), [[0.0]])


def test_auto_leaves_the_explicit_pair_when_it_is_stiff(rng: np.random.Generator) -> None:
    """On a stiff problem auto takes a fraction of the explicit steps to the same point; on a mild one the same."""
    for condition, stiff in ((50.0, True), (1.5, False)):
        problem, network = random_problem(rng, 6, 8, condition=condition), random_network(rng, 8, 400, 2, "erf")
        flow, h = reduced(problem, network, "hidden"), network.pre_activations[None]
        endings = {
            method: integrate(flow, h, FlowSettings(horizon=3e5, method=method), ToleranceRule(1e-9))
            for method in ("auto", "explicit", "lowrank")
        }
        for ending in endings.values():
            assert ending.outcome[0] == endings["lowrank"].outcome[0]
        assert (endings["auto"].steps[0] < 0.5 * endings["explicit"].steps[0]) == stiff
        difference = np.linalg.norm(endings["auto"].state - endings["explicit"].state)
        assert difference <= endings["auto"].error[0] + endings["explicit"].error[0]
