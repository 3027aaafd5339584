"""Whether a run folder can be trusted: check every block file and results.h5, and compute some blocks again."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.draws import SHARED_TRIAL, What, generator
from mc.runner.plan import load_frozen, run_plan, stream_digests
from mc.store.blocks import Block, BlockHeader, PartFile, read_block, scan
from mc.store.layout import check_arrays, range_problems
from mc.store.plan import CellPlan, RunPlan, canonical_json, differences
from mc.verify.replay import TOLERANCE, computable, disagreements, recompute, same_maker, trials_of
from mc.verify.results import ResultsCheck
from mc.version import NUMERICS_VERSION

MOST_PROBLEMS = 20
"""Problems of one check that are named."""
REPLAY_STREAM = 2**31
"""Last number of the address of the sample, apart from those of `mc.estimate.widths.scaling`."""


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Check:
    """One check: its name, how it ended, a summary, and what is wrong."""

    name: str
    status: Status
    summary: str
    problems: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield one line, and one for each problem."""
        yield f"{self.status:<6} {self.name:<12} {self.summary}"
        for problem in self.problems[:MOST_PROBLEMS]:
            yield f"         {problem}"
        if len(self.problems) > MOST_PROBLEMS:
            yield f"         {len(self.problems) - MOST_PROBLEMS} more"


def _check(name: str, summary: str, problems: Sequence[str], *, note: bool = False) -> Check:
    if problems:
        return Check(name, Status.FAILED, f"{len(problems)} problem(s)", tuple(problems))
    return Check(name, Status.NOTE if note else Status.OK, summary)


