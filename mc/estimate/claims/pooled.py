"""The page of claims: one finding for each claim and hypothesis, over all cells and runs.

Runs of a suite may share their draws (the same seed and cell under another loss, activation or step), and the modes of
a run always do. A draw counts once: its hypothesis is true when it is in some run, mode and width, and it violates the
claim when it does so in one of them. So the limits are binomial whatever is shared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mc.estimate.claims.finding import (
    DRAWS,
    NOT_CONTRADICTED,
    VIOLATED,
    Finding,
    implication_finding,
    points_words,
)
from mc.estimate.probability.support import Support, together
from mc.model.arrays import Mask
from mc.theory.claims import CLAIMS
from mc.theory.codes import Verdict

FEW = 3
"""Most cells whose details a row repeats."""


@dataclass(frozen=True)
class Source:
    """A run of the page."""

    name: str  # its place in the suite; empty for a single run
    seed: int
    keys: Mapping[int, str]  # keys of its cells by index: cells of one key and seed share their draws
    findings: tuple[Finding, ...]


Member = tuple[Source, Finding]


def claim_rows(sources: Sequence[Source], level: float = 0.95, method: str = "clopper-pearson") -> tuple[Finding, ...]:
    """Return every claim of the registry in order, one finding for each hypothesis it is checked under.

    The findings of the sources are adjusted over the whole page (`adjudicate`). `level` and `method` are of the limits
    of violation rates. A claim that no source checks has one finding with an empty hypothesis.
    """
    rows = []
    for claim in CLAIMS.values():
        members = [(source, finding) for source in sources for finding in source.findings if finding.name == claim.name]
        if not members:
            rows.append(Finding(claim.name, (), "", -1, 0, 0, "not checked"))
        order = {name: i for i, name in enumerate(claim.hypotheses)}
        names = dict.fromkeys(finding.hypothesis for _, finding in members)
        for hypothesis in sorted(names, key=lambda name: order.get(name, len(order))):
            chosen = [member for member in members if member[1].hypothesis == hypothesis]
            rows.append(_of_trials(chosen, 1.0 - level, method) if chosen[0][1].draws else _of_probabilities(chosen))
    return tuple(rows)


def _modes(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mode for _, finding in members for mode in finding.modes))


def _runs(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source.name for source, _ in members))


def _least(members: Sequence[Member], by: str) -> Member:
    """Return the member with the smallest attribute `by`, NaN last."""
    return min(members, key=lambda member: (math.isnan(value := getattr(member[1], by)), value))


def _distinct_draws(members: Sequence[Member]) -> dict[str, Mask]:
    """Return the properties `DRAWS` of each distinct draw, over all runs, modes and widths."""
    shared: dict[tuple[int, str], list[Mapping[str, Mask]]] = {}
    for source, finding in members:
        shared.setdefault((source.seed, source.keys[finding.cell]), []).append(finding.draws)
    draws = {}
    for name in DRAWS:
        parts = []
        for tallies in shared.values():
            union = np.zeros(max(len(tally[name]) for tally in tallies), dtype=bool)
            for tally in tallies:
                union[: len(tally[name])] |= tally[name]
            parts.append(union)
        draws[name] = np.concatenate(parts)
    draws["undecided"] &= ~draws["violated"]
    draws["vacuous"] &= ~draws["true"]
    return draws


def _of_trials(members: Sequence[Member], alpha: float, method: str) -> Finding:
    """Count the distinct draws of an implication over all members."""
    name, hypothesis = members[0][1].name, members[0][1].hypothesis
    slacks = np.concatenate([finding.slacks for _, finding in members])
    pooled = implication_finding(name, _modes(members), hypothesis, -1, _distinct_draws(members), slacks, alpha, method)
    tightest = _least(members, "slack_min")
    source, shown = next((member for member in members if member[1].verdict == VIOLATED), tightest)
    verdict, detail = pooled.verdict, pooled.detail
    if not pooled.hypothesis_true:
        reason, detail = CLAIMS[name].vacuous, ""
        if verdict == Verdict.HYPOTHESIS_FALSE.label:
            verdict = f"hypothesis false in all {pooled.trials} trials"
        elif reason:
            verdict = f"{verdict}: {reason}"
    return replace(
        pooled,
        cell=shown.cell,
        run=source.name,
        runs=_runs(members),
        address=shown.address,
        slack_min=tightest[1].slack_min,
        slack_error=tightest[1].slack_error,
        verdict=verdict,
        detail=detail,
    )


def _of_probabilities(members: Sequence[Member]) -> Finding:
    """Return the verdict of all cells and modes together, with the numbers of the one nearest to failing."""
    shared: dict[tuple[int, str], tuple[int, int]] = {}
    for source, finding in members:
        key = (source.seed, source.keys.get(finding.cell, source.name))
        trials, true = shared.get(key, (0, 0))
        shared[key] = max(trials, finding.trials), max(true, finding.hypothesis_true)
    verdicts = [finding.verdict for _, finding in members]
    source, nearest = _least(members, "p_against")
    lower, upper = nearest.lower, nearest.upper
    if math.isnan(nearest.p_against):  # nothing is tested: the range over the cells
        lower, upper = min(finding.lower for _, finding in members), max(finding.upper for _, finding in members)
    slacks = np.concatenate([finding.slacks for _, finding in members])
    return replace(
        nearest,
        modes=_modes(members),
        run=source.name,
        runs=_runs(members),
        trials=sum(trials for trials, _ in shared.values()),
        hypothesis_true=sum(true for _, true in shared.values()),
        violations=verdicts.count(Support.CONTRADICTED.value),
        checks=len(members),
        verdict=together(verdicts),
        lower=lower,
        upper=upper,
        slack_error=math.nan,
        slack_median=float(np.median(slacks)) if len(slacks) else math.nan,
        slacks=slacks,
        detail=_details(members),
    )


def _details(members: Sequence[Member]) -> str:
    """Say what each cell says where they are few and agree, else how many say what; points are counted together."""
    findings = [finding for _, finding in members]
    verdicts = [finding.verdict for finding in findings]
    if any(finding.points[1] for finding in findings):
        met, tests, beyond = (sum(column) for column in zip(*(finding.points for finding in findings), strict=True))
        return points_words((met, tests, beyond), NOT_CONTRADICTED in verdicts)
    if len(verdicts) <= FEW and len(set(verdicts)) == 1:
        return "; ".join(dict.fromkeys(finding.detail for finding in findings))
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    return f"{len(verdicts)} cells and modes: {counted}"
