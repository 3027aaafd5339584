"""The ladder of certificates paper, trial, sharp and restart, from spectra and column maxima (theory §4-§5).

Every array has the shape of its ``width`` argument broadcast with the trials: (T,), (T, widths), ...
A certificate holds where its margin exceeds one; `conserved` holds where sigma_low is positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array, Index
from mc.model.problem import ProblemBatch
from mc.theory.lipschitz import PublishedLipschitz, TrialLipschitz

MODES = ("hidden", "both")
LADDER = ("paper", "trial", "sharp", "exact", "conserved")


@dataclass(frozen=True)
class Spectra:
    """Smallest singular values of the Jacobian in one mode.

    Attributes
    ----------
    sigma_0 : array
        Smallest of the n singular values of J.
    sigma_Z : array
        Smallest of the r singular values of Z^T J.
    sigma_obs : array
        Smallest singular value of A J on Im(A).
    """

    sigma_0: Array
    sigma_Z: Array
    sigma_obs: Array


def smallest_singular_value(gram: Array, scale: Array | float, terms: float, trace: Array | None = None) -> Array:
    """Lower bound of the smallest singular value from a Gram matrix summed in floating point.

    Parameters
    ----------
    gram : (..., n, n) array
        Sum of outer products.
    scale : array or float
        Factor of the Gram matrix, here 1/k.
    terms : float
        Rounding errors that one entry may have met (theory §5: n + block + k/block).
    trace : (...) array, optional
        Size of what was rounded, where ``gram`` is a projection of it; the trace of ``gram`` by default.

    Returns
    -------
    (...) array
        ``sqrt(max(lambda_min - (n + terms) 2^-53 trace, 0) scale)``.
    """
    smallest = np.linalg.eigvalsh(gram)[..., 0]
    size = np.trace(gram, axis1=-2, axis2=-1) if trace is None else trace
    rounding = (gram.shape[-1] + terms) * 2.0**-53 * size
    return np.asarray(np.sqrt(np.maximum(smallest - rounding, 0.0) * scale))


def signal_spectrum(gram: Array, square_z: Array, width: int, mode: str, terms: float) -> Array:
    """sigma_0 from the n x n Gram matrix of the hidden layer, both modes from the one matrix."""
    return smallest_singular_value(_with_output_layer(gram, square_z, mode), 1.0 / width, terms)


def _with_output_layer(gram: Array, square_z: Array, mode: str) -> Array:
    if mode == "hidden":
        return gram
    return gram + square_z[..., None, None] * np.eye(gram.shape[-1])


def observed_spectra(
    gram_Z: Array, square_z: Array, S: Array, width: int, mode: str, terms: float, trace: Array | None = None
) -> tuple[Array, Array]:
    """(sigma_Z, sigma_obs) from the r x r Gram matrix Z^T V Dphi^2 V^T Z.

    Parameters
    ----------
    gram_Z : (T, r, r) array
    square_z : (T,) array
    S : (T or 1, r) array
    trace : (T,) array, optional
        Trace of the n x n matrix that ``gram_Z`` was projected from.
    """
    full = _with_output_layer(gram_Z, square_z, mode)
    observed = S[:, :, None] * full * S[:, None, :]
    size = np.trace(full, axis1=-2, axis2=-1) if trace is None else trace
    return (
        smallest_singular_value(full, 1.0 / width, terms, size),
        smallest_singular_value(observed, 1.0 / width, terms, np.square(S[:, 0]) * size),
    )


def spectra(gram: Array, square_z: Array, problems: ProblemBatch, width: int, mode: str, terms: float) -> Spectra:
    """All three singular values from one n x n Gram matrix (theory §5)."""
    gram_Z = np.matmul(problems.Zt, np.matmul(gram, problems.Zt.swapaxes(1, 2)))
    whole = _with_output_layer(gram, square_z, mode)
    trace = np.trace(whole, axis1=-2, axis2=-1)
    # the projection is a second product of n terms
    observed = observed_spectra(gram_Z, square_z, problems.S, width, mode, terms + problems.n, trace)
    return Spectra(smallest_singular_value(whole, 1.0 / width, terms), *observed)


@dataclass(frozen=True)
class Branch:
    """A lower bound a (sigma - ell(s)) of the observed singular value after a path of length s."""

    factor: Array | float
    sigma: Array
    lipschitz: TrialLipschitz

    def level(self, s: Array) -> Array:
        """Bound at s; negative beyond its zero."""
        return np.asarray(self.factor * (self.sigma - self.lipschitz.integrals(s)[0]))

    def area(self, s: Array) -> Array:
        """Integral of the bound from 0 to s."""
        return np.asarray(self.factor * (self.sigma * s - self.lipschitz.integrals(s)[1]))

    def slope(self, s: Array) -> Array:
        """Derivative of the bound."""
        return -self.factor * self.lipschitz.at(s)

    def take(self, rows: Index) -> Branch:
        """Some trials, where every array is (T,)."""
        at = self.lipschitz
        B1, B2 = (value[rows] if isinstance(value, np.ndarray) else value for value in (at.sup_dphi, at.lip_dphi))
        lipschitz = TrialLipschitz(at.mode, B1, B2, at.column_norm[rows], at.width[rows])
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
        """Join the bounds through Z^T J and through A J."""
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
        """m(s), zero beyond the end."""
        values = (self.branches[0].level(s), self.branches[1].level(s))
        level = np.where(s < self.crossing, self._choose(self.first, values), self._choose(self.last, values))
        return np.where(s < self.end, np.maximum(level, 0.0), 0.0)

    def area(self, s: Array) -> Array:
        """int_0^s m for s up to the end."""
        before, after = np.minimum(s, self.crossing), np.maximum(s, self.crossing)
        one, two = self.branches
        areas = self._choose(self.first, (one.area(before), two.area(before)))
        areas = areas + self._choose(self.last, (one.area(after), two.area(after)))
        return areas - self._choose(self.last, (one.area(self.crossing), two.area(self.crossing)))

    def margin(self, psi_0: Array) -> Array:
        """int m / psi_0; the certificate holds where it exceeds one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            total = self.area(self.end)
            return np.where(total > 0.0, total / psi_0, 0.0)

    def certify(self, psi_0: Array) -> tuple[Array, Array, Array]:
        """Margin, path length and final singular value.

        Returns
        -------
        margin : array
            See `margin`.
        path_length, sigma_star : arrays
            s* with int_0^{s*} m = psi_0 and m(s*); NaN where not certified.
        """
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
    """Point in (0, end) where the two bounds are equal, by Newton kept in a shrinking bracket."""
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


