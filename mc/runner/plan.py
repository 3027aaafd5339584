"""Plan a run: its frozen experiment, its blocks, those that are missing, and the shard that computes each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mc.errors import InputError
from mc.experiment.experiment import Experiment, load_file
from mc.model.draws import stream_digest
from mc.store.blocks import parts
from mc.store.files import write_bytes
from mc.store.plan import CellPlan, RunPlan, differences
from mc.store.results import RESULTS

if TYPE_CHECKING:
    from mc.estimate.sampling.adaptive import Request

FROZEN = "experiment.toml"
MOST_BLOCKS = 1_000_000
"""Largest number of block files in a folder."""


def experiments_of(path: Path) -> tuple[tuple[Experiment, Path], ...]:
    """Return the experiments of a file, one or those of a suite, each with its folder below the run."""
    loaded = load_file(path)
    if isinstance(loaded, Experiment):
        return ((loaded, Path()),)
    return tuple((experiment, Path(experiment.name)) for experiment in loaded.experiments)


def runs_of(run: Path) -> tuple[tuple[Path, Path], ...]:
    """Return the run folders below a folder (itself, or the runs of a suite), each with its relative path."""
    if not (run / FROZEN).is_file() and run.is_dir():
        inner = tuple((copy.parent, Path(copy.parent.name)) for copy in sorted(run.glob(f"*/{FROZEN}")))
        if inner:
            return inner
    if not (run / RESULTS).is_file():
        load_frozen(run)  # refuses what is no run folder
    return ((run, Path()),)


def run_plan(experiment: Experiment, trials: int | None = None, *, limited: bool = True) -> RunPlan:
    """Plan the block files of an experiment.

    `trials` replaces the experiment's own number, where [sampling] chooses it. Raises InputError when neither gives
    one, or, unless `limited` is false, when the run would have more than `MOST_BLOCKS` blocks.
    """
    number = experiment.trials if trials is None else trials
    if number is None:
        raise InputError("[experiment] trials: absent, since [sampling] chooses it; say how many trials are wanted")
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
    plan = RunPlan(
        text=experiment.to_toml(),
        seed=experiment.seed,
        trials=number,
        block_size=experiment.block_size,
        widths=experiment.widths,
        flow_widths=experiment.flow_widths,
        modes=experiment.modes,
        ladder=experiment.ladder,
        save_trials=0 if experiment.document.flow is None else experiment.document.flow.save.trials,
        cells=cells,
        sampling=experiment.sampling_rule,
        claims=experiment.followed,
    )
    if limited and len(cells) * plan.n_blocks > MOST_BLOCKS:
        raise InputError(
            f"[experiment] trials: {number} trials of {len(cells)} cells make more than {MOST_BLOCKS} "
            "block files; use fewer trials"
        )
    return plan


def load_frozen(run: Path) -> Experiment:
    """Read the frozen experiment of a run folder; InputError when the folder has none."""
    path = run / FROZEN
    if not path.is_file():
        raise InputError(f"{run}: not a run folder (no {FROZEN} in it); give the folder that `dipmc run -o` wrote")
    return Experiment.from_toml(path, reading=True)


def agreed(experiment: Experiment, run: Path) -> Experiment:
    """Check that an experiment agrees with the frozen copy of a folder, if there is one; nothing is written.

    Name, trials, widths, flow widths, ladder, claims, estimate and the grid of problems may differ.
    Returns the experiment with the block size of the copy, so that its blocks stay usable. Raises InputError when the
    folder holds another experiment, with the setting that differs.
    """
    if not (run / FROZEN).is_file():
        return experiment
    frozen = load_frozen(run)
    _require_same(frozen, experiment, run)
    return experiment.with_block_size(frozen.block_size)


def freeze(experiment: Experiment, run: Path) -> Experiment:
    """Write the frozen copy of an experiment where the folder has none, or one that it agrees with; see `agreed`."""
    experiment = agreed(experiment, run)
    path, text = run / FROZEN, experiment.to_toml().encode()
    if not path.is_file() or path.read_bytes() != text:
        write_bytes(path, text)
    return experiment


def _require_same(old: Experiment, new: Experiment, run: Path) -> None:
    old_cells = {cell.key: cell for cell in old.cells()}
    common = [(old_cells[cell.key], cell) for cell in new.cells() if cell.key in old_cells]
    # without a common cell it is another experiment, not a grown grid: the first cells show where they differ
    for old_cell, new_cell in common or [(old.cells()[0], new.cells()[0])]:
        if old.identity(old_cell) == new.identity(new_cell):
            continue
        differing = differences(old.identity_fields(old_cell), new.identity_fields(new_cell))
        what = differing[0] if differing else "the identities differ although every setting agrees"
        raise InputError(f"{run}: was created by a different experiment: {what}; choose another folder with -o")


@dataclass(frozen=True)
class Gap:
    """A block of trials at some widths, of the certificates and of the flow: in most places those that are missing."""

    cell: CellPlan
    block: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]

    @property
    def all_widths(self) -> tuple[int, ...]:
        """Widths to compute; a flow starts from the certificates of its width."""
        return tuple(sorted({*self.widths, *self.flow_widths}))

    def shard(self, plan: RunPlan, count: int) -> int:
        """Return which of `count` shards computes the block: a function of its place alone, not of what is missing."""
        return (self.cell.index * plan.n_blocks + self.block) % count


def requested_blocks(plan: RunPlan, requests: Sequence[Request] | None = None) -> Iterator[Gap]:
    """Select the blocks to compute: all of a plan, or those of one round of adaptive sampling.

    Block 0 of every cell comes first, then block 1 and so on. The requests lie within the plan, no block twice.
    """
    by_cell: dict[int, list[Request]] = {cell.index: [] for cell in plan.cells}
    for request in requests or ():
        by_cell[request.cell].append(request)
    for block in range(plan.n_blocks):
        for cell in plan.cells:
            if requests is None:
                yield Gap(cell, block, plan.widths, plan.flow_widths)
            for request in by_cell[cell.index]:
                if request.first_block <= block < request.last_block:
                    yield Gap(cell, block, request.widths, request.flow_widths)


def stream_digests(experiment: Experiment) -> dict[str, str]:
    """Return by cell key the digest of chunk 0 of trial 0 as this machine's NumPy draws it."""
    law = experiment.document.network.output_law
    return {cell.key: stream_digest(experiment.seed, cell.id, cell.problem["n"], law) for cell in experiment.cells()}


