"""The study "scaling": powers that are known, and the section on a run of a few trials."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import paper_cases as cases
import pytest

from mc.estimate.cells.factors import Point, power, widest
from mc.estimate.probability.counts import Counts, Decision
from mc.estimate.widths.crossings import crossing_width
from mc.estimate.widths.scaling import CellCurve, Exponent
from mc.report.paper.scaling import power_claim, section
from mc.report.paper.section import EMPTY, Runs, Section

WIDTHS = np.unique(np.round(np.geomspace(1, 100_000, 41))).astype(np.int64)
TRIALS = 200
SPREAD = 0.3


def point(rng: np.random.Generator, n: float, power_of_n: float, index: int) -> Point:
    """A cell whose draws are certified from a width on that is 20 n^power, with logistic spread of its logarithm."""
    starts = math.log(20.0) + power_of_n * math.log(n) + rng.logistic(scale=SPREAD, size=TRIALS)
    found = np.where(np.log(WIDTHS) >= starts[:, None], Decision.HOLDS, Decision.FAILS).astype(np.int8)
    at = crossing_width(WIDTHS, Counts.of(found), 0.5)
    scales = {"n": n, "m": 2.0, "sigma_A": 1.0, "psi": 1.0}
    return Point(scales, at, CellCurve(scales, WIDTHS, found, (index, 0)))


@pytest.mark.parametrize("true", [0.0, 1.0, 1.5])
def test_a_known_power_is_found(rng: np.random.Generator, true: float) -> None:
    found = [point(rng, n, true, i) for i, n in enumerate((3.0, 6.0, 12.0, 24.0, 48.0))]
    exponent = power(found, "n", "hidden", "paper", seed=1, level=0.999)
    assert exponent is not None
    # A logistic median of 200 draws has standard error 2 * 0.3/sqrt(200) = 0.042; log n spreads by 0.98 over 5 cells,
    # so that the slope has 0.042/(0.98 sqrt 5) = 0.019, and five of those are 0.1.
    assert exponent.estimate == pytest.approx(true, abs=0.1)
    low, high = widest(exponent)
    assert low <= true <= high


def test_widths_that_are_not_on_the_grid_are_left_out(rng: np.random.Generator) -> None:
    found = [point(rng, n, 2.0, i) for i, n in enumerate((3.0, 6.0, 1_000.0))]
    assert [p.on_grid for p in found] == [True, True, False]
    assert power(found, "n", "hidden", "paper", seed=1, level=0.95) is None


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    common = {"experiment": {"trials": 6}, "widths": {"from": 1, "to": 3_000, "per_decade": 4}}
    changes = {
        "scaling-n": common | {"problem": {"n": [3, 5, 10]}},
        "scaling-psi": common | {"problem": {"noise_norm": [0, 1, 2]}},
    }
    return cases.small_runs(tmp_path_factory.mktemp("scaling"), changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_a_small_run(made: Section, runs: Runs) -> None:
    cases.check_section(made, "scaling", runs)
    assert [figure.name for figure in made.figures] == ["scaling-n", "scaling-psi"]


def test_a_rung_beyond_the_grid_has_no_power(made: Section) -> None:
    rows = [row for row in made.tables[0].rows if row[1:3] == ("both", "paper")]
    # With both layers trained paper takes tens of thousands of neurons even at n = 3.
    assert rows
    assert {row[4] for row in rows} == {"–"}


def test_the_residual_grows_with_the_noise(made: Section) -> None:
    residual = [float(row[2]) for row in made.tables[2].rows if row[0] == "ψ"]
    assert residual == sorted(residual)


def test_without_a_trial_nothing_is_said() -> None:
    assert section(Runs({})).verdict == EMPTY.verdict


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
