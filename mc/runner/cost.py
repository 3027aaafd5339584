"""Forecast what a run costs: seconds of one core, bytes on disk, memory of a worker process."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.flow.case import BATCH_BYTES
from mc.flow.settings import Save
from mc.model.draws import CHUNK
from mc.runner.plan import MOST_BLOCKS, Gap, run_plan
from mc.store.layout import BLOCK_LAYOUT, FAMILIES, Field
from mc.store.plan import RunPlan
from mc.theory.claims import CLAIMS, TRAJECTORY_CLAIMS
from mc.trial.neuron_sums import STREAM_BYTES

SECONDS_PER_TRIAL = 2e-3
"""The problem of a trial: drawn, decomposed; measured on one core of a 2.x GHz server, as all constants here."""
SECONDS_PER_DRAW = 9e-9
"""Per random number of the neuron stream, (n + 1) a neuron."""
SECONDS_PER_GRAM = 3e-11
"""Per entry of the n x n Gram matrix and neuron."""
SECONDS_PER_EIGEN = 3e-10
"""Per n^3, width and mode: eigenvalues and products of the certificates; small matrices take `SECONDS_PER_WIDTH`."""
SECONDS_PER_WIDTH = 3e-4
"""Per width and mode, whatever the size."""
SECONDS_PER_LIMIT = 5e-3
"""Per width: whether the hidden-layer flow reaches zero loss; a few trials take many times more."""
SECONDS_PER_RATE = 3e-8
"""Per neuron and evaluation of the vector field, activation included."""
RATES_PER_FLOW = 100
"""Evaluations of the vector field of one trajectory; the stiff ones need many times more."""
SECONDS_PER_FLOW = 2e-2
"""Per trajectory, whatever the width."""
LOOKS = 10
"""Errors and bounds along a saved trajectory."""
DATASET_BYTES = 750
"""What a block file needs for a dataset beside its numbers: name, type, attributes."""
START_BYTES = 1.2e8
"""A process with Python, NumPy and SciPy loaded."""
STREAM_ARRAYS = 6
"""Arrays of that size that live together: the draw, two products with it, and the sums."""
STAGES = 16
"""Copies of a flow's state that the integrator and its companion hold."""
SUBSET = 16
"""Neurons per dimension that are kept to decide the limit (theory §7.4)."""
LIMIT_SECONDS = 24 * 3600.0
LIMIT_BYTES = 20e9


@dataclass(frozen=True)
class Cost:
    """A forecast of the blocks that are still to compute."""

    blocks: int
    trials: int  # of the blocks
    seconds: float  # on one core, right to a factor of a few
    bytes_on_disk: float  # block files and results.h5 together

    def __str__(self) -> str:
        return f"about {self.seconds / 3600:.3g} core-hours and {self.bytes_on_disk / 1e9:.3g} GB"


