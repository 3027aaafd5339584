"""HDF5 files: chunks and filters of datasets, files written whole or not at all, damage reported in one line."""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.store.files import replacing

LIBVER = ("v110", "v110")
"""The format of HDF5 1.10: every piece of metadata has a checksum, and small files are a third of the size."""
FILTERS = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""Filters of every chunk; the SHA-256 of blocks and datasets detect damage."""
CHUNK_VALUES = 2**15
"""Approximate number of values in a chunk."""
CHUNK_CACHE = 2**21
"""Bytes of memory in which the chunks of a dataset wait for rows: those of both modes, and as much again."""
LEAST_ROWS = 16
"""Smallest number of trials in a chunk: shorter chunks compress badly."""
LEAST_COPIED = 2**10
"""Smallest number of values in a chunk that is copied from a block file as it is; smaller ones make reading slow."""
MOST_EXPANSION = 1100
"""Largest accepted compression ratio (deflate cannot exceed 1032:1); guards against decompression bombs."""

_VIRTUAL = b"dipmc sha256 "
"""First bytes of what `merge --virtual` of an earlier version wrote; HDF5 may crash on a damaged one."""

# what h5py raises on a damaged file, depending on where the damage is
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)

Chunks = tuple[tuple[object, ...], tuple[tuple[tuple[int, ...], bytes], ...]]
"""Chunks of a dataset as they are in its file: what `packing` returns, and the place and content of each."""


def chunk_rows(rows: int, row: int) -> int:
    """Return the rows of a chunk for `rows` rows of `row` values.

    A chunk has about `CHUNK_VALUES` values and at least `LEAST_ROWS` rows, and all chunks are equally long.
    """
    pieces = min(-(-rows * row // CHUNK_VALUES), max(1, rows // LEAST_ROWS))
    return -(-rows // pieces)


def chunk_shape(shape: tuple[int, ...], axis: int, block: int) -> tuple[int, ...]:
    """Return the shape of the chunks of a dataset with trials along `axis` and no axis of length 0.

    `block` is the number of rows in a block file. Chunks that are large enough to be copied have the shape that they
    have in a block file.
    """
    row = math.prod(shape[axis + 1 :])
    rows = chunk_rows(block, row)
    if block != shape[axis] and (block % rows or rows < LEAST_ROWS or rows * row < LEAST_COPIED):
        rows = max(LEAST_ROWS, CHUNK_VALUES // row)
    return (*(1 for _ in shape[:axis]), min(rows, shape[axis]), *shape[axis + 1 :])


def storage(shape: tuple[int, ...], axis: int, block: int | None = None) -> dict[str, Any]:
    """Return chunks and filters of a dataset, as `h5py.Group.create_dataset` takes them; see `chunk_shape`."""
    if 0 in shape:
        return {}
    return {"chunks": chunk_shape(shape, axis, shape[axis] if block is None else block), **FILTERS}


def packing(dataset: h5py.h5d.DatasetID) -> tuple[object, ...]:
    """Return all that two datasets must share for chunks to be copied between them; empty without filters."""
    plist = dataset.get_create_plist()
    if not plist.get_nfilters():
        return ()
    # a filter is its number, its flags and its parameters
    return plist.get_chunk(), dataset.dtype.str, *(plist.get_filter(i)[:3] for i in range(plist.get_nfilters()))


def read_chunks(dataset: h5py.h5d.DatasetID) -> Chunks | None:
    """Read the chunks of a dataset without unpacking them; None where a filter left one out."""
    packed_as = packing(dataset)
    if not packed_as or 0 in dataset.shape:
        return None
    steps = dataset.get_create_plist().get_chunk()
    places = itertools.product(*(range(0, n, step) for n, step in zip(dataset.shape, steps, strict=True)))
    chunks = [(place, *dataset.read_direct_chunk(place)) for place in places]
    return None if any(mask for _, mask, _ in chunks) else (packed_as, tuple((p, content) for p, _, content in chunks))


def attributes(handle: h5py.Group) -> dict[str, Any]:
    """Return the attributes of a group as plain values, without those of the dimension scales."""
    hidden = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"}
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in handle.attrs.items()
        if name not in hidden
    }


def numbers(dataset: h5py.h5d.DatasetID, room: float) -> NDArray[Any]:
    """Read a whole dataset of numbers, after checking its size before any memory is allocated.

    Raises
    ------
    ValueError
        When it holds no numbers, or takes more than `room` bytes as a whole or by the chunk.
    """
    kind, shape, plist = dataset.dtype, dataset.shape, dataset.get_create_plist()
    chunk = plist.get_chunk() if plist.get_layout() == h5py.h5d.CHUNKED else ()
    if kind.kind not in "if" or max(math.prod(shape), math.prod(chunk)) * kind.itemsize > room:
        raise ValueError(f"{h5py.h5i.get_name(dataset).decode()} claims {kind} of shape {shape}")
    array = np.empty(shape, kind)
    if array.size:
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    return array


def memory() -> float:
    """Return the bytes of memory of this machine."""
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class _DeferringFile(io.FileIO):
    """A file that keeps its first failed write and reports success.

    The HDF5 library cannot close what it failed to write, and prints an error for each open object; `creating` raises
    the failure when the library is done.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`, as the library expects."""
        view = memoryview(data)
        try:
            written = 0
            while self.failure is None and written < len(view):
                written += super().write(view[written:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
        return size or 0


@contextmanager
def creating(final: Path) -> Iterator[h5py.File]:
    """Yield a new HDF5 file, which gets its final name when the block succeeds.

    Raises
    ------
    InputError
        When the folder cannot be written to; nothing is left behind.
    """
    with replacing(final) as temporary, _DeferringFile(temporary, "w+") as raw:
        try:
            with h5py.File(raw, "w", libver=LIBVER, rdcc_nbytes=CHUNK_CACHE, rdcc_w0=1.0) as handle:
                yield handle
        except (OSError, RuntimeError):
            # what the library makes of missing bytes matters less than why they are missing
            if raw.failure is None:
                raise
        if raw.failure is not None:
            raise raw.failure


def _opened(path: Path) -> h5py.File:
    with path.open("rb") as raw:
        if raw.read(len(_VIRTUAL)) == _VIRTUAL:
            advice = f"run `dipmc merge {path.parent}`"
            raise InputError(f"{path}: made by `merge --virtual` of an earlier version: {advice}")
    # a file under its final name never changes, so no lock is needed (some network file systems have none); but where
    # this process has it open already, in xarray for example, the library wants the same way of locking again
    for locking in (False, None, True):
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            if "file locking" not in str(error):
                raise
    return h5py.File(path, "r", locking="best-effort")


@contextmanager
def reading(path: Path, advice: str) -> Iterator[h5py.File]:
    """Open a finished file; report any damage in one line that names it.

    Raises
    ------
    InputError
        When the file is absent, unreadable, damaged or not of this kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {advice}")
    try:
        with _opened(path) as handle:
            yield handle
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); give yourself permission to read it") from error
    except _DAMAGE as error:
        reason = str(error.args[0] if error.args else error).split("\n")[0]
        raise InputError(f"{path}: damaged or not written by dipmc ({reason}); {advice}") from error
