"""What is integrated: the gradient flow in reduced coordinates (theory §3.1-3.2), batched over trials.

A state has shape (T, rows, k). Row 0 is h; in mode `both` rows 1..r are Q = Z^T V = S^-1 G, so that the Euclidean
norm of a change of the state is the norm of the change of theta in either mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc.activations import Activation
from mc.losses import Loss
from mc.problem import ProblemBatch

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Observation:
    """A state seen through the operator.

    Attributes
    ----------
    Q : (T, r, k) array
    z, dphi : (T, k) arrays
    residual : (T, r) array
        U^T (y(t) - y).
    loss : (T,) array
    """

    Q: Array
    z: Array
    dphi: Array
    residual: Array
    loss: Array


@dataclass(frozen=True)
class ReducedFlow:
    """Gradient flow of T networks of one width.

    Attributes
    ----------
    mode : {"hidden", "both"}
    activation : Activation
    loss : Loss
    problems : ProblemBatch
        Of one row or T rows.
    Q_start : (T, r, k) array
        Z^T V(0); it stays what it is in mode `hidden`.
    """

    mode: str
    activation: Activation
    loss: Loss
    problems: ProblemBatch
    Q_start: Array

    @property
    def width(self) -> int:
        """Number k of neurons."""
        return int(self.Q_start.shape[2])

    def start(self, h: Array) -> Array:
        """State at time 0 from the pre-activations, shape (T, rows, k)."""
        if self.mode == "hidden":
            return h[:, None, :].copy()
        return np.concatenate([h[:, None, :], self.Q_start], axis=1)

    def take(self, rows: Index) -> ReducedFlow:
        """Flow of some trials."""
        return ReducedFlow(self.mode, self.activation, self.loss, self.problems.take(rows), self.Q_start[rows])

    def observe(self, state: Array) -> Observation:
        """Activations, residual and loss of a state."""
        Q = self.Q_start if self.mode == "hidden" else state[:, 1:]
        z, dphi = self.activation.phi_dphi(state[:, 0])
        signal = np.matmul(Q, z[:, :, None])[:, :, 0] / np.sqrt(self.width)
        residual = self.problems.S * signal - self.problems.target
        return Observation(Q, z, dphi, residual, self.loss.value(self._lift(residual)))

    def _lift(self, residual: Array) -> Array:
        """Residual in the observation, (T, m)."""
        return np.asarray(np.matmul(self.problems.U, residual[:, :, None])[:, :, 0])

    def pull(self, residual: Array) -> Array:
        """(T, r) gradient of the loss in Z^T x: S U^T grad L."""
        gradient = self.loss.gradient(self._lift(residual))
        return np.asarray(self.problems.S * np.matmul(gradient[:, None, :], self.problems.U)[:, 0, :])

    def derivative(self, state: Array, out: Array) -> Observation:
        """Write d state/dt and return what was seen on the way."""
        seen = self.observe(state)
        pull = self.pull(seen.residual) / -np.sqrt(self.width)
        np.matmul(pull[:, None, :], seen.Q, out=out[:, :1])
        out[:, 0] *= seen.dphi
        if self.mode == "both":
            np.multiply(pull[:, :, None], seen.z[:, None, :], out=out[:, 1:])
        return seen
