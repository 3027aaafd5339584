"""The answer to a claim, of whatever kind: in one cell and mode, or over every cell, mode and run of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mc.estimate.claims.points import Points, Side
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support
from mc.estimate.probability.tests import holm
from mc.model.arrays import Array, Mask
from mc.theory.claims import CLAIMS
from mc.theory.codes import Verdict

NOT_CONTRADICTED = "not contradicted"
"""Verdict on an equality that its intervals contain at every point: no number of trials shows more."""

VIOLATED = "violated"

DRAWS = ("checked", "true", "violated", "undecided", "vacuous")
"""Properties of a draw under an implication.

Checked: it has a verdict at some width. True: so is its hypothesis at some width. Violated: so is the claim at some
width. Undecided: no conclusion at some width, and no violation. Vacuous: nothing is claimed, and the hypothesis is true
at no width.
"""


@dataclass(frozen=True)
class Finding:
    """The answer to one claim under one hypothesis; a row of a page and of summary.json."""

    name: str  # of the claim (``dipmc claims``)
    modes: tuple[str, ...]  # "hidden", "both"
    hypothesis: str  # hypothesis under which the claim is checked; empty where it was not checked
    cell: int  # index of the cell, of `address` where the finding is over several cells; -1 for none
    trials: int  # distinct draws that were checked
    hypothesis_true: int  # distinct draws with the hypothesis true at some width
    verdict: str  # a `Support`, `NOT_CONTRADICTED`, "violated", "not violated in N", or the label of a `Verdict`
    lower: float = math.nan
    """One-sided limit (with `upper`) of the share of draws with the hypothesis true that violate the claim, where every
    undecided draw stands against both limits; or of the probability at the tightest point."""
    upper: float = math.nan
    slack_min: float = math.nan
    slack_error: float = math.nan  # amount by which the integration error may lower `slack_min`
    slack_median: float = math.nan
    address: tuple[int | None, int] | None = None  # (trial or None, width) of the first violation, else of `slack_min`
    violations: int = 0  # draws that violate the claim; of a claim on probabilities, contradictions
    undecided: int = 0  # undecided draws; of a claim on probabilities, 0
    checks: int = 0  # pairs of trial and width with a slack; of a claim on probabilities, cells and modes
    p_against: float = math.nan  # p-values behind the verdict; NaN where the verdict needs no test
    p_support: float = math.nan
    detail: str = ""  # a remark beside the verdict
    points: tuple[int, int, int] = (0, 0, 0)
    """Of a claim made at several points: how many are supported (of an equality: not contradicted), the number of
    points, and how many of the unsupported points so few trials cannot support."""
    run: str = ""  # name of the run of `cell`; empty for a single run
    runs: tuple[str, ...] = ()  # names of all runs
    draws: Mapping[str, Mask] = field(default_factory=dict, repr=False, compare=False)
    """Of an implication: the properties `DRAWS` of each draw, shape (trials,)."""
    slacks: Array = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """All slacks: of each decided pair of trial and width, or of each point."""
    judgement: Points | None = field(default=None, repr=False, compare=False)  # of a claim on probabilities

    @property
    def mode(self) -> str:
        """The modes in one string."""
        return ", ".join(self.modes)

    @property
    def bad(self) -> bool:
        """Whether the claim is violated or contradicted."""
        return self.verdict in (VIOLATED, Support.CONTRADICTED)


def vacuous_words(name: str, draws: int) -> str:
    """Say about how many draws a claim says nothing, and why."""
    reason = CLAIMS[name].vacuous if name in CLAIMS else ""
    return f"vacuous in {draws} draw(s)" + (f": {reason}" if reason else "") if draws else ""


def points_words(points: tuple[int, int, int], equality: bool = False) -> str:
    """Say at how many points a claim is supported."""
    met, tests, beyond = points
    if not tests:
        return ""
    if equality:
        return f"inside the simultaneous interval at {met} of {tests} points"
    return f"supported at {met} of {tests} points" + (
        f", {beyond} are beyond what so many trials can show" if beyond else ""
    )


def implication_finding(
    name: str,
    modes: tuple[str, ...],
    hypothesis: str,
    cell: int,
    draws: Mapping[str, Mask],
    slacks: Array,
    alpha: float,
    method: str,
) -> Finding:
    """Count the draws of an implication: a violation needs no test, and without one nothing is proved."""
    count = {name: int(draws[name].sum()) for name in DRAWS}
    true, violations, undecided = count["true"], count["violated"], count["undecided"]
    decided, limits = true - undecided, get_method(method)
    if violations:
        verdict = VIOLATED
    elif true:
        verdict = f"not violated in {decided}" if decided else Verdict.UNDECIDED.label
    else:
        verdict = Verdict.VACUOUS.label if count["vacuous"] else Verdict.HYPOTHESIS_FALSE.label
    return Finding(
        name=name,
        modes=modes,
        hypothesis=hypothesis,
        cell=cell,
        trials=count["checked"],
        hypothesis_true=true,
        verdict=verdict,
        lower=float(limits.lower(violations, true, alpha)),
        upper=float(limits.upper(violations + undecided, true, alpha)),
        slack_median=float(np.median(slacks)) if len(slacks) else math.nan,
        violations=violations,
        undecided=undecided,
        checks=len(slacks),
        detail=vacuous_words(name, count["vacuous"]),
        draws=draws,
        slacks=slacks,
    )


def probability_finding(
    name: str, mode: str, hypothesis: str, cell: int, judged: Points, trials: int | None = None
) -> Finding:
    """Return the finding of a claim on probabilities; `trials` were checked where the hypothesis is false of some."""
    tightest, counts, equality = judged.tightest, judged.counts.trials, judged.side is Side.EQUAL
    verdicts = judged.verdicts
    met = judged.tests - verdicts.count(Support.CONTRADICTED) if equality else verdicts.count(Support.SUPPORTED)
    points = (met, judged.tests, judged.beyond)
    most = int(counts.max(initial=0))
    finding = Finding(
        name=name,
        modes=(mode,),
        hypothesis=hypothesis,
        cell=cell,
        trials=most if trials is None else trials,
        hypothesis_true=most,
        verdict=_verdict(judged.p_against, judged.p_support, judged.alpha),
        p_against=judged.p_against,
        p_support=judged.p_support,
        detail=points_words(points, equality),
        points=points,
        slacks=judged.slack[~np.isnan(judged.slack)],
        judgement=judged,
    )
    if tightest is None:
        return finding
    claimed = judged.slack[judged.says]
    return replace(
        finding,
        lower=float(judged.lower[tightest]),
        upper=float(judged.upper[tightest]),
        slack_min=float(judged.slack[tightest]),
        slack_median=float(np.median(claimed)) if not np.isnan(claimed).any() else math.nan,
        address=(None, int(judged.widths[tightest])),
    )


def _verdict(p_against: float, p_support: float, alpha: float) -> str:
    """Return the verdict of two p-values; an equality has no `p_support`."""
    if math.isnan(p_against):
        return Support.VACUOUS.value
    if p_against < alpha:
        return Support.CONTRADICTED.value
    if math.isnan(p_support):
        return NOT_CONTRADICTED
    return (Support.SUPPORTED if p_support <= alpha else Support.UNDECIDED).value


def adjudicate(findings: Sequence[Finding], level: float) -> tuple[Finding, ...]:
    """Adjust the tests of each kind by Holm's procedure over all claims of a page, and return the adjusted verdicts.

    All contradictions of the page are true together with probability `level`, and so are all supports, whatever the
    dependence of the claims. A finding without p-values keeps its verdict: a violation is a fact, not a test.
    """
    against = holm([finding.p_against for finding in findings])
    support = holm([finding.p_support for finding in findings])
    return tuple(
        finding
        if math.isnan(finding.p_against)
        else replace(finding, verdict=_verdict(a, s, 1.0 - level), p_against=float(a), p_support=float(s))
        for finding, a, s in zip(findings, against, support, strict=True)
    )
