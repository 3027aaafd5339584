"""The flows of a block: which trials are integrated, how each ended, and what is saved along the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.flow.conserved import conserved_drift
from mc.flow.field import ReducedFlow
from mc.flow.integrate import Ending
from mc.flow.settings import Case, FlowSettings
from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.model.losses import Loss
from mc.model.problem import Problem, ProblemBatch
from mc.theory.codes import NOT_COMPUTED, CertifiedBy, Exact, Outcome
from mc.trial.claims import Asked, Place, Witness, allocate, follow
from mc.trial.neuron_sums import Kept

Arrays = dict[str, NDArray[Any]]

__all__ = ["FlowSettings", "run_flows"]


def run_flows(
    out: Arrays,
    settings: FlowSettings,
    activation: Activation,
    loss: Loss,
    modes: Sequence[str],
    widths: Sequence[int],
    flow_widths: Sequence[int],
    claims: tuple[str, ...],
    rows: Index,
    first_trial: int,
    problems: Sequence[Problem],
    kept: Kept,
    network: Callable[[int, int], tuple[Array, Array]],
    witness: Witness | None = None,
) -> None:
    """Integrate some trials of a block at every flow width in every mode, and write what §6 of the layout asks.

    Parameters
    ----------
    out : dict of arrays
        Arrays of the block; those of the flow are added.
    claims : tuple of str
        Claims to check along every trajectory; none: all of them, along the saved ones alone.
    rows : (T,) int array
        Rows of the block that the trials have.
    network : callable
        ``network(trial, width)`` draws h and V.
    witness : callable, optional
        Is shown the two sides of every claim along the trajectories.
    """
    n_trials = out["psi_0"].shape[0]
    asked = Asked(min(max(settings.save.trials - first_trial, 0), n_trials), claims, witness)
    batch = ProblemBatch.stack(problems)
    _allocate(out, settings, asked, (len(modes), n_trials, len(flow_widths)), batch.n)
    for at, width in enumerate(flow_widths):
        column = list(widths).index(width)

        def output_layer(row: int, width: int = width) -> Array:
            return network(first_trial + row, width)[1]

        for index, mode in enumerate(modes):
            case = Case(settings, ReducedFlow(mode, activation, loss, batch, kept.Q[:, :, :width]), kept.h[:, :width])
            decided = _decide_at_start(out, settings, activation, loss, mode, index, rows, column, at)
            for some in case.batches(np.flatnonzero(~decided)):
                part = case.take(some)
                _write_ending(out, (index, rows[some], at), part, part.end(settings.rule))
            for some in case.batches(asked.rows(rows, settings.rule)):
                place = Place(index, rows[some], column, at)
                follow(out, case.take(some), asked, place, [problems[int(row)] for row in some], output_layer)


def _decide_at_start(
    out: Arrays,
    settings: FlowSettings,
    activation: Activation,
    loss: Loss,
    mode: str,
    index: int,
    rows: Index,
    column: int,
    at: int,
) -> Mask:
    """Write the outcomes that need no integration, and return which trials have one.

    The flow of a hidden layer that cannot converge never does; that of both layers with a conserved floor does (theory
    §7.5), which is all that `restart` asks. Of gradient descent §7.4 says only that no activations whatever come nearer
    to y than the zonotope, if phi is increasing: then its box is that of all of them (theory §9).
    """
    decided = np.zeros(rows.size, dtype=bool)
    answers = []
    if mode == "hidden":
        cannot = out["exact"][rows, column] == Exact.CANNOT
        if settings.rule == "gd":
            least = loss.psi_inverse(out["limit_residual"][rows, column])
            cannot &= activation.increasing & (least > settings.loss_tolerance)
        answers.append((cannot, Outcome.NOT_CONVERGED_CERTIFIED, CertifiedBy.EXACT))
    elif settings.rule == "restart":
        floored = (out["sigma_low"][rows, column] > 0.0) & ~(out["margin_sharp"][index, rows, column] > 1.0)
        answers.append((floored, Outcome.CONVERGED_CERTIFIED, CertifiedBy.CONSERVED))
    for mask, outcome, by in answers:
        place = (index, rows[mask], at)
        out["outcome"][place], out["certified_by"][place], out["steps"][place] = outcome, by, 0
        if outcome == Outcome.CONVERGED_CERTIFIED:
            out["stop_time"][place], out["error_estimate"][place] = 0.0, 0.0
            out["loss_final"][place] = loss.psi_inverse(out["psi_0"][rows[mask], column])
        decided |= mask
    return decided


def _allocate(out: Arrays, settings: FlowSettings, asked: Asked, shape: tuple[int, int, int], n: int) -> None:
    if "outcome" in out:
        return
    for name in ("outcome", "certified_by"):
        out[name] = np.full(shape, NOT_COMPUTED, np.int8)
    out["steps"] = np.full(shape, NOT_COMPUTED, np.int64)
    for name in ("stop_time", "loss_final", "error_estimate", "conserved_drift"):
        out[name] = np.full(shape, np.nan)
    allocate(out, settings, asked, shape, n)


def _write_ending(out: Arrays, place: tuple[int, Index, int], case: Case, ending: Ending) -> None:
    out["outcome"][place], out["stop_time"][place] = ending.outcome, ending.time
    out["steps"][place], out["loss_final"][place] = ending.steps, ending.loss
    out["error_estimate"][place] = ending.error
    certified = ending.outcome == Outcome.CONVERGED_CERTIFIED
    by = np.where(ending.time == 0.0, CertifiedBy.INITIAL_SHARP, CertifiedBy.RESTART)
    out["certified_by"][place] = np.where(certified, by, NOT_COMPUTED)
    if case.settings.rule != "gd":
        out["conserved_drift"][place] = conserved_drift(case.flow, case.h, ending.state)
