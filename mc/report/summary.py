"""summary.json: the numbers of a report for programs, every claim with the same keys (design §7)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mc.estimate.detail import CellDetail
from mc.estimate.scaling import ScalingLaw
from mc.estimate.study import CellStudy, ResultsLike, Study, TheoryClaim
from mc.estimate.thresholds import MedianWidth
from mc.estimate.verdicts import CHAIN, Implication

CLAIM_KEYS = (
    "name", "cell", "mode", "hypothesis", "hypothesis_true", "trials", "verdict", "lower", "upper", "slack_min",
    "address", "figure",
)  # fmt: skip

READING = {
    "claims": "lower and upper are one-sided limits, each at 1 - alpha. On an implication: of the share of the trials "
    "with the hypothesis true that violate it, slack_min the smallest slack, address the first violation or else the "
    "tightest pair. On P >= P_theory: of P at the width where the lower limit exceeds P_theory by least (Bonferroni "
    "over the widths), slack_min that excess, hypothesis_true the trials there, address that width.",
    "estimates": "interval: simultaneous limits by `method`, undecided trials against both ends; bracket: the observed "
    "share with all undecided failing, and all holding.",
    "medians": "first width of the grid at which P >= 1/2, in (low, high]; 0 and null are ends beyond the grid.",
    "thresholds": "first width of the grid at which P >= p, in (low, high], each at its own level; ends as in medians.",
    "null": "not a number, infinite, or not applicable",
}


def plain(value: Any) -> Any:
    """The value as JSON can say it: arrays as lists, NaN and infinities as null, enumerations as their words."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def address(cell: int, trial: int | None, width: int) -> dict[str, int | None]:
    """What `dipmc replay` needs to find a trial again; trial is null where a width alone is meant."""
    return {"cell": cell, "trial": trial, "width": width}


def implication_claim(study: CellStudy, found: Implication, figures: Mapping[str, str]) -> dict[str, Any]:
    """The entry of an implication."""
    ladder = found.name in {f"{weak}-{strong}" for weak, strong in CHAIN}
    return {
        "name": found.name,
        "cell": study.cell.index,
        "mode": found.mode,
        "hypothesis": found.hypothesis,
        "hypothesis_true": found.hypothesis_true,
        "trials": found.trials,
        "verdict": found.verdict,
        "lower": found.lower,
        "upper": found.upper,
        "slack_min": found.slack_min,
        "address": None if found.address is None else address(study.cell.index, *found.address),
        "figure": figures.get(f"{'margins' if ladder else 'loss'}-{found.mode}"),
    }


def theory_claim(study: CellStudy, claim: TheoryClaim, figures: Mapping[str, str]) -> dict[str, Any]:
    """The entry of "P(certificate) >= P_theory"."""
    at = claim.tightest
    return {
        "name": claim.name,
        "cell": study.cell.index,
        "mode": claim.mode,
        "hypothesis": "P_theory > 0",
        "hypothesis_true": 0 if at is None else int(claim.curve.counts.trials[at]),
        "trials": claim.trials,
        "verdict": claim.verdict,
        "lower": claim.lower,
        "upper": claim.upper,
        "slack_min": claim.slack,
        "address": None if at is None else address(study.cell.index, None, int(claim.curve.widths[at])),
        "figure": figures.get(f"ladder-{claim.mode}"),
    }


def cell_claims(study: CellStudy, figures: Mapping[str, str]) -> list[dict[str, Any]]:
    """All claims of a cell: the explicit bounds, the ladder, then what was checked along the trajectories.

    Parameters
    ----------
    study : CellStudy
    figures : mapping of str to str
        File names by kind and mode, e.g. ``ladder-hidden``.
    """
    bounds = [theory_claim(study, claim, figures) for claim in study.claims]
    return bounds + [implication_claim(study, found, figures) for found in study.implications]


def _estimates(study: CellStudy) -> Iterator[dict[str, Any]]:
    compared = {(claim.mode, claim.form): claim.curve for claim in study.claims}
    for at, curve in study.curves.items():
        for estimate in compared.get(at, curve).estimates():
            yield dataclasses.asdict(estimate)


def _median(study: CellStudy, median: MedianWidth) -> dict[str, Any]:
    low, high = median.interval
    return {
        "event": median.event,
        "cell": study.cell.index,
        "mode": median.mode,
        "crossing": median.crossing,
        "estimate": median.estimate if median.estimate > 0.0 else None,
        "label": median.label,
        "low": low,
        "high": high,
        "grid": median.grid,
        "confidence": median.confidence,
    }


def _provenance(results: ResultsLike, study: Study) -> dict[str, Any]:
    attributes = {k: v for k, v in results.attrs.items() if k not in ("experiment", "complete")}
    experiment = study.experiment.get("experiment", {})
    return {
        "name": experiment.get("name"),
        "seed": experiment.get("seed"),
        "identity": attributes.pop("identity", None),
        "trials_planned": study.planned,
        "trials_present": [cell.trials for cell in study.cells],
        "complete": study.complete,
        "experiment": results.experiment_text,
        "attributes": attributes,
    }


def _thresholds(study: CellStudy, detail: CellDetail) -> Iterator[dict[str, Any]]:
    for (mode, event), crossings in detail.crossings.items():
        for found in crossings:
            yield {
                "cell": study.cell.index,
                "mode": mode,
                "event": event,
                "p": found.p,
                "estimate": found.estimate if found.estimate > 0.0 else None,
                "low": found.interval[0],
                "high": found.interval[1],
                "level": found.level,
                "method": found.method,
                "grid": found.grid,
            }


def summary(
    results: ResultsLike,
    study: Study,
    figures: Mapping[int, Mapping[str, str]],
    details: Sequence[CellDetail] = (),
    laws: Sequence[ScalingLaw] = (),
) -> dict[str, Any]:
    """The content of summary.json.

    Parameters
    ----------
    results : ResultsLike
    study : Study
    figures : mapping
        File names by cell index, then by kind and mode.
    details : sequence of CellDetail
        One for each cell.
    laws : sequence of ScalingLaw
        Over the cells.

    Returns
    -------
    dict
        Plain values; ``claims`` is a list of entries with the keys `CLAIM_KEYS`.
    """
    cells = [
        {"index": c.cell.index, "key": c.cell.key, "problem": c.cell.problem, "modes": c.cell.modes, "trials": c.trials}
        for c in study.cells
    ]
    widths_for = [
        {"cell": c.cell.index, "mode": t.mode, "form": t.form, "delta": 0.05, "width": t.width_for}
        for c in study.cells
        for t in c.claims
    ]
    found = {
        "provenance": _provenance(results, study),
        "level": study.level,
        "simultaneous": study.simultaneous,
        "cells": cells,
        "claims": [claim for c in study.cells for claim in cell_claims(c, figures.get(c.cell.index, {}))],
        "medians": [_median(c, median) for c in study.cells for median in c.medians.values()],
        "thresholds": [t for c, detail in zip(study.cells, details, strict=False) for t in _thresholds(c, detail)],
        "scaling": [
            {
                "event": law.event,
                "mode": law.mode,
                "p": law.p,
                "level": law.level,
                "held": law.held,
                "exponents": [dataclasses.asdict(exponent) for exponent in law.exponents],
            }
            for law in laws
        ],
        "k_theory": widths_for,
        "estimates": [estimate for c in study.cells for estimate in _estimates(c)],
        "reading": READING,
    }
    plain_found: dict[str, Any] = plain(found)
    return plain_found


def to_json(found: Mapping[str, Any]) -> str:
    """The text of summary.json; fails on anything that is not JSON."""
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
