"""The table of claims: those of the registry over all runs of the report, then those that each study decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mc.estimate.claims.finding import Finding, adjudicate
from mc.estimate.claims.pooled import claim_rows
from mc.estimate.claims.run_findings import run_findings
from mc.estimate.numbers import spaced
from mc.report.claims import finding_words, place_words, source_of, tone
from mc.report.paper.section import PaperClaim, Run
from mc.theory.claims import CLAIMS


@dataclass(frozen=True)
class Row:
    """A row of the table, in words."""

    claim: str  # the statement
    note: str  # its source and hypothesis
    verdict: str
    tone: str  # colour class of the verdict
    interval: str
    slack: str
    trials: str
    study: str  # the study whose section shows it
    figure: str  # name of a figure of the page, or of the study
    experiment: str
    address: str
    replay: str  # command that computes the tightest trial again; empty where no trial is meant
    explanation: str = ""


def _replay(address: tuple[int | None, int] | None, cell: int, run: str, runs: Mapping[str, Run]) -> str:
    if address is None or address[0] is None or run not in runs:
        return ""
    folder = runs[run].folder.as_posix()
    return f"dipmc replay {folder} --cell {cell} --trial {address[0]} --width {address[1]}"


def registry_rows(
    runs: Mapping[str, Run], studies: Mapping[str, str], level: float
) -> tuple[tuple[Row, ...], tuple[Finding, ...]]:
    """Return the claims of the registry over all runs in words and as findings, verdicts adjusted over the page.

    `studies` is the study of each run.
    """
    raw = {name: run_findings(run.study).raw for name, run in runs.items()}
    adjusted = iter(adjudicate([finding for findings in raw.values() for finding in findings], level))
    sources = [
        source_of(name, runs[name].study, tuple(next(adjusted) for _ in findings)) for name, findings in raw.items()
    ]
    adaptive = any(run.study.adaptive for run in runs.values())
    findings = claim_rows(sources, level, "beta-binomial" if adaptive else "clopper-pearson")
    checked = tuple(finding for finding in findings if finding.hypothesis)
    return tuple(_registry_row(finding, runs, studies) for finding in checked), checked


def _registry_row(finding: Finding, runs: Mapping[str, Run], studies: Mapping[str, str]) -> Row:
    claim, words = CLAIMS[finding.name], finding_words(finding)
    run = finding.run if finding.address is not None else finding.runs[0]
    detail = f"; {finding.detail}" if finding.detail else ""
    return Row(
        claim=f"{claim.name}: {claim.formula}",
        note=f"under {finding.hypothesis}; {claim.source}{detail}",
        verdict=words["verdict"],
        tone=words["tone"],
        interval=words["limits"],
        slack=words["slack"] + (f" ({words['slack_note']})" if words["slack_note"] else ""),
        trials=spaced(finding.hypothesis_true),
        study=studies[run],
        figure=studies[run],
        experiment=run,
        address=place_words(finding.address, finding.cell),
        replay=_replay(finding.address, finding.cell, run, runs),
    )


def own_row(claim: PaperClaim, study: str, runs: Mapping[str, Run]) -> Row:
    """Return a claim that a study decides."""
    cell, address = (-1, None) if claim.address is None else (claim.address[0], claim.address[1:])
    return Row(
        claim=claim.claim,
        note="",
        verdict=claim.verdict,
        tone=tone(claim.verdict),
        interval=claim.interval,
        slack="",
        trials=spaced(claim.trials),
        study=study,
        figure=claim.figure or study,
        experiment=claim.experiment,
        address=place_words(address, cell),
        replay=_replay(address, cell, claim.experiment, runs),
        explanation=claim.explanation,
    )
