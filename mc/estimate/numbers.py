"""Numbers as text, for tables and sentences."""

from __future__ import annotations

import math


def spaced(width: float) -> str:
    """Format a whole number with thin spaces between its thousands."""
    return f"{round(width):,}".replace(",", "\u202f")


def short(value: float | None, digits: int = 3) -> str:
    """Format a number for a table or a sentence; a dash stands for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0.0 else "−∞"
    if 10.0**digits <= abs(value) < 1e6:
        return spaced(value).replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def significant(x: float, digits: int = 2) -> int:
    """Round to the nearest whole number with this many significant digits (all digits below 10**digits)."""
    step: int = 10 ** max(math.floor(math.log10(x)) + 1 - digits, 0) if x > 0 else 1
    return round(x / step) * step
