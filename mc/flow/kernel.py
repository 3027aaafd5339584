"""Functions of the linear part of a step, through one eigenvalue problem of size r (theory §3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.flow.field import Observation, ReducedFlow
from mc.model.arrays import Array, Index, Mask


@dataclass(frozen=True)
class KernelSpectrum:
    """Eigenvalues of H K, H = C C^T the Hessian of the loss and K the observed tangent kernel.

    phi_j(-dt H K) v = v/j! - dt E phi_{j+1}(-dt rates) E^T K v, with E = C W and C^T K C = W rates W^T: no inverse of H
    or K is taken.

    Attributes
    ----------
    rates : (T, r) array
        Not negative.
    basis : (T, r, r) array
        E.
    image : (T, r, r) array
        E^T K.
    """

    rates: Array
    basis: Array
    image: Array

    @classmethod
    def of(cls, kernel: Array, root: Array | None) -> KernelSpectrum:
        """Decompose from K (T, r, r) and C, None for the identity."""
        if root is None:
            rates, basis = np.linalg.eigh(_finite(kernel))
        else:
            rates, W = np.linalg.eigh(_finite(np.matmul(root.swapaxes(1, 2), np.matmul(kernel, root))))
            basis = np.matmul(root, W)
        return cls(np.maximum(rates, 0.0), basis, np.matmul(basis.swapaxes(1, 2), kernel))

    def moved(
        self, accepted: Mask, kernel: Array, flow: ReducedFlow, seen: Observation
    ) -> tuple[Array, KernelSpectrum]:
        """Kernel and spectrum anew for the trials that have moved to ``seen``."""
        rows = np.flatnonzero(accepted)
        # to pick the trials out of Q costs as much as to do again what has not changed
        if 2 * rows.size >= accepted.size:
            kernel = flow.kernel(seen)
            return kernel, KernelSpectrum.of(kernel, flow.curvature_root(seen.residual))
        if rows.size:
            some, there = flow.take(rows), seen.take(rows)
            kernel = kernel.copy()
            kernel[rows] = some.kernel(there)
            part = KernelSpectrum.of(kernel[rows], some.curvature_root(there.residual))
            self.rates[rows], self.basis[rows], self.image[rows] = part.rates, part.basis, part.image
        return kernel, self

    def coordinates(self, v: Array) -> Array:
        """E^T v, (T, r)."""
        return np.asarray(np.matmul(v[:, None, :], self.basis)[:, 0, :])

    def image_of(self, v: Array) -> Array:
        """E^T K v, (T, r)."""
        return np.asarray(np.matmul(self.image, v[:, :, None])[:, :, 0])

    def combine(self, coordinates: Array) -> Array:
        """E v, (T, r)."""
        return np.asarray(np.matmul(self.basis, coordinates[:, :, None])[:, :, 0])

    def take(self, rows: Index | Mask) -> KernelSpectrum:
        """Some trials."""
        return KernelSpectrum(self.rates[rows], self.basis[rows], self.image[rows])


def _finite(matrices: Array) -> Array:
    """Matrices with those that hold NaN or infinity put to zero: their trials end as non-finite elsewhere."""
    good = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    return matrices if good.all() else np.where(good[:, None, None], matrices, 0.0)
