"""What undecided trials count as: the bracket between all failing and all holding, or an explicit choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mc.errors import InputError
from mc.estimate.probability.counts import Counts
from mc.model.arrays import IntArray

Policy = Literal["bracket", "fail", "hold", "drop"]
POLICIES: tuple[Policy, ...] = ("bracket", "fail", "hold", "drop")


@dataclass(frozen=True)
class Reading:
    """Holds between two ends, out of trials.

    Every limit used here is monotone in the holds, so [limit at `least`, limit at `most`] contains the interval that
    knowing the undecided trials would have given: it covers what that one covers.

    Parameters
    ----------
    least, most, trials : ndarray of int64, shape (widths,)
    """

    least: IntArray
    most: IntArray
    trials: IntArray


def reading(counts: Counts, policy: Policy = "bracket") -> Reading:
    """Read counts under a policy.

    Parameters
    ----------
    counts : Counts
    policy : {"bracket", "fail", "hold", "drop"}
        "bracket" keeps both ends; "fail" and "hold" take one of them; "drop" leaves the undecided trials out, which is
        honest only if being undecided has nothing to do with the event.

    Returns
    -------
    Reading

    Raises
    ------
    InputError
        If the policy has no such name.
    """
    either = counts.holds + counts.undecided
    if policy == "bracket":
        return Reading(counts.holds, either, counts.trials)
    if policy == "fail":
        return Reading(counts.holds, counts.holds, counts.trials)
    if policy == "hold":
        return Reading(either, either, counts.trials)
    if policy == "drop":
        return Reading(counts.holds, counts.holds, counts.holds + counts.fails)
    raise InputError(f"policy {policy!r} is not known: choose one of {', '.join(POLICIES)}")
