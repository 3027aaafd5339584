"""A claim on a probability, made at several points (widths, parameters) and judged at all of them together.

Three sides: "P <= bound" of a bad event, "P >= bound" of a good one, "P = value" of a law. Every limit and p-value is
Bonferroni over the points that claim something: the points share their trials, and Bonferroni allows any dependence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support
from mc.estimate.probability.tests import p_value
from mc.model.arrays import Array, IntArray, Mask


def _empty() -> Array:
    return np.empty(0)


class Side(StrEnum):
    """Relation that is claimed between a probability and its bound."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    EQUAL = "equal to"


@dataclass(frozen=True)
class Points:
    """P points at which a claim is made, with the limits and p-values that `judge` adds; every array has shape (P,)."""

    side: Side
    parts: tuple[str, ...]  # label of the part of the claim that a point belongs to
    widths: IntArray
    parameters: Array  # free parameter of the claim (eta, delta, rank); NaN where it has none
    counts: Counts
    bound: Array  # the probability is claimed to be at most, at least or equal to it; NaN claims nothing
    error: Array | float = 0.0  # error of a bound that is itself estimated
    alpha: float = math.nan  # error probability of all points together; this and the arrays below are set by `judge`
    lower: Array = field(default_factory=_empty)
    """One-sided limits of the probability, each at alpha/tests; of an equality two-sided ones."""
    upper: Array = field(default_factory=_empty)
    against: Array = field(default_factory=_empty)
    """Unadjusted p-values of "the claim is true at this point"; NaN where nothing is claimed."""
    support: Array = field(default_factory=_empty)
    """Unadjusted p-values of "the claim is false at this point"; NaN also for every equality."""
    slack: Array = field(default_factory=_empty)
    """log(bound/observed share) of the bad event, infinite where it was never observed."""

    @property
    def says(self) -> Mask:
        """Points that have trials and claim something; known before the trials are decided."""
        not_trivial = self.bound < 1.0 if self.side is Side.AT_MOST else self.bound > 0.0
        claimed = ~np.isnan(self.bound) if self.side is Side.EQUAL else not_trivial
        return np.asarray(claimed & (self.counts.trials > 0))

    @property
    def frequency(self) -> Array:
        """Observed share, an undecided trial counted half; NaN without trials."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.counts.holds + 0.5 * self.counts.undecided) / self.counts.trials)

    @property
    def tests(self) -> int:
        """Number of points that claim something."""
        return int(self.says.sum())

    @property
    def p_against(self) -> float:
        """P-value of the claim at all its points; NaN when vacuous."""
        return min(self.tests * float(np.nanmin(self.against)), 1.0) if self.tests else math.nan

    @property
    def p_support(self) -> float:
        """P-value of "the claim is false at some point", each point at its share of alpha; NaN when vacuous."""
        if not self.tests:
            return math.nan
        return min(self.tests * float(np.max(self.support[self.says], initial=0.0)), 1.0)

    @property
    def verdicts(self) -> tuple[Support, ...]:
        """Verdicts point by point; an equality is never `supported`."""
        verdicts = np.full(len(self.against), Support.VACUOUS, dtype=object)
        share = self.alpha / max(self.tests, 1)
        verdicts[self.says] = Support.UNDECIDED
        verdicts[self.support <= share] = Support.SUPPORTED
        verdicts[self.against < share] = Support.CONTRADICTED
        return tuple(map(Support, verdicts.tolist()))

    @property
    def beyond(self) -> int:
        """Number of unsupported points that these trials could not have supported with any outcome."""
        if self.side is Side.EQUAL:
            return 0
        # with N trials that all support the claim: P(Bin(N, bound) = 0), or P(Bin(N, bound) = N)
        safest = 1.0 - self.bound + self.error if self.side is Side.AT_MOST else self.bound + self.error
        least = np.power(np.clip(np.where(self.says, safest, 0.0), 0.0, 1.0), self.counts.trials)
        share = self.alpha / max(self.tests, 1)
        return int((self.says & (least > share) & ~(self.support <= share)).sum())

    @property
    def tightest(self) -> int | None:
        """Index of the point that is nearest to failing; None when vacuous."""
        claimed = np.flatnonzero(self.says)
        if not len(claimed):
            return None
        distance = self.against if self.side is Side.EQUAL else self.slack
        return int(claimed[np.argmin(distance[claimed])])


def stacked(points: Sequence[Points]) -> Points:
    """Concatenate the points of all parts of a claim, which have one side and exact bounds."""
    (side,) = {part.side for part in points}
    holds, fails, undecided = (
        np.concatenate([getattr(part.counts, name) for part in points]) for name in ("holds", "fails", "undecided")
    )
    widths, parameters, bound = (
        np.concatenate([getattr(part, name) for part in points]) for name in ("widths", "parameters", "bound")
    )
    labels = tuple(label for part in points for label in part.parts)
    return Points(side, labels, widths, parameters, Counts(holds, fails, undecided), bound)


def judge(points: Points, alpha: float = 0.05, method: str = "clopper-pearson") -> Points:
    """Judge a claim at all its points together; an undecided trial stands against every verdict.

    `alpha` is the error probability of all contradictions together, and of all supports. `method` is a name of
    `methods.METHODS`: "beta-binomial" where the number of trials followed the data.
    """
    says, limits, counts = points.says, get_method(method), points.counts
    trials, most = counts.trials, counts.most_holds
    tail = alpha / max(int(says.sum()), 1)
    low, high = (np.where(says, np.clip(points.bound + sign * points.error, 0.0, 1.0), 0.5) for sign in (-1.0, 1.0))
    greater = p_value(counts.holds, trials, high, "greater", method)
    less = p_value(most, trials, low, "less", method)
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
    against, support, slack = (np.where(says, values, np.nan) for values in (against, support, slack))
    lower, upper = limits.lower(counts.holds, trials, tail), limits.upper(most, trials, tail)
    return replace(points, alpha=alpha, lower=lower, upper=upper, against=against, support=support, slack=slack)
