"""Block files put together on the axes of a run: the one place that joins parts and fills in failed trials."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Index
from mc.store.blocks import Block, BlockHeader, Parts, read_part
from mc.store.failures import Failure, Failures
from mc.store.layout import BLOCK_LAYOUT, Computed, field_of, filled, wanted
from mc.store.plan import CellPlan, RunPlan, canonical_json
from mc.theory.codes import Outcome


@dataclass(frozen=True)
class Rows:
    """One block of trials of a cell on the axes of a run."""

    block: int
    parts: Sequence[Block]
    arrays: dict[str, NDArray[Any]]  # the datasets, `computed` among them; the fill value where no part has the width
    columns: dict[str, Index]  # positions on the axes ``width`` and ``flow_width`` that a part has
    saved: int  # length of the axis ``saved_trial`` of this block


def failed_columns(failure: Failure | None, headers: Iterable[BlockHeader], plan: RunPlan) -> dict[str, list[int]]:
    """Return the positions on the axes of a plan at which a block failed and none of its parts has the width."""
    if failure is None:
        return {dim: [] for dim in plan.axes}
    present: dict[str, set[int]] = {dim: set() for dim in plan.axes}
    for header in headers:
        for dim, widths in header.axes.items():
            present[dim].update(widths)
    return failure.lacks(plan.axes, present)


def assemble(block: int, parts: Sequence[Block], plan: RunPlan, failure: Failure | None = None) -> Rows:
    """Put the parts of one block of trials, in the order of their digests, side by side.

    A width that several parts hold comes from the first of them; their numbers are the same, by their identity. Trials
    of a `failure` are `Computed.FAILED`, with the outcome `Outcome.ERROR` of the flow, where no part has the width.
    """
    axes = plan.axes
    sizes = plan.sizes | {"trial": plan.block_size, "saved_trial": 0}
    present: dict[str, list[int]] = {dim: [] for dim in axes}
    arrays: dict[str, NDArray[Any]] = {}
    if not parts:
        # every dataset of a block that failed as a whole exists, so that its trials count in each
        arrays = {
            field.name: filled(field, sizes)
            for field in BLOCK_LAYOUT
            if all(sizes.get(dim) for dim in field.dims) and wanted(field.name, plan.ladder)
        }
    for part in parts:
        source: dict[str, list[int]] = {}
        target: dict[str, list[int]] = {}
        for dim, widths in part.header.axes.items():
            fresh = [width for width in widths if width in axes[dim] and axes[dim].index(width) not in present[dim]]
            source[dim] = [widths.index(width) for width in fresh]
            target[dim] = [axes[dim].index(width) for width in fresh]
            present[dim] += target[dim]
        for name, array in part.arrays.items():
            declared = field_of(name)
            if not wanted(name, plan.ladder):
                continue
            if declared.width_axis is None:
                arrays.setdefault(name, array)
                continue
            saved = ("saved_trial", "time", "entry")
            sizes |= {dim: n for dim, n in zip(declared.dims, array.shape, strict=True) if dim in saved}
            if name not in arrays:
                arrays[name] = filled(declared, sizes)
            dim = declared.dims[declared.width_axis]
            before: tuple[Any, ...] = (slice(None),) * declared.width_axis
            arrays[name][(*before, target[dim])] = array[(*before, source[dim])]
    arrays["computed"] = np.full((plan.block_size, len(plan.widths)), Computed.ABSENT, dtype=np.int8)
    arrays["computed"][:, present["width"]] = Computed.PRESENT
    failed = failed_columns(failure, [part.header for part in parts], plan)
    arrays["computed"][:, failed["width"]] = Computed.FAILED
    if failed["flow_width"]:
        outcome = arrays.setdefault("outcome", filled(field_of("outcome"), sizes))
        outcome[:, :, failed["flow_width"]] = Outcome.ERROR
    columns = {dim: np.array(sorted(positions), dtype=np.intp) for dim, positions in present.items()}
    return Rows(block, parts, arrays, columns, sizes["saved_trial"])


def cell_rows(
    cell: CellPlan, plan: RunPlan, parts: Parts, failures: Failures, copied: Callable[[], Collection[str]] = tuple
) -> Iterator[Rows]:
    """Read, check and assemble the blocks of a cell, one after the other; blocks without parts or failure are left out.

    `copied` names the datasets of which `read_block` also returns the packed chunks.

    Raises
    ------
    InputError
        When a block file is damaged or foreign.
    """
    for block in range(plan.n_blocks):
        files, failure = parts.get((cell.key, block), ()), failures.get((cell.key, block))
        if files or failure is not None:
            yield assemble(block, [read_part(file.path, cell, plan, copied()) for file, _ in files], plan, failure)


def standing(plan: RunPlan, parts: Parts, failures: Failures) -> Failures:
    """Return the failures of blocks of a plan that still lack a width at which they failed."""
    keys = {cell.key for cell in plan.cells}
    return {
        (key, block): failure
        for (key, block), failure in sorted(failures.items())
        if key in keys and block < plan.n_blocks
        if any(failed_columns(failure, [header for _, header in parts.get((key, block), ())], plan).values())
    }


def merged_from(cell: CellPlan, plan: RunPlan, parts: Parts, failures: Failures) -> str:
    """Return the digest of the names of the block files and of the `standing` failures from which a cell is merged.

    The name of a block file says what it holds.
    """
    names = [file.path.name for block in range(plan.n_blocks) for file, _ in parts.get((cell.key, block), ())]
    names += [
        canonical_json(["failed", key, block, failure.widths, failure.flow_widths])
        for (key, block), failure in failures.items()
        if key == cell.key
    ]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
