"""results.h5 from the block files: complete or not, and whatever the order and the parts in which they came."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.layout import COORDINATES, Computed, Field, field_of
from mc.records import MAKER_FACTS, CellPlan, Parts, RunPlan, assemble, check_header
from mc.store import RESULTS, creating, parts, read_block, row_axis, storage
from mc.version import SCHEMA_VERSION


class _Group:
    """The group of one cell in results.h5, its datasets created when the first block that has them comes."""

    def __init__(self, handle: Any, plan: RunPlan) -> None:
        self.handle = handle
        self.plan = plan
        self.sizes = {
            "mode": len(plan.modes),
            "trial": plan.trials,
            "width": len(plan.widths),
            "flow_width": len(plan.flow_widths),
            "saved_trial": plan.saved_trials,
        }
        # kept open: closing a dataset compresses its unfinished chunks, once per block
        self.datasets: dict[str, Any] = {}
        self.present = {name: np.zeros(self.sizes[name], dtype=np.int64) for name in ("width", "flow_width")}
        self.create(field_of("computed"), np.int8(Computed.ABSENT))

    def create(self, declared: Field, fill: object) -> Any:
        """An empty dataset of the full shape."""
        shape = tuple(self.sizes[dim] for dim in declared.dims)
        dataset = self.handle.create_dataset(
            declared.name, shape, declared.dtype, fillvalue=fill, **storage(shape, row_axis(declared.dims))
        )
        dataset.attrs.update(declared.attributes())
        self.datasets[declared.name] = dataset
        return dataset

    def add(self, block: Mapping[str, NDArray[Any]], first_trial: int, saved_rows: int) -> None:
        """Write the rows of one block.

        Parameters
        ----------
        block : mapping of str to array
            As `assemble` made it.
        first_trial : int
        saved_rows : int
            How many rows of the axis ``saved_trial`` the block has.
        """
        for name in sorted(block):
            declared = field_of(name)
            # without saved trajectories there is no axis to give them a dataset
            if any(self.sizes.get(dim) == 0 for dim in declared.dims):
                continue
            if (
                "time" in declared.dims
                and self.sizes.setdefault("time", block[name].shape[-1]) != block[name].shape[-1]
            ):
                raise InputError(f"block of trial {first_trial}: {name} has another number of times; delete the block")
            dataset = self.datasets.get(name)
            if dataset is None:
                dataset = self.create(declared, declared.fill)
            axis = row_axis(declared.dims)
            rows = saved_rows if "saved_trial" in declared.dims else self.plan.block_size
            rows = min(rows, self.sizes[declared.dims[axis]] - first_trial)
            if rows <= 0:
                continue
            before = (slice(None),) * axis
            dataset[(*before, slice(first_trial, first_trial + rows))] = block[name][(*before, slice(rows))]

    def finish(self) -> None:
        """Add the coordinates as dimension scales and the counts of what is there."""
        coordinates = {
            "mode": np.array(self.plan.modes, dtype=object),
            "trial": np.arange(self.plan.trials),
            "width": np.array(self.plan.widths, dtype=np.int64),
            "flow_width": np.array(self.plan.flow_widths, dtype=np.int64),
            "saved_trial": np.arange(self.plan.saved_trials),
            "time": np.arange(self.sizes.get("time", 0)),
        }
        for width, count in self.present.items():
            if self.sizes[width]:
                name = "trials_present" if width == "width" else "flow_trials_present"
                self.create(field_of(name), 0)[:] = count
        for declared in COORDINATES:
            values = coordinates[declared.name]
            if len(values):
                dataset = self.handle.create_dataset(declared.name, data=values)
                dataset.attrs.update(declared.attributes())
                dataset.make_scale(declared.name)
        for name, dataset in self.datasets.items():
            for axis, dim in enumerate(field_of(name).dims):
                dataset.dims[axis].attach_scale(self.handle[dim])
        self.datasets.clear()


def _merge_cell(group: _Group, cell: CellPlan, held: Parts) -> dict[str, Any]:
    """Write the blocks of one cell; returns the attributes that come from their headers."""
    plan = group.plan
    facts: list[Mapping[str, Any]] = []
    digests: set[str] = set()
    for number in range(plan.n_blocks):
        blocks = []
        for file, _ in held.get((cell.key, number), ()):
            block = read_block(file.path)
            check_header(file.path, block.header, cell, plan)
            blocks.append(block)
            facts.append(block.header.facts)
            digests.add(block.header.stream_digest)
        if not blocks:
            continue
        arrays, columns, saved_rows = assemble(blocks, plan)
        first = number * plan.block_size
        rows = min(plan.block_size, plan.trials - first)
        for width, there in columns.items():
            group.present[width][there] += rows
        group.add(arrays, first, saved_rows)
    if len(digests) > 1:
        raise InputError(f"{group.handle.file.filename}: the blocks of cell {cell.key} come from different generators")
    group.finish()
    makers = {json.dumps({k: v for k, v in fact.items() if k in MAKER_FACTS}, sort_keys=True) for fact in facts}
    return {
        "stream_digest": next(iter(digests), ""),
        "seconds": float(sum(fact.get("seconds", 0.0) for fact in facts)),
        "computed_by": json.dumps([json.loads(maker) for maker in sorted(makers)]),
    }


def merge(run: Path, plan: RunPlan, attributes: Mapping[str, Any]) -> Path:
    """Write results.h5 from the block files, complete or not.

    The datasets depend on the plan and on the numbers in the block files, not on their order, their division into
    parts or what made them; what is missing keeps its fill value and is 0 in `computed`.

    Parameters
    ----------
    run : Path
        The run folder.
    plan : RunPlan
    attributes : mapping
        Root attributes beside those of the plan: versions, commit, date.

    Returns
    -------
    Path
        ``run/results.h5``.

    Raises
    ------
    InputError
        When a block file is damaged or foreign, or the folder cannot be written to.
    """
    held = parts(run, plan)
    final = run / RESULTS
    # merge_id is new every time: readers notice that the file under them was replaced
    root = {
        "schema_version": SCHEMA_VERSION,
        "experiment": plan.text,
        "identity": plan.identity,
        "seed": plan.seed,
        "trials": plan.trials,
        "sampling": plan.sampling,
        "merge_id": uuid.uuid4().hex,
    }
    with creating(final) as handle:
        complete = True
        for cell in plan.cells:
            group = _Group(handle.create_group(cell.group), plan)
            found = _merge_cell(group, cell, held)
            complete = complete and all(np.all(count == plan.trials) for count in group.present.values())
            names = {"index": cell.index, "key": cell.key, "canonical": cell.canonical, "identity": cell.identity}
            group.handle.attrs.update({**cell.problem, **found, **names, "problem": json.dumps(dict(cell.problem))})
        handle.attrs.update({**root, **attributes, "complete": int(complete)})
    return final
