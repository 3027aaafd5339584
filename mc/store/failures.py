"""Blocks that failed, each noted in a small file beside the blocks until it is computed after all.

The tasks of a job array share nothing but the run folder: without a note there, what went wrong would be in one log of
many, and a merge could not tell a trial that failed from one that nobody asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mc.store.files import host_name, write_bytes
from mc.theory.codes import Outcome

FAILURES = "failures"
LARGEST = 10**6
_NAME = re.compile(r"(?P<key>[0-9a-f]{16})-(?P<block>\d{6,})\.json")

Widths = tuple[int, ...] | None


@dataclass(frozen=True)
class Failure:
    """One block that failed.

    Parameters
    ----------
    place : str
        Cell, block and trials, in words.
    error : str
    host, at : str
        Where and when.
    key : str
        16 hex digits of the cell; empty where the name of the note does not say.
    block : int
    widths, flow_widths : tuple of int or None
        What it was asked for; None where the note does not say, and then all that is not there.
    """

    place: str
    error: str
    host: str
    at: str
    key: str = ""
    block: int = -1
    widths: Widths = None
    flow_widths: Widths = None

    def lacks(self, asked: Mapping[str, Sequence[int]], there: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
        """Positions of the widths that failed, on the axes ``width`` and ``flow_width`` of a run.

        Parameters
        ----------
        asked : mapping of str to sequence of int
            The two axes.
        there : mapping of str to collection of int
            Widths that block files have: what was computed once has not failed.
        """
        own = {"width": self.widths, "flow_width": self.flow_widths}
        return {
            dim: [
                position
                for position, width in enumerate(widths)
                if (own[dim] is None or width in (own[dim] or ())) and width not in there.get(dim, ())
            ]
            for dim, widths in asked.items()
        }


Failures = Mapping[tuple[str, int], Failure]
"""Failed blocks by cell key and number."""


def _file(run: Path, key: str, block: int) -> Path:
    return run / FAILURES / f"{key}-{block:06d}.json"


def _write(run: Path, failure: Failure) -> None:
    held = {"outcome": Outcome.ERROR.label, **failure.__dict__}
    write_bytes(_file(run, failure.key, failure.block), (json.dumps(held, indent=1) + "\n").encode())


def _both(old: Widths, new: Sequence[int]) -> Widths:
    return None if old is None else tuple(sorted({*old, *new}))


def _without(old: Widths, new: Sequence[int]) -> Widths:
    return None if old is None else tuple(width for width in old if width not in new)


def note(
    run: Path, key: str, block: int, place: str, error: str, widths: Sequence[int], flow_widths: Sequence[int]
) -> None:
    """Write down that a block of a cell (`key`) failed at some widths, in place of what was written before.

    Widths at which it failed before stay noted.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    made = Failure(place, error, host_name(), at, key, block, tuple(widths), tuple(flow_widths))
    if old := _there(_file(run, key, block)):
        made = replace(made, widths=_both(old.widths, widths), flow_widths=_both(old.flow_widths, flow_widths))
    _write(run, made)


def forget(run: Path, key: str, block: int, widths: Sequence[int], flow_widths: Sequence[int]) -> None:
    """Remove what was written of a block at widths that it has now, if anything was.

    A note without widths stays: it is of all that is not there, and says nothing once all is.
    """
    path = _file(run, key, block)
    old = _there(path)
    if old is None:
        return
    left = replace(old, widths=_without(old.widths, widths), flow_widths=_without(old.flow_widths, flow_widths))
    if left.widths == () == left.flow_widths:
        path.unlink(missing_ok=True)
    else:
        _write(run, left)


def _there(path: Path) -> Failure | None:
    """One note; None where there is none, or where another task removes it at this moment."""
    try:
        return _read(path)
    except FileNotFoundError:
        return None


def _read(path: Path) -> Failure:
    """One note; one that cannot be read says so itself.

    Raises
    ------
    FileNotFoundError
    """
    named = _NAME.fullmatch(path.name)
    key, block = (named["key"], int(named["block"])) if named else ("", -1)
    try:
        with path.open("rb") as file:
            held: Any = json.loads(file.read(LARGEST))
        place, error, host, at = (str(held[name]) for name in ("place", "error", "host", "at"))
        widths, flow_widths = (_widths(held.get(name)) for name in ("widths", "flow_widths"))
        return Failure(place, error, host, at, key, block, widths, flow_widths)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Failure(path.name, "the note of its failure cannot be read", "?", "?", key, block)


def _widths(held: Any) -> Widths:
    """Notes of earlier versions have none."""
    return None if held is None else tuple(int(width) for width in held)


def noted(run: Path) -> Iterator[Failure]:
    """Failures of a run folder, in the order of the names of their notes."""
    for path in sorted((run / FAILURES).glob("*.json")):
        if failure := _there(path):
            yield failure


def failed_blocks(run: Path) -> Failures:
    """The failures of a run folder by cell key and block."""
    return {(failure.key, failure.block): failure for failure in noted(run) if failure.key}
