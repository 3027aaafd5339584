"""One pass over the neurons: the sums and maxima from which every width, rung and mode follows (theory §5).

Memory is independent of the width; the sums of a width do not depend on the other widths of the block: the sums over
whole chunks are carried, the part of the last chunk is added on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array
from mc.model.draws import CHUNK, draw_chunk
from mc.model.problem import ProblemBatch
from mc.theory.certificates import Spectra, spectra
from mc.trial.task import Group

STREAM_BYTES = 1_000_000
"""Size of the buffers of the trials that are streamed together: it fits a second-level cache."""


@dataclass(frozen=True)
class FirstNeurons:
    """The first neurons of T networks, for the limit and the flow."""

    h: Array  # pre-activations, (T, neurons)
    Q: Array  # Z^T V, (T, r, neurons)


@dataclass(frozen=True)
class WidthSums:
    """Sums over the first k neurons of T networks, for every width k of a block."""

    signal: Array  # Z^T V z, (T, widths, r)
    square_z: Array  # |z|^2, (T, widths)
    columns: tuple[Array, Array, Array]  # largest |V_i|, |Z^T V_i| and |A V_i|, (T, widths)
    sigma_low: Array  # lower bound of |z(t)|/sqrt(k) for all t in mode `both`, 0 where there is none, (T, widths)
    spectra: Mapping[str, Spectra]  # by mode, (T, widths)
    first: FirstNeurons


def subset_size(rank: int) -> int:
    """Return how many neurons nearly always decide the limit of wider networks (theory §7.4): whole chunks."""
    return CHUNK * max(1, -(-16 * rank // CHUNK))


def sum_neurons(group: Group) -> WidthSums:
    """Draw every neuron of a group once, a cache-sized number of trials at a time, and sum up to every width."""
    task, n, r, trials = group.task, group.batch.n, group.batch.rank, group.rows.size
    widths = task.widths
    subset = min(subset_size(r), -(-widths[-1] // CHUNK) * CHUNK) if task.needs_limit else 0
    neurons = max(subset, *(-(-width // CHUNK) * CHUNK for width in (0, *task.flow_widths)))
    shape = (trials, len(widths))
    out = WidthSums(
        signal=np.empty((*shape, r)),
        square_z=np.empty(shape),
        columns=(np.empty(shape), np.empty(shape), np.empty(shape)),
        sigma_low=np.zeros(shape),
        spectra={mode: Spectra(np.empty(shape), np.empty(shape), np.empty(shape)) for mode in task.modes},
        first=FirstNeurons(np.empty((trials, neurons)), np.empty((trials, r, neurons))),
    )
    size = max(1, STREAM_BYTES // (16 * n * CHUNK))
    for start in range(0, trials, size):
        rows = slice(start, min(start + size, trials))
        problems = group.batch.take(rows)
        for column, (width, sums) in enumerate(_stream(group, rows, problems, out.first)):
            out.signal[rows, column] = np.matmul(problems.Zt, sums.signal[:, :, None])[:, :, 0]
            out.square_z[rows, column] = sums.square_z
            out.sigma_low[rows, column] = sums.sigma_low(width)
            for largest, top in zip(out.columns, (sums.top_V, sums.top_Z, sums.top_A), strict=True):
                largest[rows, column] = np.sqrt(top)
            terms = CHUNK + width / CHUNK
            for mode in task.modes:
                values = spectra(sums.gram, sums.square_z, problems, width, mode, terms)
                for stored, value in zip(out.spectra[mode], values, strict=True):
                    stored[rows, column] = value
    return out


def _stream(group: Group, rows: slice, problems: ProblemBatch, first: FirstNeurons) -> Iterator[tuple[int, Sums]]:
    """Yield (width, sums over the first ``width`` neurons) for every width, and store the first neurons."""
    task, trials = group.task, group.task.first_trial + group.rows[rows]
    kept = FirstNeurons(first.h[rows], first.Q[rows])
    chunk = _Chunk(trials.size, problems, group.activation, floors=task.needs_floors)
    carry = Sums.zero(trials.size, problems.n)
    widths = list(task.widths)
    for number in range(-(-max(widths[-1], kept.h.shape[1]) // CHUNK)):
        start = number * CHUNK
        for row, trial in enumerate(trials):
            draw_chunk(task.seed, task.cell, int(trial), number, group.law, chunk.h[row], chunk.V[row])
        chunk.evaluate(kept, start)
        while widths and widths[0] < start + CHUNK:
            width = widths.pop(0)
            yield width, carry + chunk.sums(width - start)
        if widths:
            carry = carry + chunk.sums(CHUNK)
            if widths[0] == start + CHUNK:
                yield widths.pop(0), carry


@dataclass(frozen=True)
class Sums:
    """Sums over the first k neurons of T networks."""

    gram: Array  # sum phi'(h_i)^2 V_i V_i^T, unscaled by 1/k, (T, n, n)
    square_z: Array  # |z|^2, (T,)
    signal: Array  # sum z_i V_i, (T, n)
    top_V: Array  # largest |V_i|^2, (T,)
    top_Z: Array  # largest |Z^T V_i|^2, (T,)
    top_A: Array  # largest |A V_i|^2, (T,)
    floor_scale: Array  # sum (z_i^low)^2 = floor_sum exp(2 floor_scale) (theory §7.5), (T,)
    floor_sum: Array

    @classmethod
    def zero(cls, trials: int, n: int) -> Sums:
        """Return the sums over no neuron."""
        none = np.zeros(trials)
        return cls(
            np.zeros((trials, n, n)), none, np.zeros((trials, n)), none, none, none, np.full(trials, -np.inf), none
        )

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over the neurons of both operands."""
        scale = np.maximum(self.floor_scale, other.floor_scale)
        base = np.where(np.isfinite(scale), scale, 0.0)
        floors = self.floor_sum * np.exp(2.0 * (self.floor_scale - base))
        return Sums(
            self.gram + other.gram,
            self.square_z + other.square_z,
            self.signal + other.signal,
            np.maximum(self.top_V, other.top_V),
            np.maximum(self.top_Z, other.top_Z),
            np.maximum(self.top_A, other.top_A),
            scale,
            floors + other.floor_sum * np.exp(2.0 * (other.floor_scale - base)),
        )

    def sigma_low(self, width: int) -> Array:
        """Return a lower bound of |z(t)|/sqrt(k) for all t in mode `both`, (T,) (theory §7.5); 0 if none."""
        with np.errstate(divide="ignore", over="ignore"):
            log = np.log(self.floor_sum) - np.log(width)
        return np.asarray(np.exp(self.floor_scale + 0.5 * log))


