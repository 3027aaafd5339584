"""The page: what a study says, put into words and tables, and written beside its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc.errors import InputError
from mc.estimate.cells.detail import CellDetail, cell_detail
from mc.estimate.cells.study import CellStudy, Study, method_for, study_run
from mc.estimate.claims.finding import Finding
from mc.estimate.claims.run_findings import RunFindings, run_findings
from mc.estimate.numbers import spaced
from mc.estimate.rare.study import RareStudy, rare_study
from mc.estimate.widths.crossings import CROSSINGS
from mc.experiment.experiment import Experiment
from mc.report.citations import Citation, for_experiment
from mc.report.claims import ClaimsPage, claims_page, claims_rows, source_of
from mc.report.figures import Figure, ladder, margins, outcomes, trials_words
from mc.report.flow_figures import times, trajectories
from mc.report.html import environment, files, inlined, try_folder
from mc.report.rare_figures import rare_failures, rare_summary, rare_table
from mc.report.scaling_figures import ScalingPage, scaling
from mc.report.summary import plain, summary, to_json
from mc.report.tables import Threshold, medians_table, notes, pairs_table, thresholds_table, undecided_share
from mc.store.files import write_bytes
from mc.store.results import Results, load


@dataclass(frozen=True)
class CellPage:
    """What the page shows of one cell, in plain values."""

    index: int
    heading: str
    problem: Mapping[str, Any]
    trials: str
    undecided: str
    figures: tuple[Figure, ...]
    medians: tuple[Mapping[str, str], ...]
    thresholds: tuple[tuple[str, tuple[Threshold, ...]], ...]
    pairs: tuple[Mapping[str, str], ...]
    claims: tuple[Mapping[str, Any], ...]
    rare: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]


def figure_names(figures: tuple[Figure, ...]) -> dict[str, str]:
    """File names by kind and mode (``ladder-hidden``), the first panel of several."""
    names: dict[str, str] = {}
    for figure in figures:
        for panel in figure.panels:
            _, kind, mode = panel.name.split("-")[:3]
            names.setdefault(f"{kind}-{mode}", f"{panel.name}.svg")
    return names


def cell_figures(
    study: Study, cell: CellStudy, detail: CellDetail, rare: RareStudy | None = None
) -> tuple[Figure, ...]:
    """All figures of a cell, without those the run has no data for."""
    found = [
        ladder(cell, study.level, study.simultaneous),
        trajectories(cell),
        outcomes(cell),
        times(cell, detail.times, study.adaptive),
        margins(cell),
        rare_failures(cell, rare),
    ]
    return tuple(figure for figure in found if figure is not None and figure.panels)


def heading_names(study: Study) -> tuple[str, ...]:
    """Settings that name a cell: the sizes, the operator, and whatever differs between cells."""
    problems = [plain(c.cell.problem) for c in study.cells]
    every = dict.fromkeys(name for problem in problems for name in problem)
    varying = [name for name in every if len({str(problem.get(name)) for problem in problems}) > 1]
    return tuple(dict.fromkeys(("n", "m", "operator", *varying)))


def cell_page(
    study: Study,
    cell: CellStudy,
    detail: CellDetail,
    figures: tuple[Figure, ...],
    findings: tuple[Finding, ...],
    rare: RareStudy | None = None,
) -> CellPage:
    """What the page shows of one cell.

    Parameters
    ----------
    study : Study
    cell : CellStudy
        A cell of it.
    detail : CellDetail
        Of the cell.
    figures : tuple of Figure
        Of `cell_figures`.
    findings : tuple of Finding
        What the cell says of the claims.
    rare : RareStudy or None
        Of the cell.

    Returns
    -------
    CellPage
    """
    found = {name: value for name, value in plain(cell.cell.problem).items() if value is not None}
    problem = {name: found[name] for name in dict.fromkeys((*heading_names(study), *found)) if name in found}
    sizes = ", ".join(f"{name} = {problem[name]}" for name in heading_names(study) if name in problem)
    return CellPage(
        index=cell.cell.index,
        heading=f"Cell {cell.cell.index}: {sizes}",
        problem=problem,
        trials=trials_words(cell),
        undecided=undecided_share(cell),
        figures=figures,
        medians=medians_table(cell),
        thresholds=thresholds_table(cell, detail),
        pairs=pairs_table(detail, study.level),
        claims=tuple(claims_rows(findings)),
        rare=rare_table(rare),
        notes=notes(study, cell),
    )


def cited(experiment_text: str) -> tuple[Citation, ...]:
    """The methods behind a run; none where this version does not read its experiment."""
    try:
        return for_experiment(Experiment.from_text(experiment_text, reading=True))
    except InputError:
        return ()


def render(
    results: Results, study: Study, cells: tuple[CellPage, ...], across: ScalingPage | None, claims: ClaimsPage
) -> str:
    """The text of index.html."""
    drawn = [figure for c in cells for figure in c.figures] + list(claims.figures)
    drawn += [across.figure] if across is not None and across.figure is not None else []
    settings = study.experiment
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            name=settings.get("experiment", {}).get("name", "unnamed"),
            study=study,
            planned=spaced(study.planned),
            modes=tuple(dict.fromkeys(mode for c in study.cells for mode in c.cell.modes)),
            network=settings.get("network", {}),
            loss=settings.get("loss", {}),
            cells=cells,
            crossings=CROSSINGS,
            across=across,
            claims=claims,
            svg=inlined(drawn),
            citations=cited(results.experiment_text),
            experiment_text=results.experiment_text,
            attributes={k: v for k, v in plain(results.attrs).items() if k not in ("experiment", "complete")},
        )
    )


def claims_of(study: Study, found: RunFindings) -> ClaimsPage:
    """The page of claims of a run."""
    keys = {cell.cell.index: cell.cell.key for cell in study.cells}
    protocols = tuple(("", keys[own.cell], own) for own in found.protocols)
    return claims_page(
        (source_of("", study, found.findings),),
        [("", own) for own in found.constants],
        protocols,
        (),
        study.level,
        method_for(study.experiment),
    )


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Parameters
    ----------
    page : Path
        Its index.html.
    names : mapping of int to mapping of str to str
        File names of its figures by cell (-1: over the cells), then as `mc.report.summary.claim_entry` asks for them.
    """

    page: Path
    names: Mapping[int, Mapping[str, str]]


