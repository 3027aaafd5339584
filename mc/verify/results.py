"""Whether results.h5 says what the block files say, dataset by dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.arrays import Index
from mc.runner.plan import run_plan
from mc.store.assembly import assemble, failed_columns
from mc.store.blocks import Block, BlockHeader
from mc.store.failures import failed_blocks
from mc.store.layout import Computed, Field, field_of
from mc.store.plan import CellPlan, RunPlan, canonical_json
from mc.store.results import RESULTS, CellResults, load
from mc.theory.codes import NOT_COMPUTED, Outcome

COUNTS = ("trials_present", "flow_trials_present")


class ResultsCheck:
    """Results of a run folder, compared with one block of trials after another."""

    def __init__(self, run: Path) -> None:
        self.path = run / RESULTS
        self.failures = failed_blocks(run)
        self.cells: dict[str, CellResults] = {}  # by key; empty where there are no results, or wrong ones
        self.plan: RunPlan | None = None  # that of results.h5: the folder may ask for more by now
        self.headers: dict[tuple[str, int], list[BlockHeader]] = {}  # of the compared parts, by cell key and block
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.confirmed = 0  # trials x widths that a block file has and results.h5 too
        self.lacking = 0  # trials x widths that a block file has and results.h5 not
        self.outdated = 0  # blocks whose failures in results.h5 are not those noted in the folder
        if not self.path.is_file():
            self.notes.append(f"none yet: `dipmc merge {run}` writes it")
            return
        try:
            self._open(run)
        except (InputError, KeyError, ValueError) as error:
            self.problems.append(str(error))
        if self.problems:
            self.cells, self.plan = {}, None

    def _open(self, run: Path) -> None:
        """Load the results and compare their attributes, axes and shapes with the experiment in them."""
        results = load(self.path)
        experiment = Experiment.from_text(results.experiment_text, str(self.path), run, reading=True)
        plan = run_plan(experiment, int(results.attrs["trials"]))
        identities = "\n".join(str(cell.attrs["identity"]) for cell in results.cells)
        if hashlib.sha256(identities.encode()).hexdigest() != results.attrs["identity"]:
            self.problems.append(f"{self.path}: the identity is not the digest of those of its cells")
        if int(results.attrs["seed"]) != plan.seed:
            self.problems.append(f"{self.path}: the seed is not that of the experiment in it")
        if [_place(cell) for cell in results.cells] != [_place(cell) for cell in plan.cells]:
            self.problems.append(f"{self.path}: its cells are not those of the experiment in it")
        for cell in results.cells:
            self.problems += [f"{self.path}: {cell.group}: {problem}" for problem in _axis_problems(cell, plan)]
        self.cells, self.plan = {cell.key: cell for cell in results.cells}, plan

    def compare(self, key: str, number: int, blocks: Sequence[Block]) -> None:
        """Compare the rows of one block of trials of a cell with its parts, in the order of their digests."""
        cell = self.cells.get(key)
        if cell is None or self.plan is None or number >= self.plan.n_blocks:
            self.lacking += bool(blocks) and self.plan is not None
            return
        used = [block for block in blocks if block.header.covers(self.plan)]
        foreign = [block.header.file_name for block in used if block.header.identity != cell.attrs["identity"]]
        if foreign:
            self.problems.append(f"{cell.group}: merged from blocks of another identity than {foreign[0]}")
            return
        self.headers[key, number] = [block.header for block in used]
        if used:
            try:
                self._compare(cell, number, used, self.plan)
            except InputError as error:
                self.problems.append(str(error))
                self.cells.pop(key)

    def _compare(self, cell: CellResults, number: int, blocks: Sequence[Block], plan: RunPlan) -> None:
        rows = assemble(number, blocks, plan, self.failures.get((cell.key, number)))
        trials = plan.trials_of(number)
        count = trials.stop - trials.start
        merged = _merged_columns(cell, trials)
        shared = {dim: np.intersect1d(rows.columns[dim], merged[dim]) for dim in merged}
        self.confirmed += count * shared["width"].size
        self.lacking += count * sum(np.setdiff1d(rows.columns[dim], merged[dim]).size for dim in merged)
        for name in sorted({*rows.arrays, *cell.data} - {*COUNTS}):
            declared = field_of(name)
            kept = min(rows.saved, len(cell.saved_trials) - trials.start) if "saved_trial" in declared.dims else count
            columns = None if declared.width_axis is None else shared[declared.dims[declared.width_axis]]
            # the facts of the problem are present as soon as any width is
            if kept <= 0 or not any(c.size for c in (shared.values() if columns is None else (columns,))):
                continue
            expected = _part(rows.arrays.get(name), declared, 0, kept, columns)
            stored = _part(cell.data.get(name), declared, trials.start, kept, columns)
            if not _same(expected, stored, declared):
                place = f"trials {trials.start} to {trials.stop - 1}"
                self.problems.append(f"{cell.group}: {name} of {place} is not as in the blocks")

    def finish(self) -> None:
        """Compare the failures, and count what no block file confirms."""
        present = sum(int((cell["computed"] == Computed.PRESENT).sum()) for cell in self.cells.values())
        failed = sum(self._failures(cell, self.plan) for cell in self.cells.values() if self.plan is not None)
        if self.problems:
            return
        if failed:
            self.notes.append(f"{failed} trials x widths failed and count as undecided")
        if present > self.confirmed:
            self.notes.append(f"{present - self.confirmed} trials x widths have no block file any more")
        if self.outdated:
            self.notes.append(f"{self.outdated} block(s) failed or were computed since: `dipmc merge` says so")
        if self.lacking:
            self.notes.append("lacks blocks that are there: `dipmc merge` adds them")

    def _failures(self, cell: CellResults, plan: RunPlan) -> int:
        """Count trials x widths that failed, and the blocks of which the folder notes other failures."""
        total = 0
        for number in range(plan.n_blocks):
            trials, address = plan.trials_of(number), (cell.key, number)
            noted = failed_columns(self.failures.get(address), self.headers.get(address, ()), plan)
            failed = cell["computed"][trials] == Computed.FAILED
            stored = {"width": np.flatnonzero(failed.all(axis=0)).tolist(), "flow_width": list[int]()}
            if "outcome" in cell:
                errors = (cell["outcome"][:, trials] == Outcome.ERROR).all(axis=(0, 1))
                stored["flow_width"] = np.flatnonzero(errors).tolist()
            self.outdated += stored != noted
            total += int(failed.sum())
        return total

    def summary(self) -> str:
        """Return one line for results in which nothing is wrong."""
        confirmed = f": {self.confirmed} trials x widths equal to the blocks" if self.cells else ""
        return "; ".join([f"{self.path.name}{confirmed}", *self.notes])


def _place(cell: CellResults | CellPlan) -> tuple[object, ...]:
    return cell.index, cell.key, canonical_json(dict(cell.problem))


def _axis_problems(cell: CellResults, plan: RunPlan) -> list[str]:
    """List axes, shapes and counts that do not fit the experiment."""
    problems = []
    if cell.modes != plan.modes or cell.trials != plan.trials:
        problems.append("modes or trials are not those of the experiment in it")
    if (*cell.widths,) != plan.widths or (*cell.flow_widths,) != plan.flow_widths:
        problems.append("widths are not those of the experiment in it")
    sizes = plan.sizes
    for name in cell.data:
        try:
            declared = field_of(name)
        except KeyError:
            problems.append(f"holds {name!r}, which the layout does not have")
            continue
        shape = cell[name].shape
        expected = tuple(sizes.setdefault(dim, length) for dim, length in zip(declared.dims, shape, strict=False))
        if cell[name].dtype != declared.dtype or shape != expected or len(shape) != len(declared.dims):
            problems.append(f"{name} is {cell[name].dtype} of shape {shape}, which the layout does not allow")
    if not problems and not np.array_equal(cell["trials_present"], (cell["computed"] == Computed.PRESENT).sum(axis=0)):
        problems.append("trials_present does not count what computed says")
    return problems


def _merged_columns(cell: CellResults, trials: slice) -> dict[str, Index]:
    """Return the positions of widths and flow widths at which the results have trials."""
    present = (cell["computed"][trials] == Computed.PRESENT).any(axis=0)
    columns = {"width": np.flatnonzero(present), "flow_width": np.zeros(0, dtype=np.intp)}
    if "outcome" in cell:
        followed = ~np.isin(cell["outcome"][:, trials], (NOT_COMPUTED, Outcome.ERROR))
        columns["flow_width"] = np.flatnonzero(followed.any(axis=(0, 1)))
    return columns


def _part(
    array: NDArray[Any] | None, declared: Field, first: int, rows: int, columns: Index | None
) -> NDArray[Any] | None:
    """Take rows and columns of a dataset."""
    if array is None:
        return None
    array = array[declared.rows(first, first + rows)]
    return array if columns is None else array.take(columns, declared.width_axis)


def _same(expected: NDArray[Any] | None, stored: NDArray[Any] | None, declared: Field) -> bool:
    """Return whether two arrays are equal to the last bit; an absent dataset is "not computed" everywhere."""
    if expected is None or stored is None:
        array = stored if expected is None else expected
        return array is None or np.array_equal(array, np.full_like(array, declared.fill), equal_nan=True)
    same_kind = expected.dtype == stored.dtype and expected.shape == stored.shape
    return same_kind and expected.tobytes() == stored.tobytes()
