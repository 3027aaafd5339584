"""The page of claims: one row for each claim and hypothesis, and its figures."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mc.estimate.cells.study import Study
from mc.estimate.claims.finding import Finding
from mc.estimate.claims.pooled import Source, claim_rows
from mc.estimate.claims.published import Constant
from mc.estimate.flows.protocol import StepPair
from mc.estimate.numbers import short, spaced
from mc.estimate.probability.support import Support
from mc.report.claim_figures import constants_figure, law, slacks, tails
from mc.report.figures import NO_BREAK, Figure
from mc.report.flow_figures import Named, protocols_figure, protocols_table, steps_table
from mc.theory.claims import CLAIMS, Kind

MOST = 1e6
"""Larger factors are printed as "above 10⁶"."""

SHOWN_BY = {
    "margins": "all-slacks",
    "slacks": "all-slacks",
    "tails": "all-tails",
    "orthant": "all-orthant",
    "published": "all-published",
}
"""The figure of the page for each `Claim.figure`."""


@dataclass(frozen=True)
class ClaimsPage:
    """The claims of a run or a suite, ready to be shown."""

    claims: tuple[Finding, ...]  # one for each claim and hypothesis
    rows: tuple[Mapping[str, Any], ...]  # the same in words
    figures: tuple[Figure, ...]
    protocols: tuple[Mapping[str, str], ...]  # gradient descent against the exact verdict
    steps: tuple[Mapping[str, str], ...]  # runs of gradient descent against each other

    @property
    def files(self) -> dict[str, str]:
        """File names of the panels, by kind and by kind and mode or claim."""
        return {
            panel.name.removeprefix("all-"): f"{panel.name}.svg" for figure in self.figures for panel in figure.panels
        }


def source_of(name: str, study: Study, findings: tuple[Finding, ...]) -> Source:
    """Return a run with its findings as a source of the page of claims."""
    seed = int(study.experiment.get("experiment", {}).get("seed", 0))
    return Source(name, seed, {cell.cell.index: cell.cell.key for cell in study.cells}, findings)


def claims_page(
    sources: Sequence[Source],
    constants: Sequence[tuple[str, Constant]],
    protocols: Sequence[Named],
    steps: Sequence[StepPair],
    level: float,
    method: str,
    where: str = "run",
) -> ClaimsPage:
    """Return the page of all claims over some runs, whose findings are adjusted over all of them.

    Constants come with the name of their run, protocols also with the key of their cell. `level` and `method` are of
    the limits of violation rates; `where` is what the page is of: "run" or "suite".
    """
    claims = claim_rows(sources, level, method)
    findings = [finding for source in sources for finding in source.findings]
    candidates = (
        slacks(claims), tails(findings), law(findings), constants_figure(constants), protocols_figure(protocols, level),
    )  # fmt: skip
    figures = tuple(figure for figure in candidates if figure is not None)
    names = [figure.name for figure in figures]
    rows = tuple(claims_rows(claims, names, where))
    return ClaimsPage(claims, rows, figures, protocols_table(protocols), steps_table(steps, level))


def claims_rows(
    findings: Sequence[Finding], figures: Sequence[str] = (), where: str = "run"
) -> Iterator[dict[str, Any]]:
    """Yield the entries of a table of claims; successive rows of one claim share its first column.

    `figures` are the names of the figures on the page, `where` is what an unchecked claim was not checked in.
    """
    for name, group in itertools.groupby(findings, key=lambda finding: finding.name):
        claim, of_claim = CLAIMS[name], list(group)
        for i, finding in enumerate(of_claim):
            figure = SHOWN_BY.get(claim.figure, "")
            yield {
                "name": name,
                "span": 0 if i else len(of_claim),
                "words": f"{claim.formula} ({claim.source})",
                "figure": figure if figure in figures else "",
                **finding_words(finding),
            } | ({} if finding.hypothesis else {"verdict": f"not checked in this {where}"})


def finding_words(finding: Finding) -> dict[str, Any]:
    """Return a finding in words, as the tables of claims of a run, a suite and the paper show it."""
    verdict = verdict_words(finding)
    factor_of, note = _slack(finding)
    of_draws = CLAIMS[finding.name].kind is not Kind.PROBABILITY
    checks = f"{spaced(finding.checks)} checks" if of_draws and finding.checks else ""
    if not of_draws and finding.checks > 1:
        checks = f"{finding.checks} cells and modes"
    return {
        "hypothesis": finding.hypothesis or "–",
        "modes": finding.mode,
        "true": f"{spaced(finding.hypothesis_true)} of {spaced(finding.trials)}",
        "checks": checks,
        "checked": bool(finding.hypothesis),
        "verdict": verdict,
        "tone": tone(verdict) if finding.hypothesis else "open",
        "detail": finding.detail,
        "limits": _limits(finding),
        "slack": factor_of,
        "slack_note": note,
        "median": "–" if finding.name.startswith("theory-") else factor(finding.slack_median),
        "place": place_words(finding.address, finding.cell, finding.run),
        "replay": replay_command(finding),
    }


def tone(verdict: str) -> str:
    """Return the colour class of a verdict."""
    if verdict in ("violated", "contradicted"):
        return "bad"
    return "good" if verdict == "supported" or verdict.startswith("not ") else "open"


def verdict_words(finding: Finding) -> str:
    """Return the verdict; that of the published form names its constant."""
    if finding.name == "published" and finding.verdict == Support.SUPPORTED:
        return f"seen from C' = {short(finding.upper)} on"
    return re.sub(r"\d{4,}", lambda number: spaced(int(number.group())), finding.verdict)


def factor(slack: float) -> str:
    """Return exp(slack) for a reader; slacks are logarithms of right side over left side."""
    if math.isnan(slack):
        return "–"
    if math.isinf(slack):
        return "∞" if slack > 0.0 else "0"
    if slack > math.log(MOST):
        return "above 10⁶"
    return f"{math.exp(slack):.4g}" if abs(slack) < 0.01 else f"{math.exp(slack):.3g}"


def _slack(finding: Finding) -> tuple[str, str]:
    """Return the smallest slack as a factor, and a note on it."""
    if math.isnan(finding.slack_min):
        return "–", ""
    if finding.name.startswith("theory-"):
        return short(finding.slack_min), "lower limit − P_theory"
    if CLAIMS[finding.name].kind is Kind.PROBABILITY:
        return factor(finding.slack_min), "bound/share" if math.isfinite(finding.slack_min) else "never seen"
    if math.isnan(finding.slack_error):
        return factor(finding.slack_min), ""
    return factor(finding.slack_min), f"log {finding.slack_min:.1e} ± {finding.slack_error:.1e}".replace("-", "−")


def _limits(finding: Finding) -> str:
    """Return the limits of what the finding is about, in words."""
    if CLAIMS[finding.name].kind is not Kind.PROBABILITY:
        undecided = f", {spaced(finding.undecided)} undecided" if finding.undecided else ""
        return f"rate of violations ≤ {short(finding.upper, 2)}{undecided}" if finding.hypothesis_true else ""
    if finding.name == "half-width":
        return f"ratio in {short(finding.lower)} to {short(finding.upper)}"
    if finding.name == "published" or math.isnan(finding.lower):
        return ""
    return f"tightest: P in {short(finding.lower)} to {short(finding.upper)}"


def place_words(address: tuple[int | None, int] | None, cell: int, run: str = "") -> str:
    """Return where a claim is tightest."""
    if address is None:
        return "–"
    trial, width = address
    parts = [run] if run else []
    parts += [] if cell < 0 else [f"cell{NO_BREAK}{cell}"]
    parts += [] if trial is None else [f"trial{NO_BREAK}{trial}"]
    return ", ".join([*parts, f"k{NO_BREAK}={NO_BREAK}{spaced(width)}"])


def replay_command(finding: Finding) -> tuple[str, ...]:
    """Return the parts of the command that computes a trial again; RUN stands for the folder."""
    if finding.address is None or finding.address[0] is None:
        return ()
    trial, width = finding.address
    run = f"RUN/{finding.run}" if finding.run else "RUN"
    return (f"dipmc replay {run}", f"--cell {finding.cell}", f"--trial {trial}", f"--width {width}")
