"""Experiments and block functions of the tests of runs; a module, because worker processes import it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from block_stub import stub

from mc.experiment.experiment import Experiment
from mc.model.draws import CHUNK
from mc.trial.block import BlockTask


def experiment(**changes: Any) -> Experiment:
    """Build two cells of three blocks of four trials; keys ``table__key`` change the tables, None drops a key."""
    tables: dict[str, Any] = {
        "experiment": {"name": "tiny", "seed": 3, "trials": 10, "block_size": 4},
        "problem": {"n": [4, 5], "m": 2, "operator": "gaussian"},
        "network": {"mode": ["hidden", "both"], "d": 7},
        "loss": {"kind": "power", "p": 2.0},
        "widths": {"values": [10, 30, 100]},
        "flow": {"widths": [10, 100], "save": {"trials": 6, "times": 3}},
    }
    for name, value in changes.items():
        table, key = name.split("__")
        tables[table][key] = value
    return Experiment.from_dict({name: table for name, table in tables.items() if table})


WIDTHS = (10, 100, 3000)
TRUTH = {10: 0.5, 100: 0.9, 3000: 0.999}
HALF = {"target_half_width": 0.12, "min_trials": 20, "max_trials": 600}


def adaptive_tables(**changes: Any) -> dict[str, Any]:
    """Return the tables of an adaptive experiment with one rung, whose stub holds with the probabilities `TRUTH`."""
    found: dict[str, Any] = {
        "experiment": {"name": "adaptive", "seed": 3, "block_size": 16},
        "problem": {"n": 4, "m": 2, "operator": "orthonormal", "resample": "cell"},
        "network": {"mode": "hidden", "d": 7},
        "widths": {"values": list(WIDTHS)},
        "certificates": {"ladder": ["trial"]},
        "sampling": dict(HALF),
    }
    for name, value in changes.items():
        table, _, key = name.partition("__")
        found[table] = value if not key else {**found.get(table, {}), key: value}
    return {name: table for name, table in found.items() if table is not None}


def adaptive(**changes: Any) -> Experiment:
    """Build the experiment of `adaptive_tables`."""
    return Experiment.from_dict(adaptive_tables(**changes))


def coins(task: BlockTask) -> dict[str, Any]:
    """Return a block in which the certificate holds at a width with probability `TRUTH`, one number a trial."""
    found = stub(task)
    for name in ("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y"):
        found[name] = np.ones(task.n_trials)  # a problem the bounds accept
    for row in range(task.n_trials):
        address = np.random.SeedSequence(task.seed, spawn_key=(*task.cell, task.first_trial + row))
        u = np.random.Generator(np.random.PCG64DXSM(address)).random()
        for at, width in enumerate(task.widths):
            found["margin_trial"][:, row, at] = 2.0 if u < TRUTH.get(width, 0.5) else 0.5
    return found


class Counting:
    """A block function that remembers its tasks (inline only) and sends SIGINT at the block `stop_after`."""

    def __init__(self, compute: Callable[[BlockTask], dict[str, Any]] = stub, stop_after: int | None = None) -> None:
        self.compute, self.stop_after = compute, stop_after
        self.tasks: list[BlockTask] = []

    def __call__(self, task: BlockTask) -> dict[str, Any]:
        self.tasks.append(task)
        if len(self.tasks) == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)  # the handler runs between two instructions
        return self.compute(task)

    @property
    def neurons(self) -> int:
        """Neurons drawn: whole chunks up to the widest width of each block."""
        return sum(task.n_trials * -(-max(task.widths) // CHUNK) * CHUNK for task in self.tasks)


SCRIPT = """
import sys
from pathlib import Path
from block_stub import Sleeping, slow_stub
from run_stubs import experiment
from mc.runner.execute import run
from mc.runner.interrupts import Interrupted
folder, jobs = Path(sys.argv[1]), int(sys.argv[2])
compute = slow_stub if len(sys.argv) == 3 else Sleeping(Path(sys.argv[3]))
try:
    run(experiment(experiment__trials=400), folder, jobs=jobs, compute=compute)
except Interrupted as error:
    print(error)
    sys.exit(130)
"""


def start(*arguments: object, until: Callable[[], bool], script: str = SCRIPT) -> subprocess.Popen[str]:
    """Start a run of 200 blocks in a process group of its own, and wait until it is at work."""
    paths = [str(folder) for folder in Path(__file__).parents[:3]]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not until():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process
