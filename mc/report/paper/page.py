"""The page of the report: claims first, then a section a study, then what a reader needs to check it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import dataset
from mc.experiment.experiment import Experiment
from mc.experiment.studies import PaperStudy
from mc.report.citations import for_experiment
from mc.report.figures import Figure
from mc.report.html import environment, files, inlined, try_folder
from mc.report.paper.claims import Row, own_row, registry_rows
from mc.report.paper.section import Run, Runs, Section, typeset
from mc.report.paper.sections import section_of
from mc.report.summary import plain, row_entry, to_json
from mc.store.files import write_bytes
from mc.store.layout import Computed
from mc.store.results import RESULTS, CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome
from mc.version import __version__

LEVEL = 0.95
NOT_INTEGRATED = (NOT_COMPUTED, Outcome.NOT_ATTEMPTED, Outcome.ERROR)
COMMIT_LETTERS, IDENTITY_LETTERS = 12, 16
_ARRAY_PATH = re.compile(r'"[^"\n]*[/\\]([^"/\\\n]+\.np[yz])"')


@dataclass(frozen=True)
class Totals:
    """How much was computed."""

    experiments: int
    cells: int  # problems that are set
    draws: int  # distinct random draws: experiments of one seed share those of the problems they share
    networks: int  # networks that are judged: a draw at a width, in each experiment
    trajectories: int  # trajectories that are integrated
    core_hours: float  # of all blocks, as measured when they were computed

    @property
    def words(self) -> str:
        """The totals as a sentence."""
        return (
            f"{spaced(self.experiments)} experiments with {spaced(self.cells)} problems, {spaced(self.draws)} random "
            f"draws, {spaced(self.networks)} networks judged, {spaced(self.trajectories)} trajectories "
            f"integrated; {self.core_hours:.3g} core-hours"
        )


@dataclass(frozen=True)
class Chapter:
    """A study with its section, which is None where runs are missing, and with the rows of its claims."""

    study: PaperStudy
    section: Section | None
    rows: tuple[Row, ...]

    @property
    def explanations(self) -> tuple[Row, ...]:
        """The rows whose verdict asks for a reason."""
        return tuple(row for row in self.rows if row.explanation)


@dataclass(frozen=True)
class Paper:
    """A report that was written."""

    page: Path  # its index.html
    chapters: tuple[Chapter, ...]
    theory: tuple[Row, ...]  # the claims of the registry, over all runs
    totals: Totals

    @property
    def groups(self) -> tuple[tuple[str, tuple[Row, ...]], ...]:
        """The table of claims in its parts."""
        decided = tuple(row for chapter in self.chapters for row in chapter.rows)
        return ("The theory, over all runs of this page", self.theory), ("What the studies decide beyond it", decided)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The table of claims."""
        return tuple(row for _, rows in self.groups for row in rows)


def finished_runs(studies: Sequence[PaperStudy], base: Path) -> dict[str, Run]:
    """Return the runs of the studies that have results below a folder, by name; runs of another scale do not count."""
    runs = {}
    for experiment in (experiment for study in studies for experiment in study.experiments):
        run = Run(experiment.name, base / experiment.name)
        if (run.folder / RESULTS).is_file() and _identity(experiment) == _identity(_experiment(run)):
            runs[run.name] = run
    return runs


def _identity(experiment: Experiment) -> tuple[object, ...]:
    """Return what a run must have in common with a study's experiment to be it: all numbers, and how many."""
    identities = tuple(experiment.identity(cell) for cell in experiment.cells())
    return (*identities, experiment.trials, experiment.widths, experiment.flow_widths)


def _experiment(run: Run) -> Experiment:
    return Experiment.from_text(run.results.experiment_text, reading=True)


def _seconds(run: Run) -> float:
    """Return the seconds of all blocks of a run, each by the clock."""
    return sum(float(cell.attrs.get("seconds", 0.0)) for cell in run.results.cells)


def totals(runs: Sequence[Run]) -> Totals:
    """Count what the runs have computed, from their results."""
    draws: dict[tuple[int, str], int] = {}
    for run in runs:
        for cell in run.results.cells:
            key = (int(run.results.attrs["seed"]), cell.key)
            draws[key] = max(draws.get(key, 0), cell.trials)
    cells = [cell for run in runs for cell in run.results.cells]
    outcomes = [outcome for cell in cells if (outcome := dataset(cell, "outcome")) is not None]
    return Totals(
        experiments=len(runs),
        cells=len(draws),
        draws=sum(draws.values()),
        networks=sum(_networks(cell) for cell in cells),
        trajectories=sum(int((~np.isin(outcome, NOT_INTEGRATED)).sum()) for outcome in outcomes),
        core_hours=sum(_seconds(run) for run in runs) / 3600.0,
    )


