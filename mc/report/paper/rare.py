"""The study "rare": failures that no count can show, and how fast their probability falls with the width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from mc.estimate.cells.study import CellStudy
from mc.estimate.rare.study import RareStudy, rare_study
from mc.report.figures import Figure
from mc.report.paper.section import EMPTY, PaperClaim, Run, Runs, Section, Table, Texts, within
from mc.report.rare_figures import failure_words, rare_failures, rare_table

TEXTS = Texts("rare")

FASTER = 5.0
"""How many times too small the rate of delta_1 was expected to be, at least."""

SMALL = 1e-6
"""Probability that the failure of sigmoid was expected to fall below at the largest width."""


@dataclass(frozen=True)
class Failure:
    """The estimates of one rare failure, and the run they come from."""

    run: Run
    cell: CellStudy
    study: RareStudy

    @property
    def event(self) -> str:
        """What fails, and for which activation."""
        activation = self.run.study.experiment.get("network", {}).get("activation", "sigmoid")
        return f"{failure_words(self.study)} ({activation})"


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    failures = measure(runs)
    figures = {failure.run.name: figure for failure in failures if (figure := _figure(failure)) is not None}
    if not figures:
        return EMPTY
    claims = [
        claim(failure, runs.level)
        for failure in failures if failure.run.name in figures
        for claim in (rate_claim, _law_claim, small_claim)
    ]  # fmt: skip
    trusted = [(failure.event, [width for width in failure.study.widths if width.trusted]) for failure in failures]
    return Section(
        verdict=TEXTS.text("verdict", last=[(event, widths[-1]) for event, widths in trusted if widths]),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=tuple(figures.values()),
        tables=tuple(_table(failure) for failure in failures),
        meaning=_meaning({failure.run.name: failure.study for failure in failures}),
    )


def measure(runs: Runs) -> tuple[Failure, ...]:
    """Estimate the rare failure of every run."""
    return tuple(
        Failure(run, cell, study)
        for run in runs.by_name.values()
        for cell in run.study.cells
        if (study := rare_study(cell.cell, run.study.experiment, runs.level, cell.theory)) is not None and study.widths
    )


def _figure(failure: Failure) -> Figure | None:
    figure = rare_failures(failure.cell, failure.study)
    if figure is None:
        return None
    name = f"rare-{failure.run.name.removeprefix('rare-')}"
    return replace(figure, name=name, panels=tuple(replace(panel, name=name) for panel in figure.panels))


def _table(failure: Failure) -> Table:
    columns = ("width", "counted", "limit", "splitting", "interval", "tilting", "tilting_interval", "theory", "trust")
    rows = [[row[column] for column in columns] for row in rare_table(failure.study)]
    return TEXTS.table("table", rows, event=failure.event)


def rate_claim(failure: Failure, level: float) -> PaperClaim | None:
    """Judge whether the rate of delta_1 is at least five times too small."""
    study = failure.study
    if study.table["margin"] != "lambda_min" or study.theory is None:
        return None
    rate, bound = study.rate, study.theory.rate
    if rate is None or not math.isfinite(rate.standard_error):
        return None
    low, high = (end / bound for end in rate.interval)
    return TEXTS.claim(
        "rate_claim",
        verdict=within([((low, high), (FASTER, math.inf))]),
        trials=sum(width.repetitions for width in study.widths),
        figure="rare-conditioning",
        experiment=failure.run.name,
        address=(failure.cell.cell.index, None, study.widths[-1].width),
        level=level,
        faster=FASTER,
        rate=rate,
        bound=bound,
        low=low,
        high=high,
    )


def _law_claim(failure: Failure, level: float) -> PaperClaim | None:
    """Judge the method by its control: how many intervals hold the exact law."""
    if failure.study.theory is None or not failure.study.theory.exact:
        return None
    # all widths together (Bonferroni)
    shared = 1.0 - (1.0 - level) / len(failure.study.widths)
    study = rare_study(failure.cell.cell, failure.run.study.experiment, shared, failure.cell.theory)
    if study is None or study.theory is None:
        return None
    pairs = [(width, float(p)) for width, p in zip(study.widths, study.theory.failure, strict=True)]
    inside = sum(width.interval[0] <= p <= width.interval[1] for width, p in pairs)
    estimated = [(width, p) for width, p in pairs if width.repetitions] or pairs
    worst, p = max(estimated, key=lambda pair: abs(math.log(max(pair[0].probability, 1e-300) / pair[1])))
    return TEXTS.claim(
        "law_claim",
        verdict="not contradicted" if inside == len(pairs) else "contradicted",
        trials=sum(width.repetitions for width in study.widths),
        figure="rare-softplus",
        experiment=failure.run.name,
        address=(failure.cell.cell.index, None, worst.width),
        level=level,
        inside=inside,
        total=len(pairs),
        worst=worst,
        p=p,
    )


def small_claim(failure: Failure, level: float) -> PaperClaim | None:
    """Judge whether the failure of sigmoid falls below 1e-6 at the largest width."""
    study = failure.study
    if study.table["margin"] != "exact" or (study.theory is not None and study.theory.exact):
        return None
    last = study.widths[-1]
    low, high = last.interval
    verdict = "supported" if high < SMALL else "contradicted" if low > SMALL else "undecided"
    return TEXTS.claim(
        "small_claim",
        verdict=verdict if last.trusted else "undecided",
        trials=last.repetitions,
        figure="rare-sigmoid",
        experiment=failure.run.name,
        address=(failure.cell.cell.index, None, last.width),
        level=level,
        last=last,
        theory=None if study.theory is None else study.theory.failure[-1],
    )


def _slopes(study: RareStudy) -> list[float]:
    """Return the growth of -log P a neuron between neighbouring widths."""
    return [
        math.log(a.probability / b.probability) / (b.width - a.width)
        for a, b in pairwise(study.widths)
        if min(a.probability, b.probability) > 0.0
    ]


def _meaning(studies: Mapping[str, RareStudy]) -> tuple[str, ...]:
    first, sigmoid = studies.get("rare-conditioning"), studies.get("rare-sigmoid")
    bounded = first is not None and math.isfinite(first.pessimism) and first.theory is not None
    return TEXTS.paragraphs(
        "meaning",
        conditioning=first if bounded else None,
        control=studies.get("rare-softplus"),
        sigmoid=sigmoid,
        slopes=_slopes(sigmoid) if sigmoid else [],
        least=float(sigmoid.theory.failure.min()) if sigmoid and sigmoid.theory else None,
    )
