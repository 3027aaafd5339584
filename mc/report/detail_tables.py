"""Tables of a cell beside its curves: widths at which P reaches a level, and neighbouring rungs on the same draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.cells.detail import CellDetail
from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import spaced
from mc.estimate.probability.paired import Comparison
from mc.estimate.widths.crossings import CROSSINGS, CrossingWidth
from mc.report.style import EVENT_LINES


@dataclass(frozen=True)
class Threshold:
    """One entry of the table of thresholds, in words."""

    label: str
    interval: str


def _threshold(width: CrossingWidth) -> Threshold:
    return Threshold("–", "") if math.isnan(width.estimate) else Threshold(width.label, width.interval_label)


def thresholds_table(cell: CellStudy, detail: CellDetail) -> tuple[tuple[str, tuple[Threshold, ...]], ...]:
    """One row per certificate: k*(p) for every mode and p, in the order of modes and of `CROSSINGS`."""
    rows = []
    for event in EVENT_LINES:
        if any((mode, event) in detail.crossings for mode in cell.cell.modes):
            none = tuple(Threshold("–", "") for _ in CROSSINGS)
            entries = [
                tuple(_threshold(width) for width in detail.crossings.get((mode, event), ())) or none
                for mode in cell.cell.modes
            ]
            rows.append((event, tuple(entry for own in entries for entry in own)))
    return tuple(rows)


def _gain(widths: np.ndarray[Any, Any], found: Comparison, alpha: float) -> Mapping[str, str]:
    more = (found.adjusted <= alpha) & (found.only_first > found.only_second)
    less = (found.adjusted <= alpha) & (found.only_first < found.only_second)
    seen = int((found.pairs > 0).sum())
    at = np.flatnonzero(more)
    where = f"{len(at)} of {seen} widths"
    if len(at):
        ends = dict.fromkeys(spaced(int(widths[i])) for i in (at[0], at[-1]))
        where += f", k = {' to '.join(ends)}"
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(found.pairs > 0, (found.only_first - found.only_second) / np.maximum(found.pairs, 1), -np.inf)
    i = int(np.argmax(share))
    both = f"{spaced(found.only_first[i])} against {spaced(found.only_second[i])} of {spaced(found.pairs[i])} draws"
    low = found.odds[0][i]
    return {
        "where": where,
        "against": f"{int(less.sum())} of {seen} widths" if less.any() else "nowhere",
        "most": f"{both} at k = {spaced(int(widths[i]))}" if found.only_first[i] else "no draw",
        "odds": f"at least {low:.2g} : 1" if found.only_first[i] and low > 0.0 else "–",
    }


def pairs_table(detail: CellDetail, level: float) -> tuple[Mapping[str, str], ...]:
    """One row per mode and pair of neighbouring rungs: where the stronger certifies more, by McNemar's exact test."""
    return tuple(
        {"strong": strong, "weak": weak, "mode": mode, **_gain(widths, found, 1.0 - level)}
        for (mode, weak, strong), (widths, found) in detail.pairs.items()
        if found.pairs.any()
    )
