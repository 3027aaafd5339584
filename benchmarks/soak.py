"""One run killed again and again: ``python benchmarks/soak.py --kills 100 FOLDER``.

A child runs the experiment; at a random moment its whole process group gets SIGKILL, and the same command starts anew:
a tenth of the kills while it starts, a tenth, at the end, while it merges, all others while it computes. After every
kill the block files that were there must be there still, byte for byte. When the kills are used up the run ends by
itself, and its results.h5 is compared, dataset by dataset, with that of a run that nobody disturbed. Workers log the
blocks that they begin; those that were begun and not written are the work that is done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.experiment.experiment import Experiment
from mc.runner.execute import run
from mc.store.blocks import BLOCKS
from mc.store.results import load
from mc.trial.block import BlockTask, compute_block

LOG = "log.txt"


def experiment(blocks: int, trials: int) -> Experiment:
    return Experiment.from_dict(
        {
            "experiment": {"name": "soak", "seed": 5, "trials": blocks * trials, "block_size": trials},
            "problem": {"n": 6, "m": 3, "operator": "gaussian", "noise": 0.05},
            "network": {"mode": ["hidden", "both"]},
            "widths": {"values": [8, 32, 128, 512]},
            "flow": {"widths": [32, 128], "save": {"trials": 4, "times": 8}},
        }
    )


@dataclass(frozen=True)
class Logged:
    """Computes a block; one line when it begins, of which attempt."""

    log: Path
    attempt: int

    def __call__(self, task: BlockTask) -> dict[str, NDArray[Any]]:
        """The block."""
        with self.log.open("a") as handle:
            handle.write(f"{self.attempt} {task.first_trial // task.n_trials}\n")
        return compute_block(task)


def files(folder: Path) -> dict[str, str]:
    """Digest of every block file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob(f"{BLOCKS}/*.h5")}


def child(options: argparse.Namespace) -> None:
    """One attempt at the run."""
    folder = options.folder / "killed"
    summary = run(experiment(options.blocks, options.trials), folder, jobs=options.jobs,
                  compute=Logged(options.folder / LOG, options.attempt))  # fmt: skip
    if summary.failures:
        sys.exit("\n".join(summary.failures))


def begun(log: Path, number: int) -> int:
    """Blocks that an attempt began."""
    return sum(line.startswith(f"{number} ") for line in log.read_text().split("\n")) if log.exists() else 0


@dataclass(frozen=True)
class Kill:
    """A moment to kill: some seconds after the start, the first block, or the first byte of results.h5."""

    phase: str
    seconds: float

    def reached(self, folder: Path, number: int) -> bool:
        """Whether the phase has begun."""
        if self.phase == "computing":
            return begun(folder / LOG, number) > 0
        return self.phase == "starting" or any((folder / "killed").glob(".results.h5~*.tmp"))


def attempt(options: argparse.Namespace, number: int, kill: Kill | None) -> bool:
    """Start the child and kill its process group; whether it ended by itself."""
    sizes = [f"--{name}={getattr(options, name)}" for name in ("blocks", "trials", "jobs")]
    command = [sys.executable, __file__, str(options.folder), "--attempt", str(number), *sizes]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        while kill is not None and process.poll() is None and not kill.reached(options.folder, number):
            time.sleep(0.002)
        status = process.wait(None if kill is None else kill.seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    if status:
        sys.exit(f"attempt {number} ended with status {status}")
    return True


def kills(options: argparse.Namespace) -> list[Kill]:
    """The moments, those of the merge last."""
    moments = random.Random(options.seed)
    few = max(1, options.kills // 10)
    early = [Kill("starting", moments.uniform(0.0, 2.0)) for _ in range(few)]
    early += [Kill("computing", moments.uniform(0.0, options.longest)) for _ in range(options.kills - 2 * few)]
    moments.shuffle(early)
    # a merge of so few blocks takes half a second
    return early + [Kill("merging", moments.uniform(0.0, 0.2)) for _ in range(few)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="empty or absent")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=8, help="in a block")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--longest", type=float, default=2.0, help="seconds of computing before a kill, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attempt", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attempt is not None:
        child(options)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    found = soak(options)
    print(json.dumps(found, indent=1))
    wrong = found["blocks lost"] or found["datasets that differ"] or found["most repeated by one kill"] > options.jobs
    sys.exit(1 if wrong else 0)


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Kill, look, start anew; then compare."""
    killed, log = options.folder / "killed", options.folder / LOG
    before: dict[str, str] = {}
    met, repeated, lost, left, ended = Counter[str](), [], 0, 0, 0
    begin = time.perf_counter()
    for number, kill in enumerate(kills(options)):
        by_itself = attempt(options, number, kill)
        if by_itself and kill.phase != "merging":
            sys.exit(f"the run ended before kill {number}: more --blocks, or a smaller --longest")
        after = files(killed)
        lost += sum(after.get(name) != digest for name, digest in before.items())
        repeated.append(begun(log, number) - (len(after) - len(before)))
        left += len(list(killed.glob("**/.*.tmp")))
        met[kill.phase] += not by_itself
        ended += by_itself
        before = after
    attempt(options, options.kills, None)
    seconds = time.perf_counter() - begin
    whole = options.folder / "whole"
    run(experiment(options.blocks, options.trials), whole, jobs=options.jobs)
    return {
        "kills": sum(met.values()),
        "of them while": dict(met),
        "attempts that ended before the kill": ended,
        "blocks": options.blocks,
        "blocks lost": lost,
        "blocks begun and not written, all kills": sum(repeated),
        "most repeated by one kill": max(repeated),
        "half-written files left by kills, deleted later": left,
        "half-written files at the end": len(list(killed.glob("**/.*.tmp"))),
        "datasets compared": sum(len(cell.data) for cell in load(whole).cells),
        "datasets that differ": differing(killed, whole),
        "seconds": round(seconds),
    }


def differing(killed: Path, whole: Path) -> list[str]:
    """Datasets of two results that are not equal to the last bit."""
    mine, theirs = (load(folder).cells for folder in (killed, whole))
    return [
        f"{a.group}/{name}"
        for a, b in zip(mine, theirs, strict=True)
        for name in sorted({*a.data, *b.data})
        if name not in a.data
        or name not in b.data
        or not np.array_equal(a[name].view(np.uint8), b[name].view(np.uint8))
    ]


if __name__ == "__main__":
    main()
