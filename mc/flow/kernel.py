"""Functions of the linear part of a step, through one eigenvalue problem of size r (theory §3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np

from mc.flow.field import Point, ReducedFlow
from mc.model.arrays import Array, Index, Mask

_TERMS = 16
"""Degree of the series: at |z| <= 1 the omitted terms are below 1/17! of the value."""

_RECIPROCALS = np.array([1.0 / factorial(j) for j in range(_TERMS + 7)])


@dataclass(frozen=True)
class KernelSpectrum:
    """Eigenvalues of H K, H = C C^T the Hessian of the loss and K the observed tangent kernel.

    phi_j(-dt H K) v = v/j! - dt E phi_{j+1}(-dt rates) E^T K v, with E = C W and C^T K C = W rates W^T: no inverse of H
    or K is taken.
    """

    rates: Array  # (T, r), not negative
    basis: Array  # E, (T, r, r)
    image: Array  # E^T K, (T, r, r)

    @classmethod
    def of(cls, kernel: Array, root: Array | None) -> KernelSpectrum:
        """Decompose from K (T, r, r) and C, None for the identity."""
        if root is None:
            rates, basis = np.linalg.eigh(_finite(kernel))
        else:
            rates, W = np.linalg.eigh(_finite(np.matmul(root.swapaxes(1, 2), np.matmul(kernel, root))))
            basis = np.matmul(root, W)
        return cls(np.maximum(rates, 0.0), basis, np.matmul(basis.swapaxes(1, 2), kernel))

    def updated(self, accepted: Mask, kernel: Array, flow: ReducedFlow, point: Point) -> tuple[Array, KernelSpectrum]:
        """Recompute kernel and spectrum for the trials that have moved to ``point``."""
        rows = np.flatnonzero(accepted)
        # selecting the trials from Q costs as much as recomputing what has not changed
        if 2 * rows.size >= accepted.size:
            kernel = flow.kernel(point)
            return kernel, KernelSpectrum.of(kernel, flow.curvature_root(point.residual))
        if rows.size:
            moved_flow, moved_point = flow.take(rows), point.take(rows)
            kernel = kernel.copy()
            kernel[rows] = moved_flow.kernel(moved_point)
            part = KernelSpectrum.of(kernel[rows], moved_flow.curvature_root(moved_point.residual))
            self.rates[rows], self.basis[rows], self.image[rows] = part.rates, part.basis, part.image
        return kernel, self

    def coordinates(self, v: Array) -> Array:
        """Return E^T v, (T, r)."""
        return np.asarray(np.matmul(v[:, None, :], self.basis)[:, 0, :])

    def image_of(self, v: Array) -> Array:
        """Return E^T K v, (T, r)."""
        return np.asarray(np.matmul(self.image, v[:, :, None])[:, :, 0])

    def combine(self, coordinates: Array) -> Array:
        """Return E v, (T, r)."""
        return np.asarray(np.matmul(self.basis, coordinates[:, :, None])[:, :, 0])

    def take(self, rows: Index | Mask) -> KernelSpectrum:
        """Select trials."""
        return KernelSpectrum(self.rates[rows], self.basis[rows], self.image[rows])


def _finite(matrices: Array) -> Array:
    """Replace matrices that hold NaN or infinity by zero: their trials end as non-finite elsewhere."""
    good = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    return matrices if good.all() else np.where(good[:, None, None], matrices, 0.0)


def phi_functions(z: Array, highest: int) -> list[Array]:
    """Return the functions phi_0(z) = exp(z), phi_j(z) = (phi_{j-1}(z) - 1/(j-1)!)/z up to ``highest``.

    z is not positive, ``highest`` at most 6; the values have the shape of z and are accurate to some ulp up to phi_5.
    """
    is_near = z > -1.0
    if not is_near.any():
        return _far(z, highest)
    # near zero: a series for the last one, the others by the recursion downwards, which is stable there
    near = np.maximum(z, -1.0)
    powers = np.vander(near.reshape(-1), _TERMS + 1, increasing=True)
    series = [np.dot(powers, _RECIPROCALS[highest : highest + _TERMS + 1]).reshape(z.shape)]
    for j in range(highest - 1, -1, -1):
        series.append(near * series[-1] + _RECIPROCALS[j])
    series.reverse()
    if is_near.all():
        return series
    return [np.where(is_near, one, two) for one, two in zip(series, _far(np.minimum(z, -1.0), highest), strict=True)]


def _far(z: Array, highest: int) -> list[Array]:
    """Recur upwards, for z <= -1."""
    values = [np.exp(z)]
    for j in range(highest):
        values.append((values[-1] - _RECIPROCALS[j]) / z)
    return values
