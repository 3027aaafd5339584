"""Many networks at once, and what is kept of them so that a move costs what it changes."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np

from mc.model.arrays import Array, Index, Mask
from mc.trial.rare.margins import Margin


class Population(Protocol):
    """Networks that splitting moves: ``h`` is (P, k) or (P, 0) where it does not matter, ``V`` is (P, n, k)."""

    h: Array
    V: Array

    @property
    def threshold(self) -> float:
        """The margin at which a network fails."""
        ...

    def refresh(self, block: int) -> None:
        """Sum everything anew and cut the neurons into blocks of a size."""
        ...

    def take(self, rows: Index) -> Self:
        """Some networks, with repetition; to be refreshed before it is moved."""
        ...

    def values(self) -> Array:
        """The margin of each network."""
        ...

    def below(self, level: float) -> Mask:
        """Whether the margin is at most a level."""
        ...

    def failures(self) -> tuple[Mask, Mask]:
        """Which networks fail, and of which it could not be decided."""
        ...

    def move(self, number: int, h: Array, V: Array, level: float) -> Mask:
        """Replace a block of neurons where the margin stays at most a level; says where it did."""
        ...


class Blocks:
    """The neurons 0 to k - 1 cut into blocks of a size, the last one shorter."""

    def __init__(self, k: int, size: int) -> None:
        self.k, self.size = k, size
        self.starts = np.arange(0, k, size)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> slice:
        start = (number % len(self)) * self.size
        return slice(start, min(start + self.size, self.k))


class SummedPopulation:
    """Networks whose margin is a function of sums and maxima over the neurons.

    Sums and maxima of every block are kept. A move changes one block's and, by the difference, the total; what rounding
    leaves in the total is gone when the blocks are summed again, before every level.
    """

    def __init__(self, margin: Margin, h: Array, V: Array, block: int | None = None) -> None:
        self.margin, self.h, self.V = margin, h, V
        self.refresh(margin.k if block is None else block)

    @property
    def threshold(self) -> float:
        """The margin at which a network fails."""
        return self.margin.threshold

    def refresh(self, block: int) -> None:
        """Sum everything anew, by blocks of a size."""
        self.blocks = Blocks(self.margin.k, block)
        parts = [self.blocks[number] for number in range(len(self.blocks))]
        self.sums = np.stack([self.margin.sums(self.h[:, part], self.V[:, :, part]) for part in parts], axis=1)
        self.tops = np.stack([self.margin.tops(self.h[:, part], self.V[:, :, part]) for part in parts], axis=1)
        self.total = self.sums.sum(axis=1)

    def take(self, rows: Index) -> SummedPopulation:
        """Some networks, with repetition."""
        chosen = object.__new__(SummedPopulation)
        chosen.margin, chosen.h, chosen.V, chosen.blocks = self.margin, self.h[rows], self.V[rows], self.blocks
        chosen.sums, chosen.tops, chosen.total = self.sums[rows], self.tops[rows], self.total[rows]
        return chosen

    def values(self) -> Array:
        """The margin of each network."""
        return self.margin.value(self.total, self.tops.max(axis=1))

    def below(self, level: float) -> Mask:
        """Whether the margin is at most a level."""
        return self.margin.below(self.total, self.tops.max(axis=1), level)

    def failures(self) -> tuple[Mask, Mask]:
        """Which networks fail; nothing is left undecided."""
        fails = self.below(self.threshold)
        return fails, np.zeros_like(fails)

    def move(self, number: int, h: Array, V: Array, level: float) -> Mask:
        """Replace a block of neurons where the margin stays at most a level."""
        number %= len(self.blocks)
        part = self.blocks[number]
        sums, tops = self.margin.sums(h, V), self.margin.tops(h, V)
        total = self.total + (sums - self.sums[:, number])
        others = self.tops.copy()
        others[:, number] = tops
        stays = self.margin.below(total, others.max(axis=1), level)
        if h.size:
            self.h[stays, part] = h[stays]
        self.V[stays, :, part] = V[stays]
        self.sums[stays, number], self.tops[stays, number], self.total[stays] = sums[stays], tops[stays], total[stays]
        return stays
