"""What a run folder lacks of an experiment: the frozen copy, the missing blocks, their cost."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mc.atomic import write_bytes
from mc.ensemble import CHUNK, stream_digest
from mc.errors import InputError
from mc.experiment import Experiment
from mc.layout import BLOCK_LAYOUT, FAMILIES, Field
from mc.records import CellPlan, RunPlan, differences
from mc.requests import RequestLike, asked_blocks
from mc.store import parts

FROZEN = "experiment.toml"

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
CLAIM_HYPOTHESES = 16
"""Pairs of claim and hypothesis whose slack, its time and verdict are stored."""
DATASET_BYTES = 750
"""What a block file needs for a dataset beside its numbers: name, type, attributes."""
MOST_BLOCKS = 1_000_000
"""Files that a folder is asked to hold at most."""
LIMIT_SECONDS = 24 * 3600.0
LIMIT_BYTES = 20e9


def run_plan(experiment: Experiment, trials: int | None = None) -> RunPlan:
    """All that an experiment asks of the block files.

    Parameters
    ----------
    experiment : Experiment
    trials : int, optional
        Instead of the experiment's own number, for adaptive sampling.

    Raises
    ------
    InputError
        When neither gives a number of trials, or the run would have more than `MOST_BLOCKS` blocks.
    """
    plan = _any_plan(experiment, trials)
    if len(plan.cells) * plan.n_blocks > MOST_BLOCKS:
        raise InputError(
            f"[experiment] trials: {plan.trials} trials of {len(plan.cells)} cells make more than {MOST_BLOCKS} "
            "block files; use fewer trials"
        )
    return plan


def _any_plan(experiment: Experiment, trials: int | None) -> RunPlan:
    """The plan of an experiment, however many blocks it has: enough to forecast its cost."""
    number = experiment.trials if trials is None else trials
    if number is None:
        raise InputError("[experiment] trials: absent, since [sampling] chooses it; say how many trials are wanted")
    flow = experiment.flow
    cells = tuple(
        CellPlan(
            index=cell.index,
            key=cell.key,
            canonical=cell.canonical,
            problem=cell.attributes,
            identity=experiment.identity(cell),
            identity_fields=experiment.identity_fields(cell),
        )
        for cell in experiment.cells()
    )
    return RunPlan(
        text=experiment.to_toml(),
        seed=experiment.seed,
        trials=number,
        block_size=experiment.block_size,
        widths=tuple(experiment.widths),
        flow_widths=tuple(experiment.flow_widths),
        modes=tuple(experiment.modes),
        ladder=tuple(experiment.ladder),
        save_trials=0 if flow is None else flow.save.trials,
        cells=cells,
        sampling=experiment.sampling_rule,
        claims=experiment.followed,
    )


def load_frozen(run: Path) -> Experiment:
    """The experiment of a run folder.

    Raises
    ------
    InputError
        When the folder has none.
    """
    path = run / FROZEN
    if not path.is_file():
        raise InputError(f"{run}: not a run folder (no {FROZEN} in it); give the folder that `dipmc run -o` wrote")
    return Experiment.from_toml(path, reading=True)


def agreed(experiment: Experiment, run: Path) -> Experiment:
    """Check that the frozen copy of a folder agrees with an experiment, if there is one; nothing is written.

    Parameters
    ----------
    experiment : Experiment
    run : Path
        The run folder.

    Returns
    -------
    Experiment
        With the block size of the copy that is there, so that its blocks stay usable.

    Raises
    ------
    InputError
        When the folder holds another experiment; the message names the setting that differs. Name, trials, widths,
        flow widths, ladder, claims, estimate and the grid of problems may differ.
    """
    if not (run / FROZEN).is_file():
        return experiment
    old = load_frozen(run)
    _require_same(old, experiment, run)
    return experiment.with_block_size(old.block_size)


def freeze(experiment: Experiment, run: Path) -> Experiment:
    """Write the frozen copy of an experiment where the folder has none, or one that it agrees with; see `agreed`."""
    experiment = agreed(experiment, run)
    path, text = run / FROZEN, experiment.to_toml().encode()
    if not path.is_file() or path.read_bytes() != text:
        write_bytes(path, text)
    return experiment


def _require_same(old: Experiment, new: Experiment, run: Path) -> None:
    there = {cell.key: cell for cell in old.cells()}
    common = [(there[cell.key], cell) for cell in new.cells() if cell.key in there]
    # without a common cell it is another experiment, not a grown grid: the first cells show where they differ
    for old_cell, new_cell in common or [(old.cells()[0], new.cells()[0])]:
        if old.identity(old_cell) == new.identity(new_cell):
            continue
        found = differences(old.identity_fields(old_cell), new.identity_fields(new_cell))
        what = found[0] if found else "the identities differ although every setting agrees"
        raise InputError(f"{run}: holds another experiment: {what}; choose another folder with -o")


@dataclass(frozen=True)
class Gap:
    """A block of trials that lacks widths.

    Parameters
    ----------
    cell : CellPlan
    block : int
    widths, flow_widths : tuple of int
        Widths that lack certificates, and widths that lack the flow.
    """

    cell: CellPlan
    block: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]

    @property
    def all_widths(self) -> tuple[int, ...]:
        """Widths to compute: those of the flow are among them, for it starts from the certificates of its width."""
        return tuple(sorted({*self.widths, *self.flow_widths}))


def stream_digests(experiment: Experiment) -> dict[str, str]:
    """By cell key, the digest of chunk 0 of trial 0 as this machine's NumPy draws it."""
    law = experiment.network.output_law
    return {cell.key: stream_digest(experiment.seed, cell.id, cell.problem["n"], law) for cell in experiment.cells()}


