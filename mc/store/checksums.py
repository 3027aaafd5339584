"""The checksums of results.h5: one for each dataset, built up as its rows come, and one for everything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.store.records import canonical_json

FILL_ROWS = 2**16
"""Rows of fill value that are made at a time."""


class RowDigest:
    """SHA-256 of a dataset whose rows come one after the other.

    For each index of the axes before the rows one digest of the bytes (little endian, C order); then one of the line
    ``type shape`` and of those digests.

    Parameters
    ----------
    dtype : dtype
    shape : tuple of int
    axis : int
        That of the rows.
    fill : scalar
        What rows hold that nobody gives.
    """

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], axis: int, fill: object) -> None:
        self.dtype = dtype.newbyteorder("<")
        self.shape, self.axis, self.fill = shape, axis, fill
        self.rows = 0
        self._parts = [hashlib.sha256() for _ in np.ndindex(shape[:axis])]

    def fill_to(self, row: int) -> None:
        """Rows of fill value up to a row."""
        while self.rows < row:
            lines = min(row - self.rows, FILL_ROWS)
            empty = np.full((lines, *self.shape[self.axis + 1 :]), self.fill, self.dtype).tobytes()
            for part in self._parts:
                part.update(empty)
            self.rows += lines

    def add(self, first: int, rows: NDArray[Any]) -> None:
        """Rows from `first` on, which is not before the end of those that came."""
        self.fill_to(first)
        little = np.ascontiguousarray(rows, dtype=self.dtype)
        flat = little.reshape(len(self._parts), -1)
        for part, own in zip(self._parts, flat, strict=True):
            part.update(own.tobytes())
        self.rows += rows.shape[self.axis]

    def finish(self) -> str:
        """The digest in hexadecimal, the rows that never came at their fill value."""
        self.fill_to(self.shape[self.axis] if self.shape else 0)
        return _joined(self.dtype, self.shape, [part.digest() for part in self._parts])


def _joined(dtype: np.dtype[Any], shape: tuple[int, ...], parts: list[bytes]) -> str:
    found = hashlib.sha256(f"{dtype.str} {list(shape)}\n".encode())
    for part in parts:
        found.update(part)
    return found.hexdigest()


def array_digest(array: NDArray[Any], axis: int = 0) -> str:
    """The digest of a whole dataset; strings as UTF-8, each ended by a line feed."""
    if array.dtype == object:
        text = "".join(f"{value.decode() if isinstance(value, bytes) else value}\n" for value in array).encode()
        return hashlib.sha256(f"str {list(array.shape)}\n".encode() + text).hexdigest()
    digest = RowDigest(array.dtype, array.shape, axis, 0)
    digest.add(0, array)
    return digest.finish()


def attributes_digest(places: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 of the attributes of the file and of its groups, by their paths, as canonical JSON."""
    plain = {place: {name: _plain(value) for name, value in own.items()} for place, own in places.items()}
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
