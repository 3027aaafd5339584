"""What to save: observables of chosen trials at chosen times, from the reduced state (theory §3, §6, §7.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mc.flow.field import Observation, ReducedFlow
from mc.flow.stepper import Stepper, norm
from mc.model.activations import Activation
from mc.model.arrays import Array, Index
from mc.model.problem import Problem
from mc.theory.certificates import observed_spectra, signal_spectrum

SAVE_BYTES = 16_000_000
"""Size of the states that are turned into observables together."""


@dataclass(frozen=True)
class Origin:
    """Where T trajectories begin, and what they are measured against.

    Attributes
    ----------
    state : (T, rows, k) array
    V_kernel : (T, n, k) array or None
        Part of V in ker(A), which never moves (theory §3.2); None: there is none, or nobody asked.
    activation : Activation
    signal, clean : (T, n), (T, r) arrays
        xbar and U^T ybar.
    limit : (T, rows, k) array or None
        State that stands for theta_inf.
    """

    state: Array
    V_kernel: Array | None
    activation: Activation
    signal: Array
    clean: Array
    limit: Array | None

    @cached_property
    def z(self) -> Array:
        """Activations at the start, (T, k)."""
        return np.asarray(self.activation.phi(self.state[:, 0]))

    @cached_property
    def primitive(self) -> Array:
        """Phi(h(0)), (T, k)."""
        return np.asarray(self.activation.primitive(self.state[:, 0]))

    @cached_property
    def ratio_primitive(self) -> Array:
        """Pi(h(0)), (T, k)."""
        return np.asarray(self.activation.ratio_primitive(self.state[:, 0]))

    @classmethod
    def of(
        cls, flow: ReducedFlow, h: Array, problems: Sequence[Problem], V: Sequence[Array] | None, limit: Array | None
    ) -> Origin:
        """Start of a flow; ``V`` are the output layers, or None where no observable needs their kernel parts."""
        kernel = None
        if V is not None and any(problem.rank < problem.Z.shape[0] for problem in problems):
            kernel = np.stack([v - p.Z @ (p.Z.T @ v) for p, v in zip(problems, V, strict=True)])
        clean = np.stack([p.U.T @ p.ybar for p in problems])
        return cls(flow.start(h), kernel, flow.activation, np.stack([p.xbar for p in problems]), clean, limit)


class View:
    """States of some trials, seen lazily: what no observable asks for is not computed.

    Parameters
    ----------
    flow : ReducedFlow
        Of the N states.
    origin : Origin
    trials : (N,) int array
        Rows of the origin.
    states : (N, rows, k) array
    """

    def __init__(self, flow: ReducedFlow, origin: Origin, trials: Index, states: Array) -> None:
        self.flow, self.origin, self.trials, self.states = flow, origin, trials, states

    @cached_property
    def seen(self) -> Observation:
        """Activations, residual and loss."""
        return self.flow.observe(self.states)

    @cached_property
    def spectrum(self) -> Array:
        """Smallest singular value of A J on Im(A), (N,)."""
        k, mode = self.flow.width, self.flow.mode
        gram = _finite(self.seen.gram)
        return observed_spectra(gram, self.seen.square_z, self.flow.problems.S, k, mode, k)[1]

    @cached_property
    def V(self) -> Array:
        """Output layer, (N, n, k)."""
        V = np.matmul(self.flow.problems.Zt.swapaxes(1, 2), self.seen.Q)
        return np.asarray(V if self.origin.V_kernel is None else V + self.origin.V_kernel[self.trials])

    @cached_property
    def jacobian(self) -> Array:
        """Smallest of the n singular values of J, (N,)."""
        weighted = self.V * np.square(self.seen.dphi)[:, None, :]
        gram = _finite(np.matmul(weighted, self.V.swapaxes(1, 2)))
        return signal_spectrum(gram, self.seen.square_z, self.flow.width, self.flow.mode, self.flow.width)

    @cached_property
    def signal(self) -> Array:
        """x, (N, n): theory §3.2."""
        return np.asarray(np.matmul(self.V, self.seen.z[:, :, None])[:, :, 0] / np.sqrt(self.flow.width))

    @cached_property
    def error(self) -> Array:
        """x - xbar, (N, n)."""
        return np.asarray(self.signal - self.origin.signal[self.trials])

    @cached_property
    def error_in_range(self) -> Array:
        """Z^T (x - xbar), (N, r)."""
        return np.asarray(np.matmul(self.flow.problems.Zt, self.error[:, :, None])[:, :, 0])

    @cached_property
    def error_in_kernel(self) -> Array:
        """Norm of the part of x - xbar in ker(A), (N,)."""
        inside = np.matmul(self.error_in_range[:, None, :], self.flow.problems.Zt)[:, 0]
        return norm(self.error - inside)

    @cached_property
    def kernel_drift(self) -> Array:
        """|P_ker (x - x(0))|, (N,)."""
        if self.origin.V_kernel is None:
            return np.zeros(self.trials.size)
        moved = self.seen.z - self.origin.z[self.trials]
        kernel = np.matmul(self.origin.V_kernel[self.trials], moved[:, :, None])[:, :, 0]
        return np.asarray(norm(kernel) / np.sqrt(self.flow.width))

    @cached_property
    def bregman(self) -> Array:
        """Breg(z, z(0)) of the potential with derivative Phi(phi^-1(.)), (N,): sum dPhi phi(h) - dPi (theory §7.4)."""
        h, activation = self.states[:, 0], self.flow.activation
        dual = activation.primitive(h) - self.origin.primitive[self.trials]
        ratio = activation.ratio_primitive(h) - self.origin.ratio_primitive[self.trials]
        return np.asarray(np.maximum((dual * self.seen.z - ratio).sum(axis=1), 0.0))

    @cached_property
    def from_limit(self) -> Array:
        """|theta - theta_inf|, (N,)."""
        if self.origin.limit is None:
            return np.full(self.trials.size, np.nan)
        return norm(self.states - self.origin.limit[self.trials])


def _finite(gram: Array) -> Array:
    good = np.asarray(np.isfinite(gram).all(axis=(1, 2)))
    return np.where(good[:, None, None], gram, 0.0)


Observe = Callable[[View], Array]

SAVED: Mapping[str, Observe] = {
    "loss": lambda view: view.seen.loss,
    "distance": lambda view: norm(view.states - view.origin.state[view.trials]),
    "jacobian_sigma_min": lambda view: view.jacobian,
    "observation_error": lambda view: norm(
        view.seen.residual + view.flow.problems.target - view.origin.clean[view.trials]
    ),
    "signal_error": lambda view: norm(view.error),
    "signal_error_range": lambda view: norm(view.error_in_range),
    "signal_error_kernel": lambda view: view.error_in_kernel,
}
"""The observables that a saved trajectory keeps, by dataset name."""

CHECKED: Mapping[str, Observe] = {
    "residual": lambda view: norm(view.seen.residual),
    "observed_sigma_min": lambda view: view.spectrum,
    "hidden_distance": lambda view: norm(view.states[:, :1] - view.origin.state[view.trials, :1]),
    "kernel_drift": lambda view: view.kernel_drift,
    "limit_distance": lambda view: view.from_limit,
    "bregman": lambda view: view.bregman,
}
"""Those that claims need beside."""

OBSERVABLES = tuple(SAVED)
NEED_OUTPUT_LAYER = frozenset(
    {"jacobian_sigma_min", "signal_error", "signal_error_range", "signal_error_kernel", "kernel_drift"}
)
"""Observables of the whole output layer, ker(A) included; the others need Z^T V alone."""

_ALL: Mapping[str, Observe] = {**SAVED, **CHECKED}


class Recorder:
    """Fills the observables of T trials as the integration passes their times.

    Attributes
    ----------
    times : (T, P) array
        Increasing times of each trial; NaN where there is none.
    values : dict of (T, P) arrays
        One array for each name asked for; NaN beyond the end of the trajectory.
    errors : dict of (T, P) arrays
        Estimated errors of ``values``, left to the caller; NaN where there is none.
    signals : (T, P, n) array or None
        x(t), where it is asked for; it needs the kernel parts of the output layers, as `NEED_OUTPUT_LAYER` does.
    """

    def __init__(
        self,
        flow: ReducedFlow,
        origin: Origin,
        times: Array,
        names: Sequence[str] = OBSERVABLES,
        descent: bool = False,
        signals: bool = False,
    ) -> None:
        self.flow, self.origin, self.times, self.descent = flow, origin, times, descent
        self.errors = {name: np.full(times.shape, np.nan) for name in names}
        self.values = {name: np.full(times.shape, np.nan) for name in names}
        self.signals = np.full((*times.shape, origin.signal.shape[1]), np.nan) if signals else None
        self._there = np.zeros(times.shape, dtype=bool)
        self._most = max(1, SAVE_BYTES // (8 * flow.width * (origin.signal.shape[1] + 2 * origin.state.shape[1])))
        trials, at = np.nonzero(times == 0.0)
        self._save(trials, at, origin.state[trials])

    def take(self, some: Index) -> Recorder:
        """What has been recorded of some of the trials."""
        origin, kernel, limit = self.origin, self.origin.V_kernel, self.origin.limit
        part = Origin(
            origin.state[some],
            None if kernel is None else kernel[some],
            origin.activation,
            origin.signal[some],
            origin.clean[some],
            None if limit is None else limit[some],
        )
        other = Recorder(self.flow.take(some), part, np.full((some.size, 0), np.nan), (), self.descent)
        other.times = self.times[some]
        other.values = {name: value[some] for name, value in self.values.items()}
        other.errors = {name: error[some] for name, error in self.errors.items()}
        other.signals = None if self.signals is None else self.signals[some]
        return other

    def on_step(self, stepper: Stepper, rows: Index, trials: Index, t: Array, dt: Array) -> None:
        """Save what lies within an accepted step (see `mc.flow.integrate.OnStep`)."""
        times, begin = self.times[trials], t[:, None]
        inside, at = np.nonzero((times > begin) & (times <= begin + dt[:, None]))
        for first in range(0, inside.size, self._most):
            some = slice(first, first + self._most)
            which, columns = inside[some], at[some]
            fractions = (times[which, columns] - t[which]) / dt[which]
            self._save(trials[which], columns, stepper.interpolate(rows[which], fractions))

    def on_iterate(self, steps: Index, trials: Index, step: int, states: Array) -> None:
        """Save the iterates of gradient descent numbered in ``steps`` (T, P); see `mc.flow.descent.OnIterate`."""
        rows, at = np.nonzero(steps[trials] == step)
        if rows.size:
            self._save(trials[rows], at, states[rows])

    def finish(self, states: Array, end: Array) -> None:
        """Save the last states at the last times, which rounding can leave just outside the last step."""
        with np.errstate(invalid="ignore"):
            trials, at = np.nonzero(~self._there & (self.times <= end[:, None] * (1.0 + 1e-12)))
        self._save(trials, at, states[trials])

    def _save(self, trials: Index, at: Index, states: Array) -> None:
        """Observables of the finite states; a descent that diverges leaves NaN."""
        finite = np.isfinite(states).all(axis=(1, 2))
        trials, at, states = trials[finite], at[finite], states[finite]
        self._there[trials, at] = True
        for first in range(0, trials.size, self._most):
            some = slice(first, first + self._most)
            with np.errstate(over="ignore", invalid="ignore"):
                view = View(self.flow.take(trials[some]), self.origin, trials[some], states[some])
                for name, values in self.values.items():
                    values[trials[some], at[some]] = _ALL[name](view)
                if self.signals is not None:
                    self.signals[trials[some], at[some]] = view.signal


def log_times(count: int, first: Array, last: Array) -> Array:
    """Time 0 and then ``count - 1`` log-spaced times from ``first`` to ``last`` of each trial, shape (T, count)."""
    times = np.zeros((first.size, count))
    if count > 1:
        fraction = np.linspace(0.0, 1.0, count - 1) if count > 2 else np.ones(1)
        logs = np.log(first)[:, None] + fraction * (np.log(last) - np.log(first))[:, None]
        times[:, 1:] = np.exp(logs)
        times[:, -1] = last
    return times
