"""P_theory(k), the best probability that the events of theory §7.1-3 certify R' < R, and k_theory(delta).

For given delta_2, eta and delta_4 the largest psi(L_0) that R' < R allows is explicit, and with it the smallest
delta_3: the search runs over those three, or those of them that are used. Every point it visits is a certificate:
an imperfect search would lose probability, never overstate it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.model.arrays import Array, IntArray, Mask
from mc.theory.constants import (
    Setting,
    activation_norm_lower,
    activation_norm_upper,
    check_names,
    chernoff_rate,
    largest_psi,
    lipschitz,
)

WIDTH_LIMIT = 10**18  # k_theory beyond it is reported as none

MARGIN = 1e-13  # psi(L_0) stays this much below what R' < R allows, relatively, so that it survives rounding
CHUNK = 64  # widths searched at once: bounds the memory of the grid
STEP_END = 1e-7  # resolution of the coordinates: the sum of deltas is flat to second order at its minimum
EXPONENT_END = 690.0  # deltas stay above 1e-300: delta = 0 would stand for no event

# coordinates: log u, log w, log t of `_certificate`; a delta between 0.98 and 1e-300
LOG_U = np.linspace(math.log(0.15), 0.5 * math.log(EXPONENT_END), 11)
LOG_W = np.linspace(math.log(0.3), math.log(200.0), 13)
STENCIL = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])


class Parameters(NamedTuple):
    """The parameters that certify P_theory at one width; deltas of unused events are 0."""

    events: tuple[int, ...]  # empty where the bound is vacuous
    eta: float
    deltas: tuple[float, float, float, float]


def failure(setting: Setting, mode: str, form: str, k: ArrayLike) -> Array:
    """Return 1 - P_theory(k), the sum of the deltas used, in (0, 1]; 1 where the bound is vacuous (theory §7).

    `k` holds widths of at least 1, in any shape. Raises InputError for a width below 1, an unknown mode or form.
    """
    widths = _widths(k)
    unique, inverse = np.unique(widths, return_inverse=True)
    value = _optimum(setting, mode, form, unique)[0]
    # the certificate of a width is one of every larger width, with smaller deltas: correct the last digits
    return np.asarray(np.minimum.accumulate(value)[inverse].reshape(widths.shape))


def p_theory(setting: Setting, mode: str, form: str, k: ArrayLike) -> Array:
    """Return a lower bound on P(R' < R), non-decreasing in k; 0 means vacuous (theory §7). See `failure`."""
    return np.asarray(1.0 - failure(setting, mode, form, k))


def k_theory(setting: Setting, mode: str, form: str, delta: float) -> int | float:
    """Return the smallest width with P_theory >= 1 - delta; infinite where none up to 1e18 has it (theory §7).

    Raises InputError for a delta outside (0, 1), an unknown mode or form.
    """
    check_names(mode, form)
    if not 0.0 < delta < 1.0:
        raise InputError(f"delta = {delta!r} must be above 0 and below 1")

    def meets(widths: list[int]) -> Mask:
        value = _optimum(setting, mode, form, np.array(widths, dtype=np.float64))[0]
        return np.asarray(1.0 - value >= 1.0 - delta)

    below, above, inside = 0, 0, [*(2**j for j in range(60)), WIDTH_LIMIT]
    while inside:
        sufficient = np.flatnonzero(meets(inside))
        if above == 0 and sufficient.size == 0:
            return math.inf
        first = int(sufficient[0]) if sufficient.size else len(inside)
        edges = [below, *inside, above]
        below, above = edges[first], edges[first + 1]
        inside = sorted({below + (above - below) * j // 17 for j in range(1, 17)} - {below, above})
    return _settle(lambda width: bool(meets([width])[0]), below, above)


def _settle(meets: Callable[[int], bool], below: int, above: int) -> int:
    """Return the smallest width that meets the bound, searched width by width next to a bracket of the batches."""
    step = 1
    while above < WIDTH_LIMIT and not meets(above):
        below, above, step = above, min(above + step, WIDTH_LIMIT), 2 * step
    while below > 0 and meets(below):
        below, above, step = max(below - step, 0), below, 2 * step
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if meets(middle) else (middle, above)
    return above


def certifying_parameters(setting: Setting, mode: str, form: str, k: int) -> Parameters:
    """Return the events, eta and deltas behind P_theory at one width, so that the bound can be checked directly.

    A constant Jacobian (identity, `hidden`, `trial`) needs event 1 alone, at eta = 1: sigma_0 > 0 suffices.
    """
    width = _widths(k).reshape(1)
    value, which, point = (x[0] for x in _optimum(setting, mode, form, width))
    if value >= 1.0:
        return Parameters((), math.nan, (math.nan,) * 4)
    events = _event_sets(setting, mode, form)[which]
    eta, *deltas = (float(np.squeeze(x)) for x in _certificate(setting, mode, form, width, events, point))
    return Parameters(events, eta, (deltas[0], deltas[1], deltas[2], deltas[3]))


def _widths(k: ArrayLike) -> Array:
    """Return the widths as floats; raise InputError for a width below 1."""
    widths = np.asarray(k, dtype=np.float64)
    if not np.all((widths >= 1) & np.isfinite(widths)):
        raise InputError(f"width k = {k!r} must be at least 1 and finite")
    return widths


def _event_sets(setting: Setting, mode: str, form: str) -> tuple[tuple[int, ...], ...]:
    """Return the sets of events that can certify R' < R; a bounded phi does not need event 2."""
    if float(lipschitz(setting, mode, form, 1.0, 1.0)) == 0.0:
        return ((1,),)
    full: tuple[tuple[int, ...], ...] = ((1, 2, 3),)
    if mode == "both":
        full = ((1, 2, 3), (2, 3, 4), (1, 2, 3, 4))
    if math.isinf(setting.activation.sup_phi):
        return full
    return full + tuple(tuple(event for event in events if event != 2) for events in full)


def _certificate(
    setting: Setting, mode: str, form: str, k: Array, events: tuple[int, ...], point: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Return (eta, delta_1, ..., delta_4) at points of the search, whose last axis holds log u, log w, log t.

    delta_2 = exp(-u^2), delta_4 = exp(-t^2); eta = 1 - exp(-w/sqrt(c/2)), c the Chernoff exponent at eta = 1, so
    that delta_1 is near n exp(-w^2) at small eta and 1 - eta is positive. Where R' < R cannot hold, delta_3 is at
    least 1 and grows with the distance to feasibility, to guide the search.
    """
    activation, none = setting.activation, np.zeros(1)
    scale = (activation.moment_dphi / (activation.sup_dphi * setting.entry_bound)) ** 2 / setting.n * k
    if 3 not in events:  # constant Jacobian: the limit eta -> 1, where sigma_0 > 0 is all that is needed
        return np.ones(1), setting.n * np.exp(-scale), none, none, none
    moment, sup = activation.moment_phi, activation.sup_dphi
    eta, delta_1, delta_2, delta_4, sigma_square = np.full(1, math.nan), none, none, none, none
    if 2 in events:
        delta_2 = np.exp(-np.exp(2.0 * point[..., 0]))
        upper = activation_norm_upper(k, delta_2, moment_phi=moment, sup_dphi=sup)
    else:
        upper = np.full(1, activation.sup_phi)
    if 1 in events:
        decay = np.exp(point[..., 1]) / np.sqrt(0.5 * scale)
        eta = -np.expm1(-decay)
        delta_1 = setting.n * np.exp(-chernoff_rate(eta) * scale)
        sigma_square = (1.0 - eta) * activation.moment_dphi**2  # of the rounded eta, which is what is reported
    if 4 in events:
        delta_4 = np.exp(-np.exp(2.0 * point[..., 2]))
        lower = activation_norm_lower(k, delta_4, moment_phi=moment, sup_dphi=sup)
        sigma_square = sigma_square + np.square(lower)
    psi = largest_psi(setting, mode, form, k, np.sqrt(sigma_square)) * (1.0 - MARGIN)
    return eta, delta_1, delta_2, _residual_failure(setting, upper, psi), delta_4


def _residual_failure(setting: Setting, activation_norm: Array, psi: Array) -> Array:
    """Return the smallest delta_3 at which the bound of psi(L_0) is `psi` (theory §7.3); above 1 where none is."""
    residual = np.maximum(setting.loss.psi_upper_inverse(psi, setting.m), 1e-300)
    factor = np.maximum(residual - setting.norm_y, 0.0) / activation_norm
    mean = setting.frobenius_A
    excess = np.maximum(factor - mean, 0.0)
    if setting.subgaussian:  # factor^2 = mean^2 + 2 cross x + 2 |A|^2 x^2 with x = sqrt(log 1/delta_3)
        cross, gain = setting.frobenius_AAT, excess * (factor + mean)
        root = gain / (cross + np.sqrt(cross**2 + 2.0 * setting.norm_A**2 * gain))
    else:
        root = excess / (2.0 * math.sqrt(2.0) * setting.entry_bound * setting.norm_A)
    short = (mean * activation_norm + setting.norm_y) / residual
    return np.where(excess > 0.0, np.exp(-np.minimum(np.square(root), EXPONENT_END)), np.maximum(short, 1.0))


def _optimum(setting: Setting, mode: str, form: str, widths: Array) -> tuple[Array, IntArray, Array]:
    """Return (failure, index of the event set, point of the search) of each width on its own."""
    check_names(mode, form)
    value, which = np.ones(len(widths)), np.zeros(len(widths), dtype=np.int64)
    points = np.zeros((len(widths), 3))
    if math.isinf(setting.entry_bound):  # outside the theorem
        return value, which, points
    for index, events in enumerate(_event_sets(setting, mode, form)):
        for start in range(0, len(widths), CHUNK):
            part = slice(start, start + CHUNK)
            least, point = _minimise(setting, mode, form, widths[part], events)
            better = least < value[part]
            value[part] = np.where(better, least, value[part])
            which[part] = np.where(better, index, which[part])
            points[part] = np.where(better[:, np.newaxis], point, points[part])
    return value, which, points


def _minimise(setting: Setting, mode: str, form: str, widths: Array, events: tuple[int, ...]) -> tuple[Array, Array]:
    """Minimise the sum of deltas for one set of events per width: a grid, then moves on a shrinking stencil."""
    searched = np.array([event in events and 3 in events for event in (2, 1, 4)])
    axes = [axis if on else np.zeros(1) for axis, on in zip((LOG_U, LOG_W, LOG_U), searched, strict=True)]
    offsets = _product([STENCIL if on else np.zeros(1) for on in searched])

    def total(k: Array, points: Array) -> Array:
        parts = _certificate(setting, mode, form, k[:, np.newaxis], events, points)
        return np.broadcast_to(parts[1] + parts[2] + parts[3] + parts[4], (len(k), points.shape[-2]))

    grid, every = _product(axes), np.arange(len(widths))
    value = total(widths, grid[np.newaxis])
    best = np.argmin(value, axis=1)
    centre, value = grid[best], value[every, best]
    step = np.tile([axis[1] - axis[0] if len(axis) > 1 else 0.0 for axis in axes], (len(widths), 1))
    ceiling = np.where(searched, [LOG_U[-1], np.inf, LOG_U[-1]], 0.0)  # deltas above 1e-300
    while (moving := np.flatnonzero(step.max(axis=1) > STEP_END)).size:
        candidates = np.minimum(centre[moving, np.newaxis] + offsets * step[moving, np.newaxis], ceiling)
        values = total(widths[moving], candidates)
        best, rows = np.argmin(values, axis=1), every[: len(moving)]
        least = values[rows, best]
        better = least < value[moving]
        edge = better & (np.abs(offsets[best]).max(axis=1) == 1.0)
        centre[moving] = np.where(better[:, np.newaxis], candidates[rows, best], centre[moving])
        value[moving] = np.where(better, least, value[moving])
        step[moving] *= np.where(edge, 1.0, 0.5)[:, np.newaxis]
    return value, centre


def _product(axes: list[Array]) -> Array:
    """Return all combinations of the axes, one per row."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