def report_study(results: Results, study: Study, found: RunFindings, out: Path) -> Report:
    """Write the report of what was estimated.

    Parameters
    ----------
    results : Results
    study : Study
        Of the results.
    found : RunFindings
        Of the study.
    out : Path
        Folder, made when absent; files of an earlier report there are overwritten.

    Returns
    -------
    Report
        With ``out/index.html``.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """
    try_folder(out)
    details = [cell_detail(cell.cell, study.experiment, study.level) for cell in study.cells]
    rare = {c.cell.index: rare_study(c.cell, study.experiment, study.level, c.theory) for c in study.cells}
    both = list(zip(study.cells, details, strict=True))
    figures = {cell.cell.index: cell_figures(study, cell, detail, rare[cell.cell.index]) for cell, detail in both}
    pages = tuple(
        cell_page(study, cell, detail, figures[cell.cell.index], found.of_cell(cell.cell.index), rare[cell.cell.index])
        for cell, detail in both
    )
    across, claims = scaling(study), claims_of(study, found)
    every = [figure for own in figures.values() for figure in own] + list(claims.figures)
    every += [across.figure] if across is not None and across.figure is not None else []
    texts = files(every)
    names = {i: figure_names(own) for i, own in figures.items()} | {-1: claims.files}
    laws = () if across is None else across.laws
    told = summary(results, study, found, claims.claims, names, details, laws) | rare_summary(rare)
    texts["summary.json"] = to_json(told)
    # The page is written last: where it is, everything it shows is.
    texts["index.html"] = render(results, study, pages, across, claims)
    for name, text in texts.items():
        write_bytes(out / name, text.encode())
    return Report(out / "index.html", names)


def report_results(results: Results, out: Path) -> Path:
    """Write the report of results in memory, e.g. of what `mc.load` returns; see `report_study`."""
    try_folder(out)
    study = study_run(results)
    return report_study(results, study, run_findings(study), out).page


def write_report(run: Path, out: Path) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    run : Path
        A run folder with results.h5, complete or not.
    out : Path
        Folder of the report.

    Returns
    -------
    Path
        ``out/index.html``; summary.json, the figures (SVG) and their numbers (CSV) lie beside it.

    Raises
    ------
    InputError
        When there are no results, or the folder cannot be written to.
    """
    return report_results(load(run), out)
