"""Small runs of the experiments of the paper's report, and what every section must keep to."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mc
from mc.estimate.flows.losses import Saved
from mc.experiment.experiment import Experiment
from mc.experiment.studies import load_studies
from mc.report.paper.section import Run, Runs, Section
from mc.store.layout import Computed, field_of

PAPER = Path(__file__).parents[2] / "experiments/paper"
VERDICTS = ("supported", "contradicted", "undecided", "vacuous", "violated", "not contradicted", "not violated")
LARGEST = 300_000
"""Bytes of a panel."""


def changed(name: str, changes: Mapping[str, Mapping[str, Any]]) -> Experiment:
    """An experiment of the report with other values: [widths] is replaced whole, other tables key by key.

    A table that the experiment lacks is left alone, as where a scale is applied.
    """
    document = tomllib.loads((PAPER / f"{name}.toml").read_text(encoding="utf-8"))
    for table, values in changes.items():
        if table in document:
            document[table] = dict(values) if table == "widths" else document[table] | values
    return Experiment.from_dict(document)


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mapping[str, Any]], Runs]:
    """Compute experiments of the report with other values: a mapping of experiment to table to key to value."""

    def run(changes: Mapping[str, Any]) -> Runs:
        folder = tmp_path_factory.mktemp("small")
        for name, tables in changes.items():
            mc.run(changed(name, tables), folder / name, jobs=1)
        return Runs({name: Run(name, folder / name) for name in changes})

    return run


@pytest.fixture(scope="session")
def smoke_runs(smoke_folder: Path) -> Callable[[str], Runs]:
    """The runs of a study of the paper at the scale of a test."""

    def run(name: str) -> Runs:
        (study,) = load_studies(PAPER, "smoke", [name])
        for experiment in study.experiments:
            mc.run(experiment, smoke_folder / experiment.name, jobs=1)
        return Runs(
            {experiment.name: Run(experiment.name, smoke_folder / experiment.name) for experiment in study.experiments}
        )

    return run


@pytest.fixture(scope="session")
def check_section() -> Callable[[Section, str, Runs], None]:
    """Check what the page relies on, whatever the study."""
    return checked


def checked(section: Section, study: str, runs: Runs) -> None:
    assert section.verdict.strip()
    names = [figure.name for figure in section.figures]
    panels = [panel for figure in section.figures for panel in figure.panels]
    assert len(set(names)) == len(names)
    assert len({panel.name for panel in panels}) == len(panels)
    assert all(name.startswith(f"{study}-") for name in (*names, *(panel.name for panel in panels)))
    for figure in section.figures:
        assert figure.title
        assert figure.caption
        assert figure.panels
        assert figure.table.count("\n") > 1, f"{figure.name}: no numbers behind the figure"
    for panel in panels:
        assert panel.alternative
        assert len(panel.svg) < LARGEST
        ET.fromstring(panel.svg)
    for claim in section.claims:
        assert claim.verdict.startswith(VERDICTS), claim.verdict
        assert claim.figure in names
        assert claim.experiment in runs.by_name
        assert claim.trials > 0
        assert bool(claim.explanation) == claim.verdict.startswith(("contradicted", "violated"))
    for table in section.tables:
        assert table.title
        assert all(len(row) == len(table.header) for row in table.rows)
        assert all(isinstance(entry, str) for row in table.rows for entry in row)
    # a sentence is made of whole words and numbers
    sentences = [
        section.verdict,
        *section.meaning,
        *(f"{c.claim} {c.interval} {c.explanation}" for c in section.claims),
    ]
    assert not any(wrong in sentence for sentence in sentences for wrong in (" nan", "{{", "..", " .", " ;"))


@pytest.fixture(scope="session")
def without() -> Callable[[Saved, range], Saved]:
    """Return the same trajectories, some of which failed."""

    def lose(tracks: Saved, lost: range) -> Saved:
        cell = tracks.cell
        data = {name: np.array(cell.data[name]) for name in cell.data}
        for name, values in data.items():
            trial_axes = [axis for axis, dim in enumerate(field_of(name).dims) if dim in ("trial", "saved_trial")]
            if trial_axes and values.dtype.kind == "f":
                np.moveaxis(values, trial_axes[0], 0)[list(lost)] = np.nan
        data["computed"][list(lost)] = Computed.FAILED
        names = ("index", "key", "problem", "modes", "widths", "flow_widths", "saved_trials")
        partial = SimpleNamespace(data=data, **{name: getattr(cell, name) for name in names})
        return Saved(partial, tracks.mode, tracks.width)

    return lose
