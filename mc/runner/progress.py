"""The trials of a run folder as its block files hold them, cell by cell, without results.h5."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.runner.plan import Gap
from mc.store.assembly import cell_rows, merged_from, standing
from mc.store.blocks import Parts, parts, scan
from mc.store.failures import Failures, failed_blocks
from mc.store.layout import Computed, field_of, filled
from mc.store.plan import CellPlan, RunPlan
from mc.store.results import RESULTS, CellResults, Results, load

DECIDING = ("psi_0", "margin_paper", "margin_trial", "margin_sharp", "exact", "sigma_low", "outcome", "computed")
"""The datasets that say which events hold."""


@dataclass(frozen=True)
class ObservedCell:
    """One cell.

    Parameters
    ----------
    cell : CellResults
        With the datasets `DECIDING` that there are.
    pieces : tuple of Gap
        What each block file holds.
    seconds : float
        Time that computing them took.
    """

    cell: CellResults
    pieces: tuple[Gap, ...]
    seconds: float


def trials_there(run: Path, keys: Collection[str], block_size: int) -> int:
    """Trials up to the last block that any cell of these keys has, or that failed."""
    blocks = [file.block for file in scan(run) if file.key in keys]
    blocks += [block for key, block in failed_blocks(run) if key in keys]
    return block_size * (max(blocks, default=-1) + 1)


def pieces_of(cell: CellPlan, held: Parts) -> tuple[Gap, ...]:
    """What each block file of a cell holds."""
    return tuple(
        Gap(cell, number, header.widths, header.flow_widths)
        for (key, number), own in held.items()
        if key == cell.key
        for _, header in own
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
    """The results of a run folder where they are of this plan and of just the block files and failures that are there.

    The names of the files are compared, which say what each holds; no time of a file is.

    Raises
    ------
    InputError
        When results.h5 or a block file is damaged, or a block file is foreign.
    """
    if not (run / RESULTS).is_file():
        return None
    results = load(run)
    if results.experiment_text != plan.text or int(results.attrs["trials"]) != plan.trials:
        return None
    held = parts(run, plan)
    failures = standing(plan, held, failed_blocks(run))
    for found, asked in zip(results.cells, plan.cells, strict=True):
        if found.attrs.get("blocks") != merged_from(asked, plan, held, failures):
            return None
    return results


def observed(run: Path, plan: RunPlan) -> Mapping[int, ObservedCell]:
    """The cells of a plan by their index: from results.h5 where it is `up_to_date`, else from the blocks."""
    results = up_to_date(run, plan)
    if results is None:
        return Observer(run).cells(plan, failed_blocks(run))
    held = parts(run, plan)
    return {
        cell.index: ObservedCell(cell, pieces_of(own, held), float(cell.attrs.get("seconds", 0.0)))
        for cell, own in zip(results.cells, plan.cells, strict=True)
    }


class Observer:
    """Reads the cells of a run folder; what did not change since it was read last is not read again.

    Parameters
    ----------
    run : Path
        The run folder.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._kept: dict[str, tuple[object, ObservedCell]] = {}

    def cells(self, plan: RunPlan, failures: Failures) -> Mapping[int, ObservedCell]:
        """The cells of a plan by their index, with these failures of the folder.

        Raises
        ------
        InputError
            When a block file is damaged or foreign.
        """
        held = parts(self.run, plan)
        failures = standing(plan, held, failures)
        files: dict[str, list[Path]] = {cell.key: [] for cell in plan.cells}
        for (key, _), own in held.items():
            files[key] += [file.path for file, _ in own]
        found = {}
        for cell in plan.cells:
            failed = [(at, own.widths, own.flow_widths) for at, own in failures.items() if at[0] == cell.key]
            state = (plan.trials, sorted(files[cell.key]), failed)
            if cell.key not in self._kept or self._kept[cell.key][0] != state:
                self._kept[cell.key] = (state, _observe(cell, plan, held, failures))
            found[cell.index] = self._kept[cell.key][1]
        return found
