"""`dipmc run`: compute what is missing, here, on Dask, or as one task of a batch system."""

from __future__ import annotations

from pathlib import Path

import click

from mc.cli.progress import progress_bar
from mc.errors import InputError
from mc.experiment.experiment import Experiment, load_file
from mc.experiment.reading import one_line
from mc.runner import execute
from mc.runner.execute import BACKENDS, RunSummary, open_pool
from mc.runner.interrupts import Signals, parse_signals
from mc.runner.plan import experiments_of

MOST_FAILURES = 20
"""Failed blocks that are named."""

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("experiment", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, help="Run folder (default data/<name>).")
@click.option(
    "-j",
    "--jobs",
    type=int,
    help="Blocks at the same time, each in a process; -1: one per core.  [default: 1, or all workers of --scheduler]",
)
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="loky",
    show_default=True,
    help="Processes of this machine, this process alone, or a Dask cluster of this machine started for the run.",
)
@click.option("--scheduler", metavar="URL", help="Compute on the workers of this Dask scheduler, e.g. tcp://host:8786.")
@click.option("--shard", metavar="i/N", help="Only the blocks of shard i of N, i from 0.")
@click.option("--merge/--no-merge", "merging", default=True, show_default=True, help="Write results.h5 at the end.")
@click.option(
    "--requeue-on",
    metavar="SIGNALS",
    help="In a batch job: these signals (USR1,TERM, say) stop the run after the blocks in work, with exit status 75.",
)
@click.option("--yes", is_flag=True, help="Skip the check on forecast time and disk space.")
@click.option("--quiet", is_flag=True, help="No progress.")
def run(
    experiment: Path,
    out: Path | None,
    jobs: int | None,
    backend: str,
    scheduler: str | None,
    shard: str | None,
    merging: bool,
    requeue_on: str | None,
    yes: bool,
    quiet: bool,
) -> None:
    """Compute the missing blocks of an experiment or suite (it resumes), and merge."""
    part = None if shard is None else parse_shard(shard)
    warnings = () if requeue_on is None else parse_signals(requeue_on)
    base = Path("data") / load_file(experiment).name if out is None else out
    asked = experiments_of(experiment)
    for each, place in asked:
        # all of a suite before its first: hours later nobody is there to read the refusal
        execute.check(each, base / place, yes=yes)
    failures: list[str] = []
    with Signals(warnings) as signals, open_pool(backend, jobs, scheduler) as pool:
        for each, place in asked:
            with progress_bar(each.name, quiet) as progress:
                summary = execute.run(
                    each,
                    base / place,
                    shard=part,
                    yes=yes,
                    merging=merging,
                    progress=progress,
                    signals=signals,
                    pool=pool,
                )
            failures += summary.failures
            if not quiet:
                _print_summary(each, summary, merging)
    if failures:
        _print_failures(failures)
        raise click.exceptions.Exit(1)


def _print_summary(experiment: Experiment, summary: RunSummary, merging: bool) -> None:
    there = f", {summary.blocks_there} were there" if summary.blocks_there else ""
    click.echo(f"{experiment.name}: {summary.blocks_computed} block(s) computed{there}, {summary.seconds:.1f} s")
    if summary.killed:
        click.echo(
            f"  {summary.killed} of them lost their worker process (out of memory?) and were computed again, alone"
        )
    missing = f"{summary.run}: not complete, other shards are missing"
    if experiment.document.sampling is not None:
        missing += "; when their blocks are there the same command goes on"
    if not merging:
        missing = f"{summary.run}: not merged; `dipmc merge {summary.run}` does"
    click.echo(f"  {summary.results or missing}")


def _print_failures(failures: list[str]) -> None:
    for failure in failures[:MOST_FAILURES]:
        click.echo(f"failed: {one_line(failure)}", err=True)
    if len(failures) > MOST_FAILURES:
        click.echo(f"failed: {len(failures) - MOST_FAILURES} more", err=True)


def parse_shard(text: str) -> tuple[int, int]:
    """Return a shard i/N as two numbers."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise InputError(f"--shard {text}: use i/N with i from 0 to N - 1, such as 0/4")
    return int(index), int(count)


COMMANDS = (run,)