def _block_seconds(gap: Gap, plan: RunPlan) -> float:
    n, widths = float(gap.cell.problem["n"]), gap.all_widths
    neurons = -(-max(widths) // CHUNK) * CHUNK
    stream = neurons * ((n + 1) * SECONDS_PER_DRAW + n * n * SECONDS_PER_GRAM)
    certificates = len(plan.modes) * (n**3 * SECONDS_PER_EIGEN + SECONDS_PER_WIDTH)
    limit = SECONDS_PER_LIMIT if "exact" in plan.ladder and "hidden" in plan.modes else 0.0
    flows = sum(SECONDS_PER_FLOW + width * RATES_PER_FLOW * SECONDS_PER_RATE for width in gap.flow_widths)
    # a trajectory that claims are checked along is integrated for them too, with a companion
    passes = 2 if plan.claims else 1
    steps = len(widths) * (certificates + limit) + len(plan.modes) * flows * passes
    return plan.block_size * (SECONDS_PER_TRIAL + stream + steps)


def _rare_seconds(experiment: Experiment, plan: RunPlan, missing: Sequence[Gap] | None) -> float:
    """Forecast the repetitions of [rare] in the blocks that carry them."""
    if experiment.document.rare is None:
        return 0.0
    settings, size, total = experiment.document.rare, plan.block_size, 0.0
    if missing is None:
        carriers = range(min(plan.n_blocks, settings.blocks(size)))
        missing = [Gap(cell, block, plan.widths, ()) for cell in plan.cells for block in carriers]
    for gap in missing:
        repetitions = len(settings.trials(range(gap.block * size, (gap.block + 1) * size)))
        n, m = int(gap.cell.problem["n"]), int(gap.cell.problem["m"])
        widths = set(gap.all_widths) & set(experiment.document.rare.widths) if repetitions else ()
        total += sum(settings.seconds(repetitions, n, min(n, m), k) for k in widths)
    return total


def _bytes(fields: Iterable[Field], sizes: Mapping[str, int]) -> float:
    return float(sum((1 if f.dtype == "int8" else 8) * math.prod(sizes[dim] for dim in f.dims) for f in fields))


def _block_bytes(gap: Gap, plan: RunPlan, save: Save) -> float:
    rows = plan.block_size
    saved = max(0, min(rows, plan.save_trials - gap.block * rows))
    sizes = {"mode": len(plan.modes), "trial": rows, "width": len(gap.all_widths), "flow_width": len(gap.flow_widths)}
    sizes |= {"saved_trial": saved, "time": save.count, "entry": int(gap.cell.problem["n"]) if save.signal else 0}
    # two copies of every number: in the block file and in results.h5; full mantissas do not compress
    datasets = sum(0 not in (sizes[dim] for dim in field.dims) for field in BLOCK_LAYOUT)
    claims = plan.claims or (TRAJECTORY_CLAIMS if saved else ())
    checked = sum(len(CLAIMS[name].hypotheses) for name in claims) if gap.flow_widths else 0
    bytes_ = _bytes(BLOCK_LAYOUT, sizes)
    for field in FAMILIES:
        members = LOOKS if "time" in field.dims else checked
        datasets += members if _bytes([field], sizes) else 0
        bytes_ += members * _bytes([field], sizes)
    return DATASET_BYTES * datasets + 2 * bytes_


def estimate_cost(experiment: Experiment, missing: Sequence[Gap] | None = None, trials: int | None = None) -> Cost:
    """Forecast time and disk of the missing blocks (default: of all blocks); `trials` as in `run_plan`.

    The model: per trial the problem, the neuron stream up to the largest width (draws and Gram matrix), per width and
    mode an eigenvalue problem of size n, per width the limit of the hidden-layer flow, per flow width and mode a fixed
    number of evaluations of the vector field. Certificates come out right to a factor of three; flow and limit vary by
    orders of magnitude with the problem.
    """
    plan = run_plan(experiment, trials, limited=False)
    save = Save() if experiment.document.flow is None else experiment.document.flow.save
    if missing is None:
        last = plan.n_blocks - 1
        saving = min(last, -(-plan.save_trials // plan.block_size))
        # the blocks that keep trajectories one by one, the others by their number
        counted = [
            (Gap(cell, block, plan.widths, plan.flow_widths), 1 if block < saving else last - saving + 1)
            for cell in plan.cells
            for block in range(saving + 1)
        ]
    else:
        counted = [(gap, 1) for gap in missing]
    blocks = sum(count for _, count in counted)
    rare = _rare_seconds(experiment, plan, missing)
    return Cost(
        blocks=blocks,
        trials=blocks * plan.block_size,
        seconds=sum(count * _block_seconds(gap, plan) for gap, count in counted) + rare,
        bytes_on_disk=sum(count * _block_bytes(gap, plan, save) for gap, count in counted),
    )


def refuse_if_costly(cost: Cost, run: Path, *, yes: bool = False) -> None:
    """Raise InputError for a run that would take days or fill the disk, unless `yes`."""
    if yes:
        return
    existing = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    reasons = []
    if cost.seconds > LIMIT_SECONDS:
        reasons.append(f"more than {LIMIT_SECONDS / 3600:.0f} core-hours")
    if cost.bytes_on_disk > LIMIT_BYTES:
        reasons.append(f"more than {LIMIT_BYTES / 1e9:.0f} GB")
    if cost.bytes_on_disk > free:
        reasons.append(f"more than the {free / 1e9:.3g} GB free in {existing}")
    if reasons:
        what = f"{cost.blocks} blocks ({cost.trials} trials) would take {cost}"
        limit = f" (with which {MOST_BLOCKS} blocks are the most)" if cost.blocks > MOST_BLOCKS else ""
        raise InputError(f"{what}: {' and '.join(reasons)}; reduce trials or widths, or add --yes{limit}")


def peak_memory(experiment: Experiment) -> float:
    """Forecast the bytes that one worker process needs at most, right to a factor of two.

    The model: the interpreter; the results of a block of T trials; the buffers of the neuron stream; the first neurons
    of each trial, h and Z^T V, kept for the exact limit and for the flow; a batch of trajectories with their stages;
    the particles of a rare failure.
    """
    trials, widths, flows = experiment.block_size, experiment.widths, experiment.flow_widths
    save = None if experiment.document.flow is None else experiment.document.flow.save
    sizes = {"mode": len(experiment.modes), "trial": trials, "width": len(widths), "flow_width": len(flows)}
    sizes |= {"saved_trial": 0, "time": 0, "entry": 0}
    if save is not None:
        longest = max(int(cell.problem["n"]) for cell in experiment.cells())
        sizes |= {"saved_trial": min(trials, save.trials), "time": save.count, "entry": longest if save.signal else 0}
    most = 0.0
    for cell in experiment.cells():
        n, rank = float(cell.problem["n"]), float(min(cell.problem["n"], cell.problem["m"]))
        decides = "hidden" in experiment.modes and ("exact" in experiment.ladder or flows)
        subset = min(CHUNK * -(-SUBSET * rank // CHUNK), widths[-1]) if decides else 0
        kept = 8.0 * trials * (1.0 + rank) * max(subset, *flows, 0)
        stream = STREAM_ARRAYS * max(STREAM_BYTES, 8.0 * n * CHUNK) + 8.0 * trials * len(widths) * n
        flow = max(STAGES * 8.0 * max(flows) * (1.0 + rank), 2.0 * BATCH_BYTES) if flows else 0.0
        # a neuron that the subset leaves undecided is drawn again whole, one trial at a time
        whole = 8.0 * widths[-1] * (n + 2.0 * rank + 2.0) if decides else 0.0
        rare = (
            0.0
            if experiment.document.rare is None
            else experiment.document.rare.bytes(int(n), experiment.document.rare.widths[-1])
        )
        most = max(most, kept + stream + max(flow, whole), rare)
    return START_BYTES + _bytes(BLOCK_LAYOUT, sizes) + most
