"""The study "scaling": powers that are known, and the section on a run of a few trials."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from mc.estimate.widths.scaling import Exponent
from mc.report.paper.scaling import power_claim, section
from mc.report.paper.section import Runs, Section


@pytest.fixture(scope="module")
def runs(small_runs: Callable[..., Runs]) -> Runs:
    common = {"experiment": {"trials": 6}, "widths": {"from": 1, "to": 3_000, "per_decade": 4}}
    changes = {
        "scaling-n": common | {"problem": {"n": [3, 5, 10]}},
        "scaling-psi": common | {"problem": {"noise_norm": [0, 1, 2]}},
    }
    return small_runs(changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_a_small_run(made: Section, runs: Runs, check_section: Callable[..., None]) -> None:
    check_section(made, "scaling", runs)
    assert [figure.name for figure in made.figures] == ["scaling-n", "scaling-psi"]


def test_a_rung_beyond_the_grid_has_no_power(made: Section) -> None:
    rows = [row for row in made.tables[0].rows if row[1:3] == ("both", "paper")]
    # With both layers trained paper takes tens of thousands of neurons even at n = 3.
    assert rows
    assert {row[4] for row in rows} == {"–"}


def test_the_residual_grows_with_the_noise(made: Section) -> None:
    residual = [float(row[2]) for row in made.tables[2].rows if row[0] == "ψ"]
    assert residual == sorted(residual)


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [((0.6, 0.9), "supported"), ((0.4, 0.9), "undecided"), ((1.1, 1.4), "contradicted"), ((0.1, 0.4), "contradicted")],
)
def test_a_power_is_judged_by_its_limits(limits: tuple[float, float], verdict: str) -> None:
    key = ("n", "hidden", "trial")
    own = Exponent("n", 0.7, limits, (0.5 * sum(limits), limits[1]), 1.0)
    point = SimpleNamespace(on_grid=True, width=SimpleNamespace(estimate=10.0), curve=SimpleNamespace(decisions=[0]))
    fits = SimpleNamespace(powers={key: own}, points={key: [point]})
    claim = power_claim("columns_claim", {key: (0.5, 1.0)}, fits, {"scaling-n": None}, 0.95)
    assert claim is not None
    assert claim.verdict == verdict
    assert bool(claim.explanation) == (verdict == "contradicted")
