"""Scaling laws: log k*(p) regressed over cells on log n, log m, log sigma_A, log psi, beside the theory's exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mc.errors import InputError
from mc.estimate.probability.counts import Decision, Decisions, dataset, decisions, event_widths
from mc.estimate.probability.intervals import checked_level
from mc.estimate.widths.regression import fit_curve
from mc.model.arrays import Array, IntArray
from mc.model.draws import SHARED_TRIAL, What, generator
from mc.store.results import CellResults

NAMES = ("n", "m", "sigma_A", "psi")
THEORY: Mapping[str, Mapping[str, float]] = {
    "hidden": {"n": 1.0, "m": 0.0, "sigma_A": -2.0, "psi": 2.0},
    "both": {"n": 1.0, "m": 0.0, "sigma_A": -4.0, "psi": 4.0},
}
"""Exponents of the published sufficient width; the necessary width may grow more slowly."""


BOOTSTRAP = 1
"""Last number of the addresses of the bootstrap's streams (`What.ESTIMATION`)."""


@dataclass(frozen=True)
class CellCurve:
    """One cell as the regression uses it."""

    scales: Mapping[str, float]  # n, m, sigma_A, psi: medians over the trials where they are drawn
    widths: IntArray  # shape (K,)
    decisions: Decisions  # shape (trial, K), of the trials computed at every width
    cell: tuple[int, int]  # address of the bootstrap's stream


@dataclass(frozen=True)
class Exponent:
    """An exponent with its two intervals."""

    name: str
    estimate: float
    bootstrap: tuple[float, float]
    """Percentiles over resampled trials: the uncertainty due to the trials, for these cells."""
    jackknife: tuple[float, float]
    """Student's interval from leaving out one cell at a time: includes the uncertainty due to the choice of cells."""
    theory: float


@dataclass(frozen=True)
class ScalingLaw:
    """log k*(p) = constant + sum of exponents times logs."""

    mode: str
    event: str
    p: float
    level: float
    exponents: tuple[Exponent, ...]
    fitted: Array  # log k*(p) of the law, shape (cells,); NaN in cells without a rising curve, which are left out
    held: tuple[str, ...]  # names that do not vary over the cells: they have no exponent here

    def collapse(self, cells: Sequence[CellCurve]) -> tuple[tuple[Array, Array], ...]:
        """Return k over the law's k*(p) and the frequency of each cell: one curve for all cells if the law holds."""
        return tuple(
            (cell.widths / np.exp(log_width), _values(cell.decisions, 0.5).mean(axis=0))
            for cell, log_width in zip(cells, self.fitted, strict=True)
        )


def _values(decided: Decisions, undecided: float) -> Array:
    """Return 1 for trials that hold, `undecided` for undecided ones, and 0 for those that fail."""
    return np.asarray((decided == Decision.HOLDS) + undecided * (decided == Decision.UNDECIDED))


def cell_curve(cell: CellResults, event: str, mode: str) -> CellCurve | None:
    """Return the data of a cell for a scaling law; None where the event or a scale was not computed."""
    decided = decisions(cell, event, mode)
    sigma, psi = dataset(cell, "sigma_A"), dataset(cell, "psi_0")
    if decided is None or sigma is None or psi is None or not np.isfinite(psi).any():
        return None
    scales = {name: float(cell.problem[name]) for name in ("n", "m") if name in cell.problem}
    scales |= {"sigma_A": float(np.nanmedian(sigma)), "psi": float(np.nanmedian(psi[np.isfinite(psi)]))}
    complete = decided[(decided != Decision.NOT_COUNTED).all(axis=1)]
    address = (int(cell.key[:8], 16), int(cell.key[8:16], 16))
    return CellCurve(scales, event_widths(cell, event), complete, address) if len(complete) else None


