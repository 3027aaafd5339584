"""What a run asks of its block files: the plan of the run and of each problem cell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class CellPlan:
    """One problem cell of a run."""

    index: int  # position in the grid
    key: str  # 16 hex digits, derived from `canonical`
    canonical: str  # canonical JSON of the cell
    problem: Mapping[str, Any]  # the resolved settings of the problem as plain values: they label the cell
    identity: str  # SHA-256 of `identity_fields`
    identity_fields: Mapping[str, Any]  # all that changes a number at a given trial and width

    @property
    def group(self) -> str:
        """Name of the cell's group in results.h5."""
        return f"c{self.index:03d}"


@dataclass(frozen=True)
class RunPlan:
    """All that a run asks of its block files."""

    text: str  # the experiment as TOML
    seed: int
    trials: int  # length of the axis `trial` of results.h5
    block_size: int  # trials of a block, the last block included
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]
    modes: tuple[str, ...]
    ladder: tuple[str, ...]
    save_trials: int  # trials, from the first, that keep their trajectories
    cells: tuple[CellPlan, ...]
    sampling: str = "fixed"  # or the rule by which the number of trials follows the data
    claims: tuple[str, ...] = ()  # claims that are checked along every trajectory

    @property
    def saved_trials(self) -> int:
        """Length of the axis `saved_trial` of results.h5."""
        return min(self.save_trials, self.trials) if self.flow_widths else 0

    @property
    def n_blocks(self) -> int:
        """Blocks per cell; the last one is whole too."""
        return -(-self.trials // self.block_size)

    @property
    def identity(self) -> str:
        """SHA-256 of the identities of all cells, in the order of the grid."""
        return hashlib.sha256("\n".join(cell.identity for cell in self.cells).encode()).hexdigest()

    @property
    def axes(self) -> dict[str, tuple[int, ...]]:
        """Widths along the axes ``width`` and ``flow_width``."""
        return {"width": self.widths, "flow_width": self.flow_widths}

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of the axes of results.h5 that the plan determines."""
        sizes = {"mode": len(self.modes), "trial": self.trials, "saved_trial": self.saved_trials}
        return sizes | {dim: len(widths) for dim, widths in self.axes.items()}

    def trials_of(self, block: int) -> slice:
        """Trials of a block that belong to the run: the last block may have more."""
        return slice(block * self.block_size, min((block + 1) * self.block_size, self.trials))


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, Mapping):
        flat: dict[str, object] = {}
        for key in value:
            flat.update(_flat(value[key], f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: list(value) if isinstance(value, tuple) else value}


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings that differ, sorted by dotted name, such as ``"loss.p is 2.0 there and 4.0 here"``."""
    old, new = _flat(stored), _flat(current)

    def state(settings: Mapping[str, object], name: str) -> str:
        return repr(settings[name]) if name in settings else "absent"

    return tuple(
        f"{name} is {state(old, name)} there and {state(new, name)} here"
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or old[name] != new[name]
    )
