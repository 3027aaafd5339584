"""The ladder of certificates paper, trial, sharp and restart, from spectra and column maxima (theory §4-§5).

Every array has the shape of its ``width`` argument broadcast with the trials: (T,), (T, widths), ...
A certificate holds where its margin exceeds one; `conserved` holds where sigma_low is positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array, Index
from mc.model.problem import ProblemBatch
from mc.theory.lipschitz import PublishedLipschitz, TrialLipschitz

RUNG_DATASETS = (
    "sigma_0",
    "radius_needed",
    "radius_trial",
    "radius_paper",
    "margin_paper",
    "margin_trial",
    "margin_sharp",
    "sigma_star",
    "radius_sharp",
)
"""Names of the arrays that `rungs` returns; those of the stored datasets."""


class Spectra(NamedTuple):
    """Smallest singular values of the Jacobian in one mode."""

    sigma_0: Array  # of J: the smallest of n
    sigma_Z: Array  # of Z^T J: the smallest of r
    sigma_obs: Array  # of A J on Im(A)


def smallest_singular_value(gram: Array, scale: Array | float, terms: float, trace: Array | None = None) -> Array:
    """Return a lower bound (...) of the smallest singular value from rounded Gram matrices (..., n, n).

    The bound is sqrt(max(lambda_min - (n + terms) 2^-53 trace, 0) scale) (theory §5). `scale` is 1/k here; `terms`
    counts the rounding errors of one entry (n + block + k/block); `trace` is that of the rounded matrix, if `gram` is a
    projection of it.
    """
    smallest = np.linalg.eigvalsh(gram)[..., 0]
    size = np.trace(gram, axis1=-2, axis2=-1) if trace is None else trace
    rounding = (gram.shape[-1] + terms) * 2.0**-53 * size
    return np.asarray(np.sqrt(np.maximum(smallest - rounding, 0.0) * scale))


def signal_spectrum(gram: Array, square_z: Array, width: int, mode: str, terms: float) -> Array:
    """Return sigma_0 from the n x n Gram matrix V Dphi^2 V^T of the hidden layer, in either mode."""
    return smallest_singular_value(_with_output_layer(gram, square_z, mode), 1.0 / width, terms)


def _with_output_layer(gram: Array, square_z: Array, mode: str) -> Array:
    """Add the output layer's |z|^2 I to the Gram matrix of the hidden layer in mode `both`."""
    if mode == "hidden":
        return gram
    return gram + square_z[..., None, None] * np.eye(gram.shape[-1])


def observed_spectra(
    gram_Z: Array, square_z: Array, S: Array, width: int, mode: str, terms: float, trace: Array | None = None
) -> tuple[Array, Array]:
    """Return (sigma_Z, sigma_obs), each (T,), from the r x r Gram matrices Z^T V Dphi^2 V^T Z (T, r, r).

    `square_z` is |z|^2 (T,), S holds the singular values of A (T or 1, r), and `trace` (T,) is that of the n x n
    matrices that `gram_Z` was projected from.
    """
    full = _with_output_layer(gram_Z, square_z, mode)
    observed = S[:, :, None] * full * S[:, None, :]
    size = np.trace(full, axis1=-2, axis2=-1) if trace is None else trace
    return (
        smallest_singular_value(full, 1.0 / width, terms, size),
        smallest_singular_value(observed, 1.0 / width, terms, np.square(S[:, 0]) * size),
    )


def spectra(gram: Array, square_z: Array, problems: ProblemBatch, width: int, mode: str, terms: float) -> Spectra:
    """Return all three singular values from the n x n Gram matrices (T, n, n) of the hidden layer (theory §5)."""
    gram_Z = np.matmul(problems.Zt, np.matmul(gram, problems.Zt.swapaxes(1, 2)))
    whole = _with_output_layer(gram, square_z, mode)
    trace = np.trace(whole, axis1=-2, axis2=-1)
    # the projection is a second product of n terms
    observed = observed_spectra(gram_Z, square_z, problems.S, width, mode, terms + problems.n, trace)
    return Spectra(smallest_singular_value(whole, 1.0 / width, terms), *observed)


