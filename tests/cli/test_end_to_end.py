"""Whole runs of the true computation: stopped, resumed, in parallel, extended; and bounds against frequencies."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from block_stub import datasets
from scipy.stats import beta

from mc.cli.main import main
from mc.experiment.experiment import Experiment
from mc.model import activations, losses
from mc.runner.execute import run
from mc.runner.plan import load_frozen
from mc.store.layout import field_of
from mc.store.results import CellResults, load
from mc.theory.bounds import p_theory
from mc.theory.codes import FORMS, MODES, Exact
from mc.theory.constants import Setting

ROOT = Path(__file__).parents[2]
TABLES: dict[str, dict[str, Any]] = {
    "experiment": {"name": "whole", "seed": 11, "trials": 31, "block_size": 2},
    "problem": {"n": 4, "m": 2, "operator": "gaussian", "noise": 0.1},
    "network": {"mode": list(MODES), "d": 20},
    "widths": {"values": [3, 16, 64, 1100]},
    "flow": {"widths": [3, 64], "save": {"trials": 3, "times": 6}},
}


def tables(**changes: Any) -> dict[str, dict[str, Any]]:
    """The tables with keys ``table__key`` changed."""
    found = copy.deepcopy(TABLES)
    for name, value in changes.items():
        table, key = name.split("__")
        found[table][key] = value
    return found


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run at once, by one process."""
    folder = tmp_path_factory.mktemp("direct") / "run"
    assert run(Experiment.from_dict(TABLES), folder).failures == ()
    return folder


