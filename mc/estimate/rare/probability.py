"""Rare failures: the repetitions of splitting put together, and when not to trust them (docs/rare.md).

Counted trials give exact limits. Splitting and tilting give estimates: their intervals use the spread of
independent repetitions, which is approximate, and are labelled so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from mc.estimate.probability.counts import dataset, failed, mode_index
from mc.estimate.probability.intervals import clopper_pearson
from mc.model.arrays import Array, IntArray
from mc.store.results import CellResults
from mc.theory.codes import Exact
from mc.trial.rare.settings import carriers

METHOD = "splitting, modified Cox interval over independent repetitions"
METHOD_CLASS = "approximate"

FEWEST_REPETITIONS = 5
LEAST_ACCEPTANCE = 0.1
MOST_AUTOCORRELATION = 0.6
MOST_SPREAD = 0.8
"""Standard deviation of the logarithms: beyond it the mean depends on the few largest values."""
MOST_INFLATION = 10.0
"""Variance of the logarithms over what independent particles would have."""
FEWEST_SURVIVORS = 0.02
DISAGREEMENT = 4.0
"""Standard errors between two estimators beyond which they contradict each other (6e-5 by chance)."""


def log_interval(estimates: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of a probability from unbiased, skew, independent estimates of it, shape (R,).

    The logarithms are nearly normal where products of many shares are; the mean of a log-normal variable is
    exp(mean + variance/2), and the modified Cox interval is that of mean + variance/2 with Student's t.
    It is (0, 1) for fewer than two estimates or one that is 0: the spread is then unknown.
    """
    values = np.asarray(estimates, dtype=np.float64)
    count = values.size
    if count < 2 or np.any(values <= 0.0):
        return 0.0, 1.0
    logs = np.log(values)
    variance = float(logs.var(ddof=1))
    centre = float(logs.mean()) + 0.5 * variance
    error = np.sqrt(variance / count + variance**2 / (2.0 * (count - 1)))
    half = float(student.ppf(0.5 + 0.5 * level, count - 1)) * float(error)
    return float(np.exp(min(centre - half, 0.0))), float(np.exp(min(centre + half, 0.0)))


@dataclass(frozen=True)
class Counted:
    """Failures among independent trials, with exact limits."""

    fails: int
    trials: int
    undecided: int
    interval: tuple[float, float]
    """Two-sided Clopper-Pearson, undecided trials counted as holding below and as failing above."""
    upper: float  # one-sided exact upper limit: the bound that needs no model at all

    @classmethod
    def of(cls, fails: int, trials: int, level: float, undecided: int = 0) -> Counted:
        """Compute the limits of counts."""
        lower = float(clopper_pearson(fails, trials, level)[0])
        upper = float(clopper_pearson(fails + undecided, trials, level)[1])
        one_sided = float(clopper_pearson(fails + undecided, trials, level, "upper")[1])
        return cls(fails, trials, undecided, (lower, upper), one_sided)


@dataclass(frozen=True)
class RareWidth:
    """A failure at one width, estimated by repetitions of splitting; those of failed trials are not counted."""

    width: int
    repetitions: int
    probability: float  # mean of the repetitions: an unbiased estimate; NaN where all of them failed
    interval: tuple[float, float]
    """Of `log_interval`; the upper end counts undecided particles as failures. (0, 1) where a repetition failed."""
    spread: float  # standard deviation of the logarithms of the repetitions
    inflation: float  # its square over the variance that independent particles would have
    acceptance: float  # this, autocorrelation and survival: the worst over repetitions and levels
    autocorrelation: float
    survival: float
    levels: int
    counted: Counted | None  # the run's own trials; None where no dataset decides the failure
    direct: Counted
    """The first particles of the repetitions, which are independent draws; undecided where a repetition failed."""
    tilted: float  # mean of the tilted estimates; NaN without
    tilted_interval: tuple[float, float]
    warnings: tuple[str, ...] = ()  # why the estimate should not be trusted

    @property
    def trusted(self) -> bool:
        """Whether no diagnostic warns against the estimate."""
        return not self.warnings


