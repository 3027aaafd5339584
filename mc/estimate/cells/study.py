"""Everything that is estimated of one run: curves, median widths and claims, cell by cell."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mc.errors import InputError
from mc.estimate.cells.verdicts import Implication, flow_implications, ladder_implications
from mc.estimate.probability.counts import EVENTS, CellLike, dataset, failed
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support, together
from mc.estimate.sampling.adaptive import AdaptivePlan, Progress
from mc.estimate.sampling.goals import progress_of
from mc.estimate.widths.crossings import CrossingWidth, median_width
from mc.estimate.widths.curves import Curve, curve
from mc.estimate.widths.predicted import CellTheory, TheoryCurve, cell_theory
from mc.model.arrays import IntArray
from mc.store.layout import Computed
from mc.theory.claims import TRAJECTORY_CLAIMS
from mc.theory.codes import FORMS, Outcome

DELTA = 0.05
"""k_theory is reported for the promise P >= 1 - DELTA."""

DENSE = 25
"""Widths at which a theory curve is drawn beside those of the run."""


class ResultsLike(Protocol):
    """What the analysis reads of a run: the attributes of `mc.store.blocks.Results`."""

    @property
    def experiment_text(self) -> str:
        """The frozen experiment file."""
        ...

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Root attributes of results.h5."""
        ...

    @property
    def cells(self) -> tuple[CellLike, ...]:
        """The cells of the run."""
        ...


@dataclass(frozen=True)
class TheoryClaim:
    """The claim "P(certificate) >= P_theory" over all widths of a cell in one mode.

    Parameters
    ----------
    form, mode : str
    verdict : Support
        Over all widths together.
    widths : int
        Number of widths at which the bound says something (P_theory > 0).
    trials : int
        Trials of the cell.
    tightest : int or None
        Index of the width where the lower limit exceeds P_theory by least; None when vacuous everywhere.
    lower, upper, slack : float
        One-sided limits of P there (each at alpha/widths), and lower - P_theory; NaN when vacuous.
    width_for : float
        k_theory(0.05): the width from which the bound promises 0.95; inf when there is none.
    curve : Curve
        The measured curve with the theory beside.
    """

    form: str
    mode: str
    verdict: Support
    widths: int
    trials: int
    tightest: int | None
    lower: float
    upper: float
    slack: float
    width_for: float
    curve: Curve

    @property
    def name(self) -> str:
        """The claim's name in the registry."""
        return f"theory-{self.form}"


@dataclass(frozen=True)
class CellStudy:
    """What is estimated in one cell.

    Parameters
    ----------
    cell : CellLike
    trials : int
        Trials attempted at every width.
    most : int
        Trials attempted at some width.
    failed : int
        Trials that failed at some width, of certificates or of the flow.
    failures : tuple of str
        What is known of them: the place and the error of each block.
    curves : mapping of (mode, event) to Curve
    medians : mapping of (mode, event) to CrossingWidth
    theory : CellTheory or None
    compared : bool
        Whether the bounds were asked for: they take most of the time.
    drawn : mapping of (mode, form) to (widths, TheoryCurve)
        The bounds on a dense grid, for the figure.
    claims : tuple of TheoryClaim
    implications : tuple of Implication
        The ladder, then the claims checked along trajectories.
    """

    cell: CellLike
    trials: int
    most: int
    failed: int
    failures: tuple[str, ...]
    curves: Mapping[tuple[str, str], Curve]
    medians: Mapping[tuple[str, str], CrossingWidth]
    theory: CellTheory | None
    compared: bool
    drawn: Mapping[tuple[str, str], tuple[IntArray, TheoryCurve]]
    claims: tuple[TheoryClaim, ...]
    implications: tuple[Implication, ...]


