"""The studies that a report is made of, and their experiments at the scale of a test, a laptop or a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.experiment.messages import explain
from mc.experiment.reading import absolute_paths, one_line, parse, plain_values, read_text
from mc.experiment.studies_schema import EVERY, KEYS, Changes, StudiesDocument, StudyTable
from mc.store.files import write_bytes

SCALES = ("smoke", "laptop", "cluster")
"""`laptop` is what the files say; the others replace keys of theirs."""

INDEX = "studies.toml"
SUITE = "suite.toml"
REPLACED_WHOLE = ("widths",)
"""Tables whose keys exclude each other: a change replaces all of them."""


@dataclass(frozen=True)
class PaperStudy:
    """One question of the report.

    Parameters
    ----------
    name, title : str
    question, hypothesis, expected : str
        Written before the runs.
    experiments : tuple of Experiment
        At the scale that was asked for.
    """

    name: str
    title: str
    question: str
    hypothesis: str
    expected: str
    experiments: tuple[Experiment, ...]


def load_studies(folder: Path, scale: str, only: Sequence[str] = ()) -> tuple[PaperStudy, ...]:
    """The studies of a folder with their experiments.

    Parameters
    ----------
    folder : Path
        With studies.toml and the experiment files it names.
    scale : {"smoke", "laptop", "cluster"}
    only : sequence of str
        Names of the studies that are meant; empty: all.

    Raises
    ------
    InputError
        One line: what is wrong in which file, or which study there is not.
    """
    path = folder / INDEX
    if not path.is_file():
        raise InputError(f"{path}: no such file; run this from a checkout of the project, or give --studies FOLDER")
    try:
        document = StudiesDocument.model_validate(plain_values(parse(read_text(path), str(path))))
    except ValidationError as error:
        raise InputError(one_line(explain(error.errors(include_url=False), str(path), KEYS))) from None
    known = [table.name for table in document.study]
    for name in (*only, *known):
        if name not in known:
            raise InputError(f"{name!r} is not a study of {path}; use one of {', '.join(known)}")
        if known.count(name) > 1:
            raise InputError(f"{path}: [study] name: two of them are named {name!r}; use distinct names")
    chosen = [table for table in document.study if not only or table.name in only]
    studies = tuple(_study(table, folder, scale) for table in chosen)
    names = [experiment.name for study in studies for experiment in study.experiments]
    for name in names:
        if name in (EVERY, Path(SUITE).stem):
            raise InputError(
                f"{path}: [study] experiments: {name!r} has a meaning of its own; give the file another name"
            )
        if names.count(name) > 1:
            raise InputError(f"{path}: [study] experiments: {name!r} is listed twice; list it once")
    return studies


def _study(table: StudyTable, folder: Path, scale: str) -> PaperStudy:
    changes: Changes = {"smoke": table.smoke, "cluster": table.cluster}.get(scale, {})
    for name in changes:
        if name != EVERY and name not in table.experiments:
            fix = f"use {EVERY} or one of {', '.join(table.experiments)}"
            raise InputError(f"{folder / INDEX}: [study.{scale}] {name!r} is no experiment of {table.name!r}; {fix}")
    return PaperStudy(
        name=table.name,
        title=table.title,
        question=table.question,
        hypothesis=table.hypothesis,
        expected=table.expected,
        experiments=tuple(_experiment(folder, name, changes, scale) for name in table.experiments),
    )


def _experiment(folder: Path, name: str, changes: Changes, scale: str) -> Experiment:
    path = folder / f"{name}.toml"
    data = plain_values(parse(read_text(path), str(path)))
    for group in (EVERY, name):
        data = changed(data, changes.get(group, {}))
    source = str(path) if scale == "laptop" else f"{path} (with the changes of scale {scale!r} in {INDEX})"
    experiment = Experiment.from_dict(absolute_paths(data, folder), source, folder)
    if experiment.name != name:
        raise InputError(f"{path}: [experiment] name {experiment.name!r}: use {name!r}, the name of the file")
    return experiment


def changed(data: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of an experiment with keys replaced; a table that it does not have is left out."""
    found = dict(data)
    for table, keys in changes.items():
        # what is no table is left for the validation to name
        if isinstance(found.get(table), Mapping):
            found[table] = dict(keys) if table in REPLACED_WHOLE else {**found[table], **keys}
    return found


def write_suite(studies: Sequence[PaperStudy], name: str, folder: Path) -> Path:
    """Write the experiments as files of their own, and the suite of them.

    Parameters
    ----------
    studies : sequence of PaperStudy
    name : str
        Of the suite.
    folder : Path
        Made when absent; files there are overwritten.

    Returns
    -------
    Path
        The suite, which `dipmc plan`, `run` and `slurm` take.
    """
    experiments = [experiment for study in studies for experiment in study.experiments]
    folder.mkdir(parents=True, exist_ok=True)
    for experiment in experiments:
        write_bytes(folder / f"{experiment.name}.toml", experiment.to_toml().encode())
    listed = "".join(f'    "{experiment.name}.toml",\n' for experiment in experiments)
    text = f'[experiment]\nname = "{name}"\n\n[suite]\nexperiments = [\n{listed}]\n'
    write_bytes(folder / SUITE, text.encode())
    return folder / SUITE
