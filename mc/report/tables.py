"""Tables and sentences of the page: numbers of a study as a reader meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mc.estimate.cells.study import CellStudy, Study
from mc.estimate.claims.findings import Finding
from mc.estimate.numbers import short, spaced
from mc.estimate.sampling.adaptive import reached
from mc.experiment.reading import one_line
from mc.report.style import EVENT_LINES
from mc.report.summary import claim_entry, plain
from mc.theory.claims import CLAIMS

MOST_FAILURES = 3
"""Failed blocks that a note names."""

RUNG_WORDS = {
    "exact": "zero loss is reached, decided exactly for hidden-layer training",
    "conserved": "a quantity conserved by each neuron keeps the rate positive",
    "sharp": "path-length form of the theorem, on the range of A",
    "trial": "the theorem with the Lipschitz constant of the draw",
    "paper": "the theorem with the published Lipschitz constant",
}


def medians_table(cell: CellStudy) -> tuple[Mapping[str, str], ...]:
    """One row per certificate: its median width and interval in each mode."""
    rows = []
    for event, line in EVENT_LINES.items():
        found = {mode: cell.medians.get((mode, event)) for mode in cell.cell.modes}
        if not any(found.values()):
            continue
        row = {"event": event, "words": RUNG_WORDS[event], "label": line.label}
        for mode, median in found.items():
            row[mode] = "–" if median is None else median.label
            row[f"{mode}_interval"] = "" if median is None else median.interval_label
        rows.append(row)
    return tuple(rows)


def _place(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    width = f"k = {spaced(found['width'])}"
    return width if found["trial"] is None else f"trial {found['trial']}, {width}"


def tone(verdict: str) -> str:
    """Which of the three colours a verdict has."""
    if verdict in ("violated", "contradicted"):
        return "bad"
    return "good" if verdict == "supported" or verdict.startswith("not ") else "open"


def _words(name: str) -> str:
    claim = CLAIMS.get(name)
    return "" if claim is None else f"{claim.formula} ({claim.source})"


def claims_table(findings: Sequence[Finding], names: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """One row per claim of a cell, with its verdict in words.

    Parameters
    ----------
    findings : sequence of Finding
        Of the cell.
    names : mapping of str to str
        File names of figures by kind and mode.
    """
    return tuple(
        {
            "name": claim["name"],
            "words": _words(claim["name"]),
            "mode": claim["mode"],
            "hypothesis": claim["hypothesis"],
            "share": f"{spaced(claim['hypothesis_true'])} of {spaced(claim['trials'])}",
            "verdict": str(claim["verdict"]),
            "detail": claim["detail"],
            "tone": tone(str(claim["verdict"])),
            "limits": f"{short(claim['lower'])} to {short(claim['upper'])}",
            "slack": short(claim["slack_min"]),
            "place": _place(claim["address"]),
        }
        for claim in (plain(claim_entry(found, names)) for found in findings)
    )


def undecided_share(cell: CellStudy) -> str:
    """Which share of the trials is undecided, by event and mode."""
    parts = []
    for (mode, event), curve in cell.curves.items():
        undecided, trials = int(curve.counts.undecided.sum()), int(curve.counts.trials.sum())
        if undecided:
            parts.append(f"{event} ({mode}) {undecided / trials:.2%} of {spaced(trials)}")
    return "Undecided: " + ", ".join(parts) + "." if parts else "No trial is undecided."


def notes(study: Study, cell: CellStudy) -> tuple[str, ...]:
    """What a reader must know before the numbers of a cell."""
    found = []
    if study.adaptive:
        found += _adaptive_notes(study, cell)
    elif cell.trials < study.planned:
        found.append(f"Incomplete: {spaced(cell.trials)} of {spaced(study.planned)} trials are there at every width.")
    if cell.failed:
        found.append(_failed_note(cell))
    if cell.theory is not None and cell.theory.outside:
        found.append(f"Outside the theorem: {cell.theory.outside.split(':')[0]}, so no bound applies to this cell.")
    return tuple(found)


def _failed_note(cell: CellStudy) -> str:
    """How many trials failed, where and why, and what they count as."""
    named = [one_line(failure) for failure in cell.failures[:MOST_FAILURES]]
    more = len(cell.failures) - len(named)
    where = "; ".join(named) + (f"; and {more} more blocks" if more else "")
    return (
        f"Failed: {spaced(cell.failed)} of {spaced(cell.most)} trials have no result at some width. They count as "
        "undecided: every interval spans all of them failing and all holding, and a claim on them is undecided. "
        f"{where or 'Why is not known'}."
    )


def _adaptive_notes(study: Study, cell: CellStudy) -> list[str]:
    """How many trials there are and why, and what that does to the intervals."""
    found = [
        "Adaptive: the number of trials at each width followed the data. Every interval and verdict here is "
        "time-uniform (a confidence sequence): it holds at whatever number of trials the rule stopped."
    ]
    if study.sampled is None:
        return found
    plan, state = study.sampled
    own = [i for i, track in enumerate(plan.tracks) if track.cell == cell.cell.index]
    met = sum(int(reached(plan, plan.tracks[i], state.counts[i]).sum()) for i in own)
    wanted = plan.tests(cell.cell.index)
    goal = "claims are decided" if plan.goal.decide else "intervals are at the target"
    if plan.goal.target_half_width is not None:
        goal += f" (half-width {plan.goal.target_half_width:g} at error {plan.goal.alpha:g} in the whole cell)"
    why = "" if met == wanted else f"; the others stopped at {spaced(plan.goal.max_trials)} trials"
    if not state.finished:
        why = "; the run goes on"
    return [*found, f"{spaced(met)} of {spaced(wanted)} {goal}{why}."]
