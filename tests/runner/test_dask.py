"""Runs on Dask: a cluster of this machine and a scheduler of others, with workers that die, lie or are not there.

Real processes throughout: Dask's own `LocalCluster`, `dask scheduler` and `dask worker`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import Any

import pytest

pytest.importorskip("distributed", reason="dask[distributed] is not installed: pip install 'dipmc[dask]'")

from block_stub import Counted, KilledOnce, datasets, slow_stub, stub, threads_stub
from run_stubs import SCRIPT, experiment, start

from mc.cli.main import main
from mc.errors import InputError
from mc.runner import dask as dask_pool
from mc.runner.execute import RunSummary, open_pool, run
from mc.runner.jobs import Record
from mc.runner.plan import gaps, run_plan
from mc.store.blocks import read_header
from mc.store.results import load

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The datasets of an undisturbed run in this process."""
    summary = run(experiment(), tmp_path_factory.mktemp("direct"), compute=stub)
    assert summary.results is not None
    return datasets(summary.results)


# a cluster of this machine


@pytest.fixture(scope="module")
def pool() -> Iterator[dask_pool.DaskPool]:
    """Two worker processes that several tests share, and may kill."""
    with dask_pool.local(2) as pool:
        yield pool


def test_dask_gives_what_one_process_gives(tmp_path: Path, pool: Any, direct: dict[str, Any]) -> None:
    summary = run(experiment(), tmp_path, pool=pool, compute=stub)
    assert (summary.blocks_computed, summary.failures) == (6, ())
    assert datasets(tmp_path / "results.h5") == direct
    pids = {read_header(path).facts["pid"] for path in (tmp_path / "blocks").iterdir()}
    assert os.getpid() not in pids
    assert list(tmp_path.glob(".*")) == []  # the token is gone


def test_a_block_has_one_blas_thread(tmp_path: Path, pool: Any) -> None:
    run(experiment(), tmp_path, pool=pool, compute=threads_stub)
    assert set(load(tmp_path).cells[0]["rank"].tolist()) == {1}


