"""Whether a run folder can be trusted: every block file and results.h5 looked at, some blocks computed again."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.model.draws import SHARED_TRIAL, What, generator
from mc.runner.plan import load_frozen, run_plan, stream_digests
from mc.store.blocks import RESULTS, read_block
from mc.store.layout import check_arrays
from mc.store.ranges import range_problems
from mc.store.records import Block, BlockHeader, CellPlan, PartFile, RunPlan, canonical_json, differences, scan
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
    """One check: its name, how it ended, in words, and what it found wrong."""

    name: str
    status: Status
    words: str
    problems: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """One line, and one for each problem."""
        yield f"{self.status:<6} {self.name:<12} {self.words}"
        for problem in self.problems[:MOST_PROBLEMS]:
            yield f"         {problem}"
        if len(self.problems) > MOST_PROBLEMS:
            yield f"         {len(self.problems) - MOST_PROBLEMS} more"


def _check(name: str, words: str, problems: Sequence[str], *, note: bool = False) -> Check:
    if problems:
        return Check(name, Status.FAILED, f"{len(problems)} problem(s)", tuple(problems))
    return Check(name, Status.NOTE if note else Status.OK, words)


@dataclass
class _Found:
    """What one pass over the block files leaves: problems by check, and the files that are as they should be."""

    files: int = 0
    unasked: int = 0
    other_numerics: set[int] = field(default_factory=set)
    problems: dict[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in ("files", "layout", "identity", "ranges")}
    )
    good: list[tuple[PartFile, BlockHeader]] = field(default_factory=list)
    streams: dict[str, set[str]] = field(default_factory=dict)

    def look(self, file: PartFile, plan: RunPlan) -> Block | None:
        """Check one file by itself; None where it cannot be used further."""
        self.files += 1
        try:
            block = read_block(file.path)
        except InputError as error:
            self.problems["files"].append(str(error))
            return None
        header = block.header
        sizes = {"mode": len(header.modes), "trial": header.n_trials, "width": len(header.widths)}
        try:
            check_arrays(block.arrays, sizes | {"flow_width": len(header.flow_widths)})
        except ValueError as error:
            self.problems["layout"].append(f"{file.path}: {error}")
            return None
        cell = next((cell for cell in plan.cells if cell.key == file.key), None)
        if cell is None:
            self.unasked += 1
            return None
        wrong = identity_problems(header, cell, plan)
        self.problems["identity"] += [f"{file.path}: {problem}" for problem in wrong]
        for name in sorted(block.arrays):
            found = range_problems(name, block.arrays, cell.problem)
            self.problems["ranges"] += [f"{file.path}: {problem}" for problem in found]
        if wrong:
            return None
        self.other_numerics |= {int(header.identity_fields["numerics_version"])} - {NUMERICS_VERSION}
        self.streams.setdefault(file.key, set()).add(header.stream_digest)
        self.good.append((file, header))
        return block


def identity_problems(header: BlockHeader, cell: CellPlan, plan: RunPlan) -> list[str]:
    """What a header says that does not fit itself or the experiment; another numerics version does fit."""
    found = []
    if hashlib.sha256(canonical_json(header.identity_fields).encode()).hexdigest() != header.identity:
        found.append("the identity is not the digest of its settings")
    if header.cell != cell.canonical:
        found.append("the cell is not that of the experiment")
    here = {**cell.identity_fields, "numerics_version": header.identity_fields.get("numerics_version")}
    found += differences(header.identity_fields, {key: _plain(value) for key, value in here.items()})
    if header.n_trials != plan.block_size or header.first_trial != header.block * plan.block_size:
        found.append(f"{header.n_trials} trials from {header.first_trial} are no block of {plan.block_size}")
    if header.modes != plan.modes:
        found.append(f"modes {', '.join(header.modes)}, not {', '.join(plan.modes)}")
    return found


def _plain(value: object) -> object:
    """Through JSON's kinds, as the stored fields went: tuples become lists."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def verify_run(run: Path, replay: int = 0) -> Iterator[Check]:
    """Check all that a run folder holds; checks come as they are done.

    Parameters
    ----------
    run : Path
        Run folder.
    replay : int
        So many blocks, drawn at random from the seed of the experiment, are computed again.

    Yields
    ------
    Check

    Raises
    ------
    InputError
        When it is no run folder, or blocks are to be computed again and the experiment needs what is not here.
    """
    experiment = computable(run) if replay else load_frozen(run)
    plan = run_plan(experiment, trials_of(experiment, run))
    found, results = _Found(), ResultsCheck.of(run)
    for (key, number), files in itertools.groupby(scan(run), key=lambda file: (file.key, file.block)):
        blocks = [block for file in files if (block := found.look(file, plan)) is not None]
        results.compare(key, number, blocks)
    yield _check("files", f"{found.files} block file(s): readable, checksums right", found.problems["files"])
    yield _check("layout", "names, types, shapes and enumerations as declared", found.problems["layout"])
    yield _identity(found, experiment)
    yield _complete(found, plan)
    yield _check("ranges", "finite where due, signs and order right", found.problems["ranges"])
    results.finish()
    yield _check("results", results.words(run / RESULTS), results.problems, note=bool(results.notes))
    if replay:
        yield _replay(found, experiment, plan, replay)


