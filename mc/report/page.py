"""The page of a run: its study as figures, tables and sentences, written into one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from mc.report.tables import medians_table, notes, pairs_table, thresholds_table, undecided_share
from mc.store.files import write_bytes
from mc.store.results import Results, load


def figure_names(figures: Iterable[Figure]) -> dict[str, str]:
    """Return file names by kind and mode (``ladder-hidden``), the first panel of several."""
    names: dict[str, str] = {}
    for figure in figures:
        for panel in figure.panels:
            _, kind, mode = panel.name.split("-")[:3]
            names.setdefault(f"{kind}-{mode}", f"{panel.name}.svg")
    return names


def cell_figures(study: Study, cell: CellStudy, detail: CellDetail, rare: RareStudy | None) -> tuple[Figure, ...]:
    """Draw the figures of a cell, without those that the run has no data for."""
    figures = (
        ladder(cell, study.level, study.simultaneous),
        trajectories(cell),
        outcomes(cell),
        times(cell, detail.times, study.adaptive),
        margins(cell),
        rare_failures(cell, rare),
    )
    return tuple(figure for figure in figures if figure is not None and figure.panels)


def heading_names(study: Study) -> tuple[str, ...]:
    """Return the settings that name a cell: the sizes, the operator, and each setting that differs between cells."""
    problems = [plain(c.cell.problem) for c in study.cells]
    names = dict.fromkeys(name for problem in problems for name in problem)
    varying = [name for name in names if len({str(problem.get(name)) for problem in problems}) > 1]
    return tuple(dict.fromkeys(("n", "m", "operator", *varying)))


def cell_page(
    study: Study,
    cell: CellStudy,
    detail: CellDetail,
    figures: tuple[Figure, ...],
    findings: tuple[Finding, ...],
    rare: RareStudy | None,
) -> dict[str, Any]:
    """Return the variables of the template for one cell."""
    known = {name: value for name, value in plain(cell.cell.problem).items() if value is not None}
    named = [name for name in heading_names(study) if name in known]
    sizes = ", ".join(f"{name} = {known[name]}" for name in named)
    return {
        "index": cell.cell.index,
        "heading": f"Cell {cell.cell.index}: {sizes}",
        "problem": {name: known[name] for name in dict.fromkeys((*named, *known))},
        "trials": trials_words(cell),
        "undecided": undecided_share(cell),
        "figures": figures,
        "medians": medians_table(cell),
        "thresholds": thresholds_table(cell, detail),
        "pairs": pairs_table(detail, study.level),
        "claims": tuple(claims_rows(findings)),
        "rare": rare_table(rare),
        "notes": notes(study, cell),
    }


def cited(experiment_text: str) -> tuple[Citation, ...]:
    """Return the methods behind a run; none where this version does not read its experiment."""
    try:
        return for_experiment(Experiment.from_text(experiment_text, reading=True))
    except InputError:
        return ()


def render(
    results: Results,
    study: Study,
    cells: Sequence[Mapping[str, Any]],
    across: ScalingPage | None,
    claims: ClaimsPage,
    figures: Iterable[Figure],
) -> str:
    """Return the text of index.html."""
    settings = study.experiment
    template = environment().get_template("index.html.j2")
    return template.render(
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
        svg=inlined(figures),
        citations=cited(results.experiment_text),
        experiment_text=results.experiment_text,
        attributes={k: v for k, v in plain(results.attrs).items() if k not in ("experiment", "complete")},
    )


def claims_of(study: Study, run: RunFindings) -> ClaimsPage:
    """Return the page of claims of a run."""
    keys = {cell.cell.index: cell.cell.key for cell in study.cells}
    return claims_page(
        (source_of("", study, run.findings),),
        [("", constant) for constant in run.constants],
        tuple(("", keys[protocol.cell], protocol) for protocol in run.protocols),
        (),
        study.level,
        method_for(study.experiment),
    )


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    page: Path  # its index.html
    names: Mapping[int, Mapping[str, str]]  # file names of figures by cell (-1: over the cells), see `claim_entry`


def report_study(results: Results, study: Study, run: RunFindings, out: Path) -> Report:
    """Write the report of a study with its findings; files of an earlier report in the folder are overwritten."""
    try_folder(out)
    details, pages, rare, figures = [], [], {}, {}
    for cell in study.cells:
        index = cell.cell.index
        details.append(cell_detail(cell.cell, study.experiment, study.level))
        rare[index] = rare_study(cell.cell, study.experiment, study.level, cell.theory)
        figures[index] = cell_figures(study, cell, details[-1], rare[index])
        pages.append(cell_page(study, cell, details[-1], figures[index], run.of_cell(index), rare[index]))
    across, claims = scaling(study), claims_of(study, run)
    drawn = [figure for of_cell in figures.values() for figure in of_cell] + list(claims.figures)
    drawn += [across.figure] if across is not None and across.figure is not None else []
    names = {index: figure_names(of_cell) for index, of_cell in figures.items()} | {-1: claims.files}
    laws = () if across is None else across.laws
    content = summary(results, study, run, claims.claims, names, details, laws) | rare_summary(rare)
    texts = files(drawn) | {"summary.json": to_json(content)}
    # index.html is written last, so that it never links to a missing figure.
    texts["index.html"] = render(results, study, pages, across, claims, drawn)
    for name, text in texts.items():
        write_bytes(out / name, text.encode())
    return Report(out / "index.html", names)


def report_results(results: Results, out: Path) -> Path:
    """Write the report of results in memory, such as those of `mc.load`; see `write_report`."""
    try_folder(out)
    study = study_run(results)
    return report_study(results, study, run_findings(study), out).page


def write_report(run: Path, out: Path) -> Path:
    """Write the report of a run folder with results.h5, complete or not, and return ``out/index.html``.

    summary.json, the figures (SVG) and their numbers (CSV) lie beside it. InputError when there are no results, or the
    folder cannot be written to.
    """
    return report_results(load(run), out)
