"""Compare the results of two checkouts, dataset by dataset, to show that a restructuring changes no number.

`run CHECKOUT OUT` computes the quickstart, the smoke scale of `reproduce` and every experiment of `experiments/claims/`
(at most `--trials` trials a cell) with the sources of CHECKOUT; `diff OLD NEW` compares two such folders. Exit status 1
when a dataset, a verdict or a median differs.

    python benchmarks/compare_checkouts.py run ../old /tmp/old
    python benchmarks/compare_checkouts.py run . /tmp/new
    python benchmarks/compare_checkouts.py diff /tmp/old /tmp/new
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import tomli_w

# Facts about the computer, the moment and the version of the code; every other key of a summary is a result.
INCIDENTAL = {
    "provenance", "seconds", "core_hours", "created", "version", "commit", "git_commit", "figures", "figure", "files",
}  # fmt: skip


def dipmc(checkout: Path, *words: str) -> None:
    """Run a command of the checkout in its own folder, and stop where it fails."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "mc", *words], cwd=checkout, check=True, stdout=subprocess.DEVNULL)
    print(f"{time.perf_counter() - started:7.1f} s  dipmc {' '.join(words[:2])}", flush=True)


def write_claims(source: Path, target: Path, trials: int) -> Path:
    """Copy the suite of claims with at most this many trials, all in one block a cell."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.toml"):
        experiment = tomllib.loads(path.read_text(encoding="utf-8"))
        if "suite" not in experiment:
            count = min(experiment["experiment"]["trials"], trials)
            experiment["experiment"] |= {"trials": count, "block_size": count}
        (target / path.name).write_text(tomli_w.dumps(experiment), encoding="utf-8")
    return target / "all.toml"


def run(checkout: Path, out: Path, trials: int, jobs: int) -> None:
    """Compute every study with the sources of a checkout."""
    checkout, out = checkout.resolve(), out.resolve()
    j = ("-j", str(jobs), "--quiet")
    claims = write_claims(checkout / "experiments/claims", out / "experiments", trials)
    dipmc(checkout, "run", "experiments/quickstart.toml", "-o", str(out / "quickstart"), *j)
    dipmc(checkout, "report", str(out / "quickstart"), "-o", str(out / "reports/quickstart"))
    dipmc(checkout, "run", str(claims), "-o", str(out / "claims"), "--yes", *j)
    dipmc(checkout, "report", str(out / "claims"), "-o", str(out / "reports/claims"))
    smoke = ("--scale", "smoke", "--runs", str(out / "paper"), "-o", str(out / "reports/paper"))
    dipmc(checkout, "reproduce", *smoke, *j)


def datasets(path: Path) -> dict[str, np.ndarray]:
    """Read every dataset of a results file."""
    found: dict[str, np.ndarray] = {}

    def add(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]

    with h5py.File(path) as file:
        file.visititems(add)
    return found


def relative_difference(old: np.ndarray, new: np.ndarray) -> float:
    """Return the largest difference relative to the larger entry; inf where the kind of the entries differs."""
    if old.dtype.kind != "f" or np.any(np.isnan(old) != np.isnan(new)):
        return np.inf
    old, new = old[~np.isnan(old)].astype(float), new[~np.isnan(new)].astype(float)
    unequal = old != new
    if not np.all(np.isfinite(old[unequal])) or not np.all(np.isfinite(new[unequal])):
        return np.inf
    with np.errstate(over="ignore"):
        ratio = np.abs(old - new)[unequal] / np.maximum(np.abs(old), np.abs(new))[unequal]
    return float(ratio.max(initial=0.0))


def dataset_differences(old: Path, new: Path, tolerance: float) -> Iterator[str]:
    """Yield one line for each dataset that differs between two folders of runs; print the totals."""
    names = [{path.relative_to(folder) for path in folder.rglob("results.h5")} for folder in (old, new)]
    yield from (f"{path}: in one folder only" for path in sorted(names[0] ^ names[1]))
    total, equal, largest = 0, 0, 0.0
    for path in sorted(names[0] & names[1]):
        before, after = datasets(old / path), datasets(new / path)
        yield from (f"{path}/{name}: in one file only" for name in sorted(before.keys() ^ after.keys()))
        for name in sorted(before.keys() & after.keys()):
            a, b = before[name], after[name]
            total += 1
            if a.dtype != b.dtype or a.shape != b.shape:
                yield f"{path}/{name}: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
            elif np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                equal += 1
            else:
                difference = relative_difference(a, b)
                largest = max(largest, difference)
                if difference > tolerance:
                    yield f"{path}/{name}: differs by {difference:.1e} relative"
    print(f"{len(names[0] & names[1])} results files, {total} datasets, {equal} equal to the last bit, "
          f"largest relative difference {largest:.1e}")  # fmt: skip


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the results of a summary with the path of keys that leads to each."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in INCIDENTAL:
                yield from leaves(item, f"{path}/{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}/{index}")
    else:
        yield path, value


def summary_differences(old: Path, new: Path, tolerance: float) -> Iterator[str]:
    """Yield one line for each verdict, median or limit of the reports that differs; print the totals."""
    paths = [{path.relative_to(folder) for path in folder.rglob("summary.json")} for folder in (old, new)]
    yield from (f"{path}: in one folder only" for path in sorted(paths[0] ^ paths[1]))
    total = 0
    for path in sorted(paths[0] & paths[1]):
        before = dict(leaves(json.loads((old / path).read_text(encoding="utf-8"))))
        after = dict(leaves(json.loads((new / path).read_text(encoding="utf-8"))))
        yield from (f"{path}{key}: in one summary only" for key in sorted(before.keys() ^ after.keys()))
        for key in sorted(before.keys() & after.keys()):
            a, b = before[key], after[key]
            total += 1
            close = isinstance(a, float) and isinstance(b, float) and np.isclose(a, b, rtol=tolerance, atol=0)
            if a != b and not close:
                yield f"{path}{key}: {a!r} and {b!r}"
    print(f"{len(paths[0] & paths[1])} summaries, {total} entries compared")


def main() -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="compute every study with the sources of a checkout")
    command.add_argument("checkout", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("--trials", type=int, default=24, help="largest number of trials a cell of the claims")
    command.add_argument("--jobs", type=int, default=2)
    command = commands.add_parser("diff", help="compare two folders that `run` wrote")
    command.add_argument("old", type=Path)
    command.add_argument("new", type=Path)
    command.add_argument("--tolerance", type=float, default=1e-12, help="largest relative difference accepted")
    options = parser.parse_args()
    if options.command == "run":
        run(options.checkout, options.out, options.trials, options.jobs)
        return 0
    lines = [*dataset_differences(options.old, options.new, options.tolerance)]
    lines += summary_differences(options.old / "reports", options.new / "reports", options.tolerance)
    print("\n".join(lines) or "no difference")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
