"""The width K* from which an event holds on a trial: its distribution with a band, censored at the ends of the grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mc.errors import InputError
from mc.estimate.flows.survival import dkw_radius
from mc.estimate.probability.counts import Decision, Decisions
from mc.estimate.probability.intervals import checked_level
from mc.estimate.probability.undecided import POLICIES, Policy
from mc.model.arrays import Array, IntArray, Mask

MONOTONE = frozenset({("hidden", "exact", "softplus")})
"""(mode, event, activation) proved to hold at k + 1 whenever it holds at k on the same trial: y lies inside the cone of
the first k columns (theory §7.4), and more columns only open it."""

LAST = np.iinfo(np.int64).max
"""K* of a trial whose event does not hold at the last width of the grid."""


@dataclass(frozen=True)
class FirstWidths:
    """K* of every trial and the distribution function of K* at the widths of the grid.

    Parameters
    ----------
    label : str
        "first width at which it holds" where that is proved monotone, else the derived event "holds at this and every
        wider grid width"; they agree where the event is monotone.
    widths : ndarray of int64, shape (K,)
    earliest, latest : ndarray of int64, shape (trials,)
        K* with all undecided holding, and all failing; `LAST` where it lies beyond the grid.
    trials, reversed : int
        Trials counted, and trials on which the event holds at some width and fails at a wider one: none where the event
        is monotone, so there each is a contradiction.
    least, most : ndarray, shape (K,)
        Share of the trials with K* <= k, from `latest` and from `earliest`.
    lower, upper : ndarray, shape (K,)
        Dvoretzky-Kiefer-Wolfowitz band with Massart's constant: covers P(K* <= k) at all widths together.
    level : float
    policy : str
    """

    label: str
    widths: IntArray
    earliest: IntArray
    latest: IntArray
    trials: int
    reversed: int
    least: Array
    most: Array
    lower: Array
    upper: Array
    level: float
    policy: Policy

    @property
    def censored(self) -> tuple[int, int]:
        """Trials whose K* is at most the first width (only bounded above), and beyond the last (only bounded below)."""
        if not len(self.widths):
            return 0, 0
        return int(np.sum(self.latest == self.widths[0])), int(np.sum(self.earliest == LAST))

    def quantile(self, p: float) -> tuple[float, float]:
        """(low, high] that contains the p-quantile of K*; for all p together with probability >= `level`."""
        possible, certain = self.upper >= p, self.lower >= p
        first = int(np.argmax(possible)) if possible.any() else len(self.widths)
        low = float(self.widths[first - 1]) if first else 0.0
        return low, float(self.widths[int(np.argmax(certain))]) if certain.any() else math.inf


def _from_there_on(holds: Mask, widths: IntArray) -> IntArray:
    onwards = np.logical_and.accumulate(holds[:, ::-1], axis=1)[:, ::-1]
    first = np.argmax(onwards, axis=1)
    return np.where(onwards.any(axis=1), widths[first], LAST)


def first_widths_of(
    decisions: Decisions,
    widths: IntArray,
    level: float = 0.95,
    policy: Policy = "bracket",
    monotone: bool = False,
) -> FirstWidths:
    """K* per trial, with the band of its distribution function.

    Parameters
    ----------
    decisions : ndarray of int8, shape (trial, width)
        Values of `Decision`. A trial that was not computed at every width is left out: its K* is not known.
    widths : ndarray of int64, shape (K,), increasing
    level : float
    policy : {"bracket", "fail", "hold", "drop"}
        "drop" leaves out the trials with an undecided width.
    monotone : bool
        Whether the event is proved monotone in k on a trial (see `MONOTONE`); it changes the label and the meaning of
        `reversed`, not a number.

    Returns
    -------
    FirstWidths
        The trials must be iid and their number fixed beforehand.
    """
    checked_level(level)
    if policy not in POLICIES:
        raise InputError(f"policy {policy!r} is not known: choose one of {', '.join(POLICIES)}")
    whole = (decisions != Decision.NOT_COUNTED).all(axis=1)
    if policy == "drop":
        whole &= (decisions != Decision.UNDECIDED).all(axis=1)
    kept = decisions[whole]
    sure, maybe = kept == Decision.HOLDS, kept != Decision.FAILS
    early = _from_there_on(maybe if policy in ("bracket", "hold") else sure, widths)
    late = _from_there_on(maybe if policy == "hold" else sure, widths)
    trials = len(kept)
    least, most = ((k[:, None] <= widths).sum(axis=0) / max(trials, 1) for k in (late, early))
    radius = dkw_radius(trials, level)
    seen_before = np.logical_or.accumulate(sure, axis=1)
    return FirstWidths(
        label="first width at which it holds" if monotone else "holds at this and every wider grid width",
        widths=widths,
        earliest=early,
        latest=late,
        trials=trials,
        reversed=int(((kept == Decision.FAILS) & seen_before).any(axis=1).sum()),
        least=least,
        most=most,
        lower=np.maximum(least - radius, 0.0),
        upper=np.minimum(most + radius, 1.0),
        level=level,
        policy=policy,
    )
