"""Verdicts on "P >= p" from counts (design §7, theory §8)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method


class Support(StrEnum):
    """Verdict on a claim "P >= p"."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"
    VACUOUS = "vacuous"


def at_least(
    counts: Counts,
    p: ArrayLike,
    alpha: float = 0.05,
    tests: int = 1,
    p_error: ArrayLike = 0.0,
    method: str = "clopper-pearson",
) -> tuple[Support, ...]:
    """Judge "P >= p" at each width.

    Both limits are one-sided at level alpha/tests (Bonferroni: the widths of a trial are dependent). Undecided trials
    count as failures for support and as holds for contradiction, so neither verdict depends on them.

    Parameters
    ----------
    counts : Counts
        Trials per width.
    p : array_like, shape (widths,)
        The claimed lower bounds; p <= 0 or NaN claims nothing.
    alpha : float
        Error probability of all the verdicts of one kind together.
    tests : int
        Number of widths the claim is tested at.
    p_error : array_like
        How far `p` itself may be off (several standard errors when it is a mean over sampled problems).
    method : {"clopper-pearson", "beta-binomial"}
        "beta-binomial" where the number of trials followed the data.

    Returns
    -------
    tuple of Support, one per width
    """
    bound, slack = (np.broadcast_to(np.asarray(x, dtype=np.float64), counts.holds.shape) for x in (p, p_error))
    tail = alpha / max(tests, 1)
    limits = get_method(method)
    lower = limits.lower(counts.holds, counts.trials, tail)
    upper = limits.upper(counts.most_holds, counts.trials, tail)
    verdicts = np.full(bound.shape, Support.UNDECIDED, dtype=object)
    verdicts[lower >= bound + slack] = Support.SUPPORTED
    verdicts[upper < bound - slack] = Support.CONTRADICTED
    verdicts[~(bound > 0.0)] = Support.VACUOUS
    return tuple(verdicts.tolist())


def together(verdicts: Iterable[str]) -> str:
    """Return one verdict for a claim made in several places: one contradiction refutes, support must be everywhere."""
    claimed = [verdict for verdict in verdicts if verdict != Support.VACUOUS]
    if not claimed:
        return Support.VACUOUS.value
    if Support.CONTRADICTED in claimed:
        return Support.CONTRADICTED.value
    return str(claimed[0]) if len(set(claimed)) == 1 else Support.UNDECIDED.value
