"""Training that gets stuck: what the exact verdict says of a draw, and how its trajectory ended (theory §3.3, §7.4)."""

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
    """One mode of a cell, width by width of the flow.

    Parameters
    ----------
    mode : str
    widths : ndarray of int64, shape (K,)
    trials : ndarray of int64, shape (K,)
        Trajectories that were asked for.
    arrived : ndarray of int64, shape (K,)
        Those that came to the tolerance, or were proved to reach zero loss.
    cannot : ndarray of int64, shape (K,)
        Those that were proved not to.
    left_open : ndarray of int64, shape (K,)
        Those that ended before either, or failed: with the two others they make up `trials`.
    broken : ndarray of int64, shape (K,)
        Trajectories against the exact verdict: the claim "zonotope" violated.
    checked : ndarray of int64, shape (K,)
        Trajectories that the claim was decided for.
    examples : tuple of (trial, width)
        Draws that get stuck, the widest networks first, one for each width: to be replayed.
    """

    mode: str
    widths: IntArray
    trials: IntArray
    arrived: IntArray
    cannot: IntArray
    left_open: IntArray
    broken: IntArray
    checked: IntArray
    examples: tuple[tuple[int, int], ...]


def exact_counts(cell: CellResults) -> Counts | None:
    """How many draws reach zero loss with the hidden layer trained, at every width; None where it was not decided."""
    found = decisions(cell, "exact", "hidden") if "hidden" in cell.modes else None
    return None if found is None else Counts.of(found)


def stuck(cell: CellResults, mode: str) -> Stuck | None:
    """How the trajectories of a cell ended.

    Parameters
    ----------
    cell : CellResults
        Needs outcome; verdict_zonotope_always for the comparison with the exact verdict.
    mode : {"hidden", "both"}

    Returns
    -------
    Stuck or None
        None where nothing was integrated.
    """
    stored = dataset(cell, "outcome")
    if stored is None or stored.size == 0 or mode not in cell.modes:
        return None
    outcome = stored[mode_index(cell, mode)]
    verdicts = dataset(cell, "verdict_zonotope_always")
    own = np.full(outcome.shape, NOT_COMPUTED) if verdicts is None else verdicts[mode_index(cell, mode)]
    return Stuck(
        mode=mode,
        widths=np.asarray(cell.flow_widths, dtype=np.int64),
        trials=_count(outcome != NOT_COMPUTED),
        arrived=_count(np.isin(outcome, ARRIVED)),
        cannot=_count(np.isin(outcome, CANNOT)),
        left_open=_count(np.isin(outcome, LEFT_OPEN)),
        broken=_count(own == Verdict.VIOLATED),
        checked=_count(np.isin(own, (Verdict.HOLDS, Verdict.VIOLATED))),
        examples=_examples(cell) if mode == "hidden" else (),
    )


def _count(held: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> IntArray:
    return np.asarray(held.sum(axis=0), dtype=np.int64)


def _examples(cell: CellResults) -> tuple[tuple[int, int], ...]:
    found = decisions(cell, "exact", "hidden")
    if found is None:
        return ()
    fails = np.asarray(found == Decision.FAILS)
    at = [i for i in range(fails.shape[1] - 1, -1, -1) if fails[:, i].any()]
    return tuple((int(np.argmax(fails[:, i])), int(cell.widths[i])) for i in at)
