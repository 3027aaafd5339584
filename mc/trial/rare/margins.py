"""Margins that are functions of sums and maxima over the neurons: a changed block costs what the block costs."""

from __future__ import annotations

import abc

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array, Mask
from mc.model.draws import CHUNK
from mc.model.losses import Loss
from mc.model.problem import Problem, ProblemBatch
from mc.theory.certificates import rungs, sharp_path, spectra


class Margin(abc.ABC):
    """A margin of networks of k neurons; the failure is ``value <= threshold``.

    Attributes
    ----------
    threshold : float
    k : int
        Width.
    reads_h, reads_V : bool
        Whether the pre-activations, the output weights matter at all; the others are not drawn.
    """

    threshold: float
    k: int
    reads_h: bool = True
    reads_V: bool = True

    @abc.abstractmethod
    def sums(self, h: Array, V: Array) -> Array:
        """What some neurons add to the statistics: h (P, b), V (P, n, b) to (P, q)."""

    def tops(self, h: Array, V: Array) -> Array:
        """Maxima over some neurons, (P, c)."""
        return np.zeros((V.shape[0], 0))

    @abc.abstractmethod
    def value(self, sums: Array, tops: Array) -> Array:
        """The margin from the statistics of all neurons, (P,)."""

    def below(self, sums: Array, tops: Array, level: float) -> Mask:
        """Where the margin is at most a level."""
        return np.asarray(self.value(sums, tops) <= level)


def _gram(weight: Array, V: Array) -> Array:
    return np.asarray(np.matmul(V * weight[:, None, :], V.swapaxes(1, 2)).reshape(V.shape[0], -1))


class LambdaMin(Margin):
    """lambda_min(V Dphi^2 V^T/k) relative to C_dphi^2 (theory §7.1)."""

    def __init__(self, activation: Activation, n: int, k: int, threshold: float) -> None:
        self.activation, self.n, self.k, self.threshold = activation, n, k, threshold
        self.unit = k * activation.moment_dphi**2

    def sums(self, h: Array, V: Array) -> Array:
        """The Gram matrix."""
        return _gram(np.square(self.activation.dphi(h)), V)

    def value(self, sums: Array, tops: Array) -> Array:
        """Smallest eigenvalue."""
        return np.asarray(np.linalg.eigvalsh(sums.reshape(-1, self.n, self.n))[:, 0] / self.unit)

    def below(self, sums: Array, tops: Array, level: float) -> Mask:
        """Sylvester: some pivot of the matrix less level times the identity is not positive."""
        rest = sums.reshape(-1, self.n, self.n) - level * self.unit * np.eye(self.n)
        found = np.zeros(rest.shape[0], dtype=bool)
        for _ in range(self.n - 1):
            pivot = rest[:, 0, 0]
            found |= pivot <= 0.0
            row = rest[:, 0, 1:]
            ratio = row / np.where(found, 1.0, pivot)[:, None]
            rest = rest[:, 1:, 1:] - ratio[:, :, None] * row[:, None, :]
        return np.asarray(found | (rest[:, 0, 0] <= 0.0))


class ActivationNorm(Margin):
    """|z|/sqrt k relative to C_phi, or minus it where the failure is a large norm (theory §7.2)."""

    reads_V = False

    def __init__(self, activation: Activation, k: int, threshold: float, *, high: bool) -> None:
        self.activation, self.k = activation, k
        self.sign = -1.0 if high else 1.0
        self.threshold = self.sign * threshold

    def sums(self, h: Array, V: Array) -> Array:
        """|z|^2."""
        return np.asarray(np.square(self.activation.phi(h)).sum(axis=1)[:, None])

    def value(self, sums: Array, tops: Array) -> Array:
        """The signed norm."""
        return np.asarray(self.sign * np.sqrt(sums[:, 0] / self.k) / self.activation.moment_phi)


class OutputNorm(Margin):
    """Minus |y(0)| relative to C_phi |A|_F: the failure is a large initial output (theory §7.3)."""

    def __init__(self, activation: Activation, problem: Problem, k: int, threshold: float) -> None:
        self.activation, self.k, self.threshold = activation, k, -threshold
        self.operator = problem.A / (np.linalg.norm(problem.A) * activation.moment_phi * np.sqrt(k))

    def sums(self, h: Array, V: Array) -> Array:
        """V z."""
        return np.asarray(np.matmul(V, self.activation.phi(h)[:, :, None])[:, :, 0])

    def value(self, sums: Array, tops: Array) -> Array:
        """The signed norm."""
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
        """Gram matrix, |z|^2 and V z, side by side."""
        z, dphi = self.activation.phi_dphi(h)
        signal = np.matmul(V, z[:, :, None])[:, :, 0]
        return np.concatenate([_gram(np.square(dphi), V), np.square(z).sum(axis=1)[:, None], signal], axis=1)

    def tops(self, h: Array, V: Array) -> Array:
        """Largest |V_i|^2, |Z^T V_i|^2 and |A V_i|^2."""
        observed = np.square(np.matmul(self.problem.Zt, V))
        image = np.matmul(np.square(self.problem.S)[:, None, :], observed)[:, 0]
        squares = (np.square(V).sum(axis=1), observed.sum(axis=1), image)
        return np.stack([square.max(axis=1) for square in squares], axis=1)

    def value(self, sums: Array, tops: Array) -> Array:
        """The functions of `mc.theory.certificates`, so that the margin is the one a run stores."""
        n, problem, rows = self.n, self.problem, sums.shape[0]
        gram, square_z, signal = sums[:, : n * n].reshape(-1, n, n), sums[:, n * n], sums[:, n * n + 1 :]
        found = spectra(gram, square_z, problem, self.k, self.mode, CHUNK + self.k / CHUNK)
        residual = problem.S * (signal @ problem.Zt[0].T) / np.sqrt(self.k) - problem.target
        psi_0 = self.loss.psi_of(residual @ problem.U[0].T)
        width = np.full(rows, float(self.k))
        columns = np.sqrt(tops.T)
        with np.errstate(divide="ignore"):
            if self.rung == "sharp":
                path = sharp_path(found, self.mode, self.activation, problem, columns[1], columns[2], width)
                return np.asarray(np.log(path.margin(psi_0)))
            ladder = rungs(
                found, self.mode, self.activation, self.entry_bound, problem, psi_0,
                (columns[0], columns[1], columns[2]), width,
            )  # fmt: skip
            return np.asarray(np.log(ladder[f"margin_{self.rung}"]))
