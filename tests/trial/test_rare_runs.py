"""[rare] in a file, a run and a report: refused with the fix, resumed, verified, drawn."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mc.cli.main import main
from mc.errors import InputError
from mc.estimate.cells.study import study_run
from mc.estimate.rare.study import rare_study
from mc.experiment.experiment import Experiment
from mc.model import activations
from mc.report.page import report_results
from mc.runner.execute import run
from mc.store.results import load

TABLES: dict[str, Any] = {
    "experiment": {"name": "rare", "seed": 4, "trials": 24, "block_size": 8},
    "problem": {"n": 2, "m": 2, "operator": "orthonormal", "resample": "cell"},
    "network": {"mode": "hidden", "activation": "sigmoid"},
    "widths": {"values": [8, 24, 48, 72]},
    "certificates": {"ladder": ["trial", "exact"]},
    "rare": {
        "margin": "lambda_min", "threshold": 0.5, "widths": [24, 48, 72], "particles": 100, "repetitions": 12,
        "per_block": 5, "moves": 12,
    },
}  # fmt: skip


def tables(**changes: dict[str, Any] | None) -> dict[str, Any]:
    found = copy.deepcopy(TABLES)
    for table, values in changes.items():
        if values is None:
            found.pop(table)
        else:
            found[table] = {**found.get(table, {}), **values}
    return {name: {key: value for key, value in values.items() if value is not None} for name, values in found.items()}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rare": {"margin": "lambda"}}, "[rare] margin: 'lambda' is unknown; did you mean 'lambda_min'?"),
        ({"rare": {"margin": None}}, "[rare] margin: is missing; write margin = one of lambda_min"),
        ({"rare": {"partcles": 3}}, "[rare] partcles: unknown key; did you mean 'particles'?"),
        ({"rare": {"particles": 10}}, "[rare] particles: 10 is out of range; use a whole number from 50"),
        ({"rare": {"widths": [24, 50]}}, "[rare] widths: 50 is not among [widths] (nearest 48); use 48 or add it"),
        ({"rare": {"widths": [48, 24]}}, "[rare] widths: 24 after 48: widths must be increasing"),
        ({"rare": {"mode": "hidden"}}, "[rare] mode: belongs to the margins paper, trial, sharp"),
        ({"rare": {"margin": "sharp"}}, "[rare] mode: is missing; margin 'sharp' needs it"),
        ({"rare": {"margin": "sharp", "mode": "both"}}, "[rare] mode: 'both' is not a mode of [network]; use 'hidden'"),
        ({"rare": {"margin": "output_norm", "threshold": None}}, "write it as a multiple of C_phi |A|_F"),
        ({"rare": {"margin": "exact"}}, "[rare] threshold: belongs to the other margins"),
        (
            {"rare": {"margin": "exact", "threshold": None}, "network": {"activation": "gelu"}},
            "[rare] margin: 'exact' has no margin for the activation 'gelu'",
        ),
        (
            {"rare": {"margin": "output_norm"}, "problem": {"resample": "trial"}},
            "[rare] margin: 'output_norm' is a failure of one problem, and each trial has its own; write resample",
        ),
        ({"rare": {"margin": "output_norm", "tilted": 5}}, "[rare] tilted: 5: margin 'output_norm' has no tilted law"),
        (
            {"sampling": {"decide": True}, "experiment": {"trials": None}},
            "[rare] excludes [sampling]: repetitions go by trials; write trials = a number",
        ),
    ],
)
def test_mistakes_are_refused_with_the_fix(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        Experiment.from_dict(tables(**changes), "e.toml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_frozen_copy_reads_back_and_the_identity_knows_the_table() -> None:
    made = Experiment.from_dict(tables())
    again = Experiment.from_text(made.to_toml())
    cell = made.cells()[0]
    assert again == made
    assert again.identity(cell) == made.identity(cell)
    assert made.document.rare is not None
    assert made.document.rare.threshold == 0.5
    other = Experiment.from_dict(tables(rare={"moves": 13}))
    without = Experiment.from_dict(tables(rare=None))
    assert len({e.identity(cell) for e in (made, other, without)}) == 3
    assert "rare" not in without.identity_fields(cell)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rare") / "run"
    assert not run(Experiment.from_dict(tables()), folder, backend="inline").failures
    return folder


def test_repetitions_stand_in_the_first_trials_of_the_first_blocks(finished: Path) -> None:
    cell = load(finished).cells[0]
    there = np.isfinite(cell["rare_probability"])
    assert not there[:, 0].any()
    np.testing.assert_array_equal(np.flatnonzero(there[:, 1]), [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 16, 17])
    np.testing.assert_array_equal(cell["rare_direct"] >= 0, there)
    assert {"rare_probability", "rare_levels"} <= set(cell.to_xarray())


def test_a_run_resumes_to_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    experiment = Experiment.from_dict(tables())
    run(experiment, tmp_path, shard=(1, 3), backend="inline")
    assert len(list((tmp_path / "blocks").glob("*.h5"))) == 1
    run(experiment, tmp_path, jobs=2)
    for name in ("rare_probability", "rare_direct", "rare_acceptance", "sigma_0"):
        np.testing.assert_array_equal(load(tmp_path).cells[0][name], load(finished).cells[0][name])
    with pytest.raises(InputError, match=r"rare\.moves is 12 there and 13 here; choose another folder"):
        run(Experiment.from_dict(tables(rare={"moves": 13})), tmp_path, backend="inline")


def test_verify_replays_a_block_with_repetitions(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finished), "--replay", "3"]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_plan_says_what_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for repetitions, words in ((12, "12 repetitions of 100"), (99, "15 repetitions (99 asked for: more trials")):
        path = tmp_path / f"{repetitions}.toml"
        path.write_text(Experiment.from_dict(tables(rare={"repetitions": repetitions})).to_toml(), encoding="utf-8")
        assert main(["plan", str(path)]) == 0
        assert words in capsys.readouterr().out


def test_the_report_shows_the_failure(finished: Path, tmp_path: Path) -> None:
    page = report_results(load(finished), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "A rare failure, width by width" in text
    assert (tmp_path / "c000-rare-lambdamin.svg").is_file()
    with (tmp_path / "c000-rare.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["width"] for row in rows] == ["24", "48", "72"]
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["rare"][0]
    assert found["class"] == "approximate"
    assert found["theory"] == "delta_1 (matrix Chernoff)"
    for row, entry in zip(rows, found["widths"], strict=True):
        assert float(row["probability"]) == entry["probability"]
        assert entry["lower"] <= entry["probability"] <= entry["upper"]


def test_the_study_counts_the_trials_of_the_run(finished: Path) -> None:
    results = load(finished)
    study = study_run(results)
    found = rare_study(results.cells[0], study.experiment, 0.95, study.cells[0].theory)
    assert found is not None
    limit = 0.5 * activations.get("sigmoid").moment_dphi ** 2
    fails = (np.square(results.cells[0]["sigma_0"][0]) <= limit).sum(axis=0)[1:]
    assert [w.counted.fails for w in found.widths if w.counted is not None] == fails.tolist()
    assert all(w.repetitions == 12 and w.direct.trials == 1200 for w in found.widths)


@pytest.mark.parametrize(
    ("rare", "network", "count"),
    [
        ({"margin": "exact", "threshold": None}, {}, True),
        ({"margin": "exact", "threshold": None}, {"activation": "softplus"}, True),
        ({"margin": "sharp", "mode": "both", "threshold": None}, {"mode": ["hidden", "both"]}, False),
        ({"margin": "trial", "mode": "hidden", "threshold": 0.001}, {}, True),
        ({"margin": "activation_norm_low", "threshold": 0.9, "tilted": 100}, {}, False),
        ({"margin": "activation_norm_high", "threshold": 1.1, "tilted": 100}, {}, False),
        ({"margin": "output_norm", "threshold": 2.0}, {"output_law": "rademacher"}, False),
    ],
)
def test_every_margin_runs_to_a_report(
    rare: dict[str, Any], network: dict[str, Any], count: bool, tmp_path: Path
) -> None:
    changes = {"rare": {**rare, "widths": [8, 24]}, "network": network, "certificates": {"ladder": ["trial", "exact"]}}
    assert not run(Experiment.from_dict(tables(**changes)), tmp_path / "run", backend="inline").failures
    results = load(tmp_path / "run")
    study = study_run(results)
    found = rare_study(results.cells[0], study.experiment, 0.95, study.cells[0].theory)
    assert found is not None
    assert [w.width for w in found.widths] == [8, 24]
    for w, bound in zip(found.widths, found.theory.failure if found.theory else (1.0, 1.0), strict=True):
        # an upper bound holds for the truth, which is below a lower limit with probability 1/40
        assert found.theory is None or found.theory.exact or w.interval[0] <= bound
        # the run's own trials and the estimate speak of one probability: intervals at 95 % that do not meet are rare
        if count and w.counted is not None:
            assert w.counted.interval[0] <= w.interval[1]
            assert w.interval[0] <= w.counted.interval[1]
    assert report_results(results, tmp_path / "report").is_file()
