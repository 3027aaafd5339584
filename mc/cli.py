"""The command line: one command a verb, one line for a mistake, progress on the terminal."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from typing import Any

import click

from mc.backends import BACKENDS
from mc.cli_progress import progress_bar
from mc.cli_verify import COMMANDS
from mc.errors import InputError
from mc.experiment import Experiment, load_file
from mc.export import export_trial
from mc.guarantees import CLAIMS
from mc.plan import FROZEN, load_frozen
from mc.schema.reading import one_line
from mc.signals import Interrupted
from mc.store import RESULTS
from mc.theory_table import DEFAULT_M, TheoryRequest, theory_lines
from mc.version import __version__

MOST_FAILURES = 20
"""Failed blocks that are named."""

FOLDER = click.Path(path_type=Path)


@click.group(
    commands=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="dipmc")
@click.pass_context
def cli(context: click.Context) -> None:
    """Monte Carlo validation of the theory of neural networks on inverse problems."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        raise click.UsageError("Missing command.", context)


def experiments_of(path: Path) -> tuple[tuple[Experiment, Path], ...]:
    """Experiments of a file, each with its folder below the run: one, or those of a suite."""
    found = load_file(path)
    if isinstance(found, Experiment):
        return ((found, Path()),)
    return tuple((experiment, Path(experiment.name)) for experiment in found.experiments)


def runs_of(run: Path) -> tuple[tuple[Path, Path], ...]:
    """Run folders below a folder, each with its place: the folder itself, or the runs of a suite."""
    if not (run / FROZEN).is_file() and run.is_dir():
        inner = tuple((copy.parent, Path(copy.parent.name)) for copy in sorted(run.glob(f"*/{FROZEN}")))
        if inner:
            return inner
    if not (run / RESULTS).is_file():
        load_frozen(run)  # refuses what is no run folder
    return ((run, Path()),)


def _default_run(path: Path) -> Path:
    return Path("data") / load_file(path).name


def _default_report(run: Path) -> Path:
    """Named after the experiment, wherever it ran; a suite's name is that of its folder."""
    name = load_frozen(run).name if (run / FROZEN).is_file() else run.resolve().name
    return Path("reports") / name


@cli.command()
@click.argument("experiment", type=FOLDER)
def plan(experiment: Path) -> None:
    """Say what an experiment would compute, what it can decide, and what it would cost."""
    from mc.cli_plan import plan_lines

    for each, _ in experiments_of(experiment):
        for line in plan_lines(each):
            click.echo(line)


@cli.command()
@click.argument("experiment", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, help="Run folder (default data/<name>).")
@click.option("-j", "--jobs", type=int, default=1, show_default=True, help="Worker processes; -1: one per core.")
@click.option("--backend", type=click.Choice(BACKENDS), default="loky", show_default=True)
@click.option("--shard", metavar="i/N", help="Only the blocks of shard i of N, i from 0.")
@click.option("--yes", is_flag=True, help="Also run what takes days or fills the disk.")
@click.option("--quiet", is_flag=True, help="No progress.")
def run(experiment: Path, out: Path | None, jobs: int, backend: str, shard: str | None, yes: bool, quiet: bool) -> None:
    """Compute what a run folder lacks of an experiment (it resumes), and merge."""
    # the statistics take a second to import: only the commands that need them pay for it
    from mc.sampling import check
    from mc.sampling import run as run_experiment

    part = None if shard is None else parse_shard(shard)
    base = _default_run(experiment) if out is None else out
    asked = experiments_of(experiment)
    for each, place in asked:
        # all of a suite before its first: hours later nobody is there to read the refusal
        check(each, base / place, yes=yes)
    failures: list[str] = []
    for each, place in asked:
        with progress_bar(each.name, quiet) as progress:
            summary = run_experiment(
                each, base / place, jobs=jobs, backend=backend, shard=part, yes=yes, progress=progress
            )
        failures += summary.failures
        if not quiet:
            there = f", {summary.blocks_there} were there" if summary.blocks_there else ""
            click.echo(f"{each.name}: {summary.blocks_computed} block(s) computed{there}, {summary.seconds:.1f} s")
            missing = f"{summary.run}: not complete, other shards are missing"
            if each.sampling is not None:
                missing += "; when their blocks are there the same command goes on"
            click.echo(f"  {summary.results or missing}")
    if failures:
        for failure in failures[:MOST_FAILURES]:
            click.echo(f"failed: {one_line(failure)}", err=True)
        if len(failures) > MOST_FAILURES:
            click.echo(f"failed: {len(failures) - MOST_FAILURES} more", err=True)
        raise click.exceptions.Exit(1)