@dataclass(frozen=True)
class Study:
    """What is estimated of a run.

    Parameters
    ----------
    experiment : mapping
        The parsed experiment file.
    level : float
        Confidence level; alpha = 1 - level.
    simultaneous : bool
        Whether bands hold at all widths together.
    planned : int
        Trials asked for in each cell.
    cells : tuple of CellStudy
    sampled : tuple of (AdaptivePlan, Progress) or None
        Of an adaptive run: its rule, and where its trials are in it.
    """

    experiment: Mapping[str, Any]
    level: float
    simultaneous: bool
    planned: int
    cells: tuple[CellStudy, ...]
    sampled: tuple[AdaptivePlan, Progress] | None = None

    @property
    def complete(self) -> bool:
        """Whether no trial failed and every cell has all its trials; of an adaptive run, whether its rule is done."""
        if any(cell.failed for cell in self.cells):
            return False
        if self.sampled is not None:
            return self.sampled[1].finished
        return not self.adaptive and all(cell.trials >= self.planned for cell in self.cells)

    @property
    def adaptive(self) -> bool:
        """Whether the number of trials was chosen while looking at the data."""
        return "sampling" in self.experiment


def trials_present(cell: CellLike) -> int:
    """Number of trials of a cell that are there at every width.

    Parameters
    ----------
    cell : CellLike

    Returns
    -------
    int
    """
    computed = dataset(cell, "computed")
    if computed is not None and computed.size:
        return int((computed == Computed.PRESENT).all(axis=1).sum())
    scale = dataset(cell, "sigma_A")
    return 0 if scale is None else int(np.isfinite(scale).sum())


def attempted(cell: CellLike) -> tuple[int, int]:
    """Number of trials of a cell that were attempted, whether they failed or not: at every width, and at some."""
    computed = dataset(cell, "computed")
    if computed is None or not computed.size:
        there = trials_present(cell)
        return there, there
    tried = computed != Computed.ABSENT
    return int(tried.all(axis=1).sum()), int(tried.sum(axis=0).max(initial=0))


def failed_trials(cell: CellLike) -> int:
    """Number of trials of a cell that failed at some width, of certificates or of the flow."""
    lost, outcome = failed(cell), dataset(cell, "outcome")
    rows = np.zeros(1, dtype=np.bool_) if lost is None else lost.any(axis=1)
    if outcome is not None and outcome.size:
        rows = rows | (outcome == Outcome.ERROR).any(axis=(0, 2))
    return int(rows.sum())


