"""Progress of a run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from tqdm import tqdm

from mc.runner.jobs import Record

QUIET_SECONDS = 10.0
"""Time between two lines of progress where there is no terminal."""


@contextmanager
def progress_bar(name: str, quiet: bool) -> Iterator[Callable[[int, int, Record], None] | None]:
    """Progress callback: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines(name)
        return
    # a terminal may not know its width (ssh, containers): tqdm would show nothing at all
    known = _columns() > 0
    with tqdm(desc=name, unit="block", dynamic_ncols=known, ncols=None if known else 80, leave=False) as bar:

        def update(done: int, total: int, record: Record) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 0


def _lines(name: str) -> Callable[[int, int, Record], None]:
    begin = last = time.monotonic()

    def update(done: int, total: int, record: Record) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < QUIET_SECONDS and done < total:
            return
        last = now
        rate = done / max(now - begin, 1e-9)
        left = f"{(total - done) / rate:.0f} s left" if rate else "time left unknown"
        click.echo(f"{name}: {done}/{total} blocks, {rate:.2f} blocks/s, {left}", err=True)

    return update