@dataclass(frozen=True)
class Branch:
    """Lower bound factor (sigma - ell(s)) of the observed singular value after a path of length s (theory §5.3)."""

    factor: Array | float
    sigma: Array
    lipschitz: TrialLipschitz

    def level(self, s: Array) -> Array:
        """Return the bound at s; negative beyond its zero."""
        return np.asarray(self.factor * (self.sigma - self.lipschitz.integrals(s)[0]))

    def area(self, s: Array) -> Array:
        """Return the integral of the bound from 0 to s."""
        return np.asarray(self.factor * (self.sigma * s - self.lipschitz.integrals(s)[1]))

    def slope(self, s: Array) -> Array:
        """Return the derivative of the bound at s."""
        return -self.factor * self.lipschitz.on_ball(s)

    def take(self, rows: Index) -> Branch:
        """Return the branch of some trials; every array is (T,)."""
        whole = self.lipschitz
        B1, B2 = (x[rows] if isinstance(x, np.ndarray) else x for x in (whole.sup_dphi, whole.lip_dphi))
        lipschitz = TrialLipschitz(whole.mode, B1, B2, whole.column_norm[rows], whole.width[rows])
        return Branch(np.asarray(self.factor)[rows], self.sigma[rows], lipschitz)


@dataclass(frozen=True)
class ObservedPath:
    """Lower bound m(s) of the smallest observed singular value along a path of length s (theory §5.3).

    m follows one branch up to ``crossing`` and the other from there to its zero ``end``.
    """

    branches: tuple[Branch, Branch]
    first: Index
    last: Index
    crossing: Array
    end: Array

    @classmethod
    def build(cls, signal: Branch, observed: Branch) -> ObservedPath:
        """Join the lower bounds through Z^T J and through A J."""
        ends = np.stack([branch.lipschitz.reach(branch.sigma) for branch in (signal, observed)])
        end = ends.max(axis=0)
        zero = np.zeros_like(end)
        first = np.where(signal.level(zero) >= observed.level(zero), 0, 1)
        # two constant bounds never cross
        last = np.where(np.isinf(end), first, np.argmax(ends, axis=0))
        crossing = np.where(first == last, 0.0, _crossing(signal, observed, end))
        path = cls((signal, observed), first, last, crossing, end)
        # the branches may cross twice: then one branch alone can be the better bound
        total = path.area(end)
        for number, branch in enumerate((signal, observed)):
            better = branch.area(ends[number]) > total
            first, last = np.where(better, number, first), np.where(better, number, last)
            crossing, end = np.where(better, 0.0, crossing), np.where(better, ends[number], end)
        return cls((signal, observed), first, last, crossing, end)

    def _choose(self, which: Index, values: tuple[Array, Array]) -> Array:
        return np.where(which == 0, values[0], values[1])

    def level(self, s: Array) -> Array:
        """Return m(s), zero beyond the end."""
        values = (self.branches[0].level(s), self.branches[1].level(s))
        level = np.where(s < self.crossing, self._choose(self.first, values), self._choose(self.last, values))
        return np.where(s < self.end, np.maximum(level, 0.0), 0.0)

    def area(self, s: Array) -> Array:
        """Return int_0^s m for s up to the end."""
        before, after = np.minimum(s, self.crossing), np.maximum(s, self.crossing)
        one, two = self.branches
        areas = self._choose(self.first, (one.area(before), two.area(before)))
        areas = areas + self._choose(self.last, (one.area(after), two.area(after)))
        return areas - self._choose(self.last, (one.area(self.crossing), two.area(self.crossing)))

    def margin(self, psi_0: Array) -> Array:
        """Return int m / psi_0; the certificate holds where it exceeds one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            total = self.area(self.end)
            return np.where(total > 0.0, total / psi_0, 0.0)

    def certify(self, psi_0: Array) -> tuple[Array, Array, Array]:
        """Return margin, path length s* with int_0^{s*} m = psi_0, and sigma_* = m(s*); NaN where not certified."""
        with np.errstate(divide="ignore", invalid="ignore"):
            margin = self.margin(psi_0)
            certified = margin > 1.0
            s, moving = np.zeros_like(margin), certified
            # the area is concave: Newton from the left never overshoots
            for _ in range(50):
                new = s + (psi_0 - self.area(s)) / self.level(s)
                new = np.clip(np.where(np.isfinite(new), new, s), s, self.end)
                s, moving = np.where(moving, new, s), moving & (new - s > 1e-15 * new)
                if not moving.any():
                    break
        # one more ulp of path: sigma_star stays a lower bound
        s = np.minimum(s * (1.0 + 1e-12), self.end)
        return margin, np.where(certified, s, np.nan), np.where(certified, self.level(s), np.nan)


def _crossing(signal: Branch, observed: Branch, end: Array) -> Array:
    """Return the point in (0, end) where the two bounds are equal, by Newton kept in a shrinking bracket."""
    low, high = np.zeros_like(end), end.copy()
    zero = np.zeros_like(end)
    sign = np.sign(signal.level(zero) - observed.level(zero))
    s, moving = 0.5 * end, np.isfinite(end) & (end > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(40):
            gap = signal.level(s) - observed.level(s)
            before = gap * sign > 0.0
            low, high = np.where(before, s, low), np.where(before, high, s)
            new = s - gap / (signal.slope(s) - observed.slope(s))
            new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
            # the area is stationary in the crossing: half the digits give them all
            s, moving = np.where(moving, new, s), moving & (np.abs(new - s) > 1e-8 * end)
            if not moving.any():
                break
    return s


def sharp_path(
    values: Spectra, mode: str, activation: Activation, problems: ProblemBatch, c_Z: Array, c_A: Array, width: Array
) -> ObservedPath:
    """Bound the observed singular value along a path that starts where the Jacobian has `values` (theory §5.3)."""
    extra = (1,) * (np.ndim(values.sigma_Z) - 1)
    sigma_A, norm_A = problems.sigma_A.reshape(-1, *extra), problems.norm_A.reshape(-1, *extra)
    B1, B2 = activation.sup_dphi, activation.lip_dphi
    signal = Branch(sigma_A, values.sigma_Z, TrialLipschitz(mode, B1, B2, c_Z, width))
    observed = Branch(1.0, values.sigma_obs, TrialLipschitz(mode, norm_A * B1, norm_A * B2, c_A / norm_A, width))
    return ObservedPath.build(signal, observed)


def rungs(
    values: Spectra,
    mode: str,
    activation: Activation,
    entry_bound: float,
    problems: ProblemBatch,
    psi_0: Array,
    columns: tuple[Array, Array, Array],
    width: Array,
) -> dict[str, Array]:
    """Return the margins of paper, trial and sharp at the initial point, by dataset name (`RUNG_DATASETS`).

    `values` and psi_0 = psi(L_0) are (T, widths), `width` is (widths,), and `columns` holds the largest |V_i|,
    |Z^T V_i| and |A V_i| (T, widths). `entry_bound` is V_max: infinite outside the theorem, where `paper` never holds.
    """
    c_V, c_Z, c_A = columns
    sigma_A = problems.sigma_A.reshape(-1, *(1,) * (psi_0.ndim - 1))
    trial = TrialLipschitz(mode, activation.sup_dphi, activation.lip_dphi, c_V, width)
    paper = PublishedLipschitz(mode, activation.bound, entry_bound, problems.n, np.broadcast_to(width, psi_0.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(values.sigma_0 > 0.0, 2.0 * psi_0 / (sigma_A * values.sigma_0), np.inf)
        margins = [
            np.where(values.sigma_0 > 0.0, values.sigma_0 / (2.0 * needed * lip.on_ball(needed)), 0.0)
            for lip in (paper, trial)
        ]
    margin_paper, margin_trial = (np.where(np.isnan(margin), 0.0, margin) for margin in margins)
    path = sharp_path(values, mode, activation, problems, c_Z, c_A, width)
    margin_sharp, radius_sharp, sigma_star = path.certify(psi_0)
    radii = needed, trial.radius(values.sigma_0), paper.radius(values.sigma_0)
    arrays = (values.sigma_0, *radii, margin_paper, margin_trial, margin_sharp, sigma_star, radius_sharp)
    return dict(zip(RUNG_DATASETS, arrays, strict=True))
