"""The report of a suite: a page for each of its experiments, and one of all claims over all of them."""

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
    """One experiment of a suite, as its page of claims sees it.

    Parameters
    ----------
    name : str
        Its place below the suite.
    report : Report
    study : Study
    found : RunFindings
    """

    name: str
    report: Report
    study: Study
    found: RunFindings


def _stepped(runs: Sequence[tuple[Path, Path]]) -> Iterator[Stepped]:
    """The runs anew, lazily: what the reports have read is not kept for the comparison of steps."""
    for folder, place in runs:
        results = load(folder)
        yield stepped(place.as_posix(), tomllib.loads(results.experiment_text), results.cells)


def suite_claims(
    members: Sequence[Member], steps: Sequence[Stepped], level: float
) -> tuple[ClaimsPage, list[list[Finding]]]:
    """The page of claims of all experiments, and their findings with verdicts adjusted over all of them."""
    raw = [found for member in members for found in member.found.raw]
    judged = iter(adjudicate(raw, level))
    findings = [[next(judged) for _ in member.found.raw] for member in members]
    adaptive = any(member.study.adaptive for member in members)
    page = claims_page(
        [source_of(member.name, member.study, tuple(own)) for member, own in zip(members, findings, strict=True)],
        [(member.name, found) for member in members for found in member.found.constants],
        [
            (member.name, member.study.cells[own.cell].cell.key, own)
            for member in members
            for own in member.found.protocols
        ],
        tuple(step_pairs(steps, level)),
        level,
        "beta-binomial" if adaptive else "clopper-pearson",
        "suite",
    )
    return page, findings


def _entries(member: Member, own: Sequence[Finding], shown: ClaimsPage) -> Iterator[dict[str, Any]]:
    """Claims of one experiment: figures of its own page where they are, else those of the suite's."""
    for found in own:
        cell = {kind: f"{member.name}/{name}" for kind, name in member.report.names.get(found.cell, {}).items()}
        yield {"experiment": member.name, **claim_entry(found, {**shown.files, **cell})}


def _line(member: Member, own: Sequence[Finding]) -> dict[str, Any]:
    """An experiment in the list of the page."""
    trials = sum(cell.trials for cell in member.study.cells)
    bad = sum(found.bad for found in own)
    words = f"{len(member.study.cells)} cell(s), {spaced(trials)} trials, {len(own)} verdicts"
    return {
        "name": member.name,
        "link": f"{member.name}/{member.report.page.name}",
        "words": words + (f", {bad} violated or contradicted" if bad else ""),
        "complete": member.study.complete,
    }


def write_suite(runs: Sequence[tuple[Path, Path]], out: Path) -> Iterator[Path]:
    """Write the reports of a suite, then the page of claims that leads to them.

    Parameters
    ----------
    runs : sequence of (Path, Path)
        Folder of each run, and its place below the suite.
    out : Path
        Folder of the reports.

    Yields
    ------
    Path
        Each page as it is written; the suite's own, ``out/index.html``, at the end.
    """
    members = []
    for folder, place in runs:
        results = load(folder)
        study = study_run(results)
        found = run_findings(study)
        members.append(Member(place.as_posix(), report_study(results, study, found, out / place), study, found))
        yield members[-1].report.page
    level = min(member.study.level for member in members)
    shown, findings = suite_claims(members, tuple(_stepped(runs)), level)
    both = list(zip(members, findings, strict=True))
    name = out.resolve().name
    content = {
        "name": name,
        "level": level,
        "experiments": [_line(member, own) for member, own in both],
        "claims": [entry for member, own in both for entry in _entries(member, own, shown)],
        "rows": [row_entry(row) for row in shown.claims],
        "protocols": shown.protocols,
        "steps": shown.steps,
        "reading": {key: READING[key] for key in READ},
    }
    texts = files(shown.figures) | {"summary.json": to_json(plain(content))}
    texts["index.html"] = (
        environment()
        .get_template("suite.html.j2")
        .render(
            name=name,
            level=level,
            experiments=content["experiments"],
            claims=shown,
            svg=inlined(shown.figures),
        )
    )
    for file, text in texts.items():
        write_bytes(out / file, text.encode())
    yield out / "index.html"
