"""Run what is missing: blocks mapped onto processes, each written by the process that computed it, then merged.

The main process holds no numbers. It names the missing blocks, hands them out one at a time and hears of each only how
it went; so a run that is stopped or killed loses the blocks in work and nothing else.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from mc.atomic import host_name, sweep
from mc.block import compute_block
from mc.errors import InputError
from mc.experiment import Experiment
from mc.jobs import Compute, Job, Record, build_job, work
from mc.merge import merge as merge_blocks
from mc.plan import (
    Gap,
    agreed,
    estimate_cost,
    freeze,
    gaps,
    in_shard,
    load_frozen,
    refuse_if_costly,
    run_plan,
    stream_digests,
)
from mc.provenance import git_commit, versions
from mc.records import BLOCKS, RunPlan
from mc.requests import RequestLike, asked_blocks

BACKENDS = ("loky", "inline")
MOST_DEATHS = 3
"""Worker processes that may be killed before the run gives up; each time half as many are started."""

Progress = Callable[[int, int, Record], None]


class Interrupted(Exception):
    """A signal stopped the run; what is written stays and the same command resumes.

    Parameters
    ----------
    message : str
    number : int or None
        The signal.
    """

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.number = number


class StopNow(BaseException):
    """The second signal: unwinds everything, so it must not be caught with the errors of a block."""


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
    """

    run: Path
    blocks_there: int
    blocks_computed: int
    failures: tuple[str, ...]
    seconds: float
    results: Path | None


def _ignore_signals() -> None:
    """In a worker: Ctrl-C and a scheduler's SIGTERM reach the whole group, but the main process decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Signals:
    """SIGINT and SIGTERM while a run goes on: the first asks for an end, the second enforces it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # only the main thread may install handlers; elsewhere the caller's stay
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise StopNow
        self.number = number


def _inline(jobs: Sequence[Job], compute: Compute, stopping: Callable[[], bool]) -> Iterator[Record]:
    for job in jobs:
        if stopping():
            return
        yield work(job, compute)


