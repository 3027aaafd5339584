"""Constants of an activation of which only phi and phi' are known: maxima, zeros of phi', limits at infinity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mc.errors import InputError
from mc.model.arrays import Array

Function = Callable[[Array], Array]

WINDOW = 40.0
"""Half-width of the window that is searched; a N(0, 1) pre-activation leaves it with probability 1e-350."""
_GRID: Array = np.linspace(-WINDOW, WINDOW, 16001)
_TAIL = np.concatenate([-np.geomspace(1e4, WINDOW, 200), np.geomspace(WINDOW, 1e4, 200)])
_FAR = np.geomspace(1e4, 1e300, 300)
_GOLDEN = 0.6180339887498949
_DIFFERENCE = 1e-4


def moment(phi: Function) -> float:
    """Return sqrt(E phi(g)^2), g ~ N(0, 1), by the trapezoidal rule on [-40, 40] with step 0.02 (theory §1)."""
    g: Array = np.arange(-2000.0, 2001.0) * 0.02
    density: Array = np.exp(-0.5 * g * g) * (0.02 / np.sqrt(2.0 * np.pi))
    return float(np.sqrt(np.sum(density * phi(g) ** 2)))


def maximum(function: Function, name: str) -> float:
    """Return the maximum of |function| over the real line, rounded up by 1e-9 of itself; `name` is for messages.

    Features of the function are assumed wider than the grid step 0.005 and inside [-40, 40]; the tails are only
    sampled. Raises InputError where the function is larger in the tail, up to |h| = 1e4, than in the window, or not
    finite.
    """
    with np.errstate(all="ignore"):
        inside, tail = np.abs(function(_GRID)), np.abs(function(_TAIL))
        if not np.isfinite(inside).all():
            raise InputError(f"{name} is not finite on [-40, 40]: give a function that is, or the constants themselves")
        top = float(inside.max())
        peaks = np.flatnonzero(inside >= 0.99 * top)
        peaks = peaks[np.argsort(inside[peaks])[-64:]]
        best = _golden(lambda h: np.abs(function(h)), _GRID[peaks] - 0.005, _GRID[peaks] + 0.005)[1]
    top = max(top, float(best.max()))
    if not float(np.nanmax(tail)) <= top * (1.0 + 1e-6):
        raise InputError(f"{name} looks unbounded (larger beyond |h| = 40): the theorem's constants do not exist")
    return float(np.nextafter(top * (1.0 + 1e-9), np.inf)) if top > 0.0 else 0.0


def _golden(function: Function, left: Array, right: Array) -> tuple[Array, Array]:
    """Return places and values of maxima by golden sections of many brackets; 40 rounds shrink 0.01 to 4e-11."""
    best = np.maximum(function(left), function(right))
    for _ in range(40):
        width = _GOLDEN * (right - left)
        a, b = right - width, left + width
        value_a, value_b = function(a), function(b)
        best = np.maximum(best, np.maximum(value_a, value_b))
        left, right = np.where(value_a < value_b, a, left), np.where(value_a < value_b, right, b)
    return 0.5 * (left + right), best


def lipschitz(dphi: Function, name: str) -> float:
    """Return the Lipschitz constant of phi', rounded up by 1e-6 of itself; 0 when phi' does not vary at all.

    The larger of two lower estimates: central differences of step 1e-4 refined at their maxima (short by 2e-9 where
    phi' is smooth), and the steepest steps of the grid halved down to 3e-7 (short by 2e-7 beside a kink of phi').
    Raises InputError where the quotients keep growing as the step shrinks: phi' jumps or has a vertical tangent.
    """
    steepest = _steepest_quotient(dphi, name)
    step = _DIFFERENCE
    central = maximum(lambda h: (dphi(h + step) - dphi(h - step)) / (2.0 * step), f"the slope of {name}")
    return max(steepest, central) * (1.0 + 1e-6)


def _steepest_quotient(dphi: Function, name: str) -> float:
    """Halve the steepest steps of the grid, keeping the steeper half: quotients settle where phi' is Lipschitz."""
    values = dphi(_GRID)
    steepest = np.argsort(np.abs(np.diff(values)))[-64:]
    left, right = _GRID[steepest], _GRID[steepest + 1]
    quotients = []
    for _ in range(14):
        middle = 0.5 * (left + right)
        low, centre, high = dphi(left), dphi(middle), dphi(right)
        rising = np.abs(centre - low) >= np.abs(high - centre)
        left, right = np.where(rising, left, middle), np.where(rising, middle, right)
        quotients.append(float(np.max(np.abs(dphi(right) - dphi(left)) / (right - left))))
    if quotients[-1] > 1.5 * quotients[6] + 1e-6 * float(np.abs(values).max()):
        raise InputError(f"{name} is not Lipschitz, so the theorem's constants do not exist: use a smooth activation")
    return quotients[-1]


