"""The rest of what is estimated of a cell: k*(p), fitted curves, paired rungs, K* per trial, times to convergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc.estimate.cells.study import method_for
from mc.estimate.cells.verdicts import CHAIN
from mc.estimate.flows.survival import ConvergenceTimes, cell_convergence_times
from mc.estimate.probability.counts import EVENTS, CellLike, Counts, Decisions, decisions, event_widths
from mc.estimate.probability.paired import Comparison, compare
from mc.estimate.probability.undecided import Policy, reading
from mc.estimate.widths.crossings import CROSSINGS, CrossingWidth, crossing_width
from mc.estimate.widths.first_widths import MONOTONE, FirstWidths, first_widths_of
from mc.estimate.widths.fit_tests import FitTest, fit_test
from mc.estimate.widths.profiles import FittedWidth, fitted_width
from mc.estimate.widths.regression import fit_curve
from mc.model.arrays import IntArray


@dataclass(frozen=True)
class CellDetail:
    """More estimates of one cell, by (mode, event) where not said otherwise.

    Parameters
    ----------
    crossings : mapping to tuple of CrossingWidth
        k*(p) for p = 0.5, 0.9, 0.99 by exact tests.
    fits : mapping to tuple of FittedWidth
        The same by regression, empty where fewer than two widths have trials or the curve is all 0 or all 1.
    fit_tests : mapping to FitTest
    first_widths : mapping to FirstWidths
    pairs : mapping of (mode, weaker rung, stronger rung) to (widths, Comparison)
        The stronger rung first: what it certifies and the weaker does not.
    times : mapping of mode to tuple of ConvergenceTimes
    """

    crossings: Mapping[tuple[str, str], tuple[CrossingWidth, ...]]
    fits: Mapping[tuple[str, str], tuple[FittedWidth, ...]]
    fit_tests: Mapping[tuple[str, str], FitTest]
    first_widths: Mapping[tuple[str, str], FirstWidths]
    pairs: Mapping[tuple[str, str, str], tuple[IntArray, Comparison]]
    times: Mapping[str, tuple[ConvergenceTimes, ...]]


def _fitted(
    widths: IntArray, found: Decisions, level: float, link: str, policy: Policy, seed: int, cell: tuple[int, int]
) -> tuple[tuple[FittedWidth, ...], FitTest | None]:
    counts = Counts.of(found)
    read = reading(counts, policy)
    if (read.trials > 0).sum() < 2 or not counts.holds.sum() or not counts.fails.sum():
        return (), None
    fits = tuple(fitted_width(widths, counts, p, level, link, policy, found) for p in CROSSINGS)
    middle = fit_curve(widths, (read.least + read.most) // 2, read.trials, link)
    return fits, fit_test(middle, seed, cell=cell)


def cell_detail(
    cell: CellLike,
    experiment: Mapping[str, Any],
    level: float = 0.95,
    link: str = "logit",
    policy: Policy = "bracket",
    regressions: bool = True,
) -> CellDetail:
    """Estimate in one cell what `mc.estimate.study_cell` leaves out.

    Parameters
    ----------
    cell : CellLike
    experiment : mapping
        The parsed experiment file: its seed addresses the bootstrap, [sampling] asks for time-uniform intervals.
    level : float
        Of each estimate on its own.
    link : {"logit", "probit", "cloglog"}
    policy : str
    regressions : bool
        Whether `fits` and `fit_tests` are made, which take most of the time.

    Returns
    -------
    CellDetail
        Equal stored trials give equal numbers to the last digit.
    """
    method, seed = method_for(experiment), int(experiment.get("experiment", {}).get("seed", 0))
    activation = str(experiment.get("network", {}).get("activation", "sigmoid"))
    address = (int(cell.key[:8], 16), int(cell.key[8:16], 16))
    found = {(mode, event): decisions(cell, event, mode) for mode in cell.modes for event in EVENTS}
    crossings, fits, tests, firsts = {}, {}, {}, {}
    for (mode, event), made in found.items():
        if made is None:
            continue
        at, widths, counts = (mode, event), event_widths(cell, event), Counts.of(made)
        crossings[at] = tuple(crossing_width(widths, counts, p, level, method, policy) for p in CROSSINGS)
        fits[at], test = _fitted(widths, made, level, link, policy, seed, address) if regressions else ((), None)
        if test is not None:
            tests[at] = test
        firsts[at] = first_widths_of(made, widths, level, policy, (mode, event, activation) in MONOTONE)
    pairs = {}
    for mode in cell.modes:
        for weak, strong in CHAIN:
            weaker, stronger = found[mode, weak], found[mode, strong]
            if weaker is not None and stronger is not None:
                pairs[mode, weak, strong] = (event_widths(cell, weak), compare(stronger, weaker, level, method=method))
    times = {mode: cell_convergence_times(cell, mode, level) for mode in cell.modes}
    return CellDetail(crossings, fits, tests, firsts, pairs, times)
