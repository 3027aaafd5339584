"""Scaling laws: log k*(p) regressed over cells on log n, log m, log sigma_A, log psi, beside the theory's exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mc.errors import InputError
from mc.estimate.probability.counts import CellLike, Decision, Decisions, dataset, decisions, event_widths
from mc.estimate.probability.intervals import checked_level
from mc.estimate.probability.streams import Purpose, stream
from mc.estimate.widths.regression import fit_curve
from mc.model.arrays import Array, IntArray

NAMES = ("n", "m", "sigma_A", "psi")
THEORY: Mapping[str, Mapping[str, float]] = {
    "hidden": {"n": 1.0, "m": 0.0, "sigma_A": -2.0, "psi": 2.0},
    "both": {"n": 1.0, "m": 0.0, "sigma_A": -4.0, "psi": 4.0},
}
"""Exponents of the published sufficient width; what is needed may grow more slowly."""


@dataclass(frozen=True)
class CellCurve:
    """One cell as the regression sees it.

    Parameters
    ----------
    scales : mapping of str to float
        n, m, sigma_A, psi: medians over the trials where they are drawn.
    widths : ndarray of int64, shape (K,)
    decisions : ndarray of int8, shape (trial, K)
        Trials computed at every width.
    cell : tuple of int
        Address of the bootstrap's stream.
    """

    scales: Mapping[str, float]
    widths: IntArray
    decisions: Decisions
    cell: tuple[int, int]


@dataclass(frozen=True)
class Exponent:
    """An exponent with both of its intervals.

    Parameters
    ----------
    name : str
    estimate : float
    bootstrap : tuple of float
        Percentiles over resampled trials: what the trials leave open, the cells as they are.
    jackknife : tuple of float
        Student's interval from leaving out one cell at a time: what the choice of cells leaves open as well.
    theory : float
    """

    name: str
    estimate: float
    bootstrap: tuple[float, float]
    jackknife: tuple[float, float]
    theory: float


@dataclass(frozen=True)
class ScalingLaw:
    """log k*(p) = constant + sum of exponents times logs.

    Parameters
    ----------
    mode, event : str
    p, level : float
    exponents : tuple of Exponent
    constant : float
    log_widths : ndarray, shape (cells,)
        Estimated log k*(p); NaN in cells left out because no rising curve could be fitted.
    fitted : ndarray, shape (cells,)
    held : tuple of str
        Names that do not vary over the cells: they have no exponent here.
    simulations, dropped : int
        Bootstrap samples made, and those in which some cell had no rising curve.
    """

    mode: str
    event: str
    p: float
    level: float
    exponents: tuple[Exponent, ...]
    constant: float
    log_widths: Array
    fitted: Array
    held: tuple[str, ...]
    simulations: int
    dropped: int

    def collapse(self, cells: Sequence[CellCurve]) -> tuple[tuple[Array, Array], ...]:
        """For each cell k over the law's k*(p), and the frequency: the curves fall on one where the law holds."""
        return tuple(
            (cell.widths / np.exp(at), _share(cell.decisions, 0.5)) for cell, at in zip(cells, self.fitted, strict=True)
        )


def _share(found: Decisions, undecided: float) -> Array:
    share: Array = ((found == Decision.HOLDS) + undecided * (found == Decision.UNDECIDED)).mean(axis=0)
    return share


def cell_curve(cell: CellLike, event: str, mode: str) -> CellCurve | None:
    """What the scaling law needs of a cell; None where the event or a scale was not computed."""
    found = decisions(cell, event, mode)
    sigma, psi = dataset(cell, "sigma_A"), dataset(cell, "psi_0")
    if found is None or sigma is None or psi is None or not np.isfinite(psi).any():
        return None
    scales = {name: float(cell.problem[name]) for name in ("n", "m") if name in cell.problem}
    scales |= {"sigma_A": float(np.nanmedian(sigma)), "psi": float(np.nanmedian(psi[np.isfinite(psi)]))}
    whole = found[(found != Decision.NOT_COUNTED).all(axis=1)]
    address = (int(cell.key[:8], 16), int(cell.key[8:16], 16))
    return CellCurve(scales, event_widths(cell, event), whole, address) if len(whole) else None


