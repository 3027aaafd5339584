"""Moves of a block of neurons that leave their law as it is: autoregressive, or a fresh draw at correlation 0."""

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
"""Largest number below 1: the cdf of what rounds to it stays finite."""


def normals(rngs: Sequence[Generator], rows: int, columns: int) -> Array:
    """Standard normals (repetitions * rows, columns), each repetition from its own stream."""
    out = np.empty((len(rngs), rows, columns))
    for rng, part in zip(rngs, out, strict=True):
        rng.standard_normal(out=part)
    return out.reshape(len(rngs) * rows, columns)


def outputs(rngs: Sequence[Generator], law: OutputLaw, rows: int, n: int, columns: int) -> Array:
    """Output weights (repetitions * rows, n, columns) by their law, each repetition from its own stream."""
    out = np.empty((len(rngs), rows * n, columns))
    for rng, part in zip(rngs, out, strict=True):
        law.draw(rng, part)
    return out.reshape(len(rngs) * rows, n, columns)


def _walk(old: Array, correlation: float, rngs: Sequence[Generator]) -> Array:
    """Preconditioned Crank-Nicolson: normal stays normal."""
    xi = normals(rngs, old.size // old.shape[-1] // len(rngs), old.shape[-1]).reshape(old.shape)
    return np.asarray(correlation * old + np.sqrt(1.0 - correlation**2) * xi)


def _walk_uniform(old: Array, correlation: float, rngs: Sequence[Generator]) -> Array:
    """The same on the normal variable behind a uniform one."""
    share = np.clip(old / (2.0 * ROOT_3) + 0.5, 1.0 - LAST, LAST)
    return np.asarray((2.0 * ndtr(_walk(ndtri(share), correlation, rngs)) - 1.0) * ROOT_3)


def _flip(old: Array, correlation: float, rngs: Sequence[Generator]) -> Array:
    """Signs that change with probability (1 - correlation)/2, each on its own."""
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
    """New neurons for old ones, reversible with respect to their law.

    Parameters
    ----------
    rngs : sequence of Generator
        One for each repetition.
    law : OutputLaw
    h, V : (repetitions * particles, b), (repetitions * particles, n, b) arrays
        A block of neurons; ``b`` may be 0 for h where nothing looks at it.
    correlation : float
        Of the normal variables behind old and new, in [0, 1); 0 is a fresh draw. A law without normal variables
        draws each entry anew with probability 1 - correlation.

    Returns
    -------
    h, V : arrays
        Of the same shapes.
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
