"""Cheap made-up blocks on the true layout, functions of (cell, trial, width, mode) alone, and plans that they fill."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.store.blocks import BlockHeader, write_block
from mc.store.layout import BLOCK_LAYOUT, Field, field_of, wanted
from mc.store.plan import CellPlan, RunPlan
from mc.trial.block import BlockTask

FAMILY_MEMBERS = ("slack_rate_paper", "slack_time_rate_paper", "verdict_rate_paper", "bound_rate")
TIMES = 3
ENTRIES = 2

MODES = ("hidden", "both")
LADDER = ("paper", "trial", "sharp", "exact", "conserved")
WIDTHS = (10, 30, 100, 300)
FLOW_WIDTHS = (10, 100)
SIZE, TRIALS, SAVED = 4, 10, 6
FIELDS = {"seed": 7, "loss": {"kind": "power", "p": 2.0}, "network": {"mode": list(MODES), "d": 500}}


def values(field: Field, axes: dict[str, NDArray[Any]], salt: int) -> NDArray[Any]:
    """Numbers that differ with the name, the cell and every index, and now and then are NaN."""
    grids = np.meshgrid(*(axes[dim] for dim in field.dims), indexing="ij", sparse=True)
    mixed = salt % 1009 + sum(map(ord, field.name)) + sum((7 * i + 3) * grid for i, grid in enumerate(grids))
    if field.dtype == "float64":
        found = np.sin(mixed.astype(np.float64)) / 3
        return np.where(mixed % 17 == 0, np.nan, found)
    if field.enum is not None:
        return (mixed % (len(field.enum) + 1) - 1).astype(np.int8)
    return mixed.astype(np.int64) % 1000


def block_arrays(
    trials: Sequence[int],
    widths: Sequence[int],
    flow_widths: Sequence[int],
    modes: Sequence[str],
    ladder: Sequence[str],
    *,
    save_trials: int = 0,
    salt: int = 0,
) -> dict[str, NDArray[Any]]:
    """What `compute_block` returns, with made-up numbers."""
    axes = {
        "trial": np.asarray(trials),
        "width": np.asarray(widths),
        "flow_width": np.asarray(flow_widths),
        "mode": np.array([sum(map(ord, mode)) for mode in modes]),
        "saved_trial": np.array([trial for trial in trials if trial < save_trials], dtype=np.int64),
        "time": np.arange(TIMES),
        "entry": np.arange(ENTRIES),
    }
    found = {}
    for field in (*BLOCK_LAYOUT, *map(field_of, FAMILY_MEMBERS)):
        flows = bool({"flow_width"} & set(field.dims))
        if (flows and not len(flow_widths)) or not wanted(field.name, ladder):
            continue
        if "saved_trial" in field.dims and not axes["saved_trial"].size:
            continue
        found[field.name] = values(field, axes, salt)
    return found


def cell_plan(index: int = 0) -> CellPlan:
    canonical = f'{{"output_law":"uniform","problem":{{"m":2,"n":{4 + index}}}}}'
    problem = {"n": 4 + index, "m": 2, "operator": "gaussian", "noise": 0.0}
    return CellPlan(index, f"{index:016x}", canonical, problem, f"{index:064x}", {**FIELDS, "problem": problem})


def run_plan(**changes: Any) -> RunPlan:
    plan = RunPlan(
        text='[experiment]\nname = "x"\n',
        seed=7,
        trials=TRIALS,
        block_size=SIZE,
        widths=WIDTHS,
        flow_widths=FLOW_WIDTHS,
        modes=MODES,
        ladder=LADDER,
        save_trials=SAVED,
        cells=(cell_plan(0), cell_plan(1)),
    )
    return replace(plan, **changes)


def make_block(
    plan: RunPlan,
    cell: CellPlan,
    number: int,
    widths: tuple[int, ...] = WIDTHS,
    flow_widths: tuple[int, ...] = FLOW_WIDTHS,
    **changes: Any,
) -> tuple[BlockHeader, dict[str, NDArray[Any]]]:
    first = number * plan.block_size
    header = BlockHeader(
        identity=cell.identity,
        identity_fields=cell.identity_fields,
        cell=cell.canonical,
        key=cell.key,
        block=number,
        first_trial=first,
        n_trials=plan.block_size,
        widths=widths,
        flow_widths=flow_widths,
        ladder=plan.ladder,
        modes=plan.modes,
        seed=plan.seed,
        stream_digest="ab" * 32,
        facts={"seconds": 0.5, "numpy": "2.0.0"},
    )
    trials = range(first, first + plan.block_size)
    arrays = block_arrays(
        trials, widths, flow_widths, plan.modes, plan.ladder, save_trials=plan.save_trials, salt=cell.index
    )
    return replace(header, **changes), arrays


def write(run: Path, plan: RunPlan, cell: CellPlan, number: int, *widths: tuple[int, ...], **changes: Any) -> Path:
    return write_block(run / "blocks", *make_block(plan, cell, number, *widths, **changes))


def datasets(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of every dataset; of strings, the strings."""
    found = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            content = item[()]
            raw = "|".join(item.asstr()[()]).encode() if content.dtype == object else content.tobytes()
            found[name] = (str(content.dtype), content.shape, raw)

    with h5py.File(path, "r") as handle:
        handle.visititems(visit)
    return found


