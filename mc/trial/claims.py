"""Trajectories followed to their ends: what is saved of them, and what the claims say of every one (theory §4, §9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.flow.descent import step_quality
from mc.flow.observables import NEED_OUTPUT_LAYER, OBSERVABLES, Origin
from mc.flow.observe import Drawn, Followed, limited, tightened, watch_descent, watch_flow
from mc.flow.settings import Case, FlowSettings
from mc.flow.stepper import norm
from mc.model.arrays import Array, Index, Mask
from mc.model.problem import Problem
from mc.theory.claim_checks import Promise, Watched, descent_promises, flow_promises, loss_bound
from mc.theory.claims import CLAIMS, TRAJECTORY_CLAIMS, Sides, Slack, smallest_slack
from mc.theory.codes import NOT_COMPUTED, Outcome, Verdict

Arrays = dict[str, NDArray[Any]]

BOUNDS = {"bound_rate": "trial", "bound_rate_sharp": "sharp", "bound_conserved-rate": "conserved"}
"""Datasets of the rates along saved trajectories, and their hypotheses."""

TERMS = 16.0
"""Rounding errors of a sum over the neurons, in units of 2^-53 |Q| |z|/sqrt k: some ulps, for BLAS sums in blocks."""

FACTS = (
    "sigma_A norm_A norm_eps psi_0 sigma_low exact limit_residual sigma_0 radius_needed radius_trial radius_paper "
    "margin_paper margin_trial margin_sharp sigma_star radius_sharp"
).split()


Witness = Callable[[str, int, Index, str, Sides], None]
"""``witness(mode, width, rows, member, sides)``: rows of the block; member is ``<claim>_<hypothesis>``."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of the trajectories of a block.

    Attributes
    ----------
    saved : int
        The first rows of the block, whose trajectories are kept.
    claims : tuple of str
        Claims to check along all of them; none: every claim, along the saved ones alone.
    witness : callable, optional
        Is shown the two sides of every claim.
    """

    saved: int
    claims: tuple[str, ...]
    witness: Witness | None = None

    def rows(self, rows: Index, rule: str) -> Index:
        """Positions, among some rows of the block, of those to follow."""
        every = bool(self.claims) and bool(self.checked(rule))
        return np.arange(rows.size) if every else np.flatnonzero(rows < self.saved)

    def checked(self, rule: str) -> tuple[str, ...]:
        """Claims that are checked and speak of this rule."""
        names = self.claims or (TRAJECTORY_CLAIMS if self.saved else ())
        kind = "descent" if rule == "gd" else "flow"
        return tuple(name for name in names if kind in CLAIMS[name].rules)

    def observables(self, rule: str) -> tuple[str, ...]:
        """All that has to be looked at."""
        needed = {name for claim in self.checked(rule) for name in CLAIMS[claim].observables}
        return tuple(dict.fromkeys((*(OBSERVABLES if self.saved else ()), *sorted(needed))))


def allocate(out: Arrays, settings: FlowSettings, asked: Asked, shape: tuple[int, int, int], n: int) -> None:
    """Add the datasets of followed trajectories, (modes, trials, flow widths) wide, to the arrays of a block."""
    for name in ("t", *OBSERVABLES, *(f"error_{name}" for name in OBSERVABLES), *BOUNDS):
        out[name] = np.full((shape[0], asked.saved, shape[2], settings.save.count), np.nan)
    if settings.save.signal:
        out["signal"] = np.full((shape[0], asked.saved, shape[2], settings.save.count, n), np.nan)
    for claim in asked.checked(settings.rule):
        for hypothesis in CLAIMS[claim].hypotheses:
            member = f"{claim}_{hypothesis}"
            for family in ("slack_", "slack_error_", "slack_time_"):
                out[family + member] = np.full(shape, np.nan)
            out[f"verdict_{member}"] = np.full(shape, NOT_COMPUTED, np.int8)


@dataclass(frozen=True)
class Place:
    """Where the numbers of some trials of one mode and width stand in the arrays of a block."""

    mode: int
    rows: Index
    column: int
    flow_column: int

    def take(self, some: Index) -> Place:
        """Some of the trials."""
        return replace(self, rows=self.rows[some])

    @property
    def flow(self) -> tuple[int, Index, int]:
        """Index into (mode, trial, flow_width)."""
        return self.mode, self.rows, self.flow_column

    def fact(self, array: NDArray[Any]) -> NDArray[Any]:
        """Values (T,) of a dataset on (trial), (trial, width) or (mode, trial, width)."""
        if array.ndim == 1:
            return np.asarray(array[self.rows])
        values = array[self.rows, self.column] if array.ndim == 2 else array[self.mode, self.rows, self.column]
        return np.asarray(values)


def follow(
    out: Arrays,
    case: Case,
    asked: Asked,
    place: Place,
    problems: Sequence[Problem],
    network: Callable[[int], Array],
) -> None:
    """Follow some trials of one mode and width, and write what is asked of them.

    Parameters
    ----------
    out : dict of arrays
        Arrays of the block, prepared by `allocate`.
    case : Case
        The trials.
    asked : Asked
    place : Place
        Of these trials.
    problems : sequence of T Problem
    network : callable
        ``network(row)`` gives V (n, k) of a row of the block; called only where ker(A) is looked at.
    """
    rule, names = case.settings.rule, asked.observables(case.settings.rule)
    V = None
    if NEED_OUTPUT_LAYER & set(names) and any(problem.rank < problem.Z.shape[0] for problem in problems):
        V = [network(int(row)) for row in place.rows]
    drawn, controls = Drawn(problems, V), limited(case.settings.controls)
    signals = case.settings.save.signal and asked.saved > 0
    if rule == "gd":
        found = watch_descent(case, drawn, names, signals)
    else:
        found = watch_flow(case, controls, drawn, names, signals)
    _save(out, case, place, asked.saved, found)
    claims = asked.checked(rule)
    open_ = _judge(out, case, place, claims, drawn, found, asked.witness)
    if open_.any() and rule != "gd":
        again = np.flatnonzero(open_)
        tight = tightened(controls)
        part, few = case.take(again), drawn.take(again)
        retried = tuple(name for name in claims if CLAIMS[name].retry)
        closer = watch_flow(part, tight, few, names)
        # one that its budget ends earlier has not seen what was open
        far = np.flatnonzero(closer.ending.time >= 0.999 * found.ending.time[again])
        if far.size:
            _judge(out, part.take(far), place.take(again[far]), retried, few.take(far), closer.take(far), asked.witness)


def _save(out: Arrays, case: Case, place: Place, saved: int, found: Followed) -> None:
    """Keep the trajectories of the rows that are saved, and the right-hand sides of the rates (none for descent)."""
    some = np.flatnonzero(place.rows < saved)
    if not some.size:
        return
    at, recorder = place.take(some), found.recorder
    out["t"][at.flow] = recorder.times[some]
    for name in OBSERVABLES:
        out[name][at.flow] = recorder.values[name][some]
    if recorder.signals is not None:
        out["signal"][at.flow] = recorder.signals[some]
    if recorder.descent:
        return
    for name in OBSERVABLES:
        out[f"error_{name}"][at.flow] = recorder.errors[name][some]
    loss, promises = case.flow.loss, flow_promises(_facts(out, at), case.flow.mode)
    loss_0 = loss.psi_inverse(at.fact(out["psi_0"]))[:, None]
    for name, hypothesis in BOUNDS.items():
        promise = promises[hypothesis]
        sigma = np.where(promise.holds, promise.sigma, np.nan)[:, None]
        out[name][at.flow] = loss_bound(loss, loss_0, sigma, recorder.times[some])


def _facts(out: Arrays, place: Place) -> dict[str, NDArray[Any]]:
    return {name: place.fact(out[name]) for name in FACTS}


def _judge(
    out: Arrays,
    case: Case,
    place: Place,
    claims: Sequence[str],
    drawn: Drawn,
    found: Followed,
    witness: Witness | None,
) -> Mask:
    """Write slack and verdict of every claim; returns the trials that a tighter integration may decide."""
    facts, mode = _facts(out, place), case.flow.mode
    if found.recorder.descent:
        kappa = step_quality(case.flow, case.h, found.ending.first_step, facts["radius_needed"])
        promises = descent_promises(facts, kappa)
    else:
        promises = flow_promises(facts, mode)
    watched = _watched(case, facts, drawn, found)
    open_ = np.zeros(place.rows.size, dtype=bool)
    for name in claims:
        claim = CLAIMS[name]
        if mode not in claim.modes or claim.sides is None:
            continue
        for hypothesis in claim.hypotheses:
            promise = promises[hypothesis]
            sides = claim.sides(watched, promise)
            if witness is not None:
                witness(mode, case.flow.width, place.rows, f"{name}_{hypothesis}", sides)
            slack = smallest_slack(sides)
            _write(out, place, f"{name}_{hypothesis}", promise, slack)
            unsure = np.isin(slack.verdict, (Verdict.UNDECIDED, Verdict.VIOLATED))
            open_ |= unsure & promise.holds & claim.retry
    return open_


def _write(out: Arrays, place: Place, member: str, promise: Promise, slack: Slack) -> None:
    # what has been seen to hold is not asked again
    open_ = np.flatnonzero(out[f"verdict_{member}"][place.flow] != Verdict.HOLDS)
    here, true = place.take(open_).flow, promise.holds[open_]
    for family, value in (("slack_", slack.value), ("slack_error_", slack.error), ("slack_time_", slack.time)):
        out[family + member][here] = np.where(true, value[open_], np.nan)
    verdict = np.where(true, slack.verdict[open_], Verdict.HYPOTHESIS_FALSE)
    out[f"verdict_{member}"][here] = verdict.astype(np.int8)


def _watched(
    case: Case,
    facts: Mapping[str, NDArray[Any]],
    drawn: Drawn,
    found: Followed,
) -> Watched:
    flow, ending = case.flow, found.ending
    origin, n_obs = found.recorder.origin, flow.problems.U.shape[1]
    injective = np.array([problem.rank == problem.Z.shape[0] for problem in drawn.problems])
    recovery, offset = _recovery(flow.mode, flow.width, drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = 2.0 * found.start_error / facts["sigma_0"]
    kernel, slope = origin.V_kernel, flow.loss.psi_slope(n_obs)
    rounding = TERMS * 2.0**-53 * norm(flow.Q_start) * norm(origin.z) / np.sqrt(flow.width)
    return Watched(
        loss=flow.loss,
        sup_dphi=flow.activation.sup_dphi,
        width=flow.width,
        time=found.recorder.times,
        values=found.recorder.values,
        errors=found.recorder.errors,
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
        kernel_norm=np.zeros(injective.size) if kernel is None else _norms(kernel),
        end=ending.time,
        loss_end=ending.loss,
        loss_end_error=found.loss_error,
        converged=ending.outcome == Outcome.CONVERGED_TOLERANCE,
        loss_tolerance=case.settings.loss_tolerance,
        remainder=found.remainder,
        exact=facts["exact"],
        limit_residual=facts["limit_residual"],
        rounding=rounding,
        jacobian_rounding=_jacobian_rounding(case, origin),
        psi_rounding=facts["norm_A"] * rounding * (slope if np.isfinite(slope) else 1.0),
    )


def _jacobian_rounding(case: Case, origin: Origin) -> Array:
    """Root of what rounding may lower a Gram matrix of k terms by, (T,); columns of J_W are at most B1 |V_i|/sqrt k."""
    k, square = case.flow.width, np.square(norm(case.flow.Q_start))
    if origin.V_kernel is not None:
        square = square + np.square(norm(origin.V_kernel))
    n = origin.signal.shape[1]
    trace = np.square(case.flow.activation.sup_dphi) * square / k + n * np.square(norm(origin.z)) / k
    return np.asarray(np.sqrt(4.0 * (n + k) * 2.0**-53 * trace))


def _norms(matrices: Array) -> Array:
    """Operator norms of (T, n, k) matrices, (T,), from their n x n Gram matrices."""
    gram = np.matmul(matrices, matrices.swapaxes(1, 2))
    return np.asarray(np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[:, -1], 0.0)))


def _signal_reach(case: Case) -> Array:
    """Norm up to which any signal is V phi(h)/sqrt k with |(V, h)| <= |theta_0|, (T,): with equal neurons."""
    budget = np.square(norm(case.flow.Q_start)) + np.square(norm(case.h))
    reach = np.zeros(case.h.shape[0])
    for h in np.linspace(-3.0, 3.0, 25):
        left = np.sqrt(np.maximum(budget - h * h * case.flow.width, 0.0))
        reach = np.maximum(reach, left * np.abs(case.flow.activation.phi(np.full(1, h))))
    return reach


def _recovery(mode: str, width: int, drawn: Drawn) -> tuple[Array, Array]:
    """Lambda of theory §6 and a lower bound of dist(xbar, Sigma'), (T,) each.

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
