"""Special functions of a real argument: Wright omega, the root of h + sinh h; cubic interpolation and root finding."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mc.model.arrays import Array, Index, Mask, as_float

Function = Callable[[Array], Array]
Residual = Callable[[Array, Index], tuple[Array, Array]]

_CHUNK = 16384
_OMEGA_LOW, _OMEGA_HIGH, _OMEGA_SCALE = -36.0, 60.0, 2048.0
_OMEGA_ASYMPTOTIC = 1e8
_SINH_REACH, _SINH_SCALE = 128.0, 512.0
_SIGMOID_SCALE = 1024.0


def _in_chunks(kernel: Callable[[Array, Array], None], x: ArrayLike) -> Array:
    """Let kernel(x, out) fill an array of the shape of x in pieces whose temporaries fit the cache."""
    x = as_float(x)
    flat = x.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        kernel(flat[part], out[part])
    return out.reshape(x.shape)


def wright_omega(x: ArrayLike) -> Array:
    """Return Wright omega elementwise: the root omega > 0 of omega + log(omega) = x, to a few units in the last place.

    At an x_j with omega_j known, omega_j + log(omega_j) - x is x_j - x, so one step of Fritsch, Shafer and Crowley
    (CACM 16, 1973; error of fourth order) from the nearest node of a table needs no logarithm.
    """
    return _in_chunks(_omega_chunk, x)


def _omega_chunk(x: Array, out: Array) -> None:
    least, most = x.min(), x.max()
    if least >= _OMEGA_LOW and most <= _OMEGA_HIGH:
        _omega_middle(x, out)
        return
    if most < _OMEGA_LOW:
        out[...] = _omega_low(x)
        return
    middle = (x >= _OMEGA_LOW) & (x <= _OMEGA_HIGH)
    _omega_middle(np.where(middle, x, 0.0), out)  # all, then mend: cheaper than gathering when few are outside
    high = np.flatnonzero(x > _OMEGA_HIGH)
    low = np.flatnonzero(~(middle | (x > _OMEGA_HIGH)))  # holds NaN too, which must come out as NaN
    out[low] = _omega_low(x[low])
    out[high] = _omega_high(x[high])


@cache
def _omega_table() -> Array:
    """Return omega at the nodes of the middle range, rounded from extended precision where the platform has it."""
    x = np.arange(_OMEGA_LOW * _OMEGA_SCALE, _OMEGA_HIGH * _OMEGA_SCALE + 1.0).astype(np.longdouble) / _OMEGA_SCALE
    u = np.exp(np.minimum(x, 1.0))
    omega = np.where(x < 1.0, u / (1.0 + u), x - np.log(np.maximum(x, 1.0)))
    # Far left log(omega) of the start is x - log1p(u), free of the cancellation in x - log(omega); one step is enough.
    omega = _fsc_step(omega, np.where(x < -4.0, np.log1p(u) - omega, x - omega - np.log(omega)))
    right = x >= -4.0
    for _ in range(2):
        omega[right] = _fsc_step(omega[right], x[right] - omega[right] - np.log(omega[right]))
    return np.asarray(omega, dtype=np.float64)


def _fsc_step(omega: Any, residual: Any) -> Any:
    """Return omega after one Fritsch-Shafer-Crowley step, residual = x - omega - log(omega)."""
    one_more = 1.0 + omega
    target = one_more * (one_more + residual * (2.0 / 3.0)) - residual
    return omega + omega * residual / one_more * (1.0 + 0.5 * residual / target)


def _omega_middle(x: Array, out: Array) -> None:
    """Fill `out` by the table and one step, in place: the hot path of the conserved certificate; out may be x."""
    node = x * _OMEGA_SCALE
    np.rint(node, out=node)
    index = node.astype(np.intp)
    index -= int(_OMEGA_LOW * _OMEGA_SCALE)
    omega = np.take(_omega_table(), index, mode="clip")
    np.multiply(node, 1.0 / _OMEGA_SCALE, out=node)
    residual = np.subtract(x, node, out=node)
    one_more = omega + 1.0
    target = residual * (2.0 / 3.0)
    target += one_more
    target *= one_more
    target -= residual
    np.divide(residual, target, out=target)
    target *= 0.5
    target += 1.0
    residual *= target
    residual /= one_more
    residual *= omega
    np.add(omega, residual, out=out)


def _omega_low(x: Array) -> Array:
    """Return omega for x < -36: u/(1 + u) with u = exp(x), exact to u^2 < 1e-31."""
    u = np.exp(x)
    u /= 1.0 + u
    return u


def _omega_high(x: Array) -> Array:
    log_x = np.log(x)
    start = x - log_x + log_x / x
    bounded = np.minimum(start, _OMEGA_ASYMPTOTIC)  # the step squares its argument
    near = np.minimum(x, _OMEGA_ASYMPTOTIC)
    return np.where(x < _OMEGA_ASYMPTOTIC, _fsc_step(bounded, near - bounded - np.log(bounded)), start)


def double_sinh_inverse(c: ArrayLike) -> Array:
    """Return the root h of 2 h + 2 sinh h = c, c finite: the inverse primitive of the sigmoid (theory §3.3).

    As dh/dc = phi'(h) <= 1/4 and the nearest singularity is at c = 2 pi i, four Taylor terms from the nearest of
    nodes 1/512 apart are exact to rounding; beyond |c| = 128, Newton on h = asinh(c/2 - h), which cannot overflow.
    """
    return _in_chunks(_sinh_chunk, c)


def _sinh_chunk(c: Array, out: Array) -> None:
    if max(c.max(), -c.min()) <= _SINH_REACH:
        _sinh_middle(c, out)
        return
    middle = np.abs(c) <= _SINH_REACH
    _sinh_middle(np.where(middle, c, 0.0), out)
    far = np.flatnonzero(~middle)
    out[far] = np.copysign(_sinh_far(np.abs(c[far])), c[far])


@cache
def _sinh_table() -> tuple[Array, Array]:
    """Return h and T = tanh(h/2) at the nodes of c in [-128, 128]."""
    half = np.arange(_SINH_REACH * _SINH_SCALE + 1.0).astype(np.longdouble) / (2.0 * _SINH_SCALE)
    h = np.arcsinh(half)
    for _ in range(8):
        h -= (h - np.arcsinh(half - h)) / (1.0 + 1.0 / np.hypot(1.0, half - h))
    h = np.concatenate([-h[:0:-1], h])
    return h.astype(np.float64), np.tanh(h / 2.0).astype(np.float64)


def _sinh_middle(c: Array, out: Array) -> None:
    """Fill `out` by Taylor to fourth order in q = phi'(h_j)(c - c_j), phi' = (1 - T^2)/4 and phi'' = -T phi'."""
    node = c * _SINH_SCALE
    np.rint(node, out=node)
    index = node.astype(np.intp)
    index += int(_SINH_REACH * _SINH_SCALE)
    table_h, table_t = _sinh_table()
    h, t = np.take(table_h, index, mode="clip"), np.take(table_t, index, mode="clip")
    np.multiply(node, 1.0 / _SINH_SCALE, out=node)
    q = np.subtract(c, node, out=node)
    square = t * t
    slope = 1.0 - square
    slope *= 0.25
    q *= slope
    square *= 5.0 / 12.0
    fourth = np.subtract(2.0 / 12.0, square, out=slope)  # T (2 - 5 T^2)/12
    fourth *= t
    fourth *= q
    fourth += square
    fourth -= 1.0 / 12.0  # (5 T^2 - 1)/12
    fourth *= q
    t *= 0.5
    fourth -= t
    fourth *= q
    fourth *= q
    fourth += q
    np.add(h, fourth, out=out)