def gaps(
    run: Path,
    plan: RunPlan,
    digests: Mapping[str, str] | None = None,
    requests: Sequence[RequestLike] | None = None,
) -> tuple[Gap, ...]:
    """The blocks that lack something, and what, in the order of `mc.requests.asked_blocks`.

    Parameters
    ----------
    run : Path
    plan : RunPlan
    digests : mapping of str to str, optional
        See `stream_digests`; block files of another stream are refused.
    requests : sequence of RequestLike, optional
        What is asked for, instead of every block at every width.
    """
    held = parts(run, plan, digests)
    found = []
    for cell, block, asked, flow_asked in asked_blocks(plan, requests):
        headers = [header for _, header in held.get((cell.key, block), ())]
        widths = {width for header in headers for width in header.widths}
        flow_widths = {width for header in headers for width in header.flow_widths}
        lacks = tuple(width for width in asked if width not in widths)
        flow_lacks = tuple(width for width in flow_asked if width not in flow_widths)
        if lacks or flow_lacks:
            found.append(Gap(cell, block, lacks, flow_lacks))
    return tuple(found)


def in_shard(gap: Gap, plan: RunPlan, shard: tuple[int, int] | None) -> bool:
    """Whether shard i of N computes a block."""
    return shard is None or shard_of(gap, plan, shard[1]) == shard[0]


def shard_of(gap: Gap, plan: RunPlan, count: int) -> int:
    """Which of so many shards computes a block: a function of its place alone, not of what is missing."""
    return (gap.cell.index * plan.n_blocks + gap.block) % count


@dataclass(frozen=True)
class CellStatus:
    """How far one cell of a run is."""

    cell: CellPlan
    blocks: int
    complete_blocks: int
    trials_present: tuple[int, ...]
    flow_trials_present: tuple[int, ...]


def status(run: Path, trials: int | None = None) -> tuple[RunPlan, tuple[CellStatus, ...]]:
    """What a run folder holds of its experiment.

    Returns
    -------
    RunPlan
    tuple of CellStatus
        Per cell the blocks, and per width and flow width the number of trials that are there.
    """
    plan = run_plan(load_frozen(run), trials)
    lacking = gaps(run, plan)
    rows = [min(plan.block_size, plan.trials - block * plan.block_size) for block in range(plan.n_blocks)]
    found = []
    for cell in plan.cells:
        own = [gap for gap in lacking if gap.cell.key == cell.key]
        lost: Counter[int] = Counter()
        flow_lost: Counter[int] = Counter()
        for gap in own:
            lost.update(dict.fromkeys(gap.widths, rows[gap.block]))
            flow_lost.update(dict.fromkeys(gap.flow_widths, rows[gap.block]))
        present = tuple(plan.trials - lost[width] for width in plan.widths)
        flow_present = tuple(plan.trials - flow_lost[width] for width in plan.flow_widths)
        found.append(CellStatus(cell, plan.n_blocks, plan.n_blocks - len(own), present, flow_present))
    return plan, tuple(found)


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
    steps = len(widths) * (certificates + limit) + len(plan.modes) * flows
    return plan.block_size * (SECONDS_PER_TRIAL + stream + steps)


def _rare_seconds(experiment: Experiment, plan: RunPlan, missing: Sequence[Gap] | None) -> float:
    """What the repetitions of [rare] take, in the blocks that carry them."""
    if experiment.rare is None:
        return 0.0
    settings, size, total = experiment.rare.settings(), plan.block_size, 0.0
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


def _block_bytes(gap: Gap, plan: RunPlan, save_times: int) -> float:
    rows = plan.block_size
    saved = max(0, min(rows, plan.save_trials - gap.block * rows))
    sizes = {"mode": len(plan.modes), "trial": rows, "width": len(gap.all_widths), "flow_width": len(gap.flow_widths)}
    sizes |= {"saved_trial": saved, "time": save_times}
    # two copies of every number: in the block file and in results.h5; full mantissas do not compress
    datasets = sum(0 not in (sizes[dim] for dim in field.dims) for field in BLOCK_LAYOUT)
    datasets += CLAIM_HYPOTHESES * sum(0 not in (sizes[dim] for dim in field.dims) for field in FAMILIES)
    return DATASET_BYTES * datasets + 2 * (_bytes(BLOCK_LAYOUT, sizes) + CLAIM_HYPOTHESES * _bytes(FAMILIES, sizes))


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
    plan = _any_plan(experiment, trials)
    times = 0 if experiment.flow is None else experiment.flow.save.times
    save_times = times if isinstance(times, int) else len(times)
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
        bytes_on_disk=sum(count * _block_bytes(gap, plan, save_times) for gap, count in found),
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
