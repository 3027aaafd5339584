"""One block of trials as a pure function: a task in, arrays out. It writes no file and starts no process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.flow.attainable import Decision, Target, decide
from mc.model.arrays import Array, Mask
from mc.model.draws import draw_problem
from mc.model.problem import Problem
from mc.theory.certificates import RUNG_DATASETS, rungs
from mc.theory.codes import NOT_COMPUTED, Exact, ExactBy
from mc.trial.claims import OnClaim
from mc.trial.flows import run_flows
from mc.trial.neuron_sums import WidthSums, subset_size, sum_neurons
from mc.trial.rare.repetitions import rare_arrays
from mc.trial.task import BlockTask, Group, groups

Arrays = dict[str, NDArray[Any]]

__all__ = ["BlockTask", "compute_block"]


def compute_block(task: BlockTask, on_claim: OnClaim | None = None) -> Arrays:
    """Compute every dataset of a block.

    Parameters
    ----------
    task : BlockTask
    on_claim : callable, optional
        Called with both sides of each claim at every observed time (`mc.trial.claims.OnClaim`).

    Returns
    -------
    dict of arrays
        Named and shaped as the file layout says, with all ``n_trials`` trials of the block.

    Raises
    ------
    InputError
        If an input file of the problem is missing or has changed.
    """
    problems = draw_problems(task)
    out = problem_facts(problems)
    for group in groups(task, problems):
        sums = sum_neurons(group)  # draw h and V; sums over the first k neurons and their spectra
        arrays = initial_loss(group, sums)
        arrays |= certificates(group, sums, arrays["psi_0"])
        arrays |= exact_limit(group, sums, arrays["margin_sharp"])
        write_rows(out, group, arrays)
        run_flows(out, group, sums.first, on_claim)  # flows and the claims along them
        clear_unwanted(out, group)
    out |= rare_failures(task, problems[0])
    return out


def draw_problems(task: BlockTask) -> list[Problem]:
    """Draw the inverse problem of every trial, or one problem for all."""
    if task.problem.get("resample", "trial") == "cell":
        return [draw_problem(task.problem, task.seed, task.cell, task.first_trial)] * task.n_trials
    return [draw_problem(task.problem, task.seed, task.cell, trial) for trial in task.trials]


def problem_facts(problems: list[Problem]) -> Arrays:
    """Return the datasets of the problems: sigma_A, norm_A, rank, ..., (trial,)."""
    facts = [problem.facts() for problem in problems]
    return {name: np.array([fact[name] for fact in facts]) for name in facts[0]}


def initial_loss(group: Group, sums: WidthSums) -> Arrays:
    """Return the datasets of the start: psi_0, norm_y0 and activation_scale, (T, widths)."""
    batch, width = group.batch, np.array(group.task.widths, dtype=float)
    observation = batch.S[:, None, :] * sums.signal / np.sqrt(width)[:, None]
    residual = observation - batch.target[:, None, :]
    # a product for each width: in one product for all widths the rounding of each would depend on the others
    lifted = np.matmul(batch.U[:, None], residual[..., None])[..., 0]
    return {
        "psi_0": group.loss.psi_of(lifted),
        "norm_y0": np.linalg.norm(observation, axis=-1),
        "activation_scale": np.sqrt(sums.square_z / width),
    }


def certificates(group: Group, sums: WidthSums, psi_0: Array) -> Arrays:
    """Return the datasets of the ladder: `RUNG_DATASETS`, (modes, T, widths), and sigma_low, (T, widths)."""
    width, bound = np.array(group.task.widths, dtype=float), group.law.entry_bound
    ladders = [
        rungs(sums.spectra[mode], mode, group.activation, bound, group.batch, psi_0, sums.columns, width)
        for mode in group.task.modes
    ]
    arrays = {name: np.stack([ladder[name] for ladder in ladders]) for name in RUNG_DATASETS}
    return {**arrays, "sigma_low": sums.sigma_low if group.task.needs_floors else np.full_like(psi_0, np.nan)}


def exact_limit(group: Group, sums: WidthSums, margin_sharp: Array) -> Arrays:
    """Return the datasets of the hidden limit: exact, exact_by, limit_residual, (T, widths) (theory §7.4)."""
    task, shape = group.task, margin_sharp.shape[1:]
    exact, by = (np.full(shape, NOT_COMPUTED, np.int8) for _ in range(2))
    residual = np.full(shape, np.nan)
    if "hidden" in task.modes and task.needs_limit:
        certified = margin_sharp[task.modes.index("hidden")] > 1.0
        signal = subset_signal(group, sums)
        for column, width in enumerate(task.widths):
            if "exact" in task.ladder or (task.integrates and width in task.flow_widths):
                decision = _decide(group, sums, column, certified[:, column], signal)
                exact[:, column], by[:, column], residual[:, column] = decision.exact, decision.by, decision.residual
    elif task.needs_limit:
        exact[:] = Exact.NOT_APPLICABLE
    return {"exact": exact, "exact_by": by, "limit_residual": residual}


def subset_signal(group: Group, sums: WidthSums) -> Array:
    """Return Z^T V z over the neurons that decide the limit of wider networks, (T, r); zero where none is wider."""
    subset, first = subset_size(group.batch.rank), sums.first
    if first.h.shape[1] < subset:
        return np.zeros((group.rows.size, group.batch.rank))
    z = group.activation.phi(first.h[:, :subset])
    return np.asarray(np.matmul(first.Q[:, :, :subset], z[:, :, None])[:, :, 0])


def _decide(group: Group, sums: WidthSums, column: int, certified: Mask, signal: Array) -> Decision:
    """Decide the limit at one width: by `sharp`, by a subset of the neurons, or by all of them."""
    batch, first, width = group.batch, sums.first, group.task.widths[column]
    subset, T = subset_size(batch.rank), group.rows.size
    level = np.broadcast_to(batch.target / batch.S, (T, batch.rank))
    decision = Decision.undecided(T)
    decision.settle(np.flatnonzero(certified), Exact.REACHES_ZERO, ExactBy.SHARP, 0.0)
    rows = np.flatnonzero(~certified)
    problems = batch.take(rows)
    if width <= subset:
        target = Target(first.h[rows, :width], first.Q[rows, :, :width], level[rows], problems.S, width)
        decision.merge(rows, decide(target, group.activation))
    elif rows.size:
        # the neurons beyond the subset are frozen at their start
        frozen = (sums.signal[rows, column] - signal[rows]) / np.sqrt(width)
        target = Target(first.h[rows, :subset], first.Q[rows, :, :subset], level[rows] - frozen, problems.S, width)
        reached = decide(target, group.activation).exact == Exact.REACHES_ZERO
        decision.settle(rows[reached], Exact.REACHES_ZERO, ExactBy.SUBSET, 0.0)
        for row in rows[~reached]:
            decision.merge(np.array([row]), decide_with_all_neurons(group, int(row), width))
    return decision


def decide_with_all_neurons(group: Group, row: int, width: int) -> Decision:
    """Decide the limit of one trial of a group with all its neurons, drawn again."""
    h, V = group.network(int(group.rows[row]), width)
    problem = group.batch.take(np.array([row]))
    level = np.broadcast_to(problem.target / problem.S, (1, problem.rank))
    return decide(Target(h[None], np.matmul(problem.Zt, V[None]), level, problem.S, width), group.activation)


def write_rows(out: Arrays, group: Group, arrays: Arrays) -> None:
    """Write the arrays (..., T, widths) of a group into those of the block."""
    for name, array in arrays.items():
        if name not in out:
            fill = NOT_COMPUTED if array.dtype == np.int8 else np.nan
            out[name] = np.full((*array.shape[:-2], group.task.n_trials, array.shape[-1]), fill, array.dtype)
        out[name][..., group.rows, :] = array


def clear_unwanted(out: Arrays, group: Group) -> None:
    """Clear the datasets that the flow needed but the ladder does not name."""
    if "exact" not in group.task.ladder:
        out["exact"][group.rows] = out["exact_by"][group.rows] = NOT_COMPUTED
        out["limit_residual"][group.rows] = np.nan
    if "conserved" not in group.task.ladder:
        out["sigma_low"][group.rows] = np.nan


def rare_failures(task: BlockTask, problem: Problem) -> Arrays:
    """Return the datasets of rare failures, rare_* (trial, width); none without [rare]."""
    if task.rare is None:
        return {}
    (group,) = groups(task, [problem])
    return rare_arrays(task.rare, group)
