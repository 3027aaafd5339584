"""What a run folder lacks of an experiment: the frozen copy and the missing blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.draws import stream_digest
from mc.runner.requests import RequestLike, asked_blocks
from mc.store.blocks import parts
from mc.store.files import write_bytes
from mc.store.plan import CellPlan, RunPlan, differences

FROZEN = "experiment.toml"

MOST_BLOCKS = 1_000_000
"""Files that a folder is asked to hold at most."""


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
    plan = any_plan(experiment, trials)
    if len(plan.cells) * plan.n_blocks > MOST_BLOCKS:
        raise InputError(
            f"[experiment] trials: {plan.trials} trials of {len(plan.cells)} cells make more than {MOST_BLOCKS} "
            "block files; use fewer trials"
        )
    return plan


def any_plan(experiment: Experiment, trials: int | None) -> RunPlan:
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
    """The blocks that lack something, and what, in the order of `mc.runner.requests.asked_blocks`.

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
