"""results.h5 from the block files: complete or not, in whatever order and parts the blocks came."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.store.assembly import Rows, cell_rows, merged_from, standing
from mc.store.blocks import MAKER_FACTS, BlockHeader, Parts, parts
from mc.store.checksums import RowDigest, array_digest, attributes_digest
from mc.store.failures import Failures, failed_blocks
from mc.store.hdf5 import Chunks, attributes, creating, packing, storage
from mc.store.layout import COORDINATES, Computed, Field, field_of
from mc.store.plan import CellPlan, RunPlan
from mc.store.results import RESULTS
from mc.version import SCHEMA_VERSION

MOST_NAMED = 100
"""Failed blocks that results.h5 names: an attribute of HDF5 has room for 64 kB."""
LONGEST = 300
"""Characters of an error that results.h5 keeps."""


class DatasetWriter:
    """Writes a dataset in order of the rows, with its checksum."""

    def __init__(
        self, group: h5py.Group, declared: Field, shape: tuple[int, ...], fill: object, block: int | None
    ) -> None:
        how = storage(shape, declared.row_axis, block)
        self.axis = declared.row_axis
        self.dataset = group.create_dataset(declared.name, shape, declared.dtype, fillvalue=fill, **how)
        self.dataset.attrs.update(declared.attributes())
        self.packing = packing(self.dataset.id)
        self.chunk = self.dataset.chunks[self.axis] if self.dataset.chunks else shape[self.axis]
        self.digest = RowDigest(self.dataset.dtype, shape, self.axis, fill)

    def write(self, first: int, rows: NDArray[Any], chunks: Chunks | None = None) -> bool:
        """Write rows from `first` on; return whether the packed `chunks` of a block could be copied as they are."""
        self.digest.add(first, rows)
        if chunks is not None and chunks[0] == self.packing and first % self.chunk == 0:
            for place, content in chunks[1]:
                target = (*place[: self.axis], place[self.axis] + first, *place[self.axis + 1 :])
                # the last block may have trials that the run does not ask for
                if target[self.axis] < self.dataset.shape[self.axis]:
                    self.dataset.id.write_direct_chunk(target, content)
            return True
        start = [0] * rows.ndim
        start[self.axis] = first
        space = self.dataset.id.get_space()
        space.select_hyperslab(tuple(start), rows.shape)
        # the low-level interface: a merge writes dozens of datasets for each of up to a million files
        self.dataset.id.write(h5py.h5s.create_simple(rows.shape), space, np.ascontiguousarray(rows))
        return False


class CellWriter:
    """Writes the group of one cell; a dataset is created when the first block that has it comes."""

    def __init__(self, group: h5py.Group, plan: RunPlan) -> None:
        self.group, self.plan, self.sizes = group, plan, dict(plan.sizes)
        self.writers: dict[str, DatasetWriter] = {}
        self.present = {dim: np.zeros(len(widths), dtype=np.int64) for dim, widths in plan.axes.items()}
        self.create(field_of("computed"), np.int8(Computed.ABSENT))

    def create(self, declared: Field, fill: object) -> DatasetWriter:
        """Create an empty dataset of the full shape."""
        shape = tuple(self.sizes[dim] for dim in declared.dims)
        # saved trials are few, and a block has all of its rows of them at once
        block = self.plan.block_size if "trial" in declared.dims else None
        self.writers[declared.name] = DatasetWriter(self.group, declared, shape, fill, block)
        return self.writers[declared.name]

    def copied(self) -> frozenset[str]:
        """Return the datasets whose chunks may be those of the blocks."""
        return frozenset(name for name, writer in self.writers.items() if self.plan.block_size % writer.chunk == 0)

    def add(self, rows: Rows) -> None:
        """Write the rows of one block of trials.

        Raises
        ------
        InputError
            When the number of saved times or entries is not that of the blocks before.
        """
        trials = self.plan.trials_of(rows.block)
        for dim, columns in rows.columns.items():
            self.present[dim][columns] += trials.stop - trials.start
        whole = len(rows.parts) == 1 and rows.parts[0].header.axes == self.plan.axes
        for name in sorted(rows.arrays):
            declared, array = field_of(name), rows.arrays[name]
            # without saved trajectories there is no axis to give the dataset
            if any(self.sizes.get(dim) == 0 for dim in declared.dims):
                continue
            for dim, unit in (("time", "times"), ("entry", "entries")):
                length = array.shape[declared.dims.index(dim)] if dim in declared.dims else None
                if length is not None and self.sizes.setdefault(dim, length) != length:
                    raise InputError(
                        f"block of trial {trials.start}: {name} has another number of {unit}; delete the block"
                    )
            writer = self.writers.get(name) or self.create(declared, declared.fill)
            # the last block is whole, the run need not be
            length = rows.saved if "saved_trial" in declared.dims else self.plan.block_size
            length = min(length, self.sizes[declared.dims[declared.row_axis]] - trials.start)
            if length > 0:
                writer.write(
                    trials.start,
                    array[declared.rows(0, length)],
                    rows.parts[0].chunks.get(name) if whole else None,
                )

    def finish(self) -> dict[str, str]:
        """Add counts and coordinates; return the checksum of each dataset."""
        for name, count in zip(("trials_present", "flow_trials_present"), self.present.values(), strict=True):
            if count.size:
                self.create(field_of(name), 0).write(0, count)
        checksums = {name: writer.digest.finish() for name, writer in self.writers.items()}
        return checksums | self._add_coordinates()

    def _add_coordinates(self) -> dict[str, str]:
        """Write the axes that have a length as dimension scales and attach them; return their checksums."""
        axes: dict[str, NDArray[Any]] = {
            dim: np.array(widths, dtype=np.int64) for dim, widths in self.plan.axes.items()
        }
        axes["mode"] = np.array(self.plan.modes, dtype=object)
        checksums = {}
        for declared in COORDINATES:
            name = declared.name
            values = axes[name] if name in axes else np.arange(self.sizes.get(name, 0))
            if len(values):
                how = {} if name == "mode" else storage(values.shape, 0)
                dataset = self.group.create_dataset(name, data=values, **how)
                dataset.attrs.update(declared.attributes())
                dataset.make_scale(name)
                checksums[name] = array_digest(values)
        for name, writer in self.writers.items():
            for axis, dim in enumerate(field_of(name).dims):
                writer.dataset.dims[axis].attach_scale(self.group[dim])
        return checksums


class ProvenanceCollector:
    """Which software computed the blocks of a cell, in how many seconds, from which random stream."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.makers: set[str] = set()
        self.streams: set[str] = set()

    def add(self, header: BlockHeader) -> None:
        """Record which software computed a block."""
        facts = header.facts
        self.seconds += float(facts.get("seconds", 0.0))
        self.makers.add(json.dumps({key: facts[key] for key in facts if key in MAKER_FACTS}, sort_keys=True))
        self.streams.add(header.stream_digest)

    def attributes(self, cell: CellPlan) -> dict[str, Any]:
        """Return the attributes of a cell.

        Raises
        ------
        InputError
            When the blocks come from different generators.
        """
        if len(self.streams) > 1:
            place = f"cell {cell.index} ({cell.key})"
            raise InputError(f"{place}: its blocks come from different generators; use another run folder")
        return {
            "stream_digest": next(iter(self.streams), ""),
            "seconds": self.seconds,
            "computed_by": json.dumps([json.loads(maker) for maker in sorted(self.makers)]),
        }


