"""Block files, written atomically and checked on reading, and results.h5 as it is read back.

A block file holds what `compute_block` returned for some widths of one block of trials of one cell; it is never
changed and never overwritten, so several processes and machines may work on one run folder. `mc.store.merge` makes
results.h5 of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.model.arrays import IntArray
from mc.store.checksums import array_digest, attributes_digest
from mc.store.files import write_bytes
from mc.store.hdf5 import (
    LIBVER,
    MOST_EXPANSION,
    attributes,
    memory,
    numbers,
    packing,
    reading,
    row_axis,
    storage,
)
from mc.store.layout import COORDINATES, check_arrays, field_of
from mc.store.records import (
    Arrays,
    Block,
    BlockHeader,
    Packed,
    PartFile,
    Parts,
    RunPlan,
    check_header,
    checksum,
    scan,
)
from mc.store.results import CellResults, LazyArrays, Results
from mc.version import READABLE, SCHEMA_VERSION

RESULTS = "results.h5"


def write_block(folder: Path, header: BlockHeader, arrays: Arrays) -> Path:
    """Write one block file whole or not at all.

    Parameters
    ----------
    folder : Path
        The folder ``RUN/blocks``.
    header : BlockHeader
    arrays : mapping of str to array
        Datasets of the layout; see `mc.store.layout.check_arrays`.

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
    with h5py.File(path.name, "w", driver="core", backing_store=False, libver=LIBVER) as handle:
        for name in sorted(arrays):
            declared = field_of(name)
            array = np.asarray(arrays[name])
            how = storage(array.shape, row_axis(declared.dims))
            dataset = handle.create_dataset(name, data=array, **how)
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


def read_block(path: Path, packed: Collection[str] = ()) -> Block:
    """Read and verify a block file.

    Parameters
    ----------
    path : Path
    packed : collection of str
        Datasets whose chunks are wanted as they are in the file, too.

    Returns
    -------
    Block

    Raises
    ------
    InputError
        Naming the file and what to do, when it is damaged, truncated, foreign or of another schema version.
    """
    with reading(path, _DELETE) as handle:
        header = _header(handle, path)
        # the low-level interface: a file has dozens of small datasets, and a run up to a million files
        datasets = {name.decode(): h5py.h5d.open(handle.id, name) for name in handle.id}
        size = path.stat().st_size
        room = MOST_EXPANSION * size
        arrays: dict[str, NDArray[Any]] = {}
        for name, dataset in datasets.items():
            arrays[name] = numbers(dataset, room)
            room -= arrays[name].nbytes
        stored = str(handle.attrs["checksum"])
        if stored != checksum(header, arrays):
            raise InputError(f"{path}: damaged (checksum differs); {_DELETE}")
        if path.name != header.file_name:
            raise InputError(f"{path}: holds {header.file_name}, a file was renamed; give it that name or delete it")
        return Block(header, arrays, size, {name: _packed(datasets[name]) for name in packed if name in datasets})


def _packed(dataset: h5py.h5d.DatasetID) -> Packed:
    """The chunks of a dataset as they are in the file."""
    how = packing(dataset)
    if not how or 0 in dataset.shape:
        return Packed((), ())
    steps = dataset.get_create_plist().get_chunk()
    places = itertools.product(*(range(0, n, step) for n, step in zip(dataset.shape, steps, strict=True)))
    return Packed(how, tuple((place, *dataset.read_direct_chunk(place)) for place in places))


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
                    f"there, {np.__version__} here): continue with that NumPy, and with that output law where it is "
                    "one of your own, or use another run folder"
                )
        if header.covers(plan):
            found.setdefault((file.key, file.block), []).append((file, header))
    return found


