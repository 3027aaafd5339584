"""Pools that compute blocks: in this process or in worker processes of this machine (`mc.runner.dask`: on Dask).

A block whose worker process was killed is computed again alone, with the memory of the machine to itself, which changes
no number; a second death is reported and the other blocks go on. Splitting the block's trials instead would save more
memory, but a product over fewer trials may round differently, and a block must not depend on where it was computed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool

from mc.runner.interrupts import ignore_signals
from mc.runner.jobs import Compute, Job, Record, work

KILLED = (
    "its worker process was killed, and again when no other block was computed beside it (out of memory?): "
    "run again with more memory"
)

FEEDER = "QueueFeederThread"
"""Name of the threads of multiprocessing's queues."""
FEEDER_SECONDS = 5.0
"""All of them together: they end within milliseconds once their queue is closed."""

Named = tuple[str, Record]


class Pool(Protocol):
    """Interface of a worker pool; `size` is the number of blocks that are computed at the same time."""

    size: int

    def prepare(self, run: Path) -> None:
        """Check that blocks of a run folder can be computed; called before the first."""

    def map(self, jobs: Iterator[Job], compute: Compute, at_once: int) -> Iterator[Named]:
        """Compute blocks, at most `at_once` at the same time; yield file name and record of each, in any order.

        A block whose process was killed yields nothing. The next job is taken when there is room, never earlier: a
        job that was handed out cannot be called back.
        """

    def kill(self) -> None:
        """Cancel the blocks in work."""


class Inline:
    """Compute in this process."""

    size = 1

    def prepare(self, run: Path) -> None:
        """No-op: this process sees the folder."""

    def map(self, jobs: Iterator[Job], compute: Compute, at_once: int) -> Iterator[Named]:
        """See `Pool.map`."""
        for job in jobs:
            yield named_work(job, compute)

    def kill(self) -> None:
        """No-op: every job has already finished."""


class Loky:
    """Worker processes of this machine."""

    def __init__(self, size: int) -> None:
        self.size = size

    def prepare(self, run: Path) -> None:
        """No-op: the processes of this machine see the folder."""

    def map(self, jobs: Iterator[Job], compute: Compute, at_once: int) -> Iterator[Named]:
        """See `Pool.map`; one killed process takes the blocks of all with it."""
        pool = joblib.Parallel(
            n_jobs=max(2, at_once),  # with one joblib would compute in this process, which must not be killed
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=at_once,
            initializer=ignore_signals,
        )
        try:
            yield from pool(joblib.delayed(named_work)(job, compute) for job in jobs)
        except BrokenProcessPool:
            return

    def kill(self) -> None:
        """Kill the worker processes, and wait for the threads that fed them.

        loky waits for the processes alone. Such a thread may be the last to hold a semaphore; cut off by the end of
        this process between removing it and saying so, it made loky's resource tracker warn of a leak on stderr.
        """
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        deadline = time.monotonic() + FEEDER_SECONDS
        for thread in threading.enumerate():
            if thread.name == FEEDER:
                thread.join(max(0.0, deadline - time.monotonic()))


def named_work(job: Job, compute: Compute) -> Named:
    """Compute and write a block; return the name of its file and its record."""
    return job.header.file_name, work(job, compute)


def computed(pool: Pool, jobs: Sequence[Job], compute: Compute, stopping: Callable[[], bool]) -> Iterator[Record]:
    """Compute blocks on a pool until all are done or `stopping()` is true; see the module for killed processes."""
    remaining = {job.header.file_name: job for job in jobs}
    at_once = pool.size
    while remaining and not stopping():
        handed: dict[str, Job] = {}

        def feed(handed: dict[str, Job] = handed) -> Iterator[Job]:
            for name, job in list(remaining.items()):
                if stopping():
                    return
                handed[name] = job
                yield job

        for name, record in pool.map(feed(), compute, at_once):
            del remaining[name], handed[name]
            yield record
        crowded = False
        for name, job in handed.items():
            if stopping():
                return
            del remaining[name]
            records = [record for _, record in pool.map(iter([job]), compute, 1)]
            crowded = crowded or bool(records)
            lost = Record(job.place, job.header.key, job.header.block, 0.0, KILLED)
            yield from (replace(record, again=True) for record in records or [lost])
        if crowded:
            # what fits alone did not fit beside the others
            at_once = max(1, at_once // 2)
