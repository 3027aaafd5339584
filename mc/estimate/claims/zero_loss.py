"""Claims on the probability of zero loss: the exact law of softplus, and the heuristic 50 % width (theory §7.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mc.estimate.claims.finding import Finding, probability_finding
from mc.estimate.claims.points import Points, Side, judge, stacked
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import (
    Counts,
    dataset,
    decisions,
    event_widths,
    failed,
)
from mc.estimate.probability.support import Support
from mc.estimate.probability.tests import exact_p_value
from mc.estimate.widths.contour import heuristic_width
from mc.estimate.widths.crossings import crossing_width
from mc.estimate.widths.predicted import named
from mc.model.arrays import Array, IntArray
from mc.store.results import CellResults

Law = Callable[[IntArray, int], Array]

HYPOTHESIS = "symmetric density, y != 0"

HEURISTIC = "a heuristic"
"""Verdict on a claim without a bound: a ratio is reported, and no value of it is a violation."""


def orthant_law(widths: IntArray, rank: int) -> Array:
    """Return P(Bin(k, 1/2) >= r) at each width."""
    k = np.asarray(widths, dtype=np.int64)
    return np.where(k >= rank, exact_p_value(np.minimum(rank, k), k, 0.5, "greater"), 0.0)


def orthant(
    cell: CellResults,
    experiment: Mapping[str, Any],
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    law: Law = orthant_law,
) -> Iterator[Finding]:
    """Test P(zero loss) = P(Bin(k, 1/2) >= r) of softplus at every width, trials grouped by the rank of their operator.

    Yields nothing without softplus and mode hidden, and a vacuous finding where V has no density. Only trials with
    y != 0 count. Needs exact, rank and norm_y; `law(widths, rank)` is the claimed probability.
    """
    ensemble = named(experiment)
    event = decisions(cell, "exact", "hidden") if "hidden" in cell.modes else None
    ranks, size = dataset(cell, "rank"), dataset(cell, "norm_y")
    if ensemble is None or ensemble.activation.name != "softplus" or event is None or ranks is None or size is None:
        return
    present = np.isfinite(size)
    trials = int(present.sum())
    if ensemble.law.name == "rademacher":
        yield Finding(
            "orthant", ("hidden",), HYPOTHESIS, cell.index, trials, 0, Support.VACUOUS.value,
            detail="the law of V has no density",
        )  # fmt: skip
        return
    widths = event_widths(cell, "exact")
    covered = present & (size > 0.0)
    # the rank of a failed trial is not known: the trial is undecided at each rank
    lost = failed(cell)
    unknown = ~present & (np.zeros(1, dtype=np.bool_) if lost is None else lost.any(axis=1))
    parts = []
    for rank in np.unique(ranks[covered]).tolist():
        counts, column = Counts.of(event[(covered & (ranks == rank)) | unknown]), np.full(len(widths), float(rank))
        parts.append(Points(Side.EQUAL, (f"rank {rank}",) * len(widths), widths, column, counts, law(widths, rank)))
    if parts:
        judged = judge(stacked(parts), alpha, method)
        yield probability_finding("orthant", "hidden", HYPOTHESIS, cell.index, judged, trials)


def half_width(
    cell: CellResults, experiment: Mapping[str, Any], alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Finding]:
    """Yield the ratio of the measured 50 % width of `exact` to the heuristic, with its interval.

    Yields nothing without mode hidden and a bounded activation. |A^+ y| is not stored: it lies between |y|/|A| and
    |y|/sigma_A, which are equal where all singular values are. Medians over the trials are taken, and the limits of
    the ratio hold for every value between the two. Needs exact, rank, norm_y, norm_A, sigma_A.
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
    measured = crossing_width(widths, counts, 0.5, 1.0 - alpha, method)
    r = float(np.median(rank))
    least, most = (heuristic_width(r, float(np.median(size / by)) ** 2, low, high) for by in (norm, sigma))
    predicted = spaced(significant(least)) if most < 1.01 * least else f"{spaced(least)} to {spaced(most)}"
    middle = math.sqrt(least * most)
    ratio = measured.estimate / middle
    ratio_words = f"measured/heuristic {ratio:.2f}" if 0.0 < ratio < math.inf else "off the grid"
    trials = int(counts.trials.max(initial=0))
    yield Finding(
        name="half-width",
        modes=("hidden",),
        hypothesis="bounded activation",
        cell=cell.index,
        trials=trials,
        hypothesis_true=trials,
        verdict=HEURISTIC,
        lower=measured.interval[0] / most,
        upper=measured.interval[1] / least,
        address=(None, int(widths[np.argmin(np.abs(np.log(widths / middle)))])),
        detail=f"{ratio_words} (k = {predicted})",
    )