def load(run: str | Path) -> Results:
    """Open the results of a run; arrays are read, and checked against their checksums, when they are asked for.

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
        When there are no results, or the file is damaged, of another schema version, or made by an option that an
        earlier version had (``--virtual``, ``--compression``).
    """
    path = Path(run)
    if path.is_dir():
        path = path / RESULTS
    with reading(path, f"`dipmc merge {path.parent}` writes it") as handle:
        attrs = attributes(handle)
        version = int(attrs["schema_version"])
        if version not in READABLE:
            raise InputError(
                f"{path}: schema version {version}, this code reads up to {SCHEMA_VERSION}; "
                "use the version of dipmc that wrote it"
            )
        groups = {name: attributes(handle[name]) for name in handle}
        _require_checksum(attrs.pop("checksum", None), attrs, groups, version)
        if attrs.get("compression", "gzip") != "gzip":
            advice = f"run `dipmc merge {path.parent}`"
            raise InputError(f"{path}: packed with {attrs['compression']} by an earlier version: {advice}")
        cells = [_Group(path, name, attrs, own).load(handle[name]) for name, own in groups.items()]
        return Results(path, str(attrs["experiment"]), attrs, tuple(sorted(cells, key=lambda cell: cell.index)))


def _require_checksum(
    stored: object, root: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]], version: int
) -> None:
    """Compare all that results.h5 says of itself with its checksum; files of the first version have none."""
    if version == 1 and stored is None and not any("checksums" in own for own in groups.values()):
        return
    if stored != attributes_digest({"/": root, **groups}):
        raise ValueError("the checksum of the attributes differs")


def digest_axis(name: str) -> int:
    """The axis of the rows in the checksum of a dataset of results.h5."""
    try:
        return row_axis(field_of(name).dims)
    except KeyError:
        return 0  # a coordinate, or something that the layout does not have


class _Group:
    """How the group of one cell is read."""

    def __init__(self, path: Path, name: str, root: Mapping[str, Any], attrs: Mapping[str, Any]) -> None:
        self.path, self.name, self.attrs = path, name, attrs
        self.merge_id = str(root["merge_id"])
        self.checksums: Mapping[str, str] | None = json.loads(attrs["checksums"]) if "checksums" in attrs else None

    def load(self, group: h5py.Group) -> CellResults:
        """The cell, its axes read and nothing else."""
        coordinates = {declared.name for declared in COORDINATES}
        names = set(group) if self.checksums is None else set(self.checksums)
        if names != set(group):
            raise ValueError(f"{self.name}: datasets came or went")

        def axis(name: str) -> IntArray:
            return np.asarray(self._checked(group, name), dtype=np.int64) if name in names else np.empty(0, np.int64)

        return CellResults(
            index=int(self.attrs["index"]),
            key=str(self.attrs["key"]),
            problem=json.loads(self.attrs["problem"]),
            attrs={name: value for name, value in self.attrs.items() if name != "checksums"},
            modes=tuple(mode.decode() for mode in self._checked(group, "mode")),
            trials=len(self._checked(group, "trial")),
            widths=axis("width"),
            flow_widths=axis("flow_width"),
            saved_trials=axis("saved_trial"),
            data=LazyArrays(tuple(sorted(names - coordinates)), self.read),
        )

    def read(self, name: str) -> NDArray[Any]:
        """One dataset, whole."""
        with reading(self.path, f"`dipmc merge {self.path.parent}` writes it") as handle:
            if handle.attrs["merge_id"] != self.merge_id and not self._same(handle, name):
                raise InputError(f"{self.path}: merged anew since it was loaded; load it again")
            return self._checked(handle[self.name], name)

    def _same(self, handle: h5py.File, name: str) -> bool:
        """Whether a file that was merged anew still holds these numbers, by their checksum."""
        if self.checksums is None or self.name not in handle:
            return False
        return bool(json.loads(handle[self.name].attrs["checksums"]).get(name) == self.checksums[name])

    def _checked(self, group: h5py.Group, name: str) -> NDArray[Any]:
        dataset = group[name]
        # fill values take no room in the file, so its size is no bound
        array = np.asarray(dataset[()]) if name == "mode" else numbers(dataset.id, memory())
        if self.checksums is not None and array_digest(array, digest_axis(name)) != self.checksums[name]:
            raise ValueError(f"checksum of {name} differs")
        return array
