"""Observe trajectories to their ends: save their observables and check the claims along them (theory §4, §9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.flow.case import Case
from mc.flow.descent import step_quality
from mc.flow.observables import NEED_OUTPUT_LAYER, OBSERVABLES, Origin
from mc.flow.observe import Drawn, Observed, limited, observe_descent, observe_flow, tightened
from mc.flow.settings import FlowSettings, Save
from mc.flow.stepper import norm
from mc.model.arrays import Array, Index, Mask
from mc.theory.claim_checks import Observables, Promise, descent_promises, flow_promises, loss_bound
from mc.theory.claims import CLAIMS, TRAJECTORY_CLAIMS, Sides, Slack, smallest_slack
from mc.theory.codes import NOT_COMPUTED, Outcome, Verdict
from mc.trial.curves import RATES
from mc.trial.task import BlockTask, Group

Arrays = dict[str, NDArray[Any]]

TERMS = 16.0
"""Rounding errors of a sum over the neurons, in units of 2^-53 |Q| |z|/sqrt k: some ulps, for BLAS sums in blocks."""

FACTS = (
    "sigma_A norm_A norm_eps psi_0 sigma_low exact limit_residual sigma_0 radius_needed radius_trial radius_paper "
    "margin_paper margin_trial margin_sharp sigma_star radius_sharp"
).split()
"""Datasets of the block that the claims read."""

OnClaim = Callable[[str, int, Index, str, Sides], None]
"""``on_claim(mode, width, rows, member, sides)``: called with both sides of each claim at every observed time.

``rows`` are rows of the block, ``member`` is ``<claim>_<hypothesis>``.
"""


@dataclass(frozen=True)
class Selection:
    """Trajectories of a block that are observed, and claims that are checked along them."""

    saved: int  # the first rows of the block, whose trajectories are saved
    claims: tuple[str, ...]  # claims about flows or about descent, whichever the rule integrates
    every_trial: bool  # whether every trial is observed, or the saved ones alone
    on_claim: OnClaim | None

    @classmethod
    def of(cls, task: BlockTask, settings: FlowSettings, on_claim: OnClaim | None) -> Selection:
        """Select what a task asks for; a task that names no claims has all of them checked where it saves."""
        saved = min(max(settings.save.trials - task.first_trial, 0), task.n_trials)
        names = task.claims or (TRAJECTORY_CLAIMS if saved else ())
        kind = "descent" if settings.rule == "gd" else "flow"
        claims = tuple(name for name in names if kind in CLAIMS[name].rules)
        return cls(saved, claims, bool(task.claims) and bool(claims), on_claim)

    def positions(self, rows: Index) -> Index:
        """Return the positions of the observed trials among given rows of the block."""
        return np.arange(rows.size) if self.every_trial else np.flatnonzero(rows < self.saved)

    @property
    def observables(self) -> tuple[str, ...]:
        """Return the observables that are saved or that a claim needs."""
        needed = {name for claim in self.claims for name in CLAIMS[claim].observables}
        return tuple(dict.fromkeys((*(OBSERVABLES if self.saved else ()), *sorted(needed))))


@dataclass(frozen=True)
class Place:
    """Indices of T trials of one mode and width in the arrays of a block."""

    mode: int
    rows: Index
    column: int  # of the width axis
    flow_column: int  # of the flow_width axis

    def take(self, part: Index) -> Place:
        """Select trials."""
        return replace(self, rows=self.rows[part])

    @property
    def flow(self) -> tuple[int, Index, int]:
        """Return the index into (mode, trial, flow_width)."""
        return self.mode, self.rows, self.flow_column

    def values(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the values (T,) of a dataset on (trial), (trial, width) or (mode, trial, width)."""
        if array.ndim == 1:
            return np.asarray(array[self.rows])
        values = array[self.rows, self.column] if array.ndim == 2 else array[self.mode, self.rows, self.column]
        return np.asarray(values)


def add_datasets(out: Arrays, task: BlockTask, save: Save, selection: Selection, n: int) -> None:
    """Add the empty datasets of observed trajectories of signals of length n to the arrays of a block."""
    modes, widths = len(task.modes), len(task.flow_widths)
    saved = (modes, selection.saved, widths, save.count)
    for name in ("t", *OBSERVABLES, *(f"error_{name}" for name in OBSERVABLES), *RATES):
        out[name] = np.full(saved, np.nan)
    if save.signal:
        out["signal"] = np.full((*saved, n), np.nan)
    for claim in selection.claims:
        for hypothesis in CLAIMS[claim].hypotheses:
            member = f"{claim}_{hypothesis}"
            for family in ("slack_", "slack_error_", "slack_time_"):
                out[family + member] = np.full((modes, task.n_trials, widths), np.nan)
            out[f"verdict_{member}"] = np.full((modes, task.n_trials, widths), NOT_COMPUTED, np.int8)


