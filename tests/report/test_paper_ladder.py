"""The study "ladder": factors between rungs at known widths, and the section on a run of a few trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from mc.estimate.cells.factors import Rung, gaps
from mc.report.paper.ladder import section, step_claim
from mc.report.paper.section import Runs, Section

GRID = [1, 30, 100, 1_000, 10_000, 30_000]


@pytest.fixture(scope="module")
def runs(small_runs: Callable[..., Runs]) -> Runs:
    changes = {"experiment": {"trials": 6}, "widths": {"values": GRID}}
    return small_runs({"ladder-n10": changes, "ladder-n20": changes})


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_a_small_run(made: Section, runs: Runs, check_section: Callable[..., None]) -> None:
    check_section(made, "ladder", runs)
    medians, steps, looseness = made.tables
    assert {row[0] for row in medians.rows} == {"n = 10, m = 5", "n = 20, m = 10"}
    # Six draws at 30 000 neurons: paper with both layers trained is far beyond (theory §7.6: 170 000 at n = 10).
    assert [r[3] for r in medians.rows if r[1:3] == ("both", "paper")] == ["> 30\u202f000"] * 2
    assert [r[3] for r in medians.rows if r[1:3] == ("both", "conserved")] == ["1"] * 2
    assert any("linearisation" in row for row in steps.rows)
    assert looseness.rows
    # A grid that ends below n = 40 says nothing of the sizes from 40 on.
    assert not any("from n = 40 on" in claim.claim for claim in made.claims)


def test_widths_come_in_the_order_of_the_ladder(made: Section) -> None:
    figure = next(f for f in made.figures if f.name == "ladder-medians")
    rows = [line.split(",") for line in figure.table.splitlines()[1:]]
    for size in {row[0] + row[1] for row in rows}:
        for mode in ("hidden", "both"):
            # the label holds a comma, so its two halves are two columns here
            widths = [float(row[-4]) for row in rows if row[0] + row[1] == size and mode in row]
            measured = widths[:-1]
            assert measured == sorted(measured)


@pytest.mark.parametrize(
    ("trial", "paper", "verdict"),
    [
        ((900.0, 1000.0), (7000.0, 8000.0), "supported"),  # 7 to 8.9
        ((900.0, 1000.0), (5000.0, 8000.0), "undecided"),  # 5 to 8.9
        ((900.0, 1000.0), (2000.0, 3000.0), "contradicted"),  # 2 to 3.3
        ((900.0, 1000.0), (20_000.0, 30_000.0), "contradicted"),  # 20 to 33
        ((900.0, 1000.0), (7000.0, math.inf), "undecided"),
    ],
)
def test_a_step_is_judged_by_the_limits_of_its_two_widths(
    trial: tuple[float, float], paper: tuple[float, float], verdict: str
) -> None:
    low = Rung("trial", sum(trial) / 2.0, trial, 100_000)
    high = Rung("paper", min(sum(paper) / 2.0, math.inf), paper, 100_000)
    step = next(gap for gap in gaps((low, high)) if gap.upper.name == "paper")
    study = SimpleNamespace(trials=10, cell=SimpleNamespace(index=0))
    size = SimpleNamespace(label="n = 1", gaps=lambda _: [step], study=study, run=SimpleNamespace(name="one"))
    claim = step_claim([size], 0.95)
    assert claim is not None
    assert claim.verdict == verdict
    assert bool(claim.explanation) == (verdict == "contradicted")
