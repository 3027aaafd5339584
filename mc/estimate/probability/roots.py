"""Roots of many functions at once: Newton inside a bracket that bisection keeps shrinking."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mc.model.arrays import Array, IntArray, Mask

MOST_STEPS = 200
"""Far more than are taken: each step is Newton's when that step shrinks, else it halves the bracket."""


def falling_root(
    function: Callable[[Array], tuple[Array, Array]],
    low: Array,
    high: Array,
    start: Array | None = None,
    rtol: float = 1e-11,
) -> Array:
    """Where functions that fall from >= 0 at `low` to <= 0 at `high` vanish.

    Parameters
    ----------
    function : callable
        Value and slope at an array of arguments, element by element.
    low, high : ndarray
        Brackets, of one shape.
    start : ndarray, optional
        First arguments; the middle of the bracket by default.
    rtol : float
        Size of the last step relative to the argument; after a Newton step the error is about its square.

    Returns
    -------
    ndarray
    """
    low, high = low.copy(), high.copy()
    at = 0.5 * (low + high) if start is None else start.copy()
    before = np.full(at.shape, np.inf)
    for _ in range(MOST_STEPS):
        value, slope = function(at)
        above = value > 0.0
        np.copyto(low, at, where=above)
        np.copyto(high, at, where=~above)
        with np.errstate(divide="ignore", invalid="ignore"):
            proposal = at - value / slope
        newton = (proposal > low) & (proposal < high) & (np.abs(proposal - at) <= 0.75 * before)
        # a step that rounding alone sends across the end of its bracket has arrived as well
        arrived = (value == 0.0) | (np.abs(proposal - at) <= rtol * np.abs(at))
        following = np.where(newton, proposal, 0.5 * (low + high))
        following = np.where(arrived, at, following)
        before = np.abs(following - at)
        at = following
        if (before <= rtol * np.abs(at)).all():
            break
    return at


def smallest_whole(holds: Callable[[IntArray], Mask], low: IntArray, high: IntArray) -> IntArray:
    """The smallest whole number in [low, high] at which a condition that stays true once it is true holds.

    Parameters
    ----------
    holds : callable
        The condition at an array of whole numbers, element by element.
    low, high : ndarray of int64
        Ends of the search, of one shape; high is returned where the condition holds nowhere before.

    Returns
    -------
    ndarray of int64
    """
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = low + (high - low) // 2
        true = holds(middle)
        high = np.where(true, middle, high)
        low = np.where(true | (low >= high), low, middle + 1)
        low = np.minimum(low, high)
    return high
