"""Primitives Phi and Pi by quadrature between two zeros of phi', and their inverses (theory §3.3, §3.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from mc.model.activations.numerical import zero_between
from mc.model.activations.special import hermite, piecewise, solve_increasing
from mc.model.arrays import Array, Index, Mask

Function = Callable[[Array], Array]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)
_CELL = 0.0625
_UNIFORM_REACH = 760.0  # exp(-760) has underflowed: beyond, only algebraic tails are left
_TOLERANCE = 2e-14
_CENTRAL = 3.0  # farther out Phi may be so large that zero there would cost the accuracy at the bulk of the neurons
RATIO_ERROR = 1e-12
"""Relative error allowed for a tabulated Pi when a floor is rounded to the safe side."""


def _quadrature(integrand: Function, left: Array, right: Array) -> Array:
    """Integrate by Gauss-Legendre with 6 nodes, elementwise on [left, right]; negative when right < left."""
    half, middle = 0.5 * (right - left), 0.5 * (right + left)
    total = np.zeros_like(half)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total += weight * integrand(middle + node * half)
    total *= half
    return total


class HalfTable:
    """Integral of a positive function from `origin` outwards to `end` (finite: a pole; or infinite), and its inverse.

    Edges are uniform with cells of 1/16, dyadic towards a finite end, geometric beyond |h - origin| = 760, then halved
    until six Gauss nodes agree with twelve; the table ends where the integrand leaves (0, inf) or the integral
    overflows.

    The integrand is positive between origin and end (it may vanish at the origin) and analytic there.
    """

    def __init__(self, integrand: Function, origin: float, end: float) -> None:
        self.integrand = integrand
        self.side = 1.0 if end > origin else -1.0
        with np.errstate(all="ignore"):
            edges = _refine(integrand, _edges(origin, end))
            steps = self.side * _quadrature(integrand, edges[:-1], edges[1:])
            total = np.concatenate([[0.0], np.cumsum(steps.astype(np.longdouble))]).astype(np.float64)
            good = np.isfinite(steps) & (steps > 0.0) & np.isfinite(total[1:]) & np.isfinite(integrand(edges[1:]))
        stop = 1 + (int(np.argmin(good)) if not good.all() else good.size)
        self.edges, self.total = edges[:stop], total[:stop]
        with np.errstate(all="ignore"):
            self.density = integrand(self.edges)
        self.keys = self.side * self.edges

    def value(self, h: Array) -> Array:
        """Return the integral from the origin to h, non-negative; +inf beyond the table."""
        keys = self.side * h
        cell = np.clip(np.searchsorted(self.keys, keys, side="right") - 1, 0, self.edges.size - 1)
        with np.errstate(all="ignore"):
            value = self.total[cell] + self.side * _quadrature(self.integrand, self.edges[cell], h)
        return np.where(keys > self.keys[-1], np.inf, value)

    def inverse(self, integral: Array) -> Array:
        """Return the h where the integral from the origin is `integral` >= 0; the last edge beyond the table."""
        flat = np.minimum(np.asarray(integral, dtype=np.float64).reshape(-1), self.total[-1])
        cell = np.clip(np.searchsorted(self.total, flat, side="right") - 1, 0, max(self.edges.size - 2, 0))
        low, high = self.keys[cell], self.keys[np.minimum(cell + 1, self.keys.size - 1)]
        excess = flat - self.total[cell]
        start = self._start(cell, excess, low, high)

        def residual(key: Array, index: Index) -> tuple[Array, Array]:
            h = self.side * key
            value = self.side * _quadrature(self.integrand, self.edges[cell[index]], h) - excess[index]
            return value, self.integrand(h)

        with np.errstate(all="ignore"):
            # Slopes change over a cell, and near the double zero of Pi over the distance from it.
            key = solve_increasing(residual, low, high, start, np.minimum(high - low, start - self.keys[0]))
        key = np.where(excess <= 0.0, low, key)
        return (self.side * key).reshape(np.shape(integral))

    def _start(self, cell: Index, excess: Array, low: Array, high: Array) -> Array:
        """Interpolate the inverse by a cubic; by square roots where that fails, as at the double zero of Pi."""
        following = np.minimum(cell + 1, self.total.size - 1)
        below, above = self.total[cell], self.total[following]
        with np.errstate(all="ignore"):
            slopes = (above - below) / self.density[cell], (above - below) / self.density[following]
            cubic = hermite(low, high, *slopes, excess / (above - below))
            root = low + (np.sqrt(below + excess) - np.sqrt(below)) / (np.sqrt(above) - np.sqrt(below)) * (high - low)
        start = np.where((cubic >= low) & (cubic <= high), cubic, root)
        return np.where((start >= low) & (start <= high), start, low)


def _edges(origin: float, end: float) -> Array:
    """Return the first edges of the cells from `origin` to `end`."""
    side = 1.0 if end > origin else -1.0
    if np.isfinite(end):
        width = abs(end - origin)
        uniform = int(np.ceil(max(width - 0.25, 0.0) / _CELL))
        first = min(width, 0.25) if uniform else width
        closest = 8.0 * np.spacing(max(abs(end), width))
        halvings = max(int(np.floor(np.log2(first / closest))), 1)
        near = first * 0.5 ** np.arange(halvings + 1)
        far = np.linspace(width, first, uniform + 1)[:-1] if uniform else np.empty(0)
        edges = end - side * np.concatenate([far, near])
    else:
        uniform_part = np.arange(0.0, _UNIFORM_REACH + _CELL, _CELL)
        distant = np.geomspace(uniform_part[-1], 1e300, 1700)[1:]
        edges = origin + side * np.concatenate([uniform_part, distant])
    edges[0] = origin
    return edges


def _refine(integrand: Function, edges: Array) -> Array:
    """Halve the cells whose quadrature disagrees with that of their halves, unless they are so small as to be noise."""
    for _ in range(8):
        left, right = edges[:-1], edges[1:]
        middle = 0.5 * (left + right)
        whole = _quadrature(integrand, left, right)
        halves = _quadrature(integrand, left, middle) + _quadrature(integrand, middle, right)
        wrong = np.abs(whole - halves) > _TOLERANCE * np.abs(halves)
        bad = wrong & np.isfinite(halves) & (np.abs(right - left) > 1e-5)
        if not bad.any():
            break
        edges = np.insert(edges, 1 + np.flatnonzero(bad), middle[bad])
    return edges


class IntervalTables:
    """Phi and Pi on one interval between consecutive zeros of phi' (or infinity).

    Phi is zero at `origin`: the zero of phi when there is one in [-3, 3], else 0 on the whole line, the midpoint of a
    bounded interval, one unit inside a half-line.
    Pi is zero at the zero of phi when the interval has one, else at `origin` (theory §7.5).
    """

    def __init__(self, phi: Function, dphi: Function, lower: float, upper: float) -> None:
        self.lower, self.upper = lower, upper
        self.zero = zero_between(phi, lower, upper)
        if self.zero is not None and abs(self.zero) <= _CENTRAL:
            self.origin = self.zero
        elif np.isfinite(lower) and np.isfinite(upper):
            self.origin = 0.5 * (lower + upper)
        elif np.isfinite(lower) or np.isfinite(upper):
            self.origin = lower + 1.0 if np.isfinite(lower) else upper - 1.0
        else:
            self.origin = 0.0
        self.slope = float(np.sign(dphi(np.array([self.origin]))[0]))
        self.ratio_origin = self.origin if self.zero is None else self.zero
        self.ratio_sign = self.slope * float(np.sign(phi(np.array([self.origin]))[0]))
        self._phi, self._dphi = phi, dphi

    def _halves(self, integrand: Function, origin: float) -> tuple[HalfTable, HalfTable]:
        return HalfTable(integrand, origin, self.lower), HalfTable(integrand, origin, self.upper)

    @cached_property
    def primitive_tables(self) -> tuple[HalfTable, HalfTable]:
        """Return the tables of 1/|phi'| left and right of the origin."""
        return self._halves(lambda h: 1.0 / np.abs(self._dphi(h)), self.origin)

    @cached_property
    def ratio_tables(self) -> tuple[HalfTable, HalfTable]:
        """Return the tables of |phi/phi'| left and right of the origin of Pi."""
        return self._halves(lambda h: np.abs(self._phi(h) / self._dphi(h)), self.ratio_origin)

    def primitive(self, h: Array) -> Array:
        """Return Phi at h inside the interval."""
        left, right = self.primitive_tables
        return self.slope * _signed(h >= self.origin, right.value, left.value, h)

    def primitive_inverse(self, c: Array) -> Array:
        """Return the h of the interval with Phi(h) = c."""
        left, right = self.primitive_tables
        return piecewise(self.slope * c >= 0.0, right.inverse, left.inverse, np.abs(c))

    def ratio_primitive(self, h: Array) -> Array:
        """Return Pi at h inside the interval."""
        left, right = self.ratio_tables
        if self.zero is not None:
            return piecewise(h >= self.ratio_origin, right.value, left.value, h)
        return self.ratio_sign * _signed(h >= self.ratio_origin, right.value, left.value, h)

    def nearest_to_zero(self, h0: Array, level: Array) -> Array:
        """Return the h with Pi(h) = level on the side of h0, moved 4 last places towards smaller |phi|; NaN if none."""
        left, right = self.ratio_tables
        if self.zero is not None:
            side = np.where(h0 >= self.zero, 1.0, -1.0)
            h = piecewise(side > 0.0, right.inverse, left.inverse, np.maximum(level, 0.0))
            h = h - side * 4.0 * np.spacing(np.abs(h))
            return np.where((level > 0.0) & (side * (h - self.zero) > 0.0), h, np.nan)
        signed = self.ratio_sign * level
        h = piecewise(signed >= 0.0, right.inverse, left.inverse, np.abs(signed))
        deepest = -(left if self.ratio_sign > 0.0 else right).total[-1]
        h = h - self.ratio_sign * 4.0 * np.spacing(np.abs(h))
        return np.where((level > deepest) & (h > self.lower) & (h < self.upper), h, np.nan)


def _signed(right_side: Mask, right: Function, left: Function, h: Array) -> Array:
    """Return the integral from the origin with its sign: positive on the right, negative on the left."""
    return np.where(right_side, 1.0, -1.0) * piecewise(right_side, right, left, h)
