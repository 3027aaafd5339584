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
    """Decide whether training reaches zero loss: exactly for `hidden`, proved or open for `both` (theory §7.4-5)."""
    if mode == "hidden":
        return decisions(cell, "exact", mode)
    proofs = [proof for event in ("conserved", "sharp") if (proof := decisions(cell, event, mode)) is not None]
    if not proofs:
        return None
    proved = np.any([proof == Decision.HOLDS for proof in proofs], axis=0)
    counted = np.any([proof != Decision.NOT_COUNTED for proof in proofs], axis=0)
    # what no certificate proves may still converge
    decided = np.where(proved, Decision.HOLDS, Decision.UNDECIDED)
    return np.where(counted, decided, Decision.NOT_COUNTED).astype(np.int8)


@dataclass(frozen=True)
class Protocol:
    """A protocol beside the truth, at the K flow widths of a cell and mode."""

    cell: int
    mode: str
    gamma: str  # the step, in words
    max_steps: int
    loss_tolerance: float
    widths: IntArray
    answer: Decisions  # of the protocol, (trial, K)
    truth: Decisions  # whether the flow reaches zero loss, (trial, K)
    too_soon: IntArray  # trials called converged that cannot reach zero loss, (K,)
    too_late: IntArray  # trials called not converged though the flow reaches zero loss, (K,)
    steps: Array  # median over the trials called converged, (K,); NaN without any
    comparison: Comparison  # of the protocol with the truth (McNemar)

    @property
    def counts(self) -> Counts:
        """Counts of the trials that the protocol calls converged."""
        return Counts.of(self.answer)


def answers(cell: CellResults, mode: str) -> Decisions | None:
    """Return the answer of the protocol for each trial: out of steps is the answer "not converged"."""
    stored = dataset(cell, "outcome")
    if stored is None or stored.size == 0:
        return None
    outcome = stored[mode_index(cell, mode)]
    answer = np.full(outcome.shape, Decision.UNDECIDED, dtype=np.int8)
    answer[outcome == Outcome.CONVERGED_GD] = Decision.HOLDS
    answer[np.isin(outcome, FAILED)] = Decision.FAILS
    answer[outcome == NOT_COMPUTED] = Decision.NOT_COUNTED
    return answer


def _median_steps(cell: CellResults, mode: str, converged: Mask) -> Array:
    steps = dataset(cell, "steps")
    if steps is None:
        return np.full(converged.shape[1], np.nan)
    of_mode = steps[mode_index(cell, mode)]
    return np.array(
        [np.median(column[rows]) if rows.any() else np.nan for column, rows in zip(of_mode.T, converged.T, strict=True)]
    )


def _step_words(flow: Mapping[str, Any]) -> str:
    """Describe the step of a [flow] table; "auto" is half the largest stable step at the start, times its scale."""
    gamma = flow.get("gamma", "auto")
    if gamma != "auto":
        return f"step {float(gamma):g}"
    share = 0.5 * float(flow.get("gamma_scale", 1.0))
    return "largest stable step" if share == 1.0 else f"{share:g} of the largest stable step"


def protocol(cell: CellResults, mode: str, experiment: Mapping[str, Any], level: float = 0.95) -> Protocol | None:
    """Compare the protocol of a run with the verdicts on the same trials; None for another rule, or without verdicts.

    `experiment` is the parsed file of a run with the rule gd; the cell needs outcome, and exact (hidden) or sigma_low
    (both). `level` is that of the paired comparison over the widths.
    """
    flow = experiment.get("flow", {})
    truth = zero_loss(cell, mode)
    answer = answers(cell, mode) if flow.get("rule") == "gd" else None
    if answer is None or truth is None:
        return None
    truth = truth[:, np.searchsorted(cell.widths, cell.flow_widths)]
    seen = answer != Decision.NOT_COUNTED
    return Protocol(
        cell=cell.index,
        mode=mode,
        gamma=_step_words(flow),
        max_steps=int(flow.get("max_steps", 0)),
        loss_tolerance=float(flow.get("loss_tolerance", 0.0)),
        widths=np.asarray(cell.flow_widths, dtype=np.int64),
        answer=answer,
        truth=np.where(seen, truth, Decision.NOT_COUNTED).astype(np.int8),
        too_soon=np.sum((answer == Decision.HOLDS) & (truth == Decision.FAILS), axis=0),
        too_late=np.sum((answer == Decision.FAILS) & (truth == Decision.HOLDS), axis=0),
        steps=_median_steps(cell, mode, np.asarray(answer == Decision.HOLDS)),
        comparison=compare(answer, truth, level),
    )


@dataclass(frozen=True)
class StepPair:
    """Two protocols, or a protocol and a flow, on the same draws: the first run against the second."""

    first: str  # name of the run
    second: str
    cell: str  # key
    mode: str
    widths: IntArray
    comparison: Comparison


@dataclass(frozen=True)
class Stepped:
    """A run of a suite, for the comparison of steps."""

    name: str
    draws: tuple[object, ...]  # seed, activation, loss: equal for runs that share their draws and their problem
    cells: Sequence[CellResults]
    descends: bool  # by gradient descent


def stepped(name: str, experiment: Mapping[str, Any], cells: Sequence[CellResults]) -> Stepped:
    """Return the run of a suite with the settings of its experiment file."""
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
    """Return the answers of the protocol of a run; of a flow, whether zero loss is reached."""
    if run.descends:
        answer = answers(cell, mode)
        return None if answer is None else answer[:, np.searchsorted(cell.flow_widths, widths)]
    truth = zero_loss(cell, mode)
    return None if truth is None else truth[:, np.searchsorted(cell.widths, widths)]


def step_pairs(runs: Sequence[Stepped], level: float = 0.95) -> Iterator[StepPair]:
    """Compare each run of gradient descent with each later one, and with each flow, that shares its draws.

    `level` is that of each comparison over its widths.
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
                    widths_of_other = other.flow_widths if second.descends else other.widths
                    widths = np.intersect1d(cell.flow_widths, widths_of_other)
                    a, b = _answers_at(first, cell, mode, widths), _answers_at(second, other, mode, widths)
                    if a is not None and b is not None and len(widths):
                        trials = min(len(a), len(b))
                        yield StepPair(
                            first.name, second.name, cell.key, mode, widths, compare(a[:trials], b[:trials], level)
                        )
