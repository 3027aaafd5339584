"""Block files: what one says of itself, writing it atomically, checking it on reading.

A block file holds what `compute_block` returned for some widths of one block of trials of one cell; it is never
changed and never overwritten, so several processes and machines may work on one run folder. `mc.store.merge` makes
results.h5 of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.store.files import write_bytes
from mc.store.hdf5 import LIBVER, MOST_EXPANSION, Chunks, numbers, read_chunks, reading, storage
from mc.store.layout import check_arrays, field_of
from mc.store.plan import CellPlan, RunPlan, canonical_json, differences
from mc.version import READABLE, SCHEMA_VERSION

Arrays = Mapping[str, NDArray[np.generic]]

BLOCKS = "blocks"
MAKER_FACTS = ("dipmc", "numerics", "numpy", "blas", "git_commit")
"""The facts of a block that say which code made it."""
_NAME = re.compile(r"(?P<key>[0-9a-f]{16})-(?P<block>\d{6,})-(?P<part>[0-9a-f]{12})\.h5")
_DELETE = "delete it and run again to compute it anew"


def part_digest(
    widths: Sequence[int], flow_widths: Sequence[int], ladder: Sequence[str], claims: Sequence[str] = ()
) -> str:
    """Return the part of a block file's name that says what the file holds (12 hex digits)."""
    content = {"widths": list(widths), "flow_widths": list(flow_widths), "ladder": list(ladder)}
    if claims:
        content["claims"] = list(claims)
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class BlockHeader:
    """What a block file says of itself."""

    identity: str  # SHA-256 of `identity_fields`
    identity_fields: Mapping[str, Any]  # all settings that change a number at a given cell, trial and width
    cell: str  # canonical JSON of the cell
    key: str  # the cell's 16 hex digits
    block: int  # number of the block within the cell
    first_trial: int
    n_trials: int
    widths: tuple[int, ...]  # of the certificates
    flow_widths: tuple[int, ...]
    ladder: tuple[str, ...]
    modes: tuple[str, ...]  # in the order of the axis `mode`
    seed: int
    stream_digest: str  # of chunk 0 of trial 0 of the cell, as NumPy's generator drew it
    claims: tuple[str, ...] = ()  # checked along every trajectory; none in a block without flows
    schema_version: int = SCHEMA_VERSION
    facts: Mapping[str, Any] = field(default_factory=dict)  # time, versions, machine: no number depends on them

    @property
    def axes(self) -> dict[str, tuple[int, ...]]:
        """Widths along the axes ``width`` and ``flow_width``."""
        return {"width": self.widths, "flow_width": self.flow_widths}

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of the axes of the datasets, those of saved trajectories aside."""
        sizes = {"mode": len(self.modes), "trial": self.n_trials}
        return sizes | {dim: len(widths) for dim, widths in self.axes.items()}

    @property
    def file_name(self) -> str:
        """Name of the block file."""
        part = part_digest(self.widths, self.flow_widths, self.ladder, self.claims)
        return f"{self.key}-{self.block:06d}-{part}.h5"

    def covers(self, plan: RunPlan) -> bool:
        """Return whether the file holds every rung of a plan's ladder and, with flows, every claim along them."""
        follows = not self.flow_widths or set(plan.claims) <= set(self.claims)
        return set(plan.ladder) <= set(self.ladder) and follows

    def checked(self) -> dict[str, Any]:
        """Return the fields under the checksum, all but the facts."""
        # the first version knew of no claims
        left_out = ("facts", "claims") if self.schema_version == 1 else ("facts",)
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out}


@dataclass(frozen=True)
class Block:
    """A block file in memory."""

    header: BlockHeader
    arrays: Arrays
    chunks: Mapping[str, Chunks | None] = field(default_factory=dict)  # of the datasets that `read_block` was to copy


@dataclass(frozen=True, order=True)
class PartFile:
    """A block file, as its name describes it."""

    key: str
    block: int
    part: str
    path: Path


Parts = Mapping[tuple[str, int], Sequence[tuple[PartFile, BlockHeader]]]
"""Block files by cell key and block number; see `parts`."""


def checksum(header: BlockHeader, arrays: Arrays) -> str:
    """Return the SHA-256 of the header (facts aside) and of name, type, shape and bytes of each dataset by name."""
    digest = hashlib.sha256(canonical_json(header.checked()).encode())
    for name in sorted(arrays):
        array = arrays[name]
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"\n{name}\n{little.dtype.str}\n{list(little.shape)}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def write_block(folder: Path, header: BlockHeader, arrays: Arrays) -> Path:
    """Write one block file into ``RUN/blocks``, whole or not at all; an existing file is kept as it is.

    Raises
    ------
    ValueError
        When an array is not as the layout says.
    InputError
        When the folder cannot be written to; nothing is left behind.
    """
    check_arrays(arrays, header.sizes)
    path = folder / header.file_name
    if path.exists():
        return path
    # the file is built in memory: a full disk then fails in one plain write, not inside the HDF5 library
    with h5py.File(path.name, "w", driver="core", backing_store=False, libver=LIBVER) as handle:
        for name in sorted(arrays):
            declared, array = field_of(name), np.asarray(arrays[name])
            dataset = handle.create_dataset(name, data=array, **storage(array.shape, declared.row_axis))
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
    fields: dict[str, Any] = {name: str(stored[name]) for name in ("identity", "cell", "key", "stream_digest")}
    fields |= {name: int(stored[name]) for name in ("block", "first_trial", "n_trials", "seed")}
    fields |= {name: tuple(json.loads(stored[name])) for name in ("widths", "flow_widths", "ladder", "modes")}
    fields |= {name: json.loads(stored[name]) for name in ("identity_fields", "facts")}
    # schema version 1 has no claims
    return BlockHeader(**fields, claims=tuple(json.loads(stored.get("claims", "[]"))), schema_version=version)


