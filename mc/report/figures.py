"""Figures of a run: panels as SVG, numbers as CSV; probabilities, margins and outcomes against the width."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import dataset, mode_index
from mc.model.arrays import IntArray
from mc.report.style import (
    EVENT_LINES,
    INK,
    MODE_NAMES,
    MUTED,
    OUTCOME_FILLS,
    PLATE,
    THEORY_LINES,
    inline,
    log_ticks,
    log_width_axis,
    panel,
    to_svg,
)
from mc.theory.codes import Outcome

Row = Sequence[object]


@dataclass(frozen=True)
class Panel:
    """One drawn panel.

    Parameters
    ----------
    name : str
        File name without ending.
    svg : str
        Stand-alone document.
    alternative : str
        The panel in words.
    """

    name: str
    svg: str
    alternative: str

    @property
    def inline(self) -> str:
        """The panel as an element of a page."""
        return inline(self.svg, self.name, self.alternative)


@dataclass(frozen=True)
class Figure:
    """One figure: panels, the numbers behind them and the words beside them.

    Parameters
    ----------
    name : str
        File name of the table without ending.
    title : str
        The message.
    caption : str
        How to read it.
    panels : tuple of Panel
    table : str
        The numbers, as CSV.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    table: str

    def named(self, prefix: str) -> Figure:
        """The same figure with a prefix to its names, so that a page may hold several of its kind."""
        panels = tuple(replace(panel, name=prefix + panel.name) for panel in self.panels)
        return replace(self, name=prefix + self.name, panels=panels)


