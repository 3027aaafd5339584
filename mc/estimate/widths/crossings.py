"""The width from which P >= p, by ordered exact tests: no model of the curve and no share of alpha lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.intervals import checked_level
from mc.estimate.probability.methods import MethodClass, get_method
from mc.estimate.probability.undecided import Policy, reading
from mc.estimate.widths.median_width import interpolated, pooled
from mc.model.arrays import IntArray, Mask

CROSSINGS = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class CrossingWidth:
    """k*(p): the first width at which P >= p.

    Parameters
    ----------
    p : float
    estimate : float
        Interpolated in log k on the non-decreasing fit; 0 below the grid, inf beyond it.
    bracket : tuple of float
        The same with all undecided trials holding, and all failing.
    interval : tuple of float
        (low, high]: contains k*(p) with probability >= `level`; 0 and inf are open ends where the grid is too short.
    level : float
        Of this one interval.
    method : str
        Of the tests.
    method_class : MethodClass
    policy : str
    grid : tuple of int
        First and last width that was looked at.
    """

    p: float
    estimate: float
    bracket: tuple[float, float]
    interval: tuple[float, float]
    level: float
    method: str
    method_class: MethodClass
    policy: Policy
    grid: tuple[int, int]

    @property
    def censored(self) -> str:
        """Which end of the interval the grid cuts: "no", "below", "above" or "both"."""
        below, above = self.interval[0] == 0.0, math.isinf(self.interval[1])
        return {(False, False): "no", (True, False): "below", (False, True): "above", (True, True): "both"}[
            below, above
        ]


def _run(rejected: Mask) -> int:
    """How many of the first tests are rejected before the first that is not."""
    return int(len(rejected) if rejected.all() else np.argmin(rejected))


def crossing_width(
    widths: IntArray,
    counts: Counts,
    p: float,
    level: float = 0.95,
    method: str = "clopper-pearson",
    policy: Policy = "bracket",
) -> CrossingWidth:
    """k*(p) with an interval from exact tests in a fixed order.

    From the narrowest width up, P(k) >= p is tested at (1 - level)/2 until a test does not reject; from the widest
    down, P(k) < p likewise. In each order the first true hypothesis is rejected with probability <= (1 - level)/2 and
    nothing is tested after it unless it is, so both ends hold together with probability >= level: no multiplicity,
    whatever the dependence of the widths. The statement is about the widths of the grid as they are ordered; for the
    first crossing among all widths it needs P non-decreasing in k. Widths without trials are left out.

    Parameters
    ----------
    widths : ndarray of int64, shape (K,), increasing
    counts : Counts
    p : float
        In (0, 1).
    level : float
    method : str
        A name of `methods.METHODS`; "beta-binomial" where the number of trials followed the data.
    policy : str

    Returns
    -------
    CrossingWidth

    Raises
    ------
    InputError
    """
    checked_level(level)
    if not 0.0 < p < 1.0:
        raise InputError(f"crossing p = {p!r}: give a probability strictly between 0 and 1")
    found, read = get_method(method), reading(counts, policy)
    seen = read.trials > 0
    if not seen.any():
        nan = (math.nan, math.nan)
        return CrossingWidth(p, math.nan, nan, (0.0, math.inf), level, method, found.method_class, policy, (0, 0))
    k, least, most, trials = widths[seen], read.least[seen], read.most[seen], read.trials[seen]
    tail = (1.0 - level) / 2.0
    below = found.upper(most, trials, tail) < p
    above = found.lower(least, trials, tail) >= p
    from_narrow, from_wide = _run(below), _run(above[::-1])
    low = float(k[from_narrow - 1]) if from_narrow else 0.0
    high = float(k[len(k) - from_wide]) if from_wide else math.inf
    middle, early, late = (
        interpolated(k, pooled(holds / trials, trials), p) for holds in ((least + most) / 2.0, most, least)
    )
    return CrossingWidth(
        p=p,
        estimate=middle,
        bracket=(early, late),
        interval=(low, high),
        level=level,
        method=method,
        method_class=found.method_class,
        policy=policy,
        grid=(int(k[0]), int(k[-1])),
    )
