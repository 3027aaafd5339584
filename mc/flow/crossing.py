"""When the loss falls to its tolerance: within the last step, which an exponential method makes very long."""

from __future__ import annotations

import numpy as np

from mc.flow.field import ReducedFlow
from mc.flow.integrate import Ending
from mc.flow.stepper import Stepper
from mc.model.arrays import Array, Index
from mc.theory.codes import Outcome

HALVINGS = 20
"""Halvings of the step: the time is right to a millionth of it."""


class Crossing:
    """Finds time and state at which the loss of each trial falls to its tolerance.

    Parameters
    ----------
    flow : ReducedFlow
        Of T trials.
    level : (T,) array
    """

    def __init__(self, flow: ReducedFlow, level: Array) -> None:
        self._flow, self._level = flow, level
        trials = flow.Q_start.shape[0]
        self._time = np.full(trials, np.nan)
        self._state: dict[int, Array] = {}

    def on_step(self, stepper: Stepper, rows: Index, trials: Index, t: Array, dt: Array) -> None:
        """Look for the crossing within an accepted step (see `mc.flow.integrate.OnStep`)."""
        last = self._loss(stepper, rows, trials, np.ones(rows.size))
        some = np.flatnonzero(last <= self._level[trials])
        if not some.size:
            return
        rows, trials = rows[some], trials[some]
        low, high = np.zeros(some.size), np.ones(some.size)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            above = self._loss(stepper, rows, trials, middle) > self._level[trials]
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        self._time[trials] = t[some] + high * dt[some]
        self._state.update(zip(trials.tolist(), stepper.interpolate(rows, high), strict=True))

    def _loss(self, stepper: Stepper, rows: Index, trials: Index, fractions: Array) -> Array:
        return self._flow.take(trials).observe(stepper.interpolate(rows, fractions)).loss

    def put_back(self, ending: Ending) -> None:
        """Let the trials that came to the tolerance end where they did so."""
        reached = np.flatnonzero((ending.outcome == Outcome.CONVERGED_TOLERANCE) & np.isfinite(self._time))
        ending.time[reached], ending.loss[reached] = self._time[reached], self._level[reached]
        for trial in reached.tolist():
            ending.state[trial] = self._state[trial]
