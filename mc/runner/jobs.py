"""Compute one block and write its file: the unit of work that pools hand out."""

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
    """One block to compute: its task, the folder and the header of its file, its place in words."""

    folder: Path
    header: BlockHeader
    task: BlockTask
    place: str


@dataclass(frozen=True)
class Record:
    """The outcome of one block."""

    place: str  # cell, block and trials, in words
    key: str  # the cell's 16 hexadecimal digits
    block: int
    seconds: float
    error: str | None = None  # type and message of the exception
    refused: bool = False  # whether the user must correct the error, which every block would meet
    again: bool = False  # whether its first worker process was killed


def build_job(
    experiment: Experiment, plan: RunPlan, gap: Gap, digest: str, folder: Path, facts: Mapping[str, Any]
) -> Job:
    """Build the task and the header of a missing block: `digest` of the cell's stream, `folder` of the block files."""
    cell, size = gap.cell, plan.block_size
    resolved = experiment.cells()[cell.index]
    task = BlockTask(
        seed=plan.seed,
        cell=resolved.id,
        problem=resolved.problem,
        activation=experiment.document.network.activation,
        output_law=experiment.document.network.output_law,
        modes=plan.modes,
        d=experiment.document.network.d,
        loss=experiment.document.loss.kind,
        p=2.0 if experiment.document.loss.p is None else experiment.document.loss.p,
        ladder=plan.ladder,
        claims=plan.claims if gap.flow_widths else (),
        flow=experiment.document.flow if gap.flow_widths else None,
        first_trial=gap.block * size,
        n_trials=size,
        widths=gap.all_widths,
        flow_widths=gap.flow_widths,
        rare=experiment.document.rare,
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

    An exception of the block goes into the record: one bad block must not end the others.
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
