"""Estimates of a cell beside its curves: widths at which P reaches a level, paired rungs, times to convergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc.estimate.cells.study import method_for
from mc.estimate.claims.implications import CHAIN
from mc.estimate.flows.survival import ConvergenceTimes, cell_convergence_times
from mc.estimate.probability.counts import EVENTS, Counts, decisions, event_widths
from mc.estimate.probability.paired import Comparison, compare
from mc.estimate.widths.crossings import CROSSINGS, CrossingWidth, crossing_width
from mc.model.arrays import IntArray
from mc.store.results import CellResults


@dataclass(frozen=True)
class CellDetail:
    """More estimates of one cell."""

    crossings: Mapping[tuple[str, str], tuple[CrossingWidth, ...]]  # k*(p) at each p of CROSSINGS, by (mode, event)
    pairs: Mapping[tuple[str, str, str], tuple[IntArray, Comparison]]
    """By (mode, weaker rung, stronger rung): the widths, and the stronger rung compared with the weaker."""
    times: Mapping[str, tuple[ConvergenceTimes, ...]]  # by mode


def cell_detail(cell: CellResults, experiment: Mapping[str, Any], level: float = 0.95) -> CellDetail:
    """Estimate in one cell what `mc.estimate.study_cell` leaves out, each estimate at `level` on its own."""
    method = method_for(experiment)
    by_event = {(mode, event): decisions(cell, event, mode) for mode in cell.modes for event in EVENTS}
    crossings = {
        (mode, event): tuple(
            crossing_width(event_widths(cell, event), Counts.of(decided), p, level, method) for p in CROSSINGS
        )
        for (mode, event), decided in by_event.items()
        if decided is not None
    }
    pairs = {}
    for mode in cell.modes:
        for weak, strong in CHAIN:
            weaker, stronger = by_event[mode, weak], by_event[mode, strong]
            if weaker is not None and stronger is not None:
                pairs[mode, weak, strong] = (event_widths(cell, weak), compare(stronger, weaker, level, method=method))
    times = {mode: cell_convergence_times(cell, mode, level) for mode in cell.modes}
    return CellDetail(crossings, pairs, times)
