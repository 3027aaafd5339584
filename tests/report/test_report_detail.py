"""The rest of the report: thresholds, neighbouring rungs, times to convergence, scaling laws."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import FLOW_WIDTHS, WIDTHS, cell, page, results, strict

from mc.estimate import study_run
from mc.estimate.cells.detail import cell_detail
from mc.estimate.flows.survival import convergence_times
from mc.report.flow_figures import times
from mc.report.page import report_results
from mc.report.scaling_figures import scaling
from mc.report.tables import pairs_table, thresholds_table
from mc.store.results import CellResults
from mc.theory.codes import Exact, Outcome


def timed(index: int = 0, seed: int = 5, **problem: Any) -> CellResults:
    """A cell whose flows have stop times: a third certified at time 0, the rest by and by."""
    made = cell(index, seed=seed)
    outcome = made.data["outcome"]
    outcome[0, 1::10, 0] = Outcome.NOT_CONVERGED_CERTIFIED
    stop = np.random.default_rng(seed).exponential(10.0, outcome.shape)
    stop[:, ::3] = 0.0
    stop[outcome == Outcome.HORIZON] = 1e3
    made.data["stop_time"] = stop
    made.problem.update(problem)  # type: ignore[attr-defined]
    return made


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_results(results(timed()), tmp_path_factory.mktemp("detail")).parent


def test_thresholds_name_the_widths_and_survive_separation() -> None:
    made = timed()
    half = len(WIDTHS) // 2
    made.data["exact"][:] = np.where(np.arange(len(WIDTHS)) < half, Exact.CANNOT, Exact.REACHES_ZERO)
    study = study_run(results(made))
    detail = cell_detail(made, study.experiment)
    table = dict(thresholds_table(study.cells[0], detail))
    assert list(table) == ["exact", "conserved", "sharp", "trial", "paper"]
    assert all(len(entries) == 6 for entries in table.values())
    low, high = (f"{WIDTHS[i]:,}".replace(",", "\u202f") for i in (half - 1, half))
    # 60 of 60 against 0 of 60: P >= 0.9 is supported from the next width on (0.025^(1/60) = 0.94), 0.99 is not
    assert [interval for _, interval in table["exact"][:3]] == [f"{low} to {high}", f"{low} to {high}", f"above {low}"]
    assert table["conserved"][0][0] == "–"  # not of this mode
    assert "–" not in {label for label, _ in table["sharp"]}


def test_neighbouring_rungs_are_compared_on_the_same_draws(report: Path) -> None:
    study = study_run(results(timed()))
    found = pairs_table(cell_detail(study.cells[0].cell, study.experiment), 0.95)
    pair = next(row for row in found if (row["strong"], row["weak"], row["mode"]) == ("sharp", "trial", "hidden"))
    assert re.fullmatch(r"\d+ of 14 widths, k = .* to .*", pair["where"])
    assert re.fullmatch(r"\d+ against 0 of 60 draws at k = .*", pair["most"])
    assert pair["against"] == "nowhere"
    assert pair["odds"].startswith("at least ")
    assert "Neighbouring certificates on the same draws" in page(report)


def test_the_figure_of_the_times_has_its_numbers(report: Path) -> None:
    assert {f"c000-times-{mode}.svg" for mode in ("hidden", "both")} <= {path.name for path in report.iterdir()}
    assert "Kaplan-Meier" in page(report)
    found = [row for row in rows(report / "c000-times.csv") if row["mode"] == "both"]
    assert {int(row["width"]) for row in found} == set(map(int, FLOW_WIDTHS))
    first = next(row for row in found if int(row["width"]) == FLOW_WIDTHS[0])
    assert float(first["time"]) == 0.0
    # all 60 are events, and every third of them at time 0
    assert (int(first["trials"]), int(first["events"]), float(first["converged"])) == (60, 60, pytest.approx(1 / 3))
    last = next(row for row in found[::-1] if int(row["width"]) == FLOW_WIDTHS[1])
    assert int(last["censored"]) == 6  # the horizon, at every eleventh trial


def test_trials_certified_not_to_converge_never_do(report: Path) -> None:
    hidden = [row for row in rows(report / "c000-times.csv") if row["mode"] == "hidden"]
    never = int(hidden[0]["never"])
    assert never == 6
    own = [row for row in hidden if row["width"] == hidden[0]["width"]]
    assert float(own[-1]["converged"]) <= 1.0 - never / 60 + 1e-12


def test_no_bands_where_the_number_of_trials_followed_the_data() -> None:
    study = study_run(results(timed()))
    found = {"both": [convergence_times(np.zeros(9, np.int8), np.arange(9.0), 100)]}
    fixed, adaptive = (times(study.cells[0], found, which) for which in (False, True))
    assert fixed is not None
    assert adaptive is not None
    assert "Shaded" in fixed.caption
    assert "Shaded" not in adaptive.caption
    assert times(study.cells[0], {}, adaptive=False) is None
    assert "by t = 4 at width 100 with both layers trained" in fixed.title


def grid(shift: float) -> list[CellResults]:
    """Cells whose margins are those of a width times n^-shift, n doubling."""
    made = []
    for index, n in enumerate((5, 10, 20, 40, 80)):
        own = timed(index, seed=index, n=n, m=5)
        for name in ("t", "loss", "bound_rate", "outcome", "stop_time", "exact", "verdict_rate_sharp"):
            del own.data[name]  # what is not looked at takes time to draw
        for name in ("margin_sharp", "margin_trial", "margin_paper"):
            own.data[name] = own.data[name] * (n / 10.0) ** (-shift / 2.0)
        made.append(own)
    return made


def test_a_scaling_law_finds_the_exponent_that_was_put_in(tmp_path: Path) -> None:
    run = results(*grid(1.0), law="gaussian")
    across = scaling(study_run(run))
    assert across is not None
    assert (across.names, across.held) == (("n",), ("m", "sigma_A", "psi"))
    law = next(law for law in across.laws if (law.event, law.mode) == ("trial", "hidden"))
    # margins grow like sqrt(k/n): exponent 1; log k* is known to about 0.6/sqrt(60) in a cell, n spans log 16
    assert law.exponents[0].estimate == pytest.approx(1.0, abs=0.2)
    assert "conserved" not in {law.event for law in across.laws}  # holds always: there is no k*
    folder = report_results(run, tmp_path).parent
    assert "Across the cells" in page(folder)
    assert (folder / "all-collapse-hidden-sharp.svg").is_file()
    collapsed = rows(folder / "all-collapse.csv")
    assert {row["cell"] for row in collapsed} == {f"n = {n}" for n in (5, 10, 20, 40, 80)}
    assert {law["event"] for law in strict(folder)["scaling"]} == {law.event for law in across.laws}


def test_fewer_cells_or_cells_alike_have_no_law() -> None:
    assert scaling(study_run(results(*grid(1.0)[:3], law="gaussian"))) is None
    assert scaling(study_run(results(*grid(0.0)[1:2] * 4, law="gaussian"))) is None


def test_the_summary_has_the_thresholds(report: Path) -> None:
    found = {(t["mode"], t["event"], t["p"]): t for t in strict(report)["thresholds"]}
    assert found["hidden", "sharp", 0.5]["low"] < 1500 <= found["hidden", "sharp", 0.5]["high"]
    assert found["hidden", "paper", 0.99]["method"] == "clopper-pearson"
