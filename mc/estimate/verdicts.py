"""Verdicts on "P >= p" and on implications, from counts (design §7, theory §8)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mc.estimate.counts import CellLike, Counts, Decision, Decisions, dataset, decisions, mode_index
from mc.estimate.methods import get_method
from mc.estimate.undecided import Policy, reading
from mc.outcomes import Verdict


class Support(StrEnum):
    """What the data say of a claim "P >= p"."""

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
    policy: Policy = "bracket",
) -> tuple[Support, ...]:
    """Verdict on "P >= p" at each width.

    Both limits are one-sided at level alpha/tests (Bonferroni: the widths of a trial are dependent). Undecided trials
    count as failures for support and as holds for contradiction, so neither verdict can come from how they are read.

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
    method : str
        A name of `mc.estimate.methods.METHODS`; "beta-binomial" where the number of trials followed the data.
    policy : str
        What undecided trials count as; "bracket" as said above.

    Returns
    -------
    tuple of Support, one per width
    """
    bound, slack = (np.broadcast_to(np.asarray(x, dtype=np.float64), counts.holds.shape) for x in (p, p_error))
    tail = alpha / max(tests, 1)
    read, found = reading(counts, policy), get_method(method)
    lower, upper = found.lower(read.least, read.trials, tail), found.upper(read.most, read.trials, tail)
    verdicts = np.full(bound.shape, Support.UNDECIDED, dtype=object)
    verdicts[lower >= bound + slack] = Support.SUPPORTED
    verdicts[upper < bound - slack] = Support.CONTRADICTED
    verdicts[~(bound > 0.0)] = Support.VACUOUS
    return tuple(verdicts.tolist())


def together(verdicts: tuple[Support, ...]) -> Support:
    """One verdict for a claim made at several widths: one contradiction refutes it, support must be everywhere."""
    said = [v for v in verdicts if v is not Support.VACUOUS]
    if not said:
        return Support.VACUOUS
    if Support.CONTRADICTED in said:
        return Support.CONTRADICTED
    return Support.SUPPORTED if all(v is Support.SUPPORTED for v in said) else Support.UNDECIDED


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
    slack_min : float
        Smallest slack of the conclusion, NaN where the conclusion has no size.
    address : tuple of int or None
        (trial, width) of the first violation, else of the tightest pair.
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
    address: tuple[int, int] | None

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
    widths: NDArray[np.int64],
    verdict: NDArray[np.int8],
    slack: NDArray[np.float64] | None = None,
    alpha: float = 0.05,
    method: str = "clopper-pearson",
) -> Implication:
    """Count violations of an implication over trials and widths.

    Parameters
    ----------
    verdict : ndarray of int8, shape (trial, width)
        Values of `mc.outcomes.Verdict`, -1 where nothing was computed.
    slack : ndarray, shape (trial, width), optional
        How far the conclusion is from failing; NaN where unknown.
    alpha : float
        Error probability of each one-sided limit of the violation rate.
    method : str
        Of these limits, as in `at_least`.

    Returns
    -------
    Implication
    """
    violated, open_ = verdict == Verdict.VIOLATED, verdict == Verdict.UNDECIDED
    decided = violated | (verdict == Verdict.HOLDS)
    bad = violated.any(axis=1)
    undecided = int((~bad & open_.any(axis=1)).sum())
    true = int((decided | open_).any(axis=1).sum())
    tightest, address = math.nan, _first(violated, widths)
    known = decided & ~np.isnan(slack) if slack is not None else np.zeros_like(decided)
    if slack is not None and known.any():
        flat = int(np.argmin(np.where(known, slack, np.inf)))
        tightest = float(slack.flat[flat])
        address = address or (flat // verdict.shape[1], int(widths[flat % verdict.shape[1]]))
    return Implication(
        name=name,
        hypothesis=hypothesis,
        mode=mode,
        trials=int((verdict >= 0).any(axis=1).sum()),
        hypothesis_true=true,
        undecided=undecided,
        violations=int(bad.sum()),
        pairs=int((decided | open_).sum()),
        vacuous=bool((verdict == Verdict.VACUOUS).any()),
        lower=float(get_method(method).lower(bad.sum(), true, alpha)),
        upper=float(get_method(method).upper(bad.sum() + undecided, true, alpha)),
        slack_min=tightest,
        address=address,
    )


def _first(mask: NDArray[np.bool_], widths: NDArray[np.int64]) -> tuple[int, int] | None:
    where = np.argwhere(mask)
    return (int(where[0, 0]), int(widths[where[0, 1]])) if len(where) else None


CHAIN = (("paper", "trial"), ("trial", "sharp"), ("sharp", "exact"))
"""The ladder: each certificate implies the next, trial by trial (theory §5)."""


def ladder_implications(
    cell: CellLike, mode: str, alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Implication]:
    """The implication chain of the certificates that the run computed.

    The slack of a certificate is its margin minus 1; `exact` has none.
    """
    for weak, strong in CHAIN:
        premise, conclusion = decisions(cell, weak, mode), decisions(cell, strong, mode)
        if premise is None or conclusion is None:
            continue
        margin = dataset(cell, f"margin_{strong}")
        slack = None if margin is None else margin[mode_index(cell, mode)] - 1.0
        verdict = implied(premise, conclusion)
        yield implication(f"{weak}-{strong}", weak, mode, cell.widths, verdict, slack, alpha, method)


def implied(premise: Decisions, conclusion: Decisions) -> NDArray[np.int8]:
    """Verdict of "premise implies conclusion" per trial and width; a false premise is not a success."""
    verdict = np.full(premise.shape, -1, dtype=np.int8)
    known = (premise != Decision.NOT_COUNTED) & (conclusion != Decision.NOT_COUNTED)
    true = known & (premise == Decision.HOLDS)
    verdict[known] = Verdict.HYPOTHESIS_FALSE
    verdict[true & (conclusion == Decision.HOLDS)] = Verdict.HOLDS
    verdict[true & (conclusion == Decision.FAILS)] = Verdict.VIOLATED
    verdict[true & (conclusion == Decision.UNDECIDED)] = Verdict.UNDECIDED
    return verdict


def flow_implications(
    cell: CellLike, mode: str, alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Implication]:
    """The claims checked along the trajectories: one per dataset ``verdict_<claim>_<hypothesis>``."""
    for field in sorted(name for name in cell.data if name.startswith("verdict_")):
        claim, _, hypothesis = field.removeprefix("verdict_").rpartition("_")
        verdict, slack = dataset(cell, field), dataset(cell, f"slack_{claim}_{hypothesis}")
        if verdict is None or verdict.size == 0:
            continue
        mode_axis = mode_index(cell, mode)
        found = implication(
            claim,
            hypothesis,
            mode,
            cell.flow_widths,
            verdict[mode_axis],
            None if slack is None else slack[mode_axis],
            alpha,
            method,
        )
        if found.trials:
            yield found
