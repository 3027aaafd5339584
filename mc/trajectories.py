"""The flows of a block: which trials are integrated, how each ended, and what is saved along the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.activations import Activation
from mc.flow.checked import integrate_checked, loosened
from mc.flow.conserved import conserved_drift
from mc.flow.descent import Descent, descend
from mc.flow.driver import Controls, Ending, integrate
from mc.flow.fields import ReducedFlow
from mc.flow.record import OBSERVABLES, Recorder, log_times
from mc.flow.stopping import Never, RestartRule, ToleranceRule
from mc.guarantees.promises import loss_bound
from mc.losses import Loss
from mc.outcomes import NOT_COMPUTED, CertifiedBy, Exact, Outcome
from mc.problem import Problem, ProblemBatch
from mc.streaming import Kept

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Arrays = dict[str, NDArray[Any]]

BATCH_BYTES = 6_000_000
"""Size of a batch that is integrated together: small enough for the caches, large enough to hide the calls."""

SAVED_STEPS = 2_000
"""Budget of a saved trajectory: one that never converges is shown as far as this takes it."""

BOUNDS = ("bound_rate", "bound_rate_sharp", "bound_conserved-rate")


@dataclass(frozen=True)
class FlowSettings:
    """The [flow] table without its widths.

    Attributes
    ----------
    rule : {"restart", "tolerance", "gd"}
    rtol, atol, loss_tolerance, horizon : float
    max_steps : int
    method : str
    gamma : float or None
        Step of gradient descent; None takes a stable one for each trial.
    save_trials : int
        The first trials of a cell whose trajectories are saved.
    save_times : int or tuple of float
        Number of log-spaced times up to the end, or the times themselves.
    """

    rule: str = "restart"
    rtol: float = 1e-5
    atol: float = 1e-8
    loss_tolerance: float = 1e-7
    horizon: float = 1e6
    max_steps: int = 100_000
    method: str = "auto"
    gamma: float | None = None
    save_trials: int = 0
    save_times: int | tuple[float, ...] = 64

    @property
    def times(self) -> int:
        """Number of saved times."""
        return self.save_times if isinstance(self.save_times, int) else len(self.save_times)

    @property
    def controls(self) -> Controls:
        """Tolerances and budgets of an integration."""
        return Controls(self.rtol, self.atol, self.horizon, self.max_steps, self.method)

    @property
    def descent(self) -> Descent:
        """Protocol of the rule gd."""
        return Descent(self.gamma, self.loss_tolerance, self.max_steps)


@dataclass(frozen=True)
class _Case:
    """Some trials of one width and mode."""

    settings: FlowSettings
    flow: ReducedFlow
    h: Array

    def end(self, rule: str) -> Ending:
        """Integrate to the end by a rule of the settings."""
        if rule == "gd":
            return descend(self.flow, self.h, self.settings.descent)
        if rule == "restart":
            return integrate_checked(self.flow, self.h, self.settings.controls, RestartRule)
        tolerance = self.settings.loss_tolerance
        return integrate_checked(self.flow, self.h, self.settings.controls, lambda _: ToleranceRule(tolerance))

    def take(self, rows: Index) -> _Case:
        return _Case(self.settings, self.flow.take(rows), self.h[rows])


def run_flows(
    out: Arrays,
    settings: FlowSettings,
    activation: Activation,
    loss: Loss,
    modes: Sequence[str],
    widths: Sequence[int],
    flow_widths: Sequence[int],
    rows: Index,
    first_trial: int,
    problems: Sequence[Problem],
    kept: Kept,
    network: Callable[[int, int], tuple[Array, Array]],
) -> None:
    """Integrate some trials of a block at every flow width in every mode, and write what §6 of the layout asks.

    Parameters
    ----------
    out : dict of arrays
        Arrays of the block; those of the flow are added.
    rows : (T,) int array
        Rows of the block that the trials have.
    network : callable
        ``network(trial, width)`` draws h and V.
    """
    n_trials = out["psi_0"].shape[0]
    saved = min(max(settings.save_trials - first_trial, 0), n_trials)
    _allocate(out, (len(modes), n_trials, len(flow_widths)), saved, settings.times)
    batch = ProblemBatch.stack(problems)
    for at, width in enumerate(flow_widths):
        column = list(widths).index(width)
        for index, mode in enumerate(modes):
            flow = ReducedFlow(mode, activation, loss, batch, kept.Q[:, :, :width])
            case = _Case(settings, flow, kept.h[:, :width])
            decided = _decide_at_start(out, settings, loss, mode, index, rows, column, at)
            for some in _batches(np.flatnonzero(~decided), flow):
                part = case.take(some)
                _write_ending(out, (index, rows[some], at), part, part.end(settings.rule))
            for some in _batches(np.flatnonzero(rows < saved), flow):
                V = [network(first_trial + int(rows[row]), width)[1] for row in some]
                recorder = _record(case.take(some), [problems[int(row)] for row in some], V)
                place = (index, rows[some], at)
                out["t"][place] = recorder.times
                for name in OBSERVABLES:
                    out[name][place] = recorder.values[name]
                    out[f"error_{name}"][place] = recorder.errors[name]
                _write_bounds(out, place, loss, recorder, index, column, mode)


def _decide_at_start(
    out: Arrays, settings: FlowSettings, loss: Loss, mode: str, index: int, rows: Index, column: int, at: int
) -> NDArray[np.bool_]:
    """Write the outcomes that need no integration, and return which trials have one.

    The flow of a hidden layer that cannot converge never does; that of both layers with a conserved floor does (theory
    §7.5), which is all that `restart` asks. Neither speaks of gradient descent (theory §9).
    """
    decided = np.zeros(rows.size, dtype=bool)
    answers = []
    if settings.rule == "gd":
        return decided
    if mode == "hidden":
        cannot = out["exact"][rows, column] == Exact.CANNOT
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


def _allocate(out: Arrays, shape: tuple[int, int, int], saved: int, times: int) -> None:
    if "outcome" in out:
        return
    for name in ("outcome", "certified_by"):
        out[name] = np.full(shape, NOT_COMPUTED, np.int8)
    out["steps"] = np.full(shape, NOT_COMPUTED, np.int64)
    for name in ("stop_time", "loss_final", "error_estimate", "conserved_drift"):
        out[name] = np.full(shape, np.nan)
    for name in ("t", *OBSERVABLES, *(f"error_{name}" for name in OBSERVABLES), *BOUNDS):
        out[name] = np.full((shape[0], saved, shape[2], times), np.nan)


def _batches(rows: Index, flow: ReducedFlow) -> list[Index]:
    """Split trials into batches: Q, its successor and about ten vectors of stages a trial."""
    size = max(1, BATCH_BYTES // (8 * flow.width * (10 + 2 * (1 + flow.problems.rank))))
    return [rows[first : first + size] for first in range(0, rows.size, size)]


def _write_ending(out: Arrays, place: tuple[int, Index, int], case: _Case, ending: Ending) -> None:
    out["outcome"][place], out["stop_time"][place] = ending.outcome, ending.time
    out["steps"][place], out["loss_final"][place] = ending.steps, ending.loss
    out["error_estimate"][place] = ending.error
    certified = ending.outcome == Outcome.CONVERGED_CERTIFIED
    by = np.where(ending.time == 0.0, CertifiedBy.INITIAL_SHARP, CertifiedBy.RESTART)
    out["certified_by"][place] = np.where(certified, by, NOT_COMPUTED)
    if case.settings.rule != "gd":
        out["conserved_drift"][place] = conserved_drift(case.flow, case.h, ending.state)


def _record(case: _Case, problems: Sequence[Problem], V: Sequence[Array]) -> Recorder:
    """Three passes: where the trajectory ends, the same steps saved, and a looser companion for the errors."""
    settings = case.settings
    if settings.rule == "gd":
        return _record_descent(case, problems, V)
    controls = replace(settings.controls, max_steps=min(settings.max_steps, SAVED_STEPS))
    ending = integrate(case.flow, case.h, controls, ToleranceRule(settings.loss_tolerance))
    times = _times(settings, ending)
    recorder, companion = (Recorder(case.flow, case.h, times, problems, V) for _ in range(2))
    for each, tolerances in ((recorder, controls), (companion, loosened(controls))):
        last = integrate(case.flow, case.h, tolerances, Never(), each.on_step, until=ending.time)
        for trial in range(len(problems)):
            each.finish(trial, last.state[trial], last.time[trial])
    for name in OBSERVABLES:
        # the difference changes sign along the way: its neighbours in time tell its size where it does
        apart = np.abs(recorder.values[name] - companion.values[name])
        padded = np.pad(apart, ((0, 0), (1, 1)), mode="edge")
        recorder.errors[name] = np.where(
            np.isnan(apart), np.nan, 2.0 * np.fmax.reduce([padded[:, :-2], apart, padded[:, 2:]])
        )
    return recorder


def _record_descent(case: _Case, problems: Sequence[Problem], V: Sequence[Array]) -> Recorder:
    """Iterates nearest to the wanted times; the saved times are theirs."""
    ending = descend(case.flow, case.h, case.settings.descent)
    gamma = ending.first_step[:, None]
    steps = np.round(_times(case.settings, ending) / gamma).astype(np.intp)
    recorder = Recorder(case.flow, case.h, steps * gamma, problems, V, descent=True)
    descend(case.flow, case.h, case.settings.descent, partial(recorder.on_iterate, steps))
    return recorder


def _times(settings: FlowSettings, ending: Ending) -> Array:
    """Times to save of each trial, (T, P)."""
    if not isinstance(settings.save_times, int):
        return np.tile(np.array(settings.save_times), (ending.time.size, 1))
    last = np.where(ending.time > 0.0, ending.time, 1.0)
    return log_times(settings.save_times, np.fmin(ending.first_step, 1e-3 * last), last)


def _write_bounds(
    out: Arrays, place: tuple[int, Index, int], loss: Loss, recorder: Recorder, index: int, column: int, mode: str
) -> None:
    """Right-hand sides of the rates, NaN where their hypothesis is false; descent has others (theory §9)."""
    rows = place[1]
    if recorder.descent:
        return
    sigma_A, psi_0 = out["sigma_A"][rows], out["psi_0"][rows, column]
    trial = np.where(out["margin_trial"][index, rows, column] > 1.0, out["sigma_0"][index, rows, column], np.nan)
    low = out["sigma_low"][rows, column] if mode == "both" else np.full(rows.size, np.nan)
    sigmas = (0.5 * sigma_A * trial, out["sigma_star"][index, rows, column], np.where(low > 0.0, sigma_A * low, np.nan))
    loss_0 = loss.psi_inverse(psi_0)[:, None]
    for name, sigma in zip(BOUNDS, sigmas, strict=True):
        out[name][place] = loss_bound(loss, loss_0, sigma[:, None], recorder.times)
