"""What a run says of one claim in one cell and mode, whatever the kind of claim; Holm over a page of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mc.estimate.cells.verdicts import Implication, Tally
from mc.estimate.claims.points import Judgement, Side
from mc.estimate.probability.support import Support
from mc.estimate.probability.tests import holm

NOT_CONTRADICTED = "not contradicted"
"""Verdict on an equality that its intervals contain at every point: no number of trials shows more."""


@dataclass(frozen=True)
class Finding:
    """One claim in one cell and mode (design: the entries of summary.json).

    Parameters
    ----------
    name, mode, hypothesis : str
    cell : int
        Index of the cell; -1 where the claim is about several.
    trials, hypothesis_true : int
        Trials looked at, and those that the hypothesis is true of.
    verdict : str
        In the words of `Support`, of `Implication.verdict`, or `NOT_CONTRADICTED`.
    lower, upper : float
        One-sided limits: of the share of violations, or of the probability at the tightest point.
    slack_min, slack_error, slack_median : float
        Smallest and median slack, and what the integration error may take from the smallest.
    address : (trial or None, width) or None
        Of the first violation, else of the tightest place.
    p_against, p_support : float
        P-values that the verdict is from; NaN where none is needed or nothing is claimed.
    detail : str
        What the verdict leaves out, in words.
    figure : str
        Kind of the figure that shows it.
    points : (int, int, int)
        Of a claim made at several points: how many are supported (of an equality: not contradicted), how many it is
        made at, and how many of the others so few trials cannot support.
    tally : Tally or None
        Of an implication: trial by trial.
    judgement : Judgement or None
        Of a claim on probabilities: point by point.
    """

    name: str
    mode: str
    hypothesis: str
    cell: int
    trials: int
    hypothesis_true: int
    verdict: str
    lower: float = math.nan
    upper: float = math.nan
    slack_min: float = math.nan
    slack_error: float = math.nan
    slack_median: float = math.nan
    address: tuple[int | None, int] | None = None
    p_against: float = math.nan
    p_support: float = math.nan
    detail: str = ""
    figure: str = ""
    points: tuple[int, int, int] = (0, 0, 0)
    tally: Tally | None = field(default=None, repr=False, compare=False)
    judgement: Judgement | None = field(default=None, repr=False, compare=False)


VACUOUS_REASONS: Mapping[str, str] = {"recovery": "the tangent cone meets ker(A)"}
"""Why a claim can say nothing of a trial (theory §6)."""


def vacuous_words(name: str, draws: int) -> str:
    """Of how many draws a claim says nothing, and why."""
    reason = VACUOUS_REASONS.get(name)
    return f"vacuous in {draws} draw(s)" + (f": {reason}" if reason else "") if draws else ""


def of_implication(found: Implication, cell: int, figure: str) -> Finding:
    """The finding of an implication: a violation needs no test, and without one nothing is shown."""
    return Finding(
        name=found.name,
        mode=found.mode,
        hypothesis=found.hypothesis,
        cell=cell,
        trials=found.trials,
        hypothesis_true=found.hypothesis_true,
        verdict=found.verdict,
        lower=found.lower,
        upper=found.upper,
        slack_min=found.slack_min,
        slack_error=found.slack_error,
        slack_median=found.tally.median,
        address=found.address,
        detail=vacuous_words(found.name, int(found.tally.vacuous.sum())),
        figure=figure,
        tally=found.tally,
    )


def of_judgement(
    name: str, mode: str, hypothesis: str, cell: int, found: Judgement, figure: str, trials: int | None = None
) -> Finding:
    """The finding of a claim on probabilities.

    Parameters
    ----------
    trials : int, optional
        Trials looked at, where the hypothesis is not true of all.
    """
    at, counts, equality = found.tightest, found.points.counts.trials, found.points.side is Side.EQUAL
    verdicts = found.verdicts
    met = found.tests - verdicts.count(Support.CONTRADICTED) if equality else verdicts.count(Support.SUPPORTED)
    points = (met, found.tests, found.beyond)
    most = int(counts.max(initial=0))
    whole = Finding(
        name=name,
        mode=mode,
        hypothesis=hypothesis,
        cell=cell,
        trials=most if trials is None else trials,
        hypothesis_true=most,
        verdict=_verdict(found.p_against, found.p_support, 1.0 - found.alpha, equality),
        p_against=found.p_against,
        p_support=found.p_support,
        detail=words_of_points(points, equality),
        points=points,
        figure=figure,
        judgement=found,
    )
    if at is None:
        return whole
    said = found.slack[found.points.says]
    median = float(np.median(said)) if not np.isnan(said).any() else math.nan
    return replace(
        whole,
        lower=float(found.lower[at]),
        upper=float(found.upper[at]),
        slack_min=float(found.slack[at]),
        slack_median=median,
        address=(None, int(found.points.widths[at])),
    )


def words_of_points(points: tuple[int, int, int], equality: bool = False) -> str:
    """At how many points a claim is supported, which one verdict over all of them does not say."""
    met, tests, beyond = points
    if not tests:
        return ""
    if equality:
        return f"inside the simultaneous interval at {met} of {tests} points"
    words = f"supported at {met} of {tests} points"
    return words + (f", {beyond} are beyond what so many trials can show" if beyond else "")


def _verdict(p_against: float, p_support: float, level: float, equality: bool = False) -> str:
    alpha = 1.0 - level
    if math.isnan(p_against):
        return Support.VACUOUS.value
    if p_against < alpha:
        return Support.CONTRADICTED.value
    if equality:
        return NOT_CONTRADICTED
    return (Support.SUPPORTED if p_support <= alpha else Support.UNDECIDED).value


def adjudicate(findings: Sequence[Finding], level: float) -> tuple[Finding, ...]:
    """Verdicts of a whole page: the tests of each kind adjusted by Holm's procedure over all its claims.

    Parameters
    ----------
    findings : sequence of Finding
    level : float
        All contradictions of the page are true together with this probability, and so are all supports, whatever the
        dependence of the claims. What has no p-value keeps its verdict: a violation is a fact, not a test.

    Returns
    -------
    tuple of Finding
        In the same order, with adjusted p-values and their verdicts.
    """
    against = holm([f.p_against for f in findings])
    support = holm([f.p_support for f in findings])
    return tuple(
        f
        if math.isnan(f.p_against)
        else replace(
            f,
            verdict=_verdict(a, s, level, equality=math.isnan(f.p_support)),
            p_against=float(a),
            p_support=float(s),
        )
        for f, a, s in zip(findings, against, support, strict=True)
    )