def _design(cells: Sequence[CellCurve]) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    names = [name for name in NAMES if all(cell.scales.get(name, 0.0) > 0.0 for cell in cells)]
    logs = {name: np.log([cell.scales[name] for cell in cells]) for name in names}
    varied = tuple(name for name in names if np.ptp(logs[name]) > 1e-9 * (1.0 + np.abs(logs[name]).max()))
    design = np.column_stack([np.ones(len(cells)), *(logs[name] for name in varied)])
    if np.linalg.matrix_rank(design) < design.shape[1] or len(cells) <= design.shape[1]:
        raise InputError(
            f"{len(cells)} cells do not tell the exponents of {', '.join(varied) or 'anything'} apart: vary them "
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
    undecided: float = 0.5,
    link: str = "logit",
) -> ScalingLaw:
    """Fit a scaling law of k*(p) over cells by least squares in logarithms.

    Parameters
    ----------
    cells : sequence of CellCurve
    mode, event : str
    seed : int
        Of the bootstrap; every cell draws from its own stream.
    p, level : float
    simulations : int
    undecided : float
        What an undecided trial counts as; 0 and 1 give the ends of the bracket.
    link : str

    Returns
    -------
    ScalingLaw

    Raises
    ------
    InputError
        If the cells do not tell the exponents apart.
    """
    checked_level(level)
    log_widths, samples = np.full(len(cells), np.nan), np.full((simulations, len(cells)), np.nan)
    for i, cell in enumerate(cells):
        trials = len(cell.decisions)
        worth = (cell.decisions == Decision.HOLDS) + undecided * (cell.decisions == Decision.UNDECIDED)
        weights = stream(seed, Purpose.SCALING, cell.cell).multinomial(
            trials, np.full(trials, 1.0 / trials), simulations
        )
        log_widths[i] = fit_curve(cell.widths, worth.sum(axis=0), trials, link).log_width(p)
        samples[:, i] = fit_curve(cell.widths, weights @ worth, trials, link).log_width(p)
    kept = np.isfinite(log_widths)
    design, varied, held = _design([cell for cell, keep in zip(cells, kept, strict=True) if keep])
    inverse = np.linalg.pinv(design)
    found, left = inverse @ log_widths[kept], samples[:, kept]
    good = np.isfinite(left).all(axis=1)
    spread = left[good] @ inverse.T
    tail = (1.0 - level) / 2.0
    ends = np.quantile(spread, [tail, 1.0 - tail], axis=0) if good.any() else np.full((2, len(found)), np.nan)
    error, freedom = _jackknife(design, log_widths[kept], found), len(design) - design.shape[1]
    reach = float(stdtrit(freedom, 1.0 - tail)) * error
    theory = THEORY.get(mode, {})
    exponents = tuple(
        Exponent(
            name=name,
            estimate=float(found[j]),
            bootstrap=(float(ends[0, j]), float(ends[1, j])),
            jackknife=(float(found[j] - reach[j]), float(found[j] + reach[j])),
            theory=theory.get(name, float("nan")),
        )
        for j, name in enumerate(varied, start=1)
    )
    fitted = np.full(len(cells), np.nan)
    fitted[kept] = design @ found
    return ScalingLaw(
        mode, event, p, level, exponents, float(found[0]), log_widths, fitted, held, simulations, int((~good).sum())
    )


def _jackknife(design: Array, target: Array, found: Array) -> Array:
    """Standard errors from leaving out each cell once, in closed form; inf where a cell alone carries a coefficient."""
    hat = np.einsum("ij,ji->i", design, np.linalg.pinv(design))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = np.linalg.pinv(design).T * ((target - design @ found) / (1.0 - hat))[:, None]
    cells = len(target)
    centred = without - without.mean(axis=0)
    error: Array = np.sqrt((cells - 1) / cells * np.square(centred).sum(axis=0))
    return np.where(np.isfinite(error) & (hat < 1.0 - 1e-9).all(), error, np.inf)
