"""Two sides of a claim along time, their smallest logarithmic slack, and the verdict that the errors allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Array, Mask
from mc.theory.codes import Verdict

ROUNDING = 1e-13
"""Relative; of one quantity computed in a few thousand operations."""


@dataclass(frozen=True)
class Bounded:
    """A computed number and an interval that holds the true one.

    Attributes
    ----------
    value, low, high : arrays of one shape
        NaN where nothing was computed.
    """

    value: Array
    low: Array
    high: Array

    @classmethod
    def within(cls, value: Array, error: Array | float) -> Bounded:
        """A nonnegative number within an error; an error that is not known leaves everything open."""
        value = np.asarray(value, dtype=float)
        room = np.where(np.isnan(error), np.inf, error) + ROUNDING * np.abs(value)
        with np.errstate(invalid="ignore"):
            # what has overflowed is open on both sides
            return cls(value, np.where(np.isnan(value), np.nan, np.fmax(value - room, 0.0)), value + room)

    @classmethod
    def exact(cls, value: Array) -> Bounded:
        """A number that is known to rounding."""
        return cls.within(value, 0.0)

    def plus(self, other: Bounded) -> Bounded:
        """Sum of two."""
        return Bounded(self.value + other.value, self.low + other.low, self.high + other.high)

    def times(self, factor: Array | float) -> Bounded:
        """A multiple by a factor >= 0."""
        return Bounded(self.value * factor, self.low * factor, self.high * factor)

    def column(self) -> Bounded:
        """(T,) as (T, 1): the same at all times."""
        return Bounded(self.value[:, None], self.low[:, None], self.high[:, None])


@dataclass(frozen=True)
class Sides:
    """The claim that ``left <= right`` at every time looked at.

    Attributes
    ----------
    left, right : Bounded
        Arrays that broadcast to (T, P). NaN on either side means that the time was not looked at; where only the
        values are NaN, that they are not known but their intervals count.
    time : (T, P) array
    vacuous : (T,) bool array or None
        Trials about which the claim says nothing.
    """

    left: Bounded
    right: Bounded
    time: Array
    vacuous: Mask | None = None


@dataclass(frozen=True)
class Slack:
    """The smallest slack of T trials.

    Attributes
    ----------
    value : (T,) array
        min over time of log(right/left); NaN where nothing was looked at.
    error : (T,) array
        What the integration error may take from it.
    time : (T,) array
        When it is smallest.
    verdict : (T,) int8 array
        `Verdict`: holds, violated, undecided or vacuous.
    """

    value: Array
    error: Array
    time: Array
    verdict: NDArray[np.int8]


def _log_ratio(right: Array, left: Array) -> Array:
    """log(right/left), infinite where left vanishes, NaN where both do."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(right) - np.log(left))


def smallest_slack(sides: Sides) -> Slack:
    """Judge every trial: holds where the error cannot undo any inequality, violated where it cannot save one.

    Parameters
    ----------
    sides : Sides

    Returns
    -------
    Slack
    """
    slack, sure, possible = np.broadcast_arrays(
        _log_ratio(sides.right.value, sides.left.value),
        _log_ratio(sides.right.low, sides.left.high),
        _log_ratio(sides.right.high, sides.left.low),
    )
    looked = ~np.isnan(slack)
    none, rows = ~looked.any(axis=1), np.arange(slack.shape[0])
    at = np.argmin(np.where(looked, slack, np.inf), axis=1)
    # a value whose interval is not known is open
    least_sure = np.where(np.isnan(sure), np.where(looked, -np.inf, np.inf), sure).min(axis=1, initial=np.inf)
    violated = (possible < 0.0).any(axis=1)
    verdict = np.where(violated, Verdict.VIOLATED, np.where(least_sure >= 0.0, Verdict.HOLDS, Verdict.UNDECIDED))
    verdict[none & ~violated] = Verdict.UNDECIDED
    value = np.where(none, np.nan, slack[rows, at])
    with np.errstate(invalid="ignore"):
        error = np.where(np.isinf(value), 0.0, np.maximum(value - least_sure, 0.0))
    time = np.where(none, np.nan, np.broadcast_to(sides.time, slack.shape)[rows, at])
    if sides.vacuous is not None:
        verdict[sides.vacuous] = Verdict.VACUOUS
        value, error, time = (np.where(sides.vacuous, np.nan, each) for each in (value, error, time))
    return Slack(value, error, time, verdict.astype(np.int8))
