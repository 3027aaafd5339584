"""The adaptive plan of an experiment, its state in a run, and how many trials it may still take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import EVENTS, Counts, Decision, dataset, decisions, event_widths
from mc.estimate.sampling.adaptive import (
    AdaptivePlan,
    Goal,
    Progress,
    Stored,
    Track,
    goal_met,
    limits_of,
    observer,
    reached,
    replay,
)
from mc.estimate.sampling.planning import smallest_whole
from mc.estimate.widths.predicted import cell_theory
from mc.model.arrays import Array, IntArray, Mask
from mc.store.results import CellResults
from mc.theory.codes import FORMS, NOT_COMPUTED, ONE_MODE


def cell_events(cell: CellResults, ladder: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (mode, event) of every estimate in a cell: the rungs of the ladder, and convergence where it integrates."""
    flows = ("converged",) if len(cell.flow_widths) else ()
    for mode in cell.modes:
        for event in EVENTS:
            if event in (*ladder, *flows) and ONE_MODE.get(event, mode) == mode:
                yield mode, event


def _claims(cell: CellResults, experiment: Mapping[str, Any], mode: str, event: str) -> Array:
    theory = cell_theory(cell, experiment)
    if theory is None or theory.outside:
        why = theory.outside if theory is not None else "the activation, loss or output law has no explicit constants"
        raise InputError(f"[sampling] decide: there is no P_theory to decide ({why}); use target_half_width")
    return theory.curve(mode, event, cell.widths).p


def adaptive_plan(experiment: Mapping[str, Any], cells: Sequence[CellResults]) -> AdaptivePlan:
    """Return the plan that [sampling] fixes before the first trial.

    Parameters
    ----------
    experiment : mapping
        The parsed frozen copy of the experiment, with every default and the block size.
    cells : sequence of CellResults
        Cells of the run; with ``decide`` they need the numbers of their problem (see `cell_theory`), nothing else.

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


def cell_decisions(cell: CellResults, ladder: Sequence[str]) -> Stored:
    """Return the decisions of every event in a cell and which trials are computed, by (cell, mode, event)."""
    stored = {}
    for mode, event in cell_events(cell, ladder):
        outcome, computed = dataset(cell, "outcome"), dataset(cell, "computed")
        if event == "converged":
            present = None if outcome is None else outcome[cell.modes.index(mode)] != NOT_COMPUTED
        else:
            present = None if computed is None else computed > 0
        if present is None:
            continue
        decided = decisions(cell, event, mode)
        if decided is None:
            decided = np.full(present.shape, Decision.NOT_COUNTED, dtype=np.int8)
        stored[cell.index, mode, event] = (decided, np.asarray(present))
    return stored


def progress_of(experiment: Mapping[str, Any], cells: Sequence[CellResults]) -> tuple[AdaptivePlan, Progress]:
    """Return the plan of an adaptive run and the state of its stored trials."""
    plan = adaptive_plan(experiment, cells)
    ladder = tuple(experiment.get("certificates", {}).get("ladder", EVENTS))
    stored = {key: pair for cell in cells for key, pair in cell_decisions(cell, ladder).items()}
    return plan, replay(plan, observer(stored))


def forecast(plan: AdaptivePlan, track: Track, counts: Counts) -> IntArray:
    """Forecast the trials at which each width of a track meets the goal if the shares seen so far do not change.

    A width without trials is taken at one half (or, with a claim, at the claim, which cannot be decided). `max_trials`
    stands where the goal is not met before; the present trials where it is met, or not wanted.
    """
    n = np.maximum(counts.trials, 1)
    guess = np.where(plan.goal.decide, np.nan_to_num(track.claims), 0.5)
    least, most = (np.where(counts.trials > 0, s / n, guess) for s in (counts.holds, counts.most_holds))

    def met(trials: IntArray) -> Mask:
        scaled = limits_of(plan, track, np.floor(least * trials), np.ceil(most * trials), trials)
        return goal_met(plan, track, *scaled)

    end = np.full(len(track.widths), plan.goal.max_trials)
    start = np.minimum(np.maximum(counts.trials, plan.goal.min_trials), end)
    done = reached(plan, track, counts) | ~plan.wanted(track)
    return np.where(done, counts.trials, smallest_whole(met, start, end))


def most_trials(plan: AdaptivePlan) -> int:
    """Return the trials of the longest run of the rule without undecided trials: intervals are widest at P = 1/2."""
    if plan.goal.decide:
        return plan.goal.max_trials
    need = max(int(forecast(plan, track, Counts.zero(len(track.widths))).max(initial=0)) for track in plan.tracks)
    blocks = 0
    while plan.trials_of(blocks) < need:
        blocks = plan.blocks_after(blocks)
    return plan.trials_of(blocks)