def test_a_relative_folder_is_that_of_the_caller(tmp_path: Path, pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # after the workers started elsewhere
    assert run(experiment(), "r", pool=pool, compute=stub).blocks_computed == 6
    assert len(list((tmp_path / "r" / "blocks").iterdir())) == 6


def test_a_worker_killed_in_the_middle_costs_the_block_it_was_at(tmp_path: Path, pool: Any) -> None:
    (tmp_path / "log").mkdir()
    counted = Counted(tmp_path / "log")
    killed: list[str] = []

    def kill_one(done: int, total: int, record: Record) -> None:
        if done == 5 and not killed:
            wait(lambda: any(counted.at_work()))
            victim = counted.at_work()[0]
            killed.append(victim.block)
            os.kill(victim.pid, signal.SIGKILL)

    made = experiment(experiment__trials=40)
    summary = run(made, tmp_path / "r", pool=pool, compute=counted, progress=kill_one)
    assert (summary.blocks_computed, summary.failures) == (20, ())
    assert len(killed) == 1
    assert 1 <= summary.killed <= 2  # what waited in the process was handed out again with it
    assert Counter(counted.begun()) == Counter(counted.blocks()) + Counter(killed)
    assert len(counted.blocks()) == 20
    whole = run(made, tmp_path / "inline", compute=stub).results
    assert whole is not None
    assert datasets(tmp_path / "r" / "results.h5") == datasets(whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_block_that_always_kills_is_reported_and_nothing_hangs(tmp_path: Path, workers: int) -> None:
    with open_pool("dask", workers) as pool:
        summary = run(experiment(), tmp_path, pool=pool, compute=KilledOnce(tmp_path / "marker", always=True))
    assert summary.blocks_computed == 4
    assert len(summary.failures) == 2
    assert all("its worker process was killed, and again when no other" in failure for failure in summary.failures)


DASK_SCRIPT = SCRIPT.replace("jobs=jobs,", "jobs=jobs, backend='dask',")


def test_a_signal_to_the_group_lets_the_blocks_in_work_end(tmp_path: Path) -> None:
    process = start(tmp_path, 2, until=lambda: any(tmp_path.glob("blocks/*.h5")), script=DASK_SCRIPT)
    os.killpg(process.pid, signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "stopped by SIGINT" in told
    assert errors == ""
    there = list((tmp_path / "blocks").iterdir())
    assert [path for path in there if path.name.startswith(".")] == []
    assert 0 < len(there) < 200
    for path in there:
        read_header(path)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    process = start(tmp_path / "r", 2, marker, until=marker.exists, script=DASK_SCRIPT)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.3)
    told, errors = process.communicate(timeout=30)  # its blocks sleep for 300 s
    assert process.returncode == 130, errors
    assert "stopped by SIGINT: 0 of" in told


# a scheduler of others


def launch(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A process of dask's command line, with the package and the stubs of the tests at hand."""
    paths = os.pathsep.join(part for part in (environment.pop("first", ""), str(TESTS.parent), str(TESTS)) if part)
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        cwd=tempfile.gettempdir(),  # with -m the current folder is on the path
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(ready: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a scheduler, and its process."""
    import json

    told = folder / "scheduler.json"
    words = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told))
    with ended(launch(*words)) as process:
        wait(lambda: told.is_file() and told.read_text().endswith("}"))
        yield json.loads(told.read_text())["address"], process


@contextmanager
def worker(address: str, *words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has joined."""
    from distributed import Client

    with (
        Client(address, set_as_default=False) as client,
        ended(launch("worker", address, "--no-dashboard", *words, **environment)) as process,
    ):
        client.wait_for_workers(1, timeout=30)
        yield process
    with Client(address, set_as_default=False) as client:
        wait(lambda: not client.nthreads())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scheduler(tmp_path_factory.mktemp("scheduler")) as (address, _):
        yield address


SMALL = experiment(experiment__trials=8).to_toml()


def test_the_command_computes_on_the_workers_of_a_scheduler(
    tmp_path: Path, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(SMALL)
    words = ["run", str(tmp_path / "tiny.toml"), "--quiet"]
    with worker(address, "--nthreads", "1", "--nworkers", "2"):
        assert main([*words, "-o", str(tmp_path / "r"), "--scheduler", address]) == 0
    assert main([*words, "-o", str(tmp_path / "inline")]) == 0
    assert datasets(tmp_path / "r" / "results.h5") == datasets(tmp_path / "inline" / "results.h5")
    pids = {read_header(path).facts["pid"] for path in (tmp_path / "r" / "blocks").iterdir()}
    assert os.getpid() not in pids
    assert capfd.readouterr().err == ""


def refuses(folder: Path, address: str, *said: str) -> None:
    """The run is refused with these words, and no block is computed."""
    with pytest.raises(InputError) as found:
        run(experiment(), folder, scheduler=address, compute=stub)
    for words in said:
        assert words in str(found.value)
    assert "\n" not in str(found.value)
    assert not (folder / "blocks").exists() or not list((folder / "blocks").iterdir())


def test_workers_that_are_not_fit_are_refused_by_name(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker(address, "--nthreads", "2"):
        refuses(tmp_path / "a", address, "Dask worker tcp://", "has 2 threads", "--nthreads 1")
    with worker(address, "--nthreads", "1"):
        with monkeypatch.context() as patch:
            patch.setattr("mc.runner.dask.VERSION", ("99.0", 7, "2.0"))
            refuses(tmp_path / "b", address, "Dask worker tcp://", "has dipmc", "here is dipmc 99.0 (numerics 7")

        class OfThisMachine(PosixPath):
            """A file that another machine does not see."""

            def touch(self, *_: Any, **__: Any) -> None:
                pass

        with monkeypatch.context() as patch:
            patch.setattr("mc.runner.dask.temporary_name", lambda final: OfThisMachine(final))
            refuses(tmp_path / "c", address, "does not see", str(tmp_path / "c"), "choose a folder with -o")
        assert run(experiment(), tmp_path / "d", scheduler=address, compute=stub).blocks_computed == 6


def test_a_worker_without_the_package_can_say_so(tmp_path: Path, address: str) -> None:
    (tmp_path / "other" / "mc").mkdir(parents=True)
    (tmp_path / "other" / "mc" / "__init__.py").touch()
    # an editable installation finds submodules wherever the package is: this one cannot be found
    (tmp_path / "other" / "mc" / "version.py").write_text("raise ModuleNotFoundError('absent', name='mc.version')")
    with worker(address, "--nthreads", "1", first=str(tmp_path / "other")):
        refuses(tmp_path / "r", address, "cannot import mc.version; install dipmc")


def test_a_worker_that_joins_later_is_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in this process: what a late worker does with its first block
    made = experiment()
    plan = run_plan(made)
    from mc.runner.jobs import build_job

    job = build_job(made, plan, gaps(tmp_path, plan)[0], "", tmp_path / "gone" / "blocks", {})

    class OneThread:
        state = type("State", (), {"nthreads": 1})

    monkeypatch.setattr("mc.runner.dask.get_worker", OneThread)
    _, record = dask_pool._work(job, stub, dask_pool.VERSION)
    assert record.refused
    assert "does not see" in (record.error or "")
    assert not (tmp_path / "gone").exists()


def test_a_scheduler_that_goes_ends_the_run_in_words(tmp_path: Path) -> None:
    with scheduler(tmp_path) as (address, process), ended(launch("worker", address, "--nthreads", "1")):

        def kill(done: int, total: int, record: Record) -> None:
            process.kill()

        with pytest.raises(InputError, match=r"connection to the Dask scheduler is lost; .* run again"):
            run(experiment(), tmp_path / "r", scheduler=address, compute=slow_stub, progress=kill)
    assert run(experiment(), tmp_path / "r", compute=stub).blocks_there >= 1


def test_mistakes_are_one_line(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**words: Any) -> str:
        begin = time.monotonic()
        with pytest.raises(InputError) as found:
            run(experiment(), tmp_path / "r", compute=stub, **words)
        assert time.monotonic() - begin < 8  # a connection may take 5 s
        assert not (tmp_path / "r").exists()
        assert "\n" not in str(found.value)
        return str(found.value)

    assert "no address; use tcp://host:port" in said(scheduler="nonsense")
    assert "no Dask scheduler answers there" in said(scheduler="tcp://127.0.0.1:1")
    monkeypatch.setattr("mc.runner.dask.WORKERS_SECONDS", 0.5)
    assert f"start some with `dask worker {address} --nthreads 1`" in said(scheduler=address)
    monkeypatch.delitem(sys.modules, "mc.runner.dask")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert said(backend="dask") == "--backend dask: distributed is not installed; pip install 'dipmc[dask]'"


def test_a_summary_is_the_same_on_every_backend(tmp_path: Path, pool: Any) -> None:
    def told(summary: RunSummary) -> tuple[object, ...]:
        return summary.blocks_there, summary.blocks_computed, summary.failures

    part = (1, 3)
    assert told(run(experiment(), tmp_path / "a", shard=part, compute=stub)) == told(
        run(experiment(), tmp_path / "b", shard=part, compute=stub, pool=pool)
    )
