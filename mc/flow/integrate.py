"""Integrate every trial of a batch with its own step size until its rule stops it, and check the error of the result.

In mode `hidden` the growth of errors along the way is bounded (theory §3.5), and the local errors so propagated are the
global one. Elsewhere a companion takes the same trajectory at a looser tolerance: its distance at the end is the global
error of the looser run, and bounds that of the tighter one, growth of errors along the way included, which the sum of
local estimates does not show. The larger of the two is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from mc.flow.dormand_prince import DormandPrince
from mc.flow.exponential import LowRankExponential
from mc.flow.field import ReducedFlow
from mc.flow.rosenbrock import DualRosenbrock
from mc.flow.settings import FlowSettings
from mc.flow.stepper import Stepper, norm
from mc.flow.stopping import Never, Rule
from mc.model.arrays import Array, Index, Mask
from mc.theory.codes import NOT_COMPUTED, Outcome

OnStep = Callable[[Stepper, Index, Index, Array, Array], None]
"""``on_step(stepper, rows, trials, t, dt)``: called with the rows of the batch whose attempt will be accepted."""

LOOSER = 8.0
MUCH_LOOSER, SHARE = 64.0, 1.0 / 8.0
"""Tolerance ratio of the companion of a `lowrank` run, and the factor from its distance to the error; measured 1/13."""
TIGHTER = 1e-2


@dataclass
class Ending:
    """How T integrations ended; arrays (T,) unless noted."""

    outcome: NDArray[np.int8]  # `Outcome`
    time: Array  # last time
    steps: NDArray[np.int64]  # attempts, accepted or not
    loss: Array  # loss at the last time
    error: Array  # estimate of the global error in theta
    first_step: Array  # first accepted step
    state: Array  # state at the last time, (T, rows, k)

    @classmethod
    def of(cls, start: Array) -> Ending:
        """Return the endings of trials that have not begun."""
        trials = start.shape[0]
        time, loss, error, first_step = (np.full(trials, np.nan) for _ in range(4))
        outcome, steps = np.full(trials, NOT_COMPUTED, np.int8), np.zeros(trials, np.int64)
        return cls(outcome, time, steps, loss, error, first_step, start.copy())

    def take(self, rows: Index) -> Ending:
        """Select trials."""
        return Ending(*(getattr(self, field.name)[rows] for field in fields(self)))

    def replace(self, rows: Index, other: Ending) -> None:
        """Overwrite the endings of trials that were integrated again."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


METHODS: dict[str, type[DormandPrince] | type[DualRosenbrock] | type[LowRankExponential]] = {
    "explicit": DormandPrince,
    "dual": DualRosenbrock,
    "lowrank": LowRankExponential,
}
"""Constructors of the methods: ``METHODS[name](flow, h, state)`` begins at ``state``, by default at the start."""


