"""A claim on probabilities, made at several points (widths, parameters) and judged at all of them together.

Three sides: "P <= bound" of a bad event, "P >= bound" of a good one, "P = value" of a law. Every limit and p-value is
Bonferroni over the points that claim something: they share their trials, and Bonferroni allows any dependence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support
from mc.estimate.probability.tests import p_value
from mc.model.arrays import Array, IntArray, Mask


class Side(StrEnum):
    """What is claimed of a probability."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    EQUAL = "equal to"


@dataclass(frozen=True)
class Points:
    """Where a claim is made, what was counted there and what it says.

    Parameters
    ----------
    side : Side
    parts : tuple of str, length P
        Which part of the claim a point is of, for a reader.
    widths : ndarray of int64, shape (P,)
    parameters : ndarray, shape (P,)
        The free parameter of the claim there (eta, delta), NaN where it has none.
    counts : Counts
        With arrays of shape (P,).
    bound : ndarray, shape (P,)
        What the probability is claimed to be at most, at least, or equal to; NaN claims nothing.
    """

    side: Side
    parts: tuple[str, ...]
    widths: IntArray
    parameters: Array
    counts: Counts
    bound: Array

    @property
    def says(self) -> Mask:
        """Where something is claimed of trials that there are: known before the trials are looked at."""
        open_end = self.bound < 1.0 if self.side is Side.AT_MOST else self.bound > 0.0
        claimed = ~np.isnan(self.bound) if self.side is Side.EQUAL else open_end
        return np.asarray(claimed & (self.counts.trials > 0))

    @property
    def frequency(self) -> Array:
        """Observed share, an undecided trial counted half; NaN without trials."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.counts.holds + 0.5 * self.counts.undecided) / self.counts.trials)


def stacked(points: Sequence[Points]) -> Points:
    """The points of all parts of a claim together; of one side."""
    (side,) = {part.side for part in points}
    holds, fails, undecided = (
        np.concatenate([getattr(part.counts, name) for part in points]) for name in ("holds", "fails", "undecided")
    )
    return Points(
        side,
        tuple(label for part in points for label in part.parts),
        np.concatenate([part.widths for part in points]),
        np.concatenate([part.parameters for part in points]),
        Counts(holds, fails, undecided),
        np.concatenate([part.bound for part in points]),
    )


@dataclass(frozen=True)
class Judgement:
    """What the counts say of the points.

    Parameters
    ----------
    points : Points
    lower, upper : ndarray, shape (P,)
        One-sided limits of the probability, each at alpha/tests; of an equality two-sided ones.
    against, support : ndarray, shape (P,)
        P-values of "the claim is true there" and "it is false there", before any adjustment; NaN where nothing is
        claimed, and `support` of an equality, which no number of trials shows.
    slack : ndarray, shape (P,)
        How loose the claim is: log(bound/observed share) of the bad event, infinite where it was never seen.
    alpha : float
    """

    points: Points
    lower: Array
    upper: Array
    against: Array
    support: Array
    slack: Array
    alpha: float

    @property
    def tests(self) -> int:
        """Points that claim something."""
        return int(self.points.says.sum())

    @property
    def p_against(self) -> float:
        """P-value of the claim at all its points; NaN when vacuous."""
        return min(self.tests * float(np.nanmin(self.against)), 1.0) if self.tests else math.nan

    @property
    def p_support(self) -> float:
        """P-value of "the claim is false at some point", each point at its share as in `verdicts`; NaN as `support`."""
        return (
            min(self.tests * float(np.max(self.support[self.points.says], initial=0.0)), 1.0)
            if self.tests
            else math.nan
        )

    @property
    def verdicts(self) -> tuple[Support, ...]:
        """Point by point; an equality is never `supported`."""
        found = np.full(len(self.against), Support.VACUOUS, dtype=object)
        share = self.alpha / max(self.tests, 1)
        found[self.points.says] = Support.UNDECIDED
        found[self.support <= share] = Support.SUPPORTED
        found[self.against < share] = Support.CONTRADICTED
        return tuple(map(Support, found.tolist()))

    @property
    def beyond(self) -> int:
        """Points not supported that these trials could not support whatever they had shown."""
        points = self.points
        if points.side is Side.EQUAL:
            return 0
        best = np.where(points.says, points.bound if points.side is Side.AT_MOST else 1.0 - points.bound, 1.0)
        # without one bad event in N trials: P(Bin(N, bound) = 0)
        least = np.power(1.0 - np.clip(best, 0.0, 1.0), points.counts.trials)
        share = self.alpha / max(self.tests, 1)
        return int((points.says & (least > share) & ~(self.support <= share)).sum())

    @property
    def tightest(self) -> int | None:
        """The point that comes nearest to failing; None when vacuous."""
        said = np.flatnonzero(self.points.says)
        if not len(said):
            return None
        near = self.against if self.points.side is Side.EQUAL else self.slack
        return int(said[np.argmin(near[said])])


def judge(points: Points, alpha: float = 0.05, method: str = "clopper-pearson") -> Judgement:
    """Judge a claim at all its points together, undecided trials standing against every verdict.

    Parameters
    ----------
    points : Points
    alpha : float
        Error probability of all contradictions together, and of all supports.
    method : str
        A name of `methods.METHODS`; "beta-binomial" where the number of trials followed the data.

    Returns
    -------
    Judgement
    """
    counts, says, found = points.counts, points.says, get_method(method)
    tail = alpha / max(int(says.sum()), 1)
    safe = np.where(says, np.clip(points.bound, 0.0, 1.0), 0.5)
    greater = p_value(counts.holds, counts.trials, safe, "greater", method)
    less = p_value(counts.most_holds, counts.trials, safe, "less", method)
    share = points.frequency
    with np.errstate(divide="ignore", invalid="ignore"):
        if points.side is Side.AT_MOST:
            against, support = greater, less
            slack = np.log(points.bound / share)
        elif points.side is Side.AT_LEAST:
            against, support = less, greater
            slack = np.log((1.0 - points.bound) / (1.0 - share))
        else:
            against, support = np.minimum(2.0 * np.minimum(greater, less), 1.0), np.full(says.shape, np.nan)
            slack, tail = np.full(says.shape, np.nan), tail / 2.0
    return Judgement(
        points,
        found.lower(counts.holds, counts.trials, tail),
        found.upper(counts.most_holds, counts.trials, tail),
        np.where(says, against, np.nan),
        np.where(says, support, np.nan),
        np.where(says, slack, np.nan),
        alpha,
    )
