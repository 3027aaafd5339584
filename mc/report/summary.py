"""summary.json: the numbers of a report for programs, every claim with the same keys (design §7)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mc.estimate.cells.detail import CellDetail
from mc.estimate.cells.study import DELTA, CellStudy, Study, trials_present
from mc.estimate.claims.finding import Finding
from mc.estimate.claims.run_findings import RunFindings
from mc.estimate.widths.crossings import CrossingWidth
from mc.estimate.widths.scaling import ScalingLaw
from mc.store.results import Results
from mc.theory.claims import CLAIMS

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
    """Convert to JSON values: arrays to lists, NaN and infinities to null, enumerations to their names."""
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


def claim_entry(finding: Finding, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the entry of one claim in one cell and mode.

    `names` are file names of figures: by kind and mode (``ladder-hidden``), by kind and claim (``tails-chernoff``), or
    by kind.
    """
    cell, figure = None if finding.cell < 0 else finding.cell, CLAIMS[finding.name].figure
    keys = (f"{figure}-{finding.mode}", f"{figure}-{finding.name}", figure)
    entry = {name: getattr(finding, name, None) for name in CLAIM_KEYS}
    place = None
    if finding.address is not None:
        place = {"cell": cell, **dict(zip(("trial", "width"), finding.address, strict=True))}
    return entry | {"cell": cell, "address": place, "figure": next((names[k] for k in keys if k in names), None)}


def row_entry(finding: Finding) -> dict[str, Any]:
    """Return the entry of a claim under one hypothesis over everything."""
    entry = {name: getattr(finding, name, None) for name in ROW_KEYS}
    place = None
    if finding.address is not None:
        trial, width = finding.address
        place = {"run": finding.run, "cell": finding.cell, "trial": trial, "width": width}
    experiments = [name for name in finding.runs if name]
    return entry | {"hypothesis": finding.hypothesis or None, "experiments": experiments, "address": place}


def _estimates(study: CellStudy) -> Iterator[dict[str, Any]]:
    for curve in study.curves.values():
        yield from map(dataclasses.asdict, curve.estimates())


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


def _provenance(results: Results, study: Study) -> dict[str, Any]:
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
        for crossing in crossings:
            yield {
                "cell": study.cell.index,
                "mode": mode,
                "event": event,
                "p": crossing.p,
                "estimate": crossing.estimate if crossing.estimate > 0.0 else None,
                "low": crossing.interval[0],
                "high": crossing.interval[1],
                "level": crossing.level,
                "method": crossing.method,
                "grid": crossing.grid,
            }


def summary(
    results: Results,
    study: Study,
    run: RunFindings,
    rows: Sequence[Finding],
    figures: Mapping[int, Mapping[str, str]],
    details: Sequence[CellDetail] = (),
    laws: Sequence[ScalingLaw] = (),
) -> dict[str, Any]:
    """Return the content of summary.json as plain values.

    `rows` is the page of claims, `figures` has file names by cell index (-1: over the cells), then as in
    `claim_entry`; `details` has one entry for each cell, and `laws` are over the cells.
    """
    cells = [
        {"index": c.cell.index, "key": c.cell.key, "problem": c.cell.problem, "modes": c.cell.modes, "trials": c.trials}
        for c in study.cells
    ]
    widths_for = [
        {"cell": c.cell.index, "mode": mode, "form": form, "delta": DELTA, "width": width}
        for c in study.cells
        for (mode, form), width in c.width_for.items()
    ]
    content = {
        "provenance": _provenance(results, study),
        "level": study.level,
        "simultaneous": study.simultaneous,
        "cells": cells,
        "claims": [claim_entry(one, {**figures.get(-1, {}), **figures.get(one.cell, {})}) for one in run.findings],
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


def to_json(content: Mapping[str, Any]) -> str:
    """Return the text of summary.json; raise ValueError on a number that JSON does not have."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
