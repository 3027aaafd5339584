"""Results of a run in memory: arrays by name, xarray datasets, a tidy table. No file is opened here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.model.arrays import Index, IntArray
from mc.store.layout import Computed, Field, field_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class LazyArrays(Mapping[str, NDArray[Any]]):
    """Datasets by name, each read when first asked for and kept, read-only.

    Parameters
    ----------
    names : tuple of str
        The datasets there are.
    read : callable
        Name to array.
    """

    def __init__(self, names: tuple[str, ...], read: Callable[[str], NDArray[Any]]) -> None:
        self._names = names
        self._read = read
        self._kept: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(f"{name!r} is not in these results, which hold {', '.join(self._names)}")
        if name not in self._kept:
            array = self._read(name)
            array.flags.writeable = False
            self._kept[name] = array
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class CellResults:
    """All trials of one problem cell.

    Parameters
    ----------
    index : int
        Position in the grid.
    key : str
        16 hex digits, as in the names of the block files.
    problem : mapping
        The resolved settings of the problem.
    attrs : mapping
        Attributes of the group in results.h5.
    modes : tuple of str
        The axis `mode`.
    trials : int
        Length of the axis `trial`.
    widths, flow_widths, saved_trials : int array
        The axes `width`, `flow_width` and `saved_trial`.
    data : mapping of str to array
        Every dataset of the layout (`mc.store.layout`) that there is; read when asked for.
    """

    index: int
    key: str
    problem: Mapping[str, Any]
    attrs: Mapping[str, Any]
    modes: tuple[str, ...]
    trials: int
    widths: IntArray
    flow_widths: IntArray
    saved_trials: IntArray
    data: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The dataset of that name, its axes as `mc.store.layout.field_of(name).dims` says."""
        return self.data[name]

    def __contains__(self, name: str) -> bool:
        return name in self.data

    @property
    def group(self) -> str:
        """Name of the cell's group in results.h5."""
        return f"c{self.index:03d}"

    def to_xarray(self) -> xr.Dataset:
        """The cell as a dataset with coordinates, `units` and `long_name`; enumerations stay int8 with their flags.

        Raises
        ------
        InputError
            When xarray is not installed.
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise InputError("to_xarray needs xarray, which is not installed: pip install 'dipmc[xarray]'") from error
        coordinates = {
            "mode": np.array(self.modes),
            "trial": np.arange(self.trials),
            "width": self.widths,
            "flow_width": self.flow_widths,
            "saved_trial": self.saved_trials,
        }
        variables = {name: (field_of(name).dims, self.data[name], field_of(name).attributes()) for name in self.data}
        used = {dim for dims, _, _ in variables.values() for dim in dims}
        if "time" in used:
            coordinates["time"] = np.arange(self.data["t"].shape[-1])
        if "entry" in used:
            coordinates["entry"] = np.arange(self.data["signal"].shape[-1])
        kept = {dim: values for dim, values in coordinates.items() if dim in used}
        return xr.Dataset(variables, coords=kept, attrs=dict(self.attrs))

    def to_pandas(self) -> pd.DataFrame:
        """A tidy table: one row per (mode, trial, width) that was attempted; the column `computed` says what failed.

        Settings of the problem, datasets of fewer axes and, where the width is a flow width, datasets of the flow stand
        in columns of their own; enumerations are labels. Trajectories are not in it.

        Returns
        -------
        pandas.DataFrame
            Columns ``cell, mode, trial, width``, the settings of the problem, then the datasets by name.
        """
        import pandas as pd

        attempted = np.broadcast_to(
            self.data["computed"] != Computed.ABSENT, (len(self.modes), self.trials, len(self.widths))
        )
        mode, trial, width = np.nonzero(attempted)
        columns: dict[str, Any] = {
            "cell": np.full(len(mode), self.index),
            "mode": pd.Categorical.from_codes(mode, list(self.modes)),
            "trial": trial,
            "width": self.widths[width],
        }
        columns |= {name: [value] * len(mode) for name, value in self.problem.items() if np.isscalar(value)}
        position = np.searchsorted(self.flow_widths, self.widths)
        for name in self.data:
            field = field_of(name)
            if "trial" not in field.dims:
                continue
            array = self.data[name]
            if field.dims[-1] == "flow_width":
                array = _on_widths(array, field, self.flow_widths, self.widths, position)
            index = {"mode": mode, "trial": trial, "width": width, "flow_width": width}
            values = array[tuple(index[dim] for dim in field.dims)]
            columns[name] = values if field.enum is None else _labels(values, field)
        return pd.DataFrame(columns)


def _on_widths(
    array: NDArray[Any],
    field: Field,
    flow_widths: IntArray,
    widths: IntArray,
    position: Index,
) -> NDArray[Any]:
    """Spread the last axis from flow widths to widths, the rest at the fill value."""
    spread = np.full((*array.shape[:-1], len(widths)), field.fill, dtype=array.dtype)
    there = np.isin(widths, flow_widths)
    spread[..., there] = array[..., position[there]]
    return spread


def _labels(values: NDArray[Any], field: Field) -> pd.Categorical:
    """Codes of an enumeration as labels; "not computed" becomes missing."""
    import pandas as pd

    assert field.enum is not None
    return pd.Categorical.from_codes(values, [member.label for member in field.enum])


@dataclass(frozen=True)
class Results:
    """A run: what `mc.load` returns.

    Parameters
    ----------
    path : Path
        The file results.h5.
    experiment_text : str
        The experiment, every default written out (TOML).
    attrs : mapping
        Root attributes: identity, seed, versions, git commit, wall-clock facts.
    cells : tuple of CellResults
        The grid of problems, in its order.
    """

    path: Path
    experiment_text: str
    attrs: Mapping[str, Any]
    cells: tuple[CellResults, ...]

    def to_xarray(self) -> dict[str, xr.Dataset]:
        """One dataset per cell, by the name of its group (``c000``, ...); see `CellResults.to_xarray`."""
        return {cell.group: cell.to_xarray() for cell in self.cells}

    def to_pandas(self) -> pd.DataFrame:
        """The tidy tables of all cells, one below the other; see `CellResults.to_pandas`."""
        import pandas as pd

        return pd.concat([cell.to_pandas() for cell in self.cells], ignore_index=True)