def parse_shard(text: str) -> tuple[int, int]:
    """Shard i/N as two numbers."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise InputError(f"--shard {text}: use i/N with i from 0 to N - 1, such as 0/4")
    return int(index), int(count)


@cli.command(name="status")
@click.argument("run", type=FOLDER)
def status_command(run: Path) -> None:
    """Say how far a run is, and how wide its intervals are."""
    from mc.cli_status import run_lines

    for folder, _ in runs_of(run):
        for line in run_lines(folder):
            click.echo(line)


@cli.command()
@click.argument("run", type=FOLDER)
def merge(run: Path) -> None:
    """Write results.h5 from the blocks that are there."""
    from mc.sampling import merge as merge_run

    for folder, _ in runs_of(run):
        click.echo(merge_run(folder))


@cli.command()
@click.argument("run", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, help="Folder of the report (default reports/<name>).")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
def report(run: Path, out: Path | None, show: bool) -> None:
    """Write the report of a run, complete or not: index.html, summary.json, figures as SVG and CSV."""
    run = run.parent if run.name == RESULTS and run.is_file() else run
    found = runs_of(run)
    base = _default_report(run) if out is None else out
    # matplotlib takes a second to import: only this command pays for it
    from mc.report import write_contents, write_report

    pages = []
    for folder, place in found:
        pages.append(write_report(folder, base / place))
        click.echo(pages[-1])
    if len(found) > 1:
        pages = [write_contents(base, base.resolve().name, pages)]
        click.echo(pages[0])
    if show:
        webbrowser.open(pages[0].resolve().as_uri())


@cli.command()
@click.option("-n", type=int, default=10, show_default=True, help="Length of the signal.")
@click.option("-m", type=int, help=f"Number of observations.  [default: {DEFAULT_M}, or as the operator has it]")
@click.option("--operator", default="orthonormal", show_default=True)
@click.option("--condition", type=float, help="Condition number, for the operator spectrum.")
@click.option("--keep", type=float, help="Share of samples kept, for the operator mask.")
@click.option("--blur-width", type=float, help="For the operator blur.")
@click.option("--noise", type=float, default=0.0, show_default=True, help="Noise relative to |A xbar|.")
@click.option("--activation", default="sigmoid", show_default=True)
@click.option("--output-law", default="uniform", show_default=True)
@click.option("--loss", default="mse", show_default=True)
@click.option("-p", type=float, help="Exponent of the loss power.")
@click.option("--delta", type=float, multiple=True, default=(0.5, 0.1, 0.01), show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of operator and signal.")
def theory(**request: Any) -> None:
    """Widths from which the bounds promise each certificate with probability 1 - delta (theory §7.1-3)."""
    for line in theory_lines(TheoryRequest(**request)):
        click.echo(line)


@cli.command()
@click.argument("run", type=FOLDER)
@click.option("--cell", type=int, default=0, show_default=True)
@click.option("--trial", type=int, required=True)
@click.option("--width", type=int, required=True)
@click.option("-o", "--out", type=FOLDER, required=True, help="File to write (.npz).")
def export(run: Path, cell: int, trial: int, width: int, out: Path) -> None:
    """Write one trial's problem and network as plain arrays."""
    click.echo(export_trial(run, cell, trial, width, out))


@cli.command()
@click.option("--long", "whole", is_flag=True, help="The tables of docs/statistics.md: minutes instead of seconds.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the simulations.")
def selftest(whole: bool, seed: int) -> None:
    """Test the statistics of this installation at known truths: exact coverage, errors of stopping rules."""
    from mc.estimate.selftest import run_selftest

    found = run_selftest(seed, whole)
    for line in found.lines():
        click.echo(line)
    if not found.passed:
        raise click.exceptions.Exit(1)


@cli.command()
def claims() -> None:
    """List the claims: name, modes, formula, hypothesis, source."""
    for claim in CLAIMS.values():
        click.echo(f"{claim.name} ({claim.kind}; {', '.join(claim.modes)}; {claim.source})")
        click.echo(f"  {claim.formula}   if {claim.hypothesis}" if claim.hypothesis != "none" else f"  {claim.formula}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Words of the command; those of the process by default.

    Returns
    -------
    int
        Exit status: 0 done, 1 a block failed, 2 a mistake in what was given, 130 stopped by a signal.
    """
    try:
        # the exit status of a command that ends by itself
        return int(cli.main(arguments, prog_name="dipmc", standalone_mode=False) or 0)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "dipmc"
        return _mistake(f"{error.format_message().rstrip('.')}; see `{command} --help`")
    except click.ClickException as error:
        return _mistake(error.format_message())
    except InputError as error:
        return _mistake(str(error))
    except Interrupted as error:
        click.echo(f"dipmc: {error}", err=True)
        return 128 + signal.SIGINT
    except (click.Abort, KeyboardInterrupt):
        click.echo("dipmc: stopped", err=True)
        return 128 + signal.SIGINT
    except OSError as error:
        # the world refused what no module foresaw: a full disk under the output, a folder that vanished
        where = f"{error.filename}: " if error.filename else ""
        return _mistake(f"{where}{error.strerror or error}; mend it and run again")


def _mistake(message: str) -> int:
    click.echo("dipmc: " + one_line(message), err=True)
    return 2
