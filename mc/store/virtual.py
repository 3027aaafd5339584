"""results.h5 that refers to the block files: HDF5 virtual datasets, by names relative to the run folder.

The rows are read from the blocks when they are asked for. HDF5 itself would read fill values where a file is missing;
so the group lists its files with their sizes and a checksum of every dataset, and `mc.load` refuses what differs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.store.assembly import fresh_columns
from mc.store.checksums import RowDigest
from mc.store.hdf5 import Filters, row_axis
from mc.store.layout import MERGE_LAYOUT, Field
from mc.store.records import BLOCKS, Block, Packed, RunPlan
from mc.store.writer import WIDTH_AXES, ResultsGroup


@dataclass(frozen=True)
class Piece:
    """One part of one block of trials.

    Parameters
    ----------
    source : str
        The block file, relative to results.h5.
    first, saved : int
        First trial, and rows of the axis ``saved_trial``.
    shapes : mapping of str to tuple of int
        Of its datasets.
    columns : mapping of str to (list of int, list of int)
        See `mc.store.records.fresh_columns`.
    """

    source: str
    first: int
    saved: int
    shapes: Mapping[str, tuple[int, ...]]
    columns: Mapping[str, tuple[list[int], list[int]]]


def _runs(columns: tuple[list[int], list[int]]) -> Iterator[tuple[slice, slice]]:
    """Columns of a part and their places in results.h5 as pairs of slices: neighbours go together."""
    mine, theirs = columns
    begin = 0
    for i in range(1, len(mine) + 1):
        if i == len(mine) or mine[i] != mine[i - 1] + 1 or theirs[i] != theirs[i - 1] + 1:
            yield slice(mine[begin], mine[i - 1] + 1), slice(theirs[begin], theirs[i - 1] + 1)
            begin = i


class Referring:
    """A dataset that will refer to the pieces of its group; of the rows that come it keeps the checksum."""

    def __init__(self, group: VirtualGroup, declared: Field, shape: tuple[int, ...], fill: object) -> None:
        self.group, self.declared, self.shape, self.fill = group, declared, shape, fill
        self.axis = row_axis(declared.dims)
        self.before: tuple[Any, ...] = (slice(None),) * self.axis
        self.digest = RowDigest(np.dtype(declared.dtype), shape, self.axis, fill)
        self.dataset: h5py.Dataset | None = None

    def add(self, first: int, rows: NDArray[Any]) -> None:
        """Rows from `first` on, after those that came."""
        self.digest.add(first, rows)

    def take_over(self, first: int, rows: NDArray[Any], packed: Packed) -> bool:
        """Nothing is copied."""
        return False

    def finish(self) -> str:
        """Make the dataset; returns its checksum."""
        layout = h5py.VirtualLayout(self.shape, self.declared.dtype)
        for piece, rows in self._pieces():
            source = h5py.VirtualSource(piece.source, self.declared.name, piece.shapes[self.declared.name])
            for mine, theirs in self._columns(piece):
                place = (*self.before, slice(piece.first, piece.first + rows), *theirs)
                layout[place] = source[(*self.before, slice(rows), *mine)]
        self.dataset = self.group.handle.create_virtual_dataset(self.declared.name, layout, fillvalue=self.fill)
        self.dataset.attrs.update(self.declared.attributes())
        return self.digest.finish()

    def _pieces(self) -> Iterator[tuple[Piece, int]]:
        """The pieces that have the dataset, with the rows it takes of each."""
        last = -1
        for piece in self.group.pieces:
            rows = self.group.rows_of(self.declared, piece.first, piece.saved)
            if self.declared.name not in piece.shapes or rows <= 0:
                continue
            # without a width axis all parts hold the same: the first is taken
            if set(WIDTH_AXES) & set(self.declared.dims) or piece.first != last:
                yield piece, rows
                last = piece.first

    def _columns(self, piece: Piece) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
        """What stands after the rows in the selections, of the source and here."""
        dim = next((dim for dim in self.declared.dims if dim in WIDTH_AXES), None)
        if dim is None:
            yield (), ()
            return
        for mine, theirs in _runs(piece.columns[dim]):
            yield (mine,), (theirs,)


class VirtualGroup(ResultsGroup):
    """The group of one cell, its datasets referring to the blocks; what merging adds is stored.

    Parameters
    ----------
    handle, plan, filters
        As in `ResultsGroup`.
    own : collection of str
        Datasets of the blocks that are stored as well: merging adds rows to them.
    """

    copied = frozenset()

    def __init__(self, handle: h5py.Group, plan: RunPlan, filters: Filters, own: Collection[str] = ()) -> None:
        self.own = own
        self.pieces: list[Piece] = []
        self.sources: list[tuple[str, int]] = []
        super().__init__(handle, plan, filters)

    def create(self, declared: Field, fill: object) -> Any:
        """A dataset that refers; one of the merge itself is written."""
        if declared in MERGE_LAYOUT or declared.name in self.own:
            return super().create(declared, fill)
        shape = tuple(self.sizes[dim] for dim in declared.dims)
        self.writers[declared.name] = Referring(self, declared, shape, fill)
        return self.writers[declared.name]

    def add(self, arrays: Mapping[str, NDArray[Any]], first: int, saved: int, blocks: Sequence[Block]) -> None:
        """Refer to the parts of one block of trials; see `ResultsGroup.add`."""
        for block, columns in zip(blocks, fresh_columns(blocks, self.plan), strict=True):
            source = f"{BLOCKS}/{block.header.file_name}"
            shapes = {name: array.shape for name, array in block.arrays.items() if name in arrays}
            self.pieces.append(Piece(source, first, saved, shapes, columns))
            self.sources.append((source, block.size))
        super().add(arrays, first, saved, blocks)

    def finish(self) -> dict[str, Any]:
        """As `ResultsGroup.finish`, and the files with their sizes."""
        return {**super().finish(), "sources": json.dumps(self.sources)}
