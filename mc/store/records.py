"""What a block file says of itself, what a run asks for, and when the two belong together: no file is opened here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.version import SCHEMA_VERSION

Arrays = Mapping[str, NDArray[np.generic]]

BLOCKS = "blocks"
MAKER_FACTS = ("dipmc", "numerics", "numpy", "blas", "git_commit")
"""The facts of a block that say which code made it."""
_BLOCK_NAME = re.compile(r"(?P<key>[0-9a-f]{16})-(?P<block>\d{6,})-(?P<part>[0-9a-f]{12})\.h5")


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def part_digest(
    widths: Sequence[int], flow_widths: Sequence[int], ladder: Sequence[str], claims: Sequence[str] = ()
) -> str:
    """The part of a block file's name that says what the file holds (12 hex digits)."""
    held = {"widths": list(widths), "flow_widths": list(flow_widths), "ladder": list(ladder)}
    if claims:
        held["claims"] = list(claims)
    return hashlib.sha256(canonical_json(held).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class BlockHeader:
    """What a block file says of itself.

    Parameters
    ----------
    identity : str
        SHA-256 (64 hex digits) of `identity_fields`: of all that changes a number at a given cell, trial and width.
    identity_fields : mapping
        The settings behind `identity`.
    cell : str
        Canonical JSON of the cell.
    key : str
        The cell's 16 hex digits.
    block, first_trial, n_trials : int
        Number of the block within the cell, and its trials.
    widths, flow_widths : tuple of int
        Widths of the certificates and of the flow.
    ladder, modes : tuple of str
        Rungs of the ladder; trained layers, in the order of the axis `mode`.
    seed : int
    stream_digest : str
        Digest of chunk 0 of trial 0 of the cell, as NumPy's generator draws it here.
    claims : tuple of str
        Claims checked along every trajectory; of a block without flows none.
    facts : mapping
        Wall-clock facts, versions and the machine: not part of the checksum, no number depends on them.
    """

    identity: str
    identity_fields: Mapping[str, Any]
    cell: str
    key: str
    block: int
    first_trial: int
    n_trials: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]
    ladder: tuple[str, ...]
    modes: tuple[str, ...]
    seed: int
    stream_digest: str
    claims: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """Digest of what the file holds, as in its name."""
        return part_digest(self.widths, self.flow_widths, self.ladder, self.claims)

    @property
    def file_name(self) -> str:
        """Name of the block file."""
        return f"{self.key}-{self.block:06d}-{self.part}.h5"

    def covers(self, plan: RunPlan) -> bool:
        """Whether the file holds every rung of a plan's ladder and, where it has flows, every claim along them."""
        follows = not self.flow_widths or set(plan.claims) <= set(self.claims)
        return set(plan.ladder) <= set(self.ladder) and follows

    def checked(self) -> dict[str, Any]:
        """The fields under the checksum, all but the facts."""
        # the first version knew of no claims
        left_out = ("facts", "claims") if self.schema_version == 1 else ("facts",)
        names = [name for name in self.__dataclass_fields__ if name not in left_out]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Packed:
    """A dataset as it is in a file.

    Parameters
    ----------
    how : tuple
        Chunks, type and filters: what must agree for the chunks to serve elsewhere.
    chunks : tuple of (tuple of int, int, bytes)
        Place, mask of the filters that were left out, content.
    """

    how: tuple[object, ...]
    chunks: tuple[tuple[tuple[int, ...], int, bytes], ...]


@dataclass(frozen=True)
class Block:
    """A block file in memory: its header, its arrays, its size and, where asked for, datasets as they are in it."""

    header: BlockHeader
    arrays: Arrays
    size: int = 0
    packed: Mapping[str, Packed] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class PartFile:
    """A block file as its name tells it."""

    key: str
    block: int
    part: str
    path: Path


Parts = Mapping[tuple[str, int], Sequence[tuple[PartFile, BlockHeader]]]
"""Block files by cell key and block number; see `mc.store.blocks.parts`."""


def checksum(header: BlockHeader, arrays: Arrays) -> str:
    """SHA-256 of the header (facts aside) and of name, type, shape and bytes of each dataset, in the order of names."""
    digest = hashlib.sha256(canonical_json(header.checked()).encode())
    for name in sorted(arrays):
        array = arrays[name]
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"\n{name}\n{little.dtype.str}\n{list(little.shape)}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class CellPlan:
    """One problem cell of a run.

    Parameters
    ----------
    index : int
        Position in the grid; its group in results.h5 is ``c<index>``.
    key : str
        16 hex digits.
    canonical : str
        Canonical JSON, from which `key` derives.
    problem : mapping
        The resolved settings of the problem as plain values: they label the cell.
    identity : str
    identity_fields : mapping
        As in `BlockHeader`.
    """

    index: int
    key: str
    canonical: str
    problem: Mapping[str, Any]
    identity: str
    identity_fields: Mapping[str, Any]

    @property
    def group(self) -> str:
        """Name of the cell's group in results.h5."""
        return f"c{self.index:03d}"