def stub(task: BlockTask) -> dict[str, NDArray[Any]]:
    """Stands in for `compute_block`."""
    return block_arrays(
        range(task.first_trial, task.first_trial + task.n_trials),
        task.widths,
        task.flow_widths,
        task.modes,
        task.ladder,
        save_trials=0 if task.flow is None else task.flow.save.trials,
        salt=task.cell[0] + task.seed,
    )


def slow_stub(task: BlockTask) -> dict[str, NDArray[Any]]:
    """Takes long enough for a signal to meet it at work."""
    time.sleep(0.15)
    return stub(task)


def failing_stub(task: BlockTask) -> dict[str, NDArray[Any]]:
    """Raises in the second block of each cell."""
    if task.first_trial == task.n_trials:
        raise ArithmeticError("division of the stub")
    return stub(task)


def refusing_stub(task: BlockTask) -> dict[str, NDArray[Any]]:
    """Finds a user's file gone."""
    raise InputError("operator.npy: no such file; restore it")


def misshapen_stub(task: BlockTask) -> dict[str, NDArray[Any]]:
    """Breaks the layout: psi_0 of one axis."""
    return {**stub(task), "psi_0": np.zeros(task.n_trials)}


@dataclass(frozen=True)
class KilledOnce:
    """Dies in block 1 as by the kernel's out-of-memory killer; the marker remembers that it did."""

    marker: Path
    always: bool = False

    def __call__(self, task: BlockTask) -> dict[str, NDArray[Any]]:
        if task.first_trial == task.n_trials and (self.always or not self.marker.exists()):
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return stub(task)


@dataclass(frozen=True)
class Sleeping:
    """Tells by the marker that it began, and does not end in the time of a test."""

    marker: Path

    def __call__(self, task: BlockTask) -> dict[str, NDArray[Any]]:
        self.marker.touch()
        time.sleep(300)
        return stub(task)


def threads_stub(task: BlockTask) -> dict[str, NDArray[Any]]:
    """Counts the BLAS threads it is given, in place of the rank."""
    import threadpoolctl

    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {**stub(task), "rank": np.full(task.n_trials, max(pools), dtype=np.int64)}


@dataclass(frozen=True)
class Crowded:
    """Dies when another block is at work, as where the memory suffices for one; a death leaves its marker behind."""

    at_work: Path

    def __call__(self, task: BlockTask) -> dict[str, NDArray[Any]]:
        mine = self.at_work / str(os.getpid())
        mine.touch()
        time.sleep(0.2)  # long enough to be met
        others = {path.name for path in self.at_work.iterdir()} - {mine.name}
        if any(Path(f"/proc/{other}").exists() for other in others):
            os.kill(os.getpid(), signal.SIGKILL)
        mine.unlink()
        return stub(task)


@dataclass(frozen=True)
class Begun:
    """A block that a process began."""

    block: str
    pid: int


@dataclass(frozen=True)
class Counted:
    """Leaves a file when it begins a block and one when it ends, so that all executions can be counted."""

    log: Path
    seconds: float = 0.2

    def __call__(self, task: BlockTask) -> dict[str, NDArray[Any]]:
        name = f"{task.cell[0]}-{task.first_trial}~{os.getpid()}~{time.monotonic_ns()}"
        (self.log / f"{name}.begun").touch()
        time.sleep(self.seconds)
        (self.log / f"{name}.ended").touch()
        return stub(task)

    def begun(self) -> list[str]:
        """The block of each execution."""
        return [path.name.split("~")[0] for path in self.log.glob("*.begun")]

    def blocks(self) -> set[str]:
        """Blocks that were begun at least once."""
        return set(self.begun())

    def at_work(self) -> list[Begun]:
        """Executions that have not ended."""
        names = [path.stem for path in self.log.glob("*.begun") if not path.with_suffix(".ended").exists()]
        return [Begun(name.split("~")[0], int(name.split("~")[1])) for name in names]
