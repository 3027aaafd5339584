"""The file that lists the studies of a report: what is asked of them, and what changes with the scale."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mc.experiment.tables import Table, keys

Changes = dict[str, dict[str, dict[str, Any]]]
"""By experiment, or `EVERY`, the tables that replace keys of its own."""

EVERY = "all"

_CHANGES = "tables such as [study.smoke.all.experiment], of all experiments of the study or of one by its name"
_NAME = r"^[a-z][a-z0-9-]{0,39}$"
_WORDS = "text, in quotes"


class StudyTable(Table):
    """[[study]]: a question, what is expected, and the experiments that answer it."""

    name: str = Field(pattern=_NAME, description="small letters, digits and - (it names the study in the report)")
    title: str = Field(min_length=1, description=_WORDS)
    question: str = Field(min_length=1, description=_WORDS)
    hypothesis: str = Field(min_length=1, description=_WORDS)
    expected: str = Field(min_length=1, description=_WORDS)
    experiments: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")], ...] = Field(
        description="a list of experiment files of the same folder, without .toml"
    )
    smoke: Changes = Field(default_factory=dict, description=_CHANGES)
    cluster: Changes = Field(default_factory=dict, description=_CHANGES)


class StudiesDocument(Table):
    """All of the file."""

    study: tuple[StudyTable, ...] = Field(min_length=1, description="one [[study]] or more")


KEYS = {"study": keys(StudyTable)}
