"""Runs: what is missing is computed once, whatever stopped the run before, and the results never depend on how."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import block_stub
import h5py
import numpy as np
import pytest
from block_stub import Crowded, KilledOnce, datasets, failing_stub, misshapen_stub, refusing_stub, stub, threads_stub
from joblib.externals.loky import get_reusable_executor
from run_stubs import Counting, experiment, start

from mc.cli.status import run_lines
from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.runner.cost import Cost, estimate_cost, refuse_if_costly
from mc.runner.execute import merge, run
from mc.runner.interrupts import Interrupted
from mc.runner.jobs import Record
from mc.runner.plan import freeze, gaps, load_frozen, run_plan, status
from mc.runner.pools import FEEDER, FEEDER_SECONDS, Inline, Loky
from mc.store.blocks import read_header
from mc.store.failures import failed_blocks
from mc.store.results import load
from mc.trial.block import BlockTask


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The datasets of an undisturbed run."""
    run_folder = tmp_path_factory.mktemp("direct")
    summary = run(experiment(), run_folder, compute=stub)
    assert summary.results is not None
    return datasets(summary.results)


def test_a_run_computes_all_and_says_so(tmp_path: Path, direct: dict[str, Any]) -> None:
    heard: list[tuple[int, int, Record]] = []
    summary = run(experiment(), tmp_path / "r", compute=stub, progress=lambda *told: heard.append(told))
    assert (summary.blocks_there, summary.blocks_computed, summary.failures) == (0, 6, ())
    assert [(done, total) for done, total, _ in heard] == [(i, 6) for i in range(1, 7)]
    assert summary.results == tmp_path / "r" / "results.h5"
    assert datasets(summary.results) == direct
    results = load(summary.run)
    assert results.attrs["complete"] == 1
    assert results.attrs["seed"] == 3
    assert Experiment.from_text(results.experiment_text) == experiment()
    assert results.cells[1]["trials_present"].tolist() == [10, 10, 10]
    header = read_header(next((tmp_path / "r" / "blocks").iterdir()))
    assert {"seconds", "host", "numpy", "blas", "git_commit", "started"} <= header.facts.keys()


def test_tasks_say_what_the_experiment_says(tmp_path: Path) -> None:
    counting, made = Counting(), experiment()
    run(made, tmp_path, compute=counting)
    assert [(task.cell, task.first_trial) for task in counting.tasks] == [
        (cell.id, first) for first in (0, 4, 8) for cell in made.cells()
    ]
    task = counting.tasks[1]
    assert (task.seed, task.n_trials, task.widths, task.flow_widths) == (3, 4, (10, 30, 100), (10, 100))
    assert (task.modes, task.loss, task.p, task.d) == (("hidden", "both"), "power", 2.0, 7)
    assert task.problem["n"] == 5
    assert task.flow is not None
    assert (task.flow.rule, task.flow.save.trials, task.flow.save.times) == ("restart", 6, 3)


def test_default_folder_and_experiment_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(experiment().to_toml())
    assert run("tiny.toml", compute=stub).run == Path("data/tiny")
    assert load_frozen(Path("data/tiny")) == experiment()


def test_two_processes_give_what_one_gives(tmp_path: Path, direct: dict[str, Any]) -> None:
    summary = run(experiment(), tmp_path, jobs=2, compute=stub)
    assert summary.blocks_computed == 6
    assert datasets(tmp_path / "results.h5") == direct
    pids = {read_header(path).facts["pid"] for path in (tmp_path / "blocks").iterdir()}
    assert os.getpid() not in pids


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_block_has_one_blas_thread(tmp_path: Path, jobs: int) -> None:
    run(experiment(), tmp_path, jobs=jobs, compute=threads_stub)
    assert np.unique(load(tmp_path).cells[0]["rank"]).tolist() == [1]


# resuming


def test_resuming_computes_only_what_is_missing(tmp_path: Path, direct: dict[str, Any]) -> None:
    run(experiment(), tmp_path, compute=stub)
    for path in sorted((tmp_path / "blocks").iterdir())[1:3]:
        path.unlink()
    counting = Counting()
    summary = run(experiment(), tmp_path, compute=counting)
    assert len(counting.tasks) == 2
    assert (summary.blocks_there, summary.blocks_computed) == (4, 2)
    assert datasets(tmp_path / "results.h5") == direct
    assert run(experiment(), tmp_path, compute=counting).blocks_computed == 0
    assert len(counting.tasks) == 2


