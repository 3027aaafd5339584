"""`dipmc reproduce`: from nothing to the report of all studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mc.cli import run as cli_run
from mc.cli import slurm as cli_slurm
from mc.experiment.studies import SCALES, SUITE, PaperStudy, load_studies
from mc.store.files import write_bytes

if TYPE_CHECKING:
    from mc.report.paper.page import Paper

FOLDER = click.Path(path_type=Path)
STUDIES = Path("experiments/paper")


@click.command()
@click.option("--scale", type=click.Choice(SCALES), default="laptop", show_default=True, help="How much is computed.")
@click.option("--only", multiple=True, metavar="STUDY", help="Only this study; may be given again.")
@click.option("-j", "--jobs", type=int, default=-1, show_default=True, help="Blocks at a time; -1: one per core.")
@click.option("-o", "--out", type=FOLDER, help="Folder of the report (default reports/paper; -<scale> unless laptop).")
@click.option("--runs", "base", type=FOLDER, help="Folder of the runs (default data/paper-<scale>).")
@click.option("--studies", "folder", type=FOLDER, default=STUDIES, show_default=True, help="Folder with studies.toml.")
@click.option("--report-only", is_flag=True, help="Write the report without running anything.")
@click.option(
    "--tasks",
    type=click.IntRange(1, 10**6),
    default=100,
    show_default=True,
    help="Number of SLURM array tasks (cluster scale only).",
)
@click.option("--time", help="Time limit of a task, such as 12:00:00 (cluster).")
@click.option("--partition", help="Partition to submit to (cluster).")
@click.option("--account", help="Account to charge (cluster).")
@click.option("--setup", multiple=True, metavar="LINE", help="Shell line before dipmc starts (cluster).")
@click.option("--submit", is_flag=True, help="Submit what is missing (cluster).")
@click.option("--yes", is_flag=True, help="Skip the check on forecast time and disk space.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.pass_context
def reproduce(
    context: click.Context,
    scale: str,
    only: tuple[str, ...],
    jobs: int,
    out: Path | None,
    base: Path | None,
    folder: Path,
    report_only: bool,
    tasks: int,
    time: str | None,
    partition: str | None,
    account: str | None,
    setup: tuple[str, ...],
    submit: bool,
    yes: bool,
    quiet: bool,
) -> None:
    """Run the studies of experiments/paper/ (it resumes) and write their report.

    At the scale of a cluster a job array is written, and submitted with --submit; the same command again writes the
    report when nothing is missing.
    """
    base = Path(f"data/paper-{scale}") if base is None else base
    out = Path("reports/paper" if scale == "laptop" else f"reports/paper-{scale}") if out is None else out
    asked = load_studies(folder, scale, only)
    every = load_studies(folder, scale) if only else asked
    suite = write_suite(asked, f"paper-{scale}", base / "experiments") if any_experiment(asked) else None
    if suite is not None and not report_only:
        if scale == "cluster":
            array = {"tasks": tasks, "time": time, "partition": partition, "account": account, "setup": setup}
            context.invoke(cli_slurm.slurm_command, experiment=suite, out=base, submit=submit, yes=yes, **array)
            if cli_slurm.shards_left([(e, base / e.name) for s in asked for e in s.experiments], tasks):
                click.echo("when nothing is missing, the same command merges and writes the report")
                return
            merge_all(asked, base)
        else:
            context.invoke(cli_run.run, experiment=suite, out=base, jobs=jobs, yes=yes, quiet=quiet)
    # matplotlib takes a second to import: only the report pays for it
    from mc.report.paper.page import write_paper

    for line in report_lines(write_paper(every, scale, base, out)):
        click.echo(line)


def any_experiment(studies: Sequence[PaperStudy]) -> bool:
    """Whether some study has an experiment."""
    return any(study.experiments for study in studies)


def merge_all(studies: Sequence[PaperStudy], base: Path) -> None:
    """Write results.h5 of every run."""
    from mc.runner.execute import merge

    for study in studies:
        for experiment in study.experiments:
            merge(base / experiment.name)


def report_lines(paper: Paper) -> Iterator[str]:
    """Yield the lines that the terminal shows of the report."""
    for chapter in paper.chapters:
        found = "not run" if chapter.section is None else chapter.section.verdict or "see the page"
        yield f"{chapter.study.title}: {found}"
        for row in chapter.explanations:
            yield f"  {row.verdict}: {row.claim}"
    kinds = Counter("not violated" if row.verdict.startswith("not violated") else row.verdict for row in paper.rows)
    yield f"{len(paper.rows)} claims: " + ", ".join(f"{count} {verdict}" for verdict, count in kinds.most_common())
    yield paper.totals.words
    yield str(paper.page)


def write_suite(studies: Sequence[PaperStudy], name: str, folder: Path) -> Path:
    """Write the experiments of studies as files, and a suite of them; return the suite's path."""
    experiments = [experiment for study in studies for experiment in study.experiments]
    folder.mkdir(parents=True, exist_ok=True)
    for experiment in experiments:
        write_bytes(folder / f"{experiment.name}.toml", experiment.to_toml().encode())
    listed = "".join(f'    "{experiment.name}.toml",\n' for experiment in experiments)
    text = f'[experiment]\nname = "{name}"\n\n[suite]\nexperiments = [\n{listed}]\n'
    write_bytes(folder / SUITE, text.encode())
    return folder / SUITE


COMMANDS = (reproduce,)