def _loky(jobs: Sequence[Job], compute: Compute, n_jobs: int, stopping: Callable[[], bool]) -> Iterator[Record]:
    remaining = {job.header.file_name: job for job in jobs}

    def feed() -> Iterator[Any]:
        for job in list(remaining.values()):
            if stopping():
                return
            yield joblib.delayed(_named)(job, compute)

    for death in range(1, MOST_DEATHS + 1):
        # as many as there are workers are handed out, no more: what is queued could not be called back
        pool = joblib.Parallel(
            n_jobs=n_jobs,
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=n_jobs,
            initializer=_ignore_signals,
        )
        try:
            for name, record in pool(feed()):
                del remaining[name]
                yield record
            return
        except BrokenProcessPool as error:
            if stopping():
                return
            if death == MOST_DEATHS:
                place = f"{len(remaining)} blocks"
                what = f"not computed, worker processes were killed {MOST_DEATHS} times (memory?): {error}"
                yield Record(place, "", -1, 0.0, what.split("\n")[0])
                return
            n_jobs = max(2, n_jobs // 2)


def _named(job: Job, compute: Compute) -> tuple[str, Record]:
    return job.header.file_name, work(job, compute)


def _kill_workers() -> None:
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


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


def _check_arguments(jobs: int, backend: str, shard: tuple[int, int] | None) -> int:
    """The number of worker processes."""
    if backend not in BACKENDS:
        raise InputError(f"--backend {backend}: unknown; use one of {', '.join(BACKENDS)}")
    if jobs == 0:
        raise InputError("-j 0: no process to work; use a number of processes, or -1 for one per core")
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise InputError(f"--shard {shard[0]}/{shard[1]}: use i/N with i from 0 to N - 1")
    return int(joblib.effective_n_jobs(jobs))


def run(
    experiment: Experiment | str | Path,
    out: str | Path | None = None,
    *,
    jobs: int = 1,
    backend: str = "loky",
    shard: tuple[int, int] | None = None,
    trials: int | None = None,
    yes: bool = False,
    progress: Progress | None = None,
    compute: Compute = compute_block,
    requests: Sequence[RequestLike] | None = None,
    signals: Signals | None = None,
) -> RunSummary:
    """Compute what a run folder lacks of an experiment, and merge.

    Parameters
    ----------
    experiment : Experiment, str or Path
        An experiment, or its file.
    out : str or Path, optional
        The run folder (default ``data/<name>``).
    jobs : int
        Worker processes; -1: one per core.
    backend : str
        ``loky`` (processes) or ``inline`` (this process).
    shard : (int, int), optional
        ``(i, N)``: only the blocks of shard i of N, i from 0; several machines may share a folder.
    trials : int, optional
        Number of trials where [sampling] leaves it open.
    yes : bool
        Also run what takes more than a day of one core or fills the disk.
    progress : callable, optional
        Called as ``progress(done, total, record)`` after each block.
    compute : callable
        The function of one block; of a module, so that workers can import it.
    requests : sequence of RequestLike, optional
        Only these blocks and widths, within `trials`; nothing is merged then.
    signals : Signals, optional
        The caller's, where several calls make one run: what stops one stops all.

    Returns
    -------
    RunSummary

    Raises
    ------
    InputError
        When folder and experiment do not fit, the run is too costly, or a file cannot be read or written.
    Interrupted
        After SIGINT or SIGTERM, when the blocks in work are written; a second signal does not wait for them. A signal
        that comes when the last blocks are in work, or during the merge, lets the run end.
    """
    begin = time.perf_counter()
    created = datetime.now(UTC).isoformat(timespec="seconds")
    n_jobs = _check_arguments(jobs, backend, shard)
    if not isinstance(experiment, Experiment):
        experiment = Experiment.from_toml(experiment)
    folder = Path("data") / experiment.name if out is None else Path(out)
    # all checks before anything is written: a refused run leaves no folder behind, and one that is there as it was
    refuse_if_costly(estimate_cost(experiment, trials=trials), folder, yes=yes or (folder / BLOCKS).is_dir())
    experiment = agreed(experiment, folder)
    plan, digests = run_plan(experiment, trials), stream_digests(experiment)
    asked = [Gap(*of) for of in asked_blocks(plan, requests)]
    missing = [gap for gap in gaps(folder, plan, digests, requests) if in_shard(gap, plan, shard)]
    refuse_if_costly(estimate_cost(experiment, missing, trials), folder, yes=yes)
    freeze(experiment, folder)
    sweep(folder)
    sweep(folder / BLOCKS)
    facts = {**versions(), "git_commit": git_commit()}
    todo = [build_job(experiment, plan, gap, digests[gap.cell.key], folder / BLOCKS, facts) for gap in missing]
    with nullcontext(signals) if signals is not None else Signals() as caught:
        computed, failures = _drive(todo, compute, 1 if backend == "inline" else n_jobs, progress, caught)
        # a shard merges only when it finds the work of the others done; a failed block stays missing in results.h5
        whole = requests is None and (shard is None or not gaps(folder, plan, digests))
        try:
            results = _merge(folder, plan, created) if whole else None
        except StopNow:
            raise Interrupted(f"stopped during the merge: `dipmc merge {folder}` repeats it", caught.number) from None
    return RunSummary(
        run=folder,
        blocks_there=sum(in_shard(gap, plan, shard) for gap in asked) - len(missing),
        blocks_computed=computed,
        failures=failures,
        seconds=time.perf_counter() - begin,
        results=results,
    )


def _drive(
    todo: Sequence[Job], compute: Compute, n_jobs: int, progress: Progress | None, signals: Signals
) -> tuple[int, tuple[str, ...]]:
    """Compute the blocks; returns how many are written, and the failures, each with its place."""
    failures: list[str] = []
    refusal: str | None = None
    done = 0

    def stopping() -> bool:
        return signals.number is not None or refusal is not None

    # one process needs no pool, and no pool means no process to lose
    records = _inline(todo, compute, stopping) if n_jobs == 1 else _loky(todo, compute, n_jobs, stopping)
    try:
        for record in records:
            if record.refused:
                refusal = refusal or record.error
            elif record.error is not None:
                failures.append(f"{record.place}: {record.error}")
            else:
                done += 1
            if progress is not None:
                progress(done + len(failures), len(todo), record)
    except StopNow:
        if n_jobs > 1:
            _kill_workers()
    if refusal is not None:
        raise InputError(refusal)
    if signals.number is not None and done + len(failures) < len(todo):
        how = f"{done} of {len(todo)} missing blocks are written; the same command resumes"
        raise Interrupted(f"stopped by {signal.Signals(signals.number).name}: {how}", signals.number)
    return done, tuple(failures)
