"""Observables of trajectories at given times, computed from the reduced state (theory §3, §6, §7.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mc.flow.field import Point, ReducedFlow
from mc.flow.stepper import Stepper, norm
from mc.model.activations import Activation
from mc.model.arrays import Array, Index
from mc.model.problem import Problem
from mc.theory.certificates import observed_spectra, signal_spectrum

SAVE_BYTES = 16_000_000
"""Size of the states whose observables are computed together."""


@dataclass(frozen=True)
class Origin:
    """Start of T trajectories and the references of their observables."""

    state: Array  # at time 0, (T, rows, k)
    V_kernel: Array | None  # component of V in ker(A), constant (theory §3.2), (T, n, k); None: zero or not needed
    activation: Activation
    signal: Array  # xbar, (T, n)
    clean: Array  # U^T ybar, (T, r)
    limit: Array | None  # approximate theta_inf, (T, rows, k)

    @cached_property
    def z(self) -> Array:
        """Return the activations at the start, (T, k)."""
        return np.asarray(self.activation.phi(self.state[:, 0]))

    @cached_property
    def primitive(self) -> Array:
        """Return Phi(h(0)), (T, k)."""
        return np.asarray(self.activation.primitive(self.state[:, 0]))

    @cached_property
    def ratio_primitive(self) -> Array:
        """Return Pi(h(0)), (T, k)."""
        return np.asarray(self.activation.ratio_primitive(self.state[:, 0]))

    @classmethod
    def of(
        cls, flow: ReducedFlow, h: Array, problems: Sequence[Problem], V: Sequence[Array] | None, limit: Array | None
    ) -> Origin:
        """Return the origin of a flow; ``V`` are the output layers, None where no observable needs them."""
        kernel = None
        if V is not None and any(problem.rank < problem.Z.shape[0] for problem in problems):
            kernel = np.stack([v - p.Z @ (p.Z.T @ v) for p, v in zip(problems, V, strict=True)])
        clean = np.stack([p.U.T @ p.ybar for p in problems])
        return cls(flow.start(h), kernel, flow.activation, np.stack([p.xbar for p in problems]), clean, limit)

    def take(self, rows: Index) -> Origin:
        """Select trials."""
        kernel, limit = (None if array is None else array[rows] for array in (self.V_kernel, self.limit))
        return Origin(self.state[rows], kernel, self.activation, self.signal[rows], self.clean[rows], limit)


class View:
    """N states with lazily computed quantities; ``trials`` (N,) are the rows of the origin they belong to."""

    def __init__(self, flow: ReducedFlow, origin: Origin, trials: Index, states: Array) -> None:
        self.flow, self.origin, self.trials, self.states = flow, origin, trials, states

    @cached_property
    def point(self) -> Point:
        """Return the activations, residual and loss."""
        return self.flow.evaluate(self.states)

    @cached_property
    def spectrum(self) -> Array:
        """Return the smallest singular value of A J on Im(A), (N,)."""
        k, mode = self.flow.width, self.flow.mode
        gram = _finite(self.point.gram)
        return observed_spectra(gram, self.point.square_z, self.flow.problems.S, k, mode, k)[1]

    @cached_property
    def V(self) -> Array:
        """Return the output layer, (N, n, k)."""
        V = np.matmul(self.flow.problems.Zt.swapaxes(1, 2), self.point.Q)
        return np.asarray(V if self.origin.V_kernel is None else V + self.origin.V_kernel[self.trials])

    @cached_property
    def jacobian(self) -> Array:
        """Return the smallest of the n singular values of J, (N,)."""
        weighted = self.V * np.square(self.point.dphi)[:, None, :]
        gram = _finite(np.matmul(weighted, self.V.swapaxes(1, 2)))
        return signal_spectrum(gram, self.point.square_z, self.flow.width, self.flow.mode, self.flow.width)

    @cached_property
    def signal(self) -> Array:
        """Return x, (N, n): theory §3.2."""
        return np.asarray(np.matmul(self.V, self.point.z[:, :, None])[:, :, 0] / np.sqrt(self.flow.width))

    @cached_property
    def error(self) -> Array:
        """Return x - xbar, (N, n)."""
        return np.asarray(self.signal - self.origin.signal[self.trials])

    @cached_property
    def error_in_range(self) -> Array:
        """Return Z^T (x - xbar), (N, r)."""
        return np.asarray(np.matmul(self.flow.problems.Zt, self.error[:, :, None])[:, :, 0])

    @cached_property
    def error_in_kernel(self) -> Array:
        """Return the norm of the component of x - xbar in ker(A), (N,)."""
        inside = np.matmul(self.error_in_range[:, None, :], self.flow.problems.Zt)[:, 0]
        return norm(self.error - inside)

    @cached_property
    def kernel_drift(self) -> Array:
        """Return |P_ker (x - x(0))|, (N,)."""
        if self.origin.V_kernel is None:
            return np.zeros(self.trials.size)
        moved = self.point.z - self.origin.z[self.trials]
        kernel = np.matmul(self.origin.V_kernel[self.trials], moved[:, :, None])[:, :, 0]
        return np.asarray(norm(kernel) / np.sqrt(self.flow.width))

    @cached_property
    def bregman(self) -> Array:
        """Return Breg(z, z(0)) of the potential of Phi(phi^-1(.)), (N,): sum dPhi phi(h) - dPi (theory §7.4)."""
        h, activation = self.states[:, 0], self.flow.activation
        dual = activation.primitive(h) - self.origin.primitive[self.trials]
        ratio = activation.ratio_primitive(h) - self.origin.ratio_primitive[self.trials]
        return np.asarray(np.maximum((dual * self.point.z - ratio).sum(axis=1), 0.0))

    @cached_property
    def from_limit(self) -> Array:
        """Return |theta - theta_inf|, (N,)."""
        if self.origin.limit is None:
            return np.full(self.trials.size, np.nan)
        return norm(self.states - self.origin.limit[self.trials])


def _finite(gram: Array) -> Array:
    """Replace matrices that hold NaN or infinity by zero."""
    good = np.asarray(np.isfinite(gram).all(axis=(1, 2)))
    return np.where(good[:, None, None], gram, 0.0)


Observable = Callable[[View], Array]

SAVED: Mapping[str, Observable] = {
    "loss": lambda view: view.point.loss,
    "distance": lambda view: norm(view.states - view.origin.state[view.trials]),
    "jacobian_sigma_min": lambda view: view.jacobian,
    "observation_error": lambda view: norm(
        view.point.residual + view.flow.problems.target - view.origin.clean[view.trials]
    ),
    "signal_error": lambda view: norm(view.error),
    "signal_error_range": lambda view: norm(view.error_in_range),
    "signal_error_kernel": lambda view: view.error_in_kernel,
}
"""The observables that a saved trajectory keeps, by dataset name."""

CHECKED: Mapping[str, Observable] = {
    "residual": lambda view: norm(view.point.residual),
    "observed_sigma_min": lambda view: view.spectrum,
    "hidden_distance": lambda view: norm(view.states[:, :1] - view.origin.state[view.trials, :1]),
    "kernel_drift": lambda view: view.kernel_drift,
    "limit_distance": lambda view: view.from_limit,
    "bregman": lambda view: view.bregman,
}
"""Further observables that claims need."""

OBSERVABLES = tuple(SAVED)
NEED_OUTPUT_LAYER = frozenset(
    {"jacobian_sigma_min", "signal_error", "signal_error_range", "signal_error_kernel", "kernel_drift"}
)
"""Observables of the whole output layer, ker(A) included; the others need Z^T V alone."""

_ALL: Mapping[str, Observable] = {**SAVED, **CHECKED}


class Observer:
    """Compute the observables of T trials at ``times`` (T, P) while the integration passes them.

    Times are increasing for each trial, NaN where there is none; ``values`` holds an array (T, P) for each name, NaN
    beyond the end of the trajectory; ``signals`` is x(t), (T, P, n), or None where not wanted.
    """

    def __init__(
        self,
        flow: ReducedFlow,
        origin: Origin,
        times: Array,
        names: Sequence[str] = OBSERVABLES,
        signals: bool = False,
    ) -> None:
        self.flow, self.origin, self.times = flow, origin, times
        self.values = {name: np.full(times.shape, np.nan) for name in names}
        self.signals = np.full((*times.shape, origin.signal.shape[1]), np.nan) if signals else None
        self._computed = np.zeros(times.shape, dtype=bool)
        self._batch = max(1, SAVE_BYTES // (8 * flow.width * (origin.signal.shape[1] + 2 * origin.state.shape[1])))
        trials, columns = np.nonzero(times == 0.0)
        self._compute(trials, columns, origin.state[trials])

    def on_step(self, stepper: Stepper, rows: Index, trials: Index, t: Array, dt: Array) -> None:
        """Observe the times within an accepted step (callback `mc.flow.integrate.OnStep`)."""
        times, begin = self.times[trials], t[:, None]
        inside, columns = np.nonzero((times > begin) & (times <= begin + dt[:, None]))
        for first in range(0, inside.size, self._batch):
            part = slice(first, first + self._batch)
            row, column = inside[part], columns[part]
            fractions = (times[row, column] - t[row]) / dt[row]
            self._compute(trials[row], column, stepper.interpolate(rows[row], fractions))

    def on_iterate(self, steps: Index, trials: Index, step: int, states: Array) -> None:
        """Observe the iterates of gradient descent numbered ``steps`` (T, P); see `mc.flow.descent.OnIterate`."""
        rows, columns = np.nonzero(steps[trials] == step)
        if rows.size:
            self._compute(trials[rows], columns, states[rows])

    def finish(self, states: Array, end: Array) -> None:
        """Observe the last states at the last times, which rounding can put just outside the last step."""
        with np.errstate(invalid="ignore"):
            trials, columns = np.nonzero(~self._computed & (self.times <= end[:, None] * (1.0 + 1e-12)))
        self._compute(trials, columns, states[trials])

    def _compute(self, trials: Index, columns: Index, states: Array) -> None:
        """Compute the observables of the finite states; a descent that diverges leaves NaN."""
        finite = np.isfinite(states).all(axis=(1, 2))
        trials, columns, states = trials[finite], columns[finite], states[finite]
        self._computed[trials, columns] = True
        for first in range(0, trials.size, self._batch):
            part = slice(first, first + self._batch)
            place = trials[part], columns[part]
            with np.errstate(over="ignore", invalid="ignore"):
                view = View(self.flow.take(trials[part]), self.origin, trials[part], states[part])
                for name, values in self.values.items():
                    values[place] = _ALL[name](view)
                if self.signals is not None:
                    self.signals[place] = view.signal
