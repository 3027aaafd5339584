"""Merging many blocks: ``python benchmarks/merge.py --blocks 10000 --trials 100 --widths 1 FOLDER``.

The blocks are made up: `DISTINCT` are written as the suite writes them, with random numbers, and copied under the other
names with block number, first trial and checksum put right, which takes a fraction of the time.
Measured: time a block, bytes, peak memory of the merging process, and what the disk and the checksums take alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from mc.experiment.experiment import Experiment
from mc.runner.jobs import build_job
from mc.runner.plan import Gap, freeze, load_frozen, run_plan
from mc.store.blocks import BLOCKS, BlockHeader, checksum, read_block, write_block
from mc.store.layout import BLOCK_LAYOUT, wanted
from mc.store.merge import merge
from mc.store.plan import RunPlan
from mc.store.results import load

DISTINCT = 512
"""Blocks after which the numbers come again: farther apart than deflate looks back."""
MERGE_MS = 5.0
"""Milliseconds a block may take beside its bytes at half the sequential rate of the disk."""


def experiment(blocks: int, trials: int, widths: int) -> Experiment:
    return Experiment.from_dict(
        {
            "experiment": {"name": "merge", "seed": 1, "trials": blocks * trials, "block_size": trials},
            "problem": {"n": 10, "m": 5, "operator": "gaussian"},
            "network": {"mode": ["hidden", "both"]},
            "widths": {"values": list(range(100, 100 + widths))},
        }
    )


def made_up(header: BlockHeader, plan: RunPlan) -> dict[str, np.ndarray]:
    """Random numbers on the layout of a block without flows."""
    rng = np.random.Generator(np.random.PCG64DXSM(header.block))
    sizes = {"mode": len(plan.modes), "trial": plan.block_size, "width": len(header.widths)}
    found = {}
    for field in BLOCK_LAYOUT:
        if set(field.dims) <= sizes.keys() and wanted(field.name, plan.ladder):
            shape = tuple(sizes[dim] for dim in field.dims)
            numbers = rng.lognormal(size=shape) if field.dtype == "float64" else rng.integers(0, 2, size=shape)
            found[field.name] = numbers.astype(field.dtype)
    return found


def make_blocks(run: Path, plan: RunPlan, made: Experiment) -> int:
    """Write the block files; returns the bytes of one."""
    gap = Gap(plan.cells[0], 0, plan.widths, ())
    header = replace(build_job(made, plan, gap, "0" * 64, run, {"seconds": 1.0}).header, stream_digest="0" * 64)
    written: list[tuple[bytes, dict[str, np.ndarray]]] = []
    for number in range(plan.n_blocks):
        own = replace(header, block=number, first_trial=number * plan.block_size)
        path = run / BLOCKS / own.file_name
        if number < DISTINCT:
            arrays = made_up(own, plan)
            written.append((write_block(run / BLOCKS, own, arrays).read_bytes(), arrays))
        elif not path.exists():
            content, arrays = written[number % DISTINCT]
            image = io.BytesIO(content)
            with h5py.File(image, "r+") as file:
                file.attrs.modify("block", own.block)
                file.attrs.modify("first_trial", own.first_trial)
                file.attrs.modify("checksum", checksum(own, arrays))
            path.write_bytes(image.getvalue())
    return len(written[0][0])


def disk_rate(folder: Path) -> float:
    """Bytes a second, written in one stream and forced to the disk."""
    path, piece = folder / "rate", os.urandom(2**24)
    begin = time.perf_counter()
    with path.open("wb") as handle:
        for _ in range(32):
            handle.write(piece)
        handle.flush()
        os.fsync(handle.fileno())
    seconds = time.perf_counter() - begin
    path.unlink()
    return 32 * len(piece) / seconds


def peak_memory() -> int:
    """Bytes that this process had in memory at most (Linux); `getrusage` would count those of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def worker(run: Path) -> None:
    """Merge in a process of its own, so that its memory is that of merging; times on stdout."""
    plan = run_plan(load_frozen(run))
    begin, work = time.perf_counter(), time.process_time()
    merge(run, plan, {})
    seconds, work = time.perf_counter() - begin, time.process_time() - work
    peak = peak_memory()
    begin = time.perf_counter()
    read = sum(cell[name].nbytes for cell in load(run).cells for name in ("margin_sharp", "psi_0"))
    print(
        json.dumps({"seconds": seconds, "work": work, "peak": peak, "load": time.perf_counter() - begin, "read": read})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=100, help="in a block")
    parser.add_argument("--widths", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the blocks, and use those that are there")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    run = options.folder
    if options.worker:
        worker(run)
        return
    made = experiment(options.blocks, options.trials, options.widths)
    plan = run_plan(made)
    freeze(made, run)
    begin = time.perf_counter()
    size = make_blocks(run, plan, made)
    print(f"{options.blocks} blocks of {options.trials} trials, {options.widths} width(s), {size} bytes each; "
          f"made in {time.perf_counter() - begin:.0f} s")  # fmt: skip
    rate = disk_rate(run)
    command = [sys.executable, __file__, str(run), "--worker"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    path = next((run / BLOCKS).iterdir())
    block = read_block(path)
    sample = range(200)
    begin = time.process_time()
    for _ in sample:
        read_block(path)
    verify = (time.process_time() - begin) / len(sample) * 1e3
    begin = time.process_time()
    for _ in sample:
        hashlib.sha256(b"".join(array.tobytes() for array in block.arrays.values())).digest()
    digest = (time.process_time() - begin) / len(sample) * 1e3
    each = found["seconds"] / options.blocks * 1e3
    allowed = MERGE_MS + size / (rate / 2) * 1e3
    print(f"disk {rate / 1e6:.0f} MB/s sequential; allowed {allowed:.2f} ms a block")
    work = found["work"] / options.blocks * 1e3
    verdict = "within" if each <= allowed else "ABOVE"
    peak, made_bytes = found["peak"] / 2**20, (run / "results.h5").stat().st_size
    took = f"merge {found['seconds']:.1f} s: {each:.2f} ms a block ({verdict}), of it work {work:.2f} ms"
    print(f"{took}; peak memory {peak:.0f} MiB")
    print(f"results.h5 {made_bytes / 1e6:.0f} MB, {made_bytes / plan.trials:.0f} bytes a trial")
    print(f"of that opening, unpacking and verifying a block {verify:.2f} ms, SHA-256 of its numbers {digest:.3f} ms")
    print(f"reading two datasets back, checked: {found['load']:.2f} s for {found['read'] / 1e6:.0f} MB")
    if not options.keep:
        shutil.rmtree(run)


if __name__ == "__main__":
    main()
