"""Block files, written atomically and checked on reading, and results.h5 as it is read back.

Every other module reaches HDF5 through this one. A block file holds what `compute_block` returned for some widths of
one block of trials of one cell; it is never changed and never overwritten, so several processes and machines may work
on one run folder. `mc.merge` makes results.h5 of them.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.atomic import replacing, write_bytes
from mc.errors import InputError
from mc.layout import COORDINATES, check_arrays, field_of
from mc.records import (
    Arrays,
    Block,
    BlockHeader,
    PartFile,
    Parts,
    RunPlan,
    check_header,
    checksum,
    scan,
)
from mc.results import CellResults, LazyArrays, Results
from mc.version import READABLE, SCHEMA_VERSION

RESULTS = "results.h5"
# what h5py raises on a damaged file, depending on where the damage is
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


def storage(shape: tuple[int, ...], row_axis: int) -> dict[str, Any]:
    """Chunks and filters of a dataset: gzip 1 and shuffle, chunks of at least 16 trials and about 2^15 values."""
    if 0 in shape:
        return {}
    rows = min(shape[row_axis], max(16, 2**15 // math.prod(shape[row_axis + 1 :])))
    chunks = (*(1 for _ in shape[:row_axis]), rows, *shape[row_axis + 1 :])
    return {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}


def row_axis(dims: Sequence[str]) -> int:
    """The axis of the trials (0 when there is none)."""
    return next((axis for axis, dim in enumerate(dims) if dim in ("trial", "saved_trial")), 0)


def write_block(folder: Path, header: BlockHeader, arrays: Arrays) -> Path:
    """Write one block file whole or not at all.

    Parameters
    ----------
    folder : Path
        The folder ``RUN/blocks``.
    header : BlockHeader
    arrays : mapping of str to array
        Datasets of the layout; see `mc.layout.check_arrays`.

    Returns
    -------
    Path
        The file; one that is there already is kept as it is.

    Raises
    ------
    ValueError
        When an array is not as the layout says.
    InputError
        When the folder cannot be written to; nothing is left behind.
    """
    sizes = {
        "mode": len(header.modes),
        "trial": header.n_trials,
        "width": len(header.widths),
        "flow_width": len(header.flow_widths),
    }
    check_arrays(arrays, sizes)
    path = folder / header.file_name
    if path.exists():
        return path
    # the file is built in memory: a full disk then fails in one plain write, not inside the HDF5 library
    with h5py.File(path.name, "w", driver="core", backing_store=False) as handle:
        for name in sorted(arrays):
            declared = field_of(name)
            array = np.asarray(arrays[name])
            dataset = handle.create_dataset(name, data=array, **storage(array.shape, row_axis(declared.dims)))
            dataset.attrs["dims"] = " ".join(declared.dims)
            dataset.attrs.update(declared.attributes())
        for key, value in header.checked().items():
            handle.attrs[key] = value if isinstance(value, int | str) else json.dumps(value)
        handle.attrs["facts"] = json.dumps(dict(header.facts))
        handle.attrs["checksum"] = checksum(header, arrays)
        handle.flush()
        image = handle.id.get_file_image()
    write_bytes(path, image)
    return path


class _Absorbing(io.FileIO):
    """A file that keeps its first failed write to itself.

    The HDF5 library cannot close what it failed to write, and says so once per open object; it is told that all went
    well, and `creating` raises the failure when the library is done.
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
    """A new HDF5 file, under its final name only when all went well.

    Raises
    ------
    InputError
        When the folder cannot be written to; nothing is left behind.
    """
    with replacing(final) as temporary, _Absorbing(temporary, "w+") as raw:
        try:
            with h5py.File(raw, "w") as handle:
                yield handle
        except (OSError, RuntimeError):
            # what the library makes of missing bytes matters less than why they are missing
            if raw.failure is None:
                raise
        if raw.failure is not None:
            raise raw.failure


