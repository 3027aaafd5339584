"""Estimates of one run, cell by cell: curves with their bounds, and median widths."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import EVENTS, dataset, failed
from mc.estimate.sampling.adaptive import AdaptivePlan, Progress
from mc.estimate.sampling.goals import progress_of
from mc.estimate.widths.crossings import CrossingWidth, median_width
from mc.estimate.widths.curves import Curve, curve
from mc.estimate.widths.predicted import CellTheory, TheoryCurve, cell_theory
from mc.model.arrays import IntArray
from mc.store.layout import Computed
from mc.store.results import CellResults, Results
from mc.theory.claims import TRAJECTORY_CLAIMS
from mc.theory.codes import FORMS, Outcome

DELTA = 0.05
"""k_theory is reported for the promise P >= 1 - DELTA."""

DENSE = 25
"""Widths at which a theory curve is drawn beside those of the run."""

ModeEvent = tuple[str, str]


@dataclass(frozen=True)
class CellStudy:
    """Estimates of one cell."""

    cell: CellResults
    trials: int  # trials attempted at every width
    most: int  # trials attempted at some width
    failed: int  # trials that failed at some width, of certificates or of the flow
    failures: tuple[str, ...]  # place and error of each failed block
    curves: Mapping[ModeEvent, Curve]  # each with its P_theory, where [claims] compares them
    medians: Mapping[ModeEvent, CrossingWidth]
    theory: CellTheory | None
    compared: bool  # whether the bounds were requested: they take most of the time
    drawn: Mapping[tuple[str, str], tuple[IntArray, TheoryCurve]]
    """By (mode, form): the bounds on a dense grid of widths, for the figure."""
    width_for: Mapping[tuple[str, str], float]
    """By (mode, form) of each bound that is compared: k_theory(DELTA), infinite where no width has the promise."""


@dataclass(frozen=True)
class Study:
    """Estimates of a run."""

    experiment: Mapping[str, Any]  # the parsed experiment file
    level: float  # confidence level, 1 - alpha
    simultaneous: bool  # whether bands hold at all widths together
    planned: int  # trials requested in each cell
    cells: tuple[CellStudy, ...]
    sampled: tuple[AdaptivePlan, Progress] | None = None  # of an adaptive run

    @property
    def complete(self) -> bool:
        """Whether no trial failed and every cell has all its trials, or an adaptive run has finished."""
        if any(cell.failed for cell in self.cells):
            return False
        if self.sampled is not None:
            return self.sampled[1].finished
        return not self.adaptive and all(cell.trials >= self.planned for cell in self.cells)

    @property
    def adaptive(self) -> bool:
        """Whether the number of trials was chosen while looking at the data."""
        return "sampling" in self.experiment


def trials_present(cell: CellResults) -> int:
    """Return the number of trials of a cell that are present at every width."""
    computed = dataset(cell, "computed")
    if computed is not None and computed.size:
        return int((computed == Computed.PRESENT).all(axis=1).sum())
    scale = dataset(cell, "sigma_A")
    return 0 if scale is None else int(np.isfinite(scale).sum())


def attempted(cell: CellResults) -> tuple[int, int]:
    """Return the number of trials that were attempted, failed ones included: at every width, and at some width."""
    computed = dataset(cell, "computed")
    if computed is None or not computed.size:
        return (trials_present(cell),) * 2
    tried = computed != Computed.ABSENT
    return int(tried.all(axis=1).sum()), int(tried.sum(axis=0).max(initial=0))


def failed_trials(cell: CellResults) -> int:
    """Return the number of trials that failed at some width, of certificates or of the flow."""
    lost, outcome = failed(cell), dataset(cell, "outcome")
    rows = np.zeros(1, dtype=np.bool_) if lost is None else lost.any(axis=1)
    if outcome is not None and outcome.size:
        rows = rows | (outcome == Outcome.ERROR).any(axis=(0, 2))
    return int(rows.sum())


def failures_of(cell: CellResults, attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return place and error of the failed blocks of a cell, from the attributes of results.h5."""
    failures = json.loads(attrs.get("failures", "[]"))
    return tuple(f"{one['place']}: {one['error']}" for one in failures if one["key"] == cell.key)


