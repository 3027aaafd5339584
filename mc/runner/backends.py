"""Which pool computes the blocks of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import joblib

from mc.errors import InputError
from mc.runner.pools import Inline, Loky, Pool

BACKENDS = ("loky", "inline", "dask")


@contextmanager
def _dask(jobs: int | None, scheduler: str | None) -> Iterator[Pool]:
    try:
        from mc.runner.dask import connected, local
    except ImportError as error:
        option = "--backend dask" if scheduler is None else f"--scheduler {scheduler}"
        raise InputError(f"{option}: {error.name} is not installed; pip install 'dipmc[dask]'") from None
    with local(number_of(jobs)) if scheduler is None else connected(scheduler, jobs) as pool:
        yield pool


def number_of(jobs: int | None) -> int:
    """Worker processes that ``-j`` asks for."""
    return int(joblib.effective_n_jobs(1 if jobs is None else jobs))


def open_pool(backend: str, jobs: int | None = None, scheduler: str | None = None) -> AbstractContextManager[Pool]:
    """The pool of a run, closed at the end of the ``with`` block.

    Parameters
    ----------
    backend : str
        One of `BACKENDS`.
    jobs : int, optional
        Blocks at the same time; -1: one per core; by default 1, or all the workers of a scheduler.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers then compute.

    Raises
    ------
    InputError
        When an argument is wrong, Dask is not installed, or nothing answers at the address.
    """
    if backend not in BACKENDS:
        raise InputError(f"--backend {backend}: unknown; use one of {', '.join(BACKENDS)}")
    if jobs == 0:
        raise InputError("-j 0: no process to work; use a number of processes, or -1 for one per core")
    if scheduler is not None or backend == "dask":
        return _dask(jobs, scheduler)
    size = 1 if backend == "inline" else number_of(jobs)
    pool: Any = Inline() if size == 1 else Loky(size)
    return nullcontext(pool)