def double_sinh_sigmoid(c: ArrayLike) -> Array:
    """Return 1/(1 + exp(-h)) at the root h of 2 h + 2 sinh h = c, without h, to a few 1e-16 (c finite).

    z' = p^2 with p = z (1 - z), so that z(c_j + d) = z + p q (1 + q (1 - 2 z + q (1 - 14 p/3))), q = p d, and the next
    term is below q^4/16 < 2e-17 for nodes 1/1024 apart.
    """
    return _in_chunks(_sigmoid_chunk, c)


def _sigmoid_chunk(c: Array, out: Array) -> None:
    if max(c.max(), -c.min()) <= _SINH_REACH:
        _sigmoid_middle(c, out)
        return
    _sigmoid_middle(np.clip(c, -_SINH_REACH, _SINH_REACH), out)
    far = np.flatnonzero(~(np.abs(c) <= _SINH_REACH))
    out[far] = 0.5 + 0.5 * np.tanh(0.5 * double_sinh_inverse(c[far]))


@cache
def _sigmoid_table() -> Array:
    """Return the sigmoid at the nodes of c in [-128, 128]."""
    nodes = np.arange(-_SINH_REACH * _SIGMOID_SCALE, _SINH_REACH * _SIGMOID_SCALE + 1.0) / _SIGMOID_SCALE
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * double_sinh_inverse(nodes)))


