"""Gradient descent stopped by a protocol against what training really reaches (theory §9).

A protocol ("at most 25 000 steps, converged when L < 1e-7") answers for every trial. It errs in two ways: it calls
converged what cannot reach zero loss, because the tolerance is met on the way to a small positive limit; and it calls
not converged what reaches zero loss, because the steps run out first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.probability.counts import Counts, Decision, Decisions, dataset, decisions, mode_index
from mc.estimate.probability.paired import Comparison, compare
from mc.model.arrays import Array, IntArray, Mask
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome

FAILED = (Outcome.STEP_BUDGET, Outcome.HORIZON, Outcome.NON_FINITE, Outcome.NOT_CONVERGED_CERTIFIED)
"""Ends at which a protocol says "not converged".

The last takes no steps: no network whatever comes within the tolerance, hence no number of steps does (theory §9).
"""


def zero_loss(cell: CellResults, mode: str) -> Decisions | None:
    """Whether training reaches zero loss: exactly for `hidden`; proved or open for `both` (theory §7.4, §7.5)."""
    if mode == "hidden":
        return decisions(cell, "exact", mode)
    proofs = [found for event in ("conserved", "sharp") if (found := decisions(cell, event, mode)) is not None]
    if not proofs:
        return None
    proved = np.any([found == Decision.HOLDS for found in proofs], axis=0)
    counted = np.any([found != Decision.NOT_COUNTED for found in proofs], axis=0)
    # what no certificate proves may still converge
    found = np.where(proved, Decision.HOLDS, Decision.UNDECIDED)
    return np.where(counted, found, Decision.NOT_COUNTED).astype(np.int8)


@dataclass(frozen=True)
class Protocol:
    """A protocol beside the truth, at every flow width of a cell and mode.

    Parameters
    ----------
    cell : int
    mode : str
    gamma : str
        The step, in words.
    max_steps, loss_tolerance : int, float
    widths : ndarray of int64, shape (K,)
    said, truth : ndarray of int8, shape (trial, K)
        What the protocol says, and whether the flow reaches zero loss: values of `Decision`.
    too_soon, too_late : ndarray of int64, shape (K,)
        Trials called converged that cannot reach zero loss; and called not converged though the flow reaches it.
    steps : ndarray, shape (K,)
        Median steps of the trials called converged, NaN where there is none.
    comparison : Comparison
        The protocol first, the truth second (McNemar).
    """

    cell: int
    mode: str
    gamma: str
    max_steps: int
    loss_tolerance: float
    widths: IntArray
    said: Decisions
    truth: Decisions
    too_soon: IntArray
    too_late: IntArray
    steps: Array
    comparison: Comparison

    @property
    def counts(self) -> Counts:
        """How often the protocol says converged."""
        return Counts.of(self.said)


def answers(cell: CellResults, mode: str) -> Decisions | None:
    """What the protocol says of every trial: out of steps is an answer to it, not an open question."""
    stored = dataset(cell, "outcome")
    if stored is None or stored.size == 0:
        return None
    outcome = stored[mode_index(cell, mode)]
    said = np.full(outcome.shape, Decision.UNDECIDED, dtype=np.int8)
    said[outcome == Outcome.CONVERGED_GD] = Decision.HOLDS
    said[np.isin(outcome, FAILED)] = Decision.FAILS
    said[outcome == NOT_COMPUTED] = Decision.NOT_COUNTED
    return said


def _median_steps(cell: CellResults, mode: str, converged: Mask) -> Array:
    steps = dataset(cell, "steps")
    if steps is None:
        return np.full(converged.shape[1], np.nan)
    own = steps[mode_index(cell, mode)]
    return np.array(
        [np.median(column[there]) if there.any() else np.nan for column, there in zip(own.T, converged.T, strict=True)]
    )


def _step_words(flow: Mapping[str, Any]) -> str:
    """The step of a [flow] table; an automatic one is half the largest stable at the start, times its scale."""
    gamma = flow.get("gamma", "auto")
    if gamma != "auto":
        return f"step {float(gamma):g}"
    share = 0.5 * float(flow.get("gamma_scale", 1.0))
    return "largest stable step" if share == 1.0 else f"{share:g} of the largest stable step"


def protocol(cell: CellResults, mode: str, experiment: Mapping[str, Any], level: float = 0.95) -> Protocol | None:
    """Compare the protocol of a run with what is known of the same trials.

    Parameters
    ----------
    cell : CellResults
        Of a run with the rule gd; needs outcome, and exact (hidden) or sigma_low (both).
    mode : str
    experiment : mapping
        The parsed experiment file.
    level : float
        Of the paired comparison over the widths.

    Returns
    -------
    Protocol or None
        None for another rule, or where nothing is known to compare with.
    """
    flow = experiment.get("flow", {})
    truth = zero_loss(cell, mode)
    said = answers(cell, mode) if flow.get("rule") == "gd" else None
    if said is None or truth is None:
        return None
    at = np.searchsorted(cell.widths, cell.flow_widths)
    truth = truth[:, at]
    seen = said != Decision.NOT_COUNTED
    return Protocol(
        cell=cell.index,
        mode=mode,
        gamma=_step_words(flow),
        max_steps=int(flow.get("max_steps", 0)),
        loss_tolerance=float(flow.get("loss_tolerance", 0.0)),
        widths=np.asarray(cell.flow_widths, dtype=np.int64),
        said=said,
        truth=np.where(seen, truth, Decision.NOT_COUNTED).astype(np.int8),
        too_soon=np.sum((said == Decision.HOLDS) & (truth == Decision.FAILS), axis=0),
        too_late=np.sum((said == Decision.FAILS) & (truth == Decision.HOLDS), axis=0),
        steps=_median_steps(cell, mode, np.asarray(said == Decision.HOLDS)),
        comparison=compare(said, truth, level),
    )


@dataclass(frozen=True)
class StepPair:
    """Two protocols, or a protocol and a flow, on the same draws: the one named first against the second.

    Parameters
    ----------
    first, second : str
        Names of the runs.
    cell : str
        Key of the cell.
    mode : str
    widths : ndarray of int64, shape (K,)
    comparison : Comparison
    """

    first: str
    second: str
    cell: str
    mode: str
    widths: IntArray
    comparison: Comparison


@dataclass(frozen=True)
class Stepped:
    """A run as the comparison of steps sees it.

    Parameters
    ----------
    name : str
    draws : tuple
        What must be equal for two runs to share every draw and the problem of optimisation: seed, activation, loss.
    cells : sequence of CellResults
    descends : bool
        Whether its rule is gradient descent.
    """

    name: str
    draws: tuple[object, ...]
    cells: Sequence[CellResults]
    descends: bool


def stepped(name: str, experiment: Mapping[str, Any], cells: Sequence[CellResults]) -> Stepped:
    """A run of a suite, by its experiment file."""
    loss, network = experiment.get("loss", {}), experiment.get("network", {})
    kind = loss.get("kind", "mse")
    draws = (
        experiment.get("experiment", {}).get("seed"),
        network.get("activation", "sigmoid"),
        kind,
        loss.get("p") if kind == "power" else None,
    )
    return Stepped(name, draws, cells, experiment.get("flow", {}).get("rule") == "gd")


def _answers_at(run: Stepped, cell: CellResults, mode: str, widths: IntArray) -> Decisions | None:
    """What the run says: its protocol, or for a flow whether zero loss is reached."""
    if run.descends:
        said = answers(cell, mode)
        return None if said is None else said[:, np.searchsorted(cell.flow_widths, widths)]
    truth = zero_loss(cell, mode)
    return None if truth is None else truth[:, np.searchsorted(cell.widths, widths)]


def step_pairs(runs: Sequence[Stepped], level: float = 0.95) -> Iterator[StepPair]:
    """Every run of gradient descent against each later one, and against each flow, where they share their draws.

    Parameters
    ----------
    runs : sequence of Stepped
        Of a suite.
    level : float
        Of each comparison over its widths.
    """
    for i, first in enumerate(runs):
        for j, second in enumerate(runs):
            if not first.descends or first.draws != second.draws or (second.descends and j <= i) or i == j:
                continue
            others = {cell.key: cell for cell in second.cells}
            for cell in first.cells:
                other = others.get(cell.key)
                for mode in cell.modes if other is not None else ():
                    assert other is not None
                    if mode not in other.modes:
                        continue
                    there = other.flow_widths if second.descends else other.widths
                    widths = np.intersect1d(cell.flow_widths, there)
                    a, b = _answers_at(first, cell, mode, widths), _answers_at(second, other, mode, widths)
                    if a is not None and b is not None and len(widths):
                        trials = min(len(a), len(b))
                        yield StepPair(
                            first.name, second.name, cell.key, mode, widths, compare(a[:trials], b[:trials], level)
                        )
