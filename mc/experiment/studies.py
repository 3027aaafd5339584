"""Read the studies of the report, and their experiments at the scale of a test, a laptop or a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.experiment.messages import explain
from mc.experiment.reading import absolute_paths, one_line, parse, plain_values, read_text
from mc.experiment.tables import Table, keys

SCALES = ("smoke", "laptop", "cluster")
"""`laptop` is as in the files; the other scales replace keys."""

INDEX = "studies.toml"
SUITE = "suite.toml"
REPLACED_WHOLE = ("widths",)
"""Tables whose keys exclude each other: a change replaces all of them."""


Changes = dict[str, dict[str, dict[str, Any]]]
"""By experiment, or `EVERY`, the tables whose keys replace those of the experiment."""

EVERY = "all"

_CHANGES = "tables such as [study.smoke.all.experiment], of all experiments of the study or of one by its name"
_NAME = r"^[a-z][a-z0-9-]{0,39}$"
_TEXT = "text, in quotes"


class StudyTable(Table):
    """The table [[study]]: a question, the expected answer, and the experiments that answer it."""

    name: str = Field(pattern=_NAME, description="small letters, digits and - (it names the study in the report)")
    title: str = Field(min_length=1, description=_TEXT)
    question: str = Field(min_length=1, description=_TEXT)
    hypothesis: str = Field(min_length=1, description=_TEXT)
    expected: str = Field(min_length=1, description=_TEXT)
    experiments: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")], ...] = Field(
        description="a list of experiment files of the same folder, without .toml"
    )
    smoke: Changes = Field(default_factory=dict, description=_CHANGES)
    cluster: Changes = Field(default_factory=dict, description=_CHANGES)


class StudiesDocument(Table):
    """The file studies.toml."""

    study: tuple[StudyTable, ...] = Field(min_length=1, description="one [[study]] or more")


KEYS = {"study": keys(StudyTable)}


@dataclass(frozen=True)
class PaperStudy:
    """One question of the report, with the texts written before the runs, and its experiments at one scale."""

    name: str
    title: str
    question: str
    hypothesis: str
    expected: str
    experiments: tuple[Experiment, ...]


def load_studies(folder: Path, scale: str, only: Sequence[str] = ()) -> tuple[PaperStudy, ...]:
    """Read the studies of a folder (all, or those named in `only`) with their experiments at a scale.

    Raises InputError: what is wrong in which file, or the study that does not exist.
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
    """Return the tables of an experiment with keys replaced; a table that the experiment lacks is left out."""
    result = dict(data)
    for table, values in changes.items():
        # the validation names a value that is no table
        if isinstance(result.get(table), Mapping):
            result[table] = dict(values) if table in REPLACED_WHOLE else {**result[table], **values}
    return result
