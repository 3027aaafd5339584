"""The command line: one command a verb, one line for a mistake, progress on the terminal."""

from __future__ import annotations

import os
import signal
import webbrowser
from pathlib import Path
from typing import Any

import click

from mc.cli.reproduce import COMMANDS as REPORTING
from mc.cli.run import COMMANDS as RUNNING
from mc.cli.slurm import COMMANDS as CLUSTER
from mc.cli.theory import DEFAULT_M, TheoryRequest, theory_lines
from mc.cli.verify import COMMANDS as LOOKING_BACK
from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.experiment.reading import one_line
from mc.report.citations import CITATIONS, Citation, for_experiment, named
from mc.runner.execute import merge as merge_run
from mc.runner.interrupts import Interrupted
from mc.runner.plan import FROZEN, experiments_of, load_frozen, runs_of
from mc.runner.progress import behind
from mc.store.results import RESULTS
from mc.theory.claims import CLAIMS
from mc.verify.export import export_trial
from mc.version import __version__

FOLDER = click.Path(path_type=Path)


@click.group(
    commands=(*RUNNING, *CLUSTER, *LOOKING_BACK, *REPORTING),
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


@cli.command()
@click.argument("experiment", type=FOLDER)
@click.option("--tasks", type=click.IntRange(min=1), help="Also forecast the cost of each of N tasks of `dipmc slurm`.")
def plan(experiment: Path, tasks: int | None) -> None:
    """Print the blocks of an experiment, the claims that it can decide, and its cost."""
    from mc.cli.plan import plan_lines

    for each, _ in experiments_of(experiment):
        for line in plan_lines(each, tasks):
            click.echo(line)


@cli.command(name="status")
@click.argument("run", type=FOLDER)
def status_command(run: Path) -> None:
    """Print how far a run is, and how wide its intervals are."""
    from mc.cli.status import run_lines

    for folder, _ in runs_of(run):
        for line in run_lines(folder):
            click.echo(line)


@cli.command()
@click.argument("run", type=FOLDER)
def merge(run: Path) -> None:
    """Write results.h5 from the present blocks."""
    for folder, _ in runs_of(run):
        click.echo(merge_run(folder))


def _merge_if_behind(folder: Path) -> None:
    """Update results.h5 to the blocks; keep the old file where the folder is read-only."""
    if not (folder / FROZEN).is_file() or not behind(folder):
        return
    if (folder / RESULTS).is_file() and not os.access(folder, os.W_OK):
        click.echo(f"dipmc: {folder}: read-only, so blocks newer than {RESULTS} are left out", err=True)
        return
    merge_run(folder)


@cli.command()
@click.argument("run", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, help="Folder of the report (default reports/<name>).")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
def report(run: Path, out: Path | None, show: bool) -> None:
    """Write the report of a run, complete or not: index.html, summary.json, figures as SVG and CSV."""
    run = run.parent if run.name == RESULTS and run.is_file() else run
    found = runs_of(run)
    if out is None:
        # named after the experiment, wherever it ran; a suite's name is that of its folder
        out = Path("reports") / (load_frozen(run).name if (run / FROZEN).is_file() else run.resolve().name)
    # matplotlib takes a second to import: only this command pays for it
    from mc.report.page import write_report
    from mc.report.suite import write_suite

    for folder, _ in found:
        _merge_if_behind(folder)
    alone = found[0][1] == Path()
    for page in (write_report(found[0][0], out),) if alone else write_suite(found, out):
        click.echo(page)
    if show:
        webbrowser.open((out / "index.html").resolve().as_uri())


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
def claims() -> None:
    """List the claims: name, modes, formula, hypothesis, source."""
    for claim in CLAIMS.values():
        click.echo(f"{claim.name} ({claim.kind}; {', '.join(claim.modes)}; {claim.source})")
        click.echo(f"  {claim.formula}   if {claim.hypothesis}" if claim.hypothesis != "none" else f"  {claim.formula}")


@cli.command()
@click.argument("what", nargs=-1, metavar="[RUN | METHOD]...")
@click.option("--bibtex", "as_bibtex", is_flag=True, help="As entries of a bibliography.")
def cite(what: tuple[str, ...], as_bibtex: bool) -> None:
    """Say what to cite: of the methods that a run or an experiment file uses, of methods by name, or of all."""
    from mc.report.citations import bibtex, cite_lines

    chosen = tuple(dict.fromkeys(each for word in what for each in _cited(word))) if what else (*CITATIONS.values(),)
    for line in [bibtex(chosen)] if as_bibtex else cite_lines(chosen):
        click.echo(line)


def _cited(word: str) -> tuple[Citation, ...]:
    """The methods that one word of `dipmc cite` stands for."""
    path = Path(word)
    if word in CITATIONS or not path.exists():
        return named((word,))
    if path.is_dir():
        found = [Experiment.from_toml(folder / FROZEN, reading=True) for folder, _ in runs_of(path)]
    else:
        found = [each for each, _ in experiments_of(path)]
    return tuple(dict.fromkeys(citation for each in found for citation in for_experiment(each)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Words of the command; those of the process by default.

    Returns
    -------
    int
        Exit status: 0 done, 1 a block failed, 2 a mistake in what was given, 130 stopped by a signal,
        75 stopped by one that ``--requeue-on`` names.
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
        return error.status
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
