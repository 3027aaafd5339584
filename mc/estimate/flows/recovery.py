"""How near a generated signal comes to the truth, and where early stopping would have stopped (theory §4 ii, §6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.errors import InputError
from mc.model.arrays import Array, Mask
from mc.model.draws import SHARED_TRIAL, What, draw_problem, generator
from mc.model.problem import draw_noise, draw_operator, draw_signal
from mc.store.results import CellResults


@dataclass(frozen=True)
class Truth:
    """Signal and observation of a trial."""

    signal: Array  # xbar, (n,)
    back: Array  # the observation in signal space, (n,): y where A is square, else A^T y
    seen: Mask  # entries that A observes, (n,)

    @property
    def span(self) -> float:
        """Largest entry less the smallest: the peak of `psnr`."""
        return float(np.ptp(self.signal))


def address(spec: Mapping[str, Any], trial: int) -> int:
    """Return the number under which the problem of a trial is drawn."""
    return SHARED_TRIAL if spec.get("resample", "trial") == "cell" else trial


def true_span(spec: Mapping[str, Any], seed: int, cell: tuple[int, int], trial: int) -> float:
    """Return the range of the signal of a trial, drawn again without its operator."""
    return float(np.ptp(draw_signal(spec, int(spec["n"]), generator(seed, cell, address(spec, trial), What.SIGNAL))))


def truth_of(spec: Mapping[str, Any], seed: int, cell: tuple[int, int], trial: int) -> Truth:
    """Draw signal and observation of a trial again; `cell` holds the two words of the id of its cell.

    A mask is not decomposed: its rows are orthonormal, so that no noise is projected away.
    """
    if spec["operator"] != "mask":
        problem = draw_problem(spec, seed, cell, trial)
        square = problem.A.shape[0] == problem.A.shape[1]
        back = problem.y if square else problem.A.T @ problem.y
        return Truth(problem.xbar, back, np.any(problem.A != 0.0, axis=0))
    number = address(spec, trial)
    A = draw_operator(spec, generator(seed, cell, number, What.OPERATOR))
    signal = draw_signal(spec, A.shape[1], generator(seed, cell, number, What.SIGNAL))
    clean = A @ signal
    noise = draw_noise(spec, clean, np.eye(A.shape[0]), generator(seed, cell, number, What.NOISE))
    return Truth(signal, A.T @ (clean + noise), np.any(A != 0.0, axis=0))


def psnr(error: Array, n: int, span: float) -> Array:
    """Return the peak signal-to-noise ratio in decibels: 20 log10 of `span`, the range of xbar, over the rms error.

    `error` holds norms |x - xbar| of n entries.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(20.0 * np.log10(span * np.sqrt(n) / np.asarray(error)))


def first_within(residual: Array, level: float) -> int:
    """Return the index of the first saved time at which |y(t) - y| is at most a level; -1 without one."""
    within = np.flatnonzero(residual <= level)
    return int(within[0]) if within.size else -1


@dataclass(frozen=True)
class Course:
    """One saved trajectory of the loss mse as errors of the signal, (P,) each; NaN after the end."""

    mode: str
    width: int
    trial: int
    time: Array
    psnr: Array  # decibels
    residual: Array  # |y(t) - y|
    observation: Array  # |y(t) - ybar|
    in_range: Array  # parts of |x(t) - xbar|
    in_kernel: Array
    noise: float  # |eps|
    sigma_A: float  # smallest nonzero singular value of A
    stop: int  # index at which the discrepancy principle stops at |eps|; -1: never
    stop_twice: int  # the same at 2 |eps|

    @property
    def best(self) -> int:
        """Index of the largest `psnr`."""
        return int(np.nanargmax(self.psnr))

    @property
    def last(self) -> int:
        """Index of the last saved state."""
        return int(np.flatnonzero(np.isfinite(self.psnr))[-1])

    @property
    def recovery_bound(self) -> Array:
        """Bound of the part of the error in the range of A^T, (|y(t) - y| + |eps|)/sigma_A (theory §6)."""
        return np.asarray((self.residual + self.noise) / self.sigma_A)

    def at(self, index: int) -> float:
        """Return the decibels at a saved time; NaN at index -1."""
        return float(self.psnr[index]) if index >= 0 else float("nan")


def courses(
    cell: CellResults, spec: Mapping[str, Any], seed: int, cell_id: tuple[int, int], loss: str
) -> tuple[Course, ...]:
    """Return the saved trajectories of a cell, mode by mode, width by width.

    `spec` holds the resolved [problem] values with the paths of its files, which the results do not have, and
    `cell_id` the two words of the id of the cell. |y(t) - y| is computed from the loss: InputError unless it is mse.
    """
    if loss != "mse":
        raise InputError(f"[loss] kind: |y(t) - y| is stored as the loss mse only, not as {loss!r}; use mse")
    if "signal_error" not in cell:
        return ()
    n, trajectories = int(spec["n"]), []
    names = ("t", "signal_error", "loss", "observation_error", "signal_error_range", "signal_error_kernel")
    data = {name: cell[name] for name in names}
    noise, sigma_A = cell["norm_eps"], cell["sigma_A"]
    spans = [true_span(spec, seed, cell_id, int(trial)) for trial in cell.saved_trials]
    for mode, width, row in np.ndindex(len(cell.modes), len(cell.flow_widths), len(cell.saved_trials)):
        place = (mode, row, width)
        if not np.isfinite(data["signal_error"][place]).any():
            continue
        trial = int(cell.saved_trials[row])
        residual = np.sqrt(2.0 * data["loss"][place])
        level = float(noise[trial])
        trajectories.append(
            Course(
                cell.modes[mode],
                int(cell.flow_widths[width]),
                trial,
                data["t"][place],
                psnr(data["signal_error"][place], n, spans[row]),
                residual,
                data["observation_error"][place],
                data["signal_error_range"][place],
                data["signal_error_kernel"][place],
                level,
                float(sigma_A[trial]),
                first_within(residual, level),
                first_within(residual, 2.0 * level),
            )
        )
    return tuple(trajectories)
