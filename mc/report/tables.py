"""Tables and notes of a cell: its numbers as a reader meets them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mc.estimate.cells.detail import CellDetail
from mc.estimate.cells.study import CellStudy, Study
from mc.estimate.numbers import spaced
from mc.estimate.probability.paired import Comparison
from mc.estimate.sampling.adaptive import reached
from mc.estimate.widths.crossings import CROSSINGS, CrossingWidth
from mc.experiment.reading import one_line
from mc.model.arrays import IntArray
from mc.report.style import EVENT_LINES

MOST_FAILURES = 3
"""Failed blocks that a note names."""

RUNG_WORDS = {
    "exact": "zero loss is reached, decided exactly for hidden-layer training",
    "conserved": "a quantity conserved by each neuron keeps the rate positive",
    "sharp": "path-length form of the theorem, on the range of A",
    "trial": "the theorem with the Lipschitz constant of the draw",
    "paper": "the theorem with the published Lipschitz constant",
}

Threshold = tuple[str, str]
"""A width and its interval, in words."""


def medians_table(cell: CellStudy) -> tuple[Mapping[str, str], ...]:
    """Return one row per certificate: its median width and interval in each mode."""
    rows = []
    for event, line in EVENT_LINES.items():
        medians = {mode: cell.medians.get((mode, event)) for mode in cell.cell.modes}
        if not any(medians.values()):
            continue
        row = {"event": event, "words": RUNG_WORDS[event], "label": line.label}
        for mode, median in medians.items():
            row[mode] = "–" if median is None else median.label
            row[f"{mode}_interval"] = "" if median is None else median.interval_label
        rows.append(row)
    return tuple(rows)


def _threshold(width: CrossingWidth) -> Threshold:
    return ("–", "") if math.isnan(width.estimate) else (width.label, width.interval_label)


def thresholds_table(cell: CellStudy, detail: CellDetail) -> tuple[tuple[str, tuple[Threshold, ...]], ...]:
    """Return one row per certificate: k*(p) for every mode and p, in the order of modes and of `CROSSINGS`."""
    rows = []
    for event in EVENT_LINES:
        if any((mode, event) in detail.crossings for mode in cell.cell.modes):
            entries: list[Threshold] = []
            for mode in cell.cell.modes:
                crossings = detail.crossings.get((mode, event), ())
                entries += [_threshold(one) for one in crossings] or [("–", "")] * len(CROSSINGS)
            rows.append((event, tuple(entries)))
    return tuple(rows)


def _gain(widths: IntArray, compared: Comparison, alpha: float) -> Mapping[str, str]:
    more = (compared.adjusted <= alpha) & (compared.only_first > compared.only_second)
    less = (compared.adjusted <= alpha) & (compared.only_first < compared.only_second)
    seen = int((compared.pairs > 0).sum())
    gaining = np.flatnonzero(more)
    where = f"{len(gaining)} of {seen} widths"
    if len(gaining):
        ends = dict.fromkeys(spaced(int(widths[i])) for i in (gaining[0], gaining[-1]))
        where += f", k = {' to '.join(ends)}"
    pairs, excess = compared.pairs, compared.only_first - compared.only_second
    i = int(np.argmax(np.where(pairs > 0, excess / np.maximum(pairs, 1), -np.inf)))
    first, second, low = compared.only_first[i], compared.only_second[i], compared.odds[0][i]
    most = f"{spaced(first)} against {spaced(second)} of {spaced(pairs[i])} draws at k = {spaced(int(widths[i]))}"
    return {
        "where": where,
        "against": f"{int(less.sum())} of {seen} widths" if less.any() else "nowhere",
        "most": most if first else "no draw",
        "odds": f"at least {low:.2g} : 1" if first and low > 0.0 else "–",
    }


def pairs_table(detail: CellDetail, level: float) -> tuple[Mapping[str, str], ...]:
    """Return one row per mode and pair of neighbouring rungs: where the stronger certifies more (McNemar's test)."""
    return tuple(
        {"strong": strong, "weak": weak, "mode": mode, **_gain(widths, compared, 1.0 - level)}
        for (mode, weak, strong), (widths, compared) in detail.pairs.items()
        if compared.pairs.any()
    )


def undecided_share(cell: CellStudy) -> str:
    """Return the share of undecided trials, by event and mode."""
    parts = []
    for (mode, event), curve in cell.curves.items():
        undecided, trials = int(curve.counts.undecided.sum()), int(curve.counts.trials.sum())
        if undecided:
            parts.append(f"{event} ({mode}) {undecided / trials:.2%} of {spaced(trials)}")
    return "Undecided: " + ", ".join(parts) + "." if parts else "No trial is undecided."


def notes(study: Study, cell: CellStudy) -> tuple[str, ...]:
    """Return the remarks that a reader must know before the numbers of a cell."""
    remarks = []
    if study.adaptive:
        remarks += _adaptive_notes(study, cell)
    elif cell.trials < study.planned:
        remarks.append(f"Incomplete: {spaced(cell.trials)} of {spaced(study.planned)} trials are there at every width.")
    if cell.failed:
        remarks.append(_failed_note(cell))
    if cell.theory is not None and cell.theory.outside:
        remarks.append(f"Outside the theorem: {cell.theory.outside.split(':')[0]}, so no bound applies to this cell.")
    return tuple(remarks)


def _failed_note(cell: CellStudy) -> str:
    """Return how many trials failed, where and why, and what they count as."""
    named = [one_line(failure) for failure in cell.failures[:MOST_FAILURES]]
    more = len(cell.failures) - len(named)
    where = "; ".join(named) + (f"; and {more} more blocks" if more else "")
    return (
        f"Failed: {spaced(cell.failed)} of {spaced(cell.most)} trials have no result at some width. They count as "
        "undecided: every interval spans all of them failing and all holding, and a claim on them is undecided. "
        f"{where or 'The reason is not known'}."
    )


def _adaptive_notes(study: Study, cell: CellStudy) -> list[str]:
    """Return how many trials there are and why, and how that affects the intervals."""
    remarks = [
        "Adaptive: the number of trials at each width followed the data. Every interval and verdict here is "
        "time-uniform (a confidence sequence): it holds at whatever number of trials the rule stopped."
    ]
    if study.sampled is None:
        return remarks
    plan, state = study.sampled
    track_indices = [i for i, track in enumerate(plan.tracks) if track.cell == cell.cell.index]
    met = sum(int(reached(plan, plan.tracks[i], state.counts[i]).sum()) for i in track_indices)
    wanted = plan.tests(cell.cell.index)
    goal = "claims are decided" if plan.goal.decide else "intervals are at the target"
    if plan.goal.target_half_width is not None:
        goal += f" (half-width {plan.goal.target_half_width:g} at error {plan.goal.alpha:g} in the whole cell)"
    why = "" if met == wanted else f"; the others stopped at {spaced(plan.goal.max_trials)} trials"
    if not state.finished:
        why = "; the run goes on"
    return [*remarks, f"{spaced(met)} of {spaced(wanted)} {goal}{why}."]
