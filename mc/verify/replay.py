"""A block computed again from its address, and set beside what its file holds."""

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
from mc.store.plan import CellPlan, RunPlan
from mc.store.provenance import blas_identity
from mc.theory.claims import Sides
from mc.theory.codes import NOT_COMPUTED
from mc.trial.block import compute_block
from mc.trial.claims import OnClaim
from mc.trial.curves import PROMISED_FROM, Trajectory, constant_bounds

TOLERANCE = 1e-12
"""Difference allowed to another NumPy or BLAS, relative to the largest number of the dataset."""

WIDTH_AXES = ("width", "flow_width")
PER_CLAIM = ("slack_", "verdict_")
"""Datasets that a trial which was not followed does not have."""


def trials_of(experiment: Experiment, run: Path) -> int:
    """Trials of a run folder: those asked for, or with [sampling] those that are there (at least one)."""
    if experiment.trials is not None:
        return experiment.trials
    return max(trials_there(run, {cell.key for cell in experiment.cells()}, experiment.block_size), 1)


def computable(run: Path) -> Experiment:
    """The experiment of a run folder, with everything that a computation needs.

    Raises
    ------
    InputError
        When it is no run folder, or the experiment holds objects or files that are not here.
    """
    load_frozen(run)  # says what is no run folder
    return Experiment.from_toml(run / FROZEN)


def recompute(
    experiment: Experiment,
    plan: RunPlan,
    header: BlockHeader,
    save_trials: int | None = None,
    on_claim: OnClaim | None = None,
) -> Arrays:
    """Compute the whole block of a file again, with one BLAS thread as when it was made.

    Parameters
    ----------
    experiment : Experiment
        As `computable` reads it.
    plan : RunPlan
        Of this experiment.
    header : BlockHeader
    save_trials : int, optional
        Keep the trajectories of the first so many trials of the cell, instead of what the experiment says.
    on_claim : callable, optional
        Called with both sides of each claim at every observed time.

    Returns
    -------
    mapping of str to array
        As the file should hold them.
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
    """Whether the numbers of a block should come back to the last bit: NumPy and its BLAS are those of the block."""
    return header.facts.get("numpy") == np.__version__ and header.facts.get("blas") == blas_identity()


def difference(stored: NDArray[Any], again: NDArray[Any], *, exact: bool) -> float:
    """How far two versions of a dataset are apart.

    Parameters
    ----------
    stored, again : array
    exact : bool
        Whether they should agree to the last bit.

    Returns
    -------
    float
        0 where they agree; otherwise the largest difference relative to the largest finite number stored; infinite
        where type, shape, an integer, or the places of NaN and infinity differ.
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
    """Datasets of a block that a second computation does not give: to the last bit, or within `TOLERANCE`."""
    exact = same_maker(block.header)
    limit = 0.0 if exact else TOLERANCE
    found = []
    for name in sorted({*block.arrays, *again}):
        if name not in again or name not in block.arrays:
            found.append(f"{name} is only {'in the file' if name in block.arrays else 'in the second computation'}")
            continue
        apart = difference(block.arrays[name], again[name], exact=exact)
        if apart > limit:
            how = "other integers, NaN, type or shape" if np.isinf(apart) else f"relative difference {apart:.2g}"
            found.append(f"{name}: {how}")
    return tuple(found)


@dataclass(frozen=True)
class Replayed:
    """The words of a replay, whether the numbers came back, and the trajectories of the trial."""

    lines: tuple[str, ...]
    agrees: bool
    traces: tuple[Trajectory, ...]