def _design(cells: Sequence[CellCurve]) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Return the design matrix, the names that vary over the cells, and those that do not."""
    names = [name for name in NAMES if all(cell.scales.get(name, 0.0) > 0.0 for cell in cells)]
    logs = {name: np.log([cell.scales[name] for cell in cells]) for name in names}
    varied = tuple(name for name in names if np.ptp(logs[name]) > 1e-9 * (1.0 + np.abs(logs[name]).max()))
    design = np.column_stack([np.ones(len(cells)), *(logs[name] for name in varied)])
    if np.linalg.matrix_rank(design) < design.shape[1] or len(cells) <= design.shape[1]:
        raise InputError(
            f"{len(cells)} cells do not separate the exponents of {', '.join(varied) or 'anything'}: vary them "
            f"independently, over at least {design.shape[1] + 1} cells"
        )
    return design, varied, tuple(name for name in NAMES if name not in varied)


def scaling_law(
    cells: Sequence[CellCurve],
    mode: str,
    event: str,
    seed: int,
    p: float = 0.5,
    level: float = 0.95,
    simulations: int = 400,
) -> ScalingLaw:
    """Fit a scaling law of k*(p) over cells by least squares in logarithms; an undecided trial counts half.

    The seed is of the bootstrap; every cell draws from its own stream. Raises InputError if the cells do not separate
    the exponents.
    """
    checked_level(level)
    log_widths, samples = np.full(len(cells), np.nan), np.full((simulations, len(cells)), np.nan)
    for i, cell in enumerate(cells):
        trials = len(cell.decisions)
        values = _values(cell.decisions, 0.5)
        rng = generator(seed, cell.cell, SHARED_TRIAL, What.ESTIMATION, BOOTSTRAP)
        weights = rng.multinomial(trials, np.full(trials, 1.0 / trials), simulations)
        log_widths[i] = fit_curve(cell.widths, values.sum(axis=0), trials).log_width(p)
        samples[:, i] = fit_curve(cell.widths, weights @ values, trials).log_width(p)
    kept = np.isfinite(log_widths)
    design, varied, held = _design([cell for cell, keep in zip(cells, kept, strict=True) if keep])
    inverse = np.linalg.pinv(design)
    coefficients, resampled = inverse @ log_widths[kept], samples[:, kept]
    good = np.isfinite(resampled).all(axis=1)
    spread = resampled[good] @ inverse.T
    tail = (1.0 - level) / 2.0
    ends = np.quantile(spread, [tail, 1.0 - tail], axis=0) if good.any() else np.full((2, len(coefficients)), np.nan)
    error, freedom = _jackknife(design, log_widths[kept], coefficients), len(design) - design.shape[1]
    reach = float(stdtrit(freedom, 1.0 - tail)) * error
    theory = THEORY.get(mode, {})
    exponents = tuple(
        Exponent(
            name=name,
            estimate=float(coefficients[j]),
            bootstrap=(float(ends[0, j]), float(ends[1, j])),
            jackknife=(float(coefficients[j] - reach[j]), float(coefficients[j] + reach[j])),
            theory=theory.get(name, float("nan")),
        )
        for j, name in enumerate(varied, start=1)
    )
    fitted = np.full(len(cells), np.nan)
    fitted[kept] = design @ coefficients
    return ScalingLaw(mode, event, p, level, exponents, fitted, held)


def _jackknife(design: Array, target: Array, coefficients: Array) -> Array:
    """Return standard errors from leaving out each cell once; inf where a cell alone determines a coefficient."""
    hat = np.einsum("ij,ji->i", design, np.linalg.pinv(design))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.linalg.pinv(design).T * ((target - design @ coefficients) / (1.0 - hat))[:, None]
    cells = len(target)
    centred = without - without.mean(axis=0)
    error: Array = np.sqrt((cells - 1) / cells * np.square(centred).sum(axis=0))
    return np.where(np.isfinite(error) & (hat < 1.0 - 1e-9).all(), error, np.inf)