def claimed_trials(experiment: Mapping[str, Any]) -> int | None:
    """Return how many of the first trials have claims checked along their trajectories; None for all of them."""
    check = experiment.get("claims", {}).get("check", ["saved"])
    every = "all" in check or any(name in check for name in TRAJECTORY_CLAIMS)
    saved: int | None = experiment.get("flow", {}).get("save", {}).get("trials")
    return None if every else saved


def method_for(experiment: Mapping[str, Any]) -> str:
    """Return the method of limits: a confidence sequence where the number of trials followed the data, else exact."""
    return "beta-binomial" if "sampling" in experiment else "clopper-pearson"


def in_claims(name: str, experiment: Mapping[str, Any]) -> bool:
    """Return whether [claims] names this claim; "saved" and "all" name every claim."""
    check = experiment.get("claims", {}).get("check", ["saved"])
    return "all" in check or "saved" in check or name in check


def study_cell(
    cell: CellResults,
    experiment: Mapping[str, Any],
    level: float,
    simultaneous: bool,
    failures: tuple[str, ...] = (),
) -> CellStudy:
    """Estimate the curves and median widths of one cell; `level` and `simultaneous` as in `mc.estimate.curve`."""
    method = method_for(experiment)
    curves = {
        (mode, event): measured
        for mode in cell.modes
        for event in EVENTS
        if (measured := curve(cell, event, mode, level, simultaneous, method)) is not None
    }
    medians = {key: median_width(measured) for key, measured in curves.items() if key[1] != "converged"}
    compared = any(in_claims(f"theory-{form}", experiment) for form in FORMS)
    theory = cell_theory(cell, experiment) if compared else None
    drawn: dict[tuple[str, str], tuple[IntArray, TheoryCurve]] = {}
    width_for: dict[tuple[str, str], float] = {}
    if theory is not None and len(cell.widths):
        between = np.round(np.geomspace(cell.widths[0], cell.widths[-1], DENSE)).astype(np.int64)
        dense = np.union1d(between, cell.widths)
        for key in ((mode, form) for mode in cell.modes for form in FORMS if (mode, form) in curves):
            drawn[key] = (dense, theory.curve(*key, dense))
            if in_claims(f"theory-{key[1]}", experiment):
                bound = drawn[key][1].at(np.searchsorted(dense, cell.widths))
                curves[key] = curves[key].against(bound)
                width_for[key] = theory.width_for(*key, DELTA)
    least, most = attempted(cell)
    lost = failed_trials(cell)
    return CellStudy(cell, least, most, lost, failures, curves, medians, theory, compared, drawn, width_for)


def study_run(results: Results) -> Study:
    """Estimate the curves and median widths of a run.

    Parameters
    ----------
    results : Results
        As `mc.load` returns them.

    Returns
    -------
    Study
        With one `CellStudy` per cell; level and simultaneity are those of [estimate].
    """
    experiment = tomllib.loads(results.experiment_text)
    settings = experiment.get("estimate", {})
    level, simultaneous = float(settings.get("level", 0.95)), bool(settings.get("simultaneous", True))
    planned = experiment.get("experiment", {}).get("trials") or experiment.get("sampling", {}).get("max_trials", 0)
    cells = tuple(
        study_cell(cell, experiment, level, simultaneous, failures_of(cell, results.attrs)) for cell in results.cells
    )
    return Study(experiment, level, simultaneous, int(planned), cells, _sampled(experiment, results))


def _sampled(experiment: Mapping[str, Any], results: Results) -> tuple[AdaptivePlan, Progress] | None:
    """Return plan and progress of an adaptive run; None for others, and before the first trial."""
    if "block_size" not in experiment.get("experiment", {}) or "sampling" not in experiment:
        return None
    try:
        return progress_of(experiment, results.cells)
    except InputError:
        return None
