"""Whether results.h5 says what the block files say, dataset by dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.arrays import Index
from mc.runner.plan import run_plan
from mc.store.assembly import assemble, failed_columns
from mc.store.blocks import RESULTS, load
from mc.store.failures import Failures, failed_blocks
from mc.store.hdf5 import row_axis
from mc.store.layout import Computed, Field, field_of
from mc.store.records import Block, BlockHeader, CellPlan, RunPlan, canonical_json
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome

COUNTS = ("trials_present", "flow_trials_present")


@dataclass
class ResultsCheck:
    """Results of a run, compared with one block of trials after another.

    Attributes
    ----------
    cells : dict of str to CellResults
        By key; empty where there are no results.
    plan : RunPlan or None
        What results.h5 was merged for: the folder may ask for more by now.
    failures : Failures
        What is noted in the folder.
    headers : dict of (str, int) to list of BlockHeader
        Of the parts that were compared, by cell key and block.
    problems, notes : list of str
    backed, behind : int
        Pairs of trial and width that a block file has and results.h5 too, or not.
    astray : int
        Blocks of which the failures in results.h5 are not those that are noted.
    """

    cells: dict[str, CellResults] = field(default_factory=dict)
    plan: RunPlan | None = None
    failures: Failures = field(default_factory=dict)
    headers: dict[tuple[str, int], list[BlockHeader]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    backed: int = 0
    behind: int = 0
    astray: int = 0

    @classmethod
    def of(cls, run: Path) -> ResultsCheck:
        """Open the results of a run folder and check what they say of themselves."""
        made = cls(failures=failed_blocks(run))
        path = run / RESULTS
        if not path.is_file():
            made.notes.append(f"none yet: `dipmc merge {run}` writes it")
            return made
        try:
            results = load(path)
            experiment = Experiment.from_text(results.experiment_text, str(path), run, reading=True)
            plan = run_plan(experiment, int(results.attrs["trials"]))
            identities = [str(cell.attrs["identity"]) for cell in results.cells]
            if hashlib.sha256("\n".join(identities).encode()).hexdigest() != results.attrs["identity"]:
                made.problems.append(f"{path}: the identity is not the digest of those of its cells")
            if int(results.attrs["seed"]) != plan.seed:
                made.problems.append(f"{path}: the seed is not that of the experiment in it")
            if [_place(cell) for cell in results.cells] != [_place(cell) for cell in plan.cells]:
                made.problems.append(f"{path}: its cells are not those of the experiment in it")
            for cell in results.cells:
                made.problems += [f"{path}: {cell.group}: {words}" for words in _axes(cell, plan)]
        except (InputError, KeyError, ValueError) as error:
            made.problems.append(str(error))
            return made
        if not made.problems:
            made.cells, made.plan = {cell.key: cell for cell in results.cells}, plan
        return made

    def compare(self, key: str, number: int, blocks: Sequence[Block]) -> None:
        """Compare the rows of one block of trials.

        Parameters
        ----------
        key : str
            Of the cell.
        number : int
            Of the block.
        blocks : sequence of Block
            Its parts, checked, in the order of their digests.
        """
        cell = self.cells.get(key)
        if cell is None or self.plan is None or number >= self.plan.n_blocks:
            self.behind += bool(blocks) and self.plan is not None
            return
        used = [block for block in blocks if block.header.covers(self.plan)]
        strange = [block.header.file_name for block in used if block.header.identity != cell.attrs["identity"]]
        if strange:
            self.problems.append(f"{cell.group}: merged from blocks of another identity than {strange[0]}")
        elif used:
            self.headers[key, number] = [block.header for block in used]
            try:
                self._compare(cell, number, used, self.plan)
            except InputError as error:
                self.problems.append(str(error))
                self.cells.pop(key)

    def _compare(self, cell: CellResults, number: int, blocks: Sequence[Block], plan: RunPlan) -> None:
        arrays, columns, saved = assemble(blocks, plan, self.failures.get((cell.key, number)))
        first = number * plan.block_size
        rows = min(plan.block_size, plan.trials - first)
        there = _columns_there(cell, slice(first, first + rows))
        shared = {dim: np.intersect1d(columns[dim], there[dim]) for dim in columns}
        self.backed += rows * shared["width"].size
        self.behind += rows * sum(np.setdiff1d(columns[dim], there[dim]).size for dim in columns)
        for name in sorted({*arrays, *cell.data} - {*COUNTS}):
            declared = field_of(name)
            kept = min(saved, len(cell.saved_trials) - first) if "saved_trial" in declared.dims else rows
            own = [shared[dim] for dim in declared.dims if dim in shared]
            # the facts of the problem are there as soon as any width is
            if kept <= 0 or not any(found.size for found in own or shared.values()):
                continue
            chosen = own[0] if own else None
            mine = _part(arrays.get(name), declared, 0, kept, chosen)
            theirs = _part(cell.data.get(name), declared, first, kept, chosen)
            if not _same(mine, theirs, declared):
                self.problems.append(
                    f"{cell.group}: {name} of trials {first} to {first + rows - 1} is not as in the blocks"
                )

    def finish(self) -> None:
        """Count what no block file stands behind."""
        present = 0
        for cell in self.cells.values():
            present += int((cell["computed"] == Computed.PRESENT).sum())
        failed = sum(self._failures(cell, self.plan) for cell in self.cells.values() if self.plan is not None)
        if failed and not self.problems:
            self.notes.append(f"{failed} trials x widths failed and count as undecided")
        if present > self.backed and not self.problems:
            self.notes.append(f"{present - self.backed} trials x widths have no block file any more")
        if self.astray and not self.problems:
            self.notes.append(f"{self.astray} block(s) failed or were computed since: `dipmc merge` says so")
        if self.behind and not self.problems:
            self.notes.append("lacks blocks that are there: `dipmc merge` adds them")

    def _failures(self, cell: CellResults, plan: RunPlan) -> int:
        """Pairs of trial and width that failed; where other ones are noted in the folder, the results are behind."""
        total = 0
        for number in range(plan.n_blocks):
            rows = slice(number * plan.block_size, min((number + 1) * plan.block_size, plan.trials))
            failure = self.failures.get((cell.key, number))
            noted: dict[str, list[int]] = {"width": [], "flow_width": []}
            if failure is not None:
                noted = failed_columns(failure, self.headers.get((cell.key, number), ()), plan)
            lost = cell["computed"][rows] == Computed.FAILED
            found = {"width": lost.all(axis=0), "flow_width": np.zeros(0, dtype=np.bool_)}
            if "outcome" in cell:
                found["flow_width"] = (cell["outcome"][:, rows] == Outcome.ERROR).all(axis=(0, 1))
            self.astray += any(np.flatnonzero(found[dim]).tolist() != noted[dim] for dim in found)
            total += int(lost.sum())
        return total

    def words(self, path: Path) -> str:
        """What was found, where nothing is wrong."""
        if not self.cells:
            return "; ".join([path.name, *self.notes])
        return "; ".join([f"{path.name}: {self.backed} trials x widths equal to the blocks", *self.notes])


def _place(cell: CellResults | CellPlan) -> tuple[object, ...]:
    return cell.index, cell.key, canonical_json(dict(cell.problem))


def _axes(cell: CellResults, plan: RunPlan) -> list[str]:
    """Axes and counts that do not fit the experiment."""
    found = []
    if cell.modes != plan.modes or cell.trials != plan.trials:
        found.append("modes or trials are not those of the experiment in it")
    for mine, theirs in ((cell.widths, plan.widths), (cell.flow_widths, plan.flow_widths)):
        if not np.array_equal(mine, theirs):
            found.append("widths are not those of the experiment in it")
    sizes = {"mode": len(plan.modes), "trial": plan.trials, "width": len(plan.widths)}
    sizes |= {"flow_width": len(plan.flow_widths), "saved_trial": plan.saved_trials}
    for name in cell.data:
        try:
            declared = field_of(name)
        except KeyError:
            found.append(f"holds {name!r}, which the layout does not have")
            continue
        shape = cell[name].shape
        expected = tuple(sizes.setdefault(dim, length) for dim, length in zip(declared.dims, shape, strict=False))
        if cell[name].dtype != declared.dtype or shape != expected or len(shape) != len(declared.dims):
            found.append(f"{name} is {cell[name].dtype} of shape {shape}, which the layout does not allow")
    if not found and not np.array_equal(cell["trials_present"], (cell["computed"] == Computed.PRESENT).sum(axis=0)):
        found.append("trials_present does not count what computed says")
    return found


def _columns_there(cell: CellResults, rows: slice) -> dict[str, Index]:
    """Widths and flow widths that the results have of some trials."""
    there = {"width": np.flatnonzero((cell["computed"][rows] == Computed.PRESENT).any(axis=0))}
    if "outcome" not in cell:
        return {**there, "flow_width": np.empty(0, dtype=np.intp)}
    followed = ~np.isin(cell["outcome"][:, rows], (NOT_COMPUTED, Outcome.ERROR))
    return {**there, "flow_width": np.flatnonzero(followed.any(axis=(0, 1)))}


def _part(
    array: NDArray[Any] | None, declared: Field, first: int, rows: int, chosen: Index | None
) -> NDArray[Any] | None:
    """Some rows and columns of a dataset."""
    if array is None:
        return None
    axis = row_axis(declared.dims)
    array = array[(*(slice(None),) * axis, slice(first, first + rows))]
    if chosen is None:
        return array
    return array.take(chosen, next(i for i, dim in enumerate(declared.dims) if dim in ("width", "flow_width")))


def _same(mine: NDArray[Any] | None, theirs: NDArray[Any] | None, declared: Field) -> bool:
    """Equal to the last bit; a dataset that is not there says "not computed" everywhere."""
    if mine is None or theirs is None:
        there = theirs if mine is None else mine
        return there is None or np.array_equal(there, np.full_like(there, declared.fill), equal_nan=True)
    return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
