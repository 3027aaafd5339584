"""The flows of a block: which trials are integrated, how each ends, and which of them are observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.flow.case import Case
from mc.flow.field import ReducedFlow, conserved_drift
from mc.model.arrays import Mask
from mc.theory.codes import NOT_COMPUTED, CertifiedBy, Exact, Outcome
from mc.trial.claims import OnClaim, Place, Selection, add_datasets, draw_for_observables, observe
from mc.trial.neuron_sums import FirstNeurons
from mc.trial.task import BlockTask, Group

Arrays = dict[str, NDArray[Any]]


def run_flows(out: Arrays, group: Group, first: FirstNeurons, on_claim: OnClaim | None = None) -> None:
    """Integrate the trials of a group at every flow width in every mode, and write the datasets of the flow."""
    task, rows = group.task, group.rows
    if task.flow is None or not task.flow_widths:
        return
    selection = Selection.of(task, task.flow, on_claim)
    if "outcome" not in out:
        _add_datasets(out, task)
        add_datasets(out, task, task.flow.save, selection, group.batch.n)
    for flow_column, width in enumerate(task.flow_widths):
        for mode_index, mode in enumerate(task.modes):
            flow = ReducedFlow(mode, group.activation, group.loss, group.batch, first.Q[:, :, :width])
            case = Case(task.flow, flow, first.h[:, :width])
            place = Place(mode_index, rows, task.widths.index(width), flow_column)
            decided = _decide_at_start(out, case, place)
            for part in case.batches(np.flatnonzero(~decided)):
                _integrate(out, case.take(part), place.take(part))
            for part in case.batches(selection.positions(rows)):
                drawn = draw_for_observables(group, part, width, selection.observables)
                observe(out, case.take(part), place.take(part), drawn, selection)


def _add_datasets(out: Arrays, task: BlockTask) -> None:
    shape = (len(task.modes), task.n_trials, len(task.flow_widths))
    for name in ("outcome", "certified_by"):
        out[name] = np.full(shape, NOT_COMPUTED, np.int8)
    out["steps"] = np.full(shape, NOT_COMPUTED, np.int64)
    for name in ("stop_time", "loss_final", "error_estimate", "conserved_drift"):
        out[name] = np.full(shape, np.nan)


def _decide_at_start(out: Arrays, case: Case, place: Place) -> Mask:
    """Write the outcomes that need no integration, and return which trials have one.

    The flow of a hidden layer that cannot converge never does; that of both layers with a conserved floor does (theory
    §7.5), which suffices for `restart`. For gradient descent, §7.4 says only that no activations come nearer to y than
    the zonotope, if phi is increasing: then its box is that of all activations (theory §9).
    """
    settings, activation, loss = case.settings, case.flow.activation, case.flow.loss
    if case.flow.mode == "hidden":
        mask = np.asarray(place.values(out["exact"]) == Exact.CANNOT)
        if settings.rule == "gd":
            least = loss.psi_inverse(place.values(out["limit_residual"]))
            mask &= activation.increasing & (least > settings.loss_tolerance)
        outcome, by = Outcome.NOT_CONVERGED_CERTIFIED, CertifiedBy.EXACT
    elif settings.rule == "restart":
        mask = np.asarray((place.values(out["sigma_low"]) > 0.0) & ~(place.values(out["margin_sharp"]) > 1.0))
        outcome, by = Outcome.CONVERGED_CERTIFIED, CertifiedBy.CONSERVED
    else:
        return np.zeros(place.rows.size, dtype=bool)
    decided = place.take(np.flatnonzero(mask))
    out["outcome"][decided.flow], out["certified_by"][decided.flow], out["steps"][decided.flow] = outcome, by, 0
    if outcome == Outcome.CONVERGED_CERTIFIED:
        out["stop_time"][decided.flow], out["error_estimate"][decided.flow] = 0.0, 0.0
        out["loss_final"][decided.flow] = loss.psi_inverse(decided.values(out["psi_0"]))
    return mask


def _integrate(out: Arrays, case: Case, place: Place) -> None:
    """Integrate trials to their ends and write how each ended."""
    ending, index = case.end(), place.flow
    out["outcome"][index], out["stop_time"][index] = ending.outcome, ending.time
    out["steps"][index], out["loss_final"][index] = ending.steps, ending.loss
    out["error_estimate"][index] = ending.error
    certified = ending.outcome == Outcome.CONVERGED_CERTIFIED
    by = np.where(ending.time == 0.0, CertifiedBy.INITIAL_SHARP, CertifiedBy.RESTART)
    out["certified_by"][index] = np.where(certified, by, NOT_COMPUTED)
    if case.settings.rule != "gd":
        out["conserved_drift"][index] = conserved_drift(case.flow, case.h, ending.state)
