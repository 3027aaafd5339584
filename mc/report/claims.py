"""The page of claims in words: one row a claim and hypothesis, with its verdict, its slack and where to look."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mc.estimate.cells.study import Study
from mc.estimate.claims.findings import Finding
from mc.estimate.claims.pooled import ClaimRow, Place, Source, claim_rows
from mc.estimate.claims.published import Constant
from mc.estimate.flows.protocol import StepPair
from mc.estimate.numbers import short, spaced
from mc.estimate.probability.support import Support
from mc.report.claim_figures import law, tails
from mc.report.figures import Figure
from mc.report.flow_figures import Named, protocols_figure, protocols_table, steps_table
from mc.report.published_figure import constants_figure
from mc.report.slack_figure import slacks
from mc.report.tables import tone
from mc.theory.claims import Kind

NO_BREAK = "\u00a0"

MOST = 1e6
"""Factors beyond are said to be so: their size tells nothing more."""


SHOWN_BY = {
    "margins": "all-slacks",
    "slacks": "all-slacks",
    "tails": "all-tails",
    "orthant": "all-orthant",
    "published": "all-published",
}
"""The figure of the page for each kind of figure that a finding names."""


@dataclass(frozen=True)
class ClaimsPage:
    """The claims of a run or a suite, ready to be shown.

    Parameters
    ----------
    claims : tuple of ClaimRow
        One a claim and hypothesis.
    rows : tuple of mapping
        The same in words.
    figures : tuple of Figure
    protocols, steps : tuple of mapping
        Tables of gradient descent: against the exact verdict, and its steps among themselves.
    """

    claims: tuple[ClaimRow, ...]
    rows: tuple[Mapping[str, Any], ...]
    figures: tuple[Figure, ...]
    protocols: tuple[Mapping[str, str], ...]
    steps: tuple[Mapping[str, str], ...]

    @property
    def files(self) -> dict[str, str]:
        """File names of the panels, by kind and by kind and mode or claim."""
        return {panel.name.removeprefix("all-"): f"{panel.name}.svg" for own in self.figures for panel in own.panels}


def source_of(name: str, study: Study, findings: tuple[Finding, ...]) -> Source:
    """A run as the page of claims sees it."""
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
    """Every claim over some runs, with its figures.

    Parameters
    ----------
    sources : sequence of Source
        The runs, their findings adjusted over all of them.
    constants : sequence of (run, Constant)
    protocols : sequence of (run, key of the cell, Protocol)
    steps : sequence of StepPair
    level : float
    method : str
        Of the limits of violation rates.
    where : {"run", "suite"}
        What the page is of.
    """
    claims = claim_rows(sources, level, method)
    findings = [found for source in sources for found in source.findings]
    made = (
        slacks(claims), tails(findings), law(findings), constants_figure(constants), protocols_figure(protocols, level),
    )  # fmt: skip
    figures = tuple(figure for figure in made if figure is not None)
    drawn = {figure.name for figure in figures}
    places = {kind: name for kind, name in SHOWN_BY.items() if name in drawn}
    return ClaimsPage(
        claims, claims_rows(claims, places, where), figures, protocols_table(protocols), steps_table(steps, level)
    )


def factor(slack: float) -> str:
    """exp(slack) for a reader; slacks are logarithms of right side over left side."""
    if math.isnan(slack):
        return "–"
    if math.isinf(slack):
        return "∞" if slack > 0.0 else "0"
    if slack > math.log(MOST):
        return "above 10⁶"
    return f"{math.exp(slack):.4g}" if abs(slack) < 0.01 else f"{math.exp(slack):.3g}"


def _exponent(value: float) -> str:
    return f"{value:.1e}".replace("-", "−")


def _slack(row: ClaimRow) -> tuple[str, str]:
    """The smallest slack, and what is to be said of it."""
    if math.isnan(row.slack_min):
        return "–", ""
    if row.claim.name.startswith("theory-"):
        return short(row.slack_min), "lower limit − P_theory"
    if row.claim.kind is Kind.PROBABILITY:
        return factor(row.slack_min), "bound/share" if math.isfinite(row.slack_min) else "never seen"
    if math.isnan(row.slack_error):
        return factor(row.slack_min), ""
    return factor(row.slack_min), f"log {_exponent(row.slack_min)} ± {_exponent(row.slack_error)}"


def _limits(row: ClaimRow) -> str:
    if row.claim.kind is not Kind.PROBABILITY:
        open_ = f", {spaced(row.undecided)} undecided" if row.undecided else ""
        return f"rate of violations ≤ {short(row.upper, 2)}{open_}" if row.hypothesis_true else ""
    if row.claim.name == "half-width":
        return f"ratio in {short(row.lower)} to {short(row.upper)}"
    if row.claim.name == "published":
        return ""
    return "" if math.isnan(row.lower) else f"tightest: P in {short(row.lower)} to {short(row.upper)}"


def replay_command(place: Place | None) -> tuple[str, ...]:
    """The command that computes a trial again, in the parts that stay on a line; RUN stands for the folder."""
    if place is None or place.trial is None:
        return ()
    run = f"RUN/{place.run}" if place.run else "RUN"
    return (f"dipmc replay {run}", f"--cell {place.cell}", f"--trial {place.trial}", f"--width {place.width}")


def _place(place: Place | None) -> str:
    if place is None:
        return "–"
    run = f"{place.run}, " if place.run else ""
    trial = "" if place.trial is None else f"trial {place.trial}, "
    cell = "" if place.cell < 0 else f"cell {place.cell}, "
    return f"{run}{cell}{trial}k = {spaced(place.width)}".replace(" = ", f"{NO_BREAK}={NO_BREAK}")


def _true(row: ClaimRow) -> tuple[str, str]:
    if not row.hypothesis:
        return "–", ""
    true = f"{spaced(row.hypothesis_true)} of {spaced(row.trials)}"
    if row.claim.kind is not Kind.PROBABILITY:
        return true, f"{spaced(row.checks)} checks" if row.checks else ""
    return true, f"{row.checks} cells and modes" if row.checks > 1 else ""


def _verdict(row: ClaimRow) -> str:
    """The verdict; what the published form says depends on its constant."""
    if row.claim.name == "published" and row.verdict == Support.SUPPORTED:
        return f"seen from C' = {short(row.upper)} on"
    return re.sub(r"\d{4,}", lambda found: spaced(int(found.group())), row.verdict)


def claims_rows(
    rows: Sequence[ClaimRow], figures: Mapping[str, str], where: str = "run"
) -> tuple[Mapping[str, Any], ...]:
    """The rows of the table, in words.

    Parameters
    ----------
    rows : sequence of ClaimRow
    figures : mapping of str to str
        Places on the page by kind of figure.
    where : {"run", "suite"}
        What the claims that nothing speaks of were not checked in.
    """
    found = []
    alike = Counter(row.claim.name for row in rows)
    for row in rows:
        true, checks = _true(row)
        smallest, note = _slack(row)
        checked = bool(row.hypothesis)
        found.append(
            {
                "name": row.claim.name,
                "span": alike.pop(row.claim.name, 0),
                "words": f"{row.claim.formula} ({row.claim.source})",
                "hypothesis": row.hypothesis if checked else "–",
                "modes": ", ".join(row.modes),
                "true": true,
                "checks": checks,
                "checked": checked,
                "verdict": _verdict(row) if checked else f"not checked in this {where}",
                "tone": tone(_verdict(row)) if checked else "open",
                "detail": row.detail,
                "limits": _limits(row) if checked else "",
                "slack": smallest,
                "slack_note": note,
                "median": "–" if row.claim.name.startswith("theory-") else factor(row.slack_median),
                "place": _place(row.place),
                "replay": replay_command(row.place),
                "figure": figures.get(row.figure, ""),
            }
        )
    return tuple(found)
