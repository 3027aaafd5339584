"""One pass over the neurons: the sums and maxima from which every width, rung and mode follows (theory §5).

Memory is independent of the width; the sums of a width do not depend on which other widths were asked for: whole
chunks are carried, the part of the last chunk is added on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mc.model.activations import Activation
from mc.model.arrays import Array
from mc.model.problem import ProblemBatch

DrawChunk = Callable[[int, int, Array, Array], None]
"""``draw(trial, chunk, h_out, V_out)`` fills h (chunk,) and V (n, chunk) of the trial-th network."""


@dataclass(frozen=True)
class Sums:
    """Sums over the first k neurons of T networks.

    Attributes
    ----------
    gram : (T, n, n) array
        sum phi'(h_i)^2 V_i V_i^T, unscaled by 1/k.
    square_z : (T,) array
        |z|^2.
    signal : (T, n) array
        sum z_i V_i.
    top_V, top_Z, top_A : (T,) arrays
        Largest |V_i|^2, |Z^T V_i|^2 and |A V_i|^2.
    floor_scale, floor_sum : (T,) arrays
        sum (z_i^low)^2 = floor_sum * exp(2 floor_scale), theory §7.5.
    """

    gram: Array
    square_z: Array
    signal: Array
    top_V: Array
    top_Z: Array
    top_A: Array
    floor_scale: Array
    floor_sum: Array

    @classmethod
    def zero(cls, trials: int, n: int) -> Sums:
        """Return the sums over no neuron."""
        none = np.zeros(trials)
        return cls(
            np.zeros((trials, n, n)), none, np.zeros((trials, n)), none, none, none, np.full(trials, -np.inf), none
        )

    def __add__(self, other: Sums) -> Sums:
        """Sums over both sets of neurons."""
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
        """(T,) lower bound of |z(t)|/sqrt(k) for all t in mode `both` (theory §7.5); 0 where there is none."""
        with np.errstate(divide="ignore", over="ignore"):
            log = np.log(self.floor_sum) - np.log(width)
        return np.asarray(np.exp(self.floor_scale + 0.5 * log))


@dataclass(frozen=True)
class Kept:
    """First neurons of each network, kept for the limit and the flow.

    Attributes
    ----------
    h : (T, kept) array
        Pre-activations.
    Q : (T, r, kept) array
        Z^T V.
    """

    h: Array
    Q: Array

    @classmethod
    def empty(cls, trials: int, rank: int, neurons: int) -> Kept:
        """Room for ``neurons`` neurons of each network."""
        return cls(np.empty((trials, neurons)), np.empty((trials, rank, neurons)))

    def rows(self, index: slice) -> Kept:
        """View of some trials."""
        return Kept(self.h[index], self.Q[index])


class _Chunk:
    """Buffers and elementwise terms of one chunk of T networks."""

    def __init__(self, trials: int, problems: ProblemBatch, activation: Activation, size: int, floors: bool) -> None:
        n, r = problems.n, problems.rank
        self.problems, self.activation, self.floors = problems, activation, floors
        self.h, self.z, self.dphi = (np.empty((trials, size)) for _ in range(3))
        self.V, self.weighted = np.empty((trials, n, size)), np.empty((trials, n, size))
        self.Q = np.empty((trials, r, size))
        self.square_Z = np.empty((trials, 1, size))
        self.square_S = np.square(problems.S)[:, None, :]
        self.ones = np.ones((1, 1, r))

    def evaluate(self, kept: Kept | None, start: int) -> None:
        """Terms of every neuron from the drawn h and V."""
        self.activation.phi_dphi(self.h, self.z, self.dphi)
        np.matmul(self.problems.Zt, self.V, out=self.Q)
        size = self.h.shape[1]
        if kept is not None and start < kept.h.shape[1]:
            kept.h[:, start : start + size], kept.Q[:, :, start : start + size] = self.h, self.Q
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
        """Sums over the first ``stop`` neurons of the chunk."""
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


def streamed_sums(
    draw: DrawChunk,
    trials: int,
    problems: ProblemBatch,
    activation: Activation,
    widths: Sequence[int],
    *,
    chunk_size: int,
    floors: bool = True,
    kept: Kept | None = None,
) -> Iterator[tuple[int, Sums]]:
    """Yield (width, sums over the first ``width`` neurons) for every width, drawing each neuron once.

    Parameters
    ----------
    draw : callable
        See `DrawChunk`; called once for each trial and chunk, the only Python loop over trials.
    trials : int
        Number T of networks advanced together.
    problems : ProblemBatch
        Of one row or T rows.
    widths : increasing ints
    chunk_size : int
        Neurons in a chunk.
    floors : bool
        Whether the floors of theory §7.5 are summed.
    kept : Kept, optional
        Filled with the first neurons (a multiple of the chunk size).
    """
    chunk = _Chunk(trials, problems, activation, chunk_size, floors)
    carry = Sums.zero(trials, problems.n)
    marks = list(widths)
    last = max(marks[-1] if marks else 0, kept.h.shape[1] if kept is not None else 0)
    for number in range(-(-last // chunk_size)):
        start = number * chunk_size
        for trial in range(trials):
            draw(trial, number, chunk.h[trial], chunk.V[trial])
        chunk.evaluate(kept, start)
        while marks and marks[0] < start + chunk_size:
            width = marks.pop(0)
            yield width, carry + chunk.sums(width - start)
        if marks:
            carry = carry + chunk.sums(chunk_size)
            if marks[0] == start + chunk_size:
                yield marks.pop(0), carry
