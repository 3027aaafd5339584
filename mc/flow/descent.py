"""Gradient descent with a fixed step in reduced coordinates: theory §3.1-3.2 hold step for step (theory §9)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mc.flow.field import ReducedFlow
from mc.flow.integrate import Ending
from mc.flow.settings import FlowSettings
from mc.model.arrays import Array, Index
from mc.theory.codes import NOT_COMPUTED, Outcome
from mc.theory.lipschitz import TrialLipschitz

KAPPAS = np.linspace(0.05, 0.95, 19)
"""Grid of kappa in `step_quality`, ascending."""

OnIterate = Callable[[Index, int, Array], None]
"""``on_iterate(trials, step, states)``: called with every iterate of the running trials, the start included."""


def stable_step(flow: ReducedFlow, h: Array) -> Array:
    """Return half the largest step stable for the linearisation at the start h (T, k): 1/lambda_max(H K), (T,).

    An estimate, not a proof: K changes along the way. H is bounded over the losses below L_0 (theory §9).
    """
    point = flow.evaluate(flow.start(h))
    largest = np.linalg.eigvalsh(flow.kernel(point))[:, -1]
    return np.asarray(1.0 / (largest * flow.loss.curvature_upper(flow.psi_of(point.residual))))


def curvature(flow: ReducedFlow, h: Array, rho: Array) -> Array:
    """Return beta of theory §9, (T,): a Lipschitz constant of the gradient for radius rho (T,) and loss <= L_0.

    Infinite where no bound is known. A acts on Z^T J alone, so the norm and Lipschitz constant of Z^T J suffice.
    """
    point = flow.evaluate(flow.start(h))
    k, mode = flow.width, flow.mode
    psi, norm_A = flow.psi_of(point.residual), flow.problems.norm_A
    c_Z = np.sqrt(np.square(point.Q).sum(axis=1).max(axis=1))
    width = np.full(psi.shape, float(k))
    lipschitz = TrialLipschitz(mode, flow.activation.sup_dphi, flow.activation.lip_dphi, c_Z, width)
    with np.errstate(invalid="ignore", over="ignore"):
        slope = lipschitz.on_ball(rho)
        norm_J = np.sqrt((np.trace(point.gram, axis1=1, axis2=2) + (point.square_z if mode == "both" else 0.0)) / k)
        beta = flow.loss.curvature_upper(psi) * np.square(norm_A * (norm_J + slope * rho))
        beta = beta + flow.loss.slope_upper(psi) * norm_A * slope
        return np.where(np.isfinite(beta), beta, np.inf)


def step_quality(flow: ReducedFlow, h: Array, gamma: Array, radius: Array) -> Array:
    """Return the largest kappa of a grid with gamma beta/2 <= 1 - kappa, beta over radius R'/kappa (theory §9), (T,).

    ``gamma`` and ``radius`` R' are (T,); NaN where no kappa of the grid qualifies.
    """
    best = np.full(gamma.shape, np.nan)
    for kappa in KAPPAS:
        beta = curvature(flow, h, radius / kappa)
        best = np.where(0.5 * gamma * beta <= 1.0 - kappa, kappa, best)
    return best


def descend(flow: ReducedFlow, h: Array, settings: FlowSettings, on_iterate: OnIterate | None = None) -> Ending:
    """Run gradient descent from every start h (T, k) with gamma, max_steps and loss_tolerance of the settings.

    In the ending, ``time`` is steps times gamma and ``error`` is NaN: nothing is approximated.
    """
    trials = h.shape[0]
    if settings.gamma is None:
        gamma = (settings.gamma_scale or 1.0) * stable_step(flow, h)
    else:
        gamma = np.full(trials, settings.gamma)
    state = flow.start(h)
    ending = Ending.of(state)
    ending.first_step[:] = gamma
    running, slope = np.arange(trials), np.empty_like(state)
    for step in range(settings.max_steps + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            point = flow.derivative(state, slope)
        if on_iterate is not None:
            on_iterate(running, step, state)
        outcome = np.where(point.loss <= settings.loss_tolerance, Outcome.CONVERGED_GD, NOT_COMPUTED).astype(np.int8)
        outcome = np.where(np.isfinite(point.loss), outcome, Outcome.NON_FINITE)
        if step == settings.max_steps:
            outcome = np.where(outcome == NOT_COMPUTED, Outcome.STEP_BUDGET, outcome)
        ended = outcome != NOT_COMPUTED
        if ended.any():
            rows = running[ended]
            ending.outcome[rows], ending.loss[rows], ending.steps[rows] = outcome[ended], point.loss[ended], step
            ending.time[rows], ending.state[rows] = step * gamma[ended], state[ended]
            active = np.flatnonzero(~ended)
            if not active.size:
                break
            flow, state, running, gamma = flow.take(active), state[active], running[active], gamma[active]
            slope = slope[active]
        state += gamma[:, None, None] * slope
    return ending