def gaps(
    run: Path,
    plan: RunPlan,
    digests: Mapping[str, str] | None = None,
    requests: Sequence[Request] | None = None,
) -> tuple[Gap, ...]:
    """Return the requested blocks that lack widths, and the widths; block files of another stream are refused."""
    held = parts(run, plan, digests)
    missing = []
    for gap in requested_blocks(plan, requests):
        headers = [header for _, header in held.get((gap.cell.key, gap.block), ())]
        widths = {width for header in headers for width in header.widths}
        flow_widths = {width for header in headers for width in header.flow_widths}
        lacking = tuple(width for width in gap.widths if width not in widths)
        lacking_flows = tuple(width for width in gap.flow_widths if width not in flow_widths)
        if lacking or lacking_flows:
            missing.append(Gap(gap.cell, gap.block, lacking, lacking_flows))
    return tuple(missing)


@dataclass(frozen=True)
class CellStatus:
    """How far one cell of a run is: its blocks, and the trials present at each width and flow width."""

    cell: CellPlan
    blocks: int
    complete_blocks: int
    trials_present: tuple[int, ...]
    flow_trials_present: tuple[int, ...]


def status(run: Path, trials: int | None = None) -> tuple[RunPlan, tuple[CellStatus, ...]]:
    """Return the plan of a run folder, and how far each of its cells is."""
    plan = run_plan(load_frozen(run), trials)
    lacking = gaps(run, plan)
    rows = [min(plan.block_size, plan.trials - block * plan.block_size) for block in range(plan.n_blocks)]
    cells = []
    for cell in plan.cells:
        missing = [gap for gap in lacking if gap.cell.key == cell.key]
        lost: Counter[int] = Counter()
        flow_lost: Counter[int] = Counter()
        for gap in missing:
            lost.update(dict.fromkeys(gap.widths, rows[gap.block]))
            flow_lost.update(dict.fromkeys(gap.flow_widths, rows[gap.block]))
        present = tuple(plan.trials - lost[width] for width in plan.widths)
        flow_present = tuple(plan.trials - flow_lost[width] for width in plan.flow_widths)
        cells.append(CellStatus(cell, plan.n_blocks, plan.n_blocks - len(missing), present, flow_present))
    return plan, tuple(cells)