def counted_failures(
    cell: CellResults, table: Mapping[str, Any], moment_dphi: float, column: int, level: float
) -> Counted | None:
    """Count the failures among the run's own trials in a column of widths; None where no stored dataset decides them.

    `table` is the complete [rare] table; `moment_dphi` is C_dphi, NaN where it is not known.
    """
    margin, lost = table["margin"], _failed_at(cell, column)
    if margin == "exact":
        exact = dataset(cell, "exact")
        if exact is None:
            return None
        verdicts = exact[:, column]
        decided = int(np.isin(verdicts, (Exact.REACHES_ZERO, Exact.CANNOT, Exact.UNDECIDED)).sum()) + lost
        fails, undecided = int((verdicts == Exact.CANNOT).sum()), int((verdicts == Exact.UNDECIDED).sum()) + lost
        return Counted.of(fails, decided, level, undecided) if decided else None
    name, mode = ("sigma_0", "hidden") if margin == "lambda_min" else (f"margin_{margin}", table.get("mode", ""))
    stored = dataset(cell, name)
    limit = float(table["threshold"])
    if margin == "lambda_min":
        limit = float(np.sqrt(limit)) * moment_dphi
    if stored is None or mode not in cell.modes or np.isnan(limit):
        return None
    values = stored[mode_index(cell, mode), :, column]
    values = values[~np.isnan(values)]
    trials = values.size + lost
    return Counted.of(int((values <= limit).sum()), trials, level, lost) if trials else None


def _failed_at(cell: CellResults, column: int) -> int:
    """Count the trials that failed at a width."""
    lost = failed(cell)
    return 0 if lost is None else int(lost[:, column].sum())


def _lost_repetitions(cell: CellResults, table: Mapping[str, Any], block_size: int | None) -> IntArray:
    """Count the repetitions carried by failed trials, at every width of the cell."""
    lost = failed(cell)
    if lost is None:
        return np.zeros(len(cell.widths), dtype=np.int64)
    trials, size = len(lost), block_size or len(lost)
    blocks = [range(first, min(first + size, trials)) for first in range(0, trials, size)]
    per_block = table["per_block"] if block_size else trials
    rows = [trial for block in blocks for trial in carriers(block, per_block, table["repetitions"])]
    failures = lost[np.array(rows, dtype=int)].sum(axis=0)
    return np.asarray(failures * np.isin(cell.widths, table["widths"]), dtype=np.int64)


def rare_widths(
    cell: CellResults,
    table: Mapping[str, Any],
    level: float,
    moment_dphi: float = np.nan,
    block_size: int | None = None,
) -> tuple[RareWidth, ...]:
    """Estimate the rare failure of a cell at every width that has repetitions, or of which repetitions failed.

    Widths at which the pilot did not reach the threshold are left out. `table` is the complete [rare] table;
    `moment_dphi` (C_dphi) is needed to count trials for ``lambda_min``; `block_size` determines which trials carry the
    repetitions (None: the first trials).
    """
    stored = dataset(cell, "rare_probability")
    if stored is None:
        return ()
    lost = _lost_repetitions(cell, table, block_size)
    estimated = np.isfinite(stored).any(axis=0)
    not_reached = ~estimated & (np.asarray(cell.data["rare_levels"]) > 0).any(axis=0)
    columns = np.flatnonzero((estimated | (lost > 0)) & ~not_reached)
    return tuple(_at_width(cell, table, moment_dphi, int(i), level, int(lost[i])) for i in columns)


def unreached(cell: CellResults) -> tuple[int, ...]:
    """Return the widths at which the pilot did not reach the threshold."""
    stored, levels = dataset(cell, "rare_probability"), dataset(cell, "rare_levels")
    if stored is None or levels is None:
        return ()
    not_reached = (levels > 0).any(axis=0) & ~np.isfinite(stored).any(axis=0)
    return tuple(int(k) for k in np.asarray(cell.widths)[not_reached])


