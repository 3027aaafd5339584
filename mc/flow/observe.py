"""Integrate trajectories until the loss reaches its level, observe them on the way, and bound the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mc.flow.case import Case
from mc.flow.descent import descend
from mc.flow.field import ReducedFlow
from mc.flow.integrate import LOOSER, TIGHTER, Ending, integrate, scaled
from mc.flow.observables import Observer, Origin, View
from mc.flow.settings import FlowSettings
from mc.flow.stepper import Stepper, norm
from mc.flow.stopping import Never, ToleranceRule, remaining_path
from mc.model.arrays import Array, Index
from mc.model.problem import Problem
from mc.theory.codes import Outcome

MOST_STEPS = 2_000
"""Budget of steps of an observed trajectory: one that never converges is observed up to this budget."""

MORE_STEPS = 4
"""Factor of the budget at a hundredth of the tolerance: order 4 takes 3.2 times as many steps."""

HALVINGS = 20
"""Halvings of the last step: they locate the crossing to a millionth of the step."""


@dataclass(frozen=True)
class Drawn:
    """Problems of T trials, and output layers V (n, k); V is None where ker(A) is trivial or not observed."""

    problems: Sequence[Problem]
    V: Sequence[Array] | None

    def take(self, rows: Index) -> Drawn:
        """Select trials."""
        V = None if self.V is None else [self.V[int(row)] for row in rows]
        return Drawn([self.problems[int(row)] for row in rows], V)


@dataclass(frozen=True)
class Observed:
    """Observables of T trajectories at P times, with the errors of their integration."""

    origin: Origin
    times: Array  # (T, P)
    values: Mapping[str, Array]  # by observable, (T, P)
    errors: Mapping[str, Array]  # estimated errors of the values, (T, P); NaN where unknown
    signals: Array | None  # x(t), (T, P, n)
    ending: Ending
    loss_error: Array  # of the last loss, (T,)
    remainder: Array  # bound of |theta_inf - theta(end)|, the error at the end included, (T,)
    start_error: Array  # |x(0) - xbar|, (T,)

    def take(self, rows: Index) -> Observed:
        """Select trials."""
        return Observed(
            self.origin.take(rows),
            self.times[rows],
            {name: value[rows] for name, value in self.values.items()},
            {name: error[rows] for name, error in self.errors.items()},
            None if self.signals is None else self.signals[rows],
            self.ending.take(rows),
            self.loss_error[rows],
            self.remainder[rows],
            self.start_error[rows],
        )


def observe_flow(case: Case, drawn: Drawn, names: Sequence[str], signals: bool = False) -> Observed:
    """Observe trajectories in three passes: find the end, repeat the same steps with an observer, then looser ones.

    The difference between the last two passes estimates the errors of the observables.
    """
    flow, h, settings = case.flow, case.h, case.settings
    level = _levels(case, drawn, names)
    crossing = Crossing(flow, level)
    ending = integrate(flow, h, settings, ToleranceRule(level), crossing.on_step)
    crossing.set_end(ending)
    origin = Origin.of(flow, h, drawn.problems, drawn.V, ending.state)
    times = _times(settings, ending)
    observer, companion = (Observer(flow, origin, times, names, signals=wanted) for wanted in (signals, False))
    ends = []
    for each, tolerances in ((observer, settings), (companion, scaled(settings, LOOSER))):
        last = integrate(flow, h, tolerances, Never(), each.on_step, until=ending.time)
        each.finish(last.state, last.time)
        ends.append(last)
    arrived = ends[1].outcome == Outcome.HORIZON
    # the end itself lies within a step of the first pass
    apart = np.maximum(norm(ends[0].state - ends[1].state), ending.error) + norm(ending.state - ends[0].state)
    end_error = np.where(arrived, apart, np.inf)
    return Observed(
        origin,
        times,
        observer.values,
        {name: _apart(observer.values[name], companion.values[name]) for name in names},
        observer.signals,
        ending,
        loss_error=np.where(arrived, 2.0 * np.abs(ending.loss - ends[1].loss), np.inf),
        remainder=remaining_path(flow, flow.evaluate(ending.state), end_error) + end_error,
        start_error=_start_error(flow, origin),
    )


def observe_descent(case: Case, drawn: Drawn, names: Sequence[str], signals: bool = False) -> Observed:
    """Observe the iterates nearest to the wanted times; their own times are stored, and nothing is approximated."""
    flow, h, settings = case.flow, case.h, case.settings
    ending = descend(flow, h, settings)
    gamma = ending.first_step[:, None]
    steps = np.round(_times(settings, ending) / gamma).astype(np.intp)
    origin = Origin.of(flow, h, drawn.problems, drawn.V, None)
    observer = Observer(flow, origin, steps * gamma, names, signals=signals)
    descend(flow, h, settings, partial(observer.on_iterate, steps))
    errors, zero = {name: np.zeros_like(values) for name, values in observer.values.items()}, np.zeros(h.shape[0])
    start_error = _start_error(flow, origin)
    return Observed(origin, observer.times, observer.values, errors, observer.signals, ending, zero, zero, start_error)


def limited(case: Case) -> Case:
    """Limit the budget of steps to that of an observed trajectory."""
    return replace(case, settings=replace(case.settings, max_steps=min(case.settings.max_steps, MOST_STEPS)))


def tightened(case: Case) -> Case:
    """Tighten the tolerances, with the budget of steps that they need."""
    steps = MORE_STEPS * case.settings.max_steps
    return replace(case, settings=replace(scaled(case.settings, TIGHTER), max_steps=steps))


class Crossing:
    """Locate the time and state at which the loss of each trial falls to its ``level`` (T,).

    The crossing lies within the last step, which an exponential method makes very long.
    """

    def __init__(self, flow: ReducedFlow, level: Array) -> None:
        self._flow, self._level = flow, level
        trials = flow.Q_start.shape[0]
        self._time = np.full(trials, np.nan)
        self._state: dict[int, Array] = {}

    def on_step(self, stepper: Stepper, rows: Index, trials: Index, t: Array, dt: Array) -> None:
        """Search an accepted step for the crossing (callback `mc.flow.integrate.OnStep`)."""
        last = self._loss(stepper, rows, trials, np.ones(rows.size))
        below = np.flatnonzero(last <= self._level[trials])
        if not below.size:
            return
        rows, trials = rows[below], trials[below]
        low, high = np.zeros(below.size), np.ones(below.size)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            above = self._loss(stepper, rows, trials, middle) > self._level[trials]
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        self._time[trials] = t[below] + high * dt[below]
        self._state.update(zip(trials.tolist(), stepper.interpolate(rows, high), strict=True))

    def _loss(self, stepper: Stepper, rows: Index, trials: Index, fractions: Array) -> Array:
        return self._flow.take(trials).evaluate(stepper.interpolate(rows, fractions)).loss

    def set_end(self, ending: Ending) -> None:
        """Set the end of converged trials to the time at which the loss crossed its level."""
        reached = np.flatnonzero((ending.outcome == Outcome.CONVERGED_TOLERANCE) & np.isfinite(self._time))
        ending.time[reached], ending.loss[reached] = self._time[reached], self._level[reached]
        for trial in reached.tolist():
            ending.state[trial] = self._state[trial]


def _levels(case: Case, drawn: Drawn, names: Sequence[str]) -> Array:
    """Return the loss at which each trajectory may end, (T,): early stopping needs psi(L) below the noise.

    Half of the tolerance allows for the error of the loss. A trajectory that begins near zero loss continues until
    psi(L) has fallen by a factor 100.
    """
    begin = case.flow.psi_of(case.flow.evaluate(case.flow.start(case.h)).residual)
    level = np.minimum(0.5 * case.settings.loss_tolerance, case.flow.loss.psi_inverse(0.01 * begin))
    if "observation_error" not in names:
        return level
    noise = np.array([float(np.linalg.norm(problem.eps)) for problem in drawn.problems])
    below = case.flow.loss.psi_inverse(0.5 * noise)
    return np.where(noise > 0.0, np.minimum(level, below), level)


def _times(settings: FlowSettings, ending: Ending) -> Array:
    """Return the times to observe of each trial, (T, P)."""
    if not isinstance(settings.save.times, int):
        return np.tile(np.array(settings.save.times), (ending.time.size, 1))
    last = np.where(ending.time > 0.0, ending.time, 1.0)
    return log_times(settings.save.times, np.fmin(ending.first_step, 1e-3 * last), last)


def log_times(count: int, first: Array, last: Array) -> Array:
    """Return time 0 and then ``count - 1`` log-spaced times from ``first`` to ``last``, (T, count)."""
    times = np.zeros((first.size, count))
    if count > 1:
        fraction = np.linspace(0.0, 1.0, count - 1) if count > 2 else np.ones(1)
        logs = np.log(first)[:, None] + fraction * (np.log(last) - np.log(first))[:, None]
        times[:, 1:] = np.exp(logs)
        times[:, -1] = last
    return times


def _apart(values: Array, looser: Array) -> Array:
    """Return the error of an observable from a looser run: twice the largest difference nearby, (T, P)."""
    # the difference changes sign along the way: its neighbours in time show its size at a change
    apart = np.abs(values - looser)
    padded = np.pad(apart, ((0, 0), (1, 1)), mode="edge")
    return np.where(np.isnan(apart), np.nan, 2.0 * np.fmax.reduce([padded[:, :-2], apart, padded[:, 2:]]))


def _start_error(flow: ReducedFlow, origin: Origin) -> Array:
    """Return |x(0) - xbar|, (T,)."""
    trials = np.arange(origin.signal.shape[0])
    return norm(View(flow, origin, trials, origin.state).error)
