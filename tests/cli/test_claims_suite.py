"""The suite of the claims at a size that takes seconds: every file runs, and no claim is violated."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mc.experiment.experiment import Experiment, Suite
from mc.runner.execute import run
from mc.store.results import load
from mc.theory.claims import CLAIMS, TRAJECTORY_CLAIMS
from mc.theory.codes import Verdict

FOLDER = Path(__file__).parents[2] / "experiments" / "claims"
SUITE = FOLDER / "all.toml"
FILES = tuple(path for path in sorted(FOLDER.glob("*.toml")) if path != SUITE)
TRIALS = 2


def smoke_sized(path: Path) -> Experiment:
    """The experiment of a file with two trials; widths and steps that only a study needs are cut."""
    tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    tables["experiment"] |= {"trials": TRIALS, "block_size": TRIALS}
    widths = tables["widths"]
    if widths.get("to", 0) > 10_000:
        widths["to"] = 10_000
    if tables.get("flow", {}).get("rule") == "gd":
        tables["flow"]["max_steps"] = 200
    return Experiment.from_dict(tables, str(path), path.parent)


def test_the_suite_lists_every_file_and_every_claim() -> None:
    suite = Suite.from_toml(SUITE)
    assert {experiment.name for experiment in suite.experiments} == {path.stem for path in FILES}
    followed = {name for experiment in suite.experiments for name in experiment.followed}
    assert followed == set(TRAJECTORY_CLAIMS)
    asked = {name for experiment in suite.experiments for name in experiment.document.claims.check}
    named = {name for name, claim in CLAIMS.items() if claim.kind != "implication"}
    assert named <= asked | set(TRAJECTORY_CLAIMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_runs_and_nothing_is_violated(path: Path, tmp_path: Path) -> None:
    experiment = smoke_sized(path)
    assert run(experiment, tmp_path, backend="inline").failures == ()
    seen = 0
    for cell in load(tmp_path).cells:
        for name in (name for name in cell.data if name.startswith("verdict_")):
            assert not np.any(cell[name] == Verdict.VIOLATED), name
            seen += int((cell[name] >= 0).sum())
    assert (seen > 0) == bool(experiment.followed)
