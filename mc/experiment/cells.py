"""Problem cells: the grid points of [problem], resolved, with the canonical text their draws are addressed by."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mc.experiment.arrays import ArrayFacts
from mc.experiment.messages import Refusal
from mc.experiment.problem import OPERATOR_KEYS, SIGNAL_KEYS, SQUARE, Problem
from mc.experiment.tables import AUTO

MOST_CELLS = 10**5
MOST_TRIALS_IN_BLOCK = 128
BLOCK_BUDGET = 2 * 10**9


@dataclass(frozen=True)
class Cell:
    """One point of the problem grid.

    `problem` holds the resolved values of [problem]: ``n``, ``m``, ``operator`` (a name, or the matrix itself),
    ``signal``, noise, ``resample``, ``rank_tol`` (a number), the keys of this operator and signal, and for arrays
    ``digest`` and ``signal_digest`` beside the absolute ``path`` and ``signal_path``.
    """

    index: int  # place in the grid; draws do not depend on it
    problem: dict[str, Any] = field(compare=False)
    canonical: str  # JSON of the resolved values and the output law, with digests instead of paths and arrays
    id: tuple[int, int]  # first 8 bytes of the SHA-256 of `canonical`, big-endian: part of every seed address
    key: str  # the same 8 bytes as 16 hexadecimal digits

    @property
    def attributes(self) -> dict[str, int | float | str]:
        """The plain values of `canonical`, which label the cell in result files."""
        return dict(json.loads(self.canonical)["problem"])


def block_size(n: int, m: int, max_width: int) -> int:
    """Return the trials of a block, such that a block takes seconds: a power of two from 1 to 128.

    A neuron costs about ``n + 5`` to draw and ``n (n + min(m, n))/5`` to sum into the Gram matrices (measured units,
    times five to stay in whole numbers); the block is the largest power of two within `BLOCK_BUDGET` of them. The
    arguments are the largest of the experiment.
    """
    cost = max_width * (5 * (n + 5) + n * (n + min(m, n)))
    fitting = BLOCK_BUDGET // cost
    return min(1 << max(fitting.bit_length() - 1, 0), MOST_TRIALS_IN_BLOCK)


def canonical_json(fields: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys and without spaces, so that equal values give equal text."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


def resolve_cells(problem: Problem, output_law: str, facts: Mapping[str, ArrayFacts]) -> tuple[Cell, ...]:
    """Return the cells of a grid; `output_law` is a name or the token of an object, `facts` those of files by path.

    The listed keys of the table are the axes, in the order of `Problem.grid`, the last one varying fastest. A key that
    an operator or a signal does not use is no axis for it. Raises Refusal for a point whose values do not go together,
    or for too many points.
    """
    axes = {key: values for key in Problem.grid if (values := getattr(problem, key)) is not None}
    points = math.prod(len(values) for values in axes.values())
    if points > MOST_CELLS:
        longest = max(axes, key=lambda key: len(axes[key]))
        raise Refusal(f"the grid has {points} cells; use lists that make at most {MOST_CELLS}", longest, "problem")
    cells: dict[str, Cell] = {}
    for point in _points(axes):
        resolved, meaning = _resolve(point, facts)
        canonical = canonical_json({"output_law": output_law, "problem": meaning})
        if canonical not in cells:
            head = hashlib.sha256(canonical.encode()).digest()[:8]
            address = (int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big"))
            cells[canonical] = Cell(len(cells), resolved, canonical, address, head.hex())
    return tuple(cells.values())


def _points(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Yield the grid points without the keys that their operator or signal does not use; some repeat."""
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        for owners, chosen in ((OPERATOR_KEYS, point["operator"]), (SIGNAL_KEYS, point["signal"])):
            for owner, key in owners.items():
                if chosen != owner:
                    point.pop(key, None)
        yield point


def _resolve(point: dict[str, Any], facts: Mapping[str, ArrayFacts]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values for the block, and those for the canonical text."""
    operator = point["operator"]
    own = operator if isinstance(operator, ArrayFacts) else facts.get(point.get("path", ""))
    n, m = _sizes(point, own)
    resolved = {**point, "n": n, "m": m}
    if point["rank_tol"] == AUTO:
        resolved["rank_tol"] = max(m, n) * sys.float_info.epsilon
    for key in ("sparsity", "pieces"):
        if key in point and point[key] > n:
            _refuse(key, f"{point[key]} exceeds n = {n}; use a whole number from 1 to n")
    if own is not None:
        resolved["digest"] = own.sha256
        if own.array is not None and not own.array[:m].any():
            _refuse("m", f"the first {m} rows of the operator are zero; use more rows")
    if "signal_path" in point:
        signal = facts[point["signal_path"]]
        if signal.shape != (n,):
            where = point["signal_path"]
            _refuse("signal_path", f"{where} has shape {signal.shape}; use a signal of n = {n} entries")
        resolved["signal_digest"] = signal.sha256
    meaning = {key: value for key, value in resolved.items() if key not in ("path", "signal_path")}
    if isinstance(operator, ArrayFacts):
        meaning["operator"] = "file"  # a matrix is what it holds, wherever it came from
        resolved["operator"] = str(operator) if operator.array is None else operator.array[:m]
    return resolved, meaning


def _sizes(point: Mapping[str, Any], own: ArrayFacts | None) -> tuple[int, int]:
    """Return (n, m) of a grid point: as given, checked, or derived from the operator."""
    operator, n, m = point["operator"], point.get("n"), point.get("m")
    if own is not None:
        rows, columns = own.shape
        source = point.get("path", "the array")
        if n is not None and n != columns:
            _refuse("n", f"{n} does not fit the {columns} columns of {source}; write n = {columns} or drop it")
        if m is not None and m > rows:
            _refuse("m", f"{m} exceeds the {rows} rows of {source}; use at most {rows} or drop it")
        return columns, rows if m is None else m
    assert n is not None  # the table requires it
    if operator == "mask":
        kept = max(1, round(point["keep"] * n))
        if m not in (None, kept):
            _refuse("m", f"{m} is not round(keep n) = {kept}; drop m, or write m = {kept}")
        return n, kept
    if operator in SQUARE:
        if m not in (None, n):
            _refuse("m", f"{m} is not n = {n}; operator {operator!r} is square: drop m, or write m = {n}")
        return n, n
    assert m is not None
    return n, m


def _refuse(key: str, text: str) -> None:
    raise Refusal(text, key, "problem")
