"""The figure of the margins: how far each certificate is from holding, against the width."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.study import CellStudy
from mc.estimate.probability.counts import dataset, mode_index
from mc.report.panels import Figure, Panel, Row, cell_prefix, csv_text, mode_name
from mc.report.style import EVENT_LINES, INK, log_ticks, log_width_axis, panel, to_svg

QUANTILES = (0.05, 0.5, 0.95)
EVENTS = ("sharp", "trial", "paper")


def _rows(study: CellStudy, mode: str, event: str) -> list[Row]:
    stored = dataset(study.cell, f"margin_{event}")
    if stored is None or (mode, event) not in study.curves:
        return []
    margin = stored[mode_index(study.cell, mode)]
    seen = (~np.isnan(margin)).any(axis=0)
    quantiles = np.nanquantile(margin[:, seen], QUANTILES, axis=0)
    return [
        (event, mode, int(k), *map(float, q)) for k, q in zip(study.cell.widths[seen], quantiles.T, strict=True)
    ]  # fmt: skip


def _draw(axes: Axes, study: CellStudy, rows: list[Row]) -> None:
    for event in EVENTS:
        line = EVENT_LINES[event]
        own = np.array([row[2:] for row in rows if row[0] == event], dtype=float)
        # A margin of zero has no place on a logarithmic axis: the curve starts where half of the draws have one.
        own = own[own[:, 2] > 0.0] if len(own) else own
        if not len(own):
            continue
        widths, low, middle, high = own.T
        axes.fill_between(widths, np.maximum(low, 1e-300), high, color=line.colour, alpha=0.16, linewidth=0)
        axes.plot(
            widths, middle, color=line.colour, marker=line.marker, markersize=4.0, linewidth=1.4, markeredgewidth=0,
            label=line.label,
        )  # fmt: skip
    axes.axhline(1.0, color=INK, linewidth=1.0)
    axes.set_yscale("log")
    middles = [float(str(row[4])) for row in rows]
    positive = [v for v in middles if 0.0 < v < np.inf]
    axes.set_ylim(min([*positive, 0.5]) / 3.0, max([*positive, 2.0]) * 3.0)
    log_ticks(axes, "y")
    log_width_axis(axes, study.cell.widths[0], study.cell.widths[-1])
    axes.set_ylabel("margin (certified above 1, log scale)")


def margins(study: CellStudy) -> Figure | None:
    """Margins of the certificates against the width: median and the middle 90 % of the trials.

    Returns
    -------
    Figure or None
        None when the run has no margins.
    """
    panels, table = [], []
    for mode in study.cell.modes:
        rows = [row for event in EVENTS for row in _rows(study, mode, event)]
        if not rows:
            continue
        table += rows
        words = f"Margin of each certificate against the width, {mode_name(mode)}; certified above 1."
        with panel() as (figure, axes):
            _draw(axes, study, rows)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=3, handlelength=2.8)
            panels.append(Panel(f"{cell_prefix(study)}-margins-{mode}", to_svg(figure, words), words))
    if not panels:
        return None
    caption = (
        "Line: median over the draws; shaded: the middle 90 %. A certificate holds where its margin exceeds 1 (heavy "
        "line). The vertical gap between two curves is what one certificate loses against the other."
    )
    header = ("event", "mode", "width", *(f"quantile_{q:g}" for q in QUANTILES))
    title = "How far each certificate is from holding"
    return Figure(f"{cell_prefix(study)}-margins", title, caption, tuple(panels), csv_text(header, table))
