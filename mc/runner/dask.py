"""Blocks on the workers of a Dask scheduler, through joblib's Dask backend.

Workers write the blocks they computed, as the processes of one machine do, so they must see the run folder; each is
asked whether it does, and whether its code is the same, before it gets a block.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
from distributed import Client, LocalCluster, get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from joblib._dask import DaskDistributedBackend

from mc.errors import InputError
from mc.runner.interrupts import ignore_signals
from mc.runner.jobs import Compute, Job, Record
from mc.runner.plan import FROZEN
from mc.runner.pools import Named, named_work
from mc.store.files import host_name, temporary_name
from mc.version import NUMERICS_VERSION, __version__

CONNECT_SECONDS = 5.0
WORKERS_SECONDS = 10.0
"""How long a scheduler may take to answer, and to have a first worker."""

Version = tuple[str, int, str]
VERSION: Version = (__version__, NUMERICS_VERSION, np.__version__)


class SafeDask(DaskDistributedBackend):  # type: ignore[misc]
    """joblib's backend, without two of its traps.

    With a single thread on the cluster joblib would compute in this process, and die with a block that is killed; and a
    task that the scheduler gives up, because its workers died, would never be heard of again: here it yields None.
    """

    def effective_n_jobs(self, n_jobs: int) -> int:
        """At least two, so that joblib hands the blocks out."""
        return max(2, int(super().effective_n_jobs(n_jobs)))

    async def _collect(self) -> None:
        while self._continue:
            async for future, result in self.waiting_futures:
                told = result if future.status == "finished" else [None]
                waiting, callback = self._results.pop(future), self._callbacks.pop(future)
                waiting.set_result(told)
                callback(told)
            await asyncio.sleep(0.01)


class _IgnoreSignals(WorkerPlugin):  # type: ignore[misc]
    """In each worker process, whenever it starts."""

    def setup(self, worker: Any) -> None:
        ignore_signals()


def threaded(threads: int) -> str:
    """What is wrong with a worker of several threads: they share one BLAS, and one interpreter."""
    return f"has {threads} threads; start `dask worker` with --nthreads 1 (and --nworkers for several processes)"


def unfit(seen: str, version: Version) -> str | None:
    """What keeps a process from computing blocks of a run, None if nothing does.

    It travels by value, so that a worker without the package can say so.

    Parameters
    ----------
    seen : str
        A file of the run folder.
    version : tuple
        Of the package, of its numbers, of NumPy.
    """
    import os

    try:
        import numpy as np

        from mc.version import NUMERICS_VERSION, __version__
    except ImportError as error:
        return f"cannot import {error.name}; install dipmc {version[0]} there"
    own = (__version__, NUMERICS_VERSION, np.__version__)
    if own != tuple(version):
        words = "dipmc {} (numerics {}, NumPy {})"
        return f"has {words.format(*own)}, here is {words.format(*version)}; install the same in both places"
    if not os.path.exists(seen):
        return f"does not see {os.path.dirname(seen)}; choose a folder with -o that all machines share"
    return None


def _work(job: Job, compute: Compute, version: Version) -> Named:
    """One block, in a worker: which may have joined after the others were asked."""
    fault = unfit(str(job.folder.parent / FROZEN), version)
    if fault is None and (threads := get_worker().state.nthreads) > 1:
        fault = threaded(threads)
    if fault is not None:
        place = f"{job.place}: the Dask worker on {host_name()} {fault}"
        return job.header.file_name, Record(job.place, job.header.key, job.header.block, 0.0, place, refused=True)
    return named_work(job, compute)


class DaskPool:
    """The workers of a scheduler; see `mc.runner.pools.Pool`.

    Parameters
    ----------
    client : Client
    size : int
        Blocks at the same time.
    cluster : LocalCluster, optional
        Where the workers are this run's own.
    """

    def __init__(self, client: Client, size: int, cluster: LocalCluster | None = None) -> None:
        self.client, self.size, self.cluster = client, size, cluster

    def prepare(self, run: Path) -> None:
        """Ask each worker whether it can compute blocks of this folder.

        Raises
        ------
        InputError
            Naming the first that cannot, and why.
        """
        for address, threads in self.client.nthreads().items():
            if threads > 1:
                raise InputError(f"Dask worker {address} {threaded(threads)}")
        # a name that no worker can have seen before, not even through the cache of a network file system
        token = temporary_name(run.absolute() / "seen")
        token.touch()
        module = sys.modules[__name__]
        cloudpickle.register_pickle_by_value(module)
        try:
            found = self.client.run(unfit, str(token), VERSION)
        finally:
            cloudpickle.unregister_pickle_by_value(module)
            token.unlink(missing_ok=True)
        for address, fault in found.items():
            if fault is not None:
                raise InputError(f"Dask worker {address} {fault}")

    def map(self, jobs: Iterator[Job], compute: Compute, at_once: int) -> Iterator[Named]:
        """See `mc.runner.pools.Pool.map`."""
        self._require_connection()

        def connected() -> Iterator[Any]:
            for job in jobs:
                # what is submitted to a client without a scheduler is never heard of again
                if self.client.status != "running":
                    return
                yield joblib.delayed(_work)(job, compute, VERSION)

        pool = joblib.Parallel(
            n_jobs=max(2, at_once),
            backend=SafeDask(client=self.client),
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=at_once,
        )
        for told in pool(connected()):
            if told is not None:
                yield told
        self._require_connection()

    def _require_connection(self) -> None:
        if self.client.status != "running":
            raise InputError("the connection to the Dask scheduler is lost; what is computed is kept, run again")

    def kill(self) -> None:
        """Kill the processes of an own cluster; other workers end the block that they are at, and write it."""
        if self.cluster is not None:
            for nanny in self.cluster.workers.values():
                with suppress(ProcessLookupError, TypeError):  # it has none while it starts one anew
                    os.kill(nanny.pid, signal.SIGKILL)


@contextmanager
def local(workers: int) -> Iterator[DaskPool]:
    """A pool of worker processes of this machine, started for the run.

    A process that is killed is replaced; the block that it had is not given to another one, for then they might die in
    turn: `mc.runner.pools.computed` says what becomes of it.
    """
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"allowed_failures": 0},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_IgnoreSignals())
        yield DaskPool(client, workers, cluster)


@contextmanager
def connected(address: str, blocks: int | None) -> Iterator[DaskPool]:
    """The workers of a scheduler that is there.

    Parameters
    ----------
    address : str
        Such as ``tcp://host:8786``.
    blocks : int, optional
        Blocks at the same time; by default, and with a negative number, as many as there are workers now.

    Raises
    ------
    InputError
        When nothing answers, or there is no worker.
    """
    if not re.fullmatch(r"(tcp|tls|ucx|ws|wss)://[^\s:/]+:\d+", address):
        # the client would try for ten seconds to end what never began
        raise InputError(f"--scheduler {address}: no address; use tcp://host:port, as `dask scheduler` prints it")
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        reason = str(error).split("\n")[0]
        raise InputError(f"--scheduler {address}: no Dask scheduler answers there ({reason})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            advice = f"start some with `dask worker {address} --nthreads 1`"
            raise InputError(f"--scheduler {address}: no worker within {WORKERS_SECONDS:.0f} s; {advice}") from None
        workers = len(client.nthreads())
        yield DaskPool(client, workers if blocks is None or blocks < 0 else blocks)