class _Run:
    """State of T integrations, and of the batch of them that is being stepped."""

    def __init__(
        self, flow: ReducedFlow, h: Array, settings: FlowSettings, rule: Rule, on_step: OnStep | None, until: Array
    ) -> None:
        trials = h.shape[0]
        self.flow, self.h, self.settings, self.rule, self.on_step = flow, h, settings, rule, on_step
        self.ending = Ending.of(flow.start(h))
        self.t, self.error = np.zeros(trials), np.zeros(trials)
        self.dt, self.first = np.full(trials, np.nan), np.full(trials, np.nan)
        self.steps, self.scale = np.zeros(trials, np.int64), np.zeros(trials)
        # the last accepted step of each trial: its size, and its error in units of the allowed one
        self.last_dt, self.last_ratio = np.full(trials, np.nan), np.full(trials, np.nan)
        self.until = until

    def begin(self, method: str, trials: Index) -> Stepper:
        """Start a method at the current states of given trials."""
        state = self.ending.state[trials]
        stepper = METHODS[method](self.flow.take(trials), self.h[trials], state)
        fresh = np.isnan(self.dt[trials])
        if fresh.any():
            self.dt[trials] = np.where(fresh, _first_step(stepper, self.settings.rtol), self.dt[trials])
            self.scale[trials] = np.where(fresh, _scale(stepper), self.scale[trials])
        return stepper

    def march(self, method: str, trials: Index, stop_when_stiff: bool = False) -> Index:
        """Step given trials until each has ended; return the trials that were stopped because they are stiff."""
        if not trials.size:
            return trials
        stepper, stopped = self.begin(method, trials), []
        outcome = self.rule.check(stepper.flow, stepper.point, self.error[trials], trials)
        while True:
            outcome = self.apply_budgets(outcome, stepper, trials)
            ended = outcome != NOT_COMPUTED
            stiff = ~ended & stepper.stiff() if stop_when_stiff else np.zeros_like(ended)
            if ended.any() or stiff.any():
                self.finish(outcome, ended, stepper, trials)
                self.ending.state[trials[stiff]] = stepper.states()[stiff]
                stopped.append(trials[stiff])
                rows = np.flatnonzero(~(ended | stiff))
                if not rows.size:
                    return np.concatenate(stopped)
                stepper.keep(rows)
                trials = trials[rows]
            outcome = self.advance(stepper, trials)

    def apply_budgets(self, outcome: NDArray[np.int8], stepper: Stepper, trials: Index) -> NDArray[np.int8]:
        """Stop the trials that their rule lets continue but a budget does not."""
        t, dt = self.t[trials], self.dt[trials]
        limits = (
            (~np.isfinite(stepper.point.loss), Outcome.NON_FINITE),
            (t >= self.until[trials], Outcome.HORIZON),
            # a step below the resolution of t does not advance it
            ((self.steps[trials] >= self.settings.max_steps) | (t + dt <= t), Outcome.STEP_BUDGET),
        )
        for reached, name in limits:
            outcome = np.where((outcome == NOT_COMPUTED) & reached, name, outcome).astype(np.int8)
        return outcome

    def finish(self, outcome: NDArray[np.int8], ended: Mask, stepper: Stepper, trials: Index) -> None:
        """Write the endings of the trials that are done."""
        ending, rows = self.ending, trials[ended]
        ending.outcome[rows], ending.time[rows], ending.steps[rows] = outcome[ended], self.t[rows], self.steps[rows]
        ending.loss[rows], ending.error[rows] = stepper.point.loss[ended], self.error[rows]
        ending.first_step[rows], ending.state[rows] = self.first[rows], stepper.states()[ended]

    def advance(self, stepper: Stepper, trials: Index) -> NDArray[np.int8]:
        """Attempt a step of every trial; return the outcomes of the rule for the trials whose step was accepted."""
        t, until = self.t[trials], self.until[trials]
        dt = np.minimum(self.dt[trials], until - t)
        with np.errstate(over="ignore", invalid="ignore"):
            attempt = stepper.attempt(dt)
            allowed = self.settings.atol + self.settings.rtol * (attempt.distance + self.scale[trials])
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
        verdict = self.rule.check(stepper.flow, stepper.point, self.error[trials], trials)
        return np.where(accepted, verdict, NOT_COMPUTED).astype(np.int8)

    def next_step(self, trials: Index, dt: Array, ratio: Array, accepted: Mask, order: int) -> Array:
        """Return the largest step expected to be accepted if error/dt^order falls as it did last.

        Near a limit that ratio falls fast: without the trend the step size would lag behind (the predictive controller
        of Gustafsson 1994, for growth alone and at most by a factor of three).
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
    settings: FlowSettings,
    rule: Rule,
    on_step: OnStep | None = None,
    until: Array | None = None,
) -> Ending:
    """Integrate T trajectories from their starts h (T, k), up to ``until`` (T,) in place of the horizon.

    The rule checks the start and every accepted step.
    """
    last = np.full(h.shape[0], settings.horizon) if until is None else until
    run, trials = _Run(flow, h, settings, rule, on_step, last), np.arange(h.shape[0])
    method, *others = methods_of(flow, settings)
    trials = run.march(method, trials, stop_when_stiff=bool(others))
    for method in others:
        run.march(method, trials)
    return run.ending


def methods_of(flow: ReducedFlow, settings: FlowSettings) -> tuple[str, ...]:
    """Return the method, or the first method and the method for the trials that turn out to be stiff."""
    if settings.method != "auto":
        return (settings.method,)
    if flow.mode == "both":
        return ("lowrank",)
    # without a cheap inverse of Phi the dual variable costs more than it saves
    return ("dual",) if flow.activation.cheap_inverse else ("explicit", "lowrank")


def growth_is_bounded(flow: ReducedFlow, settings: FlowSettings) -> bool:
    """Return whether the growth of errors is bounded along the run, so that no companion has to measure it."""
    return flow.loss.convex and methods_of(flow, settings) == ("dual",)


def _first_step(stepper: Stepper, rtol: float) -> Array:
    """Return the fraction of the time in which the loss would vanish at its first rate, (T,).

    It depends on the tolerance: two runs that began with the same step would hide each other's first errors.
    """
    part = stepper.opening * min(max(rtol / 1e-5, 1e-5), 1e3) ** 0.2
    with np.errstate(divide="ignore", invalid="ignore"):
        dt = part * stepper.point.loss / np.square(stepper.speed())
    return np.where(np.isfinite(dt) & (dt > 0.0), dt, 1.0)


def _scale(stepper: Stepper) -> Array:
    """Return psi(L_0)/|A J(0)|, (T,)."""
    kernel = stepper.flow.kernel(stepper.point)
    largest = np.sqrt(np.linalg.eigvalsh(np.where(np.isfinite(kernel), kernel, 0.0))[:, -1])
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = stepper.flow.psi_of(stepper.point.residual) / largest
    return np.where(np.isfinite(scale), scale, 0.0)


def scaled(settings: FlowSettings, factor: float) -> FlowSettings:
    """Multiply the tolerances."""
    if factor == 1.0:
        return settings
    return replace(settings, rtol=min(factor * settings.rtol, 0.5), atol=factor * settings.atol)


def integrate_checked(flow: ReducedFlow, h: Array, settings: FlowSettings, rule_for: Callable[[int], Rule]) -> Ending:
    """Integrate T trajectories from h (T, k); repeat at a tighter tolerance where the error leaves one undecided.

    ``rule_for(trials)`` makes the stopping rule. Where the rule tests its verdict against the error itself, a looser
    tolerance is tried first: a verdict that survives the larger error is decided. The ending holds the global estimate
    of the error, and the outcome undecided where the event of the rule does not survive it.
    """
    loosest = rule_for(0).loosest if growth_is_bounded(flow, settings) else 0.0
    first = scaled(settings, max(loosest / settings.rtol, 1.0))
    ending = _with_error(flow, h, first, rule_for)
    for following in (settings, scaled(settings, TIGHTER)) if first is not settings else (scaled(settings, TIGHTER),):
        again = np.flatnonzero(ending.outcome == Outcome.UNDECIDED)
        if not again.size:
            break
        ending.replace(again, _with_error(flow.take(again), h[again], following, rule_for))
    return ending


def _with_error(flow: ReducedFlow, h: Array, settings: FlowSettings, rule_for: Callable[[int], Rule]) -> Ending:
    rule = rule_for(h.shape[0])
    ending = integrate(flow, h, settings, rule)
    rows = np.flatnonzero((ending.time > 0.0) & np.isfinite(ending.loss))
    bounded = growth_is_bounded(flow, settings)
    if not rows.size or (bounded and rule.loosest > 0.0):
        # the rule has tested the error that is stored
        return ending
    part = flow.take(rows)
    if not bounded:
        apart, share = (MUCH_LOOSER, SHARE) if methods_of(flow, settings) == ("lowrank",) else (LOOSER, 1.0)
        companion = integrate(part, h[rows], scaled(settings, apart), Never(), until=ending.time[rows])
        distance = share * norm(companion.state - ending.state[rows])
        # without a companion at the last time the error is unknown
        arrived = (companion.outcome == Outcome.HORIZON) & np.isfinite(distance)
        ending.error[rows] = np.maximum(ending.error[rows], np.where(arrived, distance, np.inf))
    confirmed = rule_for(rows.size).confirms(part, part.evaluate(ending.state[rows]), ending.error[rows])
    by_rule = np.isin(ending.outcome[rows], (Outcome.CONVERGED_CERTIFIED, Outcome.CONVERGED_TOLERANCE))
    ending.outcome[rows[by_rule & ~confirmed]] = Outcome.UNDECIDED
    return ending