class BlockChecks:
    """One pass over the block files of a plan: problems by check, and the files in which nothing is wrong."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.cells = {cell.key: cell for cell in plan.cells}
        self.files = 0
        self.foreign = 0  # files of cells that the plan does not have
        self.other_numerics: set[int] = set()
        self.problems: dict[str, list[str]] = {name: [] for name in ("files", "layout", "identity", "ranges")}
        self.good: list[tuple[PartFile, BlockHeader]] = []
        self.streams: dict[str, set[str]] = {}

    def read(self, file: PartFile) -> Block | None:
        """Check one file by itself; return None where it cannot be used further."""
        self.files += 1
        try:
            block = read_block(file.path)
        except InputError as error:
            self.problems["files"].append(str(error))
            return None
        header, cell = block.header, self.cells.get(file.key)
        try:
            check_arrays(block.arrays, header.sizes)
        except ValueError as error:
            self.problems["layout"].append(f"{file.path}: {error}")
            return None
        if cell is None:
            self.foreign += 1
            return None
        wrong = identity_problems(header, cell, self.plan)
        self.problems["identity"] += [f"{file.path}: {problem}" for problem in wrong]
        for name in sorted(block.arrays):
            impossible = range_problems(name, block.arrays, cell.problem)
            self.problems["ranges"] += [f"{file.path}: {problem}" for problem in impossible]
        if wrong:
            return None
        self.other_numerics |= {int(header.identity_fields["numerics_version"])} - {NUMERICS_VERSION}
        self.streams.setdefault(file.key, set()).add(header.stream_digest)
        self.good.append((file, header))
        return block


def identity_problems(header: BlockHeader, cell: CellPlan, plan: RunPlan) -> list[str]:
    """List what in a header does not fit itself or the experiment; another numerics version does fit."""
    problems = []
    if hashlib.sha256(canonical_json(header.identity_fields).encode()).hexdigest() != header.identity:
        problems.append("the identity is not the digest of its settings")
    if header.cell != cell.canonical:
        problems.append("the cell is not that of the experiment")
    here = {**cell.identity_fields, "numerics_version": header.identity_fields.get("numerics_version")}
    # through JSON, as the stored fields went: tuples become lists
    problems += differences(header.identity_fields, json.loads(canonical_json(here)))
    if header.n_trials != plan.block_size or header.first_trial != header.block * plan.block_size:
        problems.append(f"{header.n_trials} trials from {header.first_trial} are no block of {plan.block_size}")
    if header.modes != plan.modes:
        problems.append(f"modes {', '.join(header.modes)}, not {', '.join(plan.modes)}")
    return problems


def verify_run(run: Path, replay: int = 0) -> Iterator[Check]:
    """Check all that a run folder holds; yield each check when it is done.

    `replay` blocks, drawn at random from the seed of the experiment, are computed again.

    Raises
    ------
    InputError
        When it is no run folder, or blocks are to be computed again and the experiment needs what is not here.
    """
    experiment = computable(run) if replay else load_frozen(run)
    plan = run_plan(experiment, trials_of(experiment, run))
    blocks, results = BlockChecks(plan), ResultsCheck(run)
    for (key, number), files in itertools.groupby(scan(run), key=lambda file: (file.key, file.block)):
        results.compare(key, number, [block for file in files if (block := blocks.read(file)) is not None])
    yield _check("files", f"{blocks.files} block file(s): readable, checksums right", blocks.problems["files"])
    yield _check("layout", "names, types, shapes and enumerations as declared", blocks.problems["layout"])
    yield _identity(blocks, experiment)
    yield _complete(blocks)
    yield _check("ranges", "finite where due, signs and order right", blocks.problems["ranges"])
    results.finish()
    yield _check("results", results.summary(), results.problems, note=bool(results.notes))
    if replay:
        yield _replay(blocks, experiment, replay)


def _identity(blocks: BlockChecks, experiment: Experiment) -> Check:
    problems = list(blocks.problems["identity"])
    problems += [
        f"cell {key}: blocks of different generators" for key, digests in blocks.streams.items() if len(digests) > 1
    ]
    notes = []
    try:
        here = stream_digests(experiment)
        if any(digests != {here[key]} for key, digests in blocks.streams.items()):
            notes.append(f"the random stream is not that of NumPy {np.__version__} here")
    except InputError:
        notes.append("the output law is not here, so the random stream was not compared")
    if blocks.other_numerics:
        older = ", ".join(map(str, sorted(blocks.other_numerics)))
        notes.append(f"numerics version {older}, this code has {NUMERICS_VERSION}: such a run cannot grow")
    if blocks.foreign:
        notes.append(f"{blocks.foreign} file(s) of cells that the experiment does not have")
    summary = "; ".join(["settings, cells, blocks and streams are those of the experiment", *notes])
    return _check("identity", summary, problems, note=bool(notes))


def _complete(blocks: BlockChecks) -> Check:
    """Count the missing blocks, width by width; a missing block is no error."""
    plan = blocks.plan
    present = {
        (file.key, file.block, dim, width)
        for file, header in blocks.good
        if header.covers(plan)
        for dim, widths in header.axes.items()
        for width in widths
    }
    missing: Counter[str] = Counter()
    for cell in plan.cells:
        for dim, widths in plan.axes.items():
            for width in widths:
                absent = sum((cell.key, block, dim, width) not in present for block in range(plan.n_blocks))
                missing.update({f"{cell.group} {dim.replace('_', ' ')} {width}": absent} if absent else {})
    extent = f"{len(plan.cells)} cell(s), {plan.n_blocks} block(s) each, {plan.trials} trials"
    if not missing:
        return _check("complete", f"all there: {extent}", ())
    first, absent = next(iter(missing.items()))
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    advice = "`dipmc run` computes them"
    if plan.sampling != "fixed":
        advice = "those that [sampling] wants, `dipmc run` computes"
    return _check("complete", f"missing: {absent} block(s) of {first}{more} ({extent}); {advice}", (), note=True)


def _replay(blocks: BlockChecks, experiment: Experiment, number: int) -> Check:
    """Compute a random sample of blocks again."""
    good = [] if blocks.other_numerics else blocks.good
    if not good:
        return _check("replay", "no block of this numerics version to compute again", (), note=True)
    rng = generator(blocks.plan.seed, (0, 0), SHARED_TRIAL, What.ESTIMATION, REPLAY_STREAM)
    sample = np.sort(rng.choice(len(good), size=min(number, len(good)), replace=False))
    problems, exact = [], 0
    for file, header in (good[i] for i in sample):
        wrong = disagreements(read_block(file.path), recompute(experiment, blocks.plan, header))
        problems += [f"{file.path}: {problem}" for problem in wrong]
        exact += same_maker(header)
    summary = f"{len(sample)} of {len(good)} block(s) computed again: {exact} equal to the last bit"
    if exact < len(sample):
        summary += f", {len(sample) - exact} made by another NumPy or BLAS equal to {TOLERANCE:g}"
    return _check("replay", summary, problems)
