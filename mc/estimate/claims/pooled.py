"""The page of claims: every claim of the registry in one row a hypothesis, over the cells and runs that speak of it.

Runs of a suite may share their draws (the same seed and cell under another loss, activation or step), and the modes of
a run always do. A draw counts once: its hypothesis is true when it is in some run, mode and width, and it violates the
claim when it does so in one of them. So the limits are binomial whatever is shared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mc.estimate.cells.verdicts import Tally
from mc.estimate.claims.findings import NOT_CONTRADICTED, VACUOUS_REASONS, Finding, vacuous_words, words_of_points
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support, together
from mc.model.arrays import Array, Mask
from mc.theory.claims import CLAIMS, Claim
from mc.theory.codes import Verdict

FEW = 3
"""Cells whose details a row repeats."""


@dataclass(frozen=True)
class Source:
    """A run of the page.

    Parameters
    ----------
    name : str
        Its place in the suite; empty for a single run.
    seed : int
    keys : mapping of int to str
        Keys of its cells by index: cells of one key and seed share their draws.
    findings : tuple of Finding
    """

    name: str
    seed: int
    keys: Mapping[int, str]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Place:
    """Where to look a trial up again: the arguments of ``dipmc replay``."""

    run: str
    cell: int
    trial: int | None
    width: int


@dataclass(frozen=True)
class ClaimRow:
    """One claim under one hypothesis, over everything on the page.

    Parameters
    ----------
    claim : Claim
    hypothesis : str
        Empty where nothing speaks of the claim.
    modes, runs : tuple of str
    trials, hypothesis_true, violations, undecided : int
        Distinct draws.
    checks : int
        Pairs of a trajectory and a width, or of a cell and a mode, that speak of it.
    verdict : str
        For a reader.
    lower, upper : float
        One-sided limits of the share of violating draws; of a probability those of its tightest place.
    slack_min, slack_error : float
    slacks : ndarray, shape (checks with a slack,)
    place : Place or None
    detail : str
    figure : str
        Kind of the figure.
    """

    claim: Claim
    hypothesis: str
    modes: tuple[str, ...]
    runs: tuple[str, ...]
    trials: int
    hypothesis_true: int
    violations: int
    undecided: int
    checks: int
    verdict: str
    lower: float
    upper: float
    slack_min: float
    slack_error: float
    slacks: Array
    place: Place | None
    detail: str
    figure: str

    @property
    def slack_median(self) -> float:
        """Median of the slacks, NaN where there is none."""
        return float(np.median(self.slacks)) if len(self.slacks) else math.nan


Member = tuple[Source, Finding]


def _shared(members: Sequence[Member]) -> dict[str, Mask]:
    """Per distinct draw: looked at, hypothesis true, violated, undecided, vacuous."""
    draws: dict[tuple[int, str], list[Tally]] = {}
    for source, found in members:
        if found.tally is not None:
            draws.setdefault((source.seed, source.keys[found.cell]), []).append(found.tally)
    union = {}
    for name in ("looked", "true", "violated", "undecided", "vacuous"):
        parts = []
        for tallies in draws.values():
            whole = np.zeros(max(len(one.looked) for one in tallies), dtype=bool)
            for one in tallies:
                own = getattr(one, name)
                whole[: len(own)] |= own
            parts.append(whole)
        union[name] = np.concatenate(parts) if parts else np.zeros(0, dtype=bool)
    union["undecided"] &= ~union["violated"]
    union["vacuous"] &= ~union["true"]
    return union


def _place(source: Source, found: Finding) -> Place | None:
    return None if found.address is None else Place(source.name, found.cell, *found.address)


def _least(members: Sequence[Member], by: str) -> Member:
    """The member that is smallest in something, those without a number last."""
    return min(members, key=lambda member: (math.isnan(value := getattr(member[1], by)), value))


def _words_of_trials(name: str, members: Sequence[Member], true: int, trials: int, undecided: int) -> str:
    if any(found.verdict == "violated" for _, found in members):
        return "violated"
    if true:
        decided = true - undecided
        return f"not violated in {decided}" if decided else Verdict.UNDECIDED.label
    if any(found.verdict == Verdict.VACUOUS.label for _, found in members):
        reason = VACUOUS_REASONS.get(name)
        return Verdict.VACUOUS.label + (f": {reason}" if reason else "")
    return f"hypothesis false in all {trials} trials"


def _of_trials(claim: Claim, hypothesis: str, members: Sequence[Member], alpha: float, method: str) -> ClaimRow:
    union = _shared(members)
    count = {name: int(values.sum()) for name, values in union.items()}
    limits, tightest = get_method(method), _least(members, "slack_min")
    violating = [member for member in members if member[1].verdict == "violated"]
    return ClaimRow(
        claim=claim,
        hypothesis=hypothesis,
        modes=tuple(dict.fromkeys(found.mode for _, found in members)),
        runs=tuple(dict.fromkeys(source.name for source, _ in members)),
        trials=count["looked"],
        hypothesis_true=count["true"],
        violations=count["violated"],
        undecided=count["undecided"],
        checks=sum(len(found.tally.slacks) for _, found in members if found.tally is not None),
        verdict=_words_of_trials(claim.name, members, count["true"], count["looked"], count["undecided"]),
        lower=float(limits.lower(count["violated"], count["true"], alpha)),
        upper=float(limits.upper(count["violated"] + count["undecided"], count["true"], alpha)),
        slack_min=tightest[1].slack_min,
        slack_error=tightest[1].slack_error,
        slacks=np.concatenate([np.empty(0), *(found.tally.slacks for _, found in members if found.tally is not None)]),
        place=_place(*(violating[0] if violating else tightest)),
        detail=vacuous_words(claim.name, count["vacuous"]) if count["true"] else "",
        figure=tightest[1].figure,
    )


def _slacks(members: Sequence[Member]) -> Iterator[Array]:
    """Of every point that claims something, where the claim has a size."""
    for _, found in members:
        if found.judgement is not None:
            own = found.judgement.slack
            yield own[~np.isnan(own)]


def _details(members: Sequence[Member]) -> str:
    """What each cell says where they are few and agree; else how many say what; points are counted together."""
    verdicts, details = ([getattr(found, name) for _, found in members] for name in ("verdict", "detail"))
    points = [found.points for _, found in members]
    if any(tests for _, tests, _ in points):
        met, tests, beyond = (sum(column) for column in zip(*points, strict=True))
        return words_of_points((met, tests, beyond), NOT_CONTRADICTED in verdicts)
    if len(verdicts) <= FEW and len(set(verdicts)) == 1:
        return "; ".join(dict.fromkeys(details))
    said = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    return f"{len(verdicts)} cells and modes: {said}"


def _of_probabilities(claim: Claim, hypothesis: str, members: Sequence[Member]) -> ClaimRow:
    draws: dict[tuple[int, str], list[int]] = {}
    for source, found in members:
        key = (source.seed, source.keys.get(found.cell, source.name))
        most = draws.setdefault(key, [0, 0])
        draws[key] = [max(most[0], found.trials), max(most[1], found.hypothesis_true)]
    verdicts = [found.verdict for _, found in members]
    near = _least(members, "p_against")
    low, high = near[1].lower, near[1].upper
    if math.isnan(near[1].p_against):
        # nothing is tested: the range over the cells
        low, high = (
            pick(getattr(found, name) for _, found in members) for pick, name in ((min, "lower"), (max, "upper"))
        )
    return ClaimRow(
        claim=claim,
        hypothesis=hypothesis,
        modes=tuple(dict.fromkeys(found.mode for _, found in members)),
        runs=tuple(dict.fromkeys(source.name for source, _ in members)),
        trials=sum(most[0] for most in draws.values()),
        hypothesis_true=sum(most[1] for most in draws.values()),
        violations=verdicts.count(Support.CONTRADICTED.value),
        undecided=0,
        checks=len(members),
        verdict=together(verdicts),
        lower=low,
        upper=high,
        slack_min=near[1].slack_min,
        slack_error=math.nan,
        slacks=np.concatenate([np.empty(0), *_slacks(members)]),
        place=_place(*near),
        detail=_details(members),
        figure=near[1].figure,
    )


def _unchecked(claim: Claim) -> ClaimRow:
    nan = math.nan
    return ClaimRow(
        claim, "", (), (), 0, 0, 0, 0, 0, "not checked", nan, nan, nan, nan, np.empty(0), None, "", ""
    )  # fmt: skip


def claim_rows(sources: Sequence[Source], level: float = 0.95, method: str = "clopper-pearson") -> tuple[ClaimRow, ...]:
    """Every claim of the registry, in its order, one row for each hypothesis it is checked under.

    Parameters
    ----------
    sources : sequence of Source
        The runs of the page, their findings adjusted over all of it (`mc.estimate.claims.findings.adjudicate`).
    level : float
        Of each limit of a violation rate.
    method : str
        Of these limits; "beta-binomial" where the number of trials followed the data.

    Returns
    -------
    tuple of ClaimRow
        A claim that nothing speaks of has one row that says so.
    """
    rows = []
    for claim in CLAIMS.values():
        members = [(source, found) for source in sources for found in source.findings if found.name == claim.name]
        if not members:
            rows.append(_unchecked(claim))
        order = {name: i for i, name in enumerate(claim.hypotheses)}
        names = dict.fromkeys(found.hypothesis for _, found in members)
        for hypothesis in sorted(names, key=lambda name: order.get(name, len(order))):
            own = [member for member in members if member[1].hypothesis == hypothesis]
            if own[0][1].tally is not None:
                rows.append(_of_trials(claim, hypothesis, own, 1.0 - level, method))
            else:
                rows.append(_of_probabilities(claim, hypothesis, own))
    return tuple(rows)