def test_trials_widths_and_flow_widths_added_later_give_the_run_at_once(tmp_path: Path, direct: dict[str, Any]) -> None:
    few = experiment(experiment__trials=3, widths__values=[10, 100], flow__widths=[100])
    run(few, tmp_path, compute=stub)
    kept = {path: path.read_bytes() for path in (tmp_path / "blocks").iterdir()}
    run(experiment(experiment__trials=10, widths__values=[10, 100], flow__widths=[100]), tmp_path, compute=stub)
    counting = Counting()
    run(experiment(widths__values=[10, 30, 100], flow__widths=[100]), tmp_path, compute=counting)
    assert {task.widths for task in counting.tasks} == {(30,)}
    assert {task.flow for task in counting.tasks} == {None}
    run(experiment(), tmp_path, compute=counting)
    assert {(task.widths, task.flow_widths) for task in counting.tasks[6:]} == {((10,), (10,))}
    assert datasets(tmp_path / "results.h5") == direct
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_a_grid_and_a_ladder_may_grow(tmp_path: Path) -> None:
    small = experiment(problem__n=5)
    run(small, tmp_path, compute=stub)
    counting = Counting()
    run(experiment(), tmp_path, compute=counting)
    assert {task.problem["n"] for task in counting.tasks} == {4}


def test_name_claims_and_estimates_may_change(tmp_path: Path) -> None:
    run(experiment(), tmp_path, compute=stub)
    tables = experiment(experiment__name="renamed").to_dict()
    tables["estimate"] = {"level": 0.9}
    counting = Counting()
    run(Experiment.from_dict(tables), tmp_path, compute=counting)
    assert counting.tasks == []
    assert load_frozen(tmp_path).name == "renamed"
    assert load_frozen(tmp_path).document.estimate.level == 0.9


def test_the_block_size_of_the_folder_stays(tmp_path: Path) -> None:
    run(experiment(), tmp_path, compute=stub)
    counting = Counting()
    run(experiment(experiment__block_size=None, experiment__trials=14), tmp_path, compute=counting)
    assert {task.n_trials for task in counting.tasks} == {4}
    assert {task.first_trial for task in counting.tasks} == {12}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment__seed": 4}, r"seed is 3 there and 4 here"),
        ({"loss__p": 4.0}, r"loss\.p is 2\.0 there and 4\.0 here"),
        ({"network__d": 8}, r"network\.d is 7 there and 8 here"),
        ({"flow__rtol": 1e-6}, r"flow\.rtol is 1e-05 there and 1e-06 here"),
        ({"problem__n": 6}, r"problem\.n is 4 there and 6 here"),
    ],
)
def test_another_experiment_is_refused_by_the_name_of_the_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    freeze(experiment(), tmp_path)
    before = (tmp_path / "experiment.toml").read_bytes()
    with pytest.raises(InputError, match=message):
        run(experiment(**change), tmp_path, compute=stub)
    assert (tmp_path / "experiment.toml").read_bytes() == before


def test_another_random_generator_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(experiment(), tmp_path, compute=stub)
    monkeypatch.setattr("mc.runner.plan.stream_digest", lambda *_: "00" * 32)
    with pytest.raises(InputError, match="random stream is not the one drawn here"):
        run(experiment(experiment__trials=20), tmp_path, compute=stub)


# failures


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_block_that_raises_is_recorded_and_the_run_goes_on(tmp_path: Path, jobs: int) -> None:
    summary = run(experiment(), tmp_path, jobs=jobs, compute=failing_stub)
    assert summary.blocks_computed == 4
    assert len(summary.failures) == 2
    for failure in summary.failures:
        assert "block 1 (trials 4 to 7): ArithmeticError: division of the stub" in failure
    present = load(tmp_path).cells[0]["computed"]
    assert present[:, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 1, 1]
    assert load(tmp_path).attrs["complete"] == 0
    notes = list(failed_blocks(tmp_path).values())
    assert sorted(f"{note.place}: {note.error}" for note in notes) == sorted(summary.failures)
    assert all(json.loads(path.read_text())["outcome"] == "error" for path in (tmp_path / "failures").iterdir())
    told = [line for line in run_lines(tmp_path) if "failed" in line]
    assert len(told) == 3
    assert "block 1 (trials 4 to 7): ArithmeticError: division of the stub" in told[0]
    assert run(experiment(), tmp_path, compute=stub).blocks_computed == 2
    assert failed_blocks(tmp_path) == {}
    assert not any("failed" in line for line in run_lines(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b"[" * 10**5, b'{"place": 1}'])
