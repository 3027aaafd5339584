"""From stored arrays to decisions per trial, and from decisions to counts that add (design §7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.model.arrays import IntArray, Mask
from mc.store.layout import Computed
from mc.theory.codes import NOT_COMPUTED, Exact, Outcome

Decisions = NDArray[np.int8]


class CellLike(Protocol):
    """What the analysis reads of a cell of the results: the attributes of `mc.store.blocks.CellResults`."""

    @property
    def index(self) -> int:
        """Number of the cell."""
        ...

    @property
    def key(self) -> str:
        """The 16 hex digits of the cell."""
        ...

    @property
    def problem(self) -> Mapping[str, Any]:
        """The resolved [problem] values."""
        ...

    @property
    def modes(self) -> tuple[str, ...]:
        """Trained layers, in the order of the axis `mode`."""
        ...

    @property
    def widths(self) -> IntArray:
        """Widths of the certificates."""
        ...

    @property
    def flow_widths(self) -> IntArray:
        """Widths of the flow."""
        ...

    @property
    def saved_trials(self) -> IntArray:
        """Trials whose trajectories are kept."""
        ...

    @property
    def data(self) -> Mapping[str, Any]:
        """The datasets by name."""
        ...


class Decision(IntEnum):
    """What one trial says of one event at one width."""

    NOT_COUNTED = -1
    FAILS = 0
    HOLDS = 1
    UNDECIDED = 2


@dataclass(frozen=True)
class Counts:
    """Holds, fails and undecided trials per width; adding is associative and commutative.

    Parameters
    ----------
    holds, fails, undecided : ndarray of int64, shape (widths,)
        Numbers of trials; what was not attempted is in none of them.
    """

    holds: IntArray
    fails: IntArray
    undecided: IntArray

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.holds + other.holds, self.fails + other.fails, self.undecided + other.undecided)

    @property
    def trials(self) -> IntArray:
        """Trials that were attempted, decided or not."""
        return self.holds + self.fails + self.undecided

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
        """The neutral element of the addition."""
        return cls(*(np.zeros(widths, dtype=np.int64) for _ in range(3)))


def dataset(cell: CellLike, name: str) -> NDArray[Any] | None:
    """The array of a dataset of the cell, or None where the run did not store it."""
    return np.asarray(cell.data[name]) if name in cell.data else None


def mode_index(cell: CellLike, mode: str) -> int:
    """Position of a mode on the mode axis.

    Raises
    ------
    InputError
        If the run was not made in this mode.
    """
    if mode not in cell.modes:
        raise InputError(f"mode {mode!r} is not in this run: it has {', '.join(cell.modes)}")
    return cell.modes.index(mode)


def _computed(cell: CellLike) -> Mask | None:
    computed = dataset(cell, "computed")
    if computed is not None:
        return np.asarray(computed == Computed.PRESENT)
    psi = dataset(cell, "psi_0")
    return None if psi is None else ~np.isnan(psi)


def failed(cell: CellLike) -> Mask | None:
    """Trials of every width that failed, shape (trial, width); None where none did."""
    computed = dataset(cell, "computed")
    if computed is None or not (computed == Computed.FAILED).any():
        return None
    return np.asarray(computed == Computed.FAILED)


def _with_failed(cell: CellLike, made: Decisions) -> Decisions:
    """A trial that failed is undecided, but where the event applies to none of the trials that are there."""
    lost, there = failed(cell), _computed(cell)
    if lost is None or there is None:
        return made
    counted = made != Decision.NOT_COUNTED
    applies = counted.any(axis=0) | (~there.any(axis=0) & (counted.any() or not there.any()))
    return np.where(lost & applies, Decision.UNDECIDED, made).astype(np.int8)


def _from_margin(name: str) -> Callable[[CellLike, str], Decisions | None]:
    def decide(cell: CellLike, mode: str) -> Decisions | None:
        stored = dataset(cell, name)
        if stored is None:
            return None
        margin = stored[mode_index(cell, mode)]
        known = ~np.isnan(margin)
        decisions = np.where(known, margin > 1.0, Decision.NOT_COUNTED).astype(np.int8)
        computed = _computed(cell)
        if computed is not None:
            # A computed trial whose margin is not a number counts as undecided: dropping it would bias the estimate.
            decisions[computed & ~known & known.any(axis=0)] = Decision.UNDECIDED
        return decisions

    return decide


def _conserved(cell: CellLike, mode: str) -> Decisions | None:
    low, psi = dataset(cell, "sigma_low"), dataset(cell, "psi_0")
    if mode != "both" or low is None or psi is None:
        return None
    holds = (low > 0.0) & np.isfinite(psi)
    return np.where(np.isnan(low), Decision.NOT_COUNTED, holds).astype(np.int8)


def _exact(cell: CellLike, mode: str) -> Decisions | None:
    stored = dataset(cell, "exact")
    if mode != "hidden" or stored is None:
        return None
    decisions = np.full(stored.shape, Decision.NOT_COUNTED, dtype=np.int8)
    decisions[stored == Exact.REACHES_ZERO] = Decision.HOLDS
    decisions[stored == Exact.CANNOT] = Decision.FAILS
    decisions[stored == Exact.UNDECIDED] = Decision.UNDECIDED
    return decisions


CONVERGED = (Outcome.CONVERGED_CERTIFIED, Outcome.CONVERGED_TOLERANCE, Outcome.CONVERGED_GD)


def _converged(cell: CellLike, mode: str) -> Decisions | None:
    stored = dataset(cell, "outcome")
    if stored is None or stored.size == 0:
        return None
    outcome = stored[mode_index(cell, mode)]
    decisions = np.full(outcome.shape, Decision.UNDECIDED, dtype=np.int8)
    decisions[np.isin(outcome, CONVERGED)] = Decision.HOLDS
    decisions[outcome == Outcome.NOT_CONVERGED_CERTIFIED] = Decision.FAILS
    decisions[outcome == NOT_COMPUTED] = Decision.NOT_COUNTED
    return decisions


EVENTS: Mapping[str, Callable[[CellLike, str], Decisions | None]] = {
    "paper": _from_margin("margin_paper"),
    "trial": _from_margin("margin_trial"),
    "sharp": _from_margin("margin_sharp"),
    "conserved": _conserved,
    "exact": _exact,
    "converged": _converged,
}
"""The events a probability is estimated of, by name."""


def decisions(cell: CellLike, event: str, mode: str) -> Decisions | None:
    """What every trial says of an event.

    Parameters
    ----------
    cell : CellLike
        A cell of the results.
    event : str
        A name of `EVENTS`: a certificate of the ladder (theory §5) or ``converged``, the outcome of the flow.
    mode : {"hidden", "both"}

    Returns
    -------
    ndarray of int8, shape (trial, width), or None
        Values of `Decision`; widths are `event_widths`. None where the event does not apply or was not computed. A
        trial that failed is undecided: its block was asked for, and dropping it would bias the estimate.
    """
    if event not in EVENTS:
        raise InputError(f"event {event!r} is not known: choose one of {', '.join(EVENTS)}")
    made = EVENTS[event](cell, mode)
    if made is not None and event != "converged":  # the outcome of a flow says itself that it failed
        made = _with_failed(cell, made)
    return made if made is not None and (made != Decision.NOT_COUNTED).any() else None


def event_widths(cell: CellLike, event: str) -> IntArray:
    """The widths an event is observed at: those of the flow for ``converged``, all otherwise."""
    return np.asarray(cell.flow_widths if event == "converged" else cell.widths, dtype=np.int64)
