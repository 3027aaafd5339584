"""The study "rare": the section on runs of a few particles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mc.estimate.rare.study import Rate
from mc.report.paper.rare import Failure, measure, rate_claim, section, small_claim
from mc.report.paper.section import Runs, Section


@pytest.fixture(scope="module")
def runs(small_runs: Callable[..., Runs]) -> Runs:
    few = {"particles": 100, "repetitions": 8, "per_block": 4}
    changes = {
        name: {"experiment": {"trials": 128}, "widths": {"values": widths}, "rare": few | {"widths": widths} | more}
        for name, widths, more in (
            ("rare-conditioning", [300, 400, 500], {"tilted": 50}),
            ("rare-softplus", [9, 18], {}),
            ("rare-sigmoid", [40, 70], {}),
        )
    }
    return small_runs(changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_small_runs(made: Section, runs: Runs, check_section: Callable[..., None]) -> None:
    check_section(made, "rare", runs)
    assert {figure.name for figure in made.figures} == {"rare-conditioning", "rare-softplus", "rare-sigmoid"}
    assert len(made.tables) == 3


def test_the_control_is_held_against_the_exact_law(made: Section) -> None:
    law = next(claim for claim in made.claims if claim.claim.startswith("softplus"))
    # P(Bin(9, 1/2) < 5) is one half and P(Bin(18, 1/2) < 5) 0.015: 800 networks see both, with intervals of 97.5 %.
    assert law.verdict == "not contradicted"


def failure(runs: Runs, name: str) -> Failure:
    return next(own for own in measure(runs) if own.run.name == name)


@pytest.mark.parametrize(
    ("times", "verdict"), [((9.0, 11.0), "supported"), ((4.0, 11.0), "undecided"), ((1.0, 4.0), "contradicted")]
)
def test_the_rate_is_judged_by_its_limits(runs: Runs, times: tuple[float, float], verdict: str) -> None:
    own = failure(runs, "rare-conditioning")
    assert own.study.theory is not None
    low, high = (at * own.study.theory.rate for at in times)
    rate = Rate(0.5 * (low + high), 0.1 * (high - low), (low, high), (300, 400, 500))
    claim = rate_claim(replace(own, study=replace(own.study, rate=rate)), 0.95)
    assert claim is not None
    assert claim.verdict == verdict
    assert bool(claim.explanation) == (verdict == "contradicted")


@pytest.mark.parametrize(
    ("interval", "warnings", "verdict"),
    [
        ((1e-8, 5e-7), (), "supported"),
        ((1e-8, 2e-6), (), "undecided"),
        ((2e-6, 5e-6), (), "contradicted"),
        ((1e-8, 5e-7), ("two estimates are apart",), "undecided"),
    ],
)
def test_a_small_probability_is_judged_by_its_limits_and_its_trust(
    runs: Runs, interval: tuple[float, float], warnings: tuple[str, ...], verdict: str
) -> None:
    own = failure(runs, "rare-sigmoid")
    last = replace(own.study.widths[-1], interval=interval, warnings=warnings)
    claim = small_claim(replace(own, study=replace(own.study, widths=(*own.study.widths[:-1], last))), 0.95)
    assert claim is not None
    assert claim.verdict == verdict
