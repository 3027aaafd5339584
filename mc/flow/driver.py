"""The loop: step every trial of a batch with its own step until its rule stops it, and say how each ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mc.flow.dual import DualRosenbrock
from mc.flow.explicit import DormandPrince
from mc.flow.fields import ReducedFlow
from mc.flow.lowrank import LowRankExponential
from mc.flow.stepper import Stepper
from mc.flow.stopping import Rule
from mc.outcomes import NOT_COMPUTED, Outcome

Array = NDArray[np.float64]

Index = NDArray[np.intp]
OnStep = Callable[[Stepper, Index, Index, Array, Array], None]
"""``on_step(stepper, rows, trials, t, dt)`` sees the rows of the batch whose attempt will be accepted, before it is."""


@dataclass(frozen=True)
class Controls:
    """Tolerances and budgets.

    Attributes
    ----------
    rtol, atol : float
        A step's error in theta is kept below ``atol + rtol (|theta(t) - theta(0)| + psi(L_0)/|A J(0)|)``, the distance
        moved and the least that fitting the data takes: a norm that knows neither the width nor the other trials.
    horizon : float
        Last time.
    max_steps : int
        Budget of attempts of a trial.
    method : {"auto", "explicit", "dual", "lowrank"}
        See `stepper_for`.
    """

    rtol: float = 1e-5
    atol: float = 1e-8
    horizon: float = 1e6
    max_steps: int = 100_000
    method: str = "auto"


@dataclass
class Ending:
    """How T integrations ended.

    Attributes
    ----------
    outcome : (T,) int8 array
        `Outcome`.
    time : (T,) array
        Time reached.
    steps : (T,) int array
        Attempts, accepted or not.
    loss : (T,) array
        Loss at ``time``.
    error : (T,) array
        Sum of the local error estimates, in theta.
    first_step : (T,) array
        First accepted step.
    state : (T, rows, k) array
        State at ``time``.
    """

    outcome: NDArray[np.int8]
    time: Array
    steps: NDArray[np.int64]
    loss: Array
    error: Array
    first_step: Array
    state: Array

    @classmethod
    def of(cls, start: Array) -> Ending:
        """Endings of trials that have not begun."""
        trials = start.shape[0]
        time, loss, error, first_step = (np.full(trials, np.nan) for _ in range(4))
        outcome, steps = np.full(trials, NOT_COMPUTED, np.int8), np.zeros(trials, np.int64)
        return cls(outcome, time, steps, loss, error, first_step, start.copy())

    def replace(self, rows: Index, other: Ending) -> None:
        """Put the endings of some trials, integrated again, in place of theirs."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


class _Batch:
    """Bookkeeping of the trials that still run."""

    def __init__(self, trials: int) -> None:
        self.trials = np.arange(trials)
        self.t, self.error = np.zeros(trials), np.zeros(trials)
        self.dt, self.first = np.zeros(trials), np.full(trials, np.nan)
        self.steps = np.zeros(trials, np.int64)
        self.scale, self.until = np.zeros(trials), np.zeros(trials)

    def keep(self, rows: Index) -> None:
        for name in ("trials", "t", "error", "dt", "first", "steps", "scale", "until"):
            setattr(self, name, getattr(self, name)[rows])


METHODS: dict[str, Callable[[ReducedFlow, Array], Stepper]] = {
    "explicit": DormandPrince,
    "dual": DualRosenbrock,
    "lowrank": LowRankExponential,
}


def stepper_for(flow: ReducedFlow, h: Array, method: str) -> Stepper:
    """Begin stepping a batch by a method.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
        Pre-activations at time 0.
    method : str
        A key of `METHODS`; ``dual`` is for the hidden layer only.
    """
    if method == "auto":
        method = "dual" if flow.mode == "hidden" else "lowrank"
    return METHODS[method](flow, h)


