"""Moves of a block of neurons that keep their law: autoregressive, or a fresh draw at correlation 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

from mc.model.arrays import Array
from mc.model.draws import OutputLaw

if TYPE_CHECKING:
    from numpy.random import Generator


ROOT_3 = float(np.sqrt(3.0))
LAST = 1.0 - 2.0**-53
"""Largest number below 1: its normal quantile is finite."""


def normals(rngs: Sequence[Generator], rows: int, columns: int) -> Array:
    """Draw standard normals (repetitions * rows, columns), each repetition from its own stream."""
    out = np.empty((len(rngs), rows, columns))
    for rng, part in zip(rngs, out, strict=True):
        rng.standard_normal(out=part)
    return out.reshape(len(rngs) * rows, columns)


def outputs(rngs: Sequence[Generator], law: OutputLaw, rows: int, n: int, columns: int) -> Array:
    """Draw output weights (repetitions * rows, n, columns), each repetition from its own stream."""
    out = np.empty((len(rngs), rows * n, columns))
    for rng, part in zip(rngs, out, strict=True):
        law.draw(rng, part)
    return out.reshape(len(rngs) * rows, n, columns)


def _walk(old: Array, correlation: float, rngs: Sequence[Generator]) -> Array:
    """Make the preconditioned Crank-Nicolson move, which keeps the normal law."""
    xi = normals(rngs, old.size // old.shape[-1] // len(rngs), old.shape[-1]).reshape(old.shape)
    return np.asarray(correlation * old + np.sqrt(1.0 - correlation**2) * xi)


def _walk_uniform(old: Array, correlation: float, rngs: Sequence[Generator]) -> Array:
    """Apply `_walk` to the normal variable behind a uniform one."""
    share = np.clip(old / (2.0 * ROOT_3) + 0.5, 1.0 - LAST, LAST)
    return np.asarray((2.0 * ndtr(_walk(ndtri(share), correlation, rngs)) - 1.0) * ROOT_3)


def _flip(old: Array, correlation: float, rngs: Sequence[Generator]) -> Array:
    """Flip each sign independently with probability (1 - correlation)/2."""
    uniform = np.empty((len(rngs), old.size // len(rngs)))
    for rng, part in zip(rngs, uniform, strict=True):
        rng.random(out=part)
    return np.where(uniform.reshape(old.shape) < 0.5 * (1.0 - correlation), -old, old)


_WALKS: dict[str, Callable[[Array, float, Sequence[Generator]], Array]] = {
    "uniform": _walk_uniform,
    "gaussian": _walk,
    "rademacher": _flip,
}


def propose(rngs: Sequence[Generator], law: OutputLaw, h: Array, V: Array, correlation: float) -> tuple[Array, Array]:
    """Propose new neurons h (P, b), V (P, n, b) for old ones, reversible with respect to their law.

    P is repetitions times particles; b is 0 for h where the margin does not depend on it. ``correlation`` in [0, 1) is
    that of the normal variables behind old and new entries; 0 is a fresh draw. A law without normal variables draws
    each entry again with probability 1 - correlation.
    """
    rows, n, b = V.shape
    each = rows // len(rngs)
    if correlation == 0.0:
        return normals(rngs, each, h.shape[1]), outputs(rngs, law, each, n, b)
    new_h = _walk(h, correlation, rngs) if h.size else h
    if law.name in _WALKS:
        return new_h, _WALKS[law.name](V, correlation, rngs)
    fresh = outputs(rngs, law, each, n, b)
    chosen = np.empty((len(rngs), each, n, b))
    for rng, part in zip(rngs, chosen, strict=True):
        rng.random(out=part)
    return new_h, np.where(chosen.reshape(V.shape) < 1.0 - correlation, fresh, V)