def csv_text(header: Row, rows: Iterable[Row], digits: int | None = None) -> str:
    """A table as CSV; NaN and None empty, floats with all their digits or so many significant ones."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        shown = ["" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in row]
        if digits is not None:
            shown = [f"{v:.{digits}g}" if isinstance(v, float) else v for v in shown]
        writer.writerow(shown)
    return buffer.getvalue()


def cell_prefix(study: CellStudy) -> str:
    """Start of the file names of a cell."""
    return f"c{study.cell.index:03d}"


def trials_words(study: CellStudy) -> str:
    """How many trials a cell has: a number, or from which to which where it differs between widths."""
    return spaced(study.trials) if study.trials >= study.most else f"{spaced(study.trials)} to {spaced(study.most)}"


def mode_name(mode: str) -> str:
    """A mode in words."""
    return MODE_NAMES.get(mode, mode)


def mode_phrase(mode: str) -> str:
    """A mode in words, as a sentence goes on after "with"."""
    return f"the {mode_name(mode)}" if mode == "hidden" else mode_name(mode)


NO_BREAK = "\u00a0"
TITLE_CHARACTERS = 50
"""Characters of a bold title that fit the panel."""

LADDER_COLUMNS = (
    "curve", "event", "mode", "width", "trials", "holds", "fails", "undecided", "frequency", "lower", "upper",
    "simultaneous_level", "theory", "verdict",
)  # fmt: skip


def _ladder_rows(study: CellStudy) -> Iterable[Row]:
    for (mode, event), curve in study.curves.items():
        compared = next((c.curve for c in study.claims if (c.mode, c.form) == (mode, event)), curve)
        for estimate, frequency in zip(compared.estimates(), compared.frequency, strict=True):
            yield (
                "measured", event, mode, estimate.width, estimate.trials, estimate.holds, estimate.fails,
                estimate.undecided, float(frequency), *estimate.interval, estimate.simultaneous_level,
                estimate.theory, estimate.verdict,
            )  # fmt: skip
    for (mode, form), (widths, theory) in study.drawn.items():
        for width, p in zip(widths, theory.p, strict=True):
            yield ("theory", form, mode, int(width), *[None] * 8, float(p), None)


def ladder_message(study: CellStudy, mode: str) -> str:
    """Where each certificate holds for half of the draws, in words."""
    found = [(e, study.medians[mode, e]) for e in EVENT_LINES if (mode, e) in study.medians]
    # A no-break space, so that a wrapped title keeps a certificate and its width together.
    return ", ".join(f"{event}{NO_BREAK}{median.label.replace(' ', NO_BREAK)}" for event, median in found)


def ladder_title(study: CellStudy) -> str:
    """The message of the figure: from which width to which half of the draws are certified."""
    parts = []
    for mode in study.cell.modes:
        found = [(e, study.medians[mode, e]) for e in EVENT_LINES if (mode, e) in study.medians]
        if found:
            ends = [f"{median.label} ({event})" for event, median in (found[0], found[-1])]
            parts.append(f"{' to '.join(dict.fromkeys(ends))} with {mode_phrase(mode)}")
    return "Half of the draws are certified at width " + "; ".join(parts)


def _draw_ladder(axes: Axes, study: CellStudy, mode: str) -> None:
    for event, line in EVENT_LINES.items():
        curve = study.curves.get((mode, event))
        if curve is None:
            continue
        seen = curve.counts.trials > 0
        widths = curve.widths[seen]
        axes.fill_between(widths, curve.lower[seen], curve.upper[seen], color=line.colour, alpha=0.16, linewidth=0)
        axes.plot(
            widths, curve.frequency[seen], color=line.colour, linestyle=line.dash, marker=line.marker, markersize=4.0,
            linewidth=1.4, markeredgewidth=0, label=line.label,
        )  # fmt: skip
    for (of_mode, form), (widths, theory) in study.drawn.items():
        says = theory.p > 0.0
        if of_mode == mode and says.any():
            line = THEORY_LINES[form]
            axes.plot(widths[says], theory.p[says], color=line.colour, linestyle=line.dash, label=line.label)
    axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    log_width_axis(axes, study.cell.widths[0], study.cell.widths[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("probability")


def _theory_sentence(study: CellStudy) -> str:
    if not study.compared or (study.theory is not None and not study.claims):
        return ""
    if study.theory is None:
        return "No P_theory is compared: the activation, loss or output law has no explicit constants here."
    if study.theory.outside:
        return f"No explicit bound applies: {study.theory.outside}."
    parts = []
    top = study.cell.widths[-1]
    for claim in study.claims:
        width = claim.width_for
        where = "at no width" if math.isinf(width) else f"from k = {spaced(significant(width, 3))}"
        beyond = ", beyond the grid" if top < width < math.inf else ""
        parts.append(f"{claim.mode}, {claim.form}: {where}{beyond}")
    return "The explicit bounds promise a probability of 0.95: " + "; ".join(parts) + "."


def ladder(study: CellStudy, level: float, simultaneous: bool) -> Figure:
    """Probability of each certificate against the width, with exact bands and the explicit bounds.

    Parameters
    ----------
    study : CellStudy
    level : float
    simultaneous : bool

    Returns
    -------
    Figure
        One panel per mode.
    """
    panels = []
    for mode in study.cell.modes:
        drawn = [line for event, line in EVENT_LINES.items() if (mode, event) in study.curves]
        if not drawn:
            continue
        name = f"{cell_prefix(study)}-ladder-{mode}"
        message = ladder_message(study, mode)
        with panel() as (figure, axes):
            _draw_ladder(axes, study, mode)
            title = f"{mode_name(mode).capitalize()}: half of the draws are certified at {message}"
            axes.set_title(textwrap.fill(title, TITLE_CHARACTERS, break_on_hyphens=False))
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.8, columnspacing=1.4)
            words = f"Probability of each certificate against the width, {mode_name(mode)}. "
            words += f"Widths at which half of the draws are certified: {message}."
            panels.append(Panel(name, to_svg(figure, words), words))
    kind = "at all widths together" if simultaneous else "at each width"
    uniform = any(curve.method == "beta-binomial" for curve in study.curves.values())
    limits = "time-uniform (beta-binomial)" if uniform else "exact (Clopper-Pearson)"
    caption = (
        f"Marks: share of the {trials_words(study)} random draws for which the certificate holds. Shaded: {limits} "
        f"limits with confidence {level:.3g} {kind}. Dashed: the explicit lower bounds, drawn "
        f"where they say something. {_theory_sentence(study)}"
    )
    return Figure(
        f"{cell_prefix(study)}-ladder", ladder_title(study), caption, tuple(panels),
        csv_text(LADDER_COLUMNS, _ladder_rows(study)),
    )  # fmt: skip


MARGIN_QUANTILES = (0.05, 0.5, 0.95)
MARGIN_EVENTS = ("sharp", "trial", "paper")


def _margin_rows(study: CellStudy, mode: str, event: str) -> list[Row]:
    stored = dataset(study.cell, f"margin_{event}")
    if stored is None or (mode, event) not in study.curves:
        return []
    margin = stored[mode_index(study.cell, mode)]
    seen = (~np.isnan(margin)).any(axis=0)
    quantiles = np.nanquantile(margin[:, seen], MARGIN_QUANTILES, axis=0)
    return [
        (event, mode, int(k), *map(float, q)) for k, q in zip(study.cell.widths[seen], quantiles.T, strict=True)
    ]  # fmt: skip


def _draw_margins(axes: Axes, study: CellStudy, rows: list[Row]) -> None:
    for event in MARGIN_EVENTS:
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
        rows = [row for event in MARGIN_EVENTS for row in _margin_rows(study, mode, event)]
        if not rows:
            continue
        table += rows
        words = f"Margin of each certificate against the width, {mode_name(mode)}; certified above 1."
        with panel() as (figure, axes):
            _draw_margins(axes, study, rows)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=3, handlelength=2.8)
            panels.append(Panel(f"{cell_prefix(study)}-margins-{mode}", to_svg(figure, words), words))
    if not panels:
        return None
    caption = (
        "Line: median over the draws; shaded: the middle 90 %. A certificate holds where its margin exceeds 1 (heavy "
        "line). The vertical gap between two curves is what one certificate loses against the other."
    )
    header = ("event", "mode", "width", *(f"quantile_{q:g}" for q in MARGIN_QUANTILES))
    title = "How far each certificate is from holding"
    return Figure(f"{cell_prefix(study)}-margins", title, caption, tuple(panels), csv_text(header, table))


def _draw_outcomes(axes: Axes, counts: IntArray, widths: IntArray, present: list[Outcome]) -> None:
    total = counts.sum(axis=0)
    position, left = np.arange(len(widths)), np.zeros(len(widths))
    for outcome in present:
        share = counts[outcome] / np.maximum(total, 1)
        colour, hatch = OUTCOME_FILLS[outcome]
        axes.barh(position, share, left=left, color=colour, hatch=hatch, edgecolor=PLATE, linewidth=0.8)
        left += share
    axes.set_yticks(position, [f"k = {spaced(k)}" for k in widths])
    axes.invert_yaxis()
    axes.grid(False)
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the trials")


def _outcome_legend(present: list[Outcome]) -> list[Patch]:
    fills = {o: OUTCOME_FILLS[o] for o in present}
    return [Patch(facecolor=c, hatch=h, edgecolor=PLATE, label=o.label) for o, (c, h) in fills.items()]


def outcomes(study: CellStudy) -> Figure | None:
    """Stacked shares of how the integration ended, per width and mode.

    Returns
    -------
    Figure or None
        None when the run integrated nothing.
    """
    stored, widths = dataset(study.cell, "outcome"), study.cell.flow_widths
    if stored is None or not (stored >= 0).any():
        return None
    counts = np.stack([np.sum(stored == o, axis=1) for o in Outcome])  # (outcome, mode, flow width)
    present = [o for o in Outcome if counts[o].any()]
    height = 1.3 + 0.3 * len(widths) + 0.2 * ((len(present) + 1) // 2)
    panels: list[Panel] = []
    rows: list[Row] = []
    for mode in study.cell.modes:
        own = counts[:, mode_index(study.cell, mode)]
        rows += [
            (mode, int(k), o.label, int(own[o, i]), int(own[:, i].sum())) for i, k in enumerate(widths) for o in present
        ]
        words = f"Shares of the outcomes of the flow per width, {mode_name(mode)}."
        with panel(height=height) as (figure, axes):
            _draw_outcomes(axes, own, widths, present)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(handles=_outcome_legend(present), loc="outside lower left", ncols=2)
            panels.append(Panel(f"{cell_prefix(study)}-outcomes-{mode}", to_svg(figure, words), words))
    decided = sum(int(counts[o].sum()) for o in present if o <= Outcome.NOT_CONVERGED_CERTIFIED)
    title = f"{spaced(decided)} of {spaced(int(counts.sum()))} integrations end in a decision"
    caption = (
        "An outcome called certified carries a proof. What is neither converged nor certified not to converge counts "
        "as undecided and widens every interval; it is never dropped."
    )
    table = csv_text(("mode", "width", "outcome", "count", "trials"), rows)
    return Figure(f"{cell_prefix(study)}-outcomes", title, caption, tuple(panels), table)