def _identity(found: _Found, experiment: Experiment) -> Check:
    problems = list(found.problems["identity"])
    problems += [f"cell {key}: blocks of different generators" for key, all_ in found.streams.items() if len(all_) > 1]
    notes = []
    try:
        here = stream_digests(experiment)
        if any(all_ != {here[key]} for key, all_ in found.streams.items()):
            notes.append(f"the random stream is not that of NumPy {np.__version__} here")
    except InputError:
        notes.append("the output law is not here, so the random stream was not compared")
    if found.other_numerics:
        older = ", ".join(map(str, sorted(found.other_numerics)))
        notes.append(f"numerics version {older}, this code has {NUMERICS_VERSION}: such a run cannot grow")
    if found.unasked:
        notes.append(f"{found.unasked} file(s) of cells that the experiment does not have")
    words = "; ".join(["settings, cells, blocks and streams are those of the experiment", *notes])
    return _check("identity", words, problems, note=bool(notes))


def _complete(found: _Found, plan: RunPlan) -> Check:
    """Which blocks are missing, width by width; nothing missing is an error."""
    there: set[tuple[str, int, str, int]] = set()
    for file, header in found.good:
        if header.covers(plan):
            there |= {(file.key, file.block, "width", width) for width in header.widths}
            there |= {(file.key, file.block, "flow width", width) for width in header.flow_widths}
    wanted = [("width", width) for width in plan.widths] + [("flow width", width) for width in plan.flow_widths]
    missing: Counter[str] = Counter()
    for cell in plan.cells:
        for axis, width in wanted:
            lost = sum((cell.key, block, axis, width) not in there for block in range(plan.n_blocks))
            missing.update({f"{cell.group} {axis} {width}": lost} if lost else {})
    blocks = f"{len(plan.cells)} cell(s), {plan.n_blocks} block(s) each, {plan.trials} trials"
    if not missing:
        return _check("complete", f"all there: {blocks}", ())
    first, lost = next(iter(missing.items()))
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    advice = (
        "`dipmc run` computes them" if plan.sampling == "fixed" else "those that [sampling] wants, `dipmc run` computes"
    )
    words = f"missing: {lost} block(s) of {first}{more} ({blocks}); {advice}"
    return _check("complete", words, (), note=True)


def _replay(found: _Found, experiment: Experiment, plan: RunPlan, number: int) -> Check:
    """Compute a random sample of blocks again."""
    good = [(file, header) for file, header in found.good if not found.other_numerics]
    if not good:
        return _check("replay", "no block of this numerics version to compute again", (), note=True)
    rng = generator(plan.seed, (0, 0), SHARED_TRIAL, What.ESTIMATION, REPLAY_STREAM)
    sample = np.sort(rng.choice(len(good), size=min(number, len(good)), replace=False))
    problems, exact = [], 0
    for at in sample.tolist():
        file, header = good[at]
        wrong = disagreements(read_block(file.path), recompute(experiment, plan, header))
        problems += [f"{file.path}: {words}" for words in wrong]
        exact += same_maker(header)
    words = f"{len(sample)} of {len(good)} block(s) computed again: {exact} equal to the last bit"
    if exact < len(sample):
        words += f", {len(sample) - exact} made by another NumPy or BLAS equal to {TOLERANCE:g}"
    return _check("replay", words, problems)
