"""One trial as plain arrays: everything a referee needs to recompute its numbers with dense linear algebra."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mc.atomic import write_bytes
from mc.ensemble import draw_network, draw_problem, get_law
from mc.errors import InputError
from mc.experiment import Experiment
from mc.plan import load_frozen


def export_trial(run: Path, cell: int, trial: int, width: int, out: Path) -> Path:
    """Write a trial's problem and network to a .npz file.

    Parameters
    ----------
    run : Path
        Run folder.
    cell, trial : int
        Address of the trial.
    width : int
        Number k of neurons.
    out : Path
        File to write.

    Returns
    -------
    Path
        The file, with keys A, xbar, eps, y, V0 (n x k), h0, activation, output_law, loss, p, cell, trial, width.

    Raises
    ------
    InputError
        If the address is not in the run, or the file cannot be written.
    """
    experiment = load_frozen(run)
    cells = experiment.cells()
    _require_in("--cell", cell, len(cells))
    trials = experiment.trials
    if trials is not None:
        _require_in("--trial", trial, trials)
    if width < 1:
        raise InputError(f"--width {width}: give a positive number of neurons")
    return write_export(experiment, cell, trial, width, out)


def write_export(experiment: Experiment, cell: int, trial: int, width: int, out: Path) -> Path:
    """Write a trial of an experiment to a .npz file; see `export_trial`."""
    where = experiment.cells()[cell]
    network = experiment.network
    problem = draw_problem(where.problem, experiment.seed, where.id, trial)
    law = get_law(network.output_law)
    h, V = draw_network(experiment.seed, where.id, trial, width, law, problem.A.shape[1])
    activation = network.activation if isinstance(network.activation, str) else network.activation.name
    kind = experiment.loss.kind if isinstance(experiment.loss.kind, str) else experiment.loss.kind.kind
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
        p=2.0 if experiment.loss.p is None else experiment.loss.p,
        cell=cell,
        trial=trial,
        width=width,
    )
    write_bytes(out, buffer.getvalue())
    return out


def _require_in(name: str, value: int, count: int) -> None:
    if not 0 <= value < count:
        raise InputError(f"{name} {value}: the run has {count}; use 0 to {count - 1}")