def replay_trial(run: Path, cell: int, trial: int, width: int | None = None, *, follow: bool = False) -> Replayed:
    """Compute the block of one trial again and set its numbers beside the stored ones.

    Parameters
    ----------
    run : Path
        Run folder.
    cell, trial : int
        Address of the trial.
    width : int, optional
        One width of the run; all of them by default.
    follow : bool
        Compute the trajectory also where the run did not save it.

    Returns
    -------
    Replayed
        Where no file has the trial there is nothing beside the numbers, and they agree.

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
    where = plan.cells[cell]
    blocks = _stored(run, plan, where, trial // plan.block_size, stream_digests(experiment))
    lines = [f"{run}: cell {cell} ({where.key}), trial {trial}, block {trial // plan.block_size}"]
    traces: list[Trajectory] = []
    agrees, asked = True, plan.widths if width is None else (width,)
    if not any(set(asked) & set(block.header.widths) for block in blocks):
        blocks = (_absent(experiment, plan, where, trial // plan.block_size),)
    for block in blocks:
        mine = [k for k in block.header.widths if k in asked]
        if not mine:
            continue
        sides = _Sides(trial - block.header.first_trial, mine)
        again = recompute(experiment, plan, block.header, on_claim=sides)
        wrong = disagreements(block, again) if block.arrays else ()
        agrees = agrees and not wrong
        lines.append(_summary(block, wrong))
        followed = again if not follow or trial < plan.save_trials else _follow(experiment, plan, block, trial)
        found = tuple(_traces(followed, block.header, trial, mine, flow=not _descends(experiment)))
        lines += _trial_lines(block, again, trial, mine, found)
        lines += sides.lines()
        traces += found
    return Replayed(tuple(lines), agrees, tuple(traces))


class _Sides:
    """The two sides of each claim of one trial along time, as the last integration saw them."""

    def __init__(self, row: int, widths: Sequence[int]) -> None:
        self._row, self._widths = row, widths
        self._seen: dict[tuple[int, str, str], Array] = {}

    def __call__(self, mode: str, width: int, rows: Index, member: str, sides: Sides) -> None:
        at = np.flatnonzero(rows == self._row)
        if at.size and width in self._widths:
            columns = np.broadcast_arrays(sides.time, sides.left.value, sides.right.value)
            table = np.stack([column[at[0]] for column in columns], axis=1)
            self._seen[width, mode, member] = table[~np.isnan(table).any(axis=1)]

    def lines(self) -> Iterator[str]:
        """A table for each claim and hypothesis that was looked at; the claim is that left is at most right."""
        for (width, mode, member), table in self._seen.items():
            if len(table):
                yield f"    claim {member}, width {width} {mode}:"
                yield "      " + "  ".join(f"{name:>22}" for name in ("t", "left", "right"))
                yield from ("      " + "  ".join(f"{value:>22.12g}" for value in row) for row in table)


def _follow(experiment: Experiment, plan: RunPlan, block: Block, trial: int) -> Arrays:
    """The block once more, with the trajectories up to that of a trial; none where it has no flow."""
    return recompute(experiment, plan, block.header, trial + 1) if block.header.flow_widths else {}


def _descends(experiment: Experiment) -> bool:
    return experiment.flow is not None and experiment.flow.rule == "gd"


def _traces(
    arrays: Arrays, header: BlockHeader, trial: int, widths: Sequence[int], *, flow: bool
) -> Iterator[Trajectory]:
    """Trajectories of a trial, where there are any, with what is promised of a flow."""
    row = trial - header.first_trial
    if "t" not in arrays or row >= arrays["t"].shape[1]:
        return
    saved = [name for name in sorted(arrays) if field_of(name).dims == SAVED]
    for width in widths:
        for i, mode in enumerate(header.modes):
            if width not in header.flow_widths:
                continue
            place = {"mode": i, "trial": row, "width": header.widths.index(width)}
            place |= {"saved_trial": row, "flow_width": header.flow_widths.index(width)}

            def at(name: str, place: Mapping[str, int] = place) -> NDArray[Any]:
                index = tuple(place[dim] for dim in field_of(name).dims if dim != "time")
                return np.atleast_1d(arrays[name][index])

            columns = {name: at(name) for name in saved}
            if flow and set(PROMISED_FROM) <= arrays.keys():
                columns |= constant_bounds({name: at(name) for name in PROMISED_FROM}, mode, len(columns["t"]))
            yield Trajectory(width, mode, columns)


def _stored(run: Path, plan: RunPlan, cell: CellPlan, number: int, digests: Mapping[str, str]) -> tuple[Block, ...]:
    files = parts(run, replace(plan, cells=(cell,)), digests).get((cell.key, number), ())
    return tuple(read_part(file.path, cell, plan) for file, _ in files)


def _absent(experiment: Experiment, plan: RunPlan, cell: CellPlan, number: int) -> Block:
    """What stands for a block that no file has: its header, without arrays."""
    gap = Gap(cell, number, plan.widths, plan.flow_widths)
    return Block(build_job(experiment, plan, gap, "", Path(), {}).header, {})


def _summary(block: Block, wrong: Sequence[str]) -> str:
    if not block.arrays:
        return "  no block file has it: computed, nothing beside it"
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return f"  {block.header.file_name}: differs: {wrong[0]}{more}"
    if same_maker(block.header):
        return f"  {block.header.file_name}: all of the block agrees to the last bit"
    facts = block.header.facts
    made = f"NumPy {facts.get('numpy', '?')}, {facts.get('blas', '?')}"
    return f"  {block.header.file_name}: all of the block agrees to {TOLERANCE:g} (made by {made})"


def _word(value: Any, field: Field) -> str:
    if field.enum is not None:
        return "not-computed" if value == NOT_COMPUTED else field.enum(int(value)).label
    return f"{value:.12g}"


def _is_fill(value: Any, field: Field) -> bool:
    return bool(np.isnan(value) if np.isnan(field.fill) else value == field.fill)


def _trial_lines(
    block: Block, again: Arrays, trial: int, widths: Sequence[int], traces: Sequence[Trajectory]
) -> Iterator[str]:
    """Numbers of one trial: those of the problem, then width by width, mode by mode, then its trajectory."""
    header = block.header
    row = trial - header.first_trial
    places: list[tuple[str, str, dict[str, int]]] = [("problem", "", {"trial": row})]
    for width in widths:
        at = {"trial": row, "width": header.widths.index(width)}
        if width in header.flow_widths:
            at["flow_width"] = header.flow_widths.index(width)
        places.append((f"width {width}", "", at))
        places += [(f"width {width}", mode, {**at, "mode": i}) for i, mode in enumerate(header.modes)]
    for title, mode, at in places:
        yield f"  {title} {mode}".rstrip()
        for name in sorted(again):
            field = field_of(name)
            here = set(field.dims) <= set(at) and not ("mode" in at) ^ ("mode" in field.dims)
            if here and bool(set(WIDTH_AXES) & set(at)) == bool(set(WIDTH_AXES) & set(field.dims)):
                place = tuple(at[dim] for dim in field.dims)
                if not (name.startswith(PER_CLAIM) and _is_fill(again[name][place], field)):
                    yield _number_line(block, again, field, place)
        for trace in traces:
            if (title, mode) == (f"width {trace.width}", trace.mode):
                yield from _trajectory_lines(trace)


def _number_line(block: Block, again: Arrays, field: Field, place: tuple[int, ...]) -> str:
    value = again[field.name][place]
    line = f"    {field.name:<24} {_word(value, field):<20}"
    if field.name not in block.arrays:
        return line.rstrip()
    stored = block.arrays[field.name][place]
    same = stored.tobytes() == value.tobytes()
    return f"{line} stored {_word(stored, field):<20} {'=' if same else f'off by {abs(stored - value):.2g}'}"


def _trajectory_lines(trace: Trajectory) -> Iterator[str]:
    """Of every quantity that is bounded: time, value, error, bounds."""
    for quantity in trace.observables():
        names = [name for name in ("t", quantity, f"error_{quantity}") if name in trace.columns]
        names += trace.bounds(quantity)
        yield f"    trajectory of {quantity}:"
        yield "      " + "  ".join(f"{name:>22}" for name in names)
        for row in zip(*(trace.columns[name] for name in names), strict=True):
            yield "      " + "  ".join("nothing proved".rjust(22) if np.isnan(v) else f"{v:>22.12g}" for v in row)
