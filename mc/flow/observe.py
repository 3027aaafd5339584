"""Trajectories integrated to the loss they are to reach, looked at on the way, and what that leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mc.flow.checked import TIGHTER, loosened
from mc.flow.crossing import Crossing
from mc.flow.descent import descend
from mc.flow.field import ReducedFlow
from mc.flow.integrate import Controls, Ending, integrate
from mc.flow.observables import Origin, Recorder, View, log_times
from mc.flow.settings import Case, FlowSettings
from mc.flow.stepper import norm
from mc.flow.stopping import Never, ToleranceRule, path_left
from mc.model.arrays import Array, Index
from mc.model.problem import Problem
from mc.theory.codes import Outcome

MOST_STEPS = 2_000
"""Budget of a followed trajectory: one that never converges is shown as far as this takes it."""

MORE_STEPS = 4
"""Steps at a hundredth of the tolerance, relative: an order of 4 takes 3.2 times as many."""


@dataclass(frozen=True)
class Drawn:
    """Problems and output layers (n, k) of T trials; no layers where nothing looks at ker(A), or it is trivial."""

    problems: Sequence[Problem]
    V: Sequence[Array] | None

    def take(self, some: Index) -> Drawn:
        """Some of the trials."""
        V = None if self.V is None else [self.V[int(row)] for row in some]
        return Drawn([self.problems[int(row)] for row in some], V)


@dataclass(frozen=True)
class Followed:
    """T trajectories at their times, with what their integration leaves open.

    ``remainder`` bounds the path that is left at the end, the error there included; ``start_error`` is |x(0) - xbar|.
    """

    recorder: Recorder
    ending: Ending
    loss_error: Array
    remainder: Array
    start_error: Array

    def take(self, some: Index) -> Followed:
        """Some of the trials."""
        return Followed(
            self.recorder.take(some),
            self.ending.take(some),
            self.loss_error[some],
            self.remainder[some],
            self.start_error[some],
        )


def watch_flow(case: Case, controls: Controls, drawn: Drawn, names: Sequence[str], signals: bool = False) -> Followed:
    """Three passes: where the trajectory ends, the same steps watched, and a looser companion for the errors."""
    flow, h = case.flow, case.h
    level = _levels(case, drawn, names)
    crossing = Crossing(flow, level)
    ending = integrate(flow, h, controls, ToleranceRule(level), crossing.on_step)
    crossing.put_back(ending)
    origin = Origin.of(flow, h, drawn.problems, drawn.V, ending.state)
    times = _times(case.settings, ending)
    recorder, companion = (Recorder(flow, origin, times, names, signals=wanted) for wanted in (signals, False))
    ends = []
    for each, tolerances in ((recorder, controls), (companion, loosened(controls))):
        last = integrate(flow, h, tolerances, Never(), each.on_step, until=ending.time)
        each.finish(last.state, last.time)
        ends.append(last)
    for name in names:
        # the difference changes sign along the way: its neighbours in time tell its size where it does
        apart = np.abs(recorder.values[name] - companion.values[name])
        padded = np.pad(apart, ((0, 0), (1, 1)), mode="edge")
        recorder.errors[name] = np.where(
            np.isnan(apart), np.nan, 2.0 * np.fmax.reduce([padded[:, :-2], apart, padded[:, 2:]])
        )
    arrived = ends[1].outcome == Outcome.HORIZON
    # the end itself lies within a step of the first pass
    apart = np.maximum(norm(ends[0].state - ends[1].state), ending.error) + norm(ending.state - ends[0].state)
    end_error = np.where(arrived, apart, np.inf)
    loss_error = np.where(arrived, 2.0 * np.abs(ending.loss - ends[1].loss), np.inf)
    remainder = path_left(flow, flow.observe(ending.state), end_error) + end_error
    return Followed(recorder, ending, loss_error, remainder, _start_error(flow, origin))


def _start_error(flow: ReducedFlow, origin: Origin) -> Array:
    """|x(0) - xbar|, (T,)."""
    trials = np.arange(origin.signal.shape[0])
    return norm(View(flow, origin, trials, origin.state).error)


def limited(controls: Controls) -> Controls:
    """Controls of a trajectory that is followed."""
    return replace(controls, max_steps=min(controls.max_steps, MOST_STEPS))


def tightened(controls: Controls) -> Controls:
    """Controls of one more integration, with the steps that it takes."""
    steps = MORE_STEPS * controls.max_steps
    return replace(controls, rtol=TIGHTER * controls.rtol, atol=TIGHTER * controls.atol, max_steps=steps)


def _levels(case: Case, drawn: Drawn, names: Sequence[str]) -> Array:
    """Loss at which each trajectory may end: early stopping asks for psi(L) below the noise.

    Half of the tolerance leaves room for the error of the loss. One that begins near zero loss is followed until psi(L)
    has fallen by a factor 100.
    """
    begin = case.flow.psi_of(case.flow.observe(case.flow.start(case.h)).residual)
    level = np.minimum(0.5 * case.settings.loss_tolerance, case.flow.loss.psi_inverse(0.01 * begin))
    if "observation_error" not in names:
        return level
    noise = np.array([float(np.linalg.norm(problem.eps)) for problem in drawn.problems])
    below = case.flow.loss.psi_inverse(0.5 * noise)
    return np.where(noise > 0.0, np.minimum(level, below), level)


def watch_descent(case: Case, drawn: Drawn, names: Sequence[str], signals: bool = False) -> Followed:
    """Iterates nearest to the wanted times; the times watched are theirs, and nothing is approximated."""
    flow, h, protocol = case.flow, case.h, case.settings.descent
    ending = descend(flow, h, protocol)
    gamma = ending.first_step[:, None]
    steps = np.round(_times(case.settings, ending) / gamma).astype(np.intp)
    origin = Origin.of(flow, h, drawn.problems, drawn.V, None)
    recorder = Recorder(flow, origin, steps * gamma, names, descent=True, signals=signals)
    descend(flow, h, protocol, partial(recorder.on_iterate, steps))
    recorder.errors = {name: np.zeros_like(values) for name, values in recorder.values.items()}
    nothing = np.zeros(h.shape[0])
    return Followed(recorder, ending, nothing, nothing, _start_error(flow, origin))


def _times(settings: FlowSettings, ending: Ending) -> Array:
    """Times to look at of each trial, (T, P)."""
    if not isinstance(settings.save.times, int):
        return np.tile(np.array(settings.save.times), (ending.time.size, 1))
    last = np.where(ending.time > 0.0, ending.time, 1.0)
    return log_times(settings.save.times, np.fmin(ending.first_step, 1e-3 * last), last)