def integrate(
    flow: ReducedFlow,
    h: Array,
    controls: Controls,
    rule: Rule,
    on_step: OnStep | None = None,
    until: Array | None = None,
) -> Ending:
    """Integrate T trajectories from their starts.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
        Pre-activations at time 0.
    controls : Controls
    rule : Rule
        When a trajectory is done; it sees the start and every accepted step.
    on_step : callable, optional
        See `OnStep`.
    until : (T,) array, optional
        Last time of each trial, instead of the horizon.

    Returns
    -------
    Ending
    """
    ending = Ending.of(flow.start(h))
    stepper, batch = stepper_for(flow, h, controls.method), _Batch(h.shape[0])
    batch.dt, batch.scale = _first_step(stepper), _scale(stepper)
    batch.until = np.full(h.shape[0], controls.horizon) if until is None else until
    outcome = rule.check(stepper.flow, stepper.seen, batch.error)
    while True:
        outcome = _close(outcome, stepper, batch, controls)
        done = outcome != NOT_COMPUTED
        if done.any():
            _record(ending, outcome, done, stepper, batch)
            rows = np.flatnonzero(~done)
            if not rows.size:
                return ending
            stepper.keep(rows)
            batch.keep(rows)
            rule.keep(rows)
        outcome = _advance(stepper, batch, controls, rule, on_step)


def _first_step(stepper: Stepper) -> Array:
    """A tenth of the time in which the loss would fall to nothing at its first rate."""
    with np.errstate(divide="ignore", invalid="ignore"):
        dt = 0.1 * stepper.seen.loss / np.square(stepper.speed())
    return np.where(np.isfinite(dt) & (dt > 0.0), dt, 1.0)


def _scale(stepper: Stepper) -> Array:
    """psi(L_0)/|A J(0)|, (T,)."""
    kernel = stepper.flow.kernel(stepper.seen)
    largest = np.sqrt(np.linalg.norm(np.where(np.isfinite(kernel), kernel, 0.0), 2, axis=(1, 2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = stepper.flow.psi_of(stepper.seen.residual) / largest
    return np.where(np.isfinite(scale), scale, 0.0)


def _close(outcome: NDArray[np.int8], stepper: Stepper, batch: _Batch, controls: Controls) -> NDArray[np.int8]:
    """Budgets, for the trials that their rule lets go on."""
    limits = (
        (~np.isfinite(stepper.seen.loss), Outcome.NON_FINITE),
        (batch.t >= batch.until, Outcome.HORIZON),
        # a step below the resolution of t cannot move on
        ((batch.steps >= controls.max_steps) | (batch.t + batch.dt <= batch.t), Outcome.STEP_BUDGET),
    )
    for reached, name in limits:
        outcome = np.where((outcome == NOT_COMPUTED) & reached, name, outcome).astype(np.int8)
    return outcome


def _record(
    ending: Ending, outcome: NDArray[np.int8], done: NDArray[np.bool_], stepper: Stepper, batch: _Batch
) -> None:
    trials = batch.trials[done]
    ending.outcome[trials], ending.time[trials], ending.steps[trials] = outcome[done], batch.t[done], batch.steps[done]
    ending.loss[trials], ending.error[trials] = stepper.seen.loss[done], batch.error[done]
    ending.first_step[trials], ending.state[trials] = batch.first[done], stepper.states()[done]


def _advance(
    stepper: Stepper, batch: _Batch, controls: Controls, rule: Rule, on_step: OnStep | None
) -> NDArray[np.int8]:
    """One attempt for every trial; the outcome of those whose step was accepted."""
    dt = np.minimum(batch.dt, batch.until - batch.t)
    with np.errstate(over="ignore", invalid="ignore"):
        attempt = stepper.attempt(dt)
        ratio = attempt.error / (controls.atol + controls.rtol * (attempt.distance + batch.scale))
    ratio = np.where(attempt.sound & np.isfinite(ratio), ratio, np.inf)
    accepted = ratio <= 1.0
    if on_step is not None and accepted.any():
        rows = np.flatnonzero(accepted)
        on_step(stepper, rows, batch.trials[rows], batch.t[rows], dt[rows])
    stepper.accept(accepted)
    arrived = np.where(dt < batch.until - batch.t, batch.t + dt, batch.until)
    batch.t = np.where(accepted, arrived, batch.t)
    batch.error = np.where(accepted, batch.error + attempt.error, batch.error)
    batch.first = np.where(accepted & np.isnan(batch.first), dt, batch.first)
    batch.steps += 1
    with np.errstate(divide="ignore"):
        factor = 0.9 * np.maximum(ratio, 1e-10) ** (-1.0 / stepper.order)
    # after a rejection the step does not grow
    batch.dt = dt * np.clip(factor, 0.2, np.where(accepted, 5.0, 0.9))
    verdict = rule.check(stepper.flow, stepper.seen, batch.error)
    return np.where(accepted, verdict, NOT_COMPUTED).astype(np.int8)
