"""What is integrated: the gradient flow in reduced coordinates (theory §3.1-3.2), batched over trials.

A state has shape (T, rows, k). Row 0 is h; in mode `both` rows 1..r are Q = Z^T V = S^-1 G, so that the Euclidean
norm of a change of the state is the norm of the change of theta in either mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.model.losses import Loss
from mc.model.problem import ProblemBatch

GRAM_BYTES = 400_000
"""Size of the copy of Q that a Gram matrix is made from."""

CACHED = {"gram", "square_z"}
"""What an observation computes once, when it is asked for."""


def slice_of(rows: Index) -> slice | Index:
    """Rows that follow one another as a slice, so that taking them copies nothing."""
    one_by_one = rows.size > 0 and bool(np.all(np.diff(rows) == 1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if one_by_one else rows


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
    slowest : (T,) array, optional
        Smallest eigenvalue of the observed tangent kernel, once a stepper has found it.
    """

    Q: Array
    z: Array
    dphi: Array
    residual: Array
    loss: Array
    slowest: Array | None = None

    @cached_property
    def gram(self) -> Array:
        """(T, r, r) Gram matrix Q Dphi^2 Q^T, unscaled."""
        trials, r, k = self.Q.shape
        weight, gram = np.square(self.dphi)[:, None, :], np.empty((trials, r, r))
        # the weighted copy of Q stays in a cache
        size = max(1, min(trials, GRAM_BYTES // (8 * r * k)))
        weighted = np.empty((size, r, k))
        for first in range(0, trials, size):
            some = slice(first, min(first + size, trials))
            part = np.multiply(self.Q[some], weight[some], out=weighted[: some.stop - first])
            np.matmul(part, self.Q[some].swapaxes(1, 2), out=gram[some])
        return gram

    @cached_property
    def square_z(self) -> Array:
        """(T,) |z|^2."""
        return np.asarray(np.einsum("tk,tk->t", self.z, self.z))

    def take(self, rows: Index) -> Observation:
        """Some trials, with what is already known of them."""
        if np.array_equal(rows, np.arange(self.z.shape[0])):
            return self
        slowest = None if self.slowest is None else self.slowest[rows]
        Q = self.Q[slice_of(rows)]
        some = Observation(Q, self.z[rows], self.dphi[rows], self.residual[rows], self.loss[rows], slowest)
        for name in CACHED & vars(self).keys():
            vars(some)[name] = vars(self)[name][rows]
        return some

    def knowing(self, slowest: Array) -> Observation:
        """The same with the smallest eigenvalue of the kernel."""
        other = replace(self, slowest=slowest)
        for name in CACHED & vars(self).keys():
            vars(other)[name] = vars(self)[name]
        return other

    def updated(self, accepted: Mask, new: Observation) -> Observation:
        """The new observation of the trials accepted, the old one of the others."""
        if accepted.all():
            return new

        def choose(one: Array, two: Array) -> Array:
            return np.where(accepted.reshape(-1, *(1,) * (one.ndim - 1)), one, two)

        Q = self.Q if new.Q is self.Q else choose(new.Q, self.Q)
        return Observation(
            Q,
            choose(new.z, self.z),
            choose(new.dphi, self.dphi),
            choose(new.residual, self.residual),
            choose(new.loss, self.loss),
        )


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
        if np.array_equal(rows, np.arange(self.Q_start.shape[0])):
            return self
        Q = self.Q_start[slice_of(rows)]
        return ReducedFlow(self.mode, self.activation, self.loss, self.problems.take(rows), Q)

    def observe(self, state: Array) -> Observation:
        """Activations, residual and loss of a state."""
        Q = self.Q_start if self.mode == "hidden" else state[:, 1:]
        z, dphi = self.activation.phi_dphi(state[:, 0])
        residual = self.residual_of(Q, z)
        return Observation(Q, z, dphi, residual, self.loss_of(residual))

    def residual_of(self, Q: Array, z: Array) -> Array:
        """(T, r) residual U^T (y(t) - y) of activations."""
        signal = np.matmul(Q, z[:, :, None])[:, :, 0] / np.sqrt(self.width)
        return np.asarray(self.problems.S * signal - self.problems.target)

    def _lift(self, residual: Array) -> Array:
        """Residual in the observation, (T, m); in Im(A) where the loss knows only its norm, (T, r)."""
        if self.loss.radial:
            return residual
        return np.asarray(np.matmul(self.problems.U, residual[:, :, None])[:, :, 0])

    def loss_of(self, residual: Array) -> Array:
        """(T,) loss of a residual in Im(A)."""
        return self.loss.value(self._lift(residual))

    def psi_of(self, residual: Array) -> Array:
        """(T,) psi(L) of a residual in Im(A)."""
        return self.loss.psi_of(self._lift(residual))

    def slope(self, residual: Array) -> Array:
        """(T, r) gradient of the loss on Im(A): U^T grad L."""
        gradient = self.loss.gradient(self._lift(residual))
        if self.loss.radial:
            return gradient
        return np.asarray(np.matmul(gradient[:, None, :], self.problems.U)[:, 0, :])

    def curvature_root(self, residual: Array) -> Array | None:
        """(T, r, r) factor C with C C^T the Hessian of the loss on Im(A); None for the identity."""
        if self.loss.quadratic:
            return None
        hessian = self.loss.hessian(self._lift(residual))
        if not self.loss.radial:
            hessian = np.matmul(self.problems.U.swapaxes(1, 2), np.matmul(hessian, self.problems.U))
        r = hessian.shape[-1]
        # a flat direction keeps a trace of curvature: the linear part of a step may be approximate
        floor = 1e-10 * np.trace(hessian, axis1=1, axis2=2) / r + 1e-200
        good = np.asarray(np.isfinite(hessian).all(axis=(1, 2)))[:, None, None]
        hessian = np.where(good, hessian + floor[:, None, None] * np.eye(r), np.eye(r))
        return np.asarray(np.linalg.cholesky(hessian), dtype=float)

    def pull(self, residual: Array) -> Array:
        """(T, r) gradient of the loss in Z^T x: S U^T grad L."""
        return self.problems.S * self.slope(residual)

    def kernel(self, seen: Observation) -> Array:
        """(T, r, r) observed tangent kernel U^T A J J^T A^T U."""
        kernel = seen.gram / self.width
        if self.mode == "both":
            kernel = kernel + (seen.square_z / self.width)[:, None, None] * np.eye(kernel.shape[1])
        S = self.problems.S
        return np.asarray(S[:, :, None] * kernel * S[:, None, :])

    def derivative(self, state: Array, out: Array) -> Observation:
        """Write d state/dt and return what was seen on the way."""
        seen = self.observe(state)
        pull = self.pull(seen.residual) / -np.sqrt(self.width)
        np.matmul(pull[:, None, :], seen.Q, out=out[:, :1])
        out[:, 0] *= seen.dphi
        if self.mode == "both":
            np.multiply(pull[:, :, None], seen.z[:, None, :], out=out[:, 1:])
        return seen
