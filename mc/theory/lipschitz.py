"""Lipschitz constants of the network's Jacobian around the initial point, and their integrals (theory §4, §5.3).

In mode `both` everything is a closed form of q = sqrt(k) Lip, which solves q^2 - b q - B1^2 = 0 with b = B2 (c + rho).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array


def _minus_log1p(v: Array, log: Array) -> Array:
    """Return v - log(1 + v) without cancellation at small v, given the logarithm."""
    small = v < 0.02
    if not small.any():
        return v - log
    terms = np.zeros_like(v)
    # eight terms leave a relative error below v^8/5
    for j in range(7, -1, -1):
        terms *= v
        terms += (-1.0) ** j / (j + 2.0)
    return np.where(small, v * v * terms, v - log)


@dataclass(frozen=True)
class TrialLipschitz:
    """Lip_rho of theory §4 with the largest column norm of the trial."""

    mode: str
    sup_dphi: float | Array  # B1; times |A| for the observed Jacobian A J
    lip_dphi: float | Array  # B2; times |A| for the observed Jacobian A J
    column_norm: Array  # largest column norm at the centre, in the same space (c_max, c_Z, or c_A/|A|)
    width: Array  # k, broadcast with `column_norm`

    def _q(self, b: Array) -> Array:
        return np.asarray(0.5 * (b + np.sqrt(b * b + 4.0 * np.square(self.sup_dphi))))

    def on_ball(self, rho: Array | float) -> Array:
        """Return the Lipschitz constant over the ball of radius `rho`."""
        if self.mode == "hidden":
            return np.asarray(self.lip_dphi * self.column_norm / np.sqrt(self.width) + 0.0 * rho)
        return self._q(self.lip_dphi * (self.column_norm + rho)) / np.sqrt(self.width)

    def radius(self, sigma_0: Array) -> Array:
        """Return R with R = sigma_0/(2 Lip_R); infinite where the Jacobian is constant."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.mode == "hidden":
                radius = sigma_0 / (2.0 * self.on_ball(0.0))
            else:
                t, b = 0.5 * sigma_0 * np.sqrt(self.width), self.lip_dphi * self.column_norm
                radius = 2.0 * t / (b + np.sqrt(b * b + 4.0 * (t * self.lip_dphi + np.square(self.sup_dphi))))
        return np.where(sigma_0 > 0.0, radius, 0.0)

    def integrals(self, s: Array) -> tuple[Array, Array]:
        """Return ell(s) = int_0^s Lip, the singular value lost on a path of length s, and int_0^s ell (§5.3)."""
        if self.mode == "hidden" or np.all(np.asarray(self.lip_dphi) == 0.0):
            slope = self.on_ball(0.0)
            # without curvature a path of any length, even infinite, loses nothing
            ell = np.where(slope == 0.0, 0.0, slope * np.where(slope == 0.0, 0.0, s))
            return ell, 0.5 * ell * np.where(slope == 0.0, 0.0, s)
        B1, B2 = self.sup_dphi, self.lip_dphi
        b, step = B2 * self.column_norm, B2 * s
        root, root_end = np.sqrt(b * b + 4.0 * np.square(B1)), np.sqrt(np.square(b + step) + 4.0 * np.square(B1))
        q = 0.5 * (b + root)
        # (q(s) - q)/q without cancellation
        v = 0.5 * step * (1.0 + (2.0 * b + step) / (root + root_end)) / q
        beta, log = np.square(B1 / q), np.log1p(v)
        ell = q * q * (v + 0.5 * v * v + beta * log) / (B2 * np.sqrt(self.width))
        gap = _minus_log1p(v, log)
        pieces = v * v * (0.5 + v / 6.0 + 0.5 * beta / (1.0 + v))
        pieces = pieces + beta * (v * log - gap) + beta * beta * gap / (1.0 + v)
        return ell, q**3 * pieces / (B2 * B2 * np.sqrt(self.width))

    def reach(self, sigma: Array, steps: int = 60) -> Array:
        """Return the path length at which ell(s) = sigma (ell is convex: Newton from the right is monotone)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.asarray(sigma / self.on_ball(0.0))
            s = np.where(sigma > 0.0, s, 0.0)
            if self.mode == "hidden" or np.all(np.asarray(self.lip_dphi) == 0.0):
                return s
            moving = s > 0.0
            for _ in range(steps):
                # freeze converged elements, so that a result does not depend on the other trials of the batch
                new = np.clip(s - (self.integrals(s)[0] - sigma) / self.on_ball(s), 0.0, s)
                s, moving = np.where(moving, new, s), moving & (s - new > 1e-15 * s)
                if not moving.any():
                    break
        return s


@dataclass(frozen=True)
class PublishedLipschitz:
    """Lip_rho of theory §4 from the entry bound V_max and B = max(B1, B2) alone."""

    mode: str
    bound: float
    entry_bound: float
    n: int
    width: Array

    def on_ball(self, rho: Array | float) -> Array:
        """Return the Lipschitz constant over the ball of radius `rho`."""
        scale = self.bound * np.sqrt(self.n / self.width)
        if self.mode == "hidden":
            return np.asarray(self.entry_bound * scale + 0.0 * rho)
        return np.asarray((1.0 + 2.0 * (self.entry_bound + rho)) * scale)

    def radius(self, sigma_0: Array) -> Array:
        """Return R with R = sigma_0/(2 Lip_R)."""
        if self.mode == "hidden":
            return np.asarray(sigma_0 / (2.0 * self.on_ball(0.0)))
        t = sigma_0 * np.sqrt(self.width / self.n) / (2.0 * self.bound)
        a = 1.0 + 2.0 * self.entry_bound
        return np.asarray(2.0 * t / (a + np.sqrt(a * a + 8.0 * t)))