def observe(out: Arrays, case: Case, place: Place, drawn: Drawn, selection: Selection) -> None:
    """Observe trials of one mode and width; write their saved trajectories and the verdicts of the claims.

    Trials that the integration error leaves undecided are observed once more at a tighter tolerance.
    """
    names, descends = selection.observables, case.settings.rule == "gd"
    signals = case.settings.save.signal and selection.saved > 0
    if descends:
        observed = observe_descent(case, drawn, names, signals)
    else:
        case = limited(case)
        observed = observe_flow(case, drawn, names, signals)
    _save(out, case, place, selection.saved, observed)
    undecided = _check(out, case, place, selection.claims, drawn, observed, selection.on_claim)
    if undecided.any() and not descends:
        again = np.flatnonzero(undecided)
        case, drawn, place = tightened(case.take(again)), drawn.take(again), place.take(again)
        closer = observe_flow(case, drawn, names)
        # a trajectory that its budget ends earlier does not reach the undecided times
        far = np.flatnonzero(closer.ending.time >= 0.999 * observed.ending.time[again])
        if far.size:
            claims = tuple(name for name in selection.claims if CLAIMS[name].retry)
            case, place, drawn = case.take(far), place.take(far), drawn.take(far)
            _check(out, case, place, claims, drawn, closer.take(far), selection.on_claim)


def draw_for_observables(group: Group, part: Index, width: int, names: Sequence[str]) -> Drawn:
    """Return the problems of given trials of a group, and their output layers where an observable depends on ker(A)."""
    problems = [group.problems[int(row)] for row in part]
    if not NEED_OUTPUT_LAYER & set(names) or all(problem.rank == problem.Z.shape[0] for problem in problems):
        return Drawn(problems, None)
    return Drawn(problems, [group.network(int(row), width)[1] for row in group.rows[part]])


def _save(out: Arrays, case: Case, place: Place, saved: int, observed: Observed) -> None:
    """Write the trajectories of the saved rows, and the right-hand sides of the rates (none for descent)."""
    part = np.flatnonzero(place.rows < saved)
    if not part.size:
        return
    place, observed = place.take(part), observed.take(part)
    out["t"][place.flow] = observed.times
    for name in OBSERVABLES:
        out[name][place.flow] = observed.values[name]
    if observed.signals is not None:
        out["signal"][place.flow] = observed.signals
    if case.settings.rule == "gd":
        return
    for name in OBSERVABLES:
        out[f"error_{name}"][place.flow] = observed.errors[name]
    loss, promises = case.flow.loss, flow_promises(_facts(out, place), case.flow.mode)
    loss_0 = loss.psi_inverse(place.values(out["psi_0"]))[:, None]
    for name, hypothesis in RATES.items():
        promise = promises[hypothesis]
        sigma = np.where(promise.holds, promise.sigma, np.nan)[:, None]
        out[name][place.flow] = loss_bound(loss, loss_0, sigma, observed.times)


def _facts(out: Arrays, place: Place) -> dict[str, NDArray[Any]]:
    return {name: place.values(out[name]) for name in FACTS}


def _check(
    out: Arrays,
    case: Case,
    place: Place,
    claims: Sequence[str],
    drawn: Drawn,
    observed: Observed,
    on_claim: OnClaim | None,
) -> Mask:
    """Write slack and verdict of every claim; return the trials that a tighter integration may decide."""
    facts, mode = _facts(out, place), case.flow.mode
    if case.settings.rule == "gd":
        kappa = step_quality(case.flow, case.h, observed.ending.first_step, facts["radius_needed"])
        promises = descent_promises(facts, kappa)
    else:
        promises = flow_promises(facts, mode)
    observables = _observables(case, facts, drawn, observed)
    undecided = np.zeros(place.rows.size, dtype=bool)
    for name in claims:
        claim = CLAIMS[name]
        if mode not in claim.modes or claim.sides is None:
            continue
        for hypothesis in claim.hypotheses:
            promise, member = promises[hypothesis], f"{name}_{hypothesis}"
            sides = claim.sides(observables, promise)
            if on_claim is not None:
                on_claim(mode, case.flow.width, place.rows, member, sides)
            slack = smallest_slack(sides)
            _write(out, place, member, promise, slack)
            unsure = np.isin(slack.verdict, (Verdict.UNDECIDED, Verdict.VIOLATED))
            undecided |= unsure & promise.holds & claim.retry
    return undecided


def _write(out: Arrays, place: Place, member: str, promise: Promise, slack: Slack) -> None:
    # a verdict "holds" of the first integration stays
    part = np.flatnonzero(out[f"verdict_{member}"][place.flow] != Verdict.HOLDS)
    index, true = place.take(part).flow, promise.holds[part]
    for family, value in (("slack_", slack.value), ("slack_error_", slack.error), ("slack_time_", slack.time)):
        out[family + member][index] = np.where(true, value[part], np.nan)
    verdict = np.where(true, slack.verdict[part], Verdict.HYPOTHESIS_FALSE)
    out[f"verdict_{member}"][index] = verdict.astype(np.int8)