def test_a_note_that_cannot_be_read_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "0123456789abcdef-000001.json").write_bytes(content)
    (note,) = failed_blocks(tmp_path).values()
    assert (note.place, note.error) == ("0123456789abcdef-000001.json", "the note of its failure cannot be read")


def test_a_block_of_the_wrong_shape_is_recorded(tmp_path: Path) -> None:
    summary = run(experiment(), tmp_path, compute=misshapen_stub)
    assert len(summary.failures) == 6
    assert "psi_0" in summary.failures[0]
    assert list((tmp_path / "blocks").glob("*")) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_users_mistake_ends_the_run(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(InputError, match=r"operator\.npy: no such file"):
        run(experiment(), tmp_path, jobs=jobs, compute=refusing_stub)


@pytest.mark.slow
def test_a_killed_worker_costs_its_blocks_only(tmp_path: Path, direct: dict[str, Any]) -> None:
    summary = run(experiment(), tmp_path / "r", jobs=2, compute=KilledOnce(tmp_path / "marker"))
    assert (tmp_path / "marker").exists()
    assert summary.failures == ()
    # those of both workers, and any that was written but not heard of yet: its file is there, nothing is done again
    assert 1 <= summary.killed < summary.blocks_computed
    assert datasets(tmp_path / "r" / "results.h5") == direct


@pytest.mark.slow
def test_a_block_whose_process_always_dies_is_reported_and_the_others_go_on(
    tmp_path: Path, direct: dict[str, Any]
) -> None:
    summary = run(experiment(), tmp_path, jobs=2, compute=KilledOnce(tmp_path / "marker", always=True))
    assert summary.blocks_computed == len(list((tmp_path / "blocks").glob("*.h5"))) == 4
    assert len(summary.failures) == 2
    for failure in summary.failures:
        assert "block 1 (trials 4 to 7): its worker process was killed, and again when no other" in failure
    assert load(tmp_path).attrs["complete"] == 0
    assert run(experiment(), tmp_path, compute=stub).blocks_computed == 2
    assert datasets(tmp_path / "results.h5") == direct


@pytest.mark.slow
def test_blocks_that_do_not_fit_beside_each_other_are_computed_one_at_a_time(
    tmp_path: Path, direct: dict[str, Any]
) -> None:
    (tmp_path / "at_work").mkdir()
    summary = run(experiment(), tmp_path / "r", jobs=2, compute=Crowded(tmp_path / "at_work"))
    assert (summary.blocks_computed, summary.failures) == (6, ())
    assert datasets(tmp_path / "r" / "results.h5") == direct
    # the first two met and one of them died with both; from then on each ran alone, so that no other did
    assert len(list((tmp_path / "at_work").iterdir())) == 2


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    for arguments, message in (
        ({"jobs": 0}, "-j 0"),
        ({"backend": "threads"}, "--backend threads"),
        ({"shard": (2, 2)}, "--shard 2/2"),
    ):
        with pytest.raises(InputError, match=message):
            run(experiment(), tmp_path / "r", compute=stub, **arguments)
    assert not (tmp_path / "r").exists()
    with pytest.raises(InputError, match="not a run folder"):
        merge(tmp_path)


# shards


def test_shards_share_a_folder_and_the_last_one_merges(tmp_path: Path, direct: dict[str, Any]) -> None:
    first = run(experiment(), tmp_path, shard=(0, 2), compute=stub)
    assert (first.blocks_computed, first.results) == (3, None)
    assert run(experiment(), tmp_path, shard=(0, 2), compute=stub).blocks_there == 3
    last = run(experiment(), tmp_path, shard=(1, 2), compute=stub)
    assert (last.blocks_computed, last.results) == (3, tmp_path / "results.h5")
    assert datasets(tmp_path / "results.h5") == direct


def test_shards_divide_every_cell(tmp_path: Path) -> None:
    plan = run_plan(experiment())
    from mc.runner.execute import in_shard

    found = [[in_shard(gap, plan, (i, 3)) for gap in gaps(tmp_path, plan)] for i in range(3)]
    assert [sum(shard) for shard in found] == [2, 2, 2]
    assert all(sum(column) == 1 for column in zip(*found, strict=True))


# signals


@pytest.mark.slow
@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_stops_a_run_that_then_resumes(
    tmp_path: Path, jobs: int, number: signal.Signals, direct: dict[str, Any]
) -> None:
    process = start(tmp_path, jobs, until=lambda: any(tmp_path.glob("blocks/*.h5")))
    os.killpg(process.pid, number)  # as a terminal and a scheduler do: workers get it too
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"stopped by {number.name}" in told
    assert errors == ""
    assert not (tmp_path / "results.h5").exists()
    assert list((tmp_path / "blocks").glob(".*")) == []  # the blocks in work were finished
    there = len(list((tmp_path / "blocks").iterdir()))
    assert 0 < there < 200
    counting = Counting()
    run(experiment(), tmp_path, compute=counting)
    assert len(counting.tasks) == max(0, 6 - there)
    assert datasets(tmp_path / "results.h5") == direct


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_signal_does_not_wait(tmp_path: Path, jobs: int) -> None:
    marker = tmp_path / "marker"
    process = start(tmp_path / "r", jobs, marker, until=marker.exists)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.3)
    told, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "stopped by SIGINT: 0 of" in told
    assert errors == ""