def critical_points(dphi: Function, name: str) -> Array:
    """Return the zeros of phi' in [-40, 40], ascending: sign changes, and touching zeros at isolated minima of |phi'|.

    Zeros are assumed more than 0.005 apart. Exact zeros up to the end of the window are underflow. Raises InputError
    where phi' is zero on an interval without having decayed towards it (as that of a squared rectifier is).
    """
    with np.errstate(all="ignore"):
        values = dphi(_GRID)
        flat = (values[:-1] == 0.0) & (values[1:] == 0.0)
        beside = np.abs(values[:-2][flat[1:]]).max(initial=0.0), np.abs(values[2:][flat[:-1]]).max(initial=0.0)
        if max(beside) > 1e-12 * np.abs(values).max():
            raise InputError(f"{name} is zero on an interval: use an activation without flat parts")
        change = np.flatnonzero((values[:-1] * values[1:] < 0.0) | ((values[:-1] == 0.0) & (values[1:] != 0.0)))
        change = change[(values[change] != 0.0) | (np.abs(values[np.maximum(change - 1, 0)]) > 0.0)]
        left, right = _bisect(dphi, _GRID[change], _GRID[change + 1], rounds=60)
        crossing = np.where(dphi(_GRID[change]) == 0.0, left, right)
        size = np.abs(values)
        low = 1 + np.flatnonzero((size[1:-1] < size[:-2]) & (size[1:-1] <= size[2:]) & (size[1:-1] > 0.0))
        touching = _touching(dphi, _GRID[low], float(size.max()))
    zeros = np.sort(np.concatenate([crossing, touching]))
    return zeros[np.append(True, np.diff(zeros) > 1e-7)] if zeros.size else zeros


def _touching(dphi: Function, centre: Array, scale: float) -> Array:
    """Return the places near `centre` where |phi'| falls to zero without a change of sign."""
    middle, _ = _golden(lambda h: -np.abs(dphi(h)), centre - 0.005, centre + 0.005)
    same_sign = dphi(centre - 0.005) * dphi(centre + 0.005) > 0.0
    return middle[same_sign & (np.abs(dphi(middle)) <= 1e-13 * scale)]


def _bisect(function: Function, left: Array, right: Array, rounds: int) -> tuple[Array, Array]:
    """Halve brackets around changes of sign."""
    sign = np.sign(function(left))
    for _ in range(rounds):
        middle = 0.5 * (left + right)
        before = np.sign(function(middle)) == sign
        left, right = np.where(before, middle, left), np.where(before, right, middle)
    return left, right


def zero_between(function: Function, lower: float, upper: float) -> float | None:
    """Return the zero of a function monotone on (lower, upper), each end possibly infinite; None if it has none."""
    ends = np.array([max(lower, -1e6)]), np.array([min(upper, 1e6)])
    with np.errstate(all="ignore"):
        if not function(ends[0])[0] * function(ends[1])[0] < 0.0:
            return None
        if function(np.zeros(1))[0] == 0.0 and lower < 0.0 < upper:
            return 0.0  # bisection would stop beside it
        left, right = _bisect(function, *ends, rounds=1200)  # down to neighbouring numbers, also next to 0
        return float(left[0] if abs(function(left)[0]) < abs(function(right)[0]) else right[0])


def limit(phi: Function, side: int) -> float:
    """Return phi(+inf) or phi(-inf), sampled to 1e300: infinite when |phi| still grows by over 1e-3 beyond 1e100."""
    with np.errstate(all="ignore"):
        values = phi(side * _FAR)
    third = _FAR.size // 3
    finite = np.where(np.isfinite(values), np.abs(values), np.inf)
    if finite[2 * third :].max() > 1.001 * finite[:third].max() + 1e-3:
        return float(np.copysign(np.inf, values[0]))
    return float(values[-1])


def largest_value(phi: Function) -> float:
    """Return sup |phi|, rounded up by 1e-9 of itself; inf when a limit is."""
    if not np.isfinite([limit(phi, 1), limit(phi, -1)]).all():
        return np.inf
    with np.errstate(all="ignore"):
        everywhere = np.abs(phi(np.concatenate([_GRID, _TAIL, _FAR, -_FAR])))
        inside = everywhere[: _GRID.size]
        peaks = _GRID[np.argsort(inside)[-64:]]
        best = _golden(lambda h: np.abs(phi(h)), peaks - 0.005, peaks + 0.005)[1]
    top = max(float(everywhere.max()), float(best.max()))
    return float(np.nextafter(top * (1.0 + 1e-9), np.inf))
