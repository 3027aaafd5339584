"""Draw networks and problems: output laws, seed addresses and the chunked neuron stream.

Every draw has an integer address (seed, cell, trial, what, chunk), so it does not depend on workers, order, restart,
activation, loss, mode, or on the other widths and trials of a run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.random import PCG64DXSM, Generator, SeedSequence

from mc.errors import InputError
from mc.model.arrays import Array
from mc.model.problem import Problem, draw_noise, draw_operator, draw_signal, make_problem

CHUNK = 1024
"""Neurons in a chunk; a chunk is always drawn whole."""

SHARED_TRIAL = 2**32 - 1
"""Trial number of the draws that all trials of a cell share."""

RARE_TILTED = 2**31
"""Added to the width, the last number of the address of a `What.RARE` stream, for tilted networks."""


class What(IntEnum):
    """Purpose of a stream: the fourth number of its address."""

    OPERATOR = 0
    SIGNAL = 1
    NOISE = 2
    NEURONS = 3
    WEIGHT_NORM = 4
    ESTIMATION = 5
    RARE = 6


def generator(seed: int, cell: tuple[int, int], trial: int, what: What, last: int = 0) -> Generator:
    """Open the stream at an address; ``last`` is the chunk (d for `What.WEIGHT_NORM`, the width for `What.RARE`)."""
    return Generator(PCG64DXSM(SeedSequence(seed, spawn_key=(*cell, trial, int(what), last))))


@dataclass(frozen=True)
class OutputLaw:
    """Law of the entries of V: iid, centred, unit variance (theory §1)."""

    name: str
    entry_bound: float
    """V_max, the bound of an entry; infinite where the law is outside the theorem."""
    subgaussian: bool
    """Whether E exp(t v) <= exp(t^2/2) for an entry v (theory §7.3)."""
    draw: Callable[[Generator, Array], None]
    """``draw(rng, out)`` fills a C-contiguous (n, CHUNK) array."""

    @property
    def in_theorem(self) -> bool:
        """Return whether the entries are bounded, as the theorem requires."""
        return bool(np.isfinite(self.entry_bound))


def _draw_uniform(rng: Generator, out: Array) -> None:
    # the bits of rng.uniform(-sqrt 3, sqrt 3, out.shape), in two thirds of its time (a test compares)
    rng.random(out=out)
    np.multiply(out, 2.0 * np.sqrt(3.0), out=out)
    np.subtract(out, np.sqrt(3.0), out=out)


def _draw_rademacher(rng: Generator, out: Array) -> None:
    out[...] = 2 * rng.integers(0, 2, out.shape) - 1


def _draw_gaussian(rng: Generator, out: Array) -> None:
    rng.standard_normal(out=out)


_LAWS = {
    law.name: law
    for law in (
        OutputLaw("uniform", float(np.sqrt(3.0)), True, _draw_uniform),
        OutputLaw("rademacher", 1.0, True, _draw_rademacher),
        OutputLaw("gaussian", float("inf"), True, _draw_gaussian),
    )
}
OUTPUT_LAWS = tuple(_LAWS)


def get_law(law: str | OutputLaw) -> OutputLaw:
    """Look an output law up by name; return an object as it is.

    Raises
    ------
    InputError
        If no law has that name.
    """
    if isinstance(law, OutputLaw):
        return law
    if law not in _LAWS:
        raise InputError(f"[network] output_law: unknown {law!r}; use one of {', '.join(OUTPUT_LAWS)}")
    return _LAWS[law]


def draw_chunk(
    seed: int, cell: tuple[int, int], trial: int, chunk: int, law: OutputLaw, h_out: Array, V_out: Array
) -> None:
    """Draw one chunk of neurons: h (CHUNK,) standard normal, then V (n, CHUNK) by the output law."""
    rng = generator(seed, cell, trial, What.NEURONS, chunk)
    rng.standard_normal(out=h_out)
    law.draw(rng, V_out)


def draw_network(
    seed: int, cell: tuple[int, int], trial: int, width: int, law: OutputLaw, n: int
) -> tuple[Array, Array]:
    """Draw the first ``width`` neurons of a trial: h (width,) and V (n, width), unscaled."""
    chunks = -(-width // CHUNK)
    h, V, piece = np.empty(chunks * CHUNK), np.empty((n, chunks * CHUNK)), np.empty((n, CHUNK))
    for chunk in range(chunks):
        here = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        draw_chunk(seed, cell, trial, chunk, law, h[here], piece)
        V[:, here] = piece
    return h[:width].copy(), V[:, :width].copy()


def draw_problem(spec: Mapping[str, Any], seed: int, cell: tuple[int, int], trial: int) -> Problem:
    """Draw the inverse problem of a trial, or the one that all trials of the cell share.

    Parameters
    ----------
    spec : mapping
        Resolved [problem] values; ``resample`` is "trial" or "cell".
    """
    address = SHARED_TRIAL if spec.get("resample", "trial") == "cell" else trial
    A = draw_operator(spec, generator(seed, cell, address, What.OPERATOR))
    if "n" in spec and A.shape[1] != spec["n"]:
        raise InputError(f"[problem] n: {spec['n']} does not fit the operator's {A.shape[1]} columns: make them equal")
    xbar = draw_signal(spec, A.shape[1], generator(seed, cell, address, What.SIGNAL))
    clean = make_problem(A, xbar, rank_tol=spec.get("rank_tol"))
    noise = draw_noise(spec, clean.ybar, clean.U, generator(seed, cell, address, What.NOISE))
    return make_problem(A, xbar, noise, spec.get("rank_tol")) if noise.any() else clean


def stream_digest(seed: int, cell: tuple[int, int], n: int, law: str | OutputLaw) -> str:
    """Return the SHA-256 (hex) of chunk 0 of trial 0, which tells whether NumPy still draws the same neurons."""
    h, V = np.empty(CHUNK), np.empty((n, CHUNK))
    draw_chunk(seed, cell, 0, 0, get_law(law), h, V)
    return hashlib.sha256(h.tobytes() + V.tobytes()).hexdigest()
