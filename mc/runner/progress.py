"""Read the trials of a run folder from its block files, cell by cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.experiment.experiment import Experiment
from mc.runner.plan import Gap, load_frozen, run_plan
from mc.store.assembly import cell_rows, merged_from, standing
from mc.store.blocks import Parts, parts, scan
from mc.store.failures import Failures, failed_blocks
from mc.store.layout import Computed, field_of, filled
from mc.store.plan import CellPlan, RunPlan
from mc.store.results import RESULTS, CellResults, Results, load

DECIDING = ("psi_0", "margin_paper", "margin_trial", "margin_sharp", "exact", "sigma_low", "outcome", "computed")
"""The datasets that decide which events hold."""


@dataclass(frozen=True)
class ObservedCell:
    """One cell of a run folder: its deciding datasets, what each block file holds, the seconds of computing them."""

    cell: CellResults
    pieces: tuple[Gap, ...]
    seconds: float


def trials_there(run: Path, keys: Collection[str], block_size: int) -> int:
    """Return the trials up to the last block that any cell of these keys has, or that failed."""
    blocks = [file.block for file in scan(run) if file.key in keys]
    blocks += [block for key, block in failed_blocks(run) if key in keys]
    return block_size * (max(blocks, default=-1) + 1)


def trials_of_folder(experiment: Experiment, folder: Path) -> int | None:
    """Return the length of the axis `trial` of the results, where [sampling] left it open; else None."""
    if experiment.document.sampling is None:
        return None
    present = trials_there(folder, {cell.key for cell in experiment.cells()}, experiment.block_size)
    return max(min(present, experiment.document.sampling.max_trials), 1)


def pieces_of(cell: CellPlan, held: Parts) -> tuple[Gap, ...]:
    """Return what each block file of a cell holds."""
    return tuple(
        Gap(cell, number, header.widths, header.flow_widths)
        for (key, number), files in held.items()
        if key == cell.key
        for _, header in files
    )


def _observe(cell: CellPlan, plan: RunPlan, held: Parts, failures: Failures) -> ObservedCell:
    sizes = plan.sizes | {"saved_trial": 0}
    data: dict[str, NDArray[Any]] = {"computed": filled(field_of("computed"), sizes)}
    data["computed"][:] = Computed.ABSENT
    seconds = 0.0
    for rows in cell_rows(cell, plan, held, failures):
        seconds += sum(float(part.header.facts.get("seconds", 0.0)) for part in rows.parts)
        trials = plan.trials_of(rows.block)
        for name in DECIDING:
            if name in rows.arrays:
                declared = field_of(name)
                whole = data.setdefault(name, filled(declared, sizes))
                whole[declared.rows(trials.start, trials.stop)] = rows.arrays[name][
                    declared.rows(0, trials.stop - trials.start)
                ]
    found = CellResults(
        index=cell.index,
        key=cell.key,
        problem=cell.problem,
        attrs={},
        modes=plan.modes,
        trials=plan.trials,
        widths=np.array(plan.widths, dtype=np.int64),
        flow_widths=np.array(plan.flow_widths, dtype=np.int64),
        saved_trials=np.arange(0),
        data=data,
    )
    return ObservedCell(found, pieces_of(cell, held), seconds)


def up_to_date(run: Path, plan: RunPlan) -> Results | None:
    """Return the results of a run folder, None unless they are of this plan, these block files and these failures.

    The names of the files are compared, which say what each holds; no modification time is. Raises InputError when
    results.h5 or a block file is damaged, or a block file is foreign.
    """
    if not (run / RESULTS).is_file():
        return None
    results = load(run)
    if results.experiment_text != plan.text or int(results.attrs["trials"]) != plan.trials:
        return None
    held = parts(run, plan)
    failures = standing(plan, held, failed_blocks(run))
    for merged, cell in zip(results.cells, plan.cells, strict=True):
        if merged.attrs.get("blocks") != merged_from(cell, plan, held, failures):
            return None
    return results


def behind(run: Path) -> bool:
    """Whether results.h5 is absent or older than the blocks; InputError when `run` is no run folder or damaged."""
    experiment = load_frozen(run)
    return up_to_date(run, run_plan(experiment, trials_of_folder(experiment, run))) is None


def observed(run: Path, plan: RunPlan) -> Mapping[int, ObservedCell]:
    """Read the cells of a plan by their index: from results.h5 where it is `up_to_date`, else from the blocks."""
    results = up_to_date(run, plan)
    if results is None:
        return Observer(run).cells(plan, failed_blocks(run))
    held = parts(run, plan)
    return {
        cell.index: ObservedCell(merged, pieces_of(cell, held), float(merged.attrs.get("seconds", 0.0)))
        for merged, cell in zip(results.cells, plan.cells, strict=True)
    }


class Observer:
    """Reads the cells of a run folder; a cell whose files did not change is not read again."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._cells: dict[str, tuple[object, ObservedCell]] = {}

    def cells(self, plan: RunPlan, failures: Failures) -> Mapping[int, ObservedCell]:
        """Read the cells of a plan by their index; InputError when a block file is damaged or foreign."""
        held = parts(self.run, plan)
        failures = standing(plan, held, failures)
        files: dict[str, list[Path]] = {cell.key: [] for cell in plan.cells}
        for (key, _), pieces in held.items():
            files[key] += [file.path for file, _ in pieces]
        cells = {}
        for cell in plan.cells:
            failed = [(block, f.widths, f.flow_widths) for block, f in failures.items() if block[0] == cell.key]
            state = (plan.trials, sorted(files[cell.key]), failed)
            if cell.key not in self._cells or self._cells[cell.key][0] != state:
                self._cells[cell.key] = (state, _observe(cell, plan, held, failures))
            cells[cell.index] = self._cells[cell.key][1]
        return cells