@pytest.mark.slow
def test_a_killed_pool_leaves_no_thread_that_may_hold_a_semaphore() -> None:
    get_reusable_executor(2).submit(int).result()
    feeders = [thread for thread in threading.enumerate() if thread.name == FEEDER]
    assert feeders
    # one that is slow to end, as on a busy machine: cut off at exit, it would make the resource tracker warn
    feeders.append(threading.Thread(target=time.sleep, args=(0.5,), name=FEEDER, daemon=True))
    feeders[-1].start()
    Loky(2).kill()
    assert not any(thread.is_alive() for thread in feeders)


def test_a_third_signal_does_not_cut_off_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # the handler runs between two instructions of Python

    def twice(task: BlockTask) -> dict[str, Any]:
        interrupted()
        interrupted()
        return stub(task)

    monkeypatch.setattr(Inline, "kill", interrupted)
    with pytest.raises(Interrupted, match="stopped by SIGINT: 0 of 6 missing blocks"):
        run(experiment(), tmp_path, backend="inline", compute=twice)


def test_threads_that_hang_hold_up_the_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Hanging:
        name = FEEDER

        def join(self, seconds: float) -> None:
            waits.append(seconds)
            now.append(now[-1] + seconds)

    now = [0.0]
    monkeypatch.setattr("mc.runner.pools.get_reusable_executor", MagicMock())
    monkeypatch.setattr("mc.runner.pools.threading.enumerate", lambda: [Hanging(), Hanging()])
    monkeypatch.setattr("mc.runner.pools.time", SimpleNamespace(monotonic=lambda: now[-1]))
    Loky(2).kill()
    assert waits == [FEEDER_SECONDS, 0.0]


def test_handlers_are_restored_and_threads_need_none(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(experiment(), tmp_path / "a", compute=stub)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.append(run(experiment(), tmp_path / "b", compute=stub).blocks_computed)
    )
    thread.start()
    thread.join()
    assert found == [6]


def test_a_signal_in_the_last_block_lets_the_run_end(tmp_path: Path) -> None:
    def last(task: BlockTask) -> dict[str, Any]:
        if len(list((tmp_path / "blocks").glob("*.h5"))) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return stub(task)

    assert run(experiment(), tmp_path, compute=last).blocks_computed == 6
    shutil.rmtree(tmp_path / "blocks")

    def first(task: BlockTask) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return stub(task)

    with pytest.raises(Interrupted, match="stopped by SIGTERM: 1 of 6 missing blocks"):
        run(experiment(), tmp_path, compute=first)


