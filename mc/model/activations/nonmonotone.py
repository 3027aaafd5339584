"""Activations whose phi' has zeros: sin with closed forms, silu and gelu with tables (theory §1, §3.3 box remark)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from mc.model.activations.base import Activation
from mc.model.activations.monotone import exp_negative, up
from mc.model.arrays import Array, as_float

_EPS = float(np.finfo(np.float64).eps)
_PI_HIGH = 3.140625  # few enough bits that j times it is exact
_PI_LOW = 9.676535897932384626e-04


class Sin(Activation):
    """sin h; branch j is the interval (j - 1/2, j + 1/2) pi, with sign (-1)^j."""

    name = "sin"
    sup_dphi = 1.0
    lip_dphi = 1.0
    sup_phi = 1.0
    increasing = False
    cheap_inverse = True
    ratio_error = 8.0 * _EPS

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return sin h."""
        return np.sin(as_float(h), out=out)

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return cos h."""
        return np.cos(as_float(h), out=out)

    def box(self, h: ArrayLike) -> tuple[Array, Array]:
        """Return (-1, 1) on every branch."""
        shape = np.shape(h)
        return np.full(shape, -1.0), np.full(shape, 1.0)

    def primitive(self, h: ArrayLike) -> Array:
        """Return (-1)^j asinh(tan h) on branch j."""
        h = as_float(h)
        return _sign(_branch(h)) * np.arcsinh(np.tan(h))

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """Return j pi + arctan(sinh(+-c)), free of overflow and strictly inside branch j."""
        j = _branch(as_float(h_start))
        angle = 2.0 * np.arctan(np.tanh(0.5 * _sign(j) * as_float(c)))
        h = j * _PI_HIGH + (j * _PI_LOW + angle)
        ends = ((j + side) * _PI_HIGH + (j + side) * _PI_LOW for side in (-0.5, 0.5))
        lower, upper = (end - side * 2.0 * np.spacing(np.abs(end)) for end, side in zip(ends, (-1.0, 1.0), strict=True))
        return np.clip(h, lower, upper)

    def phi_at_primitive(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """Return tanh c on every branch: tan h = sinh(+-c) with the sign of the branch."""
        return np.tanh(as_float(c))

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """Return -log|cos h|, through the sine where the cosine is near 1."""
        h = as_float(h)
        square = np.square(np.sin(h))
        return np.where(square < 0.5, -0.5 * np.log1p(-np.minimum(square, 0.5)), -np.log(np.abs(np.cos(h))))

    def _log_floor(self, h0: Array, level: Array) -> Array:
        return np.where(level > 0.0, 0.5 * np.log(-np.expm1(-2.0 * np.maximum(level, 0.0))), -np.inf)


def _branch(h: Array) -> Array:
    return np.rint(h / math.pi)


def _sign(branch: Array) -> Array:
    return 1.0 - 2.0 * np.mod(branch, 2.0)


class _OneMinimum(Activation):
    """An activation that falls from 0 at -inf to its minimum at h_min, then rises to +inf."""

    increasing = False
    sup_phi = math.inf
    h_min: float
    phi_min: float

    @property
    def critical_points(self) -> Array:
        """Return the one zero of phi'."""
        return np.array([self.h_min])

    def box(self, h: ArrayLike) -> tuple[Array, Array]:
        """Return (phi_min, inf) right of h_min, (phi_min, 0) left of it."""
        h = as_float(h)
        return np.full(h.shape, self.phi_min), np.where(h > self.h_min, np.inf, 0.0)


class Silu(_OneMinimum):
    """h sigmoid(h)."""

    name = "silu"
    sup_dphi = 1.099839320128867
    lip_dphi = 0.5
    h_min = -1.2784645427610738
    phi_min = -0.2784645427610738

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return h sigmoid(h)."""
        return self.phi_dphi(h, out, None)[0]

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return s (1 + h (1 - s)), s = sigmoid(h)."""
        return self.phi_dphi(h, None, out)[1]

    def phi_dphi(
        self, h: ArrayLike, out_phi: Array | None = None, out_dphi: Array | None = None
    ) -> tuple[Array, Array]:
        """Return h s and phi' = s (1 + h (1 - s)) with s the sigmoid and 1 - s = exp(-h) s."""
        h = as_float(h)
        e = np.asarray(exp_negative(h, out_dphi))
        s = np.asarray(np.add(e, 1.0, out=out_phi))
        np.reciprocal(s, out=s)
        e *= s
        e *= h
        e += 1.0
        e *= s
        return np.multiply(s, h, out=s), e

    def _log_abs_phi(self, h: Array) -> Array:
        """Return log|h| + log sigmoid(h), also where the sigmoid has underflowed."""
        size = np.abs(h)
        return np.log(size) + np.minimum(h, 0.0) - np.log1p(np.exp(-size))


class Gelu(_OneMinimum):
    """h N(h), N the normal distribution function."""

    name = "gelu"
    sup_dphi = up(1.1289041451851547)
    lip_dphi = up(math.sqrt(2.0 / math.pi))
    h_min = -0.7517915246935645
    phi_min = -0.16997120747990366

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return h N(h)."""
        h = as_float(h)
        return np.asarray(np.multiply(h, ndtr(h), out=out))

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """Return N(h) + h n(h)."""
        return self.phi_dphi(h, None, out)[1]

    def phi_dphi(
        self, h: ArrayLike, out_phi: Array | None = None, out_dphi: Array | None = None
    ) -> tuple[Array, Array]:
        """Return h N(h) and N(h) + h n(h), n the normal density."""
        h = as_float(h)
        density = np.asarray(np.square(h, out=out_dphi))
        density *= -0.5
        np.exp(density, out=density)
        density *= h
        density *= 1.0 / math.sqrt(2.0 * math.pi)
        cumulative = np.asarray(ndtr(h, out=out_phi))
        density += cumulative
        return np.multiply(cumulative, h, out=cumulative), density

    def _log_floor(self, h0: Array, level: Array) -> Array:
        """Return no floor left of h_min, where it falls like exp(-exp(2 energy)/2) (theory §7.5)."""
        right = h0 > self.h_min
        floor = np.full(h0.shape, -np.inf)
        floor[right] = super()._log_floor(h0[right], level[right])
        return floor
