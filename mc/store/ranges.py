"""What the numbers of a dataset can be: finite where due, no negative margin, singular values in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Mask
from mc.store.layout import TRIAL, field_of
from mc.theory.codes import NOT_COMPUTED

ROUNDING = 1e-12
"""Relative; of norms of one matrix computed in two ways."""

FINITE = ("psi_0", "norm_y0", "activation_scale", "sigma_0")
"""Beside the facts of the problem: always computed, never infinite."""
NEVER_NAN = ("radius_needed", "margin_paper", "margin_trial", "margin_sharp")
"""Always computed; infinite where nothing bounds them."""
_ORDER = {"sigma_A": "norm_A", "norm_A": "frobenius_A"}
"""A dataset, and the one it cannot exceed."""


def range_problems(name: str, arrays: Mapping[str, NDArray[Any]], problem: Mapping[str, Any]) -> Iterator[str]:
    """What is impossible in one dataset of a block.

    Parameters
    ----------
    name : str
        A dataset of the layout; enumerations are `mc.store.layout.check_arrays`'s to check.
    arrays : mapping of str to array
        All of the block.
    problem : mapping
        Settings of the cell, for ``n`` and ``m``.

    Yields
    ------
    str
        Each begins with the name.
    """
    array, declared = arrays[name], field_of(name)
    if name == "rank":
        yield from _where(name, (array < 1) | (array > min(problem["n"], problem["m"])), "is not in 1 to min(n, m)")
    elif declared.dtype == "int64":
        yield from _where(name, array < NOT_COMPUTED, "is negative")
    if declared.dtype != "float64":
        return
    if name in FINITE or declared.dims == TRIAL:
        yield from _where(name, ~np.isfinite(array), "is not finite")
    if name in NEVER_NAN:
        yield from _where(name, np.isnan(array), "is NaN")
    # a slack is negative where a claim fails, a signal has either sign; all else are norms, times, losses and bounds
    signed = name == "signal" or name.startswith("slack_")
    if not signed or name.startswith(("slack_time_", "slack_error_")):
        yield from _where(name, array < 0.0, "is negative")
    above = _ORDER.get(name)
    if above is not None and above in arrays:
        yield from _where(name, array > arrays[above] * (1.0 + ROUNDING), f"exceeds {above}")


def _where(name: str, wrong: Mask, words: str) -> Iterator[str]:
    if wrong.any():
        place = ", ".join(str(index) for index in np.argwhere(wrong)[0])
        yield f"{name}[{place}] {words} ({int(wrong.sum())} of {wrong.size} values)"
