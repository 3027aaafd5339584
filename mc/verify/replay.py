"""Compute a block again from its address, and compare the numbers with those of its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.arrays import Array, Index
from mc.runner.jobs import build_job
from mc.runner.plan import FROZEN, Gap, load_frozen, run_plan, stream_digests
from mc.runner.progress import trials_there
from mc.store.blocks import Arrays, Block, BlockHeader, parts, read_part
from mc.store.layout import SAVED, Field, field_of
from mc.store.plan import RunPlan
from mc.store.provenance import blas_identity
from mc.theory.claims import Sides
from mc.theory.codes import NOT_COMPUTED
from mc.trial.block import compute_block
from mc.trial.claims import OnClaim
from mc.trial.curves import PROMISED_FROM, Trajectory, constant_bounds

TOLERANCE = 1e-12
"""Difference allowed to another NumPy or BLAS, relative to the largest number of the dataset."""

PER_CLAIM = ("slack_", "verdict_")
"""Datasets that hold the fill value in a trial without flow."""


def trials_of(experiment: Experiment, run: Path) -> int:
    """Return the number of trials of a run folder: as its file says, or with [sampling] those computed (at least 1)."""
    if experiment.trials is not None:
        return experiment.trials
    return max(trials_there(run, {cell.key for cell in experiment.cells()}, experiment.block_size), 1)


def computable(run: Path) -> Experiment:
    """Read the experiment of a run folder with everything that a computation needs.

    Raises
    ------
    InputError
        When it is no run folder, or the experiment holds objects or files that are not here.
    """
    load_frozen(run)  # refuses what is no run folder
    return Experiment.from_toml(run / FROZEN)


def recompute(
    experiment: Experiment,
    plan: RunPlan,
    header: BlockHeader,
    save_trials: int | None = None,
    on_claim: OnClaim | None = None,
) -> Arrays:
    """Compute the whole block of a file again, with one BLAS thread as when it was made.

    `save_trials` replaces the number of trials, from the first of the cell, that keep their trajectories; `on_claim` is
    called with both sides of each claim at every observed time. `computable` reads the experiment.
    """
    cell = next(cell for cell in plan.cells if cell.key == header.key)
    gap = Gap(cell, header.block, header.widths, header.flow_widths)
    task = build_job(
        experiment, replace(plan, ladder=header.ladder, claims=header.claims), gap, header.stream_digest, Path(), {}
    ).task
    if save_trials is not None and task.flow is not None:
        task = replace(task, flow=replace(task.flow, save=replace(task.flow.save, trials=save_trials)))
    with threadpool_limits(limits=1):
        return compute_block(task, on_claim)


def same_maker(header: BlockHeader) -> bool:
    """Return whether a block should come back to the last bit: NumPy and its BLAS are those that computed it."""
    return header.facts.get("numpy") == np.__version__ and header.facts.get("blas") == blas_identity()


def difference(stored: NDArray[Any], again: NDArray[Any], *, exact: bool) -> float:
    """Return the largest difference of two versions of a dataset, relative to the largest finite number stored.

    Infinite where type, shape, an integer, or the places of NaN and infinity differ; with `exact`, positive where the
    bits of a zero or a NaN differ.
    """
    if stored.dtype != again.dtype or stored.shape != again.shape:
        return np.inf
    if stored.tobytes() == again.tobytes():
        return 0.0
    finite = np.isfinite(stored)
    if stored.dtype.kind != "f" or not np.array_equal(stored[~finite], again[~finite], equal_nan=True):
        return np.inf
    with np.errstate(invalid="ignore"):
        apart = np.abs(stored[finite] - again[finite]).max(initial=0.0)
    if apart == 0.0:
        # the bits of a zero's sign or of a NaN: no number differs, but the bits do
        return np.finfo(float).tiny if exact else 0.0
    return float(apart / np.abs(stored[finite]).max()) if np.isfinite(apart) else np.inf


def disagreements(block: Block, again: Arrays) -> tuple[str, ...]:
    """List the datasets that a second computation does not give: to the last bit, or within `TOLERANCE`."""
    exact = same_maker(block.header)
    limit = 0.0 if exact else TOLERANCE
    problems = []
    for name in sorted({*block.arrays, *again}):
        if name not in again or name not in block.arrays:
            problems.append(f"{name} is only {'in the file' if name in block.arrays else 'in the second computation'}")
            continue
        apart = difference(block.arrays[name], again[name], exact=exact)
        if apart > limit:
            how = "other integers, NaN, type or shape" if np.isinf(apart) else f"relative difference {apart:.2g}"
            problems.append(f"{name}: {how}")
    return tuple(problems)


@dataclass(frozen=True)
class Replay:
    """One trial computed again."""

    lines: tuple[str, ...]  # its numbers beside the stored ones
    agrees: bool  # whether the whole block agrees; true where no file has it
    trajectories: tuple[Trajectory, ...]


def replay_trial(run: Path, cell: int, trial: int, width: int | None = None, *, follow: bool = False) -> Replay:
    """Compute the block of one trial again, at one width of the run or all, and compare its numbers.

    With `follow` the trajectory is computed also where the run did not save it.

    Raises
    ------
    InputError
        When the address is not in the run, or its block is damaged, or of other settings or another stream.
    """
    experiment = computable(run)
    plan = run_plan(experiment, trials_of(experiment, run))
    for option, value, count in (("--cell", cell, len(plan.cells)), ("--trial", trial, plan.trials)):
        if not 0 <= value < count:
            raise InputError(f"{option} {value}: the run has 0 to {count - 1}; use one of these")
    if width is not None and width not in plan.widths:
        raise InputError(f"--width {width}: not a width of the run; use one of {', '.join(map(str, plan.widths))}")
    where, number = plan.cells[cell], trial // plan.block_size
    lines = [f"{run}: cell {cell} ({where.key}), trial {trial}, block {number}"]
    files = parts(run, replace(plan, cells=(where,)), stream_digests(experiment)).get((where.key, number), ())
    chosen = plan.widths if width is None else (width,)
    blocks = [read_part(file.path, where, plan) for file, _ in files]
    blocks = [block for block in blocks if set(chosen) & set(block.header.widths)]
    if not blocks:
        # a header without arrays stands for a block that no file has
        gap = Gap(where, number, plan.widths, plan.flow_widths)
        blocks = [Block(build_job(experiment, plan, gap, "", Path(), {}).header, {})]
    agrees = True
    trajectories: list[Trajectory] = []
    for block in blocks:
        header = block.header
        row, widths = trial - header.first_trial, [k for k in header.widths if k in chosen]
        sides = _Sides(row, widths)
        again = followed = recompute(experiment, plan, header, on_claim=sides)
        wrong = disagreements(block, again) if block.arrays else ()
        agrees = agrees and not wrong
        lines.append(_summary(block, wrong))
        if follow and trial >= plan.save_trials:
            followed = recompute(experiment, plan, header, trial + 1) if header.flow_widths else {}
        promised = experiment.document.flow is None or experiment.document.flow.rule != "gd"
        drawn = tuple(_trajectories(followed, header, row, widths, promised=promised))
        lines += _trial_lines(block, again, row, widths, drawn)
        lines += sides.lines()
        trajectories += drawn
    return Replay(tuple(lines), agrees, tuple(trajectories))


class _Sides:
    """Collects the two sides of each claim of one trial along time, in the last integration."""

    def __init__(self, row: int, widths: Sequence[int]) -> None:
        self._row, self._widths = row, widths
        self._tables: dict[tuple[int, str, str], Array] = {}

    def __call__(self, mode: str, width: int, rows: Index, member: str, sides: Sides) -> None:
        position = np.flatnonzero(rows == self._row)
        if position.size and width in self._widths:
            columns = np.broadcast_arrays(sides.time, sides.left.value, sides.right.value)
            table = np.stack([column[position[0]] for column in columns], axis=1)
            self._tables[width, mode, member] = table[~np.isnan(table).any(axis=1)]

    def lines(self) -> Iterator[str]:
        """Yield a table for each claim and hypothesis; the claim is that left is at most right."""
        for (width, mode, member), table in self._tables.items():
            if len(table):
                yield f"    claim {member}, width {width} {mode}:"
                yield "      " + "  ".join(f"{name:>22}" for name in ("t", "left", "right"))
                yield from ("      " + "  ".join(f"{value:>22.12g}" for value in row) for row in table)


def _position(header: BlockHeader, row: int, width: int) -> dict[str, int]:
    """Return the position of a trial and a width on the axes of a block."""
    return {"trial": row, "saved_trial": row} | {
        dim: widths.index(width) for dim, widths in header.axes.items() if width in widths
    }


def _trajectories(
    arrays: Arrays, header: BlockHeader, row: int, widths: Sequence[int], *, promised: bool
) -> Iterator[Trajectory]:
    """Yield the saved trajectories of a trial, with what is promised of a flow."""
    if "t" not in arrays or row >= arrays["t"].shape[1]:
        return
    saved = [name for name in sorted(arrays) if field_of(name).dims == SAVED]
    for width in (width for width in widths if width in header.flow_widths):
        for i, mode in enumerate(header.modes):
            position = {**_position(header, row, width), "mode": i}

            def along_time(name: str, position: Mapping[str, int] = position) -> NDArray[Any]:
                return np.atleast_1d(arrays[name][tuple(position[d] for d in field_of(name).dims if d != "time")])

            columns = {name: along_time(name) for name in saved}
            if promised and set(PROMISED_FROM) <= arrays.keys():
                facts = {name: along_time(name) for name in PROMISED_FROM}
                columns |= constant_bounds(facts, mode, len(columns["t"]))
            yield Trajectory(width, mode, columns)


def _summary(block: Block, wrong: Sequence[str]) -> str:
    if not block.arrays:
        return "  no block file has it: computed, nothing beside it"
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return f"  {block.header.file_name}: differs: {wrong[0]}{more}"
    if same_maker(block.header):
        return f"  {block.header.file_name}: all of the block agrees to the last bit"
    facts = block.header.facts
    maker = f"NumPy {facts.get('numpy', '?')}, {facts.get('blas', '?')}"
    return f"  {block.header.file_name}: all of the block agrees to {TOLERANCE:g} (made by {maker})"


def _text(value: Any, field: Field) -> str:
    if field.enum is not None:
        return "not-computed" if value == NOT_COMPUTED else field.enum(int(value)).label
    return f"{value:.12g}"


def _is_fill(value: Any, field: Field) -> bool:
    return bool(np.isnan(value) if np.isnan(field.fill) else value == field.fill)


def _trial_lines(
    block: Block, again: Arrays, row: int, widths: Sequence[int], trajectories: Sequence[Trajectory]
) -> Iterator[str]:
    """Yield the numbers of one trial: of the problem, then width by width, mode by mode, then the trajectory."""
    titles: list[tuple[str, str, dict[str, int]]] = [("problem", "", {"trial": row})]
    for width in widths:
        position = _position(block.header, row, width)
        del position["saved_trial"]
        titles.append((f"width {width}", "", position))
        titles += [(f"width {width}", mode, {**position, "mode": i}) for i, mode in enumerate(block.header.modes)]
    for title, mode, position in titles:
        yield f"  {title} {mode}".rstrip()
        for name in sorted(again):
            field = field_of(name)
            has_width, has_mode = title != "problem", "mode" in position
            if (field.width_axis is not None, "mode" in field.dims) != (has_width, has_mode):
                continue
            if set(field.dims) <= set(position):
                place = tuple(position[dim] for dim in field.dims)
                if not (name.startswith(PER_CLAIM) and _is_fill(again[name][place], field)):
                    yield _number_line(block, again, field, place)
        for trajectory in trajectories:
            if (title, mode) == (f"width {trajectory.width}", trajectory.mode):
                yield from _trajectory_lines(trajectory)


def _number_line(block: Block, again: Arrays, field: Field, place: tuple[int, ...]) -> str:
    value = again[field.name][place]
    line = f"    {field.name:<24} {_text(value, field):<20}"
    if field.name not in block.arrays:
        return line.rstrip()
    stored = block.arrays[field.name][place]
    same = stored.tobytes() == value.tobytes()
    return f"{line} stored {_text(stored, field):<20} {'=' if same else f'off by {abs(stored - value):.2g}'}"


def _trajectory_lines(trajectory: Trajectory) -> Iterator[str]:
    """Yield time, value, error and bounds of every bounded observable."""
    for observable in trajectory.observables():
        names = [name for name in ("t", observable, f"error_{observable}") if name in trajectory.columns]
        names += trajectory.bounds(observable)
        yield f"    trajectory of {observable}:"
        yield "      " + "  ".join(f"{name:>22}" for name in names)
        for row in zip(*(trajectory.columns[name] for name in names), strict=True):
            yield "      " + "  ".join("nothing proved".rjust(22) if np.isnan(v) else f"{v:>22.12g}" for v in row)
