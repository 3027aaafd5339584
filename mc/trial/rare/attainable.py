"""The margin of the exact condition: how far the data can move away from the centre of the zonotope and stay inside.

The flow of the hidden layer reaches zero loss iff Q w = sqrt(k) a for some w in an open box (theory §7.4). A family of
boxes that grows to that one makes a margin of it:

- box (a, b), centre c = (a + b)/2: Q (w - c) is a multiple of t = sqrt(k) a - Q c, and the margin is log max{s : s t in
  Q [-(b - a)/2, (b - a)/2]^k}, minus the logarithm of the gauge of a convex body with 0 inside (Q of full rank): it
  is continuous in (Q, a), positive inside, 0 on the boundary, negative outside;
- box (0, inf): 1/B for the smallest B whose box [0, B] fits the data, 0 where none does. As B grows the bodies
  Q [0, B]^k increase to the cone Q [0, inf)^k, so the margin falls to 0 as the data near the boundary from inside.

Each question "margin <= level" asks whether data lie outside the image of a box, a convex problem in r dimensions
(`mc.trial.rare.box`); the failure itself is decided, with a proof for both answers, as in every run.
"""

from __future__ import annotations

import numpy as np

from mc.errors import InputError
from mc.flow.attainable import Target, decide
from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.model.problem import Problem
from mc.theory.codes import Exact
from mc.trial.rare.box import outside

BISECTIONS = 14
"""Halvings that find a margin: they leave 1e-3 of its size, and levels need no more."""
SMALLEST, LARGEST = 1e-4, 1e3
"""Margins are looked for between these: levels are never outside."""


def common_box(activation: Activation) -> tuple[float, float]:
    """The box that all neurons share.

    Raises
    ------
    InputError
        Where boxes differ between neurons or have no bound: no continuous margin is known there.
    """
    lower, upper = activation.box(np.linspace(-3.0, 3.0, 25))
    a, b = float(lower[0]), float(upper[0])
    if np.any(lower != a) or np.any(upper != b) or not (np.isfinite(b - a) or (a == 0.0 and np.isposinf(b))):
        raise InputError(
            f"[rare] margin: 'exact' has no margin for the activation {activation.name!r}, whose neurons have "
            "different or two-sided infinite ranges; use an activation with one bounded range, or softplus"
        )
    return a, b


class GaugePopulation:
    """Networks whose hidden-layer flow is asked whether it reaches zero loss; only V matters.

    The margin looks at all neurons at once (a convex problem in r dimensions), so a move pays for the whole network;
    the projection Q = Z^T V alone is updated by blocks.
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
        """Some networks, with repetition."""
        chosen = object.__new__(GaugePopulation)
        chosen.activation, chosen.box, chosen.Zt, chosen.S = self.activation, self.box, self.Zt, self.S
        chosen.level, chosen.size = self.level, self.size
        chosen.h, chosen.V, chosen.Q = self.h[rows], self.V[rows], self.Q[rows]
        return chosen

    def _outside(self, Q: Array, level: Array) -> Mask:
        """Where the margin is at most a level, (P,) each its own."""
        a, b = self.box
        k = Q.shape[2]
        if np.isfinite(b):
            centre, radius = np.full_like(level, 0.5 * (a + b)), 0.5 * (b - a) * np.exp(-level)
        else:
            centre = radius = 0.5 / level
        data = (np.sqrt(k) * self.level - centre[:, None] * Q.sum(axis=2)) / radius[:, None]
        return outside(Q, data)

    def below(self, level: float) -> Mask:
        """Where the margin is at most a level; what could not be decided counts as above it."""
        if level <= self.threshold:
            return self.failures()[0]
        return self._outside(self.Q, np.full(self.Q.shape[0], level))

    def values(self) -> Array:
        """Margins by bisection, to 1e-3 of their size; 0 for all failures, for no level is below."""
        found = np.zeros(self.Q.shape[0])
        rows = np.flatnonzero(~self.failures()[0])
        low, high = np.full(rows.size, np.log(SMALLEST)), np.full(rows.size, np.log(LARGEST))
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            outside = self._outside(self.Q[rows], np.exp(middle))
            low, high = np.where(outside, low, middle), np.where(outside, middle, high)
        found[rows] = np.exp(high)
        return found

    def failures(self) -> tuple[Mask, Mask]:
        """Which networks cannot reach zero loss, and of which that could not be decided."""
        rows, _, k = self.Q.shape
        h = np.zeros((rows, k))
        a = np.broadcast_to(self.level, (rows, self.level.size))
        exact = decide(Target(h, self.Q, a, self.S[None], k), self.activation).exact
        return np.asarray(exact == Exact.CANNOT), np.asarray(exact == Exact.UNDECIDED)

    def move(self, number: int, h: Array, V: Array, level: float) -> Mask:
        """Replace a block of neurons where the margin stays at most a level."""
        k = self.V.shape[2]
        start = (number % -(-k // self.size)) * self.size
        part = slice(start, min(start + self.size, k))
        kept = self.Q[:, :, part].copy()
        self.Q[:, :, part] = np.matmul(self.Zt, V)
        stays = self.below(level)
        self.V[stays, :, part] = V[stays]
        back = ~stays
        self.Q[back, :, part] = kept[back]
        return stays
