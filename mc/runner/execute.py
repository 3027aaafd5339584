"""Run an experiment: compute the missing blocks on a pool, round by round with [sampling], and merge them.

Each block is written by the process that computed it. The main process holds no numbers: it hands out one block at a
time and receives a record of each, so a run that is stopped or killed loses nothing but the blocks in work.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.runner.cost import estimate_cost, refuse_if_costly
from mc.runner.interrupts import Interrupted, Signals, StopNow
from mc.runner.jobs import Compute, Job, Record, build_job
from mc.runner.plan import Gap, agreed, freeze, gaps, load_frozen, requested_blocks, run_plan, stream_digests
from mc.runner.pools import Inline, Loky, Pool, computed
from mc.runner.progress import trials_of_folder
from mc.store.blocks import BLOCKS, scan
from mc.store.failures import forget, note
from mc.store.files import delete_stale, host_name
from mc.store.merge import merge as merge_blocks
from mc.store.plan import RunPlan
from mc.store.provenance import git_commit, versions
from mc.trial.block import compute_block

if TYPE_CHECKING:
    from mc.runner.adaptive import AdaptiveRounds

BACKENDS = ("loky", "inline", "dask")
Progress = Callable[[int, int, Record], None]
Rounds = Iterable[tuple[RunPlan, Sequence[Gap]]]
"""The plan and the missing blocks of one round after another; each is chosen when the round before is written."""


@dataclass(frozen=True)
class RunSummary:
    """The outcome of a run.

    Parameters
    ----------
    run : Path
        The run folder.
    blocks_there : int
        Blocks of this shard that were complete before.
    blocks_computed : int
    failures : tuple of str
        Blocks that raised, each with its place; the other blocks are written.
    seconds : float
        Wall-clock time.
    results : Path or None
        results.h5; None where nothing was merged, as by a shard of a run that is not complete yet.
    killed : int
        Blocks that were computed again because their worker process was killed.
    """

    run: Path
    blocks_there: int
    blocks_computed: int
    failures: tuple[str, ...]
    seconds: float
    results: Path | None
    killed: int = 0


@contextmanager
def _dask(jobs: int | None, scheduler: str | None) -> Iterator[Pool]:
    try:
        from mc.runner.dask import connected, local
    except ImportError as error:
        option = "--backend dask" if scheduler is None else f"--scheduler {scheduler}"
        raise InputError(f"{option}: {error.name} is not installed; pip install 'dipmc[dask]'") from None
    with local(process_count(jobs)) if scheduler is None else connected(scheduler, jobs) as pool:
        yield pool


def process_count(jobs: int | None) -> int:
    """Return the number of worker processes of ``-j``."""
    return int(joblib.effective_n_jobs(1 if jobs is None else jobs))


def open_pool(backend: str, jobs: int | None = None, scheduler: str | None = None) -> AbstractContextManager[Pool]:
    """Open the pool of a run, closed at the end of the ``with`` block; arguments as in `mc.run`.

    Raises InputError when an argument is wrong, Dask is not installed, or no scheduler answers at the address.
    """
    if backend not in BACKENDS:
        raise InputError(f"--backend {backend}: unknown; use one of {', '.join(BACKENDS)}")
    if jobs == 0:
        raise InputError("-j 0: no process to work; use a number of processes, or -1 for one per core")
    if scheduler is not None or backend == "dask":
        return _dask(jobs, scheduler)
    size = 1 if backend == "inline" else process_count(jobs)
    pool: Any = Inline() if size == 1 else Loky(size)
    return nullcontext(pool)


def merge(run: str | Path, trials: int | None = None) -> Path:
    """Write results.h5 of a run folder from its block files, complete or not, and return its path.

    `trials` is the length of the axis `trial`; by default that of the experiment or, with [sampling], of the blocks.
    Raises InputError when the folder is not a run folder, or a block file is damaged or foreign.
    """
    folder = Path(run)
    experiment = load_frozen(folder)
    plan = run_plan(experiment, trials_of_folder(experiment, folder) if trials is None else trials)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"versions": json.dumps(versions()), "git_commit": git_commit(), "created": created, "host": host_name()}
    return merge_blocks(folder, plan, facts)


def check(experiment: Experiment, folder: Path, *, trials: int | None = None, yes: bool = False) -> None:
    """Raise InputError for a run that is impossible or, without `yes`, too costly; nothing is written."""
    if experiment.document.sampling is not None and trials is None:
        # the statistics take half a second to import: only a run that looks at its own numbers pays for it
        from mc.runner.adaptive import largest_trials

        trials = largest_trials(agreed(experiment, folder))
    refuse_if_costly(estimate_cost(experiment, trials=trials), folder, yes=yes or (folder / BLOCKS).is_dir())
    agreed(experiment, folder)


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
    """Compute the missing blocks of a run folder, and merge.

    With [sampling] the trials come in rounds until the rule is met; the same command resumes at the block where it
    stopped. A shard computes its part of a round and goes on when the blocks of the other shards are written; otherwise
    it ends, and the same command continues.

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
        Number of trials, instead of the rule of [sampling].
    yes : bool
        Skip the check on forecast time and disk space.
    merging : bool
        Whether to write results.h5 at the end.
    progress : callable, optional
        Called as ``progress(done, total, record)`` after each block.
    compute : callable
        The function of one block; of a module, so that workers can import it.
    signals : Signals, optional
        The caller's, where several calls make one run: a signal stops all of them.
    pool : Pool, optional
        The caller's, likewise; `jobs`, `backend` and `scheduler` are ignored then.

    Returns
    -------
    RunSummary

    Raises
    ------
    InputError
        When folder and experiment do not fit, the run is too costly, a file cannot be read or written, the backend is
        absent, or [sampling] has ``decide = true`` and no claim is known before the first trial.
    Interrupted
        After SIGINT or SIGTERM, when the blocks in work are written; a second signal does not wait for them. A signal
        that comes when the last blocks are in work, or during the merge, lets the run end.
    """
    begin = time.perf_counter()
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise InputError(f"--shard {shard[0]}/{shard[1]}: use i/N with i from 0 to N - 1")
    if not isinstance(experiment, Experiment):
        experiment = Experiment.from_toml(experiment)
    folder = Path("data") / experiment.name if out is None else Path(out)
    # all checks before anything is written: a refused run leaves no folder behind, and an existing one as it was
    check(experiment, folder, trials=trials, yes=yes)
    experiment = agreed(experiment, folder)
    digests = stream_digests(experiment)
    adaptive: AdaptiveRounds | None = None
    if experiment.document.sampling is not None and trials is None:
        from mc.runner import adaptive as sampling

        rounds: Rounds = (adaptive := sampling.AdaptiveRounds(experiment, folder, digests, sharded=shard is not None))
        present = len({(file.key, file.block) for file in scan(folder) if file.key in digests})
    else:
        plan = run_plan(experiment, trials)
        missing: Sequence[Gap] = [gap for gap in gaps(folder, plan, digests) if in_shard(gap, plan, shard)]
        refuse_if_costly(estimate_cost(experiment, missing, trials), folder, yes=yes)
        rounds = [(plan, missing)]
        present = sum(in_shard(gap, plan, shard) for gap in requested_blocks(plan)) - len(missing)
    with (
        nullcontext(signals) if signals is not None else Signals() as caught,
        nullcontext(pool) if pool is not None else open_pool(backend, jobs, scheduler) as workers,
    ):
        tally = _Tally(progress)
        freeze(experiment, folder)
        delete_stale(folder)
        delete_stale(folder / BLOCKS)
        for plan, missing in rounds:
            mine = [gap for gap in missing if in_shard(gap, plan, shard)]
            if adaptive is not None and caught.number is not None:
                raise caught.interrupted(f"{adaptive.complete} rounds are complete; the same command resumes")
            if not _compute(_jobs(experiment, plan, mine, digests, folder), folder, compute, workers, caught, tally):
                break
        finished = not gaps(folder, plan, digests) if adaptive is None else adaptive.finished
        if adaptive is not None and not finished and caught.number is not None:
            raise caught.interrupted(f"{adaptive.complete} rounds are complete; the same command resumes")
        # a shard merges only when it finds the work of the others done, and none failed
        whole = merging and (shard is None or finished)
        try:
            results = merge(folder, trials) if whole else None
        except StopNow:
            raise Interrupted(f"stopped during the merge: `dipmc merge {folder}` repeats it", caught.number) from None
    seconds = time.perf_counter() - begin
    return RunSummary(folder, present, tally.done, tuple(tally.failures), seconds, results, tally.killed)


def in_shard(gap: Gap, plan: RunPlan, shard: tuple[int, int] | None) -> bool:
    """Whether shard (i, N) computes a block."""
    return shard is None or gap.shard(plan, shard[1]) == shard[0]


@dataclass
class _Tally:
    """What the rounds of a run have done so far."""

    progress: Progress | None
    done: int = 0
    killed: int = 0
    failures: list[str] = field(default_factory=list)


def _compute(todo: Sequence[Job], run: Path, compute: Compute, pool: Pool, signals: Signals, tally: _Tally) -> bool:
    """Compute the blocks of a round; return whether another round may follow: not where every block failed."""
    first, first_failure = tally.done, len(tally.failures)
    total = first + first_failure + len(todo)
    widths = {(job.header.key, job.header.block): (job.header.widths, job.header.flow_widths) for job in todo}
    refusal: str | None = None
    at_once = False

    def stopping() -> bool:
        return signals.number is not None or refusal is not None

    if todo:
        pool.prepare(run)
    try:
        for record in computed(pool, todo, compute, stopping):
            tally.killed += record.again
            if record.refused:
                refusal = refusal or record.error
            elif record.error is not None:
                tally.failures.append(f"{record.place}: {record.error}")
                note(run, record.key, record.block, record.place, record.error, *widths[record.key, record.block])
            else:
                tally.done += 1
                signals.written += 1
                forget(run, record.key, record.block, *widths[record.key, record.block])
            if tally.progress is not None:
                tally.progress(tally.done + len(tally.failures), total, record)
    except StopNow:
        at_once = signals.ending = True
        pool.kill()
    if refusal is not None:
        raise InputError(refusal)
    done = tally.done - first
    if signals.number is not None and tally.done + len(tally.failures) < total:
        how = f"{done} of {len(todo)} missing blocks are written; the same command resumes"
        raise signals.interrupted(how, at_once=at_once)
    return done > 0 or len(tally.failures) == first_failure


def _jobs(
    experiment: Experiment, plan: RunPlan, missing: Sequence[Gap], digests: Mapping[str, str], folder: Path
) -> list[Job]:
    facts = {**versions(), "git_commit": git_commit()}
    blocks = folder.absolute() / BLOCKS  # workers may have another current folder
    return [build_job(experiment, plan, gap, digests[gap.cell.key], blocks, facts) for gap in missing]
