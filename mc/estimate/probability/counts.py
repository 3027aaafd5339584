"""Decisions of every trial on an event, from stored arrays, and counts of decisions, which add (design §7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.model.arrays import IntArray, Mask
from mc.store.layout import Computed
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Exact, Outcome

Decisions = NDArray[np.int8]


class Decision(IntEnum):
    """Verdict of one trial on one event at one width."""

    NOT_COUNTED = -1
    FAILS = 0
    HOLDS = 1
    UNDECIDED = 2


@dataclass(frozen=True)
class Counts:
    """Numbers of trials per width; adding is associative and commutative.

    A trial that was not attempted is in none of them. An undecided trial stands against every limit: lower limits are
    computed from `holds`, upper limits from `most_holds`. Every limit is monotone in the holds, so the interval
    contains every interval that decided trials could give.

    Attributes
    ----------
    holds, fails, undecided : ndarray of int64, shape (widths,)
    """

    holds: IntArray
    fails: IntArray
    undecided: IntArray

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.holds + other.holds, self.fails + other.fails, self.undecided + other.undecided)

    @property
    def trials(self) -> IntArray:
        """Trials that were attempted, decided or not, shape (widths,)."""
        return self.holds + self.fails + self.undecided

    @property
    def most_holds(self) -> IntArray:
        """Holds if every undecided trial held, shape (widths,)."""
        return self.holds + self.undecided

    @classmethod
    def of(cls, decisions: Decisions) -> Counts:
        """Count decisions of shape (trial, width) over the trials."""
        holds, fails, undecided = (
            np.asarray(np.sum(decisions == which, axis=0), dtype=np.int64)
            for which in (Decision.HOLDS, Decision.FAILS, Decision.UNDECIDED)
        )
        return cls(holds, fails, undecided)

    @classmethod
    def zero(cls, widths: int) -> Counts:
        """Return counts of no trials."""
        return cls(*(np.zeros(widths, dtype=np.int64) for _ in range(3)))


def dataset(cell: CellResults, name: str) -> NDArray[Any] | None:
    """Return a dataset of the cell, or None where the run did not store it."""
    return np.asarray(cell.data[name]) if name in cell.data else None


def mode_index(cell: CellResults, mode: str) -> int:
    """Return the position of a mode on the mode axis; raise InputError if the run does not have the mode."""
    if mode not in cell.modes:
        raise InputError(f"mode {mode!r} is not in this run: it has {', '.join(cell.modes)}")
    return cell.modes.index(mode)


def computed_trials(cell: CellResults) -> Mask | None:
    """Return which trials are present at every width, shape (trial, width); None if the run stored neither."""
    computed = dataset(cell, "computed")
    if computed is not None:
        return np.asarray(computed == Computed.PRESENT)
    psi = dataset(cell, "psi_0")
    return None if psi is None else ~np.isnan(psi)


def failed(cell: CellResults) -> Mask | None:
    """Return which trials failed at each width, shape (trial, width); None where none did."""
    computed = dataset(cell, "computed")
    if computed is None or not (computed == Computed.FAILED).any():
        return None
    return np.asarray(computed == Computed.FAILED)


def mark_failed(cell: CellResults, decided: Decisions) -> Decisions:
    """Set failed trials to undecided, except at widths where the event applies to none of the present trials."""
    failed_trials, present = failed(cell), computed_trials(cell)
    if failed_trials is None or present is None:
        return decided
    counted = decided != Decision.NOT_COUNTED
    applies = counted.any(axis=0) | (~present.any(axis=0) & (counted.any() or not present.any()))
    return np.where(failed_trials & applies, Decision.UNDECIDED, decided).astype(np.int8)


def _from_margin(name: str) -> Callable[[CellResults, str], Decisions | None]:
    def decide(cell: CellResults, mode: str) -> Decisions | None:
        stored = dataset(cell, name)
        if stored is None:
            return None
        margin = stored[mode_index(cell, mode)]
        known = ~np.isnan(margin)
        decisions = np.where(known, margin > 1.0, Decision.NOT_COUNTED).astype(np.int8)
        computed = computed_trials(cell)
        if computed is not None:
            # A computed trial whose margin is not a number counts as undecided: dropping it would bias the estimate.
            decisions[computed & ~known & known.any(axis=0)] = Decision.UNDECIDED
        return decisions

    return decide


def _conserved(cell: CellResults, mode: str) -> Decisions | None:
    low, psi = dataset(cell, "sigma_low"), dataset(cell, "psi_0")
    if mode != "both" or low is None or psi is None:
        return None
    holds = (low > 0.0) & np.isfinite(psi)
    return np.where(np.isnan(low), Decision.NOT_COUNTED, holds).astype(np.int8)


def _exact(cell: CellResults, mode: str) -> Decisions | None:
    stored = dataset(cell, "exact")
    if mode != "hidden" or stored is None:
        return None
    decisions = np.full(stored.shape, Decision.NOT_COUNTED, dtype=np.int8)
    decisions[stored == Exact.REACHES_ZERO] = Decision.HOLDS
    decisions[stored == Exact.CANNOT] = Decision.FAILS
    decisions[stored == Exact.UNDECIDED] = Decision.UNDECIDED
    return decisions


CONVERGED = (Outcome.CONVERGED_CERTIFIED, Outcome.CONVERGED_TOLERANCE, Outcome.CONVERGED_GD)


def _converged(cell: CellResults, mode: str) -> Decisions | None:
    stored = dataset(cell, "outcome")
    if stored is None or stored.size == 0:
        return None
    outcome = stored[mode_index(cell, mode)]
    decisions = np.full(outcome.shape, Decision.UNDECIDED, dtype=np.int8)
    decisions[np.isin(outcome, CONVERGED)] = Decision.HOLDS
    decisions[outcome == Outcome.NOT_CONVERGED_CERTIFIED] = Decision.FAILS
    decisions[outcome == NOT_COMPUTED] = Decision.NOT_COUNTED
    return decisions


EVENTS: Mapping[str, Callable[[CellResults, str], Decisions | None]] = {
    "paper": _from_margin("margin_paper"),
    "trial": _from_margin("margin_trial"),
    "sharp": _from_margin("margin_sharp"),
    "conserved": _conserved,
    "exact": _exact,
    "converged": _converged,
}
"""The events whose probabilities are estimated: each maps (cell, mode) to decisions, None where not computed."""


def decisions(cell: CellResults, event: str, mode: str) -> Decisions | None:
    """Decide an event on every trial of a cell.

    Parameters
    ----------
    cell : CellResults
        A cell of the results.
    event : str
        A name of `EVENTS`: a certificate of the ladder (theory §5) or ``converged``, the outcome of the flow.
    mode : {"hidden", "both"}

    Returns
    -------
    ndarray of int8, shape (trial, width), or None
        Values of `Decision`; widths are `event_widths`. None where the event does not apply or was not computed. A
        trial that failed is undecided: its block was requested, and dropping it would bias the estimate.

    Raises
    ------
    InputError
        If the event is unknown, or the run does not have the mode.
    """
    if event not in EVENTS:
        raise InputError(f"event {event!r} is not known: choose one of {', '.join(EVENTS)}")
    decided = EVENTS[event](cell, mode)
    if decided is not None and event != "converged":  # the outcome of a flow has a code for failed trials
        decided = mark_failed(cell, decided)
    return decided if decided is not None and (decided != Decision.NOT_COUNTED).any() else None


def event_widths(cell: CellResults, event: str) -> IntArray:
    """Return the widths an event is observed at: those of the flow for ``converged``, all otherwise."""
    return np.asarray(cell.flow_widths if event == "converged" else cell.widths, dtype=np.int64)
