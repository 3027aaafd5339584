"""Compute blocks on the workers of a Dask scheduler, through joblib's Dask backend.

Workers write the blocks that they computed, so they must see the run folder; before its first block each worker is
checked for that, and for the same version of the code.
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
    """joblib's backend with two changes.

    With a single thread on the cluster joblib would compute in this process, and die with a block that is killed. A
    task whose workers died never returns in joblib; here it yields None.
    """

    def effective_n_jobs(self, n_jobs: int) -> int:
        """At least two, so that joblib hands the blocks out."""
        return max(2, int(super().effective_n_jobs(n_jobs)))

    async def _collect(self) -> None:
        while self._continue:
            async for future, result in self.waiting_futures:
                records = result if future.status == "finished" else [None]
                waiting, callback = self._results.pop(future), self._callbacks.pop(future)
                waiting.set_result(records)
                callback(records)
            await asyncio.sleep(0.01)


class _IgnoreSignals(WorkerPlugin):  # type: ignore[misc]
    """Ignore signals in each worker process from its start."""

    def setup(self, worker: Any) -> None:
        ignore_signals()


def threaded(threads: int) -> str:
    """Return the refusal of a worker of several threads, which would share one BLAS and one interpreter."""
    return f"has {threads} threads; start `dask worker` with --nthreads 1 (and --nworkers for several processes)"


def unfit(seen: str, version: Version) -> str | None:
    """Return the reason why a process cannot compute blocks of a run, None if it can.

    `seen` is a file of the run folder, `version` that of the package, of its numbers and of NumPy. The function is
    pickled by value, so that a worker without the package can answer.
    """
    import os

    try:
        import numpy as np

        from mc.version import NUMERICS_VERSION, __version__
    except ImportError as error:
        return f"cannot import {error.name}; install dipmc {version[0]} there"
    installed = (__version__, NUMERICS_VERSION, np.__version__)
    if installed != tuple(version):
        text = "dipmc {} (numerics {}, NumPy {})"
        return f"has {text.format(*installed)}, here is {text.format(*version)}; install the same in both places"
    if not os.path.exists(seen):
        return f"does not see {os.path.dirname(seen)}; choose a folder with -o that all machines share"
    return None


def _work(job: Job, compute: Compute, version: Version) -> Named:
    """Compute a block in a worker, which may have joined after the others were checked."""
    fault = unfit(str(job.folder.parent / FROZEN), version)
    if fault is None and (threads := get_worker().state.nthreads) > 1:
        fault = threaded(threads)
    if fault is not None:
        place = f"{job.place}: the Dask worker on {host_name()} {fault}"
        return job.header.file_name, Record(job.place, job.header.key, job.header.block, 0.0, place, refused=True)
    return named_work(job, compute)


class DaskPool:
    """The workers of a scheduler; see `mc.runner.pools.Pool`. `cluster` is given when the run started the workers."""

    def __init__(self, client: Client, size: int, cluster: LocalCluster | None = None) -> None:
        self.client, self.size, self.cluster = client, size, cluster

    def prepare(self, run: Path) -> None:
        """Raise InputError with the first worker that cannot compute blocks of this folder, and the reason."""
        for address, threads in self.client.nthreads().items():
            if threads > 1:
                raise InputError(f"Dask worker {address} {threaded(threads)}")
        # a name that no worker can have seen before, not even through the cache of a network file system
        token = temporary_name(run.absolute() / "seen")
        token.touch()
        module = sys.modules[__name__]
        cloudpickle.register_pickle_by_value(module)
        try:
            faults = self.client.run(unfit, str(token), VERSION)
        finally:
            cloudpickle.unregister_pickle_by_value(module)
            token.unlink(missing_ok=True)
        for address, fault in faults.items():
            if fault is not None:
                raise InputError(f"Dask worker {address} {fault}")

    def map(self, jobs: Iterator[Job], compute: Compute, at_once: int) -> Iterator[Named]:
        """See `mc.runner.pools.Pool.map`."""
        self._require_connection()

        def connected() -> Iterator[Any]:
            for job in jobs:
                # a task that is submitted to a client without a scheduler never returns
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
        for record in pool(connected()):
            if record is not None:
                yield record
        self._require_connection()

    def _require_connection(self) -> None:
        if self.client.status != "running":
            raise InputError("the connection to the Dask scheduler is lost; what is computed is kept, run again")

    def kill(self) -> None:
        """Kill the processes of the run's cluster; workers of a scheduler finish their block and write it."""
        if self.cluster is not None:
            for nanny in self.cluster.workers.values():
                with suppress(ProcessLookupError, TypeError):  # the nanny has no process while it starts a new one
                    os.kill(nanny.pid, signal.SIGKILL)


@contextmanager
def local(workers: int) -> Iterator[DaskPool]:
    """Start worker processes on this machine for the run.

    A process that is killed is replaced. Its block is not given to another process, which might die in turn; see
    `mc.runner.pools.computed`.
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
    """Connect to a running scheduler such as ``tcp://host:8786``; InputError when it or its workers do not answer.

    `blocks` are computed at the same time; by default, and with a negative number, one for each present worker.
    """
    if not re.fullmatch(r"(tcp|tls|ucx|ws|wss)://[^\s:/]+:\d+", address):
        # a client with a wrong address tries for ten seconds to close
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
