"""Adaptive allocation of a stored run: counts of the first trials of its cells, and where it stands in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mc.estimate.probability.counts import Counts, Decision, Decisions
from mc.estimate.sampling.adaptive import Observe, Progress, Track
from mc.model.arrays import IntArray, Mask


def first_counts(decisions: Decisions, computed: Mask, trials: IntArray) -> Counts | None:
    """Counts over the first trials of each width.

    Parameters
    ----------
    decisions : ndarray of int8, shape (trial, K)
    computed : ndarray of bool, shape (trial, K)
        Whether the trial is there; an event that does not apply to a trial that is there is in no count.
    trials : ndarray of int64, shape (K,)

    Returns
    -------
    Counts or None
        None when one of the trials is missing.
    """
    if trials.max(initial=0) > len(decisions):
        return None
    wanted = np.arange(len(decisions))[:, None] < trials
    if (wanted & ~computed).any():
        return None
    return Counts.of(np.where(wanted, decisions, Decision.NOT_COUNTED).astype(np.int8))


def observer(stored: Mapping[tuple[int, str, str], tuple[Decisions, Mask]]) -> Observe:
    """What `mc.estimate.sampling.adaptive.replay` asks, answered from the decisions of a run.

    Parameters
    ----------
    stored : mapping of (cell, mode, event) to (decisions, computed)
        Both of shape (trial, width). A track that is not there has no trial yet.
    """

    def observe(track: Track, trials: IntArray) -> Counts | None:
        found = stored.get((track.cell, track.mode, track.event))
        if found is None:
            return None if trials.any() else Counts.zero(len(trials))
        return first_counts(*found, trials)

    return observe


def status_lines(tracks: Sequence[Track], progress: Progress) -> tuple[str, ...]:
    """Where an adaptive run stands, a line for each cell and one for the whole.

    Parameters
    ----------
    tracks : sequence of Track
        Those of the plan.
    progress : Progress

    Returns
    -------
    tuple of str
    """
    lines = []
    for cell in dict.fromkeys(track.cell for track in tracks):
        mine = [i for i, track in enumerate(tracks) if track.cell == cell]
        open_ = sum(int(progress.open[i].sum()) for i in mine)
        total = sum(len(progress.open[i]) for i in mine)
        most = max(int(progress.trials[i].max(initial=0)) for i in mine)
        request = next((r for r in progress.requests if r.cell == cell), None)
        then = "" if request is None else f"; next: to block {request.last_block} at {len(request.widths)} widths"
        lines.append(f"cell {cell}: {most} trials, {open_} of {total} intervals open{then}")
    state = "finished" if progress.finished else f"round {progress.rounds + 1} is next"
    return (*lines, f"{progress.rounds} complete rounds, {state}")
