"""The commands `verify` and `replay`: check the files of a run, and compute its numbers again."""

from __future__ import annotations

from pathlib import Path

import click

from mc.runner.plan import FROZEN
from mc.store.files import write_bytes

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--replay", type=click.IntRange(min=0), default=0, metavar="N", help="Compute N blocks again.")
def verify(run: Path, replay: int) -> None:
    """Check a run: files, layout, identity, ranges, results.h5 against the blocks; status 1 when a check fails."""
    from mc.verify.folder import Status, verify_run

    inner = () if (run / FROZEN).is_file() else tuple(sorted(copy.parent for copy in run.glob(f"*/{FROZEN}")))
    failed = False
    for folder in inner or (run,):
        if inner:
            click.echo(f"{folder}:")
        for check in verify_run(folder, replay):
            failed = failed or check.status is Status.FAILED
            for line in check.lines():
                click.echo(line)
    if failed:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--cell", type=int, default=0, show_default=True)
@click.option("--trial", type=int, required=True)
@click.option("--width", type=int, help="One width of the run (default all).")
@click.option("--plot", type=FOLDER, metavar="FILE.svg", help="Draw the two sides of its claims along time.")
def replay(run: Path, cell: int, trial: int, width: int | None, plot: Path | None) -> None:
    """Compute one trial again, beside the stored numbers; status 1 when they differ."""
    from mc.verify.replay import replay_trial

    replayed = replay_trial(run, cell, trial, width, follow=plot is not None)
    for line in replayed.lines:
        click.echo(line)
    if plot is not None:
        # matplotlib takes a second to import: only figures pay for it
        from mc.report.replay_figure import replay_svg

        write_bytes(
            plot,
            replay_svg(
                replayed.trajectories,
                f"Trial {trial} of cell {cell} of {run.resolve().name}: what was computed, and what is proved",
            ).encode(),
        )
        click.echo(plot)
    if not replayed.agrees:
        raise click.exceptions.Exit(1)


COMMANDS = (verify, replay)
