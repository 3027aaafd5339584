"""Gradient descent with a fixed step in reduced coordinates: theory §3.1-3.2 hold step for step (theory §9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mc.flow.field import ReducedFlow
from mc.flow.integrate import Ending
from mc.model.arrays import Array, Index
from mc.theory.certificates import observed_spectra
from mc.theory.codes import NOT_COMPUTED, Outcome
from mc.theory.lipschitz import TrialLipschitz

KAPPAS = np.linspace(0.05, 0.95, 19)
"""Where `step_quality` looks for kappa, ascending."""

OnIterate = Callable[[Index, int, Array], None]
"""``on_iterate(trials, step, states)`` sees every iterate of the trials that still run, the start included."""


@dataclass(frozen=True)
class Descent:
    """A protocol: a fixed step, a budget of steps and a loss that counts as zero.

    Attributes
    ----------
    gamma : float or None
        Step size; None takes `stable_step` of each trial.
    loss_tolerance : float
        Converged when the loss falls to this.
    max_steps : int
    scale : float
        Factor of `stable_step`.
    """

    gamma: float | None = None
    loss_tolerance: float = 1e-7
    max_steps: int = 25_000
    scale: float = 1.0


def stable_step(flow: ReducedFlow, h: Array) -> Array:
    """Half the largest step that is stable for the linearisation at the start: one over lambda_max(H K).

    An estimate, not a proof: K changes along the way. H is bounded over the losses below L_0 (theory §9).

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array

    Returns
    -------
    (T,) array
    """
    seen = flow.observe(flow.start(h))
    largest = np.linalg.eigvalsh(flow.kernel(seen))[:, -1]
    return np.asarray(1.0 / (largest * flow.loss.curvature_upper(flow.psi_of(seen.residual))))


def curvature(flow: ReducedFlow, h: Array, rho: Array) -> Array:
    """Beta of theory §9: a Lipschitz constant of the gradient in the ball of radius rho where the loss is at most L_0.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
        Pre-activations at time 0.
    rho : (T,) array

    Returns
    -------
    (T,) array
        Infinite where no bound is known. Through A only Z^T J is seen, so its norm and Lipschitz constant will do.
    """
    seen = flow.observe(flow.start(h))
    k, mode = flow.width, flow.mode
    psi, norm_A = flow.psi_of(seen.residual), flow.problems.norm_A
    c_Z = np.sqrt(np.square(seen.Q).sum(axis=1).max(axis=1))
    width = np.full(psi.shape, float(k))
    lipschitz = TrialLipschitz(mode, flow.activation.sup_dphi, flow.activation.lip_dphi, c_Z, width)
    with np.errstate(invalid="ignore", over="ignore"):
        slope = lipschitz.at(rho)
        norm_J = np.sqrt((np.trace(seen.gram, axis1=1, axis2=2) + (seen.square_z if mode == "both" else 0.0)) / k)
        beta = flow.loss.curvature_upper(psi) * np.square(norm_A * (norm_J + slope * rho))
        beta = beta + flow.loss.slope_upper(psi) * norm_A * slope
        return np.where(np.isfinite(beta), beta, np.inf)


def proved_step(flow: ReducedFlow, h: Array) -> Array:
    """1/beta of theory §9: the step at kappa = 1/2, half the bound gamma < 2/beta, with beta over the ball of 2 R'.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array

    Returns
    -------
    (T,) array
        R' is that of sigma_Z; 0 where sigma_Z is.
    """
    seen = flow.observe(flow.start(h))
    sigma_Z, _ = observed_spectra(seen.gram, seen.square_z, flow.problems.S, flow.width, flow.mode, flow.width)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 4.0 * flow.psi_of(seen.residual) / (flow.problems.sigma_A * sigma_Z)
    return np.asarray(1.0 / curvature(flow, h, rho))


def step_quality(flow: ReducedFlow, h: Array, gamma: Array, radius: Array) -> Array:
    """kappa = 1 - gamma beta/2 of theory §9, where beta itself is over the ball of radius R'/kappa: the best of a grid.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
    gamma : (T,) array
        Step sizes.
    radius : (T,) array
        R'.

    Returns
    -------
    (T,) array
        A kappa with gamma beta/2 <= 1 - kappa; NaN where the grid has none.
    """
    best = np.full(gamma.shape, np.nan)
    for kappa in KAPPAS:
        beta = curvature(flow, h, radius / kappa)
        best = np.where(0.5 * gamma * beta <= 1.0 - kappa, kappa, best)
    return best


def descend(flow: ReducedFlow, h: Array, protocol: Descent, on_iterate: OnIterate | None = None) -> Ending:
    """Run gradient descent from every start.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
        Pre-activations at time 0.
    protocol : Descent
    on_iterate : callable, optional
        See `OnIterate`.

    Returns
    -------
    Ending
        ``time`` is steps times gamma; ``error`` is NaN: nothing is approximated.
    """
    trials = h.shape[0]
    gamma = protocol.scale * stable_step(flow, h) if protocol.gamma is None else np.full(trials, protocol.gamma)
    state = flow.start(h)
    ending = Ending.of(state)
    ending.first_step[:] = gamma
    rows, slope = np.arange(trials), np.empty_like(state)
    for step in range(protocol.max_steps + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            seen = flow.derivative(state, slope)
        if on_iterate is not None:
            on_iterate(rows, step, state)
        outcome = np.where(seen.loss <= protocol.loss_tolerance, Outcome.CONVERGED_GD, NOT_COMPUTED).astype(np.int8)
        outcome = np.where(np.isfinite(seen.loss), outcome, Outcome.NON_FINITE)
        if step == protocol.max_steps:
            outcome = np.where(outcome == NOT_COMPUTED, Outcome.STEP_BUDGET, outcome)
        done = outcome != NOT_COMPUTED
        if done.any():
            at = rows[done]
            ending.outcome[at], ending.loss[at], ending.steps[at] = outcome[done], seen.loss[done], step
            ending.time[at], ending.state[at] = step * gamma[done], state[done]
            left = np.flatnonzero(~done)
            if not left.size:
                break
            flow, state, rows, gamma = flow.take(left), state[left], rows[left], gamma[left]
            slope = slope[left]
        state += gamma[:, None, None] * slope
    return ending
