"""Widths, factors and intervals of the studies in words."""

from __future__ import annotations

import math

from mc.estimate.numbers import short, significant, spaced


def width_words(estimate: float, top: int) -> str:
    """A width, rounded; beyond the grid "> k_max".

    Parameters
    ----------
    estimate : float
        0 below the grid, inf beyond it, NaN without trials.
    top : int
        k_max, the largest width that was looked at.
    """
    if math.isnan(estimate):
        return "–"
    if math.isinf(estimate):
        return f"> {spaced(top)}"
    return "below the grid" if estimate == 0.0 else spaced(significant(estimate, 3))


def limits_words(interval: tuple[float, float], top: int) -> str:
    """An interval (low, high] of a width; an end that the grid cuts is open."""
    low, high = interval
    if math.isinf(high):
        return f"> {spaced(int(low))}" if low else "no information"
    return f"{spaced(int(low) if low else 1)} to {spaced(significant(high, 7))}"


def factor_words(factor: float) -> str:
    """How many times: ×1.2, ×12, ×1 200."""
    if math.isnan(factor):
        return "–"
    return "×" + ("∞" if math.isinf(factor) else spaced(significant(factor)) if factor >= 100 else short(factor, 2))


def factor_limits(interval: tuple[float, float]) -> str:
    """An interval of a factor; an open end is "at least"."""
    low, high = interval
    if math.isinf(high):
        return f"at least {factor_words(low)}" if low > 0.0 else "no information"
    return f"{factor_words(low)} to {factor_words(high)}"