def _networks(cell: CellResults) -> int:
    """Count the (trial, width) pairs of a cell that were computed."""
    computed = dataset(cell, "computed")
    return cell.trials * len(cell.widths) if computed is None else int((computed == Computed.PRESENT).sum())


def chapter(study: PaperStudy, runs: Mapping[str, Run]) -> Chapter:
    """Return a study with its section; without one while a run of it is missing."""
    names = [experiment.name for experiment in study.experiments]
    if not all(name in runs for name in names):
        return Chapter(study, None, ())
    section = section_of(study.name, Runs({name: runs[name] for name in names}, LEVEL))
    return Chapter(study, section, tuple(own_row(claim, study.name, runs) for claim in section.claims))


def write_paper(studies: Sequence[PaperStudy], scale: str, base: Path, out: Path) -> Paper:
    """Write the report of the studies whose runs are below `base` into the folder `out`, made when absent.

    Raises
    ------
    InputError
        When a run cannot be read, or the folder not be written.
    """
    try_folder(out)
    runs = finished_runs(studies, base)
    study_of = {experiment.name: study.name for study in studies for experiment in study.experiments}
    chapters = tuple(chapter(study, runs) for study in studies)
    registry, numbers = registry_rows(runs, study_of, LEVEL)
    paper = Paper(out / "index.html", chapters, registry, totals(list(runs.values())))
    figures = [figure for each in chapters if each.section is not None for figure in each.section.figures]
    texts = files(figures)
    content = {
        "scale": scale,
        "level": LEVEL,
        "totals": asdict(paper.totals),
        "studies": [_study_entry(each) for each in chapters],
        "claims": [asdict(row) for row in paper.rows],
        "registry": [row_entry(row) for row in numbers],
        "provenance": {name: plain(run.results.attrs) | {"experiment": None} for name, run in runs.items()},
    }
    texts["summary.json"] = to_json(plain(content))
    texts["index.html"] = _render(paper, scale, runs, figures)
    for name, text in texts.items():
        write_bytes(out / name, text.encode())
    return paper


def _study_entry(each: Chapter) -> dict[str, Any]:
    study, section = each.study, each.section
    return {
        **{key: getattr(study, key) for key in ("name", "title", "question", "hypothesis", "expected")},
        "experiments": [experiment.name for experiment in study.experiments],
        "verdict": None if section is None else section.verdict,
        "tables": [] if section is None else [asdict(table) for table in section.tables],
    }


def data_link(text: str) -> str:
    """Return a CSV file as a link that holds it: the page stays whole wherever it is sent."""
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def without_folders(text: str) -> str:
    """Cut the folders off the array files that an experiment reads: they mean nothing on another machine."""
    return _ARRAY_PATH.sub(r'"\1"', text)


def _render(paper: Paper, scale: str, runs: Mapping[str, Run], figures: Sequence[Figure]) -> str:
    used = [for_experiment(_experiment(run)) for run in runs.values()]
    pages = environment()
    pages.filters["typeset"] = typeset
    return pages.get_template("paper.html.j2").render(
        paper=paper,
        scale=scale,
        level=LEVEL,
        flag="" if scale == "laptop" else f" --scale {scale}",
        svg=inlined(figures),
        csv={figure.name: data_link(figure.table) for figure in figures},
        experiments={name: without_folders(run.results.experiment_text) for name, run in runs.items()},
        makers={name: _maker(run) for name, run in runs.items()},
        citations=dict.fromkeys(citation for own in used for citation in own),
        version=__version__,
    )


def _maker(run: Run) -> Mapping[str, str]:
    """Return how much of a run was computed, in which time and with which software."""
    attrs = plain(run.results.attrs)
    makers = [maker for cell in run.results.cells for maker in json.loads(cell.attrs["computed_by"])]
    trials = sum(cell.trials for cell in run.results.cells)
    return {
        "trials": spaced(trials),
        "minutes": f"{_seconds(run) / 60.0:.3g}",
        "complete": "yes" if attrs.get("complete") else "no",
        "identity": str(attrs["identity"])[:IDENTITY_LETTERS],
        "commit": ", ".join(dict.fromkeys(str(maker["git_commit"])[:COMMIT_LETTERS] for maker in makers)),
        "versions": ", ".join(dict.fromkeys(f"numpy {maker['numpy']}, {maker['blas']}" for maker in makers)),
    }
