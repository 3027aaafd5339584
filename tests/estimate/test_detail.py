"""The rest of what is estimated of a cell, from stored arrays, equal to the last digit each time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stored_cells import cell as stored_cell

from mc.estimate import study_run
from mc.estimate.cells.detail import cell_detail
from mc.estimate.claims.run_findings import run_findings
from mc.estimate.widths.scaling import cell_curve
from mc.theory.codes import Exact, Outcome

WIDTHS = np.array([10, 20, 40, 80, 160])


@pytest.fixture
def cell(rng: np.random.Generator) -> Any:
    u = rng.normal(size=(60, 1))
    margin = np.exp(np.log(WIDTHS / 40) + 0.4 * u)
    exact = np.where(margin > 0.5, Exact.REACHES_ZERO, Exact.CANNOT).astype(np.int8)
    outcome = np.where(exact == Exact.REACHES_ZERO, Outcome.CONVERGED_CERTIFIED, Outcome.HORIZON).astype(np.int8)
    data = {
        "margin_trial": margin[None],
        "margin_sharp": 1.4 * margin[None],
        "exact": exact,
        "outcome": outcome[None],
        "stop_time": np.where(outcome == Outcome.HORIZON, 50.0, 1.0 / margin)[None],
        "sigma_A": np.ones(60),
        "psi_0": np.full((60, 5), 2.0),
        "computed": np.ones((60, 5), dtype=np.int8),
    }
    return stored_cell(("hidden",), tuple(WIDTHS), **data)


EXPERIMENT: dict[str, Any] = {"experiment": {"seed": 5, "trials": 60}, "network": {"activation": "sigmoid"}}


def test_a_cell_has_all_of_it(cell: Any) -> None:
    found = cell_detail(cell, EXPERIMENT)
    at = ("hidden", "trial")
    assert [c.p for c in found.crossings[at]] == [0.5, 0.9, 0.99]
    low, high = found.crossings[at][0].interval
    assert low < 40 <= high
    widths, pair = found.pairs["hidden", "trial", "sharp"]
    assert widths.tolist() == WIDTHS.tolist()
    assert pair.only_second.tolist() == [0] * 5  # the stronger rung is never behind
    assert pair.only_first.sum() > 0
    assert len(found.times["hidden"]) == 5
    assert found.times["hidden"][-1].events == 60


def test_sampling_asks_for_time_uniform_intervals(cell: Any) -> None:
    adaptive = {**EXPERIMENT, "sampling": {"decide": True, "max_trials": 60}}
    assert cell_detail(cell, adaptive).crossings["hidden", "trial"][0].method == "beta-binomial"
    text = "[experiment]\nseed = 5\n[sampling]\ndecide = true\nmax_trials = 60\n"
    study = study_run(SimpleNamespace(experiment_text=text, attrs={}, cells=(cell,)))
    fixed = study_run(SimpleNamespace(experiment_text="[experiment]\ntrials = 60\n", attrs={}, cells=(cell,)))
    one, other = (s.cells[0].curves["hidden", "trial"] for s in (study, fixed))
    assert {str(e.method_class) for e in one.estimates()} == {"time-uniform"}
    assert {str(e.method_class) for e in other.estimates()} == {"exact"}
    assert np.all(one.lower <= other.lower)
    rates = [next(f for f in run_findings(s).raw if f.name == "trial-sharp").upper for s in (study, fixed)]
    assert rates[0] > rates[1]  # the violation rate is limited by a sequence as well


def test_the_scales_of_a_cell_are_medians(cell: Any) -> None:
    found = cell_curve(cell, "trial", "hidden")
    assert found is not None
    assert found.scales == {"n": 10.0, "m": 5.0, "sigma_A": 1.0, "psi": 2.0}
    assert cell_curve(cell, "paper", "hidden") is None
