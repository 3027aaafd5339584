"""summary.json: the numbers of a report for programs, every claim with the same keys (design §7)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mc.estimate.cells.detail import CellDetail
from mc.estimate.cells.study import CellStudy, ResultsLike, Study, trials_present
from mc.estimate.claims.findings import Finding
from mc.estimate.claims.pooled import ClaimRow
from mc.estimate.claims.run_findings import RunFindings
from mc.estimate.widths.crossings import CrossingWidth
from mc.estimate.widths.scaling import ScalingLaw

CLAIM_KEYS = (
    "name", "cell", "mode", "hypothesis", "hypothesis_true", "trials", "verdict", "lower", "upper", "slack_min",
    "address", "figure", "detail", "slack_error", "slack_median", "p_against", "p_support",
)  # fmt: skip
ROW_KEYS = (
    "name", "hypothesis", "modes", "experiments", "trials", "hypothesis_true", "violations", "undecided", "checks",
    "verdict", "lower", "upper", "slack_min", "slack_error", "slack_median", "address", "detail",
)  # fmt: skip

READING = {
    "claims": "lower and upper are one-sided limits, each at 1 - alpha. On an implication and along trajectories: of "
    "the share of the trials with the hypothesis true that violate it; the slack is log(right side/left side), "
    "slack_min the smallest, slack_error what the integration error may take from it, slack_median the median over "
    "trials and widths; address the first violation or else the tightest pair. On a bound of a bad event (chernoff, "
    "concentration, initial-error): of its probability where log(bound/observed share), the slack, is smallest "
    "(Bonferroni over the points). On P >= P_theory: of P at the width where the lower limit exceeds P_theory by least "
    "(Bonferroni over the widths), slack_min that excess. On an equality: of P where its test has the smallest "
    "p-value, two-sided. p_against and p_support are p-values of the claim and of its negation, adjusted by Holm's "
    "procedure over all claims of this file; the verdicts are theirs. A violation needs no test.",
    "rows": "every claim of the theory by hypothesis, over all cells, modes and experiments; trials are distinct "
    "draws, and a draw violates a claim when it does so anywhere.",
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
    return {"cell": None if cell < 0 else cell, "trial": trial, "width": width}


def claim_entry(found: Finding, names: Mapping[str, str]) -> dict[str, Any]:
    """The entry of one claim in one cell and mode.

    Parameters
    ----------
    found : Finding
    names : mapping of str to str
        File names of figures: by kind and mode (``ladder-hidden``), by kind and claim (``tails-chernoff``), or by kind.
    """
    own = (f"{found.figure}-{found.mode}", f"{found.figure}-{found.name}", found.figure)
    return {
        "name": found.name,
        "cell": None if found.cell < 0 else found.cell,
        "mode": found.mode,
        "hypothesis": found.hypothesis,
        "hypothesis_true": found.hypothesis_true,
        "trials": found.trials,
        "verdict": found.verdict,
        "lower": found.lower,
        "upper": found.upper,
        "slack_min": found.slack_min,
        "address": None if found.address is None else address(found.cell, *found.address),
        "figure": next((names[name] for name in own if name in names), None),
        "detail": found.detail,
        "slack_error": found.slack_error,
        "slack_median": found.slack_median,
        "p_against": found.p_against,
        "p_support": found.p_support,
    }


def row_entry(row: ClaimRow) -> dict[str, Any]:
    """The entry of a claim under one hypothesis over everything."""
    place = None if row.place is None else dataclasses.asdict(row.place)
    return {
        "name": row.claim.name,
        "hypothesis": row.hypothesis or None,
        "modes": row.modes,
        "experiments": [name for name in row.runs if name],
        **{name: getattr(row, name) for name in ROW_KEYS[4:15]},
        "address": place,
        "detail": row.detail,
    }


def _estimates(study: CellStudy) -> Iterator[dict[str, Any]]:
    compared = {(claim.mode, claim.form): claim.curve for claim in study.claims}
    for at, curve in study.curves.items():
        for estimate in compared.get(at, curve).estimates():
            yield dataclasses.asdict(estimate)


def _median(study: CellStudy, mode: str, event: str, median: CrossingWidth) -> dict[str, Any]:
    low, high = median.interval
    return {
        "event": event,
        "cell": study.cell.index,
        "mode": mode,
        "crossing": median.p,
        "estimate": median.estimate if median.estimate > 0.0 else None,
        "label": median.label,
        "low": low,
        "high": high,
        "grid": median.grid,
        "confidence": median.level,
    }


def _provenance(results: ResultsLike, study: Study) -> dict[str, Any]:
    attributes = {k: v for k, v in results.attrs.items() if k not in ("experiment", "complete")}
    experiment = study.experiment.get("experiment", {})
    return {
        "name": experiment.get("name"),
        "seed": experiment.get("seed"),
        "identity": attributes.pop("identity", None),
        "trials_planned": study.planned,
        "trials_present": [trials_present(cell.cell) for cell in study.cells],
        "trials_failed": [cell.failed for cell in study.cells],
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
    found: RunFindings,
    rows: Sequence[ClaimRow],
    figures: Mapping[int, Mapping[str, str]],
    details: Sequence[CellDetail] = (),
    laws: Sequence[ScalingLaw] = (),
) -> dict[str, Any]:
    """The content of summary.json.

    Parameters
    ----------
    results : ResultsLike
    study : Study
    found : RunFindings
    rows : sequence of ClaimRow
        The page of claims.
    figures : mapping
        File names by cell index (-1: over the cells), then as in `claim_entry`.
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
    content = {
        "provenance": _provenance(results, study),
        "level": study.level,
        "simultaneous": study.simultaneous,
        "cells": cells,
        "claims": [claim_entry(one, {**figures.get(-1, {}), **figures.get(one.cell, {})}) for one in found.findings],
        "rows": [row_entry(row) for row in rows],
        "medians": [_median(c, *key, median) for c in study.cells for key, median in c.medians.items()],
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
    plain_content: dict[str, Any] = plain(content)
    return plain_content


def to_json(found: Mapping[str, Any]) -> str:
    """The text of summary.json; fails on anything that is not JSON."""
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
