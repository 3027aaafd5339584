"""Report of a suite: a page for each of its experiments, and one page of claims over all experiments."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc.estimate.cells.study import Study, study_run
from mc.estimate.claims.finding import Finding, adjudicate
from mc.estimate.claims.run_findings import RunFindings, run_findings
from mc.estimate.flows.protocol import Stepped, step_pairs, stepped
from mc.estimate.numbers import spaced
from mc.report.claims import ClaimsPage, claims_page, source_of
from mc.report.html import environment, files, inlined
from mc.report.page import Report, report_study
from mc.report.summary import READING, claim_entry, plain, row_entry, to_json
from mc.store.files import write_bytes
from mc.store.results import load

READ = ("claims", "rows", "null")


@dataclass(frozen=True)
class Member:
    """One experiment of a suite, as the page of claims needs it."""

    name: str  # its place below the suite
    report: Report
    study: Study
    run: RunFindings


def _stepped(runs: Sequence[tuple[Path, Path]]) -> Iterator[Stepped]:
    """Load the runs again, one at a time: the results that the reports have read are not kept in memory."""
    for folder, place in runs:
        results = load(folder)
        yield stepped(place.as_posix(), tomllib.loads(results.experiment_text), results.cells)


def suite_claims(
    members: Sequence[Member], steps: Sequence[Stepped], level: float
) -> tuple[ClaimsPage, list[list[Finding]]]:
    """Return the page of claims of all experiments, and their findings with verdicts adjusted over all claims."""
    raw = [finding for member in members for finding in member.run.raw]
    judged = iter(adjudicate(raw, level))
    findings = [[next(judged) for _ in member.run.raw] for member in members]
    adaptive = any(member.study.adaptive for member in members)
    pairs = [*zip(members, findings, strict=True)]
    protocols = [(member, protocol) for member in members for protocol in member.run.protocols]
    page = claims_page(
        [source_of(member.name, member.study, tuple(of_member)) for member, of_member in pairs],
        [(member.name, constant) for member in members for constant in member.run.constants],
        [(member.name, member.study.cells[protocol.cell].cell.key, protocol) for member, protocol in protocols],
        tuple(step_pairs(steps, level)),
        level,
        "beta-binomial" if adaptive else "clopper-pearson",
        "suite",
    )
    return page, findings


def _entries(member: Member, findings: Sequence[Finding], page: ClaimsPage) -> Iterator[dict[str, Any]]:
    """Yield the claims of one experiment, with figures of its own page, else of the page of the suite."""
    for finding in findings:
        cell = {kind: f"{member.name}/{name}" for kind, name in member.report.names.get(finding.cell, {}).items()}
        yield {"experiment": member.name, **claim_entry(finding, {**page.files, **cell})}


def _experiment(member: Member, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the entry of an experiment in the list of the page."""
    trials = sum(cell.trials for cell in member.study.cells)
    bad = sum(finding.bad for finding in findings)
    counts = f"{len(member.study.cells)} cell(s), {spaced(trials)} trials, {len(findings)} verdicts"
    return {
        "name": member.name,
        "link": f"{member.name}/{member.report.page.name}",
        "words": counts + (f", {bad} violated or contradicted" if bad else ""),
        "complete": member.study.complete,
    }


def write_suite(runs: Sequence[tuple[Path, Path]], out: Path) -> Iterator[Path]:
    """Write the report of each run (folder, place below the suite), then the page of claims that leads to them.

    Yield each page as it is written; the page of the suite, ``out/index.html``, is the last.
    """
    members = []
    for folder, place in runs:
        results = load(folder)
        study = study_run(results)
        run = run_findings(study)
        members.append(Member(place.as_posix(), report_study(results, study, run, out / place), study, run))
        yield members[-1].report.page
    level = min(member.study.level for member in members)
    page, findings = suite_claims(members, tuple(_stepped(runs)), level)
    pairs = [*zip(members, findings, strict=True)]
    name = out.resolve().name
    content = {
        "name": name,
        "level": level,
        "experiments": [_experiment(member, of_member) for member, of_member in pairs],
        "claims": [entry for member, of_member in pairs for entry in _entries(member, of_member, page)],
        "rows": [row_entry(row) for row in page.claims],
        "protocols": page.protocols,
        "steps": page.steps,
        "reading": {key: READING[key] for key in READ},
    }
    template = environment().get_template("suite.html.j2")
    texts = files(page.figures) | {"summary.json": to_json(plain(content))}
    texts["index.html"] = template.render(
        name=name, level=level, experiments=content["experiments"], claims=page, svg=inlined(page.figures)
    )
    for file, text in texts.items():
        write_bytes(out / file, text.encode())
    yield out / "index.html"
