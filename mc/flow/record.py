"""What to save: the observables of chosen trials at chosen times, from the reduced state (theory §3, §6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mc.certificates import signal_spectrum
from mc.flow.fields import ReducedFlow
from mc.flow.stepper import Stepper
from mc.problem import Problem

Array = NDArray[np.float64]
Index = NDArray[np.intp]

SAVE_BYTES = 16_000_000
"""Size of the states that are turned into observables together."""

OBSERVABLES = (
    "loss",
    "distance",
    "jacobian_sigma_min",
    "observation_error",
    "signal_error",
    "signal_error_range",
    "signal_error_kernel",
)


class Recorder:
    """Fills the observables of T trials as the integration passes their times.

    Attributes
    ----------
    times : (T, P) array
        Increasing times of each trial; NaN where there is none.
    values : dict of (T, P) arrays
        One array for each of `OBSERVABLES`; NaN beyond the end of the trajectory.
    errors : dict of (T, P) arrays
        Estimated errors of ``values``, left to the caller; NaN where there is none.
    """

    def __init__(
        self,
        flow: ReducedFlow,
        h: Array,
        times: Array,
        problems: Sequence[Problem],
        V_start: Sequence[Array],
        descent: bool = False,
    ) -> None:
        self.flow, self.times, self.problems, self.descent = flow, times, problems, descent
        self.start = flow.start(h)
        # ker(A) part of V: it never moves (theory §3.2)
        self.V_kernel = [V - p.Z @ (p.Z.T @ V) for p, V in zip(problems, V_start, strict=True)]
        self.errors = {name: np.full(times.shape, np.nan) for name in OBSERVABLES}
        self.values = {name: np.full(times.shape, np.nan) for name in OBSERVABLES}
        for trial in range(times.shape[0]):
            at = np.flatnonzero(times[trial] == 0.0)
            self._save(trial, at, np.repeat(self.start[trial : trial + 1], at.size, axis=0))

    def on_step(self, stepper: Stepper, rows: Index, trials: Index, t: Array, dt: Array) -> None:
        """Save what lies within an accepted step (see `mc.flow.driver.OnStep`)."""
        for row, trial, begin, length in zip(rows, trials, t, dt, strict=True):
            times = self.times[trial]
            at = np.flatnonzero((times > begin) & (times <= begin + length))
            most = max(1, SAVE_BYTES // (8 * self.start[0].size))
            for first in range(0, at.size, most):
                some = at[first : first + most]
                self._save(int(trial), some, stepper.interpolate(int(row), (times[some] - begin) / length))

    def on_iterate(self, steps: Index, trials: Index, step: int, states: Array) -> None:
        """Save the iterates of gradient descent numbered in ``steps`` (T, P); see `mc.flow.descent.OnIterate`."""
        for trial, state in zip(trials, states, strict=True):
            at = np.flatnonzero(steps[trial] == step)
            self._save(int(trial), at, np.repeat(state[None], at.size, axis=0))

    def finish(self, trial: int, state: Array, end: float) -> None:
        """Save the last state at the last time, which rounding can leave just outside the last step."""
        at = np.flatnonzero(np.isnan(self.values["loss"][trial]) & (self.times[trial] <= end * (1.0 + 1e-12)))
        self._save(trial, at, np.repeat(state[None], at.size, axis=0))

    def _save(self, trial: int, at: Index, states: Array) -> None:
        """Observables of the finite states; a descent that diverges leaves NaN."""
        finite = np.isfinite(states).all(axis=(1, 2))
        at, states = at[finite], states[finite]
        most = max(1, SAVE_BYTES // (8 * self.flow.width * (self.problems[trial].A.shape[1] + states.shape[1])))
        for first in range(0, at.size, most):
            with np.errstate(over="ignore", invalid="ignore"):
                self._save_some(trial, at[first : first + most], states[first : first + most])

    def _save_some(self, trial: int, at: Index, states: Array) -> None:
        flow = self.flow.take(np.full(at.size, trial))
        seen, problem, k = flow.observe(states), self.problems[trial], flow.width
        V = self.V_kernel[trial] + np.matmul(problem.Z, seen.Q)
        weighted = V * np.square(seen.dphi)[:, None, :]
        gram = np.matmul(weighted, V.swapaxes(1, 2))
        gram = np.where(np.isfinite(gram).all(axis=(1, 2))[:, None, None], gram, 0.0)
        error = np.matmul(V, seen.z[:, :, None])[:, :, 0] / np.sqrt(k) - problem.xbar
        in_range = error @ problem.Z
        moved = (states - self.start[trial]).reshape(at.size, -1)
        observed = {
            "loss": seen.loss,
            "distance": np.linalg.norm(moved, axis=1),
            "jacobian_sigma_min": signal_spectrum(gram, np.square(seen.z).sum(axis=1), k, flow.mode, k),
            "observation_error": np.linalg.norm(seen.residual + problem.target - problem.U.T @ problem.ybar, axis=1),
            "signal_error": np.linalg.norm(error, axis=1),
            "signal_error_range": np.linalg.norm(in_range, axis=1),
            "signal_error_kernel": np.linalg.norm(error - in_range @ problem.Z.T, axis=1),
        }
        for name, value in observed.items():
            self.values[name][trial, at] = value


def log_times(count: int, first: Array, last: Array) -> Array:
    """Time 0 and then ``count - 1`` log-spaced times from ``first`` to ``last`` of each trial, shape (T, count)."""
    times = np.zeros((first.size, count))
    if count > 1:
        fraction = np.linspace(0.0, 1.0, count - 1) if count > 2 else np.ones(1)
        logs = np.log(first)[:, None] + fraction * (np.log(last) - np.log(first))[:, None]
        times[:, 1:] = np.exp(logs)
        times[:, -1] = last
    return times
