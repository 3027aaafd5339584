"""Increasing activations with closed forms: sigmoid, tanh, softplus, arctan, identity (theory §1, §3.3, §3.4)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import spence

from mc.model.activations.base import Activation
from mc.model.activations.special import double_sinh_inverse, double_sinh_sigmoid, solve_increasing, wright_omega
from mc.model.arrays import Array, Index

EXP_LIMIT = 708.0  # exp of more overflows
_EPS = float(np.finfo(np.float64).eps)
ROUNDING = 8.0 * _EPS


def up(x: float) -> float:
    """The next float: an upper bound of an irrational constant that was rounded to nearest."""
    return math.nextafter(x, math.inf)


def as_float(h: ArrayLike) -> Array:
    """h as float64, without a copy where it is."""
    return np.asarray(h, dtype=np.float64)


def exp_negative(h: ArrayLike, out: Array | None = None) -> Array:
    """exp(-h) without overflow: constant below h = -708."""
    e = np.maximum(h, -EXP_LIMIT, out=out)
    e = np.negative(e, out=out)
    return np.exp(e, out=out)


class Monotone(Activation):
    """phi' > 0: one interval, the box is the range, and branches need no care."""

    increasing = True
    cheap_inverse = True
    critical_points = np.empty(0)
    ratio_error = ROUNDING
    image: tuple[float, float]

    def box(self, h: ArrayLike) -> tuple[Array, Array]:
        """The range of phi, for every h."""
        shape = np.shape(h)
        return np.full(shape, self.image[0]), np.full(shape, self.image[1])