def read_header(path: Path) -> BlockHeader:
    """Read the header of a block file, without its arrays and without comparing the checksum.

    Raises
    ------
    InputError
        As `read_block`.
    """
    with reading(path, _DELETE) as handle:
        return _header(handle, path)


def read_block(path: Path, copied: Collection[str] = ()) -> Block:
    """Read and verify a block file; of the datasets `copied` also the packed chunks.

    Raises
    ------
    InputError
        Naming the file and what to do, when it is damaged, truncated, foreign or of another schema version.
    """
    with reading(path, _DELETE) as handle:
        header = _header(handle, path)
        # the low-level interface: a file has dozens of small datasets, and a run up to a million files
        datasets = {name.decode(): h5py.h5d.open(handle.id, name) for name in handle.id}
        room = MOST_EXPANSION * path.stat().st_size
        arrays: dict[str, NDArray[Any]] = {}
        for name, dataset in datasets.items():
            arrays[name] = numbers(dataset, room)
            room -= arrays[name].nbytes
        if str(handle.attrs["checksum"]) != checksum(header, arrays):
            raise InputError(f"{path}: damaged (checksum differs); {_DELETE}")
        if path.name != header.file_name:
            raise InputError(f"{path}: holds {header.file_name}, a file was renamed; give it that name or delete it")
        return Block(header, arrays, {name: read_chunks(datasets[name]) for name in copied if name in datasets})


def read_part(path: Path, cell: CellPlan, plan: RunPlan, copied: Collection[str] = ()) -> Block:
    """Read and verify a block file of a cell of a plan; see `read_block` and `check_header`."""
    block = read_block(path, copied)
    check_header(path, block.header, cell, plan)
    return block


def check_header(path: Path, header: BlockHeader, cell: CellPlan, plan: RunPlan) -> None:
    """Refuse a block file that does not belong to a cell of a plan.

    Raises
    ------
    InputError
        Naming the file and what differs.
    """
    other = "use another run folder"
    if header.identity != cell.identity:
        # through JSON, as the stored fields went: tuples become lists, keys strings
        changed = differences(header.identity_fields, json.loads(canonical_json(cell.identity_fields)))
        what = changed[0] if changed else "the identities differ although every setting agrees"
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise InputError(f"{path}: made by another experiment: {what}{more}; {other}")
    if header.n_trials != plan.block_size or header.first_trial != header.block * plan.block_size:
        raise InputError(
            f"{path}: holds {header.n_trials} trials from {header.first_trial} on, which is not block {header.block} "
            f"of {plan.block_size} trials; {other}"
        )
    if header.modes != plan.modes:
        modes = f"holds the modes {', '.join(header.modes)}, the experiment has {', '.join(plan.modes)}"
        raise InputError(f"{path}: {modes}; {other}")


def scan(run: Path) -> tuple[PartFile, ...]:
    """Return the block files of a run, by their names, in a fixed order; other files in the folder are ignored."""
    folder = run / BLOCKS
    if not folder.is_dir():
        return ()
    matches = [(path, _NAME.fullmatch(path.name)) for path in folder.iterdir()]
    return tuple(sorted(PartFile(m["key"], int(m["block"]), m["part"], path) for path, m in matches if m is not None))


def parts(run: Path, plan: RunPlan, stream_digests: Mapping[str, str] | None = None) -> Parts:
    """Return the block files that a plan can use, by cell and block, in the order of part digests.

    One header is read per distinct (cell, part digest), not one per file: the digest in the name says what a file
    holds, and the merge verifies every file it reads. So the block number, trials and facts of a header are not those
    of each file. A file whose ladder lacks a rung of the plan does not count. With `stream_digests`, the digest per
    cell key as this NumPy draws it, a file of another stream is refused.

    Raises
    ------
    InputError
        When a file is damaged or was made by other settings, another block size or another generator.
    """
    cells = {cell.key: cell for cell in plan.cells}
    headers: dict[tuple[str, str], BlockHeader] = {}
    usable: dict[tuple[str, int], list[tuple[PartFile, BlockHeader]]] = {}
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
            usable.setdefault((file.key, file.block), []).append((file, header))
    return usable
