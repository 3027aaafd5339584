"""The study "rare": the section on runs of a few particles."""

from __future__ import annotations

import paper_cases as cases
import pytest

from mc.report.paper.rare import section
from mc.report.paper.section import Runs, Section


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    few = {"particles": 100, "repetitions": 8, "per_block": 4}
    changes = {
        name: {"experiment": {"trials": 128}, "widths": {"values": widths}, "rare": few | {"widths": widths} | more}
        for name, widths, more in (
            ("rare-conditioning", [300, 400, 500], {"tilted": 50}),
            ("rare-softplus", [9, 18], {}),
            ("rare-sigmoid", [40, 70], {}),
        )
    }
    return cases.small_runs(tmp_path_factory.mktemp("rare"), changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_small_runs(made: Section, runs: Runs) -> None:
    cases.check_section(made, "rare", runs)
    assert {figure.name for figure in made.figures} == {"rare-conditioning", "rare-softplus", "rare-sigmoid"}
    assert len(made.tables) == 3


def test_the_control_is_held_against_the_exact_law(made: Section) -> None:
    law = next(claim for claim in made.claims if claim.claim.startswith("softplus"))
    # P(Bin(9, 1/2) < 5) is one half and P(Bin(18, 1/2) < 5) 0.015: 800 networks see both, with intervals of 97.5 %.
    assert law.verdict == "not contradicted"


def test_without_an_estimate_nothing_is_said() -> None:
    assert section(Runs({})).verdict == "No estimate is there yet."
