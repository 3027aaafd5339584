"""Verdicts on implications, from counts (design §7, theory §8)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mc.estimate.probability.counts import CellLike, Decision, Decisions, dataset, decisions, mode_index
from mc.estimate.probability.methods import get_method
from mc.model.arrays import Array, IntArray, Mask
from mc.theory.codes import NOT_COMPUTED, Outcome, Verdict


@dataclass(frozen=True)
class Tally:
    """What every trial says of an implication, so that runs that share draws can be counted together.

    Parameters
    ----------
    looked, true, violated, undecided, vacuous : ndarray of bool, shape (trial,)
        Whether the trial was looked at; whether at some width the hypothesis is true, the claim violated, no
        conclusion reached and none against the claim, or nothing claimed and the hypothesis true at none.
    slacks : ndarray, shape (pairs,)
        Slack of every decided (trial, width) pair that has one; infinite where the conclusion cannot fail.
    """

    looked: Mask
    true: Mask
    violated: Mask
    undecided: Mask
    vacuous: Mask
    slacks: Array

    @property
    def median(self) -> float:
        """Median slack over the pairs, NaN where there is none."""
        return float(np.median(self.slacks)) if len(self.slacks) else math.nan


@dataclass(frozen=True)
class Implication:
    """What the trials say of "hypothesis implies conclusion"; they can refute it and never prove it.

    The widths of a trial share their draws, so everything is counted in trials: a trial violates the claim when it
    does so at some width, and is undecided when it does not but some width was left without a conclusion.

    Parameters
    ----------
    name, hypothesis : str
        The claim, by its name in the registry (``dipmc claims``), and what it is concluded from.
    mode : str
        "hidden" or "both".
    trials, hypothesis_true, undecided, violations : int
        Trials looked at, with the hypothesis true at some width, of those undecided, of those against the claim.
    pairs : int
        (trial, width) pairs with the hypothesis true.
    vacuous : bool
        Every pair looked at was vacuous: the claim says nothing here.
    lower, upper : float
        One-sided limits of the share of trials (of those with the hypothesis true) that violate the claim, each at
        the level asked for; `upper` counts every undecided trial as a violation.
    slack_min, slack_error : float
        Smallest slack of the conclusion and what the integration error may take from it; NaN where the conclusion has
        no size, or no such error.
    address : tuple of int or None
        (trial, width) of the first violation, else of the tightest pair.
    tally : Tally
        Trial by trial.
    """

    name: str
    hypothesis: str
    mode: str
    trials: int
    hypothesis_true: int
    undecided: int
    violations: int
    pairs: int
    vacuous: bool
    lower: float
    upper: float
    slack_min: float
    slack_error: float
    address: tuple[int, int] | None
    tally: Tally = field(repr=False, compare=False)

    @property
    def verdict(self) -> str:
        """`violated`, or `not violated in N` trials; a hypothesis that never held is not a success."""
        decided = self.hypothesis_true - self.undecided
        if self.violations:
            return "violated"
        if self.hypothesis_true == 0:
            return Verdict.VACUOUS.label if self.vacuous else Verdict.HYPOTHESIS_FALSE.label
        return f"not violated in {decided}" if decided else Verdict.UNDECIDED.label


def implication(
    name: str,
    hypothesis: str,
    mode: str,
    widths: IntArray,
    verdict: NDArray[np.int8],
    slack: Array | None = None,
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    error: Array | None = None,
) -> Implication:
    """Count violations of an implication over trials and widths.

    Parameters
    ----------
    verdict : ndarray of int8, shape (trial, width)
        Values of `mc.theory.codes.Verdict`, -1 where nothing was computed.
    slack : ndarray, shape (trial, width), optional
        How far the conclusion is from failing; NaN where unknown.
    alpha : float
        Error probability of each one-sided limit of the violation rate.
    method : str
        Of these limits, as in `at_least`.
    error : ndarray, shape (trial, width), optional
        What the integration error may take from the slack.

    Returns
    -------
    Implication
    """
    violated, open_ = verdict == Verdict.VIOLATED, verdict == Verdict.UNDECIDED
    true = violated | open_ | (verdict == Verdict.HOLDS)
    bad = violated.any(axis=1)
    # a slack that decides nothing is not a size of the claim: its trial is counted as undecided instead
    known = true & ~open_ & ~np.isnan(slack) if slack is not None else np.zeros_like(true)
    tally = Tally(
        looked=np.asarray((verdict >= 0).any(axis=1)),
        true=true.any(axis=1),
        violated=bad,
        undecided=~bad & open_.any(axis=1),
        vacuous=(verdict == Verdict.VACUOUS).any(axis=1) & ~true.any(axis=1),
        slacks=slack[known] if slack is not None else np.empty(0),
    )
    tightest, uncertain, address = math.nan, math.nan, _first(violated, widths)
    if slack is not None and known.any():
        row, column = divmod(int(np.argmin(np.where(known, slack, np.inf))), verdict.shape[1])
        tightest = float(slack[row, column])
        uncertain = math.nan if error is None else float(error[row, column])
        address = address or (row, int(widths[column]))
    violations, undecided, trials = int(bad.sum()), int(tally.undecided.sum()), int(tally.true.sum())
    return Implication(
        name=name,
        hypothesis=hypothesis,
        mode=mode,
        trials=int(tally.looked.sum()),
        hypothesis_true=trials,
        undecided=undecided,
        violations=violations,
        pairs=int(true.sum()),
        vacuous=bool(tally.vacuous.any()),
        lower=float(get_method(method).lower(violations, trials, alpha)),
        upper=float(get_method(method).upper(violations + undecided, trials, alpha)),
        slack_min=tightest,
        slack_error=uncertain,
        address=address,
        tally=tally,
    )


def _first(mask: Mask, widths: IntArray) -> tuple[int, int] | None:
    where = np.argwhere(mask)
    return (int(where[0, 0]), int(widths[where[0, 1]])) if len(where) else None


CHAIN = (("paper", "trial"), ("trial", "sharp"), ("sharp", "exact"))
"""The ladder: each certificate implies the next, trial by trial (theory §5)."""


def ladder_implications(
    cell: CellLike, mode: str, alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Implication]:
    """The implication chain of the certificates that the run computed.

    The slack of a certificate is the logarithm of its margin; `exact` has none.
    """
    for weak, strong in CHAIN:
        premise, conclusion = decisions(cell, weak, mode), decisions(cell, strong, mode)
        if premise is None or conclusion is None:
            continue
        margin = dataset(cell, f"margin_{strong}")
        with np.errstate(divide="ignore"):
            slack = None if margin is None else np.log(margin[mode_index(cell, mode)])
        verdict = implied(premise, conclusion)
        yield implication(f"{weak}-{strong}", weak, mode, cell.widths, verdict, slack, alpha, method)


def implied(premise: Decisions, conclusion: Decisions) -> NDArray[np.int8]:
    """Verdict of "premise implies conclusion" per trial and width; a false premise is not a success.

    With an undecided premise nothing is concluded, but where the conclusion holds.
    """
    verdict = np.full(premise.shape, -1, dtype=np.int8)
    known = (premise != Decision.NOT_COUNTED) & (conclusion != Decision.NOT_COUNTED)
    true = known & (premise == Decision.HOLDS)
    verdict[known] = Verdict.HYPOTHESIS_FALSE
    verdict[true & (conclusion == Decision.HOLDS)] = Verdict.HOLDS
    verdict[true & (conclusion == Decision.FAILS)] = Verdict.VIOLATED
    verdict[true & (conclusion == Decision.UNDECIDED)] = Verdict.UNDECIDED
    verdict[known & (premise == Decision.UNDECIDED) & (conclusion != Decision.HOLDS)] = Verdict.UNDECIDED
    return verdict


def _with_failed(verdict: NDArray[np.int8], outcome: NDArray[np.int8] | None, claimed: int | None) -> NDArray[np.int8]:
    """A trajectory that failed is undecided, but where the claim applies to none of those that are there.

    Only the first `claimed` trials are asked what they say of a claim.
    """
    if outcome is None:
        return verdict
    asked = np.arange(len(outcome))[:, np.newaxis] < (len(outcome) if claimed is None else claimed)
    lost = asked & (outcome == Outcome.ERROR)
    if not lost.any():
        return verdict
    followed = asked & ~np.isin(outcome, (NOT_COMPUTED, Outcome.ERROR))
    said = verdict != NOT_COMPUTED
    applies = said.any(axis=0) | (~followed.any(axis=0) & (said.any() or not followed.any()))
    return np.where(lost & applies, Verdict.UNDECIDED, verdict).astype(np.int8)


def flow_implications(
    cell: CellLike, mode: str, alpha: float = 0.05, method: str = "clopper-pearson", claimed: int | None = None
) -> Iterator[Implication]:
    """The claims checked along the trajectories: one per dataset ``verdict_<claim>_<hypothesis>``.

    Parameters
    ----------
    cell : CellLike
    mode : {"hidden", "both"}
    alpha, method
        As in `implication`.
    claimed : int, optional
        So many of the first trials were to be checked; by default all. One of these that failed is undecided.
    """
    for stored in sorted(name for name in cell.data if name.startswith("verdict_")):
        claim, _, hypothesis = stored.removeprefix("verdict_").rpartition("_")
        verdict = dataset(cell, stored)
        if verdict is None or verdict.size == 0:
            continue
        mode_axis, outcome = mode_index(cell, mode), dataset(cell, "outcome")
        slack, error = (dataset(cell, f"{family}_{claim}_{hypothesis}") for family in ("slack", "slack_error"))
        found = implication(
            claim,
            hypothesis,
            mode,
            cell.flow_widths,
            _with_failed(verdict[mode_axis], None if outcome is None else outcome[mode_axis], claimed),
            None if slack is None else slack[mode_axis],
            alpha,
            method,
            None if error is None else error[mode_axis],
        )
        if found.trials:
            yield found
