"""Figures of a run: a tidy frame of numbers is drawn as panels (SVG) and written beside them (CSV)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import dataset, mode_index
from mc.report.style import (
    EVENT_LINES,
    INK,
    MODE_NAMES,
    MUTED,
    OUTCOME_FILLS,
    PLATE,
    THEORY_LINES,
    Line,
    inline,
    log_ticks,
    log_width_axis,
    panel,
    to_svg,
)
from mc.theory.codes import Outcome

Row = Sequence[object]

NO_BREAK = "\u00a0"
TITLE_CHARACTERS = 50  # characters of a bold title that fit a panel
LEGEND: Mapping[str, Any] = {"ncols": 2, "handlelength": 2.8, "columnspacing": 1.4}


@dataclass(frozen=True)
class Panel:
    """One drawn panel."""

    name: str  # file name without ending
    svg: str  # stand-alone document
    alternative: str  # the panel in words

    @property
    def inline(self) -> str:
        """The panel as an element of a page."""
        return inline(self.svg, self.name, self.alternative)


@dataclass(frozen=True)
class Figure:
    """One figure: panels, the numbers behind them and the text beside them."""

    name: str  # file name of the table without ending
    title: str  # the message
    caption: str  # how to read the panels
    panels: tuple[Panel, ...]
    table: str  # the numbers as CSV

    def named(self, prefix: str) -> Figure:
        """Return the figure with a prefix to its names, so that a page may hold several of its kind."""
        panels = tuple(replace(panel, name=prefix + panel.name) for panel in self.panels)
        return replace(self, name=prefix + self.name, panels=panels)


@contextmanager
def new_panel(
    panels: list[Panel], name: str, alternative: str, title: str, legend: Mapping[str, Any] | None = None, **size: float
) -> Iterator[Axes]:
    """Draw a panel on the axes given to the block, and append it; `legend` holds options of a legend below the axes."""
    with panel(**size) as (figure, axes):
        yield axes
        axes.set_title(title)
        if legend is not None:
            figure.legend(loc="outside lower left", **legend)
        panels.append(Panel(name, to_svg(figure, alternative), alternative))


def draw_curves(
    axes: Axes,
    frame: pd.DataFrame,
    columns: tuple[str, str, str],
    lines: Mapping[Any, Line],
    band: tuple[str, str] | None = None,
    steps: bool = False,
) -> None:
    """Draw a line, with its band where two columns are named, for each value of a column of a tidy frame.

    `columns` names x, y and the column whose values are the keys of `lines`. A seaborn plot would take twice the time.
    """
    x, y, kind = columns
    filling: Any
    drawing, filling = ("steps-post", "post") if steps else ("default", None)
    for name, line in lines.items():
        points = frame[frame[kind] == name]
        if points.empty:
            continue
        if band is not None:
            low, high = points[band[0]], points[band[1]]
            axes.fill_between(points[x], low, high, step=filling, color=line.colour, alpha=0.16, linewidth=0)
        axes.plot(
            points[x], points[y], color=line.colour, linestyle=line.dash, marker=line.marker, markersize=4.0,
            linewidth=1.4, markeredgewidth=0, drawstyle=drawing, label=line.label,
        )  # fmt: skip


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: missing values empty, floats with all their digits."""
    return str(frame.to_csv(index=False, lineterminator="\n"))


def csv_text(header: Row, rows: Iterable[Row], digits: int | None = None) -> str:
    """Return rows as CSV: NaN and None empty, floats with all their digits or with so many significant ones."""
    frame = pd.DataFrame(list(rows), columns=list(header), dtype=object)
    if digits is not None:
        frame = frame.map(lambda v: f"{v:.{digits}g}" if isinstance(v, float) and not math.isnan(v) else v)
    return to_csv(frame)


def cell_prefix(study: CellStudy) -> str:
    """Return the start of the file names of a cell."""
    return f"c{study.cell.index:03d}"