class Sigmoid(Monotone):
    """1/(1 + exp(-h))."""

    name = "sigmoid"
    sup_dphi = 0.25
    lip_dphi = up(1.0 / (6.0 * math.sqrt(3.0)))
    sup_phi = 1.0
    image = (0.0, 1.0)

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """1/(1 + exp(-h))."""
        e = exp_negative(as_float(h), out)
        e = np.add(e, 1.0, out=out)
        return np.reciprocal(e, out=out)

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """exp(-h) phi^2."""
        return self.phi_dphi(h, None, out)[1]

    def phi_dphi(
        self, h: ArrayLike, out_phi: Array | None = None, out_dphi: Array | None = None
    ) -> tuple[Array, Array]:
        """phi' = exp(-h) phi^2: relative accuracy at both ends, where phi (1 - phi) has it at one."""
        e = np.asarray(exp_negative(as_float(h), out_dphi))
        phi = np.asarray(np.add(e, 1.0, out=out_phi))
        np.reciprocal(phi, out=phi)
        e = np.asarray(np.multiply(e, phi, out=e))
        return phi, np.multiply(e, phi, out=e)

    def primitive(self, h: ArrayLike) -> Array:
        """2 h + 2 sinh h."""
        return 2.0 * as_float(h) + 2.0 * np.sinh(h)

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """`double_sinh_inverse`; the start is not used."""
        return double_sinh_inverse(c)

    def phi_at_primitive(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """`double_sinh_sigmoid`: one table instead of one for h and an exponential."""
        return double_sinh_sigmoid(c)

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """h + exp h."""
        return as_float(h) + np.exp(h)

    def log_phi_floor(self, h0: ArrayLike, energy: ArrayLike) -> Array:
        """log(omega/(1 + omega)), omega = Wright omega(Pi(h0) - energy); the hot path, so written out."""
        h0, energy = np.broadcast_arrays(as_float(h0), as_float(energy))
        shape = h0.shape
        h0, energy = h0.reshape(-1), energy.reshape(-1)
        level: Array = np.exp(h0)
        slack = level + energy
        slack *= ROUNDING
        level += h0
        level -= energy
        level -= slack
        omega = wright_omega(level)
        large = np.flatnonzero(level > 1.0)
        level -= omega
        level -= np.log1p(omega)
        level[large] = -np.log1p(1.0 / omega[large])  # where the difference above cancels
        level *= 1.0 + ROUNDING  # covers |h0| too: below 0 the floor is at least as far from 0
        level -= ROUNDING
        return level.reshape(shape)


class Tanh(Monotone):
    """tanh h."""

    name = "tanh"
    sup_dphi = 1.0
    lip_dphi = up(4.0 / (3.0 * math.sqrt(3.0)))
    sup_phi = 1.0
    image = (-1.0, 1.0)

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """tanh h."""
        return np.tanh(as_float(h), out=out)

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """4 e/(1 + e)^2, e = exp(-2|h|): accurate where 1 - tanh^2 cancels."""
        e = np.asarray(np.abs(as_float(h), out=out))
        np.multiply(e, -2.0, out=e)
        np.exp(e, out=e)
        ratio = 2.0 / (1.0 + e)
        e *= ratio
        return np.asarray(np.multiply(e, ratio, out=e))

    def primitive(self, h: ArrayLike) -> Array:
        """h/2 + sinh(2h)/4."""
        h = as_float(h)
        return 0.5 * h + 0.25 * np.sinh(2.0 * h)

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """Half the solution of the sigmoid at 8 c."""
        c = as_float(c)
        return 0.5 * double_sinh_inverse(8.0 * c)

    def phi_at_primitive(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """tanh h = 2 sigmoid(2h) - 1, and 2 h solves the equation of the sigmoid at 8 c."""
        z = double_sinh_sigmoid(8.0 * as_float(c))
        z *= 2.0
        z -= 1.0
        return z

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """sinh(h)^2/2."""
        with np.errstate(over="ignore"):
            return 0.5 * np.sinh(as_float(h)) ** 2

    def _log_floor(self, h0: Array, level: Array) -> Array:
        positive = np.maximum(level, np.finfo(np.float64).tiny)
        return np.where(level > 0.0, -0.5 * np.log1p(0.5 / positive), -np.inf)


class Softplus(Monotone):
    """log(1 + exp h)."""

    name = "softplus"
    sup_dphi = 1.0
    lip_dphi = 0.25
    sup_phi = math.inf
    image = (0.0, math.inf)

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """log(1 + exp h)."""
        return self.phi_dphi(h, out, None)[0]

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """1/(1 + exp(-h))."""
        e = exp_negative(as_float(h), out)
        e = np.add(e, 1.0, out=out)
        return np.reciprocal(e, out=out)

    def phi_dphi(
        self, h: ArrayLike, out_phi: Array | None = None, out_dphi: Array | None = None
    ) -> tuple[Array, Array]:
        """One exponential for both."""
        h = as_float(h)
        e = np.asarray(np.minimum(h, EXP_LIMIT, out=out_dphi))
        np.exp(e, out=e)
        one_more = e + 1.0
        phi = np.asarray(np.log1p(e, out=out_phi))
        np.maximum(phi, h, out=phi)  # only where exp was cut off
        return phi, np.divide(e, one_more, out=e)

    def primitive(self, h: ArrayLike) -> Array:
        """h - exp(-h)."""
        h = as_float(h)
        return h - exp_negative(h)

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """c + omega(-c), and where that cancels its equal -log(omega(-c))."""
        c = as_float(c)
        omega = wright_omega(-c)
        return np.where(c < 0.0, -np.log(np.maximum(omega, 0.5)), c + omega)

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """With Li2(-e^h) = spence(1 + e^h), and the inversion formula of the dilogarithm for h > 0."""
        h = as_float(h)
        u = np.exp(-np.abs(h))
        log_u = np.log1p(u)
        li2 = spence(1.0 + u)  # Li2(-u)
        quotient = np.divide(log_u, u, out=np.ones_like(u), where=u > 0.0)
        right = h - (1.0 + u) * (h + log_u) + 0.5 * h * h + li2 + math.pi**2 / 6.0
        return np.asarray(np.where(h <= 0.0, h - log_u - quotient - li2, right))

    def ratio_primitive_inverse(self, level: Array) -> Array:
        """The h with Pi(h) = level, by Newton from the right: Pi is convex, Pi' > 1 and Pi(h) > h - 1."""
        flat = np.minimum(level, 1e150).reshape(-1)

        def residual(h: Array, index: Index) -> tuple[Array, Array]:
            return self.ratio_primitive(h) - flat[index], _softplus_ratio(self, h)

        high = np.minimum(flat + 1.0, 2.0 + np.sqrt(2.0 * np.maximum(flat, 0.0) + 2.0))
        return solve_increasing(residual, np.minimum(flat + 0.56, 0.0) - 0.01, high, high, 1.0).reshape(level.shape)

    def _log_floor(self, h0: Array, level: Array) -> Array:
        """Cubic Hermite interpolation of the inverse of Pi, lowered by its error, far below that of any use."""
        low, high, scale, table, slope = _softplus_table()
        h = np.asarray(np.minimum(level + 1.0, 0.0))  # left of the table Pi(h) = h - 1 to rounding
        cell = np.clip(np.floor((level - low) * scale), 0.0, (high - low) * scale - 1.0)
        part = (level - low) * scale - cell
        cell_index = cell.astype(np.intp)
        a, b = table[cell_index], table[cell_index + 1]
        slope_a, slope_b = slope[cell_index] / scale, slope[cell_index + 1] / scale
        rest = 1.0 - part
        cubic = a * rest * rest * (1.0 + 2.0 * part) + b * part * part * (1.0 + 2.0 * rest)
        cubic += part * rest * (slope_a * rest - slope_b * part)
        h = np.where(level >= low, cubic, h)
        if level.size and level.max() > high:
            beyond = level > high
            h[beyond] = self.ratio_primitive_inverse(level[beyond])
        h -= 1e-11 + 64.0 * _EPS * np.abs(h)
        return np.where(h < -30.0, h - np.exp(np.minimum(h, 0.0)), np.log(self.phi(np.maximum(h, -31.0))))


def _softplus_ratio(softplus: Softplus, h: Array) -> Array:
    """phi/phi', 1 where both underflow."""
    phi, dphi = softplus.phi_dphi(h)
    return np.asarray(np.divide(phi, dphi, out=np.ones_like(h), where=dphi > 0.0))


@cache
def _softplus_table() -> tuple[float, float, float, Array, Array]:
    """Inverse of Pi and its slope at nodes 1/256 apart: the cubic errs by h/384 256^-4 < 1e-12 (|h| < 0.5)."""
    low, high, scale = -40.0, 60.0, 256.0
    softplus = Softplus()
    h = softplus.ratio_primitive_inverse(np.arange(low * scale, high * scale + 1.0) / scale)
    return low, high, scale, h, 1.0 / _softplus_ratio(softplus, h)


class Arctan(Monotone):
    """arctan h."""

    name = "arctan"
    sup_dphi = 1.0
    lip_dphi = up(3.0 * math.sqrt(3.0) / 8.0)
    sup_phi = up(0.5 * math.pi)
    image = (-0.5 * math.pi, 0.5 * math.pi)

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """arctan h."""
        return np.arctan(as_float(h), out=out)

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """1/(1 + h^2)."""
        square = np.square(as_float(h), out=out)
        square = np.add(square, 1.0, out=out)
        return np.reciprocal(square, out=out)

    def primitive(self, h: ArrayLike) -> Array:
        """h + h^3/3."""
        h = as_float(h)
        return h + h * h * h / 3.0

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """2 sinh(asinh(3c/2)/3), and one Newton step: the exponential costs hundreds of units in the last place."""
        c = as_float(c)
        h = 2.0 * np.sinh(np.arcsinh(1.5 * c) / 3.0)
        return h - (self.primitive(h) - c) / (1.0 + h * h)

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """(h + h^3/3) arctan h - h^2/6 - log(1 + h^2)/3."""
        h = as_float(h)
        square = h * h
        return h * (1.0 + square / 3.0) * np.arctan(h) - square / 6.0 - np.log1p(square) / 3.0

    def _log_floor(self, h0: Array, level: Array) -> Array:
        """Newton from the right: Pi is convex, at least h^2/2 and, for h >= 1, h^3/4."""
        floor = np.full(level.shape, -np.inf)
        inside = level > 0.0
        target = np.minimum(level[inside], 1e300)

        def residual(h: Array, index: Index) -> tuple[Array, Array]:
            return self.ratio_primitive(h) - target[index], np.arctan(h) * (1.0 + h * h)

        high = np.minimum(np.sqrt(2.0 * target), 1.0 + np.cbrt(4.0 * target))
        h = solve_increasing(residual, 0.0, high, high, high)
        floor[inside] = np.log(np.arctan(h * (1.0 - ROUNDING)))
        return floor


class Identity(Monotone):
    """h: the linear network."""

    name = "identity"
    sup_dphi = 1.0
    lip_dphi = 0.0
    sup_phi = math.inf
    image = (-math.inf, math.inf)

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """A copy of h."""
        return np.positive(as_float(h), out=out)

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """1."""
        if out is None:
            return np.ones(np.shape(h))
        out[...] = 1.0
        return out

    def primitive(self, h: ArrayLike) -> Array:
        """A copy of h."""
        return self.phi(h)

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """A copy of c."""
        return self.phi(c)

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """h^2/2."""
        return 0.5 * np.square(as_float(h))

    def _log_floor(self, h0: Array, level: Array) -> Array:
        return 0.5 * np.log(2.0 * np.minimum(np.maximum(level, 0.0), 1e300))
