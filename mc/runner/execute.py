"""Run what is missing: blocks mapped onto processes, each written by the process that computed it, then merged.

The main process holds no numbers. It names the missing blocks, hands them out one at a time and hears of each only how
it went; so a run that is stopped or killed loses the blocks in work and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.runner.backends import open_pool
from mc.runner.cost import estimate_cost, refuse_if_costly
from mc.runner.interrupts import Interrupted, Signals, StopNow
from mc.runner.jobs import Compute, Job, Record, build_job
from mc.runner.plan import Gap, agreed, freeze, gaps, in_shard, load_frozen, run_plan, stream_digests
from mc.runner.pools import Pool, computed
from mc.runner.requests import RequestLike, asked_blocks
from mc.store.blocks import BLOCKS
from mc.store.failures import forget, note
from mc.store.files import delete_stale, host_name
from mc.store.merge import merge as merge_blocks
from mc.store.plan import RunPlan
from mc.store.provenance import git_commit, versions
from mc.trial.block import compute_block

Progress = Callable[[int, int, Record], None]


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Parameters
    ----------
    run : Path
        The run folder.
    blocks_there : int
        Blocks of this shard that were complete before.
    blocks_computed : int
    failures : tuple of str
        Blocks that raised, each with its place; the other blocks are there.
    seconds : float
        Wall-clock time.
    results : Path or None
        results.h5; None where nothing was merged: a shard of a run that is not complete yet, or requests.
    killed : int
        Blocks in work, or written but not heard of, when worker processes were killed: they were asked for again.
    """

    run: Path
    blocks_there: int
    blocks_computed: int
    failures: tuple[str, ...]
    seconds: float
    results: Path | None
    killed: int = 0


def merge(run: str | Path, trials: int | None = None) -> Path:
    """Write results.h5 of a run folder from its block files, complete or not.

    Parameters
    ----------
    run : str or Path
        The run folder.
    trials : int, optional
        Length of the axis `trial`, where [sampling] chose it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        When the folder is not a run folder, or a block file is damaged or foreign.
    """
    folder = Path(run)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return _merge(folder, run_plan(load_frozen(folder), trials), created)


def _merge(folder: Path, plan: RunPlan, created: str) -> Path:
    facts = {"versions": json.dumps(versions()), "git_commit": git_commit(), "created": created, "host": host_name()}
    return merge_blocks(folder, plan, facts)


def check(experiment: Experiment, folder: Path, *, trials: int | None = None, yes: bool = False) -> None:
    """Refuse a run that cannot be made or would cost too much; nothing is written.

    Parameters
    ----------
    experiment : Experiment
    folder : Path
        The run folder.
    trials : int, optional
        Where [sampling] leaves their number open: the most there may be.
    yes : bool
        Whatever it costs.

    Raises
    ------
    InputError
    """
    refuse_if_costly(estimate_cost(experiment, trials=trials), folder, yes=yes or (folder / BLOCKS).is_dir())
    agreed(experiment, folder)