def test_a_second_signal_ends_the_merge_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def merging(*_: Any, **__: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # the handler runs between two instructions of Python

    monkeypatch.setattr("mc.runner.execute.merge_blocks", merging)
    with pytest.raises(Interrupted, match="stopped during the merge"):
        run(experiment(), tmp_path, compute=stub)
    monkeypatch.undo()
    assert merge(tmp_path).exists()


# status and cost


def test_status_counts_trials_per_width(tmp_path: Path) -> None:
    run(experiment(experiment__trials=8, widths__values=[10, 100], flow__widths=[10]), tmp_path, compute=stub)
    run(experiment(), tmp_path, shard=(0, 6), compute=stub)  # block 0 of cell 0
    plan, cells = status(tmp_path)
    assert plan.trials == 10
    assert [cell.complete_blocks for cell in cells] == [1, 0]
    assert cells[0].trials_present == (8, 4, 8)
    assert cells[0].flow_trials_present == (8, 4)
    assert cells[1].trials_present == (8, 0, 8)


def test_cost_grows_with_the_work_and_falls_with_what_is_there(tmp_path: Path) -> None:
    cost = estimate_cost(experiment())
    assert (cost.blocks, cost.trials) == (6, 24)
    every = gaps(tmp_path, run_plan(experiment()))
    listed = estimate_cost(experiment(), every)
    # the same sums in another order: a few roundings
    assert listed.blocks == cost.blocks
    assert listed.seconds == pytest.approx(cost.seconds, rel=1e-12)
    assert listed.bytes_on_disk == pytest.approx(cost.bytes_on_disk, rel=1e-12)
    assert estimate_cost(experiment(), every[:3]).seconds < cost.seconds
    assert estimate_cost(experiment(widths__values=[10, 30, 100, 10**6])).seconds > cost.seconds
    run(experiment(), tmp_path, compute=stub)
    assert estimate_cost(experiment(), gaps(tmp_path, run_plan(experiment()))) == Cost(0, 0, 0.0, 0.0)


def test_bytes_are_those_on_disk_within_the_compression(tmp_path: Path) -> None:
    made = experiment(experiment__block_size=128, experiment__trials=128, flow__save={"trials": 128, "times": 3})
    summary = run(made, tmp_path, compute=stub)
    used = sum(path.stat().st_size for path in summary.run.rglob("*.h5"))
    # per file about 60 kB of names and attributes; forecast for 16 claims, of which the stub has one
    assert 0.05 * used < estimate_cost(made).bytes_on_disk < 20 * used


def test_a_costly_run_is_refused_before_it_writes(tmp_path: Path) -> None:
    huge = experiment(experiment__trials=10**5, widths__values=[10, 100, 10**7])
    with pytest.raises(InputError, match=r"core-hours.*GB.*add --yes"):
        run(huge, tmp_path / "r", compute=stub)
    assert not (tmp_path / "r").exists()
    with pytest.raises(InputError, match="GB free"):
        refuse_if_costly(Cost(1, 1, 1.0, 1e18), tmp_path)
    refuse_if_costly(Cost(1, 1, 1e9, 1e18), tmp_path, yes=True)
    refuse_if_costly(Cost(1, 1, 1.0, 1.0), tmp_path)
    with pytest.raises(InputError, match="use fewer trials"):
        run(experiment(experiment__trials=10**12), tmp_path / "r", yes=True, compute=stub)


def test_sampling_needs_a_number_of_trials(tmp_path: Path, direct: dict[str, Any]) -> None:
    tables = experiment().to_dict()
    del tables["experiment"]["trials"]
    tables["sampling"] = {"decide": True}
    adaptive = Experiment.from_dict(tables)
    with pytest.raises(InputError, match="trials: absent"):
        run_plan(adaptive)
    run(adaptive, tmp_path, trials=4, compute=stub)
    run(adaptive, tmp_path, trials=10, compute=stub)
    assert datasets(tmp_path / "results.h5") == direct
    assert datasets(merge(tmp_path, trials=10)) == direct


def test_stubs_fill_the_layout() -> None:
    assert block_stub.TIMES == 3  # save.times of the experiment above
    assert h5py.version.version_tuple >= (3, 10, 0)