def same(one: Path, other: Path) -> None:
    """Every dataset equal, bit for bit."""
    found, expected = datasets(one / "results.h5"), datasets(other / "results.h5")
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def test_the_run_holds_all_that_was_asked(direct: Path) -> None:
    (cell,) = load(direct).cells
    assert load(direct).attrs["complete"] == 1
    assert cell["outcome"].shape == (2, 31, 2)
    assert (cell["outcome"] >= 0).all()
    assert np.isfinite(cell["loss"]).any(axis=-1).all()
    assert cell["t"].shape == (2, 3, 2, 6)
    # both answers occur, or equality of the runs below would say little of the limit
    assert set(np.unique(cell["exact"])) == {Exact.REACHES_ZERO, Exact.CANNOT}


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_bits(direct: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "whole.toml", tmp_path / "run"
    file.write_text(tomli_w.dumps(TABLES))
    started = subprocess.Popen(
        [sys.executable, "-m", "mc", "run", str(file), "-o", str(folder), "-j", "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not any(folder.glob("blocks/*.h5")):
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130, (out, err)
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("whole: ")]  # those are progress
    assert len(lines) == 1, err
    assert lines[0].startswith("dipmc: stopped by SIGINT: ")
    assert lines[0].endswith("of 16 missing blocks are written; the same command resumes")
    written = {path: path.read_bytes() for path in (folder / "blocks").iterdir()}
    assert 0 < len(written) < 16
    assert f": {len(written)} of 16" in lines[0]
    assert not any(path.name.startswith(".") for path in written)  # the blocks in work were finished
    assert not (folder / "results.h5").exists()
    assert main(["run", str(file), "-o", str(folder), "--quiet"]) == 0
    same(folder, direct)
    assert all(path.read_bytes() == content for path, content in written.items())


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(direct: Path, tmp_path: Path) -> None:
    run(Experiment.from_dict(TABLES), tmp_path, jobs=2)
    same(tmp_path, direct)


def restricted(cell: CellResults, name: str, trials: int, widths: list[int], flow_widths: list[int]) -> bytes:
    """The bytes of a dataset at some trials and widths only."""
    array = cell[name]
    kept = {
        "trial": np.arange(trials),
        "width": np.searchsorted(cell.widths, widths),
        "flow_width": np.searchsorted(cell.flow_widths, flow_widths),
    }
    for axis, dim in enumerate(field_of(name).dims):
        if dim in kept:
            array = array.take(kept[dim], axis)
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.slow
def test_what_is_added_later_changes_nothing_that_was_there(direct: Path, tmp_path: Path) -> None:
    # the widest of the first runs is below a chunk of neurons, the widest in the end is above
    small = {"trials": 7, "widths": [3, 64], "flow_widths": [64]}
    steps = [
        {},
        {"experiment__trials": 31},
        {"experiment__trials": 31, "flow__widths": [3, 64]},
        {"experiment__trials": 31, "flow__widths": [3, 64], "widths__values": [3, 16, 64, 1100]},
    ]
    first: dict[str, bytes] = {}
    for number, changes in enumerate(steps):
        begun = {"experiment__trials": 7, "widths__values": [3, 64], "flow__widths": [64]}
        run(Experiment.from_dict(tables(**{**begun, **changes})), tmp_path)
        (cell,) = load(tmp_path).cells
        names = [name for name in cell.data if not name.endswith("trials_present")]
        found = {name: restricted(cell, name, **small) for name in names}
        first = first or found
        assert found.keys() == first.keys()
        assert [name for name in found if found[name] != first[name]] == [], number
    same(tmp_path, direct)
    assert load_frozen(tmp_path) == load_frozen(direct)


def test_a_run_of_fewer_trials_and_widths_is_a_part_of_the_larger(direct: Path, tmp_path: Path) -> None:
    run(Experiment.from_dict(tables(experiment__trials=3, widths__values=[16, 64], flow__widths=[64])), tmp_path)
    few, many = load(tmp_path).cells[0], load(direct).cells[0]
    for name in few.data:
        if not name.endswith("trials_present"):
            part = {"trials": 3, "widths": [16, 64], "flow_widths": [64]}
            assert restricted(few, name, **part) == restricted(many, name, **part), name


# bounds and frequencies


@pytest.fixture(scope="module")
def frequencies(tmp_path_factory: pytest.TempPathFactory) -> CellResults:
    """Many trials of a problem so small that the bounds are far from vacuous at widths one can afford."""
    experiment = Experiment.from_dict(
        {
            "experiment": {"name": "bounds", "seed": 1, "trials": 512},
            "problem": {"n": 2, "m": 1, "operator": "orthonormal", "resample": "cell"},
            "network": {"mode": list(MODES)},
            "widths": {"values": [30, 100, 200, 400, 1000, 2000, 4000, 8000, 16_000, 30_000]},
            "certificates": {"ladder": ["paper", "trial", "sharp"]},
        }
    )
    folder = tmp_path_factory.mktemp("bounds")
    run(experiment, folder)
    return load(folder).cells[0]


def setting(cell: CellResults) -> Setting:
    facts = {name: float(cell[name][0]) for name in ("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y")}
    return Setting(
        cell.problem["n"],
        cell.problem["m"],
        **facts,
        loss=losses.get("mse"),
        activation=activations.get("sigmoid"),
        entry_bound=np.sqrt(3.0),
        subgaussian=True,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_no_frequency_contradicts_its_bound(frequencies: CellResults, mode: str, form: str) -> None:
    widths, trials = frequencies.widths, frequencies.trials
    holds = (frequencies[f"margin_{form}"][frequencies.modes.index(mode)] > 1.0).sum(axis=0)
    bound = p_theory(setting(frequencies), mode, form, widths)
    # one-sided Clopper-Pearson at 1e-3 over all widths: a true bound fails here once in a thousand seeds
    upper = np.where(holds == trials, 1.0, beta.ppf(1 - 1e-3 / widths.size, holds + 1, np.maximum(trials - holds, 1)))
    assert (upper >= bound).all(), (widths, holds, bound)
    # not an empty statement: the bound promises something, and somewhere the certificate fails
    assert bound.max() > 0.5
    assert holds.min() < trials


@pytest.mark.parametrize("mode", MODES)
def test_the_ladder_holds_trial_by_trial(frequencies: CellResults, mode: str) -> None:
    at = frequencies.modes.index(mode)
    paper, trial, sharp = (frequencies[f"margin_{rung}"][at] > 1.0 for rung in ("paper", "trial", "sharp"))
    assert not (paper & ~trial).any()
    assert not (trial & ~sharp).any()
    # each step is strict somewhere
    assert paper.sum() < trial.sum() < sharp.sum()
    needed, allowed = frequencies["radius_needed"][at], frequencies["radius_trial"][at]
    # R' < R iff 2 R' Lip_R' < sigma_0 (theory §4)
    np.testing.assert_array_equal(trial, needed < allowed)


def test_flows_without_saved_trajectories(tmp_path: Path) -> None:
    """[flow] without a save table, as in the README: outcomes are there, trajectories are not, and a report is made."""
    from mc.report.page import write_report

    run(Experiment.from_dict(tables(flow__save={"trials": 0}, experiment__trials=4)), tmp_path / "run")
    (cell,) = load(tmp_path / "run").cells
    assert (cell["outcome"] >= 0).all()
    assert "loss" not in cell
    assert write_report(tmp_path / "run", tmp_path / "report").is_file()
