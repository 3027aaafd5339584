"""Blocks that failed, each noted in a small file beside the blocks until it is computed after all.

The tasks of a job array share nothing but the run folder: without a note there, what went wrong would be in one log of
many.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mc.atomic import host_name, write_bytes
from mc.outcomes import Outcome

FAILURES = "failures"
LARGEST = 10**6


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
    """

    place: str
    error: str
    host: str
    at: str


def _file(run: Path, key: str, block: int) -> Path:
    return run / FAILURES / f"{key}-{block:06d}.json"


def note(run: Path, key: str, block: int, place: str, error: str) -> None:
    """Write down that a block of a cell (`key`) failed, in place of what was written before.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    held = {"outcome": Outcome.ERROR.label, "key": key, "block": block, "place": place, "error": error}
    text = json.dumps({**held, "host": host_name(), "at": at}, indent=1)
    write_bytes(_file(run, key, block), (text + "\n").encode())


def forget(run: Path, key: str, block: int) -> None:
    """Remove what was written of a block, if anything was."""
    _file(run, key, block).unlink(missing_ok=True)


def noted(run: Path) -> Iterator[Failure]:
    """Failures of a run folder; a note that cannot be read says so itself."""
    for path in sorted((run / FAILURES).glob("*.json")):
        try:
            with path.open("rb") as file:
                held: Any = json.loads(file.read(LARGEST))
            yield Failure(*(str(held[name]) for name in ("place", "error", "host", "at")))
        except FileNotFoundError:
            # computed in this very moment
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            yield Failure(path.name, "the note of its failure cannot be read", "?", "?")
