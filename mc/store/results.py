"""Results of a run: results.h5 opened and checked, arrays by name, xarray datasets, a tidy table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mc.errors import InputError
from mc.model.arrays import IntArray
from mc.store.checksums import array_digest, attributes_digest
from mc.store.hdf5 import attributes, memory, numbers, reading
from mc.store.layout import COORDINATES, Computed, field_of
from mc.version import READABLE, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

RESULTS = "results.h5"


class LazyArrays(Mapping[str, NDArray[Any]]):
    """Datasets by name, each read on first access by `read` (name to array) and kept, read-only."""

    def __init__(self, names: tuple[str, ...], read: Callable[[str], NDArray[Any]]) -> None:
        self._names = names
        self._read = read
        self._cache: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(f"{name!r} is not in these results, which hold {', '.join(self._names)}")
        if name not in self._cache:
            self._cache[name] = self._read(name)
            self._cache[name].flags.writeable = False
        return self._cache[name]

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
        The datasets in the file, out of the layout (`mc.store.layout`), each read on first access.
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
        """Return a dataset by name; its axes are `mc.store.layout.field_of(name).dims`."""
        return self.data[name]

    def __contains__(self, name: str) -> bool:
        return name in self.data

    @property
    def group(self) -> str:
        """Name of the cell's group in results.h5."""
        return f"c{self.index:03d}"

    def to_xarray(self) -> xr.Dataset:
        """Return a dataset with coordinates, `units` and `long_name`; enumerations stay int8 with their flags.

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
        """Return a tidy table with one row per attempted (mode, trial, width); the column `computed` says what failed.

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
        index = {"mode": mode, "trial": trial, "width": width, "flow_width": width}
        for name in self.data:
            field = field_of(name)
            if "trial" not in field.dims:
                continue
            array = self.data[name]
            if field.dims[-1] == "flow_width":
                # at a width without flow every dataset of the flow holds its fill value
                spread = np.full((*array.shape[:-1], len(self.widths)), field.fill, dtype=array.dtype)
                flows = np.isin(self.widths, self.flow_widths)
                spread[..., flows] = array[..., position[flows]]
                array = spread
            columns[name] = array[tuple(index[dim] for dim in field.dims)]
            if field.enum is not None:  # a code that is "not computed" becomes missing
                columns[name] = pd.Categorical.from_codes(columns[name], [member.label for member in field.enum])
        return pd.DataFrame(columns)


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
        """Return one dataset per cell, by the name of its group (``c000``, ...); see `CellResults.to_xarray`."""
        return {cell.group: cell.to_xarray() for cell in self.cells}

    def to_pandas(self) -> pd.DataFrame:
        """Return the tidy tables of all cells, one below the other; see `CellResults.to_pandas`."""
        import pandas as pd

        return pd.concat([cell.to_pandas() for cell in self.cells], ignore_index=True)


def load(run: str | Path) -> Results:
    """Open the results of a run; arrays are read, and checked against their checksums, on first access.

    Parameters
    ----------
    run : str or Path
        A run folder, or a file results.h5.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        When there are no results, or the file is damaged, of another schema version, or made by an option that an
        earlier version had (``--virtual``, ``--compression``).
    """
    path = Path(run)
    if path.is_dir():
        path = path / RESULTS
    with reading(path, _advice(path)) as handle:
        attrs = attributes(handle)
        version = int(attrs["schema_version"])
        if version not in READABLE:
            raise InputError(
                f"{path}: schema version {version}, this code reads up to {SCHEMA_VERSION}; "
                "use the version of dipmc that wrote it"
            )
        groups = {name: attributes(handle[name]) for name in handle}
        stored = attrs.pop("checksum", None)
        # files of the first version have no checksums
        unchecked = version == 1 and stored is None and not any("checksums" in group for group in groups.values())
        if not unchecked and stored != attributes_digest({"/": attrs, **groups}):
            raise ValueError("the checksum of the attributes differs")
        if attrs.get("compression", "gzip") != "gzip":
            advice = f"run `dipmc merge {path.parent}`"
            raise InputError(f"{path}: packed with {attrs['compression']} by an earlier version: {advice}")
        cells = [_CellReader(path, name, str(attrs["merge_id"]), groups[name]).open(handle[name]) for name in groups]
        return Results(path, str(attrs["experiment"]), attrs, tuple(sorted(cells, key=lambda cell: cell.index)))


def _advice(path: Path) -> str:
    return f"`dipmc merge {path.parent}` writes it"


def digest_axis(name: str) -> int:
    """Return the axis of the rows in the checksum of a dataset of results.h5; 0 for what the layout does not have."""
    try:
        return field_of(name).row_axis
    except KeyError:
        return 0


class _CellReader:
    """Reads the group of one cell, each dataset on first access."""

    def __init__(self, path: Path, name: str, merge_id: str, attrs: Mapping[str, Any]) -> None:
        self.path, self.name, self.merge_id, self.attrs = path, name, merge_id, attrs
        self.checksums: Mapping[str, str] | None = json.loads(attrs["checksums"]) if "checksums" in attrs else None

    def open(self, group: h5py.Group) -> CellResults:
        """Return the cell, of which only the axes are read."""
        names = set(group)
        if self.checksums is not None and names != set(self.checksums):
            raise ValueError(f"{self.name}: datasets came or went")

        def axis(name: str) -> IntArray:
            return np.asarray(self._checked(group, name), dtype=np.int64) if name in names else np.empty(0, np.int64)

        return CellResults(
            index=int(self.attrs["index"]),
            key=str(self.attrs["key"]),
            problem=json.loads(self.attrs["problem"]),
            attrs={name: value for name, value in self.attrs.items() if name != "checksums"},
            modes=tuple(mode.decode() for mode in self._checked(group, "mode")),
            trials=len(self._checked(group, "trial")),
            widths=axis("width"),
            flow_widths=axis("flow_width"),
            saved_trials=axis("saved_trial"),
            data=LazyArrays(tuple(sorted(names - {declared.name for declared in COORDINATES})), self.read),
        )

    def read(self, name: str) -> NDArray[Any]:
        """Read one whole dataset.

        A file that was merged again since is read only where its checksum says that the numbers are the same.
        """
        with reading(self.path, _advice(self.path)) as handle:
            if handle.attrs["merge_id"] != self.merge_id:
                stored = json.loads(handle[self.name].attrs["checksums"]) if self.name in handle else {}
                if self.checksums is None or stored.get(name) != self.checksums[name]:
                    raise InputError(f"{self.path}: was rewritten after it was loaded; load it again")
            return self._checked(handle[self.name], name)

    def _checked(self, group: h5py.Group, name: str) -> NDArray[Any]:
        # fill values take no room in the file, so its size is no bound
        array = np.asarray(group[name][()]) if name == "mode" else numbers(group[name].id, memory())
        if self.checksums is not None and array_digest(array, digest_axis(name)) != self.checksums[name]:
            raise ValueError(f"checksum of {name} differs")
        return array
