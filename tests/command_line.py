"""Experiment files for the command line, and what a command that has finished is checked by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

SMALL = """
[experiment]
name = "small"
seed = 3
trials = 4
block_size = 2
[problem]
n = 3
m = 2
operator = "gaussian"
noise = 0.1
[network]
mode = ["hidden", "both"]
[widths]
values = [4, 16]
"""
OTHER = SMALL.replace('"small"', '"other"').replace("n = 3", "n = 4")
SUITE = '[suite]\nexperiments = ["small.toml", "other.toml"]\n'

Finished = tuple[int, list[str], list[str]]
"""Exit status, lines of stdout, lines of stderr."""
Invoke = Callable[..., Finished]


def everything(folder: Path) -> dict[str, bytes]:
    """Every file and folder below, with what it holds."""
    return {str(path): path.read_bytes() if path.is_file() else b"/" for path in sorted(folder.rglob("*"))}


def refused(command: Finished, *phrases: str) -> None:
    """Exit status 2 and one line on stderr that holds the phrases."""
    status, _, err = command
    assert status == 2, command
    assert len(err) == 1, err
    assert err[0].startswith("dipmc: ")
    for phrase in phrases:
        assert phrase in err[0]