def _at_width(
    cell: CellResults, table: Mapping[str, Any], moment_dphi: float, column: int, level: float, lost: int
) -> RareWidth:
    columns = {name: np.asarray(cell.data[name])[:, column] for name in cell.data if name.startswith("rare_")}
    rows = np.isfinite(columns["rare_probability"])
    stored = {name: values[rows] for name, values in columns.items()}
    estimates, ideal = stored["rare_probability"], stored["rare_ideal_variance"]
    lower, upper = log_interval(estimates, level)
    undecided = stored["rare_undecided"]
    if undecided.any():
        upper = log_interval(estimates + undecided, level)[1]
    logs = np.log(estimates[estimates > 0.0])
    spread = float(logs.std(ddof=1)) if logs.size > 1 else np.nan
    tilted = stored["rare_tilted"][np.isfinite(stored["rare_tilted"])]
    particles, everything = int(table["particles"]), (0.0, 1.0)
    first = Counted.of(
        int(stored["rare_direct"].sum()), (int(rows.sum()) + lost) * particles, level, undecided=lost * particles
    )
    counted = counted_failures(cell, table, moment_dphi, column, level)
    width = RareWidth(
        width=int(cell.widths[column]),
        repetitions=int(rows.sum()),
        probability=_or_nan(np.mean, estimates),
        interval=everything if lost else (lower, upper),
        spread=spread,
        inflation=spread**2 / float(ideal.mean()) if ideal.size and ideal.mean() > 0.0 else np.nan,
        acceptance=_or_nan(np.fmin.reduce, stored["rare_acceptance"]),
        autocorrelation=_or_nan(np.median, stored["rare_autocorrelation"]),
        survival=_or_nan(np.min, stored["rare_survival"]),
        levels=int(stored["rare_levels"].max(initial=-1)),
        counted=counted,
        direct=first,
        tilted=_or_nan(np.mean, tilted),
        tilted_interval=(everything if lost else log_interval(tilted, level)) if tilted.size else (np.nan, np.nan),
    )
    return _with_warnings(width, estimates, tilted, lost)


def _or_nan(reduce: Callable[[Array], Any], values: Array) -> float:
    """Reduce the values of the repetitions; NaN without any."""
    return float(reduce(values)) if values.size else np.nan


def _with_warnings(width: RareWidth, estimates: Array, tilted: Array, lost: int) -> RareWidth:
    """Add the reasons not to trust an estimate."""
    warnings: list[str] = []
    if lost:
        warnings.append(f"{lost} repetitions failed with their trials: the probability may lie anywhere")
    if width.repetitions < FEWEST_REPETITIONS:
        warnings.append(f"only {width.repetitions} repetitions: their spread is hardly known")
    if np.any(estimates <= 0.0):
        warnings.append("a repetition died out: more particles are needed")
    if width.acceptance < LEAST_ACCEPTANCE:
        warnings.append(f"acceptance {width.acceptance:.2g} at some level: the particles hardly move")
    if width.autocorrelation > MOST_AUTOCORRELATION:
        warnings.append(f"autocorrelation {width.autocorrelation:.2g} at some level: more moves are needed")
    if width.survival < FEWEST_SURVIVORS:
        warnings.append(f"only {width.survival:.2g} of the particles survive some level: more particles are needed")
    if width.spread > MOST_SPREAD:
        warnings.append(
            f"repetitions differ by a factor {np.exp(width.spread):.2g}: more particles or moves are needed"
        )
    if width.inflation > MOST_INFLATION and width.spread > 0.3:
        warnings.append(f"variance {width.inflation:.2g} times that of independent particles: more moves are needed")
    apart = disagreement(estimates, tilted)
    if apart > DISAGREEMENT:
        warnings.append(f"splitting and tilting are {apart:.1f} standard errors apart")
    direct = width.direct
    if not (direct.interval[0] <= width.interval[1] and width.interval[0] <= direct.interval[1]):
        warnings.append("the failures among the first particles contradict the estimate")
    return replace(width, warnings=tuple(warnings))


def disagreement(one: Array, other: Array) -> float:
    """Return the standard errors between the means of two sets of estimates; NaN where a spread is not known."""
    if min(one.size, other.size) < 2:
        return np.nan
    error = one.var(ddof=1) / one.size + other.var(ddof=1) / other.size
    return float(abs(one.mean() - other.mean()) / np.sqrt(error)) if error > 0.0 else np.nan
