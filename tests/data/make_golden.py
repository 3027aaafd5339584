"""Write the golden run of the current schema version: ``python tests/data/make_golden.py``.

A golden run is made once per schema version and then kept as it is: it stands for the files that users have.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from mc.experiment.experiment import Experiment
from mc.runner.execute import run
from mc.store.results import load
from mc.version import SCHEMA_VERSION

HERE = Path(__file__).parent
TABLES: dict[str, dict[str, Any]] = {
    "experiment": {"name": "golden", "seed": 20, "trials": 3, "block_size": 2},
    "problem": {"n": 3, "m": 2, "operator": ["gaussian", "orthonormal"], "noise": 0.1},
    "network": {"mode": ["hidden", "both"], "d": 20},
    "widths": {"values": [3, 16, 64]},
    "flow": {"widths": [3, 64], "save": {"trials": 1, "times": 4}},
}


def numbers(folder: Path) -> dict[str, dict[str, Any]]:
    """Of every dataset, type, shape, digest of the bytes, and the first values to read a failure by."""
    found = {}
    for cell in load(folder).cells:
        for name, array in cell.data.items():
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            found[f"{cell.group}/{name}"] = {
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
                "first": [repr(value) for value in array.ravel()[:3].tolist()],
            }
    return found


def main() -> None:
    """Run, compress, and write the numbers beside."""
    golden = HERE / f"golden-schema-{SCHEMA_VERSION}"
    if golden.exists():
        sys.exit(f"{golden}: is there; a golden run is never made again (raise SCHEMA_VERSION, or delete it)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # the machine and the commit would only make the file larger
        with (
            patch("mc.runner.jobs.host_name", lambda: "golden"),
            patch("mc.runner.execute.host_name", lambda: "golden"),
            patch("mc.runner.execute.git_commit", lambda: "unknown"),
        ):
            assert run(Experiment.from_dict(TABLES), folder).failures == ()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = golden / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".h5":
                # what HDF5 writes of so few numbers is nine tenths empty space
                target.with_name(target.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
            else:
                target.write_bytes(path.read_bytes())
        (golden / "numbers.json").write_text(json.dumps(numbers(folder), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
