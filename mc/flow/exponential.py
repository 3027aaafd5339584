"""Exponential Runge-Kutta method whose linear part has rank r, for both layers or for one without Phi.

The stiff part of the flow is -J^T H J with J the observed Jacobian (r rows) at the start of the step: its exponential
costs one eigenvalue problem of size r. The scheme is ETDRK4 in Krogstad's form (2005), order 4 for any split, with the
difference of its last stage and the next step's first (Whalen, Brio, Moloney 2015) as a part of the error estimate;
that difference alone is wrong by orders of magnitude where a step damps much.

A change of Q within a step is a sum of products (r-vector)(k-vector): stages never form it, nor any matrix with k rows
and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mc.flow.field import Point, ReducedFlow
from mc.flow.kernel import KernelSpectrum, phi_functions
from mc.flow.stepper import Attempt, crossed, norm
from mc.model.arrays import Array, Index, Mask


@dataclass(frozen=True)
class _Stage:
    """A point of the step and the flow at that point."""

    h: Array  # (T, k)
    pairs: list[tuple[Array, Array]]  # change of Q since the start of the step, a sum of products (r-vector)(k-vector)
    point: Point  # its Q is that of the start of the step
    pull: Array  # w/sqrt(k) with w = S U^T grad L, (T, r): dQ/dt = -pull z^T
    dh: Array  # dh/dt, (T, k)
    image: Array  # J f, (T, r), f the flow at the stage, J the Jacobian at the start of the step
    remainder: Array  # c with f - f(start) - L (stage - start) = f + J^T c, (T, r)
    x: Array  # E^T J of that remainder, (T, r)

    def take(self, rows: Index) -> _Stage:
        """Select trials, without the pairs and Q, which a change of the state does not need."""
        point = _without_Q(self.point, rows)
        return _Stage(
            self.h[rows],
            [],
            point,
            self.pull[rows],
            self.dh[rows],
            self.image[rows],
            self.remainder[rows],
            self.x[rows],
        )


def _without_Q(point: Point, rows: Index) -> Point:
    """Select trials without copying Q, which is large and not needed."""
    return Point(point.Q[:0], point.z[rows], point.dphi[rows], point.residual[rows], point.loss[rows])


@dataclass(frozen=True)
class _Change:
    """A change of the state: sum of weights times the flow at stages, plus J^T ``along``."""

    weights: tuple[tuple[_Stage, Array | float], ...]
    along: Array


class LowRankExponential:
    """Exponential Runge-Kutta steps of (h, Q), or of h alone.

    `mc.flow.stepper.Stepper` describes the methods.
    """

    order = 4
    safety = 4.0
    opening = 0.4

    def __init__(self, flow: ReducedFlow, h: Array, state: Array | None = None) -> None:
        self.flow = flow
        state = flow.start(h) if state is None else state
        self._h, self._h_start = state[:, 0].copy(), h.copy()
        self.point = flow.evaluate(state)
        self._Q = self.point.Q
        self._slope = flow.slope(self.point.residual)
        self._kernel = flow.kernel(self.point)
        self._spectrum = KernelSpectrum.of(self._kernel, flow.curvature_root(self.point.residual))

    def speed(self) -> Array:
        """Return |d theta/dt| at the current state, (T,)."""
        square = np.einsum("tr,trs,ts->t", self._slope, self._kernel, self._slope)
        return np.asarray(np.sqrt(np.maximum(square, 0.0)))

    def _apply(self, v: Array) -> Array:
        return np.asarray(np.matmul(self._kernel, v[:, :, None])[:, :, 0])

    def _adjoint(self, c: Array) -> tuple[Array, Array]:
        """Return J^T c: its component in h (T, k), and S c/sqrt(k), whose product with z is its component in Q."""
        scaled = self.flow.problems.S * c / np.sqrt(self.flow.width)
        return np.matmul(scaled[:, None, :], self._Q)[:, 0, :] * self.point.dphi, scaled

    def _move(self, change: _Change) -> tuple[Array, list[tuple[Array, Array]]]:
        """Return h after a change, and the change of Q as pairs (r-vector, k-vector)."""
        h, scaled = self._adjoint(change.along)
        h += self._h
        pairs = [(scaled, self.point.z)]
        for stage, weight in change.weights:
            size = np.reshape(weight, (-1, 1))
            h += size * stage.dh
            pairs.append((-size * stage.pull, stage.point.z))
        return h, pairs if self.flow.mode == "both" else []

    def _flow_at(self, h: Array, pairs: list[tuple[Array, Array]]) -> tuple[Point, Array, Array]:
        """Return the point, pull and dh/dt at h and Q plus pairs."""
        flow, root = self.flow, np.sqrt(self.flow.width)
        z, dphi = flow.activation.phi_dphi(h)
        signal = np.matmul(self._Q, z[:, :, None])[:, :, 0]
        for vector, values in pairs:
            signal += vector * np.einsum("tk,tk->t", values, z)[:, None]
        residual = flow.problems.S * signal / root - flow.problems.target
        point = Point(self._Q, z, dphi, residual, flow.loss_of(residual))
        pull = flow.pull(residual) / root
        dh = np.matmul(pull[:, None, :], self._Q)[:, 0, :]
        for vector, values in pairs:
            dh += np.einsum("tr,tr->t", vector, pull)[:, None] * values
        dh *= -dphi
        return point, pull, dh

    def _stage(self, change: _Change) -> _Stage:
        """Evaluate the flow and its remainder at a point of the step."""
        h, pairs = self._move(change)
        point, pull, dh = self._flow_at(h, pairs)
        S, root = self.flow.problems.S, np.sqrt(self.flow.width)
        image = np.matmul(self._Q, (self.point.dphi * dh)[:, :, None])[:, :, 0] / root
        if self.flow.mode == "both":
            image -= pull * (np.einsum("tk,tk->t", point.z, self.point.z) / root)[:, None]
        image = S * image
        # J (stage - start), then H times that
        moved = self._apply(change.along)
        for stage, weight in change.weights:
            moved = moved + np.reshape(weight, (-1, 1)) * stage.image
        remainder = self._slope + self._spectrum.combine(self._spectrum.coordinates(moved))
        x = self._spectrum.coordinates(image + self._apply(remainder))
        return _Stage(h, pairs, point, pull, dh, image, remainder, x)

    def attempt(self, dt: Array) -> Attempt:
        """Try one step of size dt (T,)."""
        self._dt, scale = dt, dt[:, None]
        rates, combine = self._spectrum.rates, self._spectrum.combine
        # whole and half step in one call: the arrays are small and the calls are not
        pairs = phi_functions(np.stack([-scale * rates, -0.5 * scale * rates]), 4)
        phi, half = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        # f(start) = J^T (-slope)
        self._x = self._spectrum.coordinates(self._apply(-self._slope))
        start = -0.5 * scale * self._slope - combine(np.square(0.5 * scale) * half[2] * self._x)
        a = self._stage(_Change((), start))
        # phi_2(dt L/2) D_a
        inner = scale * 0.5 * a.remainder - combine(0.5 * np.square(scale) * half[3] * a.x)
        b = self._stage(_Change(((a, 0.5 * dt),), start + inner))
        linear = -scale * self._slope - combine(np.square(scale) * phi[2] * self._x)
        inner = scale * b.remainder - combine(2.0 * np.square(scale) * phi[3] * b.x)
        c = self._stage(_Change(((b, dt),), linear + inner))
        self._stages = (a, b, c)
        self._new = self._stage(self._within(np.ones_like(dt), phi))
        error = self._error(phi)
        distance = self._distance()
        sound = np.isfinite(error) & np.isfinite(distance) & np.isfinite(self._new.point.loss)
        return Attempt(error, distance, sound & ~crossed(self.flow, self._h, self._new.h))

    def _within(self, fraction: Array, phi: list[Array] | None = None) -> _Change:
        """Return the change from the start of the step to a fraction of it."""
        s, dt = fraction[:, None], self._dt[:, None]
        phi = phi_functions(-s * dt * self._spectrum.rates, 4) if phi is None else phi
        linear = -s * dt * self._slope - self._spectrum.combine(np.square(s * dt) * phi[2] * self._x)
        first, second = self._terms(fraction, phi)
        weights = tuple((one[0], one[1] + two[1]) for one, two in zip(first.weights, second.weights, strict=True))
        return _Change(weights, linear + first.along + second.along)

    def _terms(self, fraction: Array, phi: list[Array]) -> tuple[_Change, _Change]:
        """Return int_0^s exp((s - u) L) (c_1 u) du and the same with c_2 u^2, s in units of dt.

        c_1 u + c_2 u^2 goes through D_half = (D_a + D_b)/2 at 1/2 and D_c at 1.
        """
        a, b, c = self._stages
        s, dt = fraction[:, None], self._dt[:, None]
        half_r, half_x = 0.5 * (a.remainder + b.remainder), 0.5 * (a.x + b.x)
        first_r, second_r = 4.0 * half_r - c.remainder, 2.0 * c.remainder - 4.0 * half_r
        first_x, second_x = 4.0 * half_x - c.x, 2.0 * c.x - 4.0 * half_x
        combine = self._spectrum.combine
        w1, w2 = self._dt * np.square(fraction), self._dt * fraction**3 * (2.0 / 3.0)
        first = 0.5 * w1[:, None] * first_r - combine(np.square(dt) * s**3 * phi[3] * first_x)
        second = 0.5 * w2[:, None] * second_r - combine(np.square(dt) * s**4 * 2.0 * phi[4] * second_x)
        return (
            _Change(((a, w1), (b, w1), (c, -0.5 * w1)), first),
            _Change(((a, -w2), (b, -w2), (c, w2)), second),
        )

    def _error(self, phi: list[Array]) -> Array:
        """Estimate the local error as the error of the stages plus that of a remainder quadratic in time.

        The first is dt (4 phi_3 - phi_2)(dt L) (D_c - D_new). The second takes the ratio of the omitted cubic and
        quartic terms to their predecessors to be that of the quadratic term to the linear one.
        """
        c, new, dt = self._stages[2], self._new, self._dt
        inner = np.square(dt)[:, None] * (4.0 * phi[4] - phi[3]) * (c.x - new.x)
        along = (dt / 6.0)[:, None] * (c.remainder - new.remainder) - self._spectrum.combine(inner)
        stages = self._length(_Change(((c, dt / 6.0), (new, -dt / 6.0)), along))
        linear, square = (self._length(term) for term in self._terms(np.ones_like(dt), phi))
        return stages + 0.5 * square**4 / np.maximum((linear + square) ** 3, 1e-300)

    def _length(self, change: _Change) -> Array:
        """Return the norm in theta of a change of the state."""
        h, scaled = self._adjoint(change.along)
        vectors, values = [scaled], [self.point.z]
        for stage, weight in change.weights:
            size = np.reshape(weight, (-1, 1))
            h += size * stage.dh
            vectors.append(-size * stage.pull)
            values.append(stage.point.z)
        square = np.einsum("tk,tk->t", h, h)
        if self.flow.mode == "both":
            # |sum v_i z_i^T|^2 from two small Gram matrices
            v, z = np.stack(vectors, axis=1), np.stack(values, axis=1)
            square = square + (np.matmul(v, v.swapaxes(1, 2)) * np.matmul(z, z.swapaxes(1, 2))).sum(axis=(1, 2))
        return np.asarray(np.sqrt(np.maximum(square, 0.0)))

    def _distance(self) -> Array:
        """Return |theta - theta(0)| after the step."""
        square = np.square(norm(self._new.h - self._h_start))
        if self.flow.mode == "both":
            self._new_Q = self._Q + _products(self._new.pairs)
            square = square + np.square(norm(self._new_Q - self.flow.Q_start))
        return np.sqrt(square)

    def accept(self, accepted: Mask) -> Array:
        """Advance the accepted trials; return ones, for no bound of the growth of errors is known."""
        point = self._new.point
        if self.flow.mode == "both":
            point = point.with_Q(self._new_Q)
        self.point = self.point.updated(accepted, point)
        self._Q = self.point.Q
        self._h = self._new.h if accepted.all() else np.where(accepted[:, None], self._new.h, self._h)
        self._slope = self.flow.slope(self.point.residual)
        self._kernel, self._spectrum = self._spectrum.updated(accepted, self._kernel, self.flow, self.point)
        return np.ones(accepted.size)

    def interpolate(self, rows: Index, fractions: Array) -> Array:
        """Return the states (N, rows, k) of given trials at fractions (N,) of the attempted step."""
        part = self._copy(rows)
        h, pairs = part._move(part._within(fractions))
        if not pairs:
            return h[:, None, :]
        return np.concatenate([h[:, None, :], part._Q + _products(pairs)], axis=1)

    def _copy(self, rows: Index) -> LowRankExponential:
        """Copy the attempted step of given trials."""
        other = object.__new__(LowRankExponential)
        other.flow = replace(self.flow, problems=self.flow.problems.take(rows), Q_start=self._Q[rows])
        other.point, other._spectrum = _without_Q(self.point, rows), self._spectrum.take(rows)
        other._Q = other.flow.Q_start
        for name in ("_h", "_slope", "_x", "_dt"):
            setattr(other, name, getattr(self, name)[rows])
        a, b, c = (stage.take(rows) for stage in self._stages)
        other._stages = (a, b, c)
        return other

    def stiff(self) -> Mask:
        """Return False for every trial: the fast part is solved exactly."""
        return np.zeros(self.point.loss.size, dtype=bool)

    def states(self) -> Array:
        """Return the current states, (T, rows, k)."""
        h = self._h[:, None, :]
        return h if self.flow.mode == "hidden" else np.concatenate([h, self._Q], axis=1)

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""
        self.flow, self.point, self._spectrum = self.flow.take(rows), self.point.take(rows), self._spectrum.take(rows)
        self._Q = self.flow.Q_start if self.flow.mode == "hidden" else self.point.Q
        for name in ("_h", "_h_start", "_slope", "_kernel"):
            setattr(self, name, getattr(self, name)[rows])


def _products(pairs: list[tuple[Array, Array]]) -> Array:
    """Sum of (r-vector)(k-vector)^T, (T, r, k)."""
    vectors = np.stack([vector for vector, _ in pairs], axis=2)
    values = np.stack([value for _, value in pairs], axis=1)
    return np.asarray(np.matmul(vectors, values))
