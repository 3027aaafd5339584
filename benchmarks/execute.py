"""What running costs beside computing: 2 workers against 1, storing against computing, the start of a run.

`python benchmarks/execute.py [--blocks 40] [--seconds 1] [--backend loky,dask] [--only scaling|storing|start]`. Blocks
of the scaling sleep for a second, so that the figure is that of handing out, writing and telling, whatever else the
machine does; all goes through `execute.run`, with true block files. The aim: 2 workers are at least 1.85 times as
fast as one (`--blocks 400` is the full measure: ten minutes), storing takes less than 3 % of computing on
experiments/quickstart.toml, and the first block starts within 2 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mc.runner.jobs
from mc.experiment.experiment import Experiment
from mc.runner.execute import run
from mc.trial.block import BlockTask, compute_block

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.toml"
SMALL = """
[experiment]
name = "scaling"
seed = 1
trials = {blocks}
block_size = 1
[problem]
n = 3
m = 2
operator = "gaussian"
[network]
mode = "hidden"
[widths]
values = [4, 16]
"""
PROBE = """
import os, sys, time
import mc.runner.jobs

def first(*_, **__):
    usage = os.times()
    print(time.time(), usage.user + usage.system, flush=True)
    os._exit(0)

mc.runner.jobs.threadpool_limits = first
from mc.cli.main import main

main(["run", sys.argv[1], "-o", sys.argv[2], "--quiet"])
"""


@dataclass(frozen=True)
class Timed:
    """A true block that takes so many seconds."""

    seconds: float

    def __call__(self, task: BlockTask) -> Mapping[str, Any]:
        """Compute, and sleep for the rest."""
        end = time.perf_counter() + self.seconds
        found = compute_block(task)
        time.sleep(max(0.0, end - time.perf_counter()))
        return found


def scaling(blocks: int, seconds: float, backends: list[str]) -> None:
    experiment = Experiment.from_text(SMALL.format(blocks=blocks))
    with tempfile.TemporaryDirectory() as folder:

        def wall(jobs: int, backend: str) -> float:
            begin = time.perf_counter()
            out = Path(folder) / f"{backend}-{jobs}"
            summary = run(experiment, out, jobs=jobs, backend=backend, compute=Timed(seconds), merging=False)
            assert summary.blocks_computed == blocks
            return time.perf_counter() - begin

        one = wall(1, "inline")
        print(f"{blocks} blocks of {seconds} s, one process: {one:.1f} s")
        for backend in backends:
            two = wall(2, backend)
            print(f"  {backend}, 2 workers: {two:.1f} s, {one / two:.3f} times as fast")


def storing() -> None:
    """Share of storing in the wall time of the blocks of the quickstart, computed in this process."""
    spent = {"compute": 0.0, "store": 0.0}

    def timed(name: str, function: Any, *words: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*words)
        finally:
            spent[name] += time.perf_counter() - begin

    write = mc.runner.jobs.write_block
    mc.runner.jobs.write_block = partial(timed, "store", write)
    try:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            run(
                Experiment.from_toml(QUICKSTART),
                folder,
                backend="inline",
                compute=partial(timed, "compute", compute_block),
                merging=False,
            )
            whole = time.perf_counter() - begin
    finally:
        mc.runner.jobs.write_block = write
    share = spent["store"] / spent["compute"]
    print(f"quickstart: computing {spent['compute']:.1f} s, storing {spent['store']:.2f} s ({100 * share:.2f} %)")
    print(f"  all else of the run: {whole - sum(spent.values()):.2f} s")


def start(times: int = 7) -> None:
    """From the start of the command to the first block: wall clock and processor time."""
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.time()
            words = [sys.executable, "-c", PROBE, str(QUICKSTART), str(Path(folder) / "run")]
            told = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ).stdout
            at, processor = map(float, told.split())
            found.append((at - begin, processor))
    wall, processor = min(found)
    print(f"start of the command to the first block: {wall:.2f} s ({processor:.2f} s of processor), best of {times}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--backend", default="loky")
    parser.add_argument("--only", choices=["scaling", "storing", "start"])
    asked = parser.parse_args()
    if asked.only in (None, "start"):
        start()
    if asked.only in (None, "storing"):
        storing()
    if asked.only in (None, "scaling"):
        scaling(asked.blocks, asked.seconds, asked.backend.split(","))


if __name__ == "__main__":
    main()
