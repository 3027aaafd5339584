"""The random streams of the analysis: addressed like those of the simulation, so that every estimate repeats."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from mc.model.draws import SHARED_TRIAL, What, generator

if TYPE_CHECKING:
    from numpy.random import Generator


class Purpose(IntEnum):
    """What a stream of the analysis is for: the last number of its address."""

    LACK_OF_FIT = 0
    SCALING = 1
    STOPPING = 2
    CROSSINGS = 3
    ADAPTIVE = 4


NO_CELL = (0, 0)
"""The cell of what belongs to no cell, e.g. a self-test."""


def stream(seed: int, purpose: Purpose, cell: tuple[int, int] = NO_CELL, trial: int = SHARED_TRIAL) -> Generator:
    """Open a stream of the analysis.

    Parameters
    ----------
    seed : int
    purpose : Purpose
    cell : tuple of int
        As in `mc.model.draws.generator`.
    trial : int

    Returns
    -------
    Generator
    """
    return generator(seed, cell, trial, What.ESTIMATION, int(purpose))
