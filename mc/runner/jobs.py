"""One block as a unit of work: what to compute, where it goes, how it went."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.runner.plan import Gap
from mc.store.blocks import BlockHeader, write_block
from mc.store.files import host_name
from mc.store.plan import RunPlan
from mc.store.provenance import blas_identity
from mc.trial.block import BlockTask

Compute = Callable[[BlockTask], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Job:
    """One block to compute: where it goes, what its file will say, what to compute."""

    folder: Path
    header: BlockHeader
    task: BlockTask
    place: str


@dataclass(frozen=True)
class Record:
    """How one block went.

    Parameters
    ----------
    place : str
        Cell, block and trials, in words.
    key : str
        The cell's 16 hex digits.
    block : int
    seconds : float
    error : str, optional
        Type and message of what the block raised.
    refused : bool
        Whether the error is the user's to mend and would meet every block.
    again : bool
        Whether its first worker process was killed.
    """

    place: str
    key: str
    block: int
    seconds: float
    error: str | None = None
    refused: bool = False
    again: bool = False


def build_job(
    experiment: Experiment, plan: RunPlan, gap: Gap, digest: str, folder: Path, facts: Mapping[str, Any]
) -> Job:
    """The task and the header of one missing block.

    Parameters
    ----------
    experiment : Experiment
    plan : RunPlan
        Of this experiment.
    gap : Gap
    digest : str
        The digest of the cell's random stream.
    folder : Path
        Where block files go.
    facts : mapping
        Versions, for the header.
    """
    cell, size = gap.cell, plan.block_size
    resolved = experiment.cells()[cell.index]
    task = BlockTask(
        seed=plan.seed,
        cell=resolved.id,
        problem=resolved.problem,
        activation=experiment.network.activation,
        output_law=experiment.network.output_law,
        modes=plan.modes,
        d=experiment.network.d,
        loss=experiment.loss.kind,
        p=2.0 if experiment.loss.p is None else experiment.loss.p,
        ladder=plan.ladder,
        claims=plan.claims if gap.flow_widths else (),
        flow=experiment.flow if gap.flow_widths else None,
        first_trial=gap.block * size,
        n_trials=size,
        widths=gap.all_widths,
        flow_widths=gap.flow_widths,
        rare=experiment.rare,
    )
    header = BlockHeader(
        identity=cell.identity,
        identity_fields=cell.identity_fields,
        cell=cell.canonical,
        key=cell.key,
        block=gap.block,
        first_trial=task.first_trial,
        n_trials=size,
        widths=task.widths,
        flow_widths=task.flow_widths,
        ladder=plan.ladder,
        modes=plan.modes,
        seed=plan.seed,
        stream_digest=digest,
        claims=task.claims,
        facts=facts,
    )
    trials = f"trials {task.first_trial} to {task.first_trial + size - 1}"
    return Job(folder, header, task, f"cell {cell.index} ({cell.key}), block {gap.block} ({trials})")


def work(job: Job, compute: Compute) -> Record:
    """Compute one block with one BLAS thread and write its file; runs in a worker process.

    Whatever the block raises ends up in the record: one bad block must not end the others.
    """
    begin, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")

    def record(error: str | None = None, *, refused: bool = False) -> Record:
        seconds = time.perf_counter() - begin
        return Record(job.place, job.header.key, job.header.block, seconds, error, refused)

    if (job.folder / job.header.file_name).exists():
        # written before a pool broke, or by another process on the same folder
        return record()
    try:
        # joblib's own limit does nothing at one job, and an environment variable comes too late
        with threadpool_limits(limits=1):
            arrays = compute(job.task)
        facts = {
            **job.header.facts,
            "numpy": np.__version__,
            "blas": blas_identity(),
            "host": host_name(),
            "pid": os.getpid(),
            "started": started,
            "seconds": time.perf_counter() - begin,
        }
        write_block(job.folder, replace(job.header, facts=facts), arrays)
    except InputError as error:
        return record(str(error), refused=True)
    except Exception as error:  # noqa: BLE001 -- recorded with its place; a signal is a BaseException and passes
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return record(f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})")
    return record()
