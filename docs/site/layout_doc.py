"""docs/format.md, made from the declarations: ``python docs/site/layout_doc.py > docs/format.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from mc.store.blocks import MAKER_FACTS, BlockHeader
from mc.store.layout import BLOCK_LAYOUT, COORDINATES, FAMILIES, MERGE_LAYOUT, RARE_LAYOUT, Field
from mc.theory.codes import NOT_COMPUTED, Labelled
from mc.version import SCHEMA_VERSION

HEADER_WORDS = {
    "identity": "SHA-256 of `identity_fields` (below)",
    "identity_fields": "JSON: the settings behind `identity`",
    "cell": "canonical JSON of the cell: resolved `[problem]` values and output law",
    "key": "the first 16 hex digits of the SHA-256 of `cell`",
    "block": "number of the block within the cell, from 0",
    "first_trial": "its first trial",
    "n_trials": "its number of trials; the last block of a run is whole too",
    "widths": "JSON list: the axis `width`",
    "flow_widths": "JSON list: the axis `flow_width`",
    "ladder": "JSON list: the certificates that were asked for",
    "modes": "JSON list: the axis `mode`",
    "seed": "seed of the experiment",
    "stream_digest": "SHA-256 of the first 1024 neurons of trial 0 of the cell, as NumPy drew them",
    "claims": "JSON list: the claims that were checked along every trajectory",
    "schema_version": "version of this format",
    "facts": f"JSON: when, where and by what the file was made ({', '.join(MAKER_FACTS)}, ...); outside the checksum",
    "checksum": "SHA-256 of the header and of every dataset (below)",
}
"""What a reader is told of each attribute of a block file."""

_BLOCKS = """# The files of a run, schema version {version}

This page is made from the declarations in the code by `python docs/site/layout_doc.py`; a test compares them.

A run folder holds `experiment.toml` (the experiment, every default written out), `blocks/*.h5` and `results.h5`.
Every file is HDF5 or text, is written under a temporary name, and gets its own name when it is complete.
`dipmc verify RUN` checks all of it. The HDF5 files are in the format of HDF5 1.10, whose metadata has checksums;
numbers are in chunks along the trials, shuffled and gzipped, every bit of float64 kept.

## Block files

`blocks/<key>-<block>-<part>.h5` holds one block of consecutive trials of one cell at some widths, and is never
changed: `key` and `block` (six digits at least) as below, `part` the first 12 hex digits of the SHA-256 of the
canonical JSON of `{{flow_widths, ladder, widths}}`, and of `claims` where some are checked along every trajectory.
Widths that are added later come in files of another part.
Canonical JSON has sorted keys and no spaces. A file has no groups; its attributes are

{header}

`checksum` is the SHA-256 of the canonical JSON of the attributes above, `facts` and itself aside (JSON in them is
taken as what it says, not as text), followed for each dataset in the order of names by a line feed, the name, a line
feed, the NumPy type in little endian (such as `<f8`), a line feed, the shape as `[2, 4, 3]`, a line feed and the bytes
in C order. A file whose checksum differs is refused.

## Identity

`identity` is the digest of all that changes a number at a given cell, trial and width: `seed`, `problem`, `network`,
`loss`, `flow` without its widths, `schema_version` and `numerics_version`. Name, trials, widths, claims and the
settings of the estimates are not part of it, so a run can grow in these. Files of different identity never mix.

## results.h5

Written by `dipmc merge` from the block files. The root attributes are `schema_version`, `experiment` (the text),
`identity` (the SHA-256 of the identities of the cells, one a line), `seed`, `trials`, `sampling`, `complete` (1 when
every trial of every width is there), `merge_id` (new at every merge), what made it and, where blocks failed, `failures`
(JSON: key, block, place and error of at most 100 of them). Each cell is a group `/c000`,
`/c001`, ... with the attributes `index`, `key`, `canonical`, `identity`, `stream_digest`, `problem` (JSON), each
setting of the problem by its name, `seconds` and `computed_by`, `blocks` (the SHA-256 of the names of the block files
it was merged from, and of the failures that are noted, one a line) and `checksums`.

`checksums` is JSON: for each dataset of the group a SHA-256. Of numbers it is that of the line `type shape`, such as
`<f8 [2, 400, 11]`, a line feed, and the SHA-256 (as bytes) of the numbers in little endian and C order: one for each
mode where the first axis is `mode`, else one in all. Of `mode` it is that of the line `str [2]`, a line feed, and the
words, each with a line feed. The root attribute `checksum` is the SHA-256 of the canonical JSON of the attributes of
the root (`/`, without `checksum`) and of every group by its name (`c000`), so that nothing that `mc.load` gives can
change unnoticed. Files of schema version 1 have neither.

Its datasets are those of the block files, put together along `trial` and `width`, with dimension scales.
"""

_READING = """## Fill values

