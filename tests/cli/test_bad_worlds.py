"""What goes wrong around a run: each is one line that says what to do, and nothing that was computed is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from block_stub import datasets, slow_stub
from command_line import OTHER, SMALL, Invoke, everything, refused

from mc.experiment.experiment import Experiment
from mc.runner.execute import run
from mc.runner.jobs import build_job, work
from mc.runner.plan import Gap, load_frozen, run_plan, stream_digests
from mc.store.blocks import BLOCKS, read_block
from mc.store.results import load


def blocks(folder: str | Path = "run") -> list[Path]:
    return sorted((Path(folder) / BLOCKS).iterdir())


# damage


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied"])
def test_a_damaged_block_is_named_and_computed_again(here: Path, invoke: Invoke, how: str) -> None:
    good, whole = datasets(here / "run/results.h5"), blocks()[0].read_bytes()
    bad = bytearray(whole)
    with h5py.File(blocks()[0]) as file:
        place = file["psi_0"].id.get_chunk_info(0)
    bad[place.byte_offset + place.size // 2] ^= 0x40
    blocks()[0].write_bytes({"flipped": bytes(bad), "truncated": whole[:-1], "emptied": b""}[how])
    before = everything(here)
    for words in (["merge", "run"], ["replay", "run", "--trial", 0]):
        refused(invoke(*words), str(blocks()[0].name), "delete it and run again")
    status, out, err = invoke("verify", "run")
    assert (status, err) == (1, [])
    assert any("FAILED" in line and "files" in line for line in out)
    assert everything(here) == before
    blocks()[0].unlink()
    assert invoke("run", "small.toml", "-o", "run", "--quiet")[0] == 0
    assert datasets(here / "run/results.h5") == good
    assert read_block(blocks()[0]).arrays.keys()


def test_blocks_of_another_experiment(here: Path, invoke: Invoke) -> None:
    Path("seed.toml").write_text(SMALL.replace("seed = 3", "seed = 4"))
    assert invoke("run", "seed.toml", "-o", "mixed", "--quiet")[0] == 0
    for path in blocks("mixed"):
        path.unlink()
    for path in blocks("run"):
        shutil.copy(path, "mixed/blocks")
    before = everything(here)
    for words in (["run", "seed.toml", "-o", "mixed", "--quiet"], ["merge", "mixed"], ["status", "mixed"]):
        refused(invoke(*words), "made by another experiment: seed is 3 there and 4 here", "use another run folder")
    assert everything(here) == before


def test_blocks_of_another_cell_are_left_alone(here: Path, invoke: Invoke) -> None:
    Path("other.toml").write_text(OTHER)
    assert invoke("run", "other.toml", "-o", "two", "--quiet")[0] == 0
    alone = datasets(here / "two/results.h5")
    for path in blocks("run"):
        shutil.copy(path, "two/blocks")
    assert invoke("merge", "two")[0] == 0
    assert datasets(here / "two/results.h5") == alone


# the experiment


def test_a_lost_experiment_file_is_written_again(here: Path, invoke: Invoke) -> None:
    good = datasets(here / "run/results.h5")
    frozen = Path("run/experiment.toml")
    text = frozen.read_text()
    frozen.unlink()
    for words in (["merge", "run"], ["status", "run"], ["verify", "run"], ["replay", "run", "--trial", 0]):
        refused(invoke(*words), "run: not a run folder (no experiment.toml in it)")
    # another experiment of the same cell does not take the blocks for its own
    Path("seed.toml").write_text(SMALL.replace("seed = 3", "seed = 4"))
    before = everything(here)
    refused(invoke("run", "seed.toml", "-o", "run", "--quiet"), "seed is 3 there and 4 here")
    assert everything(here) == before
    status, out, _ = invoke("run", "small.toml", "-o", "run")
    assert status == 0
    assert "0 block(s) computed, 2 were there" in out[0]
    assert frozen.read_text() == text
    assert datasets(here / "run/results.h5") == good


def test_an_operator_file_that_changes_after_the_run_began(here: Path, invoke: Invoke) -> None:
    np.save("A.npy", np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
    text = SMALL.replace('operator = "gaussian"', 'operator = "file"\npath = "A.npy"')
    Path("file.toml").write_text(text.replace("trials = 4", "trials = 8"))
    assert invoke("run", "file.toml", "-o", "kept", "--quiet")[0] == 0
    blocks("kept")[-1].unlink()
    good = Path("A.npy").read_bytes()
    np.save("A.npy", np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1e-9]]))
    before = everything(here)
    refused(invoke("run", "file.toml", "-o", "kept", "--quiet"), "was created by a different experiment: problem")
    assert everything(here) == before
    # to merge and to look back the numbers that are there need no file
    assert invoke("merge", "kept")[0] == 0
    Path("A.npy").write_bytes(good)
    assert invoke("run", "file.toml", "-o", "kept", "--quiet")[0] == 0
    assert load("kept").attrs["complete"] == 1


# paths


NAMES = ["k" * 255, "ä" * 127, "a folder with spaces", "Größe 中文 ½", "-o", "%s {run} $HOME", "new\nline"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_strange_names_of_the_run_folder(here: Path, invoke: Invoke, name: str) -> None:
    folder = f"./{name}"
    assert invoke("run", "small.toml", "-o", folder, "--quiet") == (0, [], [])
    assert datasets(here / name / "results.h5") == datasets(here / "run/results.h5")
    for words in (["merge", folder], ["status", folder], ["verify", folder]):
        assert invoke(*words)[0] == 0
    assert datasets(here / name / "results.h5") == datasets(here / "run/results.h5")
    assert invoke("report", folder, "-o", f"{folder}/{name}")[0] == 0
    assert (here / name / name / "index.html").is_file()


def test_an_output_whose_name_has_255_bytes(here: Path, invoke: Invoke) -> None:
    for name in ("x" * 251 + ".npz", "ü" * 125 + "x.npz"):
        assert len(os.fsencode(name)) == 255
        assert invoke("export", "run", "--trial", 0, "--width", 4, "-o", name)[0] == 0
        assert set(np.load(name)) >= {"A", "y"}
    refused(invoke("export", "run", "--trial", 0, "--width", 4, "-o", "x" * 252 + ".npz"), "File name too long")
    assert [path for path in here.iterdir() if path.name.startswith(".")] == []


# several at once


def together(commands: list[list[str]]) -> list[tuple[int, str]]:
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for words in commands]
    told = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, err) for process, (_, err) in zip(started, told, strict=True)]


TWICE = """
import sys
sys.path.insert(0, sys.argv[2])
from block_stub import slow_stub
from mc.runner.execute import run
run(sys.argv[1], "twice", jobs=int(sys.argv[3]), compute=slow_stub)
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_two_processes_on_one_run_at_once(here: Path, jobs: str) -> None:
    Path("many.toml").write_text(SMALL.replace("trials = 4", "trials = 16"))
    words = [sys.executable, "-c", TWICE, "many.toml", str(Path(__file__).parents[1]), jobs]
    assert together([words, words]) == [(0, ""), (0, "")]
    assert len(blocks("twice")) == 8
    assert list(Path("twice").glob("**/.*")) == []
    run(Experiment.from_toml("many.toml"), "once", compute=slow_stub)
    assert datasets(Path("twice/results.h5")) == datasets(Path("once/results.h5"))


