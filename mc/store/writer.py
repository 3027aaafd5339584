"""The group of one cell in results.h5 while it is made: rows collected into whole chunks, or chunks taken over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.store.checksums import RowDigest, array_digest
from mc.store.hdf5 import packing, row_axis, storage
from mc.store.layout import COORDINATES, Computed, Field, field_of
from mc.store.records import Block, Packed, RunPlan

WIDTH_AXES = ("width", "flow_width")


def axis_sizes(plan: RunPlan) -> dict[str, int]:
    """Lengths of the axes of results.h5, those of the saved times and signals aside."""
    return {
        "mode": len(plan.modes),
        "trial": plan.trials,
        "width": len(plan.widths),
        "flow_width": len(plan.flow_widths),
        "saved_trial": plan.saved_trials,
    }


class RowWriter:
    """Writes a dataset from the first row to the last, in whole chunks.

    Parameters
    ----------
    dataset : h5py.Dataset
        Empty, of the full shape.
    declared : Field
    """

    def __init__(self, dataset: h5py.Dataset, declared: Field, fill: object) -> None:
        self.dataset, self.axis, self.fill = dataset, row_axis(declared.dims), fill
        self.how = packing(dataset.id)
        self.chunk = dataset.chunks[self.axis] if dataset.chunks else dataset.shape[self.axis]
        self.digest = RowDigest(dataset.dtype, dataset.shape, self.axis, fill)
        self.before: tuple[Any, ...] = (slice(None),) * self.axis
        self._rows: NDArray[Any] | None = None
        self._first = 0

    def add(self, first: int, rows: NDArray[Any]) -> None:
        """Rows from `first` on, after those that came."""
        count = rows.shape[self.axis]
        self.digest.add(first, rows)
        done = 0
        while done < count:
            row = first + done
            if self._rows is None or row >= self._first + self.chunk:
                self.flush()
                self._first = row - row % self.chunk
                shape = list(self.dataset.shape)
                shape[self.axis] = min(self.chunk, shape[self.axis] - self._first)
                self._rows = np.full(shape, self.fill, dtype=self.dataset.dtype)
            at = row - self._first
            step = min(count - done, self._rows.shape[self.axis] - at)
            self._rows[(*self.before, slice(at, at + step))] = rows[(*self.before, slice(done, done + step))]
            done += step

    def take_over(self, first: int, rows: NDArray[Any], packed: Packed) -> bool:
        """Rows of a block with its chunks as they are in its file; False where they do not fit this dataset."""
        if not self.how or packed.how != self.how or first % self.chunk:
            return False
        if any(mask for _, mask, _ in packed.chunks):
            return False
        self.flush()
        self.digest.add(first, rows)
        for place, _, content in packed.chunks:
            there = (*place[: self.axis], place[self.axis] + first, *place[self.axis + 1 :])
            # of the last block the trials that nobody asked for stay away
            if there[self.axis] < self.dataset.shape[self.axis]:
                self.dataset.id.write_direct_chunk(there, content)
        return True

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._rows is not None:
            rows = slice(self._first, self._first + self._rows.shape[self.axis])
            self.dataset[(*self.before, rows)] = self._rows
            self._rows = None

    def finish(self) -> str:
        """Write what waits; returns the checksum of the dataset."""
        self.flush()
        return self.digest.finish()


class ResultsGroup:
    """The group of one cell, its datasets created when the first block that has them comes.

    Parameters
    ----------
    handle : h5py.Group
        Empty.
    plan : RunPlan
    """

    def __init__(self, handle: h5py.Group, plan: RunPlan) -> None:
        self.handle, self.plan = handle, plan
        self.sizes = axis_sizes(plan)
        self.writers: dict[str, Any] = {}
        self.present = {name: np.zeros(self.sizes[name], dtype=np.int64) for name in WIDTH_AXES}
        self.create(field_of("computed"), np.int8(Computed.ABSENT))

    def create(self, declared: Field, fill: object) -> Any:
        """An empty dataset of the full shape; returns what writes it."""
        shape = tuple(self.sizes[dim] for dim in declared.dims)
        # a block has as many rows of the saved trials as there are, once, and they are few
        block = self.plan.block_size if "trial" in declared.dims else None
        how = storage(shape, row_axis(declared.dims), block)
        dataset = self.handle.create_dataset(declared.name, shape, declared.dtype, fillvalue=fill, **how)
        dataset.attrs.update(declared.attributes())
        self.writers[declared.name] = RowWriter(dataset, declared, fill)
        return self.writers[declared.name]

    @property
    def copied(self) -> frozenset[str]:
        """Datasets whose chunks may be those of the blocks."""
        size = self.plan.block_size
        return frozenset(name for name, writer in self.writers.items() if size % writer.chunk == 0)

    def rows_of(self, declared: Field, first: int, saved: int) -> int:
        """Rows of a block that a dataset takes: the last block is whole, the run need not be."""
        rows = saved if "saved_trial" in declared.dims else self.plan.block_size
        return min(rows, self.sizes[declared.dims[row_axis(declared.dims)]] - first)

    def require_saved(self, declared: Field, array: NDArray[Any], first: int) -> None:
        """Take the number of saved times and entries from the first dataset that has any; all others must agree.

        Raises
        ------
        InputError
            When they do not.
        """
        for dim, words in (("time", "times"), ("entry", "entries")):
            length = array.shape[declared.dims.index(dim)] if dim in declared.dims else None
            if length is not None and self.sizes.setdefault(dim, length) != length:
                raise InputError(
                    f"block of trial {first}: {declared.name} has another number of {words}; delete the block"
                )

    def add(self, arrays: Mapping[str, NDArray[Any]], first: int, saved: int, blocks: Sequence[Block]) -> None:
        """Write the rows of one block of trials.

        Parameters
        ----------
        arrays : mapping of str to array
            As `assemble` made them of the parts.
        first : int
            The first trial.
        saved : int
            Rows of the axis ``saved_trial`` that the block has.
        blocks : sequence of Block
            The parts.
        """
        whole = self._whole(blocks)
        for name in sorted(arrays):
            declared = field_of(name)
            # without saved trajectories there is no axis to give them a dataset
            if any(self.sizes.get(dim) == 0 for dim in declared.dims):
                continue
            self.require_saved(declared, arrays[name], first)
            writer = self.writers.get(name) or self.create(declared, declared.fill)
            rows = self.rows_of(declared, first, saved)
            if rows > 0:
                own = arrays[name][(*writer.before, slice(rows))]
                packed = whole.packed.get(name) if whole is not None else None
                if packed is None or not writer.take_over(first, own, packed):
                    writer.add(first, own)

    def _whole(self, blocks: Sequence[Block]) -> Block | None:
        """The only part, where it has the widths of the plan and no others."""
        asked = (self.plan.widths, self.plan.flow_widths)
        fits = [block for block in blocks if (block.header.widths, block.header.flow_widths) == asked]
        return fits[0] if len(blocks) == 1 and fits else None

    def finish(self) -> dict[str, Any]:
        """Add the coordinates as dimension scales and the counts; returns attributes: the checksums."""
        for width, count in self.present.items():
            if self.sizes[width]:
                name = "trials_present" if width == "width" else "flow_trials_present"
                self.create(field_of(name), 0).add(0, count)
        checksums = {name: writer.finish() for name, writer in self.writers.items()}
        datasets = {name: writer.dataset for name, writer in self.writers.items()}
        checksums |= add_coordinates(self.handle, self.plan, self.sizes, datasets)
        return {"checksums": json.dumps(checksums, sort_keys=True)}


def add_coordinates(
    handle: h5py.Group,
    plan: RunPlan,
    sizes: Mapping[str, int],
    datasets: Mapping[str, h5py.Dataset],
) -> dict[str, str]:
    """Write the axes that have a length as dimension scales and attach them; returns their checksums."""
    coordinates: dict[str, NDArray[Any]] = {
        "mode": np.array(plan.modes, dtype=object),
        "trial": np.arange(plan.trials),
        "width": np.array(plan.widths, dtype=np.int64),
        "flow_width": np.array(plan.flow_widths, dtype=np.int64),
        "saved_trial": np.arange(plan.saved_trials),
        "time": np.arange(sizes.get("time", 0)),
        "entry": np.arange(sizes.get("entry", 0)),
    }
    found = {}
    for declared in COORDINATES:
        values = coordinates[declared.name]
        if len(values):
            how = {} if declared.name == "mode" else storage(values.shape, 0)
            dataset = handle.create_dataset(declared.name, data=values, **how)
            dataset.attrs.update(declared.attributes())
            dataset.make_scale(declared.name)
            found[declared.name] = array_digest(values)
    for name, dataset in datasets.items():
        for axis, dim in enumerate(field_of(name).dims):
            dataset.dims[axis].attach_scale(handle[dim])
    return found