def _check_shard(shard: tuple[int, int] | None) -> None:
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise InputError(f"--shard {shard[0]}/{shard[1]}: use i/N with i from 0 to N - 1")


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
    requests: Sequence[RequestLike] | None = None,
    signals: Signals | None = None,
    pool: Pool | None = None,
) -> RunSummary:
    """Compute what a run folder lacks of an experiment, and merge.

    Parameters
    ----------
    experiment : Experiment, str or Path
        An experiment, or its file.
    out : str or Path, optional
        The run folder (default ``data/<name>``).
    jobs : int, optional
        Blocks at the same time; -1: one per core; by default 1, or all the workers of a scheduler.
    backend : str
        ``loky`` (processes), ``inline`` (this process) or ``dask`` (a cluster of this machine, started for the run).
    scheduler : str, optional
        Address of a Dask scheduler, whose workers then compute; they must see the run folder.
    shard : (int, int), optional
        ``(i, N)``: only the blocks of shard i of N, i from 0; several machines may share a folder.
    trials : int, optional
        Number of trials where [sampling] leaves it open.
    yes : bool
        Also run what takes more than a day of one core or fills the disk.
    merging : bool
        Whether to write results.h5 at the end.
    progress : callable, optional
        Called as ``progress(done, total, record)`` after each block.
    compute : callable
        The function of one block; of a module, so that workers can import it.
    requests : sequence of RequestLike, optional
        Only these blocks and widths, within `trials`; nothing is merged then.
    signals : Signals, optional
        The caller's, where several calls make one run: what stops one stops all.
    pool : Pool, optional
        The caller's, likewise; then `jobs`, `backend` and `scheduler` say nothing.

    Returns
    -------
    RunSummary

    Raises
    ------
    InputError
        When folder and experiment do not fit, the run is too costly, a file cannot be read or written, or the backend
        is not there.
    Interrupted
        After SIGINT or SIGTERM, when the blocks in work are written; a second signal does not wait for them. A signal
        that comes when the last blocks are in work, or during the merge, lets the run end.
    """
    begin = time.perf_counter()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    _check_shard(shard)
    if not isinstance(experiment, Experiment):
        experiment = Experiment.from_toml(experiment)
    folder = Path("data") / experiment.name if out is None else Path(out)
    # all checks before anything is written: a refused run leaves no folder behind, and one that is there as it was
    check(experiment, folder, trials=trials, yes=yes)
    experiment = agreed(experiment, folder)
    plan, digests = run_plan(experiment, trials), stream_digests(experiment)
    asked = [Gap(*of) for of in asked_blocks(plan, requests)]
    missing = [gap for gap in gaps(folder, plan, digests, requests) if in_shard(gap, plan, shard)]
    refuse_if_costly(estimate_cost(experiment, missing, trials), folder, yes=yes)
    with (
        nullcontext(signals) if signals is not None else Signals() as caught,
        nullcontext(pool) if pool is not None else open_pool(backend, jobs, scheduler) as workers,
    ):
        todo = _jobs(experiment, plan, missing, digests, folder)
        done, failures, killed = _drive(todo, folder, compute, workers, progress, caught)
        # a shard merges only when it finds the work of the others done, and none failed
        whole = merging and requests is None and (shard is None or not gaps(folder, plan, digests))
        try:
            results = _merge(folder, plan, created) if whole else None
        except StopNow:
            raise Interrupted(f"stopped during the merge: `dipmc merge {folder}` repeats it", caught.number) from None
    there = sum(in_shard(gap, plan, shard) for gap in asked) - len(missing)
    return RunSummary(folder, there, done, failures, time.perf_counter() - begin, results, killed)


def _jobs(
    experiment: Experiment, plan: RunPlan, missing: Sequence[Gap], digests: Mapping[str, str], folder: Path
) -> list[Job]:
    """The missing blocks as units of work, in a folder that is made ready for them."""
    freeze(experiment, folder)
    delete_stale(folder)
    delete_stale(folder / BLOCKS)
    facts = {**versions(), "git_commit": git_commit()}
    # workers may have another current folder
    blocks = folder.absolute() / BLOCKS
    return [build_job(experiment, plan, gap, digests[gap.cell.key], blocks, facts) for gap in missing]


def _drive(
    todo: Sequence[Job], run: Path, compute: Compute, pool: Pool, progress: Progress | None, signals: Signals
) -> tuple[int, tuple[str, ...], int]:
    """Compute the blocks; returns how many are written, the failures, each with its place, and how many were killed."""
    failures: list[str] = []
    refusal: str | None = None
    done, killed, at_once = 0, 0, False
    asked = {(job.header.key, job.header.block): (job.header.widths, job.header.flow_widths) for job in todo}

    def stopping() -> bool:
        return signals.number is not None or refusal is not None

    if todo:
        pool.prepare(run)
    try:
        for record in computed(pool, todo, compute, stopping):
            killed += record.again
            if record.refused:
                refusal = refusal or record.error
            elif record.error is not None:
                failures.append(f"{record.place}: {record.error}")
                note(run, record.key, record.block, record.place, record.error, *asked[record.key, record.block])
            else:
                done += 1
                signals.written += 1
                forget(run, record.key, record.block, *asked[record.key, record.block])
            if progress is not None:
                progress(done + len(failures), len(todo), record)
    except StopNow:
        at_once = signals.ending = True
        pool.kill()
    if refusal is not None:
        raise InputError(refusal)
    if signals.number is not None and done + len(failures) < len(todo):
        how = f"{done} of {len(todo)} missing blocks are written; the same command resumes"
        raise signals.interrupted(how, at_once=at_once)
    return done, tuple(failures), killed
