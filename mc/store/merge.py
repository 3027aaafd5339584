"""results.h5 from the block files: complete or not, and whatever the order and the parts in which they came."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mc.errors import InputError
from mc.store.assembly import assemble, failed_columns
from mc.store.blocks import RESULTS, parts, read_block
from mc.store.checksums import attributes_digest
from mc.store.failures import Failures, failed_blocks
from mc.store.hdf5 import attributes, creating
from mc.store.records import MAKER_FACTS, BlockHeader, CellPlan, Parts, RunPlan, canonical_json, check_header
from mc.store.writer import ResultsGroup
from mc.version import SCHEMA_VERSION

MOST_NAMED = 100
"""Failed blocks that results.h5 names: an attribute of HDF5 has room for 64 kB."""
LONGEST = 300
"""Characters of an error that it keeps."""


class _Told:
    """What the headers of the blocks of a cell say together."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.seconds = 0.0
        self.makers: set[str] = set()
        self.digests: set[str] = set()

    def hear(self, header: BlockHeader) -> None:
        """One more header."""
        facts = header.facts
        self.seconds += float(facts.get("seconds", 0.0))
        self.makers.add(json.dumps({key: facts[key] for key in facts if key in MAKER_FACTS}, sort_keys=True))
        self.digests.add(header.stream_digest)

    def attributes(self) -> dict[str, Any]:
        """Attributes of the cell.

        Raises
        ------
        InputError
            When the blocks come from different generators.
        """
        if len(self.digests) > 1:
            raise InputError(f"{self.place}: its blocks come from different generators; use another run folder")
        return {
            "stream_digest": next(iter(self.digests), ""),
            "seconds": self.seconds,
            "computed_by": json.dumps([json.loads(maker) for maker in sorted(self.makers)]),
        }


def standing(plan: RunPlan, held: Parts, failures: Failures) -> Failures:
    """The failures of blocks of a plan that still lack a width at which they failed."""
    keys, found = {cell.key for cell in plan.cells}, {}
    for (key, number), failure in sorted(failures.items()):
        if key in keys and number < plan.n_blocks:
            headers = [header for _, header in held.get((key, number), ())]
            if any(failed_columns(failure, headers, plan).values()):
                found[key, number] = failure
    return found


def merged_from(cell: CellPlan, plan: RunPlan, held: Parts, failures: Failures) -> str:
    """Digest of the names of the block files that a merge takes, and of the failures: a name says what its file holds.

    Parameters
    ----------
    cell : CellPlan
    plan : RunPlan
    held : Parts
    failures : Failures
        Those that are `standing`.
    """
    names = [file.path.name for number in range(plan.n_blocks) for file, _ in held.get((cell.key, number), ())]
    names += [
        canonical_json(["failed", key, number, failure.widths, failure.flow_widths])
        for (key, number), failure in failures.items()
        if key == cell.key
    ]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _named(failures: Failures) -> dict[str, Any]:
    """The attribute that says which blocks failed, and why."""
    named = [
        {"key": key, "block": number, "place": failure.place[:LONGEST], "error": failure.error[:LONGEST]}
        for (key, number), failure in list(failures.items())[:MOST_NAMED]
    ]
    return {"failures": json.dumps(named)} if named else {}


def _merge_cell(group: ResultsGroup, cell: CellPlan, held: Parts, failures: Failures) -> dict[str, Any]:
    """Write the blocks of one cell; returns the attributes of its group."""
    plan, told = group.plan, _Told(f"cell {cell.index} ({cell.key})")
    for number in range(plan.n_blocks):
        files, failure = held.get((cell.key, number), ()), failures.get((cell.key, number))
        if not files and failure is None:
            continue
        blocks = []
        for file, _ in files:
            block = read_block(file.path, group.copied)
            check_header(file.path, block.header, cell, plan)
            told.hear(block.header)
            blocks.append(block)
        arrays, columns, saved = assemble(blocks, plan, failure)
        first = number * plan.block_size
        rows = min(plan.block_size, plan.trials - first)
        for width, there in columns.items():
            group.present[width][there] += rows
        group.add(arrays, first, saved, blocks)
    names = {"index": cell.index, "key": cell.key, "canonical": cell.canonical, "identity": cell.identity}
    own = {**told.attributes(), **group.finish(), **names, "blocks": merged_from(cell, plan, held, failures)}
    return {**cell.problem, **own, "problem": json.dumps(dict(cell.problem))}


def merge(run: Path, plan: RunPlan, facts: Mapping[str, Any]) -> Path:
    """Write results.h5 from the block files, complete or not.

    The datasets depend on the plan, on the numbers in the block files and on which blocks are noted as failed, not on
    their order, their division into parts or what made them. What nobody computed keeps its fill value and is 0 in
    `computed`; what failed is 2 there, with the outcome ``error`` of its flow. Every block is verified.

    Parameters
    ----------
    run : Path
        The run folder.
    plan : RunPlan
    facts : mapping
        Root attributes beside those of the plan: versions, commit, date.

    Returns
    -------
    Path
        ``run/results.h5``.

    Raises
    ------
    InputError
        When a block file is damaged or foreign, or the folder cannot be written to.
    """
    held = parts(run, plan)
    failures = standing(plan, held, failed_blocks(run))
    final = run / RESULTS
    # merge_id is new every time: readers notice that the file under them was replaced
    root = {
        "schema_version": SCHEMA_VERSION,
        "experiment": plan.text,
        "identity": plan.identity,
        "seed": plan.seed,
        "trials": plan.trials,
        "sampling": plan.sampling,
        "merge_id": uuid.uuid4().hex,
    }
    with creating(final) as handle:
        complete = True
        for cell in plan.cells:
            group = ResultsGroup(handle.create_group(cell.group), plan)
            group.handle.attrs.update(_merge_cell(group, cell, held, failures))
            complete = complete and all((count == plan.trials).all() for count in group.present.values())
        handle.attrs.update({**root, **facts, "complete": int(complete), **_named(failures)})
        handle.attrs["checksum"] = attributes_digest(
            {"/": attributes(handle), **{name: attributes(handle[name]) for name in handle}}
        )
    return final