What was not computed is NaN in float64, NOT_COMPUTED in integers and enumerations (attribute `not_computed`). An
enumeration is int8 with its members in `flag_values` and their words in `flag_meanings`. Every dataset has
`long_name` and `units`; all quantities are dimensionless, `"1"`. In `results.h5` the dataset `computed` says which
trials of which widths are there at all: 0 where nobody computed them, 1 where they are there, 2 where their block
failed. A trial that failed is a row: its `outcome` is `error` where its flow was asked for, all else is at its fill
value, and every estimate counts it as undecided. Files written before such rows were made have 0 there; readers that
select by 1 need no change, so the schema version is the same.

## Reading

With h5py alone:

```python
import h5py

with h5py.File("data/quickstart/results.h5") as file:
    cell = file["c000"]
    modes = cell["mode"].asstr()[:].tolist()
    certified = cell["margin_sharp"][modes.index("hidden")] > 1.0  # (trial, width)
    there = cell["computed"][:] == 1
    share = dict(zip(cell["width"][:], (certified & there).sum(axis=0) / there.sum(axis=0)))
```

With xarray, by name and label:

```python
import xarray

with xarray.open_dataset("data/quickstart/results.h5", engine="h5netcdf", group="c000") as cell:
    share = (cell["margin_sharp"].sel(mode="hidden") > 1.0).mean("trial").to_series()
    names = cell["exact"].attrs["flag_meanings"].split()
    reached = (cell["exact"] == names.index("reaches-zero")).sum("trial")
```

Or `mc.load`, which checks the schema version and reads a dataset when it is asked for:

```python
import mc

results = mc.load("data/quickstart")
table = results.to_pandas()
first = results.cells[0].to_xarray()
```

One block file, its numbers under the checksum:

```python
import json
from pathlib import Path

import h5py

path = sorted(Path("data/quickstart/blocks").glob("*.h5"))[0]
with h5py.File(path) as file:
    widths = json.loads(file.attrs["widths"])
    dims = {name: dataset.attrs["dims"].split() for name, dataset in file.items()}
    psi_0 = file["psi_0"][:]
```
"""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(*rows: tuple[str, ...]) -> str:
    head, *rest = rows
    return "\n".join([_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rest)])


def _enum_name(kind: type[Labelled]) -> str:
    return f"`{kind.__name__}`"


def _fields(fields: Iterable[Field]) -> str:
    rows = [("dataset", "type", "what it is", "rung")]
    for field in fields:
        kind = field.dtype if field.enum is None else f"{field.dtype}, {_enum_name(field.enum)}"
        rows.append((f"`{field.name}`", kind, field.long_name, f"`{field.rung}`" if field.rung else ""))
    return _table(*rows)


def _sections() -> Iterator[str]:
    names = [*BlockHeader.__dataclass_fields__, "checksum"]
    header = _table(("attribute", "what it is"), *((f"`{name}`", HEADER_WORDS[name]) for name in names))
    yield _BLOCKS.format(version=SCHEMA_VERSION, header=header)
    yield "### Coordinates\n"
    yield _table(("coordinate", "type", "what it is"), *((f"`{f.name}`", f.dtype, f.long_name) for f in COORDINATES))
    yield "\n### Datasets\n\nA dataset with a rung is there, or is not a fill value, when the ladder has the rung."
    every = (*BLOCK_LAYOUT, *MERGE_LAYOUT)
    for dims in dict.fromkeys(field.dims for field in every):
        yield f"\n#### ({', '.join(dims)})\n"
        yield _fields(field for field in every if field.dims == dims)
    merged = ", ".join(f"`{field.name}`" for field in MERGE_LAYOUT)
    yield f"\n{merged} are in `results.h5` only."
    yield "\n#### With [rare], (trial, width)\n"
    yield "A repetition stands in one of the first trials of each block; the others hold the fill value.\n"
    yield _fields(RARE_LAYOUT)
    yield "\n#### Per claim and hypothesis\n"
    yield "Families, where they are computed: the end of the name says of which claim, hypothesis or dataset.\n"
    rows = [(f"`{f.name}...`", f.dtype, ", ".join(f.dims), f"{f.long_name}...") for f in FAMILIES]
    yield _table(("datasets", "type", "axes", "what it is"), *rows)
    yield "\n### Enumerations\n"
    kinds = dict.fromkeys(field.enum for field in (*every, *FAMILIES) if field.enum is not None)
    members = [(_enum_name(kind), ", ".join(f"{int(m)} {m.label}" for m in kind)) for kind in kinds]
    yield _table(("enumeration", "values"), *members)
    yield ""
    yield _READING.replace("NOT_COMPUTED", str(NOT_COMPUTED))


def format_page() -> str:
    """The text of docs/format.md."""
    return "\n".join(_sections())


if __name__ == "__main__":
    sys.stdout.write(format_page())
