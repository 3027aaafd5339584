"""Compare the exact verdict on each draw with the end of its trajectory (theory §3.3, §7.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mc.estimate.probability.counts import Counts, Decision, dataset, decisions, mode_index
from mc.model.arrays import IntArray
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome, Verdict

ARRIVED = (Outcome.CONVERGED_CERTIFIED, Outcome.CONVERGED_TOLERANCE, Outcome.CONVERGED_GD)
CANNOT = (Outcome.NOT_CONVERGED_CERTIFIED,)
LEFT_OPEN = tuple(outcome for outcome in Outcome if outcome not in ARRIVED + CANNOT)


@dataclass(frozen=True)
class Stuck:
    """Counts of how the trajectories of a mode ended, at K flow widths; arrived + cannot + left_open = trials."""

    mode: str
    widths: IntArray
    trials: IntArray  # trajectories of the plan
    arrived: IntArray  # at the tolerance, or proved to reach zero loss
    cannot: IntArray  # proved not to reach zero loss
    left_open: IntArray  # ended before either, or failed
    broken: IntArray  # against the exact verdict: claim "zonotope" violated
    checked: IntArray  # claim "zonotope" decided
    examples: tuple[tuple[int, int], ...]  # (trial, width) of a stuck draw at each width, the widest first


def exact_counts(cell: CellResults) -> Counts | None:
    """Count the draws that reach zero loss with the hidden layer trained, at each width; None where not decided."""
    decided = decisions(cell, "exact", "hidden") if "hidden" in cell.modes else None
    return None if decided is None else Counts.of(decided)


def stuck(cell: CellResults, mode: str) -> Stuck | None:
    """Count how the trajectories of a cell ended, against the claim "zonotope"; None where nothing was integrated."""
    stored = dataset(cell, "outcome")
    if stored is None or stored.size == 0 or mode not in cell.modes:
        return None
    outcome = stored[mode_index(cell, mode)]
    verdicts = dataset(cell, "verdict_zonotope_always")
    verdict = np.full(outcome.shape, NOT_COMPUTED) if verdicts is None else verdicts[mode_index(cell, mode)]
    return Stuck(
        mode=mode,
        widths=np.asarray(cell.flow_widths, dtype=np.int64),
        trials=_count(outcome != NOT_COMPUTED),
        arrived=_count(np.isin(outcome, ARRIVED)),
        cannot=_count(np.isin(outcome, CANNOT)),
        left_open=_count(np.isin(outcome, LEFT_OPEN)),
        broken=_count(verdict == Verdict.VIOLATED),
        checked=_count(np.isin(verdict, (Verdict.HOLDS, Verdict.VIOLATED))),
        examples=_examples(cell) if mode == "hidden" else (),
    )


def _count(held: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> IntArray:
    return np.asarray(held.sum(axis=0), dtype=np.int64)


def _examples(cell: CellResults) -> tuple[tuple[int, int], ...]:
    decided = decisions(cell, "exact", "hidden")
    if decided is None:
        return ()
    fails = np.asarray(decided == Decision.FAILS)
    columns = [i for i in range(fails.shape[1] - 1, -1, -1) if fails[:, i].any()]
    return tuple((int(np.argmax(fails[:, i])), int(cell.widths[i])) for i in columns)
