"""Runs whose number of trials follows the data: round by round, each decided by what is there, until nothing is open.

A round depends on complete rounds alone (`mc.estimate.sampling.adaptive.replay`), so a run that was interrupted,
resumed, or divided among machines takes the same decisions and gives the same numbers as one that was not.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mc.estimate.sampling.adaptive import AdaptivePlan, Request, Stored, observer, replay
from mc.estimate.sampling.adaptive import Progress as Rounds
from mc.estimate.sampling.goals import adaptive_plan, cell_decisions, most_trials
from mc.estimate.widths.predicted import SCALES
from mc.experiment.experiment import Cell, Experiment
from mc.model.draws import draw_problem
from mc.runner import execute
from mc.runner.backends import open_pool
from mc.runner.execute import Progress, RunSummary
from mc.runner.interrupts import Interrupted, Signals, StopNow
from mc.runner.jobs import Compute, Record
from mc.runner.plan import Gap, agreed, gaps, load_frozen, run_plan, stream_digests
from mc.runner.pools import Pool
from mc.runner.progress import ObservedCell, Observer, trials_there, up_to_date
from mc.store.blocks import scan
from mc.store.failures import Failures, failed_blocks
from mc.store.plan import RunPlan
from mc.store.results import CellResults
from mc.trial.block import compute_block


def tables(experiment: Experiment) -> Mapping[str, Any]:
    """The frozen copy of an experiment as the analysis reads it."""
    return tomllib.loads(experiment.to_toml())


def unseen_cell(experiment: Experiment, cell: Cell, problems: int) -> CellResults:
    """A cell before its first trial: its widths and modes, and the numbers of its first problems."""
    facts = [draw_problem(cell.problem, experiment.seed, cell.id, trial).facts() for trial in range(problems)]
    return CellResults(
        index=cell.index,
        key=cell.key,
        problem=cell.attributes,
        attrs={},
        modes=experiment.modes,
        trials=0,
        widths=np.array(experiment.widths, dtype=np.int64),
        flow_widths=np.array(experiment.flow_widths, dtype=np.int64),
        saved_trials=np.arange(0),
        data={name: np.array([fact[name] for fact in facts]) for name in SCALES},
    )


def sampling_plan(experiment: Experiment) -> AdaptivePlan:
    """What the rule of an experiment with [sampling] fixes before trial 0; see `goals.adaptive_plan`.

    Raises
    ------
    InputError
        When ``decide = true`` and there is no claim, or none that is known before the first trial.
    """
    assert experiment.sampling is not None
    decide = experiment.sampling.decide
    cells = [unseen_cell(experiment, cell, int(decide)) for cell in experiment.cells()]
    return adaptive_plan(tables(experiment), cells)


def check(experiment: Experiment, folder: Path, *, yes: bool = False) -> None:
    """Refuse a run that cannot be made or would cost too much; see `mc.runner.execute.check`."""
    trials = None
    if experiment.sampling is not None:
        trials = most_trials(sampling_plan(agreed(experiment, folder)))
    execute.check(experiment, folder, trials=trials, yes=yes)


def trials_of_folder(experiment: Experiment, folder: Path) -> int | None:
    """Length of the axis `trial` of the results of a folder, where [sampling] left it open; None: as the file says."""
    if experiment.sampling is None:
        return None
    there = trials_there(folder, {cell.key for cell in experiment.cells()}, experiment.block_size)
    return max(min(there, experiment.sampling.max_trials), 1)


def merge(run: str | Path) -> Path:
    """Write results.h5 of a run folder, whether its number of trials is fixed or follows the data."""
    folder = Path(run)
    trials = trials_of_folder(load_frozen(folder), folder)
    return execute.merge(folder, trials)


def behind(run: Path) -> bool:
    """Whether results.h5 is absent, or lacks blocks that are there.

    Raises
    ------
    InputError
        When it is no run folder, or a file is damaged.
    """
    experiment = load_frozen(run)
    return up_to_date(run, run_plan(experiment, trials_of_folder(experiment, run))) is None


def _state(experiment: Experiment, plan: AdaptivePlan, seen: Observer, failures: Failures) -> Rounds:
    """Where a folder stands in the rule, with these failures of it."""
    cells = seen.cells(run_plan(experiment, trials_of_folder(experiment, seen.run)), failures)
    return replay(plan, observer(decided(experiment, cells.values())))


def decided(experiment: Experiment, cells: Iterable[ObservedCell]) -> Stored:
    """What the trials of a run say of every event, by (cell, mode, event)."""
    return {at: made for own in cells for at, made in cell_decisions(own.cell, experiment.ladder).items()}


def missing(experiment: Experiment, folder: Path) -> tuple[RunPlan, tuple[Gap, ...]]:
    """What the next `run` would compute: all that is missing, or with [sampling] of the next round."""
    experiment = agreed(experiment, folder)
    digests = stream_digests(experiment)
    if experiment.sampling is None:
        whole = run_plan(experiment)
        return whole, gaps(folder, whole, digests)
    plan = sampling_plan(experiment)
    failures = failed_blocks(folder)
    state = _state(experiment, plan, Observer(folder), failures)
    asked = () if state.finished else _asked(experiment, state)
    asked = (*_again(experiment, failures), *_spared(experiment, failures, asked))
    most = max((plan.trials_of(request.last_block) for request in asked), default=1)
    whole = run_plan(experiment, most)
    return whole, gaps(folder, whole, digests, asked)


def _asked(experiment: Experiment, state: Rounds) -> tuple[Request, ...]:
    """The next round. Where claims are decided, flows settle nothing: they are integrated wherever it goes."""
    assert experiment.sampling is not None
    if not experiment.sampling.decide:
        return state.requests
    flows = set(experiment.flow_widths)
    return tuple(replace(r, flow_widths=tuple(k for k in r.widths if k in flows)) for r in state.requests)


def _again(experiment: Experiment, failures: Failures) -> tuple[Request, ...]:
    """The blocks that failed before, each at the widths at which it did: a run tries them once more, at its begin."""
    cells = {cell.key: cell.index for cell in experiment.cells()}
    found = []
    for (key, block), failure in sorted(failures.items(), key=lambda item: item[0][::-1]):
        if key in cells:
            flows = tuple(k for k in experiment.flow_widths if failure.flow_widths is None or k in failure.flow_widths)
            widths = tuple(k for k in experiment.widths if failure.widths is None or k in failure.widths)
            found.append(Request(cells[key], block, block + 1, widths, flows))
    return tuple(found)


def _spared(experiment: Experiment, failures: Failures, asked: Iterable[Request]) -> tuple[Request, ...]:
    """A round without the blocks that failed, at the widths at which they did."""
    cells = {cell.index: cell.key for cell in experiment.cells()}
    found = []
    for request in asked:
        first = request.first_block
        for block in range(request.first_block, request.last_block):
            failure = failures.get((cells[request.cell], block))
            if failure is None:
                continue
            found.append(replace(request, first_block=first, last_block=block))
            first = block + 1
            axes = {"width": request.widths, "flow_width": request.flow_widths}
            lost = failure.lacks(axes, {})
            widths, flows = (
                tuple(k for i, k in enumerate(axes[dim]) if i not in lost[dim]) for dim in ("width", "flow_width")
            )
            found.append(Request(request.cell, block, block + 1, widths, flows))
        found.append(replace(request, first_block=first))
    return tuple(r for r in found if r.first_block < r.last_block and (r.widths or r.flow_widths))


class _Told:
    """Progress of several rounds as one: what earlier rounds did counts as done."""

    def __init__(self, tell: Progress | None) -> None:
        self.tell, self.before, self.last = tell, 0, 0

    def __call__(self, done: int, total: int, record: Record) -> None:
        self.last = self.before + done
        if self.tell is not None:
            self.tell(self.last, self.before + total, record)

    def next_round(self) -> None:
        self.before = self.last


def run(
    experiment: Experiment | str | Path,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    shard: tuple[int, int] | None = None,
    trials: int | None = None,
    yes: bool = False,
    merging: bool = True,
    progress: Progress | None = None,
    compute: Compute = compute_block,
    signals: Signals | None = None,
    pool: Pool | None = None,
) -> RunSummary:
    """Compute what a run folder lacks of an experiment, and merge.

    With [sampling] the trials come in rounds until the rule is done: the same command resumes it at the block where it
    stopped. A shard does its part of a round and goes on when the blocks of the others are there; otherwise it ends,
    and the same command continues.

    Parameters
    ----------
    experiment, out, jobs, backend, scheduler, shard, yes, merging, progress, compute, signals, pool
        As in `mc.runner.execute.run`.
    trials : int, optional
        So many trials, whatever [sampling] says.

    Returns
    -------
    RunSummary

    Raises
    ------
    InputError
        As `mc.runner.execute.run`; when ``decide = true`` and there is no claim, or none that is known before trial 0.
    Interrupted
    """
    begin = time.perf_counter()
    if not isinstance(experiment, Experiment):
        experiment = Experiment.from_toml(experiment)
    rounds = experiment.sampling is not None and trials is None
    folder = Path("data") / experiment.name if out is None else Path(out)
    if rounds:
        check(experiment, folder, yes=yes)
        experiment = agreed(experiment, folder)
    with (
        nullcontext(signals) if signals is not None else Signals() as caught,
        nullcontext(pool) if pool is not None else open_pool(backend, jobs, scheduler) as workers,
    ):
        how: dict[str, Any] = {"shard": shard, "compute": compute, "signals": caught, "pool": workers}
        if not rounds:
            return execute.run(experiment, folder, trials=trials, yes=yes, merging=merging, progress=progress, **how)
        there = _blocks_there(experiment, folder)
        done, failures, killed, finished = _rounds(experiment, folder, progress, how)
        try:
            results = merge(folder) if merging and (finished or shard is None) else None
        except StopNow:
            raise Interrupted(f"stopped during the merge: `dipmc merge {folder}` repeats it", caught.number) from None
    return RunSummary(folder, there, done, failures, time.perf_counter() - begin, results, killed)


def _blocks_there(experiment: Experiment, folder: Path) -> int:
    keys = {cell.key for cell in experiment.cells()}
    return len({(file.key, file.block) for file in scan(folder) if file.key in keys})


def _rounds(
    experiment: Experiment, folder: Path, progress: Progress | None, how: Mapping[str, Any]
) -> tuple[int, tuple[str, ...], int, bool]:
    """Round after round until the rule is done, all of a round fails or the blocks of another shard are missing.

    Blocks that failed in an earlier run are tried once more. One that fails is not tried again in this run: its trials
    count as undecided, and the rounds go on.

    Returns
    -------
    int
        Blocks computed.
    tuple of str
        Failures.
    int
        Blocks computed again.
    bool
        Whether the rule is done.
    """
    plan, seen, told = sampling_plan(experiment), Observer(folder), _Told(progress)
    signals: Signals = how["signals"]
    computed, killed = 0, 0
    failures: tuple[str, ...] = ()

    def compute(asked: tuple[Request, ...]) -> RunSummary:
        nonlocal computed, killed, failures
        most = max(plan.trials_of(request.last_block) for request in asked)
        found = execute.run(experiment, folder, trials=most, yes=True, progress=told, requests=asked, **how)
        computed, killed, failures = computed + found.blocks_computed, killed + found.killed, failures + found.failures
        told.next_round()
        return found

    if again := _again(experiment, failed_blocks(folder)):
        compute(again)
    # read once for the state and for what it asks: other tasks write notes meanwhile
    failed = failed_blocks(folder)
    state = _state(experiment, plan, seen, failed)
    while not state.finished:
        if left := _spared(experiment, failed, _asked(experiment, state)):
            found = compute(left)
            if found.failures and not found.blocks_computed:
                break
        failed = failed_blocks(folder)
        before, state = state, _state(experiment, plan, seen, failed)
        if signals.number is not None and not state.finished:
            raise signals.interrupted(f"{state.rounds} rounds are complete; the same command resumes")
        if state.rounds == before.rounds:
            if how["shard"] is None:
                raise RuntimeError("a round was computed and is not there: the rule cannot go on")
            break
    return computed, failures, killed, state.finished
