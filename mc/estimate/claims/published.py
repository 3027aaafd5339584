"""The published width condition: the smallest constant C' for which the data support it (theory §7).

C' is not stated where the form is published, so no experiment can refute it; what can be measured is from which C' on
the promise P >= 1 - 1/n - 1/d (hidden), 1 - 2/n - 1/d (both) is seen to hold over a grid of cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.claims.finding import Finding
from mc.estimate.flows.protocol import zero_loss
from mc.estimate.numbers import short
from mc.estimate.probability.counts import Counts, dataset, decisions
from mc.estimate.probability.support import Support
from mc.estimate.widths.crossings import CrossingWidth, crossing_width
from mc.store.results import CellResults
from mc.theory.constants import published_probability, published_width

EVENTS = ("zero loss", "sharp", "trial", "paper")
"""Events that the promise is read as; the claim is on zero loss, the certificates show what a proof by them needs."""


@dataclass(frozen=True)
class Constant:
    """C' of one cell, mode and event."""

    cell: int
    n: int
    m: int
    mode: str
    event: str
    trials: int
    p: float  # promised probability
    ratio: float  # psi/sigma_A, the largest over the trials and widths of the cell
    spread: float
    """`ratio` over its median: with the median psi C' is larger by its square (hidden) or fourth power (both)."""
    estimate: float  # C' at the width where P reaches p
    interval: tuple[float, float]
    """C' of the last width known to be below p, and of the first from which all are known to be above; 0 and inf are
    open ends."""
    crossing: CrossingWidth


def constant(
    cell: CellResults, mode: str, event: str, d: int, level: float, method: str = "clopper-pearson"
) -> Constant | None:
    """Return C' of one cell, from the width at which P reaches the promise; None where vacuous or not computed."""
    n = int(cell.problem["n"])
    p = published_probability(mode, n=n, d=d)
    decided = zero_loss(cell, mode) if event == "zero loss" else decisions(cell, event, mode)
    psi, sigma = dataset(cell, "psi_0"), dataset(cell, "sigma_A")
    if p <= 0.0 or decided is None or psi is None or sigma is None:
        return None
    ratios = psi / sigma[:, None]
    ratios = ratios[np.isfinite(ratios)]
    counts = Counts.of(decided)
    if not len(ratios) or ratios.max() == 0.0 or not counts.trials.any():
        return None
    largest = float(ratios.max())
    crossing = crossing_width(np.asarray(cell.widths, dtype=np.int64), counts, p, level, method)
    estimate, low, high = (
        k / published_width(mode, n=n, sigma_A=1.0, psi=largest) for k in (crossing.estimate, *crossing.interval)
    )
    spread = largest / float(np.median(ratios))
    trials, m = int(counts.trials.max()), int(cell.problem["m"])
    return Constant(cell.index, n, m, mode, event, trials, p, largest, spread, estimate, (low, high), crossing)


def constants(
    cells: Sequence[CellResults], mode: str, event: str, d: int, alpha: float = 0.05, method: str = "clopper-pearson"
) -> tuple[Constant, ...]:
    """Return C' of every cell, their intervals at confidence 1 - alpha together (Bonferroni)."""
    level = 1.0 - alpha / len(cells)
    return tuple(one for cell in cells if (one := constant(cell, mode, event, d, level, method)))


def _finding(estimates: Sequence[Constant]) -> Finding:
    """Return the smallest C' of all cells together, which is the largest of the cells' own."""
    low, high = (max(one.interval[i] for one in estimates) for i in (0, 1))
    worst, single = max(estimates, key=lambda one: one.interval), len(estimates) == 1
    further = max(one.spread for one in estimates) ** (2 if worst.mode == "hidden" else 4)
    trials = sum(one.trials for one in estimates)
    return Finding(
        name="published",
        modes=(worst.mode,),
        hypothesis=f"{worst.mode}: P({worst.event})",
        cell=worst.cell if single else -1,
        trials=trials,
        hypothesis_true=trials,
        verdict=(Support.SUPPORTED if math.isfinite(high) else Support.UNDECIDED).value,
        lower=low,
        upper=high,
        address=(None, int(worst.crossing.interval[0])) if single and worst.crossing.interval[0] else None,
        detail=f"the smallest C' is in {short(low)} to {short(high)}, over {len(estimates)} cells; with the median psi "
        f"in place of the largest up to {short(further, 2)} times that",
    )


def published(
    cells: Sequence[CellResults], experiment: Mapping[str, Any], alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[tuple[Finding, tuple[Constant, ...]]]:
    """Yield the finding over the cells of a run with the C' of each cell, by mode, for zero loss and each certificate.

    `alpha` is of the interval of C' over all cells together. The finding is vacuous where no cell has n large enough
    for the promise.
    """
    d = int(experiment.get("network", {}).get("d", 500))
    for mode in dict.fromkeys(mode for cell in cells for mode in cell.modes):
        of_mode = [cell for cell in cells if mode in cell.modes]
        promised = any(published_probability(mode, n=int(cell.problem["n"]), d=d) > 0.0 for cell in of_mode)
        for event in EVENTS:
            estimates = constants(of_mode, mode, event, d, alpha, method)
            if estimates:
                yield _finding(estimates), estimates
            elif event == "zero loss" and not promised:
                detail = f"n is so small in all {len(of_mode)} cells that nothing is promised"
                verdict = Support.VACUOUS.value
                yield Finding("published", (mode,), f"{mode}: P(zero loss)", -1, 0, 0, verdict, detail=detail), ()