@contextmanager
def reading(path: Path, advice: str) -> Iterator[h5py.File]:
    """Open a finished file; whatever is wrong with it becomes one line that names it.

    Raises
    ------
    InputError
        When the file is absent, unreadable, damaged or not of this kind.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {advice}")
    try:
        # a file under its final name never changes, so no lock is needed (some network file systems have none)
        with h5py.File(path, "r", locking=False) as handle:
            yield handle
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path}: not readable ({error.strerror}); give yourself permission to read it") from error
    except _DAMAGE as error:
        reason = str(error.args[0] if error.args else error).split("\n")[0]
        raise InputError(f"{path}: damaged or not written by dipmc ({reason}); {advice}") from error


def _header(handle: h5py.File, path: Path) -> BlockHeader:
    stored = dict(handle.attrs)
    version = int(stored["schema_version"])
    if version not in READABLE:
        raise InputError(
            f"{path}: schema version {version}, this code reads up to {SCHEMA_VERSION}; "
            "use the version of dipmc that wrote it, or another run folder"
        )
    return BlockHeader(
        identity=str(stored["identity"]),
        identity_fields=json.loads(stored["identity_fields"]),
        cell=str(stored["cell"]),
        key=str(stored["key"]),
        block=int(stored["block"]),
        first_trial=int(stored["first_trial"]),
        n_trials=int(stored["n_trials"]),
        widths=tuple(json.loads(stored["widths"])),
        flow_widths=tuple(json.loads(stored["flow_widths"])),
        ladder=tuple(json.loads(stored["ladder"])),
        modes=tuple(json.loads(stored["modes"])),
        seed=int(stored["seed"]),
        stream_digest=str(stored["stream_digest"]),
        claims=tuple(json.loads(stored.get("claims", "[]"))),
        schema_version=version,
        facts=json.loads(stored["facts"]),
    )


_DELETE = "delete it and run again to compute it anew"


def read_header(path: Path) -> BlockHeader:
    """The header of a block file, without its arrays and without the checksum.

    Raises
    ------
    InputError
        As `read_block`.
    """
    with reading(path, _DELETE) as handle:
        return _header(handle, path)


def read_block(path: Path) -> Block:
    """Read and verify a block file.

    Raises
    ------
    InputError
        Naming the file and what to do, when it is damaged, truncated, foreign or of another schema version.
    """
    with reading(path, _DELETE) as handle:
        header = _header(handle, path)
        arrays = {name: handle[name][()] for name in handle}
        stored = str(handle.attrs["checksum"])
        if stored != checksum(header, arrays):
            raise InputError(f"{path}: damaged (checksum differs); {_DELETE}")
        if path.name != header.file_name:
            raise InputError(f"{path}: holds {header.file_name}, a file was renamed; give it that name or delete it")
    return Block(header, arrays)


def parts(run: Path, plan: RunPlan, stream_digests: Mapping[str, str] | None = None) -> Parts:
    """The block files that a plan can use, by cell and block.

    One header is read per distinct (cell, part digest), not one per file: the digest in the name says what a file
    holds, and the merge verifies every file it reads. A file whose ladder lacks a rung of the plan does not count.

    Parameters
    ----------
    run : Path
        The run folder.
    plan : RunPlan
    stream_digests : mapping of str to str, optional
        Digest per cell key, as this NumPy draws it; a file with another one is refused.

    Returns
    -------
    mapping of (str, int) to list of (PartFile, BlockHeader)
        In the order of part digests; the header is that of one file of the same part, so its block number, trials and
        facts are not those of each file.

    Raises
    ------
    InputError
        When a file is damaged or was made by other settings, another block size or another generator.
    """
    cells = {cell.key: cell for cell in plan.cells}
    headers: dict[tuple[str, str], BlockHeader] = {}
    found: dict[tuple[str, int], list[tuple[PartFile, BlockHeader]]] = {}
    for file in scan(run):
        if file.key not in cells or file.block >= plan.n_blocks:
            continue
        header = headers.get((file.key, file.part))
        if header is None:
            header = headers[file.key, file.part] = read_header(file.path)
            check_header(file.path, header, cells[file.key], plan)
            digest = (stream_digests or {}).get(file.key)
            if digest is not None and header.stream_digest != digest:
                raise InputError(
                    f"{file.path}: its random stream is not the one drawn here (NumPy {header.facts.get('numpy', '?')} "
                    f"there, {np.__version__} here): continue with that NumPy, or use another run folder"
                )
        if header.covers(plan):
            found.setdefault((file.key, file.block), []).append((file, header))
    return found


def load(run: str | Path) -> Results:
    """Open the results of a run; arrays are read when they are asked for.

    Parameters
    ----------
    run : str or Path
        A run folder, or a file results.h5.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        When there are no results, or the file is damaged or of another schema version.
    """
    path = Path(run)
    if path.is_dir():
        path = path / RESULTS
    with reading(path, f"`dipmc merge {path.parent}` writes it") as handle:
        attrs = _attributes(handle)
        if int(attrs["schema_version"]) not in READABLE:
            raise InputError(
                f"{path}: schema version {attrs['schema_version']}, this code reads up to {SCHEMA_VERSION}; "
                "use the version of dipmc that wrote it"
            )
        cells = [_load_cell(handle[name], path, str(attrs["merge_id"])) for name in handle]
        return Results(path, str(attrs["experiment"]), attrs, tuple(sorted(cells, key=lambda cell: cell.index)))


def _attributes(handle: h5py.Group) -> dict[str, Any]:
    hidden = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"}
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in handle.attrs.items()
        if name not in hidden
    }


def _load_cell(group: h5py.Group, path: Path, merge_id: str) -> CellResults:
    def read(name: str) -> NDArray[Any]:
        with reading(path, f"`dipmc merge {path.parent}` writes it") as handle:
            if handle.attrs["merge_id"] != merge_id:
                raise InputError(f"{path}: merged anew since it was loaded; load it again")
            return np.asarray(handle[place][name][()])

    place = str(group.name)
    attrs = _attributes(group)
    coordinates = {declared.name for declared in COORDINATES}

    def axis(name: str) -> NDArray[np.int64]:
        return np.asarray(group[name][()], dtype=np.int64) if name in group else np.empty(0, dtype=np.int64)

    return CellResults(
        index=int(attrs["index"]),
        key=str(attrs["key"]),
        problem=json.loads(attrs["problem"]),
        attrs=attrs,
        modes=tuple(mode.decode() for mode in group["mode"][()]),
        trials=len(group["trial"]),
        widths=axis("width"),
        flow_widths=axis("flow_width"),
        saved_trials=axis("saved_trial"),
        data=LazyArrays(tuple(name for name in sorted(group) if name not in coordinates), read),
    )
