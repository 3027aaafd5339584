"""`dipmc slurm`: a run as a job array of a cluster."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mc.experiment.experiment import Experiment, load_file
from mc.runner import slurm
from mc.runner.cost import estimate_cost, peak_memory
from mc.runner.execute import check
from mc.runner.plan import Gap, experiments_of, freeze
from mc.store.files import write_bytes

FOLDER = click.Path(path_type=Path)
LEAST_MEMORY = 500e6
"""Bytes asked for a task at least."""


@click.command(name="slurm")
@click.argument("experiment", type=FOLDER)
@click.option(
    "--tasks",
    type=click.IntRange(1, 10**6),
    required=True,
    help="Number of SLURM array tasks: each computes a shard of the run.",
)
@click.option("--time", help="Time limit of a task, such as 12:00:00 or 2-0 (default: the partition's).")
@click.option("--mem", help="Memory of a task, such as 4G (default: twice what `dipmc plan` says).")
@click.option("--cpus", type=click.IntRange(1, 4096), default=1, show_default=True, help="Processors of a task.")
@click.option("--partition", help="Partition to submit to.")
@click.option("--account", help="Account to charge.")
@click.option("--setup", multiple=True, metavar="LINE", help="Shell line before dipmc starts; may be given again.")
@click.option(
    "--warn",
    type=click.IntRange(1, 65535),
    default=120,
    show_default=True,
    help="Seconds before the time limit at which a task ends and requeues itself; more than a block takes.",
)
@click.option("-o", "--out", type=FOLDER, help="Run folder, shared by the nodes (default data/<name>).")
@click.option("--submit", is_flag=True, help="Submit the tasks whose blocks are missing and that are not in the queue.")
@click.option("--yes", is_flag=True, help="Skip the check on forecast time and disk space.")
def slurm_command(
    experiment: Path,
    tasks: int,
    time: str | None,
    mem: str | None,
    cpus: int,
    partition: str | None,
    account: str | None,
    setup: tuple[str, ...],
    warn: int,
    out: Path | None,
    submit: bool,
    yes: bool,
) -> None:
    """Write the job array of an experiment or suite for a SLURM cluster, and submit what is missing."""
    name = load_file(experiment).name
    base = Path("data") / name if out is None else out
    asked = [(each, base / place) for each, place in experiments_of(experiment)]
    if mem is None:
        most = max(peak_memory(each) for each, _ in asked)
        mem = f"{math.ceil(max(LEAST_MEMORY, 2 * cpus * most) / 1e6)}M"
    job = slurm.ArrayJob(name, experiment, base, tasks, mem, cpus, time, partition, account, warn, setup)
    slurm.check(job)
    for each, folder in asked:
        check(each, folder, yes=yes)
    for line in _prepared(job, asked, submit=submit):
        click.echo(line)


def _prepared(job: slurm.ArrayJob, asked: list[tuple[Experiment, Path]], *, submit: bool) -> Iterator[str]:
    """Write the script of the missing shards, submit it if asked, and yield the lines to print."""
    shares = shards_left(asked, job.tasks)
    if not shares:
        yield f"{job.run}: nothing is missing; `dipmc merge {job.run}` writes results.h5"
        return
    busy = slurm.queued(job) & set(shares) if submit else set()
    if busy:
        yield f"already in the queue: {len(busy)} task(s) ({slurm.array(busy)})"
    open_shards = set(shares) - busy
    if not open_shards:
        return
    for each, folder in asked:
        freeze(each, folder)
    write_bytes(job.script, slurm.text(job, open_shards).encode())
    hours = max(shares[shard] for shard in open_shards) / job.cpus / 3600
    yield f"{job.script}: tasks {slurm.array(open_shards)} of {job.tasks}, {job.mem} and {job.cpus} cpu(s) each"
    yield f"  forecast: {sum(shares[s] for s in open_shards) / 3600:.3g} core-hours, {hours:.3g} h the longest task"
    if any(each.document.sampling is not None for each, _ in asked):
        yield "  [sampling] goes round by round: give this command again when these tasks have ended"
    if submit:
        number = slurm.submit(job.script)
        yield f"submitted as job {number}; see `squeue -j {number}`, `dipmc status {job.run}`, {job.script.parent}"
        merge = slurm.quoted([sys.executable, "-m", "mc", "merge", job.run.absolute()])
        yield f"  when it has ended: dipmc merge {job.run}; or now: {after(number, merge)}"
        yield "  tasks that were killed or ran out of time: the same command again submits what is missing"
    else:
        yield f"  submit with `sbatch {slurm.quoted([job.script])}`, or give --submit"


def shards_left(asked: Sequence[tuple[Experiment, Path]], tasks: int) -> dict[int, float]:
    """Return the shards with missing blocks, each with the forecast of its seconds on one core."""
    from mc.runner.adaptive import missing

    found: dict[int, float] = {}
    for experiment, folder in asked:
        plan, lacking = missing(experiment, folder)
        shares: dict[int, list[Gap]] = {}
        for gap in lacking:
            shares.setdefault(gap.shard(plan, tasks), []).append(gap)
        for shard, own in shares.items():
            found[shard] = found.get(shard, 0.0) + estimate_cost(experiment, own, plan.trials).seconds
    return found


def after(number: str, command: str) -> str:
    """Return the command that runs another one when a job has ended, with success or without."""
    return slurm.quoted(["sbatch", f"--dependency=afterany:{number}", f"--wrap={command}"])


COMMANDS = (slurm_command,)