@dataclass(frozen=True)
class Rungs:
    """The certificates of one mode; field names are those of the stored datasets."""

    sigma_0: Array
    radius_needed: Array
    radius_trial: Array
    radius_paper: Array
    margin_paper: Array
    margin_trial: Array
    margin_sharp: Array
    sigma_star: Array
    radius_sharp: Array


def sharp_path(
    values: Spectra, mode: str, activation: Activation, problems: ProblemBatch, c_Z: Array, c_A: Array, width: Array
) -> ObservedPath:
    """Lower bound of the observed singular value along a path from the point of ``values`` (theory §5.3)."""
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
) -> Rungs:
    """Margins of paper, trial and sharp at the initial point.

    Parameters
    ----------
    values : Spectra
        Arrays (T, widths).
    entry_bound : float
        V_max of the output law; infinite outside the theorem, where `paper` never holds.
    psi_0 : (T, widths) array
        psi(L_0).
    columns : three (T, widths) arrays
        Largest |V_i|, |Z^T V_i|, |A V_i|.
    width : (widths,) array
    """
    c_V, c_Z, c_A = columns
    sigma_A = problems.sigma_A.reshape(-1, *(1,) * (psi_0.ndim - 1))
    trial = TrialLipschitz(mode, activation.sup_dphi, activation.lip_dphi, c_V, width)
    paper = PublishedLipschitz(mode, activation.bound, entry_bound, problems.n, np.broadcast_to(width, psi_0.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(values.sigma_0 > 0.0, 2.0 * psi_0 / (sigma_A * values.sigma_0), np.inf)
        margins = [
            np.where(values.sigma_0 > 0.0, values.sigma_0 / (2.0 * needed * lip.at(needed)), 0.0)
            for lip in (paper, trial)
        ]
    margins = [np.where(np.isnan(margin), 0.0, margin) for margin in margins]
    margin_sharp, radius_sharp, sigma_star = sharp_path(values, mode, activation, problems, c_Z, c_A, width).certify(
        psi_0
    )
    return Rungs(
        values.sigma_0,
        needed,
        trial.radius(values.sigma_0),
        paper.radius(values.sigma_0),
        margins[0],
        margins[1],
        margin_sharp,
        sigma_star,
        radius_sharp,
    )
