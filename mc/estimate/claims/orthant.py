"""The exact law of softplus against the exact verdicts: P(zero loss) = P(Bin(k, 1/2) >= r) (theory §7.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mc.estimate.claims.findings import Finding, of_judgement
from mc.estimate.claims.points import Points, Side, judge, stacked
from mc.estimate.probability.counts import CellLike, Counts, dataset, decisions, event_widths, failed
from mc.estimate.probability.support import Support
from mc.estimate.probability.tests import exact_p_value
from mc.estimate.widths.predicted import named
from mc.model.arrays import Array, IntArray

Law = Callable[[IntArray, int], Array]

HYPOTHESIS = "symmetric density, y != 0"


def orthant_law(widths: IntArray, rank: int) -> Array:
    """P(Bin(k, 1/2) >= r) at each width."""
    k = np.asarray(widths, dtype=np.int64)
    return np.where(k >= rank, exact_p_value(np.minimum(rank, k), k, 0.5, "greater"), 0.0)


def orthant(
    cell: CellLike,
    experiment: Mapping[str, Any],
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    law: Law = orthant_law,
) -> Iterator[Finding]:
    """Two-sided exact tests of the law at every width, trials grouped by the rank of their operator.

    Parameters
    ----------
    cell : CellLike
        Needs exact, rank and norm_y; only trials with y != 0 count.
    experiment : mapping
        The parsed experiment file.
    alpha, method
        As in `mc.estimate.claims.points.judge`.
    law : callable
        ``law(widths, rank)``, the probability claimed.

    Yields
    ------
    Finding
        None without softplus and mode hidden; vacuous where V has no density.
    """
    ensemble, event = named(experiment), None
    if "hidden" in cell.modes:
        event = decisions(cell, "exact", "hidden")
    ranks, size = dataset(cell, "rank"), dataset(cell, "norm_y")
    if ensemble is None or ensemble.activation.name != "softplus" or event is None or ranks is None or size is None:
        return
    there = np.isfinite(size)
    if ensemble.law.name == "rademacher":
        yield Finding(
            "orthant", "hidden", HYPOTHESIS, cell.index, int(there.sum()), 0, Support.VACUOUS.value,
            detail="the law of V has no density",
        )  # fmt: skip
        return
    widths = event_widths(cell, "exact")
    covered = there & (size > 0.0)
    # the rank of a trial that failed is not known: it is undecided at each
    lost = failed(cell)
    unknown = ~there & (np.zeros(1, dtype=np.bool_) if lost is None else lost.any(axis=1))
    parts = [
        Points(
            Side.EQUAL,
            (f"rank {rank}",) * len(widths),
            widths,
            np.full(len(widths), float(rank)),
            Counts.of(event[(covered & (ranks == rank)) | unknown]),
            law(widths, rank),
        )
        for rank in np.unique(ranks[covered]).tolist()
    ]
    if parts:
        found = judge(stacked(parts), alpha, method)
        yield of_judgement("orthant", "hidden", HYPOTHESIS, cell.index, found, "orthant", int(there.sum()))