def failures_of(cell: CellLike, attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """What results.h5 says of the failed blocks of a cell."""
    named = json.loads(attrs.get("failures", "[]"))
    return tuple(f"{one['place']}: {one['error']}" for one in named if one["key"] == cell.key)


def _theory_claim(measured: Curve, bound: TheoryCurve, width_for: float, level: float) -> TheoryClaim:
    compared, counts = measured.against(bound), measured.counts
    says = np.flatnonzero((bound.p > 0.0) & (counts.trials > 0))
    verdict, trials = Support(together(compared.verdicts or ())), int(counts.trials.max(initial=0))
    if not len(says):
        nan = math.nan
        return TheoryClaim(bound.form, measured.mode, verdict, 0, trials, None, nan, nan, nan, width_for, compared)
    tail = (1.0 - level) / len(says)
    method = get_method(measured.method)
    lower = method.lower(counts.holds, counts.trials, tail)
    upper = method.upper(counts.holds + counts.undecided, counts.trials, tail)
    i = int(says[np.argmin((lower - bound.p)[says])])
    slack = float(lower[i] - bound.p[i])
    return TheoryClaim(
        bound.form, measured.mode, verdict, len(says), trials, i, float(lower[i]), float(upper[i]), slack, width_for,
        compared,
    )  # fmt: skip


def claimed_trials(experiment: Mapping[str, Any]) -> int | None:
    """How many of the first trials are checked along their trajectories: those saved, or all where [claims] says so."""
    check = experiment.get("claims", {}).get("check", ["saved"])
    every = "all" in check or any(name in check for name in TRAJECTORY_CLAIMS)
    saved: int | None = experiment.get("flow", {}).get("save", {}).get("trials")
    return None if every else saved


def _implications(cell: CellLike, alpha: float, method: str, claimed: int | None) -> Iterator[Implication]:
    for mode in cell.modes:
        yield from ladder_implications(cell, mode, alpha, method)
    for mode in cell.modes:
        yield from flow_implications(cell, mode, alpha, method, claimed)


def method_for(experiment: Mapping[str, Any]) -> str:
    """Exact intervals where the number of trials was fixed, a confidence sequence where it followed the data."""
    return "beta-binomial" if "sampling" in experiment else "clopper-pearson"


def asked(name: str, experiment: Mapping[str, Any]) -> bool:
    """Whether [claims] asks for this claim."""
    check = experiment.get("claims", {}).get("check", ["saved"])
    return "all" in check or "saved" in check or name in check


def study_cell(
    cell: CellLike,
    experiment: Mapping[str, Any],
    level: float,
    simultaneous: bool,
    failures: tuple[str, ...] = (),
) -> CellStudy:
    """Estimate everything in one cell.

    Parameters
    ----------
    cell : CellLike
    experiment : mapping
        The parsed experiment file.
    level, simultaneous
        As in `mc.estimate.curve`.
    failures : tuple of str
        See `CellStudy`.

    Returns
    -------
    CellStudy
    """
    curves: dict[tuple[str, str], Curve] = {}
    method = method_for(experiment)
    for mode in cell.modes:
        for event in EVENTS:
            found = curve(cell, event, mode, level, simultaneous, method)
            if found is not None:
                curves[mode, event] = found
    compared = any(asked(f"theory-{form}", experiment) for form in FORMS)
    theory = cell_theory(cell, experiment) if compared else None
    claims: list[TheoryClaim] = []
    drawn: dict[tuple[str, str], tuple[IntArray, TheoryCurve]] = {}
    if theory is not None and len(cell.widths):
        between = np.round(np.geomspace(cell.widths[0], cell.widths[-1], DENSE)).astype(np.int64)
        dense = np.union1d(between, cell.widths)
        for mode, form in ((m, f) for m in cell.modes for f in FORMS if (m, f) in curves):
            whole = theory.curve(mode, form, dense)
            bound, width_for = whole.at(np.searchsorted(dense, cell.widths)), theory.width_for(mode, form, DELTA)
            drawn[mode, form] = (dense, whole)
            claims.append(_theory_claim(curves[mode, form], bound, width_for, level))
    implications = _implications(cell, 1.0 - level, method, claimed_trials(experiment))
    least, most = attempted(cell)
    return CellStudy(
        cell=cell,
        trials=least,
        most=most,
        failed=failed_trials(cell),
        failures=failures,
        curves=curves,
        medians={at: median_width(found) for at, found in curves.items() if at[1] != "converged"},
        theory=theory,
        compared=compared,
        drawn=drawn,
        claims=tuple(claim for claim in claims if asked(claim.name, experiment)),
        implications=tuple(found for found in implications if asked(found.name, experiment)),
    )


def study_run(results: ResultsLike) -> Study:
    """Estimate everything of a run.

    Parameters
    ----------
    results : ResultsLike
        E.g. what `mc.load` returns.

    Returns
    -------
    Study
    """
    experiment = tomllib.loads(results.experiment_text)
    settings = experiment.get("estimate", {})
    level, simultaneous = float(settings.get("level", 0.95)), bool(settings.get("simultaneous", True))
    planned = experiment.get("experiment", {}).get("trials") or experiment.get("sampling", {}).get("max_trials", 0)
    cells = tuple(
        study_cell(cell, experiment, level, simultaneous, failures_of(cell, results.attrs)) for cell in results.cells
    )
    return Study(experiment, level, simultaneous, int(planned), cells, _sampled(experiment, results))


def _sampled(experiment: Mapping[str, Any], results: ResultsLike) -> tuple[AdaptivePlan, Progress] | None:
    """Where an adaptive run stands; None for others, and before a trial is there that tells what is claimed."""
    if "block_size" not in experiment.get("experiment", {}) or "sampling" not in experiment:
        return None
    try:
        return progress_of(experiment, results.cells)
    except InputError:
        return None