def trials_words(study: CellStudy) -> str:
    """Return the number of trials of a cell: one number, or the range where it differs between widths."""
    return spaced(study.trials) if study.trials >= study.most else f"{spaced(study.trials)} to {spaced(study.most)}"


def mode_name(mode: str) -> str:
    """Return a mode in words."""
    return MODE_NAMES.get(mode, mode)


def mode_title(mode: str) -> str:
    """Return a mode as the title of a panel."""
    return mode_name(mode).capitalize()


def mode_phrase(mode: str) -> str:
    """Return a mode in words, as a sentence goes on after "with"."""
    return f"the {mode_name(mode)}" if mode == "hidden" else mode_name(mode)


# ---- probability of each certificate against the width


def _ladder_frame(study: CellStudy) -> pd.DataFrame:
    """One row for each width of a measured curve, then of a bound; counts are integers where known."""
    columns = ("event", "mode", "width", "trials", "holds", "fails", "undecided", "frequency", "lower", "upper",
               "simultaneous_level", "theory", "verdict")  # fmt: skip
    measured = [
        (e.event, e.mode, e.width, e.trials, e.holds, e.fails, e.undecided, float(frequency), *e.interval,
         e.simultaneous_level, e.theory, e.verdict)
        for curve in study.curves.values()
        for e, frequency in zip(curve.estimates(), curve.frequency, strict=True)
    ]  # fmt: skip
    bounds = [
        pd.DataFrame({"curve": "theory", "event": form, "mode": mode, "width": widths, "theory": bound.p})
        for (mode, form), (widths, bound) in study.drawn.items()
    ]
    frame = pd.concat([pd.DataFrame(measured, columns=columns).assign(curve="measured"), *bounds])
    counts = dict.fromkeys(("trials", "holds", "fails", "undecided"), "Int64")
    return frame[["curve", *columns]].astype({**counts, "theory": float})


def _ladder_medians(study: CellStudy, mode: str) -> dict[str, str]:
    """Width at which each certificate holds for half of the draws, in words."""
    return {event: study.medians[mode, event].label for event in EVENT_LINES if (mode, event) in study.medians}


def _ladder_title(study: CellStudy) -> str:
    """Return the message of the figure: from which width to which half of the draws are certified."""
    parts = []
    for mode in study.cell.modes:
        ends = [f"{label} ({event})" for event, label in _ladder_medians(study, mode).items()]
        if ends:
            parts.append(f"{' to '.join(dict.fromkeys((ends[0], ends[-1])))} with {mode_phrase(mode)}")
    return "Half of the draws are certified at width " + "; ".join(parts)


