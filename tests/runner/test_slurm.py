"""Job arrays: the script as written, and as a real SLURM runs it, kills it, stops it and starts it again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import private_slurm
import pytest
from block_stub import datasets
from command_line import OTHER, SMALL, SUITE, Invoke, refused

from mc.cli.main import main
from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.runner import slurm
from mc.runner.interrupts import parse_signals
from mc.runner.plan import gaps, run_plan
from mc.store.results import load


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with experiment files, to work in."""
    for name, text in (("small", SMALL), ("other", OTHER), ("suite", SUITE)):
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# the script


def test_the_script_is_plain_and_whole(invoke: Invoke, here: Path) -> None:
    setup = ("--setup", "module load python", "--setup", 'export GREETING="a b"')
    asked = ("--time", "2-0", "--mem", "4G", "--cpus", 2, "--partition", "long", "--account", "theory", "--warn", 300)
    status, out, err = invoke("slurm", "small.toml", "--tasks", 8, *asked, *setup, "-o", "my 5% run")
    assert (status, err) == (0, [])
    script = here / "my 5% run" / "slurm" / "array.sh"
    assert "tasks 0-1 of 8, 4G and 2 cpu(s) each" in out[0]  # small.toml has two blocks
    text = script.read_text()
    assert "{" not in text.replace('"${SLURM_ARRAY_JOB_ID}', "")  # nothing is left to fill in
    directives = dict(
        line[10:].split("=", 1) for line in text.splitlines() if line.startswith("#SBATCH --") if "=" in line
    )
    assert re.fullmatch(r"dipmc-small-[0-9a-f]{8}", directives.pop("job-name"))
    assert directives == {
        "array": "0-1",
        "partition": "long",
        "account": "theory",
        "time": "2-0",
        "mem": "4G",
        "cpus-per-task": "2",
        "signal": "B:USR1@300",
        "output": f'"{here}/my 5%% run/slurm/%A_%a.log"',
        "open-mode": "append",
    }
    assert "#SBATCH --requeue\n" in text
    assert '\nmodule load python\nexport GREETING="a b"\n' in text
    assert f"-m mc run {here}/small.toml -o '{here}/my 5% run' --no-merge --yes" in text
    assert '--requeue-on USR1,TERM --shard "$SLURM_ARRAY_TASK_ID/8" -j 2 &' in text
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    # its folder is a run from now on, so that its state can be asked for
    assert invoke("status", "my 5% run")[0] == 0


def test_only_missing_shards_are_asked_for(invoke: Invoke, here: Path) -> None:
    assert main(["run", "small.toml", "-o", "r", "--shard", "1/2", "--quiet"]) == 0
    assert invoke("slurm", "small.toml", "--tasks", 2, "-o", "r")[0] == 0
    assert "#SBATCH --array=0\n" in (here / "r" / "slurm" / "array.sh").read_text()
    assert main(["run", "small.toml", "-o", "r", "--quiet"]) == 0
    status, out, _ = invoke("slurm", "small.toml", "--tasks", 2, "-o", "r")
    assert (status, out) == (0, ["r: nothing is missing; `dipmc merge r` writes results.h5"])


def test_a_suite_has_its_runs_below_one_folder(invoke: Invoke, here: Path) -> None:
    assert main(["run", "suite.toml", "-o", "r", "--shard", "0/2", "--quiet"]) == 0
    assert invoke("slurm", "suite.toml", "--tasks", 2, "-o", "r")[0] == 0
    assert "#SBATCH --array=1\n" in (here / "r" / "slurm" / "array.sh").read_text()
    assert {path.parent.name for path in (here / "r").glob("*/experiment.toml")} == {"small", "other"}


