"""The study "activations": what got stuck, counted by hand, and the section on runs of a few trials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mc.report.paper.activations import section
from mc.report.paper.section import Runs, Section

NAMES = ("activations-sigmoid-uniform", "activations-tanh-uniform", "activations-sigmoid-gaussian")
CHANGES = {"experiment": {"trials": 8}, "widths": {"values": [1, 3, 6, 16, 40, 100, 1_000]}}


@pytest.fixture(scope="module")
def runs(small_runs: Callable[..., Runs]) -> Runs:
    changes = dict.fromkeys(NAMES, CHANGES)
    changes["activations-stuck-sin"] = CHANGES | {"flow": {"horizon": 10.0}}
    return small_runs(changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_small_runs(made: Section, runs: Runs, check_section: Callable[..., None]) -> None:
    check_section(made, "activations", runs)
    assert [figure.name for figure in made.figures] == ["activations-medians", "activations-stuck"]


def test_gaussian_weights_have_no_paper_rung(made: Section) -> None:
    rows = [row for row in made.tables[0].rows if row[1] == "gaussian"]
    assert rows
    # Its entries have no bound, hence no published Lipschitz constant: never certified, on no grid.
    assert all(row[-1].startswith(("–", ">")) for row in rows)


def test_every_example_can_be_replayed(made: Section) -> None:
    examples = made.tables[-1].rows
    assert examples
    assert all("--trial" in row[-1] and "activations-stuck-sin" in row[-1] for row in examples)
