"""Blocks that failed: one small JSON file each, beside the blocks, until the block is computed after all.

The tasks of a job array share nothing but the run folder: only such a note tells a merge that a trial failed, rather
than that nobody asked for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mc.store.files import host_name, write_bytes
from mc.theory.codes import Outcome

FAILURES = "failures"
LARGEST = 10**6
"""Bytes of a note that are read."""
_NAME = re.compile(r"(?P<key>[0-9a-f]{16})-(?P<block>\d{6,})\.json")

Widths = tuple[int, ...] | None


@dataclass(frozen=True)
class Failure:
    """One block that failed."""

    place: str  # cell, block and trials, as a sentence
    error: str
    host: str
    at: str  # time of the failure, ISO 8601
    key: str  # 16 hex digits of the cell
    block: int
    widths: Widths = None  # widths that failed; None (notes of earlier versions): all that no block file has
    flow_widths: Widths = None

    def lacks(self, axes: Mapping[str, Sequence[int]], present: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
        """Return the positions of the failed widths on the axes ``width`` and ``flow_width`` of a run.

        A width in `present`, which a block file has, did not fail.
        """
        failed = {"width": self.widths, "flow_width": self.flow_widths}

        def lost(dim: str, width: int) -> bool:
            widths = failed[dim]
            return (widths is None or width in widths) and width not in present[dim]

        return {dim: [i for i, width in enumerate(axis) if lost(dim, width)] for dim, axis in axes.items()}


Failures = Mapping[tuple[str, int], Failure]
"""Failed blocks by cell key and number."""


def _file(run: Path, key: str, block: int) -> Path:
    return run / FAILURES / f"{key}-{block:06d}.json"


def _write(run: Path, failure: Failure) -> None:
    content = {"outcome": Outcome.ERROR.label, **asdict(failure)}
    write_bytes(_file(run, failure.key, failure.block), (json.dumps(content, indent=1) + "\n").encode())


def note(
    run: Path, key: str, block: int, place: str, error: str, widths: Sequence[int], flow_widths: Sequence[int]
) -> None:
    """Note that a block of a cell (`key`) failed at some widths; widths noted before stay noted.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """

    def union(old: Widths, new: Sequence[int]) -> Widths:
        return None if old is None else tuple(sorted({*old, *new}))

    at = datetime.now(UTC).isoformat(timespec="seconds")
    failure = Failure(place, error, host_name(), at, key, block, tuple(widths), tuple(flow_widths))
    if old := _read(_file(run, key, block)):
        failure = replace(failure, widths=union(old.widths, widths), flow_widths=union(old.flow_widths, flow_widths))
    _write(run, failure)


def forget(run: Path, key: str, block: int, widths: Sequence[int], flow_widths: Sequence[int]) -> None:
    """Remove widths that were computed after all from the note of a block, and the note when none is left.

    A note without widths stays: it concerns widths that no block file has, so it says nothing once all have one.
    """

    def minus(old: Widths, new: Sequence[int]) -> Widths:
        return None if old is None else tuple(width for width in old if width not in new)

    path = _file(run, key, block)
    old = _read(path)
    if old is None:
        return
    left = replace(old, widths=minus(old.widths, widths), flow_widths=minus(old.flow_widths, flow_widths))
    if left.widths == () == left.flow_widths:
        path.unlink(missing_ok=True)
    else:
        _write(run, left)


def _read(path: Path) -> Failure | None:
    """Read one note: None where there is none (any more); a damaged note is a failure with that error."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    key, block = match["key"], int(match["block"])

    def widths(value: Any) -> Widths:
        return None if value is None else tuple(int(width) for width in value)

    try:
        with path.open("rb") as file:
            content: Any = json.loads(file.read(LARGEST))
        place, error, host, at = (str(content[name]) for name in ("place", "error", "host", "at"))
        return Failure(
            place, error, host, at, key, block, widths(content.get("widths")), widths(content.get("flow_widths"))
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Failure(path.name, "the note of its failure cannot be read", "?", "?", key, block)


def failed_blocks(run: Path) -> Failures:
    """Return the failures of a run folder by cell key and block, in the order of the names of their notes."""
    failures = [_read(path) for path in sorted((run / FAILURES).glob("*.json"))]
    return {(failure.key, failure.block): failure for failure in failures if failure is not None}
