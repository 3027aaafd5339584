"""Small runs of the experiments of the paper's report, and what every section must keep to."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mc.estimate.flows.losses import Saved
from mc.experiment.experiment import Experiment
from mc.report.paper.section import Run, Runs, Section
from mc.runner import execute
from mc.store.layout import Computed, field_of

FOLDER = Path(__file__).parent.parent / "experiments" / "paper"
VERDICTS = ("supported", "contradicted", "undecided", "vacuous", "violated", "not contradicted", "not violated")
LARGEST = 300_000
"""Bytes of a panel."""

Changes = Mapping[str, Mapping[str, Any]]


def experiment(name: str, changes: Changes) -> Experiment:
    """An experiment of the report with other values: [widths] is replaced whole, other tables key by key.

    A table that the experiment lacks is left alone, as where a scale is applied.
    """
    document = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    for table, values in changes.items():
        if table in document:
            document[table] = dict(values) if table == "widths" else document[table] | values
    return Experiment.from_dict(document)


def small_runs(folder: Path, changes: Mapping[str, Changes]) -> Runs:
    """The runs of these experiments, computed here.

    Parameters
    ----------
    folder : Path
    changes : mapping of str to changes
        By name of the experiment.
    """
    for name, own in changes.items():
        execute.run(experiment(name, own), folder / name, backend="inline")
    return Runs({name: Run(name, folder / name) for name in changes})


def check_section(made: Section, study: str, runs: Runs) -> None:
    """What the page relies on, whatever the study."""
    assert made.verdict.strip()
    figures = {figure.name for figure in made.figures}
    assert len(figures) == len(made.figures)
    panels = [panel for figure in made.figures for panel in figure.panels]
    assert len({panel.name for panel in panels}) == len(panels)
    for figure in made.figures:
        assert figure.name.startswith(f"{study}-")
        assert figure.title
        assert figure.caption
        assert figure.panels
        assert figure.table.count("\n") > 1, f"{figure.name}: no numbers behind the figure"
    for panel in panels:
        assert panel.name.startswith(f"{study}-")
        assert panel.alternative
        assert len(panel.svg) < LARGEST
        ET.fromstring(panel.svg)
    for claim in made.claims:
        assert claim.verdict.startswith(VERDICTS), claim.verdict
        assert claim.figure in figures
        assert claim.experiment in runs.by_name
        assert claim.trials > 0
        assert claim.explanation or claim.verdict != "contradicted"
    for table in made.tables:
        assert table.title
        assert all(len(row) == len(table.header) for row in table.rows)
        assert all(isinstance(entry, str) for row in table.rows for entry in row)


def without(tracks: Saved, lost: range) -> Saved:
    """The same trajectories, some of which failed."""
    cell = tracks.cell
    data: dict[str, np.ndarray] = {name: np.array(cell.data[name]) for name in cell.data}
    for name, values in data.items():
        along = [axis for axis, dim in enumerate(field_of(name).dims) if dim in ("trial", "saved_trial")]
        if along and values.dtype.kind == "f":
            np.moveaxis(values, along[0], 0)[list(lost)] = np.nan
    data["computed"][list(lost)] = Computed.FAILED
    names = ("index", "key", "problem", "modes", "widths", "flow_widths", "saved_trials")
    return Saved(SimpleNamespace(data=data, **{name: getattr(cell, name) for name in names}), tracks.mode, tracks.width)
