"""What a study of the paper's report is made of: its runs go in, claims, figures and words come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mc.errors import InputError
from mc.estimate.cells.study import Study, study_run
from mc.report.figures import Figure
from mc.store import blocks as store
from mc.store.results import Results

DIGITS = 7
"""Significant digits of the numbers beside a figure: the page holds them all."""


@dataclass(frozen=True)
class Run:
    """One experiment of a study that has been run.

    Parameters
    ----------
    name : str
        Of the experiment, which is also the stem of its file.
    folder : Path
    """

    name: str
    folder: Path

    @cached_property
    def results(self) -> Results:
        """What is stored; arrays are read when they are asked for."""
        return store.load(self.folder)

    @cached_property
    def study(self) -> Study:
        """What is estimated of it."""
        return study_run(self.results)


@dataclass(frozen=True)
class Runs:
    """The runs a section is written from.

    Parameters
    ----------
    by_name : mapping of str to Run
    level : float
        Confidence of every interval of the page.
    """

    by_name: Mapping[str, Run]
    level: float = 0.95

    def __getitem__(self, name: str) -> Run:
        """The run of an experiment.

        Raises
        ------
        InputError
            When it has not been run.
        """
        if name not in self.by_name:
            raise InputError(f"{name}: this experiment of the report has not been run; `dipmc reproduce` runs it")
        return self.by_name[name]


@dataclass(frozen=True)
class PaperClaim:
    """A row of the table of claims.

    Parameters
    ----------
    claim : str
        The statement, with its numbers.
    verdict : str
        In the words of the report: supported, contradicted, undecided, vacuous, violated, not violated in N,
        not contradicted.
    interval : str
        The interval it is from, in words with its confidence; empty where the verdict needs none.
    trials : int
        Distinct trials it rests on.
    figure : str
        Name of a figure of the section.
    experiment : str
        Name of the experiment to run again.
    address : (cell, trial or None, width) or None
        The tightest trial, or the tightest point where no single trial is meant.
    explanation : str
        Why, where the verdict contradicts the statement or a measured number exceeds a bound.
    """

    claim: str
    verdict: str
    interval: str
    trials: int
    figure: str
    experiment: str
    address: tuple[int, int | None, int] | None = None
    explanation: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a section, every entry in words.

    Parameters
    ----------
    title : str
    header : tuple of str
    rows : tuple of tuple of str
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A study as the page shows it.

    Parameters
    ----------
    verdict : str
        The answer to the question of the study, in one or two sentences with numbers.
    claims : tuple of PaperClaim
        What the study decides beyond the claims of the registry, which the page takes from the runs itself.
    figures : tuple of Figure
        Names start with the name of the study.
    tables : tuple of Table
    meaning : tuple of str
        What it means: paragraphs for a reader who has seen nothing else, numbers from the runs.
    """

    verdict: str
    claims: tuple[PaperClaim, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = field(default=())
    meaning: tuple[str, ...] = field(default=())
