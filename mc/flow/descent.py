"""Gradient descent with a fixed step in reduced coordinates: theory §3.1-3.2 hold step for step (theory §9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc.certificates import observed_spectra
from mc.flow.driver import Ending
from mc.flow.fields import ReducedFlow
from mc.lipschitz import TrialLipschitz
from mc.outcomes import NOT_COMPUTED, Outcome

Array = NDArray[np.float64]
OnIterate = Callable[["NDArray[np.intp]", int, Array], None]
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
    """

    gamma: float | None = None
    loss_tolerance: float = 1e-7
    max_steps: int = 25_000


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
    k, mode = flow.width, flow.mode
    sigma_Z, _ = observed_spectra(seen.gram, seen.square_z, flow.problems.S, k, mode, k)
    psi, norm_A = flow.psi_of(seen.residual), flow.problems.norm_A
    c_Z = np.sqrt(np.square(seen.Q).sum(axis=1).max(axis=1))
    lipschitz = TrialLipschitz(
        mode, flow.activation.sup_dphi, flow.activation.lip_dphi, c_Z, np.full(psi.shape, float(k))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 4.0 * psi / (flow.problems.sigma_A * sigma_Z)
        slope = lipschitz.at(rho)
        norm_J = np.sqrt((np.trace(seen.gram, axis1=1, axis2=2) + (seen.square_z if mode == "both" else 0.0)) / k)
        beta = flow.loss.curvature_upper(psi) * np.square(norm_A * (norm_J + slope * rho))
        beta = beta + flow.loss.slope_upper(psi) * norm_A * slope
        return np.where(np.isfinite(beta), 1.0 / beta, 0.0)


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
    gamma = stable_step(flow, h) if protocol.gamma is None else np.full(trials, protocol.gamma)
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
