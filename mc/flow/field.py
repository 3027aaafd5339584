"""Right-hand side of the gradient flow in reduced coordinates (theory §3.1-3.2), batched over trials.

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
"""Size of the weighted copy of Q from which a Gram matrix is computed."""

CACHED = {"gram", "square_z"}
"""Properties of a `Point` that are computed on first use."""


def slice_of(rows: Index) -> slice | Index:
    """Return consecutive rows as a slice, so that taking them copies nothing."""
    consecutive = rows.size > 0 and bool(np.all(np.diff(rows) == 1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if consecutive else rows


@dataclass(frozen=True)
class Point:
    """A state of T trials with its activations, residual and loss."""

    Q: Array  # Z^T V, (T, r, k)
    z: Array  # phi(h), (T, k)
    dphi: Array  # phi'(h), (T, k)
    residual: Array  # U^T (y(t) - y), (T, r)
    loss: Array  # (T,)
    slowest: Array | None = None  # smallest eigenvalue of the observed tangent kernel, (T,), once a stepper computed it

    @cached_property
    def gram(self) -> Array:
        """Return the Gram matrix Q Dphi^2 Q^T, unscaled, (T, r, r)."""
        trials, r, k = self.Q.shape
        weight, gram = np.square(self.dphi)[:, None, :], np.empty((trials, r, r))
        # in parts, so that the weighted copy of Q stays in a cache
        size = max(1, min(trials, GRAM_BYTES // (8 * r * k)))
        weighted = np.empty((size, r, k))
        for first in range(0, trials, size):
            rows = slice(first, min(first + size, trials))
            part = np.multiply(self.Q[rows], weight[rows], out=weighted[: rows.stop - first])
            np.matmul(part, self.Q[rows].swapaxes(1, 2), out=gram[rows])
        return gram

    @cached_property
    def square_z(self) -> Array:
        """Return |z|^2, (T,)."""
        return np.asarray(np.einsum("tk,tk->t", self.z, self.z))

    def take(self, rows: Index) -> Point:
        """Select trials, with the cached properties."""
        if np.array_equal(rows, np.arange(self.z.shape[0])):
            return self
        slowest = None if self.slowest is None else self.slowest[rows]
        Q = self.Q[slice_of(rows)]
        part = Point(Q, self.z[rows], self.dphi[rows], self.residual[rows], self.loss[rows], slowest)
        for name in CACHED & vars(self).keys():
            vars(part)[name] = vars(self)[name][rows]
        return part

    def with_slowest(self, slowest: Array) -> Point:
        """Return a copy with the smallest eigenvalue of the kernel and the cached properties."""
        other = replace(self, slowest=slowest)
        for name in CACHED & vars(self).keys():
            vars(other)[name] = vars(self)[name]
        return other

    def with_Q(self, Q: Array) -> Point:
        """Return a copy with another Q, without the cached properties."""
        return replace(self, Q=Q, slowest=None)

    def updated(self, accepted: Mask, new: Point) -> Point:
        """Take the accepted trials from a new point, the others from this one."""
        if accepted.all():
            return new

        def choose(name: str) -> Array:
            one, two = getattr(new, name), getattr(self, name)
            return np.asarray(np.where(accepted.reshape(-1, *(1,) * (one.ndim - 1)), one, two))

        Q = self.Q if new.Q is self.Q else choose("Q")
        return Point(Q, choose("z"), choose("dphi"), choose("residual"), choose("loss"))


@dataclass(frozen=True)
class ReducedFlow:
    """Gradient flow of T networks of one width."""

    mode: str  # "hidden" or "both"
    activation: Activation
    loss: Loss
    problems: ProblemBatch  # of one row or T rows
    Q_start: Array  # Z^T V(0), (T, r, k); constant in mode `hidden`

    @property
    def width(self) -> int:
        """Return the number k of neurons."""
        return int(self.Q_start.shape[2])

    def start(self, h: Array) -> Array:
        """Return the state at time 0 from the pre-activations, shape (T, rows, k)."""
        if self.mode == "hidden":
            return h[:, None, :].copy()
        return np.concatenate([h[:, None, :], self.Q_start], axis=1)

    def take(self, rows: Index) -> ReducedFlow:
        """Select trials."""
        if np.array_equal(rows, np.arange(self.Q_start.shape[0])):
            return self
        Q = self.Q_start[slice_of(rows)]
        return ReducedFlow(self.mode, self.activation, self.loss, self.problems.take(rows), Q)

    def evaluate(self, state: Array) -> Point:
        """Return the activations, residual and loss of a state."""
        Q = self.Q_start if self.mode == "hidden" else state[:, 1:]
        z, dphi = self.activation.phi_dphi(state[:, 0])
        residual = self.residual_of(Q, z)
        return Point(Q, z, dphi, residual, self.loss_of(residual))

    def residual_of(self, Q: Array, z: Array) -> Array:
        """Return the residual U^T (y(t) - y) of activations, (T, r)."""
        signal = np.matmul(Q, z[:, :, None])[:, :, 0] / np.sqrt(self.width)
        return np.asarray(self.problems.S * signal - self.problems.target)

    def _lift(self, residual: Array) -> Array:
        """Return the residual in the observation, (T, m); in Im(A) where the loss knows only its norm, (T, r)."""
        if self.loss.radial:
            return residual
        return np.asarray(np.matmul(self.problems.U, residual[:, :, None])[:, :, 0])

    def loss_of(self, residual: Array) -> Array:
        """Return the loss of a residual in Im(A), (T,)."""
        return self.loss.value(self._lift(residual))

    def psi_of(self, residual: Array) -> Array:
        """Return psi(L) of a residual in Im(A), (T,)."""
        return self.loss.psi_of(self._lift(residual))

    def slope(self, residual: Array) -> Array:
        """Return the gradient of the loss on Im(A), (T, r): U^T grad L."""
        gradient = self.loss.gradient(self._lift(residual))
        if self.loss.radial:
            return gradient
        return np.asarray(np.matmul(gradient[:, None, :], self.problems.U)[:, 0, :])

    def curvature_root(self, residual: Array) -> Array | None:
        """Return the factor C with C C^T the Hessian of the loss on Im(A), (T, r, r); None for the identity."""
        if self.loss.quadratic:
            return None
        hessian = self.loss.hessian(self._lift(residual))
        if not self.loss.radial:
            hessian = np.matmul(self.problems.U.swapaxes(1, 2), np.matmul(hessian, self.problems.U))
        r = hessian.shape[-1]
        # a flat direction gets a small curvature: the linear part of a step may be approximate
        floor = 1e-10 * np.trace(hessian, axis1=1, axis2=2) / r + 1e-200
        good = np.asarray(np.isfinite(hessian).all(axis=(1, 2)))[:, None, None]
        hessian = np.where(good, hessian + floor[:, None, None] * np.eye(r), np.eye(r))
        return np.asarray(np.linalg.cholesky(hessian), dtype=float)

    def pull(self, residual: Array) -> Array:
        """Return the gradient of the loss in Z^T x, (T, r): S U^T grad L."""
        return self.problems.S * self.slope(residual)

    def kernel(self, point: Point) -> Array:
        """Return the observed tangent kernel U^T A J J^T A^T U, (T, r, r)."""
        kernel = point.gram / self.width
        if self.mode == "both":
            kernel = kernel + (point.square_z / self.width)[:, None, None] * np.eye(kernel.shape[1])
        S = self.problems.S
        return np.asarray(S[:, :, None] * kernel * S[:, None, :])

    def derivative(self, state: Array, out: Array) -> Point:
        """Write d state/dt to ``out`` and return the point at the state."""
        point = self.evaluate(state)
        pull = self.pull(point.residual) / -np.sqrt(self.width)
        np.matmul(pull[:, None, :], point.Q, out=out[:, :1])
        out[:, 0] *= point.dphi
        if self.mode == "both":
            np.multiply(pull[:, :, None], point.z[:, None, :], out=out[:, 1:])
        return point


def conserved_drift(flow: ReducedFlow, h: Array, state: Array) -> Array:
    """Return the relative drift of the conserved quantities (theory §3.3-3.4), (T,); NaN where the state is not finite.

    `hidden`: the part of Phi(h(t)) - Phi(h(0)) outside the row space of Q, where the flow keeps it, in units of the
    whole. `both`: the largest change of |Q_i|^2/2 - Pi(h_i) over the neurons, in units of 1 + |Q_i|^2/2.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if flow.mode == "both":
            start, end = (0.5 * np.square(Q).sum(axis=1) for Q in (flow.Q_start, state[:, 1:]))
            ratio = flow.activation.ratio_primitive
            drift = (end - ratio(state[:, 0])) - (start - ratio(h))
            return np.asarray(np.abs(drift / (1.0 + start)).max(axis=1))
        moved = flow.activation.primitive(state[:, 0]) - flow.activation.primitive(h)
        gram = np.matmul(flow.Q_start, flow.Q_start.swapaxes(1, 2))
        ridge = 1e-14 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(gram.shape[1])
        image = np.matmul(flow.Q_start, moved[:, :, None])
        inside = np.matmul(np.linalg.solve(gram + ridge, image)[:, :, 0][:, None, :], flow.Q_start)[:, 0, :]
        size = np.linalg.norm(moved, axis=1)
        return np.where(size > 0.0, np.linalg.norm(moved - inside, axis=1) / size, 0.0)