def _observables(case: Case, facts: Mapping[str, NDArray[Any]], drawn: Drawn, observed: Observed) -> Observables:
    flow, ending, origin = case.flow, observed.ending, observed.origin
    injective = np.array([problem.rank == problem.Z.shape[0] for problem in drawn.problems])
    recovery, offset = _recovery(flow.mode, flow.width, drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = 2.0 * observed.start_error / facts["sigma_0"]
    kernel, slope = origin.V_kernel, flow.loss.psi_slope(flow.problems.U.shape[1])
    rounding = TERMS * 2.0**-53 * norm(flow.Q_start) * norm(origin.z) / np.sqrt(flow.width)
    return Observables(
        loss=flow.loss,
        sup_dphi=flow.activation.sup_dphi,
        width=flow.width,
        time=observed.times,
        values=observed.values,
        errors=observed.errors,
        loss_0=flow.loss.psi_inverse(facts["psi_0"]),
        sigma_A=facts["sigma_A"],
        norm_A=facts["norm_A"],
        norm_eps=facts["norm_eps"],
        injective=injective,
        recovery_floor=recovery,
        recovery_offset=offset,
        signal_reach=_signal_reach(case) if flow.mode == "both" else np.zeros(injective.size),
        signal_radius=np.where(start < facts["radius_trial"], start, np.inf),
        norm_signal=norm(origin.signal),
        kernel_norm=np.zeros(injective.size) if kernel is None else _operator_norms(kernel),
        end=ending.time,
        loss_end=ending.loss,
        loss_end_error=observed.loss_error,
        converged=ending.outcome == Outcome.CONVERGED_TOLERANCE,
        loss_tolerance=case.settings.loss_tolerance,
        remainder=observed.remainder,
        exact=facts["exact"],
        limit_residual=facts["limit_residual"],
        rounding=rounding,
        jacobian_rounding=_jacobian_rounding(case, origin),
        psi_rounding=facts["norm_A"] * rounding * (slope if np.isfinite(slope) else 1.0),
    )


def _jacobian_rounding(case: Case, origin: Origin) -> Array:
    """Bound the root of the rounding error of a Gram matrix of k terms, (T,): |J_W,i| <= B1 |V_i|/sqrt k."""
    k, square = case.flow.width, np.square(norm(case.flow.Q_start))
    if origin.V_kernel is not None:
        square = square + np.square(norm(origin.V_kernel))
    n = origin.signal.shape[1]
    trace = np.square(case.flow.activation.sup_dphi) * square / k + n * np.square(norm(origin.z)) / k
    return np.asarray(np.sqrt(4.0 * (n + k) * 2.0**-53 * trace))


def _operator_norms(matrices: Array) -> Array:
    """Return the operator norms of (T, n, k) matrices, (T,), from their n x n Gram matrices."""
    gram = np.matmul(matrices, matrices.swapaxes(1, 2))
    return np.asarray(np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[:, -1], 0.0)))


def _signal_reach(case: Case) -> Array:
    """Return the norm up to which every signal is V phi(h)/sqrt k with |(V, h)| <= |theta_0| (equal neurons), (T,)."""
    budget = np.square(norm(case.flow.Q_start)) + np.square(norm(case.h))
    reach = np.zeros(case.h.shape[0])
    for h in np.linspace(-3.0, 3.0, 25):
        norm_V = np.sqrt(np.maximum(budget - h * h * case.flow.width, 0.0))
        reach = np.maximum(reach, norm_V * np.abs(case.flow.activation.phi(np.full(1, h))))
    return reach


def _recovery(mode: str, width: int, drawn: Drawn) -> tuple[Array, Array]:
    """Return lambda of theory §6 and a lower bound of dist(xbar, Sigma'), (T,) each.

    lambda is sigma_min(A) where A is injective. A narrow hidden layer never leaves range V(0): there it is that of A on
    this range, and xbar is no nearer than to the range.
    """
    floors, offsets = [], np.zeros(len(drawn.problems))
    for row, problem in enumerate(drawn.problems):
        n = problem.Z.shape[0]
        if problem.rank == n:
            floors.append(problem.sigma_A)
        elif mode == "hidden" and width <= problem.rank and drawn.V is not None:
            basis = np.linalg.qr(drawn.V[row])[0]
            floors.append(float(np.linalg.svd(problem.A @ basis, compute_uv=False)[-1]))
            offsets[row] = np.linalg.norm(problem.xbar - basis @ (basis.T @ problem.xbar))
        else:
            floors.append(0.0)
    return np.array(floors), offsets
