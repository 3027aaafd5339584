"""Every method against SciPy's DOP853 and Radau on the full state (V, W): final states and loss curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from cases import random_network, random_problem, reduced
from scipy.integrate import solve_ivp

from mc.flow.field import ReducedFlow
from mc.flow.integrate import METHODS as stepper_types
from mc.flow.integrate import Ending, integrate
from mc.flow.observables import Observer, Origin
from mc.flow.settings import FlowSettings
from mc.flow.stopping import Never
from mc.model.network import Network, flow_field
from mc.model.problem import Problem
from mc.theory.codes import Outcome

MODES = ("hidden", "both")
# every activation, loss and condition number meets every method
SYSTEMS = {
    "sigmoid": ("mse", 2.0, 1e3),
    "tanh": ("power", 4.0, 10.0),
    "softplus": ("logcosh", 2.0, 1e3),
    "sin": ("mse", 2.0, 30.0),
}
METHODS = [
    (method, mode)
    for method in ("explicit", "dual", "lowrank")
    for mode in MODES
    if method != "dual" or mode == "hidden"
]
N, M, K, D = 4, 3, 6, 2
TIMES = np.array([0.0, 0.05, 0.7, 6.0, 40.0, 150.0])
SOLVERS = {"DOP853": 11, "Radau": 3}
"""Right-hand sides that a step takes at least."""
RTOL = 1e-11


@dataclass(frozen=True)
class System:
    """A problem, a start, and what a SciPy solver makes of the full state."""

    problem: Problem
    start: Network
    flow: ReducedFlow

    def theta(self, network: Network) -> np.ndarray:
        return np.concatenate([network.V.ravel(), network.W.ravel()])

    def network(self, theta: np.ndarray) -> Network:
        split = self.start.V.size
        V, W = theta[:split].reshape(self.start.V.shape), theta[split:].reshape(self.start.W.shape)
        return Network(V, W, self.start.u, self.start.activation)

    def lift(self, state: np.ndarray) -> Network:
        """The full state of a reduced one (theory §3.1-3.2)."""
        start, V = self.start, self.start.V
        if self.flow.mode == "both":
            V = V + self.problem.Z @ (state[1:] - self.flow.Q_start[0])
        return Network(V, start.W + np.outer(state[0] - start.pre_activations, start.u), start.u, start.activation)


@cache
def system(activation: str, mode: str) -> System:
    loss, p, condition = SYSTEMS[activation]
    rng = np.random.default_rng([sorted(SYSTEMS).index(activation), 7])
    problem, start = random_problem(rng, M, N, condition=condition), random_network(rng, N, K, D, activation)
    return System(problem, start, reduced(problem, start, mode, loss, p))


@cache
def reference(activation: str, mode: str, solver: str) -> tuple[np.ndarray, float]:
    """States (times, parameters) by SciPy and a bound of their error: steps times the local tolerance of its norm."""
    case = system(activation, mode)
    field = flow_field(
        case.problem.A, case.problem.y, case.start.u, case.start.activation, case.flow.loss, mode, case.start.V.shape
    )
    theta = case.theta(case.start)
    solution = solve_ivp(field, (0.0, TIMES[-1]), theta, method=solver, rtol=RTOL, atol=RTOL, t_eval=TIMES)
    assert solution.success
    # the solver keeps the root mean square of error/(atol + rtol |theta_i|) below one in every step
    steps = solution.nfev / SOLVERS[solver]
    local = np.linalg.norm(RTOL + RTOL * np.abs(solution.y).max(axis=1))
    return solution.y.T, float(steps * local)


def run(case: System, controls: FlowSettings) -> tuple[Ending, Observer]:
    h = case.start.pre_activations[None]
    observer = Observer(case.flow, Origin.of(case.flow, h, [case.problem], [case.start.V], None), TIMES[None])
    ending = integrate(case.flow, h, controls, Never(), observer.on_step)
    observer.finish(ending.state, ending.time)
    return ending, observer


def tolerated(case: System, ending: Ending, observer: Observer, controls: FlowSettings) -> float:
    """Steps times the tolerance of one, atol + rtol (distance + psi(L_0)/|A J(0)|), raised by the method's safety."""
    flow, h = case.flow, case.start.pre_activations[None]
    seen = flow.evaluate(flow.start(h))
    least = float(flow.loss.psi(seen.loss)[0] / np.sqrt(np.linalg.norm(flow.kernel(seen)[0], 2)))
    path = float(observer.values["distance"].max())
    safety = stepper_types[controls.method].safety
    return safety * float(ending.steps[0]) * (controls.atol + controls.rtol * (path + least))


def magnification(case: System, states: np.ndarray) -> float:
    """Largest growth of an error that theory §3.5 allows for: the sum over the neurons in place of their maximum."""
    dphi = np.stack([np.abs(case.flow.activation.dphi(case.network(theta).pre_activations)) for theta in states])
    return float(np.exp(np.maximum(np.diff(np.log(dphi), axis=0), 0.0).sum()))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("activation", SYSTEMS)
def test_the_references_agree(activation: str, mode: str) -> None:
    """Two solvers of unlike kinds: what they share is the flow."""
    (one, error_one), (two, error_two) = (reference(activation, mode, solver) for solver in SOLVERS)
    assert np.linalg.norm(one - two, axis=1).max() < error_one + error_two
    # the trajectory goes somewhere: a comparison of starts would prove nothing
    assert np.linalg.norm(one[-1] - one[0]) > 0.1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("method", "mode"), METHODS)
@pytest.mark.parametrize("activation", SYSTEMS)
def test_against_scipy(activation: str, method: str, mode: str, solver: str) -> None:
    case = system(activation, mode)
    states, doubt = reference(activation, mode, solver)
    controls = FlowSettings(rtol=1e-8, atol=1e-11, horizon=TIMES[-1], method=method)
    ending, observer = run(case, controls)
    assert ending.outcome[0] == Outcome.HORIZON
    # local errors add up along the path; where their growth is not bounded they are taken not to be magnified
    growth = magnification(case, states) if method == "dual" else 1.0
    assert ending.error[0] < growth * tolerated(case, ending, observer, controls)
    error = ending.error[0] + doubt
    assert np.linalg.norm(case.theta(case.lift(ending.state[0])) - states[-1]) < error
    A, y, loss = case.problem.A, case.problem.y, case.flow.loss
    for at, theta in enumerate(states):
        network = case.network(theta)
        residual = A @ network.output - y
        # L is convex in the observation, which moves by |A J| error and a little of second order
        moved = 1.1 * np.linalg.norm(A @ network.jacobian(mode), 2) * error
        slope = np.linalg.norm(loss.gradient(residual)) + loss_curvature(loss.name, residual, moved) * moved
        computed, exact = observer.values["loss"][0, at], float(loss.value(residual))
        assert abs(computed - exact) < slope * moved + 1e-15


def loss_curvature(name: str, residual: np.ndarray, moved: float) -> float:
    """Bound of |Hess L| within ``moved`` of a residual: 1 for mse and logcosh, (p - 1) |e|^(p - 2) for power(p)."""
    return 3.0 * (np.linalg.norm(residual) + moved) ** 2 if name == "power(4)" else 1.0
