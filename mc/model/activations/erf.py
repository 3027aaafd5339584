"""The error function as activation: Phi is (pi/4) erfi and Pi a series or a quadrature (theory §3.3, §3.4)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import dawsn, erf, erfcx, erfi

from mc.model.activations.monotone import ROUNDING, Monotone, as_float, up
from mc.model.activations.special import piecewise, solve_increasing
from mc.model.arrays import Array, Index

_SQRT_PI = math.sqrt(math.pi)


class Erf(Monotone):
    """erf h."""

    cheap_inverse = False
    name = "erf"
    sup_dphi = up(2.0 / _SQRT_PI)
    lip_dphi = up(math.sqrt(8.0 / (math.pi * math.e)))
    sup_phi = 1.0
    image = (-1.0, 1.0)
    ratio_error = 4.0 * ROUNDING

    def phi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """erf h."""
        return np.asarray(erf(as_float(h), out=out))

    def dphi(self, h: ArrayLike, out: Array | None = None) -> Array:
        """(2/sqrt pi) exp(-h^2)."""
        e = np.square(as_float(h), out=out)
        e = np.negative(e, out=out)
        e = np.exp(e, out=out)
        return np.asarray(np.multiply(e, 2.0 / _SQRT_PI, out=out))

    def primitive(self, h: ArrayLike) -> Array:
        """(pi/4) erfi(h); infinite beyond |h| = 26.6."""
        h = as_float(h)
        return 0.25 * math.pi * piecewise(np.abs(h) < 1.0, _erfi_series, erfi, h)

    def primitive_inverse(self, c: ArrayLike, h_start: ArrayLike) -> Array:
        """Newton on erfi up to 1, on log erfi beyond."""
        c = as_float(c)
        size = np.abs(c) / (0.25 * math.pi)
        return np.copysign(piecewise(size < 1.65, _erfi_inverse_small, _erfi_inverse_large, size), c)

    def ratio_primitive(self, h: ArrayLike) -> Array:
        """A series up to |h| = 1, (pi/4) erfi(h) - (sqrt pi/2) int_0^h erfcx beyond."""
        h = np.abs(as_float(h))
        return piecewise(h < 1.0, _ratio_small, _ratio_large, h)

    def _log_floor(self, h0: Array, level: Array) -> Array:
        """Newton on log Pi, from a start that is exact for small h and nearly so for large h."""
        floor = np.full(level.shape, -np.inf)
        inside = level > 1e-300
        target = np.minimum(level[inside], 1e300)

        def residual(h: Array, index: Index) -> tuple[Array, Array]:
            potential = self.ratio_primitive(h)
            slope = erf(h) * (0.5 * _SQRT_PI) * np.exp(np.minimum(h * h, 705.0)) / potential
            return np.log(potential / target[index]), slope

        start = np.sqrt(np.log1p(2.0 * target))
        h = solve_increasing(residual, 0.5 * start, np.minimum(1.5 * start, 26.6), start, start)
        floor[inside] = np.log(erf(h * (1.0 - 1e-13)))
        return floor


def _erfi_series(h: Array) -> Array:
    """(2/sqrt pi) sum h^(2n+1)/(n! (2n+1)) for |h| <= 1; scipy's erfi errs by 60 last places below 1/2."""
    square = h * h
    total = np.zeros_like(square)
    for n in range(18, -1, -1):
        total *= square
        total += 2.0 / (_SQRT_PI * math.factorial(n) * (2 * n + 1))
    total *= h
    return total


def _erfi_inverse_small(y: Array) -> Array:
    """erfi(h) = y for 0 <= y <= 1.65; the start is within 6 %, four Newton steps square that to rounding."""
    linear = 0.5 * _SQRT_PI * y
    h = linear / np.sqrt(1.0 + linear * linear / 1.5)
    for _ in range(4):
        h = h - (_erfi_series(h) - y) * (0.5 * _SQRT_PI) * np.exp(-h * h)
    return h


def _erfi_inverse_large(y: Array) -> Array:
    """Newton on log erfi(h) = h^2 + log(2 D(h)/sqrt pi), D Dawson's integral, of slope 1/D: never overflows."""
    log_y = np.log(y)
    h = np.sqrt(log_y + np.log(_SQRT_PI * np.sqrt(1.0 + log_y)))
    for _ in range(4):
        d = dawsn(h)
        h = h - d * (h * h + np.log(2.0 / _SQRT_PI * d) - log_y)
    return np.asarray(h)


def _ratio_small(h: Array) -> Array:
    """sum 2^n h^(2n+2)/((2n+1)!! (2n+2)), to rounding for h <= 1 with 18 terms."""
    square = h * h
    total = np.zeros_like(square)
    for n in range(17, -1, -1):
        total *= square
        total += 2.0**n / (math.prod(range(1, 2 * n + 2, 2)) * (2 * n + 2))
    total *= square
    return total


_TAIL = 6.0


def _ratio_large(h: Array) -> Array:
    """(pi/4) erfi(h) - q(h); beyond 6 the first is 1e15 times q, whose leading growth log(h)/2 then does."""
    near = np.minimum(h, _TAIL)
    x = (2.0 * near - (_TAIL + 1.0)) / (_TAIL - 1.0)
    q = np.polynomial.chebyshev.chebval(x, _erfcx_integral()) + 0.5 * np.log(h / near)
    return np.asarray(0.25 * math.pi * erfi(h) - q)


@cache
def _erfcx_integral() -> Array:
    """Chebyshev coefficients on [1, 6] of q(h) = (sqrt pi/2) int_0^h erfcx, by Gauss-Legendre; degree 24 is exact."""
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def q(x: Array) -> Array:
        h = 0.5 * ((_TAIL - 1.0) * x + _TAIL + 1.0)
        points = 0.5 * h[:, None] * (1.0 + nodes)
        return np.asarray(0.25 * _SQRT_PI * h * (erfcx(points) @ weights))

    interpolate: Any = np.polynomial.chebyshev.chebinterpolate  # its stub knows functions of one number only
    return np.asarray(interpolate(q, 24))