def _sigmoid_middle(c: Array, out: Array) -> None:
    """Fill `out` by the expansion of `double_sinh_sigmoid`, in place: the hot path of the flow of the hidden layer."""
    q = c * _SIGMOID_SCALE
    node = np.rint(q)
    q -= node
    index = node.astype(np.intp)
    index += int(_SINH_REACH * _SIGMOID_SCALE)
    z = np.take(_sigmoid_table(), index, mode="clip")
    p = np.subtract(1.0, z, out=node)
    p *= z
    q *= p
    q *= 1.0 / _SIGMOID_SCALE
    series = p * (-14.0 / 3.0)
    series += 1.0
    series *= q
    series -= z
    series -= z
    series += 1.0
    series *= q
    series += 1.0
    series *= q
    series *= p
    np.add(z, series, out=out)


def _sinh_far(c: Array) -> Array:
    half = 0.5 * c
    h = np.arcsinh(half - np.arcsinh(half))
    for _ in range(3):
        remainder = half - h
        h = h - (h - np.arcsinh(remainder)) / (1.0 + 1.0 / np.hypot(1.0, remainder))
    return h


def piecewise(first: Mask, when_true: Function, when_false: Function, x: Array) -> Array:
    """Return when_true(x) where `first` holds, else when_false(x), each called on its own elements only (flattened)."""
    if first.all():
        return when_true(x)
    if not first.any():
        return when_false(x)
    out = np.empty_like(x)
    out[first] = when_true(x[first])
    out[~first] = when_false(x[~first])
    return out


def hermite(low: Array, high: Array, slope_low: Array, slope_high: Array, part: Array) -> Array:
    """Return the cubic through two values with two slopes, at the fraction `part` of a cell of unit length."""
    other = 1.0 - part
    cubic = low * other * other * (1.0 + 2.0 * part) + high * part * part * (1.0 + 2.0 * other)
    cubic += part * other * (slope_low * other - slope_high * part)
    return cubic


def solve_increasing(
    residual: Residual, lower: ArrayLike, upper: ArrayLike, start: ArrayLike, scale: ArrayLike, *, iterations: int = 200
) -> Array:
    """Return elementwise roots of increasing functions: Newton, bisection where Newton leaves the bracket.

    `residual(x, index)` returns value and slope at `x` of the functions numbered `index` (flat positions), the
    unfinished ones only. `lower`, `upper` (finite) and `start` broadcast; a root outside the bracket gives the nearer
    end. `scale` is the length over which the slope changes by a factor of order 1: a Newton step below 1e-8 of it is
    the last one, because it leaves an error of its square. Bisection alone needs about 60 of the `iterations`.
    """
    arrays = (np.array(v, dtype=np.float64) for v in np.broadcast_arrays(lower, upper, start, scale))
    low, high, x, last = (v.reshape(-1) for v in arrays)
    np.clip(x, low, high, out=x)
    active = np.arange(x.size)
    for _ in range(iterations):
        here = x[active]
        value, slope = residual(here, active)
        left = np.where(value <= 0.0, here, low[active])
        right = np.where(value >= 0.0, here, high[active])
        low[active], high[active] = left, right
        with np.errstate(all="ignore"):
            new = here - value / slope
        newton = (new >= left) & (new <= right)
        new = np.where(newton, new, left + 0.5 * (right - left))
        x[active] = new
        small = newton & (np.abs(new - here) <= 1e-8 * last[active])
        active = active[~(small | (right - left <= 2.0 * np.spacing(np.abs(here))))]
        if active.size == 0:
            break
    return x.reshape(np.broadcast_shapes(*(np.shape(v) for v in (lower, upper, start, scale))))