@dataclass(frozen=True)
class RunPlan:
    """All that a run asks of the block files.

    Parameters
    ----------
    text : str
        The experiment as TOML, for the attributes of results.h5.
    seed : int
    trials : int
        Length of the axis `trial` of results.h5.
    block_size : int
        Trials per block, the last block included.
    widths, flow_widths : tuple of int
    modes, ladder : tuple of str
    save_trials : int
        The first so many trials keep their trajectories.
    cells : tuple of CellPlan
    sampling : str
        "fixed", or the rule by which the number of trials follows the data.
    claims : tuple of str
        Claims on trajectories that are checked along every one of them.
    """

    text: str
    seed: int
    trials: int
    block_size: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]
    modes: tuple[str, ...]
    ladder: tuple[str, ...]
    save_trials: int
    cells: tuple[CellPlan, ...]
    sampling: str = "fixed"
    claims: tuple[str, ...] = ()

    @property
    def saved_trials(self) -> int:
        """Length of the axis `saved_trial` of results.h5."""
        return min(self.save_trials, self.trials) if self.flow_widths else 0

    @property
    def n_blocks(self) -> int:
        """Blocks per cell; the last one is whole too."""
        return -(-self.trials // self.block_size)

    @property
    def identity(self) -> str:
        """SHA-256 over the identities of all cells, in the order of the grid."""
        return hashlib.sha256("\n".join(cell.identity for cell in self.cells).encode()).hexdigest()


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, Mapping):
        found: dict[str, object] = {}
        for key in value:
            found.update(_flat(value[key], f"{prefix}.{key}" if prefix else str(key)))
        return found
    return {prefix: list(value) if isinstance(value, tuple) else value}


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[str, ...]:
    """Dotted names of the settings that differ, each with both values.

    Returns
    -------
    tuple of str
        E.g. ``("loss.p is 2.0 there and 4.0 here",)``; empty when nothing differs.
    """
    old, new = _flat(there), _flat(here)
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found.append(f"{name} is absent there and {new[name]!r} here")
        elif name not in new:
            found.append(f"{name} is {old[name]!r} there and absent here")
        elif old[name] != new[name]:
            found.append(f"{name} is {old[name]!r} there and {new[name]!r} here")
    return tuple(found)


def require_identity(path: Path, header: BlockHeader, identity: str, fields: Mapping[str, Any]) -> None:
    """Refuse a block whose numbers were made by other settings.

    Raises
    ------
    InputError
        Naming the file and the first setting that differs.
    """
    if header.identity == identity:
        return
    # through JSON, as the stored fields went: tuples become lists, keys strings
    found = differences(header.identity_fields, json.loads(canonical_json(fields)))
    what = found[0] if found else "the identities differ although every setting agrees"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise InputError(f"{path}: made by another experiment: {what}{more}; use another run folder")


def scan(run: Path) -> tuple[PartFile, ...]:
    """The block files of a run, by their names, in a fixed order; other files in the folder are ignored."""
    folder = run / BLOCKS
    if not folder.is_dir():
        return ()
    found = []
    for path in folder.iterdir():
        match = _BLOCK_NAME.fullmatch(path.name)
        if match is not None:
            found.append(PartFile(match["key"], int(match["block"]), match["part"], path))
    return tuple(sorted(found))


def check_header(path: Path, header: BlockHeader, cell: CellPlan, plan: RunPlan) -> None:
    """Refuse a block file that does not belong to a cell of a plan.

    Raises
    ------
    InputError
        Naming the file and what differs.
    """
    require_identity(path, header, cell.identity, cell.identity_fields)
    if header.n_trials != plan.block_size or header.first_trial != header.block * plan.block_size:
        raise InputError(
            f"{path}: holds {header.n_trials} trials from {header.first_trial} on, which is not block {header.block} "
            f"of {plan.block_size} trials; use another run folder"
        )
    if header.modes != plan.modes:
        raise InputError(
            f"{path}: holds the modes {', '.join(header.modes)}, the experiment has {', '.join(plan.modes)}; "
            "use another run folder"
        )
