"""The margin of the exact condition: how far the data can move away from the centre of the zonotope and stay inside.

The flow of the hidden layer reaches zero loss iff Q w = sqrt(k) a for some w in an open box (theory §7.4). A family of
boxes that grows to that one makes a margin of it:

- box (a, b), centre c = (a + b)/2: Q (w - c) is a multiple of t = sqrt(k) a - Q c, and the margin is log max{s : s t in
  Q [-(b - a)/2, (b - a)/2]^k}, minus the logarithm of the gauge of a convex body with 0 inside (Q of full rank): it
  is continuous in (Q, a), positive inside, 0 on the boundary, negative outside;
- box (0, inf): 1/B for the smallest B whose box [0, B] fits the data, 0 where none does. As B grows the bodies
  Q [0, B]^k increase to the cone Q [0, inf)^k, so the margin falls to 0 as the data near the boundary from inside.

Each test "margin <= level" asks whether data lie outside the image of a box, a convex problem in r dimensions
(`outside`). Splitting asks it millions of times, and any nested family of sets serves as its levels, so the answer is
right up to rounding, without a proof; the failure itself is decided by `mc.flow.attainable.decide`, with a proof for
both answers, as in every run.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from mc.errors import InputError
from mc.flow.attainable import Target, decide
from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.model.problem import Problem
from mc.theory.codes import Exact
from mc.trial.rare.margins import block_slice

BISECTIONS = 14
"""Halvings of the search for a margin: the error is 1e-3 of its size, which suffices for levels."""
SMALLEST, LARGEST = 1e-4, 1e3
"""Ends of the search for a margin; levels lie between them."""
ITERATIONS = 80
BATCH_BYTES = 1_000_000
"""Size of the networks of one batch: passes over Q stay in a cache."""
RIDGE = 1e-14


def common_box(activation: Activation) -> tuple[float, float]:
    """Return the box that all neurons share; raise InputError where boxes differ between neurons or have no bound."""
    lower, upper = activation.box(np.linspace(-3.0, 3.0, 25))
    a, b = float(lower[0]), float(upper[0])
    if np.any(lower != a) or np.any(upper != b) or not (np.isfinite(b - a) or (a == 0.0 and np.isposinf(b))):
        raise InputError(
            f"[rare] margin: 'exact' has no margin for the activation {activation.name!r}, whose neurons have "
            "different or two-sided infinite ranges; use an activation with one bounded range, or softplus"
        )
    return a, b


class GaugePopulation:
    """Networks that fail where the flow of the hidden layer cannot reach zero loss; only V matters.

    The margin depends on all neurons at once (a convex problem in r dimensions), so a move costs as much as the whole
    network; only the projection Q = Z^T V is updated by blocks.
    """

    threshold = 0.0

    def __init__(self, activation: Activation, problem: Problem, h: Array, V: Array) -> None:
        self.activation, self.h, self.V = activation, h, V
        self.box = common_box(activation)
        self.Zt, self.S = np.ascontiguousarray(problem.Z.T), problem.S
        self.level = problem.target / problem.S
        self.Q = np.matmul(self.Zt, V)
        self.size = V.shape[2]

    def refresh(self, block: int) -> None:
        """Cut the neurons into blocks of a size."""
        self.size = block

    def take(self, rows: Index) -> GaugePopulation:
        """Select networks, with repetition."""
        chosen = copy(self)
        chosen.h, chosen.V, chosen.Q = self.h[rows], self.V[rows], self.Q[rows]
        return chosen

    def _outside(self, Q: Array, level: Array) -> Mask:
        """Return whether the margin of each network is at most its level, (P,)."""
        a, b = self.box
        k = Q.shape[2]
        if np.isfinite(b):
            centre, radius = np.full_like(level, 0.5 * (a + b)), 0.5 * (b - a) * np.exp(-level)
        else:
            centre = radius = 0.5 / level
        data = (np.sqrt(k) * self.level - centre[:, None] * Q.sum(axis=2)) / radius[:, None]
        return outside(Q, data)

    def below(self, level: float) -> Mask:
        """Return whether the margin is at most a level, (P,); undecided networks count as above it."""
        if level <= self.threshold:
            return self.failures()[0]
        return self._outside(self.Q, np.full(self.Q.shape[0], level))

    def values(self) -> Array:
        """Return the margins by bisection, to 1e-3 of their size; 0 for all failures, for no level is below zero."""
        values = np.zeros(self.Q.shape[0])
        rows = np.flatnonzero(~self.failures()[0])
        low, high = np.full(rows.size, np.log(SMALLEST)), np.full(rows.size, np.log(LARGEST))
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = self._outside(self.Q[rows], np.exp(middle))
            low, high = np.where(below, low, middle), np.where(below, middle, high)
        values[rows] = np.exp(high)
        return values

    def failures(self) -> tuple[Mask, Mask]:
        """Return the networks that cannot reach zero loss, and networks that are undecided."""
        rows, _, k = self.Q.shape
        h = np.zeros((rows, k))
        a = np.broadcast_to(self.level, (rows, self.level.size))
        exact = decide(Target(h, self.Q, a, self.S[None], k), self.activation).exact
        return np.asarray(exact == Exact.CANNOT), np.asarray(exact == Exact.UNDECIDED)

    def move(self, number: int, h: Array, V: Array, level: float) -> Mask:
        """Replace a block of neurons where the margin stays at most a level; return where it was replaced."""
        part = block_slice(number, self.V.shape[2], self.size)
        kept = self.Q[:, :, part].copy()
        self.Q[:, :, part] = np.matmul(self.Zt, V)
        stays = self.below(level)
        self.V[stays, :, part] = V[stays]
        back = ~stays
        self.Q[back, :, part] = kept[back]
        return stays


def outside(Q: Array, data: Array) -> Mask:
    """Return whether no w in [-1, 1]^k has Q w = data, (T,), for Q (T, r, k) and data (T, r).

    The function sum sqrt(1 + g_i^2) - v . data of v, g = Q^T v, is convex. Where it has a minimum the data are
    Q w with w = g/sqrt(1 + g^2) inside the box; where it has none it falls along a direction that separates the data.
    False also without an answer after `ITERATIONS` steps, which happens for data within rounding of the boundary.
    """
    T, r, k = Q.shape
    answers = np.zeros(T, dtype=bool)
    size = max(1, BATCH_BYTES // (8 * k * (r + 2)))
    for first in range(0, T, size):
        rows = slice(first, first + size)
        answers[rows] = _outside_batch(Q[rows], data[rows])
    return answers


def _outside_batch(Q: Array, data: Array) -> Mask:
    answers = np.zeros(data.shape[0], dtype=bool)
    rows = np.arange(answers.size)
    v, g = np.zeros_like(data), np.zeros((answers.size, Q.shape[2]))
    for _ in range(ITERATIONS):
        root = 1.0 / np.sqrt(1.0 + g * g)
        w = g * root
        weight = root * root * root
        residual = data - np.matmul(Q, w[:, :, None])[:, :, 0]
        step = _newton(Q, weight, residual)
        along = np.matmul(step[:, None, :], Q)[:, 0]
        # the linear prediction of the step fits the data: if it lies in the box, the data are inside
        inside = np.abs(w + weight * along).max(axis=1) < 1.0
        separated = np.einsum("tr,tr->t", v, data) > np.abs(g).sum(axis=1)
        answers[rows[separated]] = True
        undecided = ~(inside | separated)
        if not undecided.any():
            break
        if not undecided.all():
            rows, Q, data, v, g = rows[undecided], Q[undecided], data[undecided], v[undecided], g[undecided]
            step, along, residual = step[undecided], along[undecided], residual[undecided]
        length = _length(g, along, np.einsum("tr,tr->t", step, data), np.einsum("tr,tr->t", step, residual))
        v, g = v + length * step, g + length * along
    return answers


def _newton(Q: Array, weight: Array, residual: Array) -> Array:
    hessian = np.matmul(Q * weight[:, None, :], Q.swapaxes(1, 2))
    ridge = RIDGE * np.trace(hessian, axis1=1, axis2=2) + 1e-290
    hessian += ridge[:, None, None] * np.eye(hessian.shape[1])
    return np.asarray(np.linalg.solve(hessian, residual[:, :, None])[:, :, 0])


def _length(g: Array, along: Array, level: Array, slope: Array) -> Array:
    """Return the length of the Newton step, halved until the slope along it keeps its sign, (T, 1)."""
    length = np.ones((g.shape[0], 1))
    for _ in range(40):
        moved = g + length * along
        new = level - np.einsum("tk,tk->t", moved / np.sqrt(1.0 + moved * moved), along)
        long = new < -0.9 * slope
        if not long.any():
            break
        length[long] *= 0.5
    return length
