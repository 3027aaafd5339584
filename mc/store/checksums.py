"""The checksums of results.h5: SHA-256 of each dataset, built up row by row, and of all attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.store.plan import canonical_json

FILL_ROWS = 2**16
"""Rows of fill values in memory at a time."""


class RowDigest:
    """SHA-256 of a dataset whose rows come one after the other along an axis; missing rows hold the fill value.

    For each index of the axes before the rows one digest of the bytes (little endian, C order); then one of the line
    ``type shape`` and of those digests.
    """

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], axis: int, fill: object) -> None:
        self.dtype, self.shape, self.axis, self.fill = dtype.newbyteorder("<"), shape, axis, fill
        self.rows = 0
        self._parts = [hashlib.sha256() for _ in np.ndindex(shape[:axis])]

    def fill_to(self, row: int) -> None:
        """Add fill values up to a row."""
        while self.rows < row:
            count = min(row - self.rows, FILL_ROWS)
            empty = np.full((count, *self.shape[self.axis + 1 :]), self.fill, self.dtype).tobytes()
            for part in self._parts:
                part.update(empty)
            self.rows += count

    def add(self, first: int, rows: NDArray[Any]) -> None:
        """Add rows from `first` on, which is not before the end of the rows added so far."""
        self.fill_to(first)
        little = np.ascontiguousarray(rows, dtype=self.dtype)
        for part, content in zip(self._parts, little.reshape(len(self._parts), -1), strict=True):
            part.update(content.tobytes())
        self.rows += rows.shape[self.axis]

    def finish(self) -> str:
        """Return the digest in hexadecimal."""
        self.fill_to(self.shape[self.axis] if self.shape else 0)
        whole = hashlib.sha256(f"{self.dtype.str} {list(self.shape)}\n".encode())
        for part in self._parts:
            whole.update(part.digest())
        return whole.hexdigest()


def array_digest(array: NDArray[Any], axis: int = 0) -> str:
    """Return the digest of a whole dataset whose rows lie along `axis`; strings as UTF-8, each ended by a line feed."""
    if array.dtype == object:
        text = "".join(f"{value.decode() if isinstance(value, bytes) else value}\n" for value in array).encode()
        return hashlib.sha256(f"str {list(array.shape)}\n".encode() + text).hexdigest()
    digest = RowDigest(array.dtype, array.shape, axis, 0)
    digest.add(0, array)
    return digest.finish()


def attributes_digest(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the SHA-256 of the attributes of the file (``/``) and of its groups by name, as canonical JSON."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    values = {group: {name: plain(value) for name, value in attrs.items()} for group, attrs in groups.items()}
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()
