"""The command line: exit statuses, one line for a mistake, nothing written where it refuses, bad worlds, progress."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from block_stub import datasets
from command_line import OTHER, SMALL, Invoke, everything, refused

from mc.cli.main import cli
from mc.cli.progress import progress_bar
from mc.experiment.experiment import Experiment
from mc.model import activations, losses
from mc.runner.jobs import Record
from mc.store.results import load
from mc.theory.bounds import p_theory
from mc.theory.claims import CLAIMS
from mc.theory.constants import Setting
from mc.version import __version__

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(cli.commands)

# the words


def test_every_promised_command_is_there() -> None:
    assert {"plan", "run", "status", "merge", "report", "theory", "export", "claims"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(invoke: Invoke, name: str, flag: str) -> None:
    status, out, err = invoke(name, flag)
    assert (status, err) == (0, [])
    assert out[0].startswith(f"Usage: dipmc {name}")
    first = (cli.commands[name].help or "").split("\n")[0]
    assert first
    assert first in " ".join(" ".join(out).split())


def test_help_of_all_lists_every_command(invoke: Invoke) -> None:
    status, out, err = invoke("--help")
    assert (status, err) == (0, [])
    assert set(COMMANDS) <= {line.split()[0] for line in out if line.startswith("  ")}
    refused(invoke(), "Missing command", "`dipmc --help`")
    assert invoke()[1] == out


def test_version(invoke: Invoke) -> None:
    assert invoke("--version") == (0, [f"dipmc, version {__version__}"], [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--frobnicate"], "No such option '--frobnicate'"),
        (["run", "small.toml", "more.toml"], "unexpected extra argument (more.toml)"),
        (["run", "small.toml", "-j"], "'-j' requires an argument"),
        (["run", "small.toml", "-j", "two"], "'two' is not a valid integer"),
        (["run", "small.toml", "-j", "0"], "-j 0"),
        (["run", "small.toml", "--backend", "threads"], "'threads' is not one of"),
        (["run", "small.toml", "--shard", "4/4"], "--shard 4/4: use i/N with i from 0 to N - 1"),
        (["run", "small.toml", "--shard", "-1/4"], "--shard -1/4"),
        (["run", "small.toml", "--shard", "1"], "--shard 1: use i/N"),
        (["run", "small.toml", "--shard", "1/x"], "--shard 1/x"),
        (["run", "small.toml", "--shard", "0/0"], "--shard 0/0"),
        (["plan", "absent.toml"], "absent.toml: no such file"),
        (["run", "absent.toml"], "absent.toml: no such file"),
        (["plan", "run"], "run: is a directory"),
        (["run", "run"], "run: is a directory"),
        (["run", "run/results.h5"], "not UTF-8 text"),
        (["plan", "run/results.h5"], "not UTF-8 text"),
        (["plan", "sp\x1bace\n.toml"], "sp\\x1bace .toml: no such file"),
        (["status", "absent"], "absent: not a run folder"),
        (["status", "sp\x1bace\n"], "sp\\x1bace : not a run folder"),
        (["merge", "absent"], "absent: not a run folder"),
        (["report", "absent"], "absent: not a run folder"),
        (["status", "run/blocks"], "run/blocks: not a run folder"),
        (["merge", "run/blocks"], "run/blocks: not a run folder"),
        (["report", "run/blocks"], "run/blocks: not a run folder"),
        (["status", "small.toml"], "small.toml: not a run folder"),
        (["merge", "small.toml"], "small.toml: not a run folder"),
        (["report", "small.toml"], "small.toml: not a run folder"),
        (["export", "absent", "--trial", "0", "--width", "4", "-o", "a.npz"], "absent: not a run folder"),
        (["export", "run", "--width", "4", "-o", "a.npz"], "Missing option '--trial'"),
        (["export", "run", "--trial", "0", "--width", "4"], "Missing option '-o'"),
        (["export", "run", "--trial", "4", "--width", "4", "-o", "a.npz"], "--trial 4: "),
        (["export", "run", "--trial", "-1", "--width", "4", "-o", "a.npz"], "--trial -1: "),
        (["export", "run", "--trial", "0", "--cell", "1", "--width", "4", "-o", "a.npz"], "--cell 1: "),
        (["export", "run", "--trial", "0", "--cell", "-1", "--width", "4", "-o", "a.npz"], "--cell -1: "),
        (["export", "run", "--trial", "0", "--width", "0", "-o", "a.npz"], "--width 0: "),
        (["export", "run", "--trial", "0", "--width", "17", "-o", "a.npz"], "--width 17: "),
        (["export", "run", "--trial", "0", "--width", "1" + 30 * "0", "-o", "a.npz"], "up to 16"),
        (["export", "run", "--trial", "0", "--width", "4", "-o", "run"], "run: is a folder"),
        (["theory", "-n", "0"], "n: 0 is out of range"),
        (["theory", "-m", "0"], "m: 0 is out of range"),
        (["theory", "--seed", "-1"], "seed: -1 is out of range"),
        (["theory", "--noise", "nan"], "noise: nan"),
        (["theory", "--noise", "inf"], "noise: inf"),
        (["theory", "--operator", "radon"], "operator: 'radon'"),
        (["theory", "--operator", "file"], "--operator file"),
        (["theory", "--operator", "identity", "-m", "3"], "m: 3 is not n = 10"),
        (["theory", "--operator", "spectrum"], "condition: is missing"),
        (["theory", "--operator", "spectrum", "--condition", "0.5"], "condition: 0.5 is out of range"),
        (["theory", "--operator", "spectrum", "--condition", "inf"], "condition: inf"),
        (["theory", "--operator", "mask", "--keep", "0"], "keep: 0"),
        (["theory", "--operator", "blur", "--blur-width", "-1"], "blur_width: -1"),
        (["theory", "--keep", "0.5"], "keep: belongs to operator 'mask'"),
        (["theory", "--activation", "relu"], "activation: 'relu'"),
        (["theory", "--output-law", "cauchy"], "output_law: 'cauchy'"),
        (["theory", "--loss", "power"], "p: is missing"),
        (["theory", "--loss", "power", "-p", "1"], "p: 1.0 is out of range"),
        (["theory", "-p", "3"], "p: belongs to kind 'power'"),
        (["theory", "--delta", "0"], "--delta 0"),
        (["theory", "--delta", "nan"], "--delta nan"),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode() if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(here: Path, invoke: Invoke, words: list[str], said: str) -> None:
    before = everything(here)
    refused(invoke(*words), said)
    assert everything(here) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_words_of_any_command_point_to_its_help(here: Path, invoke: Invoke, name: str) -> None:
    before = everything(here)
    needs = [p for p in cli.commands[name].params if isinstance(p, click.Argument) and p.required]
    refused(invoke(name, "--frobnicate"), f"see `dipmc {name} --help`")
    if needs:
        refused(invoke(name), f"Missing argument '{needs[0].human_readable_name}'", f"see `dipmc {name} --help`")
    assert everything(here) == before


def process(*words: str, how: str = "module", cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    script = Path(sys.executable).with_name("dipmc")
    start = [sys.executable, "-m", "mc"]
    if how == "script":
        line = [sys.executable, "-c", "import sys; from mc.cli.main import main; sys.exit(main())"]
        start = [str(script)] if script.exists() else line
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*start, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["module", "script"])
def test_all_ways_to_start_it_agree(here: Path, invoke: Invoke, how: str) -> None:
    for words in (["status", "run"], ["run", "run/results.h5"]):
        found = process(*words, how=how, cwd=here)
        assert (found.returncode, found.stdout.splitlines(), found.stderr.splitlines()) == invoke(*words)


def test_an_output_that_takes_nothing_is_one_line(here: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "mc", "claims"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    refused((found.returncode, [], found.stderr.splitlines()), os.strerror(errno.ENOSPC))


# what the commands do


def test_plan_says_what_would_be_computed(here: Path, invoke: Invoke) -> None:
    before = everything(here)
    status, out, err = invoke("plan", "small.toml")
    assert (status, err) == (0, [])
    assert out[0] == "small: 1 cell(s), 2 block(s) of 2 trials each"
    assert "2 widths from 4 to 16; flow at none" in out[2]
    assert Experiment.from_toml("small.toml").cells()[0].key in out[3]
    assert re.search(r"about \S+ core-hours and \S+ GB \(4 trials", out[-1])
    assert re.search(r"storage: about \S+ bytes a trial before compression, .*results.h5 together", out[-2])
    status, out, _ = invoke("plan", "suite.toml")
    assert [line.split(":")[0] for line in out if not line.startswith(" ")] == ["small", "other"]
    assert everything(here) == before


def test_run_status_merge_and_run_again(here: Path, invoke: Invoke) -> None:
    shutil.rmtree("run")
    status, out, err = invoke("run", "small.toml")
    assert status == 0
    assert re.fullmatch(r"small: 2 block\(s\) computed, \d+\.\d s", out[0])
    assert out[1].strip() == "data/small/results.h5"
    assert re.fullmatch(r"small: 2/2 blocks, \d+\.\d\d blocks/s, 0 s left", err[0])
    there = datasets(Path("data/small/results.h5"))
    status, out, err = invoke("status", "data/small")
    assert (status, err) == (0, [])
    assert out[0] == "data/small: 4 trials in 2 block(s) of 2"
    assert out[1].endswith("2/2 blocks complete, 4 trials at every width")
    Path("data/small/results.h5").unlink()
    assert invoke("merge", "data/small") == (0, ["data/small/results.h5"], [])
    assert datasets(Path("data/small/results.h5")) == there
    status, out, err = invoke("run", "small.toml")
    assert (status, err) == (0, [])
    assert "0 block(s) computed, 2 were there" in out[0]
    assert invoke("run", "small.toml", "--quiet") == (0, [], [])


def test_a_run_in_shards(here: Path, invoke: Invoke) -> None:
    status, out, _ = invoke("run", "small.toml", "-o", "s", "--shard", "0/2")
    assert status == 0
    assert "not complete, other shards are missing" in out[1]
    assert invoke("status", "s")[1][1].endswith("1/2 blocks complete, 2 trials at every width")
    assert invoke("run", "small.toml", "-o", "s", "--shard", "1/2", "--quiet")[0] == 0
    assert datasets(here / "s" / "results.h5") == datasets(here / "run" / "results.h5")


def test_a_failed_block_is_status_one_and_a_line(here: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("no\nsuch number")

    monkeypatch.setattr("mc.runner.jobs.write_block", broken)
    status, _, err = invoke("run", "small.toml", "-o", "f", "--quiet")
    assert status == 1
    assert len(err) == 2
    place = r"failed: cell 0 \([0-9a-f]{16}\), block \d \(trials \d to \d\): "
    assert all(re.match(place + "ArithmeticError: no such number", line) for line in err)
    monkeypatch.setattr("mc.cli.run.MOST_FAILURES", 1)
    assert invoke("run", "small.toml", "-o", "f", "--quiet") == (1, [], [err[0], "failed: 1 more"])


@pytest.mark.slow
def test_a_suite_runs_and_reports_each_experiment_in_its_place(here: Path, invoke: Invoke) -> None:
    for name, text in (("small", SMALL), ("other", OTHER)):
        # one figure each
        less = text.replace('["hidden", "both"]', '"hidden"') + '[certificates]\nladder = ["exact"]\n'
        Path(f"{name}.toml").write_text(less)
    status, out, _ = invoke("run", "suite.toml", "--quiet")
    assert (status, out) == (0, [])
    names = ["other", "small"]
    assert sorted(path.name for path in Path("data/suite").iterdir()) == names
    alone = load("run").cells[0]
    for name in ("exact", "psi_0", "norm_y"):
        np.testing.assert_array_equal(load("data/suite/small").cells[0][name], alone[name])
    status, out, _ = invoke("status", "data/suite")
    assert [line.split(":")[0] for line in out if not line.startswith(" ")] == [f"data/suite/{x}" for x in names]
    assert invoke("merge", "data/suite")[1] == [f"data/suite/{name}/results.h5" for name in names]
    status, out, err = invoke("report", "data/suite")
    assert (status, err) == (0, [])
    assert {f"reports/suite/{name}/index.html" for name in names} | {"reports/suite/index.html"} == set(out)
    contents = Path("reports/suite/index.html").read_text()
    assert all(f'href="{name}/index.html"' in contents for name in names)
    for name in names:
        summary = json.loads(Path(f"reports/suite/{name}/summary.json").read_text())
        assert summary["provenance"]["name"] == name


def test_a_report_is_named_after_its_experiment(here: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(run: Path, out: Path) -> Path:
        assert load(run).cells
        return out / "index.html"

    monkeypatch.setattr("mc.report.page.write_report", written)
    assert invoke("report", "run") == (0, ["reports/small/index.html"], [])
    # results passed on without their run have a report too
    Path("passed").mkdir()
    shutil.copy("run/results.h5", "passed")
    assert invoke("report", "passed/results.h5", "-o", "mine") == (0, ["mine/index.html"], [])
    assert invoke("report", "passed") == (0, ["reports/passed/index.html"], [])


def test_claims_are_those_of_the_registry(invoke: Invoke) -> None:
    status, out, err = invoke("claims")
    assert (status, err) == (0, [])
    assert [line.split(" ")[0] for line in out if not line.startswith(" ")] == list(CLAIMS)


@pytest.mark.slow
def test_theory_is_that_of_the_cell_an_experiment_would_have(here: Path, invoke: Invoke) -> None:
    options = ["-n", "2", "-m", "1", "--seed", "5", "--noise", "0.1", "--delta", "0.5", "--delta", "0.1"]
    status, out, err = invoke("theory", *options)
    assert (status, err) == (0, [])
    text = SMALL.replace("seed = 3", "seed = 5").replace("n = 3\nm = 2", 'n = 2\nm = 1\nresample = "cell"')
    Path("cell.toml").write_text(text.replace('"gaussian"', '"orthonormal"').replace("trials = 4", "trials = 1"))
    assert invoke("run", "cell.toml", "-o", "cell", "--quiet")[0] == 0
    cell = load("cell").cells[0]
    assert f"|y| = {cell['norm_y'][0]:.4g};" in out[0]
    facts = {name: float(cell[name][0]) for name in ("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y")}
    mse, sigmoid = losses.get("mse"), activations.get("sigmoid")
    setting = Setting(2, 1, **facts, loss=mse, activation=sigmoid, entry_bound=np.sqrt(3.0), subgaussian=True)
    rows = [line.split() for line in out if line.split()[0] in ("hidden", "both")]
    assert [row[:2] for row in rows] == [[mode, form] for mode in ("hidden", "both") for form in ("trial", "paper")]
    for mode, form, *widths in rows:
        for width, least in zip(map(int, widths), (0.5, 0.9), strict=True):
            before, at = p_theory(setting, mode, form, [width - 1, width])
            # p_theory is an optimum found to a few roundings
            assert at >= least - 1e-9
            assert before < least + 1e-9


# bad worlds


def test_a_file_where_a_folder_should_be(here: Path, invoke: Invoke) -> None:
    Path("taken").write_text("a file")
    before = everything(here)
    for place in ("taken", "taken/below"):
        refused(invoke("run", "small.toml", "-o", place, "--quiet"), place, "choose another")
        refused(invoke("report", "run", "-o", place), place, "another folder")
    refused(invoke("export", "run", "--trial", 0, "--width", 4, "-o", "taken/a.npz"), "taken", "a.npz was not written")
    assert everything(here) == before


def test_a_folder_of_the_system_that_takes_no_files(here: Path, invoke: Invoke) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc")
    refused(invoke("run", "small.toml", "-o", "/proc/dipmc", "--yes", "--quiet"), "/proc/dipmc")
    refused(invoke("report", "run", "-o", "/proc/dipmc"), "/proc/dipmc")
    refused(invoke("export", "run", "--trial", 0, "--width", 4, "-o", "/proc/a.npz"), "/proc")


def test_a_damaged_result_file(here: Path, invoke: Invoke) -> None:
    whole = Path("run/results.h5").read_bytes()
    for content in (b"", b"results", whole[:500], whole[: len(whole) // 2]):
        Path("run/results.h5").write_bytes(content)
        refused(invoke("report", "run", "-o", "rep"), "run/results.h5: damaged", "`dipmc merge run`")
        assert not Path("rep/index.html").exists()
    assert invoke("merge", "run")[0] == 0
    assert invoke("run", "small.toml", "-o", "run", "--quiet") == (0, [], [])


def test_a_report_of_a_running_experiment_says_how_much_is_there(here: Path, invoke: Invoke) -> None:
    def page() -> str:
        return Path("rep/index.html").read_text()

    blocks = sorted(Path("run/blocks").iterdir())
    kept = {path: path.read_bytes() for path in blocks[1:]}
    Path("run/results.h5").unlink()
    for path in kept:
        path.unlink()
    assert invoke("report", "run", "-o", "rep")[0] == 0
    assert load("run").attrs["complete"] == 0
    assert "not complete" in page()
    assert "Incomplete: 2 of 4 trials are there at every width." in page()
    few = load("run").cells[0]["trials_present"]
    # more blocks come: the next report has them, without another command; their times do not matter
    for path, content in kept.items():
        path.write_bytes(content)
        os.utime(path, (0, 0))
    assert invoke("report", "run", "-o", "rep")[0] == 0
    assert load("run").attrs["complete"] == 1
    assert "not complete" not in page()
    assert (load("run").cells[0]["trials_present"] > few).all()
    # one that is up to date is not written again
    before = Path("run/results.h5").read_bytes()
    assert invoke("report", "run", "-o", "rep")[0] == 0
    assert Path("run/results.h5").read_bytes() == before


def test_a_truncated_block_is_named_by_all_who_read_it(here: Path, invoke: Invoke) -> None:
    block = min(Path("run/blocks").iterdir())
    os.truncate(block, block.stat().st_size // 2)
    before = everything(here)
    for words in (["run", "small.toml", "-o", "run", "--quiet"], ["merge", "run"], ["status", "run"]):
        refused(invoke(*words), str(block), "delete it and run again")
    assert everything(here) == before
    block.unlink()
    assert invoke("run", "small.toml", "-o", "run", "--quiet")[0] == 0
    assert everything(here).keys() == before.keys()


def test_a_damaged_frozen_copy(here: Path, invoke: Invoke) -> None:
    Path("run/experiment.toml").write_bytes(b"\x89HDF")
    for words in (["run", "small.toml", "-o", "run"], ["merge", "run"], ["status", "run"]):
        refused(invoke(*words), "run/experiment.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed = 3", "seed = 4", "seed is 3 there and 4 here"),
        ("noise = 0.1", "noise = 0.2", "problem.noise is 0.1 there and 0.2 here"),
        ("n = 3", "n = 4", "problem.n is 3 there and 4 here"),
        ("[network]", '[loss]\nkind = "logcosh"\n[network]', "loss.kind is 'mse' there and 'logcosh' here"),
        ("[network]", '[network]\nactivation = "tanh"', "network.activation is 'sigmoid' there and 'tanh' here"),
        ("[network]", '[network]\noutput_law = "rademacher"', "network.output_law is 'uniform' there"),
        ('["hidden", "both"]', '"both"', "network.mode is ['hidden', 'both'] there and ['both'] here"),
    ],
)
def test_another_experiment_into_the_same_folder_names_the_field(
    here: Path, invoke: Invoke, old: str, new: str, said: str
) -> None:
    assert old in SMALL
    Path("changed.toml").write_text(SMALL.replace(old, new))
    before = everything(here)
    refused(invoke("run", "changed.toml", "-o", "run"), "run: was created by a different experiment: ", said, "-o")
    assert everything(here) == before


HUGE = SMALL.replace("trials = 4\nblock_size = 2", "trials = 1_000_000_000_000")


def test_a_huge_run_is_planned_and_refused(here: Path, invoke: Invoke) -> None:
    assert HUGE != SMALL
    Path("huge.toml").write_text(HUGE)
    status, out, err = invoke("plan", "huge.toml")
    assert (status, err) == (0, [])
    found = re.search(r"about (\S+) core-hours and (\S+) GB", out[-1])
    assert found is not None
    # 10^12 trials of 2 widths: no machine draws a problem in less than a microsecond, nor keeps it in 100 bytes
    assert float(found[1]) > 1e12 * 1e-6 / 3600
    assert float(found[2]) > 1e12 * 100 / 1e9
    before = everything(here)
    refused(invoke("run", "huge.toml"), "core-hours", "GB free", "--yes")
    refused(invoke("run", "huge.toml", "--yes"), "use fewer trials")
    assert everything(here) == before


def test_a_costly_run_goes_on_with_yes(here: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mc.runner.cost.LIMIT_SECONDS", 1e-3)
    before = everything(here)
    refused(invoke("run", "small.toml", "-o", "new"), "core-hours", "--yes")
    assert everything(here) == before
    assert invoke("run", "small.toml", "-o", "new", "--yes", "--quiet") == (0, [], [])


def test_a_refused_run_leaves_the_folder_that_is_there_as_it_was(
    here: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mc.runner.cost.LIMIT_SECONDS", 1e-3)
    Path("huge.toml").write_text(HUGE.replace("trials = 1", "block_size = 2\ntrials = 1"))
    Path("long.toml").write_text(SMALL.replace("trials = 4", "trials = 40"))
    before = everything(here)
    refused(invoke("run", "huge.toml", "-o", "run"), "fewer trials")
    refused(invoke("run", "long.toml", "-o", "run"), "--yes")
    assert everything(here) == before
    assert invoke("status", "run")[0] == 0


def test_a_suite_is_refused_before_its_first_experiment(here: Path, invoke: Invoke) -> None:
    Path("other.toml").write_text(HUGE.replace('"small"', '"other"'))
    before = everything(here)
    refused(invoke("run", "suite.toml", "-o", "all"), "core-hours", "--yes")
    assert everything(here) == before
    Path("other.toml").write_text(OTHER.replace("seed = 3", "seed = 4"))
    shutil.copytree("run", "all/other")
    before = everything(here)
    refused(invoke("run", "suite.toml", "-o", "all"), "all/other: was created by a different experiment")
    assert everything(here) == before


class Disk:
    """A file system in memory of a given size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.mount("size=64k")

    def mount(self, options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        if self.mounted:
            words = ["mount", "-o", f"remount,{options}", str(self.path)]
        try:
            found = subprocess.run(words, capture_output=True, text=True, timeout=20)
        except OSError as error:
            pytest.skip(f"needs a small file system, and there is no mount: {error}")
        if found.returncode:
            pytest.skip(f"needs a small file system, and to mount one is not allowed: {found.stderr.strip()}")

    @property
    def mounted(self) -> bool:
        return os.path.ismount(self.path)

    @property
    def used(self) -> int:
        found = os.statvfs(self.path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    subprocess.run(["umount", str(made.path)], check=True, timeout=20)


def half_written(folder: Path) -> list[str]:
    """Temporaries, and files under a final name that are not whole."""
    found = [str(path) for path in folder.rglob(".*")]
    for path in folder.rglob("*.h5"):
        try:
            datasets(path)
        except OSError:
            found.append(str(path))
    return found


def test_a_disk_that_fills_up_keeps_what_is_whole(here: Path, invoke: Invoke, disk: Disk) -> None:
    run = disk.path / "run"
    size = max(path.stat().st_size for path in (here / "run/blocks").iterdir())
    for step, room in enumerate(("no block", "one block", "no results")):
        # tmpfs counts pages of 4 kB: the files of the folder and one page for what is being renamed
        free = {"no block": size // 2, "one block": size + size // 2, "no results": size + 8192}[room]
        disk.mount(f"size={disk.used + 8192 + free}")
        refused(invoke("run", "small.toml", "-o", run, "--quiet", "--yes"), "no space left", "not written")
        assert half_written(disk.path) == []
        assert len(list(run.glob("blocks/*.h5"))) == step
        assert not (run / "results.h5").exists()
    disk.mount("size=20m")
    assert invoke("run", "small.toml", "-o", run, "--quiet") == (0, [], [])
    assert datasets(run / "results.h5") == datasets(here / "run/results.h5")


def test_a_full_disk_under_export_and_report(here: Path, invoke: Invoke, disk: Disk) -> None:
    with open(disk.path / "fill", "wb", buffering=0) as fill, contextlib.suppress(OSError):
        while True:
            fill.write(b"0" * 1024)
    refused(invoke("export", "run", "--trial", 0, "--width", 16, "-o", disk.path / "a.npz"), "no space left")
    refused(invoke("report", "run", "-o", disk.path / "rep"), "no space left")
    assert not (disk.path / "a.npz").exists()
    assert list((disk.path / "rep").iterdir()) == []


def test_a_disk_that_is_read_only(here: Path, invoke: Invoke, disk: Disk) -> None:
    disk.mount("size=20m")
    shutil.copytree("run", disk.path / "run")
    disk.mount("size=20m,ro")
    refused(invoke("run", "small.toml", "-o", disk.path / "new", "--quiet"), "cannot be written", "-o")
    refused(invoke("merge", disk.path / "run"), "cannot be written")
    refused(invoke("export", "run", "--trial", 0, "--width", 4, "-o", disk.path / "a.npz"), "cannot be written")
    refused(invoke("report", "run", "-o", disk.path / "rep"), "another folder")
    # to read it is enough for these
    assert invoke("status", disk.path / "run")[0] == 0
    assert invoke("export", disk.path / "run", "--trial", 0, "--width", 4, "-o", "a.npz")[0] == 0


# progress


def test_lines_of_progress_come_now_and_then_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("mc.cli.progress.time.monotonic", lambda: now[0])
    record = Record("cell 0", "00", 0, 1.0)
    with progress_bar("name", quiet=False) as progress:
        assert progress is not None
        for done in range(1, 31):
            now[0] += 1.0
            progress(done, 30, record)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "name: 10/30 blocks, 1.00 blocks/s, 20 s left",
        "name: 20/30 blocks, 1.00 blocks/s, 10 s left",
        "name: 30/30 blocks, 1.00 blocks/s, 0 s left",
    ]


def test_progress_of_a_run_that_has_done_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("mc.cli.progress.time.monotonic", lambda: now[0])
    with progress_bar("name", quiet=False) as progress:
        assert progress is not None
        now[0] = 60.0
        # a block that found a user's file gone is neither done nor failed
        progress(0, 3, Record("cell 0", "00", 0, 1.0, "gone", refused=True))
    assert capsys.readouterr().err.splitlines() == ["name: 0/3 blocks, 0.00 blocks/s, time left unknown"]


def test_quiet_says_nothing(here: Path, invoke: Invoke) -> None:
    assert invoke("run", "small.toml", "-o", "q", "--quiet") == (0, [], [])
    assert Path("q/results.h5").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [0, 100])
def test_a_terminal_shows_done_total_rate_and_time_left(here: Path, columns: int) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    # every update is shown, however fast the blocks are
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_MININTERVAL": "0"}
    started = subprocess.Popen(
        [sys.executable, "-m", "mc", "run", "small.toml", "-o", "t"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    )
    os.close(slave)
    shown, end = b"", time.monotonic() + 60
    while time.monotonic() < end and select.select([master], [], [], 60)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        shown += piece
    os.close(master)
    out, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    text = shown.decode()
    # tqdm's words: share, bar, done/total [elapsed<left, rate]
    assert re.search(r"small: +50%\|.*\| 1/2 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+(block/s|s/block)\]", text), text
    assert "blocks/s," not in text
    assert out.startswith("small: 2 block(s) computed")


# start-up


def test_starting_up_imports_nothing_that_only_figures_need() -> None:
    code = (
        "import sys; from mc.cli.main import main; main(['--version']); main(['claims']); unwanted = "
        "{'matplotlib', 'seaborn', 'pandas', 'jinja2', 'xarray', 'dask'}; print(*unwanted & {*sys.modules})"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines()[-1] == ""