class _Chunk:
    """Buffers and elementwise terms of one chunk of T networks."""

    def __init__(self, trials: int, problems: ProblemBatch, activation: Activation, *, floors: bool) -> None:
        n, r = problems.n, problems.rank
        self.problems, self.activation, self.floors = problems, activation, floors
        self.h, self.z, self.dphi = (np.empty((trials, CHUNK)) for _ in range(3))
        self.V, self.weighted = np.empty((trials, n, CHUNK)), np.empty((trials, n, CHUNK))
        self.Q = np.empty((trials, r, CHUNK))
        self.square_Z = np.empty((trials, 1, CHUNK))
        self.square_S = np.square(problems.S)[:, None, :]
        self.ones = np.ones((1, 1, r))

    def evaluate(self, kept: FirstNeurons, start: int) -> None:
        """Compute the terms of every neuron from the drawn h and V."""
        self.activation.phi_dphi(self.h, self.z, self.dphi)
        np.matmul(self.problems.Zt, self.V, out=self.Q)
        if start < kept.h.shape[1]:
            kept.h[:, start : start + CHUNK], kept.Q[:, :, start : start + CHUNK] = self.h, self.Q
        np.square(self.Q, out=self.Q)
        np.matmul(self.ones, self.Q, out=self.square_Z)
        self.square_A = np.matmul(self.square_S, self.Q)[:, 0]
        self.square_V = np.einsum("tnk,tnk->tk", self.V, self.V)
        np.square(self.dphi, out=self.dphi)
        np.multiply(self.V, self.dphi[:, None, :], out=self.weighted)
        if self.floors:
            log_floor = self.activation.log_phi_floor(self.h, 0.5 * self.square_Z[:, 0])
            self.scale = log_floor.max(axis=1)
            base = np.where(np.isfinite(self.scale), self.scale, 0.0)
            self.floor = np.exp(2.0 * (log_floor - base[:, None]))

    def sums(self, stop: int) -> Sums:
        """Return the sums over the first ``stop`` neurons of the chunk."""
        trials = self.h.shape[0]
        z = self.z[:, :stop]
        V = self.V[:, :, :stop]
        none = np.zeros(trials)
        return Sums(
            np.matmul(self.weighted[:, :, :stop], V.swapaxes(1, 2)),
            np.matmul(z[:, None, :], z[:, :, None])[:, 0, 0],
            np.matmul(V, z[:, :, None])[:, :, 0],
            self.square_V[:, :stop].max(axis=1),
            self.square_Z[:, 0, :stop].max(axis=1),
            self.square_A[:, :stop].max(axis=1),
            self.scale if self.floors else np.full(trials, -np.inf),
            self.floor[:, :stop].sum(axis=1) if self.floors else none,
        )