def _merge_cell(group: h5py.Group, plan: RunPlan, cell: CellPlan, usable: Parts, failures: Failures) -> bool:
    """Write the group of one cell; return whether every trial of every width is present."""
    writer, provenance = CellWriter(group, plan), ProvenanceCollector()
    for rows in cell_rows(cell, plan, usable, failures, writer.copied):
        for part in rows.parts:
            provenance.add(part.header)
        writer.add(rows)
    group.attrs.update(
        {
            **cell.problem,
            **provenance.attributes(cell),
            "checksums": json.dumps(writer.finish(), sort_keys=True),
            "index": cell.index,
            "key": cell.key,
            "canonical": cell.canonical,
            "identity": cell.identity,
            "blocks": merged_from(cell, plan, usable, failures),
            "problem": json.dumps(dict(cell.problem)),
        }
    )
    return all((count == plan.trials).all() for count in writer.present.values())


def merge(run: Path, plan: RunPlan, facts: Mapping[str, Any]) -> Path:
    """Write ``run/results.h5`` from the block files of a run folder, complete or not, and return its path.

    The datasets depend on the plan, on the numbers in the block files and on which blocks are noted as failed, not on
    the order of the blocks, their division into parts or what made them. What nobody computed keeps its fill value and
    is 0 in `computed`; what failed is 2 there, with the outcome ``error`` of its flow. Every block is verified. `facts`
    are root attributes beside those of the plan: versions, commit, date.

    Raises
    ------
    InputError
        When a block file is damaged or foreign, or the folder cannot be written to.
    """
    usable = parts(run, plan)
    failures = standing(plan, usable, failed_blocks(run))
    named = [
        {"key": key, "block": block, "place": failure.place[:LONGEST], "error": failure.error[:LONGEST]}
        for (key, block), failure in list(failures.items())[:MOST_NAMED]
    ]
    with creating(run / RESULTS) as handle:
        complete = [_merge_cell(handle.create_group(cell.group), plan, cell, usable, failures) for cell in plan.cells]
        handle.attrs.update(
            {
                "schema_version": SCHEMA_VERSION,
                "experiment": plan.text,
                "identity": plan.identity,
                "seed": plan.seed,
                "trials": plan.trials,
                "sampling": plan.sampling,
                "merge_id": uuid.uuid4().hex,  # new every time: readers notice that the file was replaced
                **facts,
                "complete": int(all(complete)),
                **({"failures": json.dumps(named)} if named else {}),
            }
        )
        groups = {"/": attributes(handle), **{name: attributes(handle[name]) for name in handle}}
        handle.attrs["checksum"] = attributes_digest(groups)
    return run / RESULTS
