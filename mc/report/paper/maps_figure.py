"""Figures of the study of maps: probability of zero loss as colour, its 50 % contours as lines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure as Canvas
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import NullLocator

from mc.estimate.cells.planes import MapRow, Plane, ProtocolRow
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.methods import get_method
from mc.estimate.widths.contour import Crossing
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel, Row, csv_text
from mc.report.paper.section import DIGITS
from mc.report.style import INK, VERMILLION, log_width_axis, panel, to_svg

LINES = {
    "exact": ("#626a76", "-", "D"),  # dark on the map, light enough for the legend of a dark page
    "protocol": ("#d45d00", "-", "o"),
    "heuristic": ("#00a070", (0, (5.0, 2.0)), ""),
    "theorem": ("#b8508f", (0, (1.5, 1.5)), ""),
}
"""Colours over a heat map, which is the same in the light and in the dark; so these are not those of the page."""

AXES = {
    "n": "dimension n of the signal (log scale)",
    "m": "observations m (log scale)",
}
TITLE_CHARACTERS = 50
COLUMNS = ("plane", "kind", "n", "m", "width", "trials", "holds", "fails", "undecided", "estimate", "lower", "upper")


def edges(centres: Sequence[float]) -> Array:
    """Borders of the cells of a logarithmic axis: geometric means, the ends as far out as their neighbours."""
    x = np.log(np.asarray(centres, dtype=float))
    if len(x) == 1:
        return np.asarray(np.exp(np.array([x[0] - 0.2, x[0] + 0.2])))
    inner = 0.5 * (x[1:] + x[:-1])
    return np.asarray(np.exp(np.concatenate([[2 * x[0] - inner[0]], inner, [2 * x[-1] - inner[-1]]])))


def _heat(axes: Axes, rows: Sequence[MapRow]) -> QuadMesh:
    widths = rows[0].widths
    shown = np.column_stack([row.frequency for row in rows])
    return axes.pcolormesh(
        edges([row.value for row in rows]), edges(widths.tolist()), shown, cmap="Blues", vmin=0.0, vmax=1.0,
        edgecolor="face", linewidth=0.2, shading="flat",
    )  # fmt: skip


def _line(axes: Axes, which: str, x: Sequence[float], y: Sequence[float], label: str, cased: bool = True) -> None:
    colour, dash, marker = LINES[which]
    white = [Stroke(linewidth=3.2, foreground="#fdfdfd"), Normal()] if cased else []
    good = [a if 0.0 < a < math.inf else math.nan for a in y]
    axes.plot(
        x, good, color=colour, linestyle=dash, marker=marker, markersize=3.5, markeredgewidth=0, linewidth=1.6,
        label=label, path_effects=white,
    )  # fmt: skip


def _band(axes: Axes, which: str, x: Sequence[float], crossings: Sequence[Crossing]) -> None:
    low, high = axes.get_ylim()
    ends = np.clip([c.interval for c in crossings], low, high)
    colour = LINES[which][0]
    # ends of the intervals, not a surface: the map below stays readable
    axes.vlines(x, ends[:, 0], ends[:, 1], color=colour, linewidth=1.1)


def _sizes_axis(axes: Axes, axis: str, values: Sequence[int]) -> None:
    axes.set_xscale("log")
    borders = edges(values)
    axes.set_xlim(borders[0], borders[-1])
    ticks = [v for v in (2, 3, 5, 10, 20, 30, 60, 100, 200) if borders[0] <= v <= borders[-1]]
    axes.set_xticks(ticks, [spaced(v) for v in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(AXES[axis])


def _frame(axes: Axes, axis: str, rows: Sequence[MapRow]) -> None:
    _sizes_axis(axes, axis, [row.value for row in rows])
    borders = edges(rows[0].widths.tolist())
    axes.set_yscale("log")
    axes.set_ylim(borders[0], borders[-1])
    ticks = [v for v in (2, 5, 10, 20, 50, 100, 200, 400, 1000) if borders[0] <= v <= borders[-1]]
    axes.set_yticks(ticks, [spaced(v) for v in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("width k (neurons, log scale)")
    axes.grid(visible=False)


def plane_panel(plane: Plane, anchor: int, title: str, level: float) -> Panel:
    """The exact map of a plane with all its contours.

    Parameters
    ----------
    plane : Plane
        With rows.
    anchor : int
        Value of the axis at which the theorem's scaling passes through the contour.
    title : str
    level : float
        Of the contours, for the words.
    """
    values = [float(row.value) for row in plane.rows]
    at, theorem = plane.scaling(anchor)
    words = f"Probability of zero loss over {plane.axis} and the width k, with its 50 % contours. {title}."
    with panel(height=4.4) as (figure, axes):
        mesh = _heat(axes, plane.rows)
        _frame(axes, plane.axis, plane.rows)
        through = "" if math.isnan(at) else f", drawn through {plane.axis} = {spaced(at)}"
        _line(axes, "theorem", values, theorem, f"theorem's scaling n ψ²/σ_A²{through}")
        if plane.protocols:
            sizes = [float(row.value) for row in plane.protocols]
            _band(axes, "protocol", sizes, [row.crossing for row in plane.protocols])
            estimates = [row.crossing.estimate for row in plane.protocols]
            _line(axes, "protocol", sizes, estimates, f"protocol: 50 % converged, {level:.0%}")
        crossings = [row.crossing for row in plane.rows]
        _band(axes, "exact", values, crossings)
        _line(axes, "exact", values, [c.estimate for c in crossings], f"exact: 50 % reach zero loss, {level:.0%}")
        _line(axes, "heuristic", values, [row.heuristic for row in plane.rows], "heuristic (theory 7.9)", cased=False)
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
        bar.set_label("P(zero loss), exact")
        bar.outline.set_visible(False)
        axes.set_title(textwrap.fill(title, TITLE_CHARACTERS))
        _legend(figure, axes)
        return Panel(f"maps-plane-{plane.axis}", to_svg(figure, words), words)


def _legend(figure: Canvas, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    for handle in handles:
        handle.set_path_effects([])
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", ncols=1)


def map_table(planes: Iterable[Plane], anchors: dict[str, int]) -> Iterable[Row]:
    """Rows of the CSV: every cell of the maps, then every contour."""
    for plane in planes:
        for row in plane.rows:
            for i, k in enumerate(row.widths.tolist()):
                yield (
                    plane.axis, "map, exact", row.n, row.m, k, int(row.counts.trials[i]), int(row.counts.holds[i]),
                    int(row.counts.fails[i]), int(row.counts.undecided[i]), float(row.frequency[i]), None, None,
                )  # fmt: skip
        for one in plane.protocols:
            counts = one.said
            for i, k in enumerate(one.widths.tolist()):
                share = counts.holds[i] / counts.trials[i] if counts.trials[i] else math.nan
                yield (
                    plane.axis, "map, protocol", *_sizes(plane, one), k, int(counts.trials[i]), int(counts.holds[i]),
                    int(counts.fails[i]), int(counts.undecided[i]), float(share), None, None,
                )  # fmt: skip
        _, theorem = plane.scaling(anchors[plane.axis])
        for row, scaled in zip(plane.rows, theorem, strict=True):
            yield (plane.axis, "contour, exact", row.n, row.m, *[None] * 5, *_numbers(row.crossing))
            yield (plane.axis, "contour, heuristic", row.n, row.m, *[None] * 5, row.heuristic, None, None)
            yield (plane.axis, "contour, theorem's scaling", row.n, row.m, *[None] * 5, scaled, None, None)
        for one in plane.protocols:
            yield (plane.axis, "contour, protocol", *_sizes(plane, one), *[None] * 5, *_numbers(one.crossing))


def _sizes(plane: Plane, one: ProtocolRow) -> tuple[int | None, int | None]:
    return (one.value, None) if plane.axis == "n" else (None, one.value)


def _numbers(found: Crossing) -> tuple[float, float, float]:
    return (found.estimate, *found.interval)


def planes_figure(planes: Sequence[Plane], anchors: dict[str, int], titles: dict[str, str], level: float) -> Figure:
    """The maps with their contours, one panel for each plane that has rows."""
    drawn = [plane for plane in planes if plane.rows]
    caption = (
        "Colour: share of the draws for which gradient flow of the hidden layer reaches zero loss, by the exact "
        f"verdict. Lines: widths at which half do. Bars: {level:.0%} limits, for all rows of a contour together. "
        "Where a line is missing the contour lies outside the grid. The theorem's scaling (form as recalled, not "
        "transcribed) has a free constant: only its shape says something."
    )
    panels = tuple(plane_panel(plane, anchors[plane.axis], titles[plane.axis], level) for plane in drawn)
    title = "Half of the draws reach zero loss from a width that m sets, and n does not"
    return Figure("maps-plane", title, caption, panels, csv_text(COLUMNS, map_table(drawn, anchors), DIGITS))


def rows_figure(plane: Plane, chosen: Sequence[ProtocolRow], level: float) -> Figure:
    """Exact verdict and protocol along single rows of a plane."""
    panels, table = [], []
    for row in chosen:
        words = f"P(zero loss) and share called converged against the width at {plane.axis} = {row.value}."
        with panel() as (figure, axes):
            for counts, colour, marker, label in (
                (row.truth, INK, "D", "exact: zero loss is reached"),
                (row.said, VERMILLION, "o", f"protocol: converged within {spaced(row.max_steps)} steps"),
            ):
                alpha = (1.0 - level) / len(row.widths)
                low, high = get_method("clopper-pearson").two_sided(
                    counts.holds, counts.holds + counts.undecided, counts.trials, alpha
                )
                share = (counts.holds + 0.5 * counts.undecided) / np.maximum(counts.trials, 1)
                axes.fill_between(row.widths, low, high, color=colour, alpha=0.16, linewidth=0)
                axes.plot(row.widths, share, color=colour, marker=marker, markersize=4.0, linewidth=1.4, label=label)
                table += [
                    (plane.axis, row.value, int(k), label, int(t), float(s), float(a), float(b))
                    for k, t, s, a, b in zip(row.widths, counts.trials, share, low, high, strict=True)
                ]
            axes.axhline(0.5, color="#5f6772", linewidth=0.8, linestyle=(0, (1, 2)))
            log_width_axis(axes, row.widths[0], row.widths[-1])
            ticks = [k for k in (5, 10, 20, 50, 100, 200, 500) if row.widths[0] <= k <= row.widths[-1]]
            axes.set_xticks(ticks, [spaced(k) for k in ticks])
            axes.set_ylim(-0.02, 1.02)
            axes.set_ylabel("probability")
            axes.set_title(f"{plane.axis} = {row.value}: the protocol needs {_factor(row)}")
            figure.legend(loc="outside lower left", ncols=1)
            panels.append(Panel(f"maps-row-{plane.axis}-{row.value}", to_svg(figure, words), words))
    header = ("plane", "value", "width", "curve", "trials", "share", "lower", "upper")
    caption = (
        "Both curves are of the same draws. Shaded: exact limits at all widths of a curve together. The two differ "
        "by the draws that would reach zero loss but have not when its steps end."
    )
    title = "Where the operator is badly conditioned the protocol stops before it converges"
    return Figure("maps-row", title, caption, tuple(panels), csv_text(header, table, DIGITS))


def _factor(row: ProtocolRow) -> str:
    if math.isnan(row.shift.ratio):
        beyond = math.isinf(row.crossing.estimate)
        return f"a width above {spaced(row.widths[-1])}" if beyond else "a width off the grid"
    return f"{row.shift.ratio:.2f} times the width"


def softplus_figure(rows: Sequence[MapRow], level: float, p_value: float) -> Figure:
    """The map of softplus with the contour of its exact law, k = 2 m - 1.

    Parameters
    ----------
    rows : sequence of MapRow
        At least one.
    level : float
    p_value : float
        Of the law at all cells of the map together.
    """
    values = [float(row.value) for row in rows]
    title = f"Softplus: every cell agrees with the law (p = {p_value:.2g})"
    words = f"Probability of zero loss with softplus over m and k, with the contour 2 m - 1. {title}."
    with panel(height=4.1) as (figure, axes):
        mesh = _heat(axes, rows)
        _frame(axes, "m", rows)
        _line(axes, "heuristic", values, [2.0 * v - 1.0 for v in values], "law: 50 % at k = 2 m − 1")
        _band(axes, "exact", values, [row.crossing for row in rows])
        colour, _, marker = LINES["exact"]
        shown = [c if 0.0 < (c := row.crossing.estimate) < math.inf else math.nan for row in rows]
        axes.plot(values, shown, color=colour, linestyle="", marker=marker, markersize=3.5, label="measured")
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
        bar.set_label("P(zero loss), exact verdict")
        bar.outline.set_visible(False)
        axes.set_title(textwrap.fill(title, TITLE_CHARACTERS))
        _legend(figure, axes)
        drawn = Panel("maps-softplus", to_svg(figure, words), words)
    plane = Plane("m", tuple(rows), ())
    caption = (
        "Colour: share of the draws that reach zero loss by the exact verdict. Dashed: where the law P(Bin(k, 1/2) "
        f">= m) is one half. Diamonds: measured 50 % widths, {level:.0%} limits for all m together."
    )
    table = csv_text(COLUMNS, (row for row in map_table([plane], {"m": 10}) if "contour, h" not in str(row[1])), DIGITS)
    return Figure("maps-softplus", "Softplus follows its exact law, k = 2 m - 1", caption, (drawn,), table)


def contour_words(found: Crossing) -> str:
    """A contour's width and interval for a table."""
    if math.isnan(found.estimate):
        return "–"
    if found.estimate == 0.0:
        return f"< {spaced(found.grid[0])}"
    if math.isinf(found.estimate):
        return f"> {spaced(found.grid[1])}"
    low, high = found.interval
    ends = (
        "..." if low == 0.0 else spaced(significant(low, 3)),
        "..." if math.isinf(high) else spaced(significant(high, 3)),
    )
    return f"{spaced(significant(found.estimate, 3))} ({ends[0]} to {ends[1]})"