def test_a_task_that_runs_twice_writes_once(here: Path) -> None:
    experiment = load_frozen(Path("run"))
    plan, digests = run_plan(experiment), stream_digests(experiment)
    job = build_job(experiment, plan, Gap(plan.cells[0], 0, plan.widths, ()), digests[plan.cells[0].key], Path("b"), {})
    computed: list[int] = []

    def late(task: object) -> dict[str, np.ndarray]:
        # the other attempt, which a scheduler took for dead, is done while this one computes
        if not computed:
            computed.append(1)
            assert work(job, late).error is None
            computed.append(blocks_of_b()[0].stat().st_mtime_ns)
        return slow_stub(task)  # type: ignore[arg-type]

    def blocks_of_b() -> list[Path]:
        return list(Path("b").iterdir())

    assert work(job, late).error is None
    assert [path.stat().st_mtime_ns for path in blocks_of_b()] == computed[1:]


def test_a_report_while_another_process_merges(here: Path, invoke: Invoke) -> None:
    command = [sys.executable, "-m", "mc", "merge", "run"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(3):
        assert invoke("report", "run", "-o", "rep")[0] == 0
    assert first.wait(60) == 0
    assert load("run").attrs["complete"] == 1


# clocks


@pytest.mark.parametrize("change", [lambda now: 0.0, lambda now: now + 10 * 365 * 86400.0], ids=["1970", "2036"])
def test_files_whose_times_are_nonsense(here: Path, invoke: Invoke, change: Callable[[float], float]) -> None:
    good = datasets(here / "run/results.h5")
    for path in Path("run").rglob("*"):
        os.utime(path, (change(path.stat().st_mtime),) * 2)
    for words in (
        ["run", "small.toml", "-o", "run", "--quiet"],
        ["status", "run"],
        ["verify", "run"],
        ["merge", "run"],
    ):
        assert invoke(*words)[0] == 0
    assert datasets(here / "run/results.h5") == good


def test_status_reads_new_blocks_whatever_their_time(here: Path, invoke: Invoke) -> None:
    newest = blocks()[-1]
    content = newest.read_bytes()
    newest.unlink()
    assert invoke("merge", "run")[0] == 0
    newest.write_bytes(content)
    os.utime(newest, (0, 0))  # older than results.h5, by its time
    _, out, _ = invoke("status", "run")
    assert "2/2 blocks complete" in out[1]
    assert any("4 trials" in line for line in out[2:])