def test_rounds_ask_for_the_next_one(invoke: Invoke, here: Path) -> None:
    text = SMALL.replace("trials = 4\n", "") + "[sampling]\ntarget_half_width = 0.3\nmin_trials = 4\nmax_trials = 16\n"
    (here / "rounds.toml").write_text(text)
    status, out, _ = invoke("slurm", "rounds.toml", "--tasks", 2, "-o", "r")
    assert status == 0
    assert "round by round" in out[-2]
    assert "#SBATCH --array=0-1\n" in (here / "r" / "slurm" / "array.sh").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mem", "3X"), "--mem 3X: use a number with K, M, G or T"),
        (("--mem", "0"), "--mem 0"),
        (("--time", "soon"), "--time soon: not a time limit"),
        (("--time", "3"), "--time 3: 180 s leave nothing to compute before the warning, 120 s"),
        (("--partition", "a b"), "--partition a b: not a name"),
        (("--account", "x;y"), "--account x;y: not a name"),
        (("--setup", "a\nb"), "--setup: a line holds control characters"),
        (("-o", 'say "a"'), "not a path for a SLURM script"),
        (("--tasks", "0"), "--tasks"),
        (("--cpus", "0"), "--cpus"),
        (("--warn", "0"), "--warn"),
        (("--submit",), "--submit: no squeue here; run this where jobs are submitted"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    invoke: Invoke, here: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    before = sorted(here.iterdir())
    monkeypatch.setattr("mc.runner.slurm.shutil.which", lambda _: None)
    refused(invoke("slurm", "small.toml", "--tasks", 2, *words), said)
    assert sorted(here.iterdir()) == before


def test_a_plan_says_what_a_task_takes(invoke: Invoke, here: Path) -> None:
    status, out, _ = invoke("plan", "small.toml", "--tasks", 8)
    assert status == 0
    assert re.fullmatch(r"  as 8 tasks: 1 block\(s\) and about [0-9.e-]+ core-hours each", out[-1])
    refused(invoke("plan", "small.toml", "--tasks", 0), "--tasks")


def test_a_costly_array_is_refused(invoke: Invoke, here: Path) -> None:
    (here / "huge.toml").write_text(SMALL.replace("trials = 4\n", "trials = 100000\n").replace("16]", "100000000]"))
    refused(invoke("slurm", "huge.toml", "--tasks", 100), "core-hours", "add --yes")
    assert not (here / "data").exists()


def test_what_sbatch_refuses_is_told(invoke: Invoke, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "bin").mkdir()
    for name, body in (
        ("squeue", "exit 0"),
        ("sbatch", "echo 'sbatch: error: no such' >&2\necho partition >&2\nexit 1"),
    ):
        (here / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (here / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    status, _, err = invoke("slurm", "small.toml", "--tasks", 2, "--submit")
    assert (status, err) == (2, ["dipmc: --submit: sbatch refused: sbatch: error: no such partition"])


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("90", 5400), ("1:30", 90), ("1:02:03", 3723), ("2-0", 172800), ("2-3", 183600), ("1-2:3", 93780)],
)
def test_time_limits_are_read_as_sbatch_does(time: str, seconds: int) -> None:
    assert slurm.seconds(time) == seconds
    with pytest.raises(InputError, match="not a time limit"):
        slurm.seconds(f"{time}h")


def test_numbers_of_an_array() -> None:
    assert slurm.array({7, 0, 1, 3, 2, 9}) == "0-3,7,9"
    assert slurm.array([4]) == "4"


# signals of a batch system


def test_names_of_signals() -> None:
    assert parse_signals("USR1, SIGTERM") == (signal.SIGUSR1, signal.SIGTERM)
    for text in ("KILL", "", "USR1;TERM", "INT"):
        with pytest.raises(InputError, match=r"no such signal .*use some of USR1,USR2,TERM"):
            parse_signals(text)


def stopped(folder: Path, options: list[str], *numbers: int) -> tuple[int, str]:
    """Status and words of a run of many blocks in its own process, sent signals when two blocks are there."""
    (folder / "many.toml").write_text(SMALL.replace("trials = 4\n", "trials = 4000\n"))
    command = [sys.executable, "-m", "mc", "run", "many.toml", "-o", "r", "--quiet", *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment())
    end = time.monotonic() + 60
    while len(list(folder.glob("r/blocks/*.h5"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    for number in numbers:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "number", "status"),
    [
        (["--requeue-on", "USR1,TERM"], signal.SIGUSR1, 75),
        (["--requeue-on", "USR1,TERM", "-j", "2"], signal.SIGTERM, 75),
        (["--requeue-on", "USR1"], signal.SIGTERM, 130),
        ([], signal.SIGTERM, 130),
    ],
)
def test_the_status_says_whether_to_requeue(here: Path, options: list[str], number: int, status: int) -> None:
    found, err = stopped(here, options, number)
    assert found == status, err
    assert f"dipmc: stopped by {signal.Signals(number).name}: " in err
    assert "the same command resumes" in err
    assert list((here / "r" / "blocks").glob(".*")) == []  # the blocks in work were written


def test_wrong_names_of_signals_are_one_line(invoke: Invoke, here: Path) -> None:
    refused(invoke("run", "small.toml", "--requeue-on", "KILL"), "--requeue-on KILL: no such signal 'KILL'")
    assert not (here / "data").exists()


# a real cluster

EXPERIMENT = """
[experiment]
name = "array"
seed = 5
trials = 240
block_size = 2
[problem]
n = 3
m = 2
operator = "gaussian"
[network]
mode = ["hidden", "both"]
[widths]
values = [4, 16]
"""
BLOCKS = 120
TASKS = 4
# the last task of an array bears the number of the array itself: that one is to requeue itself alone
KILLED, TIMED_OUT, WARNED = 1, 2, 3

# Imported by the interpreters of the tasks before anything else: it notes every block that is begun, and in the first
# life of a task makes some of them slow (so that the warning meets it at work) and others endless.
HOOK = """
import os, time
from pathlib import Path
import mc.runner.jobs

task, log = int(os.environ["SLURM_ARRAY_TASK_ID"]), Path(__file__).parent
first_life = not (log / "second").exists() and "SLURM_RESTART_COUNT" not in os.environ
compute, begun = mc.runner.jobs.write_block, 0

def slowly(folder, header, arrays):
    global begun
    begun += 1
    (log / f"{header.block}~{task}~{os.getpid()}~{time.monotonic_ns()}").touch()
    if first_life and task != 0:
        time.sleep(1.0 if CANCELLED else 5.0 if task == WARNED else 600.0 if begun == 3 else 0.0)
    return compute(folder, header, arrays)

mc.runner.jobs.write_block = slowly
""".replace("WARNED", str(WARNED))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A SLURM of two nodes with two processors each, to which this process submits."""
    reason = private_slurm.absent()
    if reason is not None:
        pytest.skip(reason)
    with private_slurm.private_slurm() as env, pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - env.keys():
            patch.delenv(name)
        patch.setenv("SLURM_CONF", env["SLURM_CONF"])
        yield


def states(job: str) -> dict[int, str]:
    """By task the state of a job array, with those that have ended."""
    words = ["squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%K %T"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {int(task): state for task, state in map(str.split, told.splitlines())}


def await_end(job: str, seconds: float) -> dict[int, str]:
    end = time.monotonic() + seconds
    while {"PENDING", "RUNNING", "COMPLETING"} & set((found := states(job)).values()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def number(out: list[str]) -> str:
    """The job that was submitted."""
    return next(match[1] for line in out if (match := re.search(r"submitted as job (\d+)", line)))


def array_of(folder: Path, run: Path, hook: str) -> list[object]:
    """The command that submits the array; its tasks import the hook, which notes what they do in ``folder/log``."""
    log = folder / "log"
    log.mkdir()
    (log / "sitecustomize.py").write_text(hook)
    (folder / "array.toml").write_text(EXPERIMENT)
    setup = f"export PYTHONPATH='{log}:{Path(__file__).parents[2]}'"
    return ["slurm", folder / "array.toml", "--tasks", TASKS, "-o", run, "--setup", setup, "--submit"]


def begun(log: Path) -> list[tuple[str, int, int]]:
    """Block, task and process of each execution."""
    names = [path.name.split("~") for path in log.glob("*~*")]
    return [(block, int(task), int(pid)) for block, task, pid, _ in names]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_a_cancelled_array_stops_in_order_and_is_not_requeued(invoke: Invoke, tmp_path: Path) -> None:
    command = array_of(tmp_path, tmp_path / "r", HOOK.replace("CANCELLED", "True"))
    status, out, _ = invoke(*command)
    assert status == 0
    job, end = number(out), time.monotonic() + 60
    while len({task for _, task, _ in begun(tmp_path / "log")}) < TASKS:
        assert time.monotonic() < end, states(job)
        time.sleep(0.1)
    subprocess.run(["scancel", job], check=True)
    assert set(await_end(job, 30).values()) <= {"CANCELLED", "COMPLETED"}  # task 0 is fast
    time.sleep(1.0)  # a requeue would show
    assert "PENDING" not in states(job).values()
    for task in range(1, TASKS):
        assert "stopped by SIGTERM: " in (tmp_path / "r" / "slurm" / f"{job}_{task}.log").read_text()
    assert list((tmp_path / "r" / "blocks").glob(".*")) == []


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_an_array_is_killed_warned_and_timed_out_and_nothing_is_lost(invoke: Invoke, tmp_path: Path) -> None:
    log, run = tmp_path / "log", tmp_path / "a run"
    command = array_of(tmp_path, run, HOOK.replace("CANCELLED", "False"))
    # the warning comes 50 to 110 s after the start, the limit is noticed at 120 to 150 s
    status, out, err = invoke(*command, "--time", "2", "--warn", "10")
    assert (status, err) == (0, [])
    job = number(out)
    end = time.monotonic() + 60
    while Counter(task for _, task, _ in begun(log))[KILLED] < 3:  # it is at the block that does not end
        assert time.monotonic() < end, states(job)
        time.sleep(0.1)
    os.kill(next(pid for _, task, pid in begun(log) if task == KILLED), signal.SIGKILL)
    status, out, _ = invoke(*command, "--time", "2", "--warn", "10")
    assert status == 0
    assert out[0].startswith("already in the queue: ")  # what runs is not submitted again
    if not out[-1].startswith("already"):  # the killed task is, if SLURM has noticed
        subprocess.run(["scancel", number(out)], check=True)

    found = await_end(job, 200)
    logs = {task: (run / "slurm" / f"{job}_{task}.log").read_text() for task in range(TASKS)}
    assert found == {0: "COMPLETED", KILLED: "FAILED", WARNED: "COMPLETED", TIMED_OUT: "TIMEOUT"}, logs
    assert "stopped by SIGUSR1: " in logs[WARNED]
    assert "stopped by SIGUSR1: " in logs[TIMED_OUT]  # and then by force, without a requeue
    assert not (run / "results.h5").exists()
    lacking = {gap.block % TASKS for gap in gaps(run, run_plan(Experiment.from_toml(tmp_path / "array.toml")))}
    assert lacking == {KILLED, TIMED_OUT}

    (log / "second").touch()
    status, out, _ = invoke(*command)
    assert f"tasks {slurm.array([KILLED, TIMED_OUT])} of {TASKS}," in out[0]
    job = number(out)
    merge = next(match[1] for line in out if (match := re.search(r"or now: (sbatch .*)", line)))
    merging = subprocess.run(merge, shell=True, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert await_end(job, 60) == {KILLED: "COMPLETED", TIMED_OUT: "COMPLETED"}
    end = time.monotonic() + 30
    while not (run / "results.h5").exists():
        assert time.monotonic() < end, merging
        time.sleep(0.2)
    assert invoke(*command)[1] == [f"{run}: nothing is missing; `dipmc merge {run}` writes results.h5"]

    # nothing is lost, and what was done twice are the blocks that were at work in the two tasks that were killed
    executions = Counter(block for block, _, _ in begun(log))
    assert len(executions) == BLOCKS
    assert sorted(executions.values()) == [1] * (BLOCKS - 2) + [2] * 2
    assert main(["run", str(tmp_path / "array.toml"), "-o", str(tmp_path / "inline"), "--quiet"]) == 0
    assert load(run).attrs["complete"] == 1
    assert datasets(run / "results.h5") == datasets(tmp_path / "inline" / "results.h5")


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_the_report_of_all_studies_is_made_by_a_job_array(invoke: Invoke, here: Path, studies_folder: Path) -> None:
    shutil.copytree(studies_folder, here / "studies")
    setup = ("--setup", f"export PYTHONPATH='{Path(__file__).parents[2]}'")
    command = ("reproduce", "--scale", "cluster", "--studies", "studies", "--tasks", 2, "--quiet", *setup)
    status, out, err = invoke(*command, "--submit")
    assert (status, err) == (0, [])
    assert re.search(r"forecast: [0-9.e-]+ core-hours", out[1])
    assert not Path("reports").exists()
    assert set(await_end(number(out), 90).values()) == {"COMPLETED"}
    status, told, err = invoke(*command, "--submit")
    assert (status, err) == (0, [])
    assert told[-1] == "reports/paper-cluster/index.html"
    # the cost of the whole is what `plan` says of the suite it wrote
    status, plan, _ = invoke("plan", "data/paper-cluster/experiments/suite.toml", "--tasks", 2)
    assert sum("cost: about" in line for line in plan) == 3
    # and the numbers are those of one process
    suite = "data/paper-cluster/experiments/suite.toml"
    assert invoke("run", suite, "-o", "inline", "--backend", "inline", "--quiet")[0] == 0
    for name in ("alpha", "beta", "gamma"):
        assert datasets(Path(f"data/paper-cluster/{name}/results.h5")) == datasets(Path(f"inline/{name}/results.h5"))
