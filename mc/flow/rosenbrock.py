"""Exponential Rosenbrock method for the dual variable of the hidden layer, in r dimensions (theory §3.3).

Lambda' = U^T grad L has the Jacobian -H K, r x r. The scheme is exprb43 of Hochbruck, Ostermann and Schweitzer (2009):
three stages, order 4, exact for a quadratic loss of a linear network. Its embedded method of order 3 overestimates the
error by a factor of hundreds here; `DualRosenbrock` estimates the errors of the stages and of the quadrature instead.
"""

from __future__ import annotations

import numpy as np

from mc.flow.field import ReducedFlow
from mc.flow.kernel import KernelSpectrum, phi_functions
from mc.flow.stepper import Attempt, crossed, norm
from mc.model.arrays import Array, Index, Mask


class DualRosenbrock:
    """Exponential Rosenbrock steps of Lambda; h follows by the inverse of Phi.

    `mc.flow.stepper.Stepper` describes the methods.
    """

    order = 5
    safety = 4.0
    opening = 0.8

    def __init__(self, flow: ReducedFlow, h: Array, state: Array | None = None) -> None:
        self.flow = flow
        self._h_start = h.copy()
        self._h = self._h_start if state is None else state[:, 0].copy()
        # Lambda is zero at this level
        self._level = flow.activation.primitive(self._h)
        self._dual = np.zeros((h.shape[0], flow.problems.rank))
        self.point = flow.evaluate(self._h[:, None, :])
        self._slope = flow.slope(self.point.residual)
        self._kernel = flow.kernel(self.point)
        self._spectrum = KernelSpectrum.of(self._kernel, flow.curvature_root(self.point.residual))
        self._store_slowest()

    def _store_slowest(self) -> None:
        """Store lambda_min(K) for reuse by the stopping rule (quadratic loss only: else H K has other eigenvalues)."""
        if self.flow.loss.quadratic:
            self.point = self.point.with_slowest(self._spectrum.rates[:, 0])

    def speed(self) -> Array:
        """Return |d theta/dt| at the current state, (T,)."""
        return self._length(self._slope)

    def _length(self, dual: Array) -> Array:
        """Return the norm in theta of a small change of Lambda, the norm of K."""
        square = np.einsum("tr,tr->t", dual, self._apply(dual))
        return np.asarray(np.sqrt(np.maximum(square, 0.0)))

    def _apply(self, v: Array) -> Array:
        return np.asarray(np.matmul(self._kernel, v[:, :, None])[:, :, 0])

    def _level_at(self, dual: Array) -> Array:
        """Return Phi of the pre-activations at a dual variable, (T, k)."""
        scaled = self.flow.problems.S * dual / -np.sqrt(self.flow.width)
        level = np.matmul(scaled[:, None, :], self.flow.Q_start)[:, 0, :]
        level += self._level
        return np.asarray(level)

    def _h_at(self, dual: Array) -> Array:
        """Return the pre-activations at a dual variable, (T, k)."""
        return self.flow.activation.primitive_inverse(self._level_at(dual), self._h)

    def _remainder_at(self, change: Array) -> tuple[Array, Array]:
        """Return `_remainder` at the point Lambda + change."""
        z = self.flow.activation.phi_at_primitive(self._level_at(self._dual + change), self._h)
        return self._remainder(self.flow.slope(self.flow.residual_of(self.flow.Q_start, z)), change)

    def _remainder(self, slope: Array, change: Array) -> tuple[Array, Array]:
        """Return the nonlinear part D = F(Lambda + change) - F(Lambda) + H K change, and E^T K D."""
        # E E^T = C C^T = H
        remainder = slope - self._slope + self._spectrum.combine(self._spectrum.image_of(change))
        return remainder, self._spectrum.image_of(remainder)

    def attempt(self, dt: Array) -> Attempt:
        """Try one step of size dt (T,)."""
        rates, scale = self._spectrum.rates, dt[:, None]
        # whole and half step in one call: the arrays are small and the calls are not
        pairs = phi_functions(np.stack([-scale * rates, -0.5 * scale * rates]), 5)
        self._phi, half = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        self._dt = dt
        self._x = self._spectrum.image_of(self._slope)
        first = 0.5 * scale * self._slope - self._spectrum.combine(np.square(0.5 * scale) * half[2] * self._x)
        self._d2 = self._remainder_at(first)
        d2, x2 = self._d2
        phi = self._phi
        linear = scale * self._slope - self._spectrum.combine(np.square(scale) * phi[2] * self._x)
        second = linear + scale * d2 - self._spectrum.combine(np.square(scale) * phi[2] * x2)
        self._d3 = self._remainder_at(second)
        square, cube = self._quadrature(np.ones_like(dt))
        change = linear + square + cube
        self._new_dual = self._dual + change
        self._new_h = self._h_at(self._new_dual)
        self._new_point = self.flow.evaluate(self._new_h[:, None, :])
        self._new_slope = self.flow.slope(self._new_point.residual)
        distance = norm(self._new_h - self._h_start)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self._new_point.dphi / self.point.dphi
        # fmax and fmin ignore the NaN of a phi' that underflows
        self._stretch, shrink = np.fmax.reduce(ratio, axis=1), np.fmin.reduce(ratio, axis=1)
        estimate = self._error(change, square, cube, np.log(np.fmax(self._stretch, 1.0 / shrink)))
        sound = np.isfinite(estimate) & np.isfinite(distance) & np.isfinite(self._new_point.loss)
        return Attempt(estimate, distance, sound & ~crossed(self.flow, self._h, self._new_h))

    def _quadrature(self, fraction: Array) -> tuple[Array, Array]:
        """Return int_0^s exp((s - u) J) a u^2 du and the same with b u^3, a and b fitting the remainders at 1/2 and 1.

        s is in units of dt.
        """
        (d2, x2), (d3, x3) = self._d2, self._d3
        s, dt = fraction[:, None], self._dt[:, None]
        phi = self._phi if np.all(fraction == 1.0) else phi_functions(-s * dt * self._spectrum.rates, 5)
        square = dt * s**3 / 3.0 * (8.0 * d2 - d3)
        square -= self._spectrum.combine(np.square(dt) * s**4 * 2.0 * phi[4] * (8.0 * x2 - x3))
        cube = dt * s**4 / 4.0 * (2.0 * d3 - 8.0 * d2)
        cube -= self._spectrum.combine(np.square(dt) * s**5 * 6.0 * phi[5] * (2.0 * x3 - 8.0 * x2))
        return square, cube

    def _error(self, change: Array, square: Array, cube: Array, bent: Array) -> Array:
        """Estimate the local error as the error of the stages plus that of a remainder cubic in time.

        The first is the change that the remainder at the new point, in place of the last stage's, would make. The
        second takes the ratio of the omitted terms to their predecessors to be that of the cubic term to the square
        one; where the cubic term happens to vanish, the ratio is ``bent``, the largest change of log phi'. The two
        constants make the median of the estimate equal to the error of a step, measured against tight solutions over
        activations, losses, condition numbers and tolerances; one step in a hundred has an error above 2.7 times its
        estimate.
        """
        remainder, x = self._remainder(self._new_slope, change)
        (d3, x3), phi, dt = self._d3, self._phi, self._dt[:, None]
        stages = dt / 6.0 * (d3 - remainder) - self._spectrum.combine(
            np.square(dt) * (12.0 * phi[5] - 2.0 * phi[4]) * (x3 - x)
        )
        vectors = np.stack([stages, square, cube], axis=2)
        lengths = np.einsum("trj,trj->jt", vectors, np.matmul(self._kernel, vectors))
        stage_error, one, two = np.sqrt(np.maximum(lengths, 0.0))
        omitted = np.fmax(0.25 * two**3 / np.maximum(np.square(one + two), 1e-300), 0.1 * one * np.square(bent))
        return np.asarray(stage_error + omitted)

    def accept(self, accepted: Mask) -> Array:
        """Advance the accepted trials; return the bound of the growth of an earlier error of theory §3.5."""
        mask = accepted[:, None]
        slowest = self._spectrum.rates[:, 0].copy()
        self._dual = np.where(mask, self._new_dual, self._dual)
        self._h = np.where(mask, self._new_h, self._h) if not accepted.all() else self._new_h
        self._slope = np.where(mask, self._new_slope, self._slope)
        self.point = self.point.updated(accepted, self._new_point)
        self._kernel, self._spectrum = self._spectrum.updated(accepted, self._kernel, self.flow, self.point)
        self._store_slowest()
        slowest = np.minimum(slowest, self._spectrum.rates[:, 0])
        return np.asarray(np.fmax(self._stretch, 1.0) * np.exp(-slowest * self._dt))

    def interpolate(self, rows: Index, fractions: Array) -> Array:
        """Return the states (N, 1, k) of given trials at fractions (N,) of the attempted step."""
        part = self._copy(rows)
        scale = (part._dt * fractions)[:, None]
        phi = phi_functions(-scale * part._spectrum.rates, 2)
        linear = scale * part._slope - part._spectrum.combine(np.square(scale) * phi[2] * part._x)
        h = part._h_at(part._dual + linear + sum(part._quadrature(fractions)))
        return h[:, None, :]

    def _copy(self, rows: Index) -> DualRosenbrock:
        """Copy the attempted step of given trials."""
        other = object.__new__(DualRosenbrock)
        other.flow, other._spectrum = self.flow.take(rows), self._spectrum.take(rows)
        for name in ("_level", "_dual", "_h", "_slope", "_x", "_dt", "_kernel"):
            setattr(other, name, getattr(self, name)[rows])
        other._d2, other._d3 = ((d[rows], x[rows]) for d, x in (self._d2, self._d3))
        other._phi = [phi[rows] for phi in self._phi]
        return other

    def stiff(self) -> Mask:
        """Return False for every trial: the fast part is solved exactly."""
        return np.zeros(self.point.loss.size, dtype=bool)

    def states(self) -> Array:
        """Return the current states, (T, 1, k)."""
        return self._h[:, None, :]

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""
        self.flow, self.point, self._spectrum = self.flow.take(rows), self.point.take(rows), self._spectrum.take(rows)
        for name in ("_level", "_dual", "_h", "_h_start", "_slope", "_kernel"):
            setattr(self, name, getattr(self, name)[rows])
