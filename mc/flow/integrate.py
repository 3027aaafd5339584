"""The loop: step every trial of a batch with its own step until its rule stops it, and say how each ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mc.flow.dormand_prince import DormandPrince
from mc.flow.exponential import LowRankExponential
from mc.flow.field import ReducedFlow
from mc.flow.rosenbrock import DualRosenbrock
from mc.flow.stepper import Stepper
from mc.flow.stopping import Rule
from mc.model.arrays import Array, Index, IntArray, Mask
from mc.theory.codes import NOT_COMPUTED, Outcome

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
        ``dual`` is for the hidden layer only. ``auto`` takes the exponential methods, ``dual`` or ``lowrank``, which
        are the most accurate at equal cost; but where Phi has no cheap inverse, a trial of the hidden layer goes by the
        explicit pair until stability holds that back, and by ``lowrank`` from there.
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
        Estimate of the global error in theta: local ones, each magnified or damped as the steps after it may do.
    first_step : (T,) array
        First accepted step.
    state : (T, rows, k) array
        State at ``time``.
    """

    outcome: NDArray[np.int8]
    time: Array
    steps: IntArray
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

    def take(self, rows: Index) -> Ending:
        """Some of the trials."""
        return Ending(*(getattr(self, field.name)[rows] for field in fields(self)))

    def replace(self, rows: Index, other: Ending) -> None:
        """Put the endings of some trials, integrated again, in place of theirs."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


class StepperType(Protocol):
    """How a method begins: from the start, or from a later state."""

    safety: float

    def __call__(self, flow: ReducedFlow, h: Array, state: Array | None = None) -> Stepper:
        """Begin at ``state`` (T, rows, k), at the start by default; ``h`` (T, k) are the pre-activations at time 0."""


METHODS: dict[str, StepperType] = {
    "explicit": DormandPrince,
    "dual": DualRosenbrock,
    "lowrank": LowRankExponential,
}


class _Run:
    """Bookkeeping of T trials, and the batch of them that is being stepped."""

    def __init__(self, flow: ReducedFlow, h: Array, controls: Controls, rule: Rule, on_step: OnStep | None) -> None:
        trials = h.shape[0]
        self.flow, self.h, self.controls, self.rule, self.on_step = flow, h, controls, rule, on_step
        self.ending = Ending.of(flow.start(h))
        self.t, self.error = np.zeros(trials), np.zeros(trials)
        self.dt, self.first = np.full(trials, np.nan), np.full(trials, np.nan)
        self.steps, self.scale = np.zeros(trials, np.int64), np.zeros(trials)
        # the last accepted step of each trial: its size, and its error in units of the allowed one
        self.last_dt, self.last_ratio = np.full(trials, np.nan), np.full(trials, np.nan)
        self.until = np.full(trials, controls.horizon)

    def begin(self, method: str, trials: Index) -> Stepper:
        """Step some trials by a method from where they are."""
        state = self.ending.state[trials]
        stepper = METHODS[method](self.flow.take(trials), self.h[trials], state)
        fresh = np.isnan(self.dt[trials])
        if fresh.any():
            self.dt[trials] = np.where(fresh, _first_step(stepper, self.controls.rtol), self.dt[trials])
            self.scale[trials] = np.where(fresh, _scale(stepper), self.scale[trials])
        return stepper

    def march(self, method: str, trials: Index, leave_when_stiff: bool = False) -> Index:
        """Step some trials until each has ended; returns those left because they are stiff."""
        if not trials.size:
            return trials
        stepper, left = self.begin(method, trials), []
        outcome = self.rule.check(stepper.flow, stepper.seen, self.error[trials], trials)
        while True:
            outcome = self.close(outcome, stepper, trials)
            done = outcome != NOT_COMPUTED
            stiff = ~done & stepper.stiff() if leave_when_stiff else np.zeros_like(done)
            if done.any() or stiff.any():
                self.record(outcome, done, stepper, trials)
                self.ending.state[trials[stiff]] = stepper.states()[stiff]
                left.append(trials[stiff])
                rows = np.flatnonzero(~(done | stiff))
                if not rows.size:
                    return np.concatenate(left)
                stepper.keep(rows)
                trials = trials[rows]
            outcome = self.advance(stepper, trials)

    def close(self, outcome: NDArray[np.int8], stepper: Stepper, trials: Index) -> NDArray[np.int8]:
        """Budgets, for the trials that their rule lets go on."""
        t, dt = self.t[trials], self.dt[trials]
        limits = (
            (~np.isfinite(stepper.seen.loss), Outcome.NON_FINITE),
            (t >= self.until[trials], Outcome.HORIZON),
            # a step below the resolution of t cannot move on
            ((self.steps[trials] >= self.controls.max_steps) | (t + dt <= t), Outcome.STEP_BUDGET),
        )
        for reached, name in limits:
            outcome = np.where((outcome == NOT_COMPUTED) & reached, name, outcome).astype(np.int8)
        return outcome

    def record(self, outcome: NDArray[np.int8], done: Mask, stepper: Stepper, trials: Index) -> None:
        """Write how some trials ended."""
        ending, at = self.ending, trials[done]
        ending.outcome[at], ending.time[at], ending.steps[at] = outcome[done], self.t[at], self.steps[at]
        ending.loss[at], ending.error[at] = stepper.seen.loss[done], self.error[at]
        ending.first_step[at], ending.state[at] = self.first[at], stepper.states()[done]

    def advance(self, stepper: Stepper, trials: Index) -> NDArray[np.int8]:
        """One attempt for every trial; the outcome of those whose step was accepted."""
        t, until = self.t[trials], self.until[trials]
        dt = np.minimum(self.dt[trials], until - t)
        with np.errstate(over="ignore", invalid="ignore"):
            attempt = stepper.attempt(dt)
            allowed = self.controls.atol + self.controls.rtol * (attempt.distance + self.scale[trials])
            ratio = attempt.error / allowed
        ratio = np.where(attempt.sound & np.isfinite(ratio), ratio, np.inf)
        accepted = ratio <= 1.0
        if self.on_step is not None and accepted.any():
            rows = np.flatnonzero(accepted)
            self.on_step(stepper, rows, trials[rows], t[rows], dt[rows])
        growth = stepper.accept(accepted)
        error = self.error[trials]
        self.error[trials] = np.where(accepted, growth * error + stepper.safety * attempt.error, error)
        self.t[trials] = np.where(accepted, np.where(dt < until - t, t + dt, until), t)
        self.first[trials] = np.where(accepted & np.isnan(self.first[trials]), dt, self.first[trials])
        self.steps[trials] += 1
        self.dt[trials] = self.next_step(trials, dt, np.maximum(ratio, 1e-10), accepted, stepper.order)
        verdict = self.rule.check(stepper.flow, stepper.seen, self.error[trials], trials)
        return np.where(accepted, verdict, NOT_COMPUTED).astype(np.int8)

    def next_step(self, trials: Index, dt: Array, ratio: Array, accepted: Mask, order: int) -> Array:
        """Step that should just be accepted, if error/dt^order falls as it did from the step before to this one.

        On the way to a limit it falls fast: without the trend a step could only follow it (the predictive controller of
        Gustafsson 1994, for growth alone and at most by a factor of three).
        """
        factor = 0.9 * ratio ** (-1.0 / order)
        with np.errstate(invalid="ignore"):
            trend = dt / self.last_dt[trials] * (self.last_ratio[trials] / ratio) ** (1.0 / order)
        factor *= np.where(accepted, np.clip(np.fmax(trend, 1.0), 1.0, 3.0), 1.0)
        self.last_dt[trials] = np.where(accepted, dt, self.last_dt[trials])
        self.last_ratio[trials] = np.where(accepted, ratio, self.last_ratio[trials])
        # after a rejection the step does not grow
        return np.asarray(dt * np.clip(factor, 0.2, np.where(accepted, 5.0, 0.9)))


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
    run, trials = _Run(flow, h, controls, rule, on_step), np.arange(h.shape[0])
    if until is not None:
        run.until = until
    method, *others = methods_of(flow, controls)
    trials = run.march(method, trials, leave_when_stiff=bool(others))
    for method in others:
        run.march(method, trials)
    return run.ending


def methods_of(flow: ReducedFlow, controls: Controls) -> tuple[str, ...]:
    """The method, or the one to begin with and that of the trials which turn out to be stiff."""
    if controls.method != "auto":
        return (controls.method,)
    if flow.mode == "both":
        return ("lowrank",)
    # without a cheap inverse of Phi the dual variable costs more than it saves
    return ("dual",) if flow.activation.cheap_inverse else ("explicit", "lowrank")


def grows_known(flow: ReducedFlow, controls: Controls) -> bool:
    """Whether the growth of errors is bounded along the run, so that no second run has to tell it."""
    return flow.loss.convex and methods_of(flow, controls) == ("dual",)


def _first_step(stepper: Stepper, rtol: float) -> Array:
    """A part of the time in which the loss would fall to nothing at its first rate.

    It goes with the tolerance: runs at two tolerances that began alike would hide each other's first errors.
    """
    part = stepper.opening * min(max(rtol / 1e-5, 1e-5), 1e3) ** 0.2
    with np.errstate(divide="ignore", invalid="ignore"):
        dt = part * stepper.seen.loss / np.square(stepper.speed())
    return np.where(np.isfinite(dt) & (dt > 0.0), dt, 1.0)


def _scale(stepper: Stepper) -> Array:
    """psi(L_0)/|A J(0)|, (T,)."""
    kernel = stepper.flow.kernel(stepper.seen)
    largest = np.sqrt(np.linalg.eigvalsh(np.where(np.isfinite(kernel), kernel, 0.0))[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = stepper.flow.psi_of(stepper.seen.residual) / largest
    return np.where(np.isfinite(scale), scale, 0.0)
