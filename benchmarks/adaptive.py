"""Adaptive against uniform allocation on experiments/adaptive.toml: neurons until every interval is at its target.

`python benchmarks/adaptive.py [RUN] [--uniform]`: RUN is a finished run of experiments/adaptive.toml (default
data/adaptive; it is made, or resumed, when it is not there). A uniform allocation gives every width the same trials. It
is judged by the same rule in the same rounds, on the same draws: the trials of the first round at which every interval
is at its target. What it costs follows from their number; with `--uniform` it is computed as well, beside the run.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

import mc
from mc.estimate.probability.counts import Counts
from mc.estimate.sampling.adaptive import AdaptivePlan, limits, reached
from mc.estimate.sampling.goals import cell_decisions
from mc.model.draws import CHUNK
from mc.runner import execute
from mc.runner.adaptive import sampling_plan
from mc.runner.plan import load_frozen, run_plan
from mc.runner.progress import ObservedCell, observed, trials_of_folder

FILE = Path(__file__).parents[1] / "experiments" / "adaptive.toml"


def neurons(widest: int, trials: int) -> int:
    """Whole chunks up to the widest width, for each trial."""
    return trials * -(-widest // CHUNK) * CHUNK


def drawn(own: ObservedCell, block_size: int) -> int:
    return sum(neurons(max(piece.all_widths), block_size) for piece in own.pieces)


def half_widths(plan: AdaptivePlan, own: ObservedCell, ladder: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Trials, and the widest of the half-widths of all rungs, at each width."""
    widest, trials = np.zeros(len(own.cell.widths)), np.zeros(len(own.cell.widths), dtype=np.int64)
    found = cell_decisions(own.cell, ladder)
    for track in plan.tracks:
        counts = Counts.of(found[track.cell, track.mode, track.event][0])
        lower, upper = limits(plan, track, counts)
        widest, trials = np.maximum(widest, (upper - lower) / 2.0), np.maximum(trials, counts.trials)
        assert reached(plan, track, counts).all(), f"{track.mode} {track.event} is not at its target everywhere"
    return trials, widest


def main(words: list[str]) -> int:
    folders = [Path(word) for word in words if not word.startswith("-")]
    run = folders[0] if folders else Path("data/adaptive")
    mc.run(FILE, run, jobs=2)
    experiment = load_frozen(run)
    plan = sampling_plan(experiment)
    longest = trials_of_folder(experiment, run) or 0
    (own,) = observed(run, run_plan(experiment, longest)).values()
    trials, half = half_widths(plan, own, experiment.ladder)
    adaptive, blocks = drawn(own, experiment.block_size), -(-longest // experiment.block_size)
    uniform = neurons(max(experiment.widths), blocks * experiment.block_size)
    rows = [("width", "trials", "half-width"), *zip(experiment.widths, trials, np.round(half, 4), strict=True)]
    columns = [rows]
    if "--uniform" in words:
        # the same blocks, those that the rule left out added: every width has all trials
        beside = run.with_name(f"{run.name}-uniform")
        shutil.copytree(run, beside, dirs_exist_ok=True)
        execute.run(experiment, beside, trials=longest, jobs=2, yes=True)
        (whole,) = observed(beside, run_plan(experiment, longest)).values()
        same, half_uniform = half_widths(plan, whole, experiment.ladder)
        columns.append([("uniform", "half-width"), *zip(same, np.round(half_uniform, 4), strict=True)])
    for parts in zip(*columns, strict=True):
        print("  ".join(f"{value!s:>10}" for part in parts for value in part))
    print(f"target {plan.goal.target_half_width} at error {plan.goal.alpha} over {plan.tests(0)} confidence sequences")
    print(f"uniform allocation:  {uniform:>16,} neurons ({blocks * experiment.block_size} trials at every width)")
    print(f"adaptive allocation: {adaptive:>16,} neurons, {adaptive / uniform:.3f} of them")
    return 0 if adaptive <= uniform / 2 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
