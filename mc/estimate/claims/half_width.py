"""The heuristic width at which half of the draws reach zero loss, for a bounded activation (theory §7.4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mc.estimate.claims.findings import Finding
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import CellLike, Counts, dataset, decisions, event_widths
from mc.estimate.widths.crossings import crossing_width
from mc.estimate.widths.predicted import named

HEURISTIC = "a heuristic"
"""Verdict on what claims no bound: a ratio is reported, and no value of it is a violation."""


def heuristic_width(rank: float, square: float, low: float, high: float) -> float:
    """r + 2 pi (|A^+ y|^2 + r (a + b)^2/4)/(b - a)^2.

    Parameters
    ----------
    rank, square : float
        r and |A^+ y|^2.
    low, high : float
        Range (a, b) of the activation.
    """
    return rank + 2.0 * math.pi * (square + rank * (low + high) ** 2 / 4.0) / (high - low) ** 2


def half_width(
    cell: CellLike, experiment: Mapping[str, Any], alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Finding]:
    """Ratio of the measured 50 % width of `exact` to the heuristic, with its interval.

    |A^+ y| is not stored: it lies between |y|/|A| and |y|/sigma_A, which are equal where all singular values are. The
    medians over the trials are taken, and the limits of the ratio hold for every value between the two.

    Parameters
    ----------
    cell : CellLike
        Needs exact, rank, norm_y, norm_A, sigma_A.
    experiment : mapping
    alpha : float
        Of the interval.
    method : str
        Of its tests.

    Yields
    ------
    Finding
        None without mode hidden and a bounded activation.
    """
    ensemble = named(experiment)
    event = decisions(cell, "exact", "hidden") if "hidden" in cell.modes else None
    stored = [dataset(cell, name) for name in ("rank", "norm_y", "norm_A", "sigma_A")]
    if ensemble is None or event is None or any(values is None for values in stored):
        return
    low, high = (float(end) for end in ensemble.activation.box(0.0))
    columns = np.array([np.asarray(values, dtype=np.float64) for values in stored])
    rank, size, norm, sigma = columns[:, np.isfinite(columns).all(axis=0)]
    if not (math.isfinite(low) and math.isfinite(high) and len(rank)):
        return
    widths, counts = event_widths(cell, "exact"), Counts.of(event)
    found = crossing_width(widths, counts, 0.5, 1.0 - alpha, method)
    r = float(np.median(rank))
    least, most = (heuristic_width(r, float(np.median(size / by)) ** 2, low, high) for by in (norm, sigma))
    predicted = spaced(significant(least)) if most < 1.01 * least else f"{spaced(least)} to {spaced(most)}"
    middle = math.sqrt(least * most)
    ratio = found.estimate / middle
    words = "off the grid" if not 0.0 < ratio < math.inf else f"measured/heuristic {ratio:.2f}"
    yield Finding(
        name="half-width",
        mode="hidden",
        hypothesis="bounded activation",
        cell=cell.index,
        trials=int(counts.trials.max(initial=0)),
        hypothesis_true=int(counts.trials.max(initial=0)),
        verdict=HEURISTIC,
        lower=found.interval[0] / most,
        upper=found.interval[1] / least,
        address=(None, int(widths[np.argmin(np.abs(np.log(widths / middle)))])),
        detail=f"{words} (k = {predicted})",
        figure="ladder",
    )
