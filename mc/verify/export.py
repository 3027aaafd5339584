"""One trial as plain arrays: everything a referee needs to recompute its numbers with dense linear algebra."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mc.errors import InputError
from mc.experiment.arrays import OBJECT
from mc.experiment.experiment import Experiment
from mc.model.draws import draw_network, draw_problem, get_law
from mc.runner.plan import load_frozen
from mc.store.files import write_bytes

LARGEST_BYTES = 2e9
"""Largest network that is written: drawing and compressing it takes its memory a few times over."""


def export_trial(run: Path, cell: int, trial: int, width: int, out: Path) -> Path:
    """Write a trial of a run folder to a .npz file; see `write_export`.

    `width` goes up to the largest width of the run, and need not be one of its widths.

    Raises
    ------
    InputError
        If the address is not in the run, or the file cannot be written.
    """
    experiment = load_frozen(run)
    cells = experiment.cells()
    _require_in("--cell", cell, len(cells), "cells")
    if experiment.trials is not None:
        _require_in("--trial", trial, experiment.trials, "trials")
    elif trial < 0:
        raise InputError(f"--trial {trial}: trials are numbered from 0")
    largest = experiment.widths[-1]
    if not 1 <= width <= largest:
        raise InputError(f"--width {width}: the run goes up to {largest}; use 1 to {largest}")
    size = 8 * width * (cells[cell].problem["n"] + 1)
    if size > LARGEST_BYTES:
        fix = "use a smaller width"
        raise InputError(
            f"--width {width}: V0 and h0 take {size / 1e9:.3g} GB, more than {LARGEST_BYTES / 1e9:g}; {fix}"
        )
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of a file to write (.npz)")
    for table, key, value in (
        ("problem", "operator", cells[cell].problem["operator"]),
        ("network", "output_law", experiment.document.network.output_law),
    ):
        if str(value).startswith(OBJECT):
            raise InputError(
                f"{run}: [{table}] {key} is a Python object, which a run folder does not hold; where the experiment "
                "is, call mc.verify.export.write_export(experiment, cell, trial, width, out)"
            )
    return write_export(experiment, cell, trial, width, out)


def write_export(experiment: Experiment, cell: int, trial: int, width: int, out: Path) -> Path:
    """Write the problem and network of a trial of an experiment to a .npz file.

    Parameters
    ----------
    experiment : Experiment
    cell, trial : int
        Address of the trial.
    width : int
        Number k of neurons.
    out : Path
        File to write.

    Returns
    -------
    Path
        The file, with keys A (m, n), xbar (n,), eps and y (m,), V0 (n, k), h0 (k,), activation, output_law, loss, p,
        cell, trial, width.
    """
    where = experiment.cells()[cell]
    network = experiment.document.network
    problem = draw_problem(where.problem, experiment.seed, where.id, trial)
    law = get_law(network.output_law)
    h, V = draw_network(experiment.seed, where.id, trial, width, law, problem.A.shape[1])
    activation = network.activation if isinstance(network.activation, str) else network.activation.name
    loss = experiment.document.loss
    kind = loss.kind if isinstance(loss.kind, str) else loss.kind.kind
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        A=problem.A,
        xbar=problem.xbar,
        eps=problem.eps,
        y=problem.y,
        V0=V,
        h0=h,
        activation=activation,
        output_law=law.name,
        loss=kind,
        p=2.0 if loss.p is None else loss.p,
        cell=cell,
        trial=trial,
        width=width,
    )
    write_bytes(out, buffer.getvalue())
    return out


def _require_in(name: str, value: int, count: int, what: str) -> None:
    if not 0 <= value < count:
        raise InputError(f"{name} {value}: the {what} of the run are numbered from 0 to {count - 1}; use one of these")
