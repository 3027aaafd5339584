"""Margins that are functions of sums and maxima over the neurons, and populations of networks that keep these sums.

Changing a block of neurons costs what summing the block costs.
"""

from __future__ import annotations

import abc
from copy import copy

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.model.draws import CHUNK
from mc.model.losses import Loss
from mc.model.problem import Problem, ProblemBatch
from mc.theory.certificates import rungs, sharp_path, spectra


def block_slice(number: int, k: int, size: int) -> slice:
    """Return the neurons of one block of a size, the last block shorter; numbers wrap around."""
    start = (number % -(-k // size)) * size
    return slice(start, min(start + size, k))


class Margin(abc.ABC):
    """A margin of networks of k neurons; the failure is ``value <= threshold``."""

    threshold: float
    k: int
    reads_h: bool = True  # whether the margin depends on the pre-activations; else they are not drawn
    reads_V: bool = True  # the same of the output weights

    @abc.abstractmethod
    def sums(self, h: Array, V: Array) -> Array:
        """Return the sums over given neurons h (P, b), V (P, n, b), (P, q)."""

    def tops(self, h: Array, V: Array) -> Array:
        """Return the maxima over given neurons, (P, c)."""
        return np.zeros((V.shape[0], 0))

    @abc.abstractmethod
    def value(self, sums: Array, tops: Array) -> Array:
        """Return the margin from the sums and maxima over all neurons, (P,)."""

    def below(self, sums: Array, tops: Array, level: float) -> Mask:
        """Return whether the margin is at most a level, (P,)."""
        return np.asarray(self.value(sums, tops) <= level)


def _gram(weight: Array, V: Array) -> Array:
    return np.asarray(np.matmul(V * weight[:, None, :], V.swapaxes(1, 2)).reshape(V.shape[0], -1))


class LambdaMin(Margin):
    """lambda_min(V Dphi^2 V^T/k) relative to C_dphi^2 (theory §7.1)."""

    def __init__(self, activation: Activation, n: int, k: int, threshold: float) -> None:
        self.activation, self.n, self.k, self.threshold = activation, n, k, threshold
        self.unit = k * activation.moment_dphi**2

    def sums(self, h: Array, V: Array) -> Array:
        """Return the Gram matrix."""
        return _gram(np.square(self.activation.dphi(h)), V)

    def value(self, sums: Array, tops: Array) -> Array:
        """Return the smallest eigenvalue."""
        return np.asarray(np.linalg.eigvalsh(sums.reshape(-1, self.n, self.n))[:, 0] / self.unit)

    def below(self, sums: Array, tops: Array, level: float) -> Mask:
        """Return whether a pivot of the matrix less level times the identity is not positive (Sylvester), (P,)."""
        matrix = sums.reshape(-1, self.n, self.n) - level * self.unit * np.eye(self.n)
        below = np.zeros(matrix.shape[0], dtype=bool)
        for _ in range(self.n - 1):
            pivot = matrix[:, 0, 0]
            below |= pivot <= 0.0
            row = matrix[:, 0, 1:]
            ratio = row / np.where(below, 1.0, pivot)[:, None]
            matrix = matrix[:, 1:, 1:] - ratio[:, :, None] * row[:, None, :]
        return np.asarray(below | (matrix[:, 0, 0] <= 0.0))


class ActivationNorm(Margin):
    """|z|/sqrt k relative to C_phi, or minus it where the failure is a large norm (theory §7.2)."""

    reads_V = False

    def __init__(self, activation: Activation, k: int, threshold: float, *, high: bool) -> None:
        self.activation, self.k = activation, k
        self.sign = -1.0 if high else 1.0
        self.threshold = self.sign * threshold

    def sums(self, h: Array, V: Array) -> Array:
        """Return |z|^2."""
        return np.asarray(np.square(self.activation.phi(h)).sum(axis=1)[:, None])

    def value(self, sums: Array, tops: Array) -> Array:
        """Return the activation norm, or minus the norm where a large one fails."""
        return np.asarray(self.sign * np.sqrt(sums[:, 0] / self.k) / self.activation.moment_phi)


class OutputNorm(Margin):
    """Minus |y(0)| relative to C_phi |A|_F: the failure is a large initial output (theory §7.3)."""

    def __init__(self, activation: Activation, problem: Problem, k: int, threshold: float) -> None:
        self.activation, self.k, self.threshold = activation, k, -threshold
        self.operator = problem.A / (np.linalg.norm(problem.A) * activation.moment_phi * np.sqrt(k))

    def sums(self, h: Array, V: Array) -> Array:
        """Return V z."""
        return np.asarray(np.matmul(V, self.activation.phi(h)[:, :, None])[:, :, 0])

    def value(self, sums: Array, tops: Array) -> Array:
        """Return minus the norm of the initial output."""
        return np.asarray(-np.linalg.norm(sums @ self.operator.T, axis=1))


class LadderMargin(Margin):
    """Logarithm of the margin of paper, trial or sharp (theory §5)."""

    def __init__(
        self,
        rung: str,
        mode: str,
        activation: Activation,
        loss: Loss,
        entry_bound: float,
        problem: Problem,
        k: int,
        threshold: float,
    ) -> None:
        self.rung, self.mode, self.activation, self.loss, self.k = rung, mode, activation, loss, k
        self.entry_bound, self.threshold = entry_bound, float(np.log(threshold))
        self.problem = ProblemBatch.stack([problem])
        self.n = self.problem.n

    def sums(self, h: Array, V: Array) -> Array:
        """Return the Gram matrix, |z|^2 and V z, side by side."""
        z, dphi = self.activation.phi_dphi(h)
        signal = np.matmul(V, z[:, :, None])[:, :, 0]
        return np.concatenate([_gram(np.square(dphi), V), np.square(z).sum(axis=1)[:, None], signal], axis=1)

    def tops(self, h: Array, V: Array) -> Array:
        """Return the largest |V_i|^2, |Z^T V_i|^2 and |A V_i|^2."""
        observed = np.square(np.matmul(self.problem.Zt, V))
        image = np.matmul(np.square(self.problem.S)[:, None, :], observed)[:, 0]
        squares = (np.square(V).sum(axis=1), observed.sum(axis=1), image)
        return np.stack([square.max(axis=1) for square in squares], axis=1)

    def value(self, sums: Array, tops: Array) -> Array:
        """Return the logarithm of the margin by `mc.theory.certificates`, as a run stores it."""
        n, problem, rows = self.n, self.problem, sums.shape[0]
        gram, square_z, signal = sums[:, : n * n].reshape(-1, n, n), sums[:, n * n], sums[:, n * n + 1 :]
        values = spectra(gram, square_z, problem, self.k, self.mode, CHUNK + self.k / CHUNK)
        residual = problem.S * (signal @ problem.Zt[0].T) / np.sqrt(self.k) - problem.target
        psi_0 = self.loss.psi_of(residual @ problem.U[0].T)
        width = np.full(rows, float(self.k))
        columns = np.sqrt(tops.T)
        with np.errstate(divide="ignore"):
            if self.rung == "sharp":
                path = sharp_path(values, self.mode, self.activation, problem, columns[1], columns[2], width)
                return np.asarray(np.log(path.margin(psi_0)))
            ladder = rungs(
                values, self.mode, self.activation, self.entry_bound, problem, psi_0,
                (columns[0], columns[1], columns[2]), width,
            )  # fmt: skip
            return np.asarray(np.log(ladder[f"margin_{self.rung}"]))


class SummedPopulation:
    """Networks whose margin is a function of sums and maxima over the neurons.

    Sums and maxima of every block are kept. A move changes those of one block and, by the difference, the total;
    summing the blocks again before every level removes the rounding errors of the total.
    """

    def __init__(self, margin: Margin, h: Array, V: Array, block: int | None = None) -> None:
        self.margin, self.h, self.V = margin, h, V
        self.refresh(margin.k if block is None else block)

    @property
    def threshold(self) -> float:
        """Return the margin at which a network fails."""
        return self.margin.threshold

    def refresh(self, block: int) -> None:
        """Cut the neurons into blocks of a size and sum every block again."""
        self.size = block
        parts = [block_slice(number, self.margin.k, block) for number in range(-(-self.margin.k // block))]
        self.sums = np.stack([self.margin.sums(self.h[:, part], self.V[:, :, part]) for part in parts], axis=1)
        self.tops = np.stack([self.margin.tops(self.h[:, part], self.V[:, :, part]) for part in parts], axis=1)
        self.total = self.sums.sum(axis=1)

    def take(self, rows: Index) -> SummedPopulation:
        """Select networks, with repetition; to be refreshed before a move."""
        chosen = copy(self)
        for name in ("h", "V", "sums", "tops", "total"):
            setattr(chosen, name, getattr(self, name)[rows])
        return chosen

    def values(self) -> Array:
        """Return the margin of each network."""
        return self.margin.value(self.total, self.tops.max(axis=1))

    def below(self, level: float) -> Mask:
        """Return whether the margin is at most a level."""
        return self.margin.below(self.total, self.tops.max(axis=1), level)

    def failures(self) -> tuple[Mask, Mask]:
        """Return the networks that fail, and networks that are undecided (none)."""
        fails = self.below(self.threshold)
        return fails, np.zeros_like(fails)

    def move(self, number: int, h: Array, V: Array, level: float) -> Mask:
        """Replace a block of neurons where the margin stays at most a level; return where it was replaced."""
        part = block_slice(number, self.margin.k, self.size)
        number = part.start // self.size
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
