"""The parts of one block of trials put side by side on the axes of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Index
from mc.store.failures import Failure
from mc.store.layout import BLOCK_LAYOUT, Computed, field_of, filled, wanted
from mc.store.records import Block, BlockHeader, RunPlan
from mc.theory.codes import Outcome


def axes(plan: RunPlan) -> dict[str, tuple[int, ...]]:
    """The axes ``width`` and ``flow_width`` of a plan."""
    return {"width": plan.widths, "flow_width": plan.flow_widths}


def failed_columns(failure: Failure, headers: Iterable[BlockHeader], plan: RunPlan) -> dict[str, list[int]]:
    """Positions on the axes of a plan at which a block of trials failed and none of its parts has the width."""
    there: dict[str, set[int]] = {"width": set(), "flow_width": set()}
    for header in headers:
        there["width"].update(header.widths)
        there["flow_width"].update(header.flow_widths)
    return failure.lacks(axes(plan), there)


def _nothing(plan: RunPlan, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """The datasets of a block without saved trajectories, at their fill values."""
    there = {dim for dim, size in sizes.items() if size}
    return {
        field.name: filled(field, sizes)
        for field in BLOCK_LAYOUT
        if set(field.dims) <= there and wanted(field.name, plan.ladder)
    }


def fresh_columns(blocks: Sequence[Block], plan: RunPlan) -> tuple[dict[str, tuple[list[int], list[int]]], ...]:
    """Of each part of one block of trials, the widths of the plan that no earlier part has.

    Returns
    -------
    tuple of dict of str to (list of int, list of int)
        For the axes ``width`` and ``flow_width``: positions in the part, and on the axis of the plan.
    """
    asked = axes(plan)
    seen: dict[str, set[int]] = {dim: set() for dim in asked}
    found = []
    for block in blocks:
        held = {"width": block.header.widths, "flow_width": block.header.flow_widths}
        own = {}
        for dim, widths in asked.items():
            fresh = [width for width in held[dim] if width in widths and width not in seen[dim]]
            seen[dim].update(fresh)
            own[dim] = ([held[dim].index(width) for width in fresh], [widths.index(width) for width in fresh])
        found.append(own)
    return tuple(found)


def assemble(
    blocks: Sequence[Block], plan: RunPlan, failure: Failure | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Index], int]:
    """Put the parts of one block of trials side by side.

    A width that several parts hold comes from the first of them; their numbers are the same, by their identity.

    Parameters
    ----------
    blocks : sequence of Block
        The parts, in the order of their digests.
    plan : RunPlan
    failure : Failure, optional
        What is noted of the block: its trials are `Computed.FAILED`, with the outcome `Outcome.ERROR` of the flow,
        where no part has the width.

    Returns
    -------
    arrays : dict of str to array
        The datasets on the axes of the plan, `computed` among them, with the fill value where no part has the width.
    columns : dict of str to int array
        Positions on the axes ``width`` and ``flow_width`` that are there; those that failed are not.
    saved_rows : int
        Length of the axis ``saved_trial`` of this block.
    """
    asked = axes(plan)
    seen: dict[str, list[int]] = {dim: [] for dim in asked}
    sizes = {"mode": len(plan.modes), "trial": plan.block_size, "width": len(plan.widths)}
    sizes |= {"flow_width": len(plan.flow_widths), "saved_trial": 0}
    # of a block that failed as a whole there is every dataset that was asked for, so that its trials count in each
    arrays = {} if blocks or failure is None else _nothing(plan, sizes)
    for block, columns in zip(blocks, fresh_columns(blocks, plan), strict=True):
        source = {dim: mine for dim, (mine, _) in columns.items()}
        target = {dim: theirs for dim, (_, theirs) in columns.items()}
        for dim in asked:
            seen[dim] += target[dim]
        for name, array in block.arrays.items():
            if not wanted(name, plan.ladder):
                continue
            declared = field_of(name)
            if not {"width", "flow_width"} & set(declared.dims):
                arrays.setdefault(name, array)
                continue
            axis = next(axis for axis, dim in enumerate(declared.dims) if dim in asked)
            dim = declared.dims[axis]
            for saved in ("saved_trial", "time", "entry"):
                if saved in declared.dims:
                    sizes[saved] = array.shape[declared.dims.index(saved)]
            if name not in arrays:
                arrays[name] = filled(declared, sizes)
            before: tuple[Any, ...] = (slice(None),) * axis
            arrays[name][(*before, target[dim])] = array.take(source[dim], axis)
    computed = np.full((plan.block_size, len(plan.widths)), Computed.ABSENT, dtype=np.int8)
    computed[:, seen["width"]] = Computed.PRESENT
    arrays["computed"] = computed
    if failure is not None:
        failed = failed_columns(failure, [block.header for block in blocks], plan)
        computed[:, failed["width"]] = Computed.FAILED
        if failed["flow_width"]:
            outcome = arrays.setdefault("outcome", filled(field_of("outcome"), sizes))
            outcome[:, :, failed["flow_width"]] = Outcome.ERROR
    there = {dim: np.array(sorted(positions), dtype=np.intp) for dim, positions in seen.items()}
    return arrays, there, sizes["saved_trial"]
