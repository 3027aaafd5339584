"""Cells of results made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from mc.store.results import CellResults


def cell(modes: tuple[str, ...] = ("hidden", "both"), widths: tuple[int, ...] = (10, 100), **data: Any) -> CellResults:
    """Return a cell with these datasets; those with a mode axis hold all modes."""
    k = np.array(widths)
    return CellResults(
        index=0,
        key="0123456789abcdef",
        problem={"n": 10, "m": 5, "resample": "trial"},
        attrs={},
        modes=modes,
        trials=0,
        widths=k,
        flow_widths=k,
        saved_trials=np.arange(0),
        data={name: np.asarray(values) for name, values in data.items()},
    )
