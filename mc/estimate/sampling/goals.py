"""The adaptive plan of an experiment, where a run stands in it, and how many trials it may still take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import (
    EVENTS,
    CellLike,
    Counts,
    Decision,
    Decisions,
    dataset,
    decisions,
    event_widths,
)
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.roots import smallest_whole
from mc.estimate.probability.undecided import reading
from mc.estimate.sampling.adaptive import METHOD, AdaptivePlan, Progress, Track, reached, replay
from mc.estimate.sampling.allocation import observer
from mc.estimate.sampling.rule_errors import Goal
from mc.estimate.widths.predicted import cell_theory
from mc.model.arrays import Array, IntArray, Mask
from mc.theory.codes import FORMS, NOT_COMPUTED, ONE_MODE

Stored = Mapping[tuple[int, str, str], tuple[Decisions, Mask]]


def cell_events(cell: CellLike, ladder: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(mode, event) of what a run estimates in a cell: the rungs of its ladder, and convergence where it integrates."""
    flows = ("converged",) if len(cell.flow_widths) else ()
    for mode in cell.modes:
        for event in EVENTS:
            if event in (*ladder, *flows) and ONE_MODE.get(event, mode) == mode:
                yield mode, event


def _claims(cell: CellLike, experiment: Mapping[str, Any], mode: str, event: str) -> Array:
    theory = cell_theory(cell, experiment)
    if theory is None or theory.outside:
        why = theory.outside if theory is not None else "the activation, loss or output law has no explicit constants"
        raise InputError(f"[sampling] decide: there is no P_theory to decide ({why}); use target_half_width")
    return theory.curve(mode, event, cell.widths).p


def adaptive_plan(experiment: Mapping[str, Any], cells: Sequence[CellLike]) -> AdaptivePlan:
    """What [sampling] fixes before the first trial.

    Parameters
    ----------
    experiment : mapping
        The parsed frozen copy of the experiment: every default is there, the block size too.
    cells : sequence of CellLike
        Cells of the run; with ``decide`` they need the numbers of their problem (see `cell_theory`), nothing else.

    Returns
    -------
    AdaptivePlan

    Raises
    ------
    InputError
        When ``decide = true`` and there is no claim, or none that is known before the first trial.
    """
    goal = Goal(**experiment["sampling"])
    ladder = tuple(experiment.get("certificates", {}).get("ladder", EVENTS))
    tracks = []
    for cell in cells:
        if goal.decide and cell.problem.get("resample", "trial") != "cell":
            raise InputError(
                "[sampling] decide: with resample = 'trial' P_theory is a mean over problems not drawn yet and "
                "fixes no claim; use resample = 'cell' in [problem], or target_half_width instead of decide"
            )
        for mode, event in cell_events(cell, ladder):
            if goal.decide and event not in FORMS:
                continue
            widths = event_widths(cell, event)
            claims = _claims(cell, experiment, mode, event) if goal.decide else np.full(len(widths), np.nan)
            tracks.append(Track(cell.index, mode, event, widths, claims, event == "converged"))
    plan = AdaptivePlan(goal, tuple(tracks), int(experiment["experiment"]["block_size"]))
    if not any(plan.wanted(track).any() for track in plan.tracks):
        raise InputError(
            "[sampling] decide: P_theory is 0 at every width, so there is no claim to decide; use wider [widths], or "
            "target_half_width instead of decide"
        )
    return plan


def cell_decisions(cell: CellLike, ladder: Sequence[str]) -> Stored:
    """What the trials of a cell say of every event, and which trials are there, by (cell, mode, event)."""
    found = {}
    for mode, event in cell_events(cell, ladder):
        outcome, computed = dataset(cell, "outcome"), dataset(cell, "computed")
        if event == "converged":
            there = None if outcome is None else outcome[cell.modes.index(mode)] != NOT_COMPUTED
        else:
            there = None if computed is None else computed > 0
        if there is None:
            continue
        made = decisions(cell, event, mode)
        none = np.full(there.shape, Decision.NOT_COUNTED, dtype=np.int8)
        found[cell.index, mode, event] = (none if made is None else made, np.asarray(there))
    return found


def progress_of(experiment: Mapping[str, Any], cells: Sequence[CellLike]) -> tuple[AdaptivePlan, Progress]:
    """The plan of an adaptive run, and where its stored trials are in it."""
    plan = adaptive_plan(experiment, cells)
    ladder = tuple(experiment.get("certificates", {}).get("ladder", EVENTS))
    stored = {at: found for cell in cells for at, found in cell_decisions(cell, ladder).items()}
    return plan, replay(plan, observer(stored))


def forecast(plan: AdaptivePlan, track: Track, counts: Counts) -> IntArray:
    """Trials at which each width of a track would meet the goal if the shares seen so far stayed as they are.

    Parameters
    ----------
    plan : AdaptivePlan
    track : Track
    counts : Counts
        Of the track; a width without trials is taken at one half (or, with a claim, at the claim: undecidable).

    Returns
    -------
    ndarray of int64, shape (K,)
        `max_trials` where it would not be met before; the trials there where it is met, or not wanted.
    """
    read, method = reading(counts), get_method(METHOD)
    n = np.maximum(read.trials, 1)
    guess = np.where(plan.goal.decide, np.nan_to_num(track.claims), 0.5)
    least, most = (np.where(read.trials > 0, s / n, guess) for s in (read.least, read.most))
    alpha = plan.goal.alpha / max(plan.tests(track.cell), 1)

    def met(trials: IntArray) -> Mask:
        low, high = np.floor(least * trials), np.ceil(most * trials)
        if plan.goal.target_half_width is not None:
            lower, upper = method.two_sided(low, high, trials, alpha)
            return np.asarray(upper - lower <= 2.0 * plan.goal.target_half_width)
        lower, upper = method.lower(low, trials, alpha), method.upper(high, trials, alpha)
        return np.asarray((lower >= track.claims) | (upper < track.claims))

    end = np.full(len(track.widths), plan.goal.max_trials)
    start = np.minimum(np.maximum(read.trials, plan.goal.min_trials), end)
    done = reached(plan, track, counts) | ~plan.wanted(track)
    return np.where(done, read.trials, smallest_whole(met, start, end))


def most_trials(plan: AdaptivePlan) -> int:
    """Trials of the longest run the rule can make if no trial is undecided: at one half the interval is widest."""
    if plan.goal.decide:
        return plan.goal.max_trials
    need = max(int(forecast(plan, track, Counts.zero(len(track.widths))).max(initial=0)) for track in plan.tracks)
    blocks = 0
    while plan.trials_of(blocks) < need:
        blocks = plan.blocks_after(blocks)
    return plan.trials_of(blocks)
