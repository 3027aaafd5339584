"""Adaptive runs: rounds, resuming, what is drawn and when it stops; plan and status on the command line."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_stub import datasets
from command_line import Invoke
from run_stubs import HALF, TRUTH, WIDTHS, Counting, adaptive, coins

import mc
from mc.errors import InputError
from mc.estimate import Counts
from mc.estimate.cells.study import study_run
from mc.estimate.probability.methods import get_method
from mc.estimate.sampling.adaptive import replay
from mc.estimate.sampling.goals import forecast, most_trials
from mc.experiment.experiment import Experiment
from mc.model.draws import CHUNK
from mc.report.page import report_results
from mc.runner import execute
from mc.runner.adaptive import sampling_plan
from mc.runner.cost import peak_memory
from mc.runner.execute import merge, run
from mc.runner.interrupts import Interrupted
from mc.store.blocks import scan
from mc.store.results import load
from mc.trial.block import BlockTask


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counting]:
    """An undisturbed adaptive run, and what it computed; read only."""
    folder, counting = tmp_path_factory.mktemp("done") / "run", Counting(coins)
    summary = run(adaptive(), folder, backend="inline", compute=counting)
    assert (summary.failures, summary.results) == ((), folder / "results.h5")
    assert (summary.blocks_there, summary.blocks_computed) == (0, len(counting.tasks))
    return folder, counting


def half_widths(made: Experiment, counts: Counts) -> np.ndarray:
    """By the sequence, at the share of alpha that the plan gives each interval."""
    plan = sampling_plan(made)
    lower, upper = get_method("beta-binomial").two_sided(
        counts.holds, counts.holds + counts.undecided, counts.trials, plan.goal.alpha / plan.tests(0)
    )
    return np.asarray((upper - lower) / 2.0)


def test_a_run_reaches_its_target_and_closes_widths_on_the_way(done: tuple[Path, Counting]) -> None:
    folder, _ = done
    results = load(folder)
    cell = results.cells[0]
    trials = cell["trials_present"]
    counts = Counts.of((cell["margin_trial"][0] > 1.0).astype(np.int8) - (cell["computed"] == 0))
    assert counts.trials.tolist() == trials.tolist()
    assert (half_widths(adaptive(), counts) <= 0.12).all()
    assert trials[0] > trials[2]  # one half takes more trials than 0.999
    assert results.attrs["trials"] == cell.trials == trials.max()
    assert np.isnan(cell["margin_trial"][0, trials[2] :, 2]).all()  # not computed: the fill value
    # the round before would not have done at the width that took longest: rounds grow by at most one half and a block
    before = np.array([int(trials[0] / 1.5) - 16])
    assert (half_widths(adaptive(), Counts(before // 2, before - before // 2, 0 * before)) > 0.12).all()


def test_widths_are_drawn_only_as_far_as_one_is_open(done: tuple[Path, Counting]) -> None:
    folder, counting = done
    trials = load(folder).cells[0]["trials_present"]
    by_block = {task.first_trial // 16: task.widths for task in counting.tasks}
    assert len(by_block) == len(counting.tasks)  # no block twice
    for block, widths in by_block.items():
        assert set(widths) == {k for k, n in zip(WIDTHS, trials, strict=True) if n > 16 * block}
    uniform = int(trials.max()) * -(-WIDTHS[-1] // CHUNK) * CHUNK
    assert counting.neurons < uniform / 2


@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_an_interrupted_run_resumes_to_the_same_numbers(
    tmp_path: Path, done: tuple[Path, Counting], stop_after: int
) -> None:
    interrupted = Counting(coins, stop_after)
    with pytest.raises(Interrupted, match=r"stopped by SIGINT: .*the same command resumes"):
        run(adaptive(), tmp_path, backend="inline", compute=interrupted)
    assert not (tmp_path / "results.h5").exists()
    resumed = Counting(coins)
    summary = run(adaptive(), tmp_path, backend="inline", compute=resumed)
    assert (summary.blocks_there, summary.blocks_computed) == (len(interrupted.tasks), len(resumed.tasks))
    assert len(interrupted.tasks) + len(resumed.tasks) == len(done[1].tasks)
    assert datasets(tmp_path / "results.h5") == datasets(done[0] / "results.h5")
    assert {path.name for path in (tmp_path / "blocks").iterdir()} == {p.name for p in (done[0] / "blocks").iterdir()}
    again = Counting(coins)
    assert run(adaptive(), tmp_path, backend="inline", compute=again).blocks_computed == len(again.tasks) == 0


def test_two_processes_decide_as_one(tmp_path: Path, done: tuple[Path, Counting]) -> None:
    run(adaptive(), tmp_path, jobs=2, compute=coins)
    assert datasets(tmp_path / "results.h5") == datasets(done[0] / "results.h5")


def test_the_rule_looks_at_complete_rounds_only(tmp_path: Path, done: tuple[Path, Counting]) -> None:
    shutil.copytree(done[0], tmp_path / "r")
    gone = sorted((tmp_path / "r" / "blocks").iterdir())
    for path in (*gone[2:4], gone[-1]):
        path.unlink()
    (tmp_path / "r" / "results.h5").unlink()
    counting = Counting(coins)
    run(adaptive(), tmp_path / "r", backend="inline", compute=counting)
    assert len(counting.tasks) == 3
    assert datasets(tmp_path / "r" / "results.h5") == datasets(done[0] / "results.h5")


def test_a_smaller_target_continues_and_a_wider_width_writes_parts_of_early_blocks(
    tmp_path: Path, done: tuple[Path, Counting]
) -> None:
    shutil.copytree(done[0], tmp_path / "r")
    counting = Counting(coins)
    smaller = adaptive(sampling={**HALF, "target_half_width": 0.1})
    run(smaller, tmp_path / "r", backend="inline", compute=counting)
    assert min(task.first_trial for task in counting.tasks) > 0
    wider = adaptive(widths={"values": [*WIDTHS, 5000]})
    counting = Counting(coins)
    run(wider, tmp_path / "r", backend="inline", compute=counting)
    first = [task for task in counting.tasks if task.first_trial == 0]
    assert [task.widths for task in first] == [(5000,)]
    assert sum(file.block == 0 for file in scan(tmp_path / "r")) == 2


def test_shards_share_rounds(tmp_path: Path, done: tuple[Path, Counting]) -> None:
    for _ in range(20):
        for index in range(2):
            summary = run(adaptive(), tmp_path, backend="inline", shard=(index, 2), compute=coins)
            if summary.results is not None:
                break
        else:
            continue
        break
    assert datasets(tmp_path / "results.h5") == datasets(done[0] / "results.h5")


def test_the_record_says_which_kind_of_run_it_is(tmp_path: Path, done: tuple[Path, Counting]) -> None:
    said = load(done[0]).attrs["sampling"]
    assert said.startswith("adaptive: ")
    assert "half-width of at most 0.12, from 20 to 600 trials" in said
    fixed = adaptive(sampling=None, experiment__trials=8)
    run(fixed, tmp_path, backend="inline", compute=coins)
    assert load(tmp_path).attrs["sampling"] == "fixed"
    assert load(tmp_path).attrs["complete"] == 1


def test_merging_anew_gives_the_same(tmp_path: Path, done: tuple[Path, Counting]) -> None:
    shutil.copytree(done[0], tmp_path / "r")
    (tmp_path / "r" / "results.h5").unlink()
    assert datasets(merge(tmp_path / "r")) == datasets(done[0] / "results.h5")


def test_most_trials_end_what_does_not_settle(tmp_path: Path) -> None:
    few = adaptive(sampling={"target_half_width": 0.001, "min_trials": 20, "max_trials": 60})
    run(few, tmp_path, backend="inline", compute=coins)
    cell = load(tmp_path).cells[0]
    assert cell.trials == 60  # of 64 computed in whole blocks
    assert cell["trials_present"].tolist() == [60, 60, 60]
    assert study_run(load(tmp_path)).complete


def test_an_event_that_does_not_apply_asks_for_nothing(tmp_path: Path) -> None:
    def silent(task: BlockTask) -> dict[str, Any]:
        found = coins(task)
        found["margin_trial"][...] = np.nan
        return found

    summary = run(adaptive(), tmp_path, backend="inline", compute=silent)
    assert summary.blocks_computed == 2  # min_trials, once


@pytest.mark.parametrize("goal", [{"decide": True}, dict(HALF)])
def test_flows_are_integrated_where_they_are_asked_for(tmp_path: Path, goal: dict[str, Any]) -> None:
    tasks = []

    def remembering(task: BlockTask) -> dict[str, Any]:
        tasks.append(task)
        found = coins(task)
        if "outcome" in found:
            found["outcome"][...] = 0
        return found

    widths = {"values": [10, 20_000, 40_000]}
    sampling = {**goal, "min_trials": 16, "max_trials": 40}
    run(
        adaptive(sampling=sampling, widths=widths, flow={"widths": [10, 40_000]}),
        tmp_path,
        backend="inline",
        compute=remembering,
    )
    # nothing is claimed at width 10, so `decide` computes nothing there
    assert tasks[0].flow_widths == ((40_000,) if "decide" in goal else (10, 40_000))


# claims


def test_claims_are_those_of_the_shared_problem_and_are_decided(tmp_path: Path) -> None:
    made = adaptive(
        sampling={"decide": True, "min_trials": 20, "max_trials": 200},
        widths={"values": [100, 10_000]},
        certificates={"ladder": ["paper", "trial"]},
        network__mode=["hidden", "both"],
    )
    plan = sampling_plan(made)
    run(made, tmp_path)
    results = load(tmp_path)
    study = study_run(results)
    assert study.sampled is not None
    for before, after in zip(plan.tracks, study.sampled[0].tracks, strict=True):
        # the block stores the numbers of the same problem: the claims are the same bit by bit
        np.testing.assert_array_equal(before.claims, after.claims)
    assert study.complete
    assert (plan.tracks[0].claims[0], results.cells[0]["trials_present"][0]) == (0.0, 0)  # vacuous: nothing to decide
    assert results.cells[0]["trials_present"][1] >= 20


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"problem__resample": "trial"}, "use resample = 'cell' in [problem], or target_half_width"),
        ({"widths": {"values": [10]}}, "P_theory is 0 at every width"),
        ({"network__output_law": "gaussian"}, "unbounded: outside the theorem"),
        ({"certificates": {"ladder": ["sharp"]}}, "nothing to sample"),
    ],
)
def test_a_claim_that_cannot_be_fixed_is_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    made = adaptive(sampling={"decide": True}, **changes)
    with pytest.raises(InputError, match=re.escape(said)):
        run(made, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_run_that_could_cost_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mc.runner.cost.LIMIT_SECONDS", 1e-3)
    with pytest.raises(InputError, match="--yes"):
        run(adaptive(), tmp_path / "r", compute=coins)
    assert not (tmp_path / "r").exists()


# statistics


def test_a_small_adaptive_study_covers(tmp_path: Path) -> None:
    """60 runs at known probabilities: any interval of a run misses with probability at most alpha = 0.2."""
    misses = 0
    for seed in range(60):
        made = adaptive(
            experiment__seed=seed,
            experiment__block_size=64,
            sampling={"target_half_width": 0.15, "min_trials": 20, "max_trials": 256, "alpha": 0.2},
        )
        whole = execute.run_plan(made, 256)
        gap = execute.gaps(tmp_path, whole)[0]
        task = execute.build_job(made, whole, gap, "", tmp_path, {}).task
        rows = np.concatenate(
            [coins(replace(task, first_trial=first))["margin_trial"][0] for first in range(0, 256, 64)]
        )
        plan = sampling_plan(made)

        def observe(_: object, trials: np.ndarray, rows: np.ndarray = rows) -> Counts:
            seen = np.arange(256)[:, None] < trials
            return Counts.of(np.where(seen, rows > 1.0, -1).astype(np.int8))

        counts = replay(plan, observe).counts[0]
        lower, upper = get_method("beta-binomial").two_sided(counts.holds, counts.holds, counts.trials, 0.2 / 3)
        truth = np.array([TRUTH[k] for k in WIDTHS])
        misses += bool(((lower > truth) | (upper < truth)).any())
    # more than 25 of 60 at probability 0.2 has probability 1e-4; a correct rule stays far below its alpha
    assert misses <= 25


def test_the_forecast_is_where_the_goal_is_met() -> None:
    plan = sampling_plan(adaptive())
    (track,) = plan.tracks
    counts = Counts(np.array([20, 36, 40]), np.array([20, 4, 0]), np.zeros(3, dtype=np.int64))
    need = forecast(plan, track, counts)
    lower, upper = get_method("beta-binomial").two_sided(
        np.floor(counts.holds / 40 * need), np.ceil(counts.holds / 40 * need), need, 0.05 / 3
    )
    assert ((upper - lower) / 2 <= 0.12).all()
    assert need[0] > need[1] > need[2] >= 40
    # at one half the interval is widest, so no run without undecided trials is longer
    assert most_trials(plan) >= need[0]


# the report


def test_the_report_of_an_adaptive_run_is_time_uniform(tmp_path: Path, done: tuple[Path, Counting]) -> None:
    page = report_results(load(done[0]), tmp_path).read_text(encoding="utf-8")
    assert "indications only" not in page
    assert "Clopper-Pearson" not in page
    assert "time-uniform" in page
    assert "not complete" not in page
    summary = mc.estimate.study_run(load(done[0]))
    assert summary.complete
    assert {e.method for curve in summary.cells[0].curves.values() for e in curve.estimates()} == {"beta-binomial"}


# the command line


SMALL = """
[experiment]
name = "small"
seed = 3
block_size = 16
[problem]
n = 3
m = 2
operator = "orthonormal"
resample = "cell"
[network]
mode = "both"
[certificates]
ladder = ["trial"]
[widths]
values = [16, 10000]
[sampling]
target_half_width = 0.2
min_trials = 20
"""


@pytest.mark.slow
def test_run_status_and_report_of_an_adaptive_adaptive(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL)
    status, out, err = invoke("run", "small.toml", "--backend", "inline")
    assert status == 0
    assert re.fullmatch(r"small: \d+ block\(s\) computed, \d+\.\d s", out[0])
    assert err[-1].endswith("0 s left")
    status, out, err = invoke("status", "data/small")
    assert (status, err) == (0, [])
    assert re.match(r"data/small: \d+ trials in \d+ block\(s\) of 16", out[0])
    assert "complete rounds, finished" in out[3]
    assert re.search(r"c000 both +trial +\d+ .*at target 2 of 2 widths; half-width at most 0\.\d+ \(k = \d+\)", out[4])
    assert invoke("merge", "data/small")[:2] == (0, ["data/small/results.h5"])
    # an unfinished one says what is left
    for path in sorted(Path("data/small/blocks").iterdir())[1:]:
        path.unlink()
    status, out, _ = invoke("status", "data/small")
    assert status == 0
    assert "0 complete rounds, round 1 is next" in out[3]
    assert re.search(
        r"to the goal, if shares stay as they are: \d+ trials at the slowest width, \S+ core-hours", out[-1]
    )


def test_a_plan_says_what_can_be_decided(tmp_path: Path, invoke: Invoke) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    status, out, err = invoke("plan", tmp_path / "small.toml")
    assert (status, err) == (0, [])
    assert out[0].startswith("small: 1 cell(s), at most ")
    text = "\n".join(out)
    # one in 2 widths at error 0.05: 0.9^n <= 0.025 at n = 36 (35.01); a sequence needs more
    row = next(line.split() for line in out if line.split()[:1] == ["0.1"])
    assert row[1:] == ["36", str(mc.estimate.trials_needed(0.9, 0.025, method="beta-binomial").trials)]
    assert "cannot support P >= 0.9999" in text
    assert re.search(r"memory: about \S+ GB", text)
    assert re.search(r"cost: at most about \S+ core-hours", out[-1])
    (tmp_path / "decide.toml").write_text(
        SMALL.replace("target_half_width = 0.2", "decide = true").replace('"cell"', '"trial"')
    )
    for words in (("plan",), ("run",)):
        status, _, err = invoke(*words, tmp_path / "decide.toml")
        assert (status, len(err)) == (2, 1)
        assert "use resample = 'cell'" in err[0]


def test_status_of_a_fixed_run_says_how_wide_its_intervals_are(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = adaptive(sampling=None, experiment__trials=16)
    run(fixed, tmp_path / "r", backend="inline", compute=coins)
    with_results = invoke("status", tmp_path / "r")
    (tmp_path / "r" / "results.h5").unlink()
    status, out, err = invoke("status", tmp_path / "r")
    assert (status, out, err) == with_results  # results.h5 only saves reading the blocks
    assert (status, err) == (0, [])
    assert "clopper-pearson, 0.95 at all widths together" in out[2]
    assert re.search(r"c000 hidden trial +16 trials +half-width at most 0\.\d+ \(k = \d+\)", out[3])


def test_memory_grows_with_what_is_kept() -> None:
    base = peak_memory(adaptive())
    flowing = peak_memory(adaptive(widths={"values": [10, 100_000]}, flow={"widths": [100_000]}))
    # 8 trials keep 100 000 neurons of 1 + 2 numbers of 8 bytes
    assert flowing - base >= 8 * 100_000 * 3 * 8
    assert base > 5e7  # an interpreter with NumPy
