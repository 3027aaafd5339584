"""The page: what a study says, put into words and tables, and written beside its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mc import store
from mc.atomic import write_bytes
from mc.errors import InputError
from mc.estimate.crossings import CROSSINGS
from mc.estimate.detail import CellDetail, cell_detail
from mc.estimate.study import CellStudy, ResultsLike, Study, study_run
from mc.estimate.thresholds import spaced
from mc.report.detail_tables import Threshold, pairs_table, thresholds_table
from mc.report.figures import ladder
from mc.report.margin_figure import margins
from mc.report.outcome_figure import outcomes
from mc.report.panels import Figure, mode_name, trials_words
from mc.report.scaling_figure import ScalingPage, scaling
from mc.report.summary import plain, summary, to_json
from mc.report.tables import claims_table, medians_table, notes, undecided_share
from mc.report.time_figure import times
from mc.report.trajectory_figure import trajectories


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
    notes: tuple[str, ...]


def figure_names(figures: tuple[Figure, ...]) -> dict[str, str]:
    """File names by kind and mode (``ladder-hidden``), the first panel of several."""
    names: dict[str, str] = {}
    for figure in figures:
        for panel in figure.panels:
            _, kind, mode = panel.name.split("-")[:3]
            names.setdefault(f"{kind}-{mode}", f"{panel.name}.svg")
    return names


def cell_figures(study: Study, cell: CellStudy, detail: CellDetail) -> tuple[Figure, ...]:
    """All figures of a cell, without those the run has no data for."""
    found = [
        ladder(cell, study.level, study.simultaneous),
        trajectories(cell),
        outcomes(cell),
        times(cell, detail.times, study.adaptive),
        margins(cell),
    ]
    return tuple(figure for figure in found if figure is not None and figure.panels)


def heading_names(study: Study) -> tuple[str, ...]:
    """Settings that name a cell: the sizes, the operator, and whatever differs between cells."""
    problems = [plain(c.cell.problem) for c in study.cells]
    every = dict.fromkeys(name for problem in problems for name in problem)
    varying = [name for name in every if len({str(problem.get(name)) for problem in problems}) > 1]
    return tuple(dict.fromkeys(("n", "m", "operator", *varying)))


def cell_page(study: Study, cell: CellStudy, detail: CellDetail, figures: tuple[Figure, ...]) -> CellPage:
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
        claims=claims_table(cell, figure_names(figures)),
        notes=notes(study, cell),
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mc.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["mode_name"] = mode_name
    return environment


def _style(environment: jinja2.Environment) -> Markup:
    """The style sheet, to be set into a page."""
    style, _, _ = environment.loader.get_source(environment, "page.css") if environment.loader else ("", None, None)
    return Markup(style)


def render(results: ResultsLike, study: Study, cells: tuple[CellPage, ...], across: ScalingPage | None) -> str:
    """The text of index.html."""
    environment = _environment()
    drawn = [figure for c in cells for figure in c.figures]
    drawn += [across.figure] if across is not None and across.figure is not None else []
    inlined = {panel.name: Markup(panel.inline) for figure in drawn for panel in figure.panels}
    settings = study.experiment
    page = environment.get_template("index.html.j2")
    return page.render(
        name=settings.get("experiment", {}).get("name", "unnamed"),
        style=_style(environment),
        study=study,
        planned=spaced(study.planned),
        modes=tuple(dict.fromkeys(mode for c in study.cells for mode in c.cell.modes)),
        network=settings.get("network", {}),
        loss=settings.get("loss", {}),
        cells=cells,
        crossings=CROSSINGS,
        across=across,
        svg=inlined,
        experiment_text=results.experiment_text,
        attributes={k: v for k, v in plain(results.attrs).items() if k not in ("experiment", "complete")},
    )


def _refused(out: Path, error: OSError) -> InputError:
    return InputError(f"{out}: the report cannot be written ({error.strerror}); choose another folder with -o")


def _try_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(out, error) from error


def report_results(results: ResultsLike, out: Path) -> Path:
    """Write the report of results in memory.

    Parameters
    ----------
    results : ResultsLike
        E.g. what `mc.load` returns.
    out : Path
        Folder, made when absent; files of an earlier report there are overwritten.

    Returns
    -------
    Path
        ``out/index.html``.

    Raises
    ------
    InputError
        When the folder cannot be written to.
    """
    _try_folder(out)
    study = study_run(results)
    details = [cell_detail(cell.cell, study.experiment, study.level, regressions=False) for cell in study.cells]
    both = list(zip(study.cells, details, strict=True))
    figures = {cell.cell.index: cell_figures(study, cell, detail) for cell, detail in both}
    pages = tuple(cell_page(study, cell, detail, figures[cell.cell.index]) for cell, detail in both)
    across = scaling(study)
    every = [figure for own in figures.values() for figure in own]
    every += [across.figure] if across is not None and across.figure is not None else []
    texts = {f"{figure.name}.csv": figure.table for figure in every}
    texts |= {f"{panel.name}.svg": panel.svg for figure in every for panel in figure.panels}
    names = {i: figure_names(own) for i, own in figures.items()}
    laws = () if across is None else across.laws
    texts["summary.json"] = to_json(summary(results, study, names, details, laws))
    # The page is written last: where it is, everything it shows is.
    texts["index.html"] = render(results, study, pages, across)
    for name, text in texts.items():
        write_bytes(out / name, text.encode())
    return out / "index.html"


def write_contents(out: Path, name: str, pages: Sequence[Path]) -> Path:
    """Write the page that leads to the reports of a suite.

    Parameters
    ----------
    out : Path
        Folder of the suite's reports.
    name : str
        The suite.
    pages : sequence of Path
        The reports, in folders below ``out``.

    Returns
    -------
    Path
        ``out/index.html``.
    """
    links = [(page.parent.name, page.relative_to(out).as_posix()) for page in pages]
    environment = _environment()
    text = environment.get_template("contents.html.j2").render(name=name, links=links, style=_style(environment))
    write_bytes(out / "index.html", text.encode())
    return out / "index.html"


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
    return report_results(store.load(run), out)