def _draw_ladder(axes: Axes, study: CellStudy, frame: pd.DataFrame) -> None:
    measured = frame[(frame["curve"] == "measured") & (frame["trials"] > 0)]
    draw_curves(axes, measured, ("width", "frequency", "event"), EVENT_LINES, ("lower", "upper"))
    bounds = frame[(frame["curve"] == "theory") & (frame["theory"] > 0.0)]
    draw_curves(axes, bounds, ("width", "theory", "event"), THEORY_LINES)
    axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    log_width_axis(axes, study.cell.widths[0], study.cell.widths[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("probability")


def _theory_sentence(study: CellStudy) -> str:
    if not study.compared or (study.theory is not None and not study.width_for):
        return ""
    if study.theory is None:
        return "No P_theory is compared: the activation, loss or output law has no explicit constants here."
    if study.theory.outside:
        return f"No explicit bound applies: {study.theory.outside}."
    parts = []
    for (mode, form), width in study.width_for.items():
        where = "at no width" if math.isinf(width) else f"from k = {spaced(significant(width, 3))}"
        beyond = ", beyond the grid" if study.cell.widths[-1] < width < math.inf else ""
        parts.append(f"{mode}, {form}: {where}{beyond}")
    return "The explicit bounds promise a probability of 0.95: " + "; ".join(parts) + "."


def ladder(study: CellStudy, level: float, simultaneous: bool) -> Figure:
    """Draw the probability of each certificate against the width, with its limits and the explicit bounds."""
    frame = _ladder_frame(study)
    panels: list[Panel] = []
    for mode in study.cell.modes:
        if not any((mode, event) in study.curves for event in EVENT_LINES):
            continue
        # A no-break space, so that a wrapped title keeps a certificate and its width together.
        medians = (f"{event} {label}".replace(" ", NO_BREAK) for event, label in _ladder_medians(study, mode).items())
        message = ", ".join(medians)
        title = f"{mode_title(mode)}: half of the draws are certified at {message}"
        title = textwrap.fill(title, TITLE_CHARACTERS, break_on_hyphens=False)
        alternative = (
            f"Probability of each certificate against the width, {mode_name(mode)}. "
            f"Widths at which half of the draws are certified: {message}."
        )
        with new_panel(panels, f"{cell_prefix(study)}-ladder-{mode}", alternative, title, LEGEND) as axes:
            _draw_ladder(axes, study, frame[frame["mode"] == mode])
    kind = "at all widths together" if simultaneous else "at each width"
    uniform = any(curve.method == "beta-binomial" for curve in study.curves.values())
    limits = "time-uniform (beta-binomial)" if uniform else "exact (Clopper-Pearson)"
    caption = (
        f"Marks: share of the {trials_words(study)} random draws for which the certificate holds. Shaded: {limits} "
        f"limits with confidence {level:.3g} {kind}. Dashed: the explicit lower bounds, drawn "
        f"where they say something. {_theory_sentence(study)}"
    )
    return Figure(f"{cell_prefix(study)}-ladder", _ladder_title(study), caption, tuple(panels), to_csv(frame))


# ---- margin of each certificate against the width

MARGIN_QUANTILES = (0.05, 0.5, 0.95)
MARGIN_COLUMNS = tuple(f"quantile_{q:g}" for q in MARGIN_QUANTILES)
MARGIN_LINES = {event: EVENT_LINES[event] for event in ("sharp", "trial", "paper")}


def _margin_frame(study: CellStudy, mode: str, event: str) -> pd.DataFrame | None:
    stored = dataset(study.cell, f"margin_{event}")
    if stored is None or (mode, event) not in study.curves:
        return None
    margin = stored[mode_index(study.cell, mode)]
    computed = (~np.isnan(margin)).any(axis=0)
    if not computed.any():
        return None
    quantiles = np.nanquantile(margin[:, computed], MARGIN_QUANTILES, axis=0)
    frame = pd.DataFrame({"event": event, "mode": mode, "width": study.cell.widths[computed]})
    return frame.assign(**dict(zip(MARGIN_COLUMNS, quantiles, strict=True)))


def _draw_margins(axes: Axes, study: CellStudy, frame: pd.DataFrame) -> None:
    low, middle, high = MARGIN_COLUMNS
    # A margin of zero has no place on a logarithmic axis: a curve starts where half of the draws have one.
    positive = frame[frame[middle] > 0.0]
    positive = positive.assign(**{low: np.maximum(positive[low], 1e-300)})
    draw_curves(axes, positive, ("width", middle, "event"), MARGIN_LINES, (low, high))
    axes.axhline(1.0, color=INK, linewidth=1.0)
    axes.set_yscale("log")
    finite = positive[middle][positive[middle] < np.inf]
    axes.set_ylim(min([*finite, 0.5]) / 3.0, max([*finite, 2.0]) * 3.0)
    log_ticks(axes, "y")
    log_width_axis(axes, study.cell.widths[0], study.cell.widths[-1])
    axes.set_ylabel("margin (certified above 1, log scale)")


def margins(study: CellStudy) -> Figure | None:
    """Draw the margins of the certificates against the width; None where the run has no margins."""
    panels: list[Panel] = []
    frames = []
    for mode in study.cell.modes:
        known = [frame for event in MARGIN_LINES if (frame := _margin_frame(study, mode, event)) is not None]
        margin_frame = pd.concat(known) if known else pd.DataFrame()
        if margin_frame.empty:
            continue
        frames.append(margin_frame)
        alternative = f"Margin of each certificate against the width, {mode_name(mode)}; certified above 1."
        legend = {"ncols": 3, "handlelength": 2.8}
        with new_panel(panels, f"{cell_prefix(study)}-margins-{mode}", alternative, mode_title(mode), legend) as axes:
            _draw_margins(axes, study, margin_frame)
    if not frames:
        return None
    caption = (
        "Line: median over the draws; shaded: the middle 90 %. A certificate holds where its margin exceeds 1 (heavy "
        "line). The vertical gap between two curves is what one certificate loses against the other."
    )
    title = "How far each certificate is from holding"
    return Figure(f"{cell_prefix(study)}-margins", title, caption, tuple(panels), to_csv(pd.concat(frames)))


# ---- outcomes of the integrations against the width


def _draw_outcomes(axes: Axes, shares: pd.DataFrame, outcomes: Sequence[Outcome]) -> None:
    """Draw stacked bars; `shares` has a row for each width and a column for each outcome."""
    position, left = np.arange(len(shares)), np.zeros(len(shares))
    for outcome in outcomes:
        colour, hatch = OUTCOME_FILLS[outcome]
        share = shares[outcome.label].to_numpy()
        axes.barh(position, share, left=left, color=colour, hatch=hatch, edgecolor=PLATE, linewidth=0.8)
        left += share
    axes.set_yticks(position, [f"k = {spaced(k)}" for k in shares.index])
    axes.invert_yaxis()
    axes.grid(False)
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the trials")


def outcomes(study: CellStudy) -> Figure | None:
    """Draw how the integrations ended, as stacked shares per width and mode; None when the run integrated nothing."""
    stored, widths = dataset(study.cell, "outcome"), study.cell.flow_widths
    if stored is None or not (stored >= 0).any():
        return None
    present = [outcome for outcome in Outcome if (stored == outcome).any()]
    frame = pd.DataFrame(
        [
            (mode, int(k), o.label, int((ended == o).sum()), int((ended >= 0).sum()))
            for mode in study.cell.modes
            for k, ended in zip(widths, stored[mode_index(study.cell, mode)].T, strict=True)
            for o in present
        ],
        columns=["mode", "width", "outcome", "count", "trials"],
    )
    fills = [(outcome.label, *OUTCOME_FILLS[outcome]) for outcome in present]
    handles = [Patch(facecolor=colour, hatch=hatch, edgecolor=PLATE, label=label) for label, colour, hatch in fills]
    legend = {"handles": handles, "ncols": 2}
    height = 1.3 + 0.3 * len(widths) + 0.2 * ((len(present) + 1) // 2)
    panels: list[Panel] = []
    for mode, counts in frame.groupby("mode", sort=False):
        share = counts["count"] / counts["trials"].clip(lower=1)
        shares = counts.assign(share=share).pivot(index="width", columns="outcome", values="share")
        alternative = f"Shares of the outcomes of the flow per width, {mode_name(mode)}."
        name = f"{cell_prefix(study)}-outcomes-{mode}"
        with new_panel(panels, name, alternative, mode_title(mode), legend, height=height) as axes:
            _draw_outcomes(axes, shares, present)
    decided = sum(int((stored == outcome).sum()) for outcome in present if outcome <= Outcome.NOT_CONVERGED_CERTIFIED)
    title = f"{spaced(decided)} of {spaced(int((stored >= 0).sum()))} integrations end in a decision"
    caption = (
        "An outcome called certified carries a proof. What is neither converged nor certified not to converge counts "
        "as undecided and widens every interval; it is never dropped."
    )
    return Figure(f"{cell_prefix(study)}-outcomes", title, caption, tuple(panels), to_csv(frame))
