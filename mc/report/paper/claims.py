"""The table of claims: those of the registry over all runs of the report, then what each study decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mc.estimate.claims.findings import adjudicate
from mc.estimate.claims.pooled import ClaimRow, Place, claim_rows
from mc.estimate.claims.run_findings import run_findings
from mc.estimate.numbers import spaced
from mc.report.claims import NO_BREAK, claims_rows, source_of
from mc.report.paper.section import PaperClaim, Run
from mc.report.tables import tone


@dataclass(frozen=True)
class Row:
    """A row of the table, in words.

    Parameters
    ----------
    claim, note : str
        The statement, and its source or hypothesis.
    verdict, tone : str
        The verdict and its colour.
    interval, slack : str
    trials : str
    study : str
        Name of the study whose section shows it.
    figure : str
        Name of a figure of the page, or of the study.
    experiment : str
    address : str
    replay : str
        The command that computes the tightest trial again; empty where no trial is meant.
    explanation : str
    """

    claim: str
    note: str
    verdict: str
    tone: str
    interval: str
    slack: str
    trials: str
    study: str
    figure: str
    experiment: str
    address: str
    replay: str
    explanation: str = ""


def place_words(place: Place | None) -> str:
    """Where a claim is tightest, in words."""
    if place is None:
        return "–"
    parts = [] if place.cell < 0 else [f"cell{NO_BREAK}{place.cell}"]
    parts += [] if place.trial is None else [f"trial{NO_BREAK}{place.trial}"]
    return ", ".join([*parts, f"k{NO_BREAK}={NO_BREAK}{spaced(place.width)}"])


def replay_command(place: Place | None, runs: Mapping[str, Run]) -> str:
    """The command that computes the trial at a place again."""
    if place is None or place.trial is None or place.run not in runs:
        return ""
    folder = runs[place.run].folder.as_posix()
    return f"dipmc replay {folder} --cell {place.cell} --trial {place.trial} --width {place.width}"


def registry_rows(
    runs: Mapping[str, Run], studies: Mapping[str, str], level: float
) -> tuple[tuple[Row, ...], tuple[ClaimRow, ...]]:
    """The claims of the registry over all runs, verdicts adjusted over the page.

    Parameters
    ----------
    runs : mapping of str to Run
        By name.
    studies : mapping of str to str
        Study of each run.
    level : float

    Returns
    -------
    rows : tuple of Row
    claims : tuple of ClaimRow
        The same as numbers.
    """
    raw = {name: run_findings(run.study).raw for name, run in runs.items()}
    judged = iter(adjudicate([found for own in raw.values() for found in own], level))
    sources = [source_of(name, runs[name].study, tuple(next(judged) for _ in own)) for name, own in raw.items()]
    adaptive = any(run.study.adaptive for run in runs.values())
    claims = claim_rows(sources, level, "beta-binomial" if adaptive else "clopper-pearson")
    kept = tuple(row for row in claims if row.hypothesis)
    return tuple(_registry_rows(kept, runs, studies)), kept


def _registry_rows(claims: Sequence[ClaimRow], runs: Mapping[str, Run], studies: Mapping[str, str]) -> Iterator[Row]:
    for row, words in zip(claims, claims_rows(claims, {}), strict=True):
        run = row.place.run if row.place is not None else row.runs[0]
        hypothesis = "" if words["hypothesis"] == "–" else f"under {words['hypothesis']}; "
        yield Row(
            claim=f"{row.claim.name}: {row.claim.formula}",
            note=f"{hypothesis}{row.claim.source}" + (f"; {words['detail']}" if words["detail"] else ""),
            verdict=words["verdict"],
            tone=words["tone"],
            interval=words["limits"],
            slack=" ".join(part for part in (words["slack"], f"({words['slack_note']})") if part != "()"),
            trials=spaced(row.hypothesis_true),
            study=studies[run],
            figure=studies[run],
            experiment=run,
            address=place_words(row.place),
            replay=replay_command(row.place, runs),
        )


def own_row(claim: PaperClaim, study: str, runs: Mapping[str, Run]) -> Row:
    """A claim that a study decides."""
    place = None if claim.address is None else Place(claim.experiment, *claim.address)
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
        address=place_words(place),
        replay=replay_command(place, runs),
        explanation=claim.explanation,
    )
