"""Whether data lie outside an image Q [-1, 1]^k: Newton's method in r dimensions, for many networks at once.

The levels of splitting ask this millions of times and any nested family of sets will do for them, so the answer is
right up to rounding, without a proof: those are the business of `mc.flow.attainable.decide`, which decides the failure.
"""

from __future__ import annotations

import numpy as np

from mc.model.arrays import Array, Mask

ITERATIONS = 80
BATCH_BYTES = 1_000_000
"""Networks of one batch: passes over Q stay in a cache."""
RIDGE = 1e-14


def outside(Q: Array, data: Array) -> Mask:
    """Where no w in [-1, 1]^k has Q w = data.

    The function sum sqrt(1 + g_i^2) - v . data of v, g = Q^T v, is convex. Where it has a minimum the data are
    Q w with w = g/sqrt(1 + g^2) inside the box; where it has none it falls along a direction that separates the data.

    Parameters
    ----------
    Q : (T, r, k) array
    data : (T, r) array

    Returns
    -------
    (T,) bool array
        False also where neither answer came up, which takes data within rounding of the boundary.
    """
    T, r, k = Q.shape
    found = np.zeros(T, dtype=bool)
    size = max(1, BATCH_BYTES // (8 * k * (r + 2)))
    for first in range(0, T, size):
        rows = slice(first, first + size)
        found[rows] = _outside_batch(Q[rows], data[rows])
    return found


def _outside_batch(Q: Array, data: Array) -> Mask:
    found = np.zeros(data.shape[0], dtype=bool)
    rows = np.arange(found.size)
    v, g = np.zeros_like(data), np.zeros((found.size, Q.shape[2]))
    for _ in range(ITERATIONS):
        root = 1.0 / np.sqrt(1.0 + g * g)
        w = g * root
        weight = root * root * root
        residual = data - np.matmul(Q, w[:, :, None])[:, :, 0]
        step = _newton(Q, weight, residual)
        along = np.matmul(step[:, None, :], Q)[:, 0]
        # the step's own prediction fits the data: if it stays in the box they are inside
        inside = np.abs(w + weight * along).max(axis=1) < 1.0
        beyond = np.einsum("tr,tr->t", v, data) > np.abs(g).sum(axis=1)
        found[rows[beyond]] = True
        left = ~(inside | beyond)
        if not left.any():
            break
        if not left.all():
            rows, Q, data, v, g = rows[left], Q[left], data[left], v[left], g[left]
            step, along, residual = step[left], along[left], residual[left]
        length = _length(g, along, np.einsum("tr,tr->t", step, data), np.einsum("tr,tr->t", step, residual))
        v, g = v + length * step, g + length * along
    return found


def _newton(Q: Array, weight: Array, residual: Array) -> Array:
    hessian = np.matmul(Q * weight[:, None, :], Q.swapaxes(1, 2))
    ridge = RIDGE * np.trace(hessian, axis1=1, axis2=2) + 1e-290
    hessian += ridge[:, None, None] * np.eye(hessian.shape[1])
    return np.asarray(np.linalg.solve(hessian, residual[:, :, None])[:, :, 0])


def _length(g: Array, along: Array, level: Array, slope: Array) -> Array:
    """Halvings of the Newton step until the slope along it has not turned round, (T, 1)."""
    length = np.ones((g.shape[0], 1))
    for _ in range(40):
        moved = g + length * along
        new = level - np.einsum("tk,tk->t", moved / np.sqrt(1.0 + moved * moved), along)
        long = new < -0.9 * slope
        if not long.any():
            break
        length[long] *= 0.5
    return length
