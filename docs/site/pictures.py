"""Pictures to recover, drawn by formulas: ``python docs/site/pictures.py 64 experiments/paper/phantom-64.npz``."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

from mc.model.arrays import Array, Mask
from mc.store.files import write_bytes

UNIT = 64.0
"""Levels of a byte in one unit of the signal: the picture has about the variance of the other signals, one."""


def phantom(side: int) -> Array:
    """A head with a disc, a square, a ramp and a dark bar: edges of all directions, flat parts and a slope.

    Parameters
    ----------
    side : int
        Pixels of a side; the same picture at every resolution.

    Returns
    -------
    (side, side) array
        Grey levels, whole multiples of 1/64 from 0 to below 4: a byte each.
    """
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    level = np.full((side, side), 32.0)

    def paint(where: Mask, value: float | Array) -> None:
        level[where] = value

    def ellipse(x0: float, y0: float, a: float, b: float) -> Mask:
        return np.asarray(((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 < 1.0)

    def box(x0: float, y0: float, a: float, b: float) -> Mask:
        return np.asarray((np.abs(x - x0) < a) & (np.abs(y - y0) < b))

    paint(ellipse(0.5, 0.5, 0.44, 0.46), 96.0)
    paint(ellipse(0.5, 0.5, 0.38, 0.40), 64.0)
    paint(ellipse(0.36, 0.36, 0.12, 0.12), 224.0)
    paint(box(0.67, 0.36, 0.11, 0.11), 160.0)
    ramp = box(0.5, 0.70, 0.25, 0.08)
    paint(ramp, np.round(64.0 + 191.0 * (x[ramp] - 0.25) / 0.5))
    paint(box(0.5, 0.38, 0.02, 0.2), 0.0)
    return level / UNIT


def write_picture(path: Path, picture: Array) -> None:
    """Write a picture as a signal, row by row, for ``signal_path`` of an experiment."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, signal=picture.ravel())
    write_bytes(path, buffer.getvalue())


if __name__ == "__main__":
    write_picture(Path(sys.argv[2]), phantom(int(sys.argv[1])))
