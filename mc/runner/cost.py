"""What a run would cost: seconds of one core and bytes on disk, forecast before anything is computed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.draws import CHUNK
from mc.runner.plan import MOST_BLOCKS, Gap, any_plan
from mc.store.layout import BLOCK_LAYOUT, FAMILIES, Field
from mc.store.plan import RunPlan
from mc.theory.claims import CLAIMS, TRAJECTORY_CLAIMS

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
LIMIT_SECONDS = 24 * 3600.0
LIMIT_BYTES = 20e9


@dataclass(frozen=True)
class Cost:
    """A crude forecast of what is still to compute.

    Parameters
    ----------
    blocks, trials : int
        Blocks, and trials in them.
    seconds : float
        On one core, right to a factor of a few.
    bytes_on_disk : float
        Block files and results.h5 together.
    """

    blocks: int
    trials: int
    seconds: float
    bytes_on_disk: float

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
    """What the repetitions of [rare] take, in the blocks that carry them."""
    if experiment.rare is None:
        return 0.0
    settings, size, total = experiment.rare, plan.block_size, 0.0
    if missing is None:
        carriers = range(min(plan.n_blocks, settings.blocks(size)))
        missing = [Gap(cell, block, plan.widths, ()) for cell in plan.cells for block in carriers]
    for gap in missing:
        own = len(settings.trials(range(gap.block * size, (gap.block + 1) * size)))
        n, m = int(gap.cell.problem["n"]), int(gap.cell.problem["m"])
        widths = set(gap.all_widths) & set(experiment.rare.widths) if own else ()
        total += sum(settings.seconds(own, n, min(n, m), k) for k in widths)
    return total


def _bytes(fields: Iterable[Field], sizes: Mapping[str, int]) -> float:
    return float(sum((1 if f.dtype == "int8" else 8) * math.prod(sizes[dim] for dim in f.dims) for f in fields))


def _block_bytes(gap: Gap, plan: RunPlan, save_times: int, signals: bool) -> float:
    rows = plan.block_size
    saved = max(0, min(rows, plan.save_trials - gap.block * rows))
    sizes = {"mode": len(plan.modes), "trial": rows, "width": len(gap.all_widths), "flow_width": len(gap.flow_widths)}
    sizes |= {"saved_trial": saved, "time": save_times, "entry": int(gap.cell.problem["n"]) if signals else 0}
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
    """Forecast time and disk.

    The model: per trial the problem, the neuron stream up to the largest width (draws and Gram matrix), per width and
    mode an eigenvalue problem of size n, per width the limit of the hidden-layer flow, per flow width and mode a fixed
    number of evaluations of the vector field. Certificates come out right to a factor of three; flow and limit vary by
    orders of magnitude with the problem.

    Parameters
    ----------
    experiment : Experiment
    missing : sequence of Gap, optional
        What is to compute (default: everything, without looking at any folder).
    trials : int, optional
        See `run_plan`.
    """
    plan = any_plan(experiment, trials)
    save_times = 0 if experiment.flow is None else experiment.flow.save.count
    signals = experiment.flow is not None and experiment.flow.save.signal
    if missing is None:
        last = plan.n_blocks - 1
        saving = min(last, -(-plan.save_trials // plan.block_size))
        # the blocks that keep trajectories one by one, the others by their number
        found = [
            (Gap(cell, block, plan.widths, plan.flow_widths), 1 if block < saving else last - saving + 1)
            for cell in plan.cells
            for block in range(saving + 1)
        ]
    else:
        found = [(gap, 1) for gap in missing]
    blocks = sum(count for _, count in found)
    rare = _rare_seconds(experiment, plan, missing)
    return Cost(
        blocks=blocks,
        trials=blocks * plan.block_size,
        seconds=sum(count * _block_seconds(gap, plan) for gap, count in found) + rare,
        bytes_on_disk=sum(count * _block_bytes(gap, plan, save_times, signals) for gap, count in found),
    )


def refuse_if_costly(cost: Cost, run: Path, *, yes: bool = False) -> None:
    """Stop before a run that would take days or fill the disk, unless the user insists.

    Raises
    ------
    InputError
        Stating time and disk, and ``--yes``.
    """
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
