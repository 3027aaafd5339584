"""Figures of the study of maps: probability of zero loss as colour, its 50 % contours as lines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import NullLocator

from mc.estimate.cells.planes import MapRow, Plane, ProtocolRow
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.estimate.widths.crossings import CrossingWidth
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel
from mc.report.paper.section import Texts, drawn
from mc.report.style import INK, VERMILLION, log_width_axis, panel, to_svg

TEXTS = Texts("maps")

LINES = {
    "exact": ("#626a76", "-", "D"),  # dark on the map, light enough for the legend of a dark page
    "protocol": ("#d45d00", "-", "o"),
    "heuristic": ("#00a070", (0, (5.0, 2.0)), ""),
    "theorem": ("#b8508f", (0, (1.5, 1.5)), ""),
}
"""Colours over a heat map, which is the same in the light and in the dark; so these are not those of the page."""

AXES = {"n": "dimension n of the signal (log scale)", "m": "observations m (log scale)"}
TITLE_CHARACTERS = 50
COLUMNS = ("plane", "kind", "n", "m", "width", "trials", "holds", "fails", "undecided", "estimate", "lower", "upper")


def edges(centres: Sequence[float]) -> Array:
    """Return borders of cells on a logarithmic axis: geometric means, the ends as far out as their neighbours."""
    x = np.log(np.asarray(centres, dtype=float))
    if len(x) == 1:
        return np.asarray(np.exp(np.array([x[0] - 0.2, x[0] + 0.2])))
    inner = 0.5 * (x[1:] + x[:-1])
    return np.asarray(np.exp(np.concatenate([[2 * x[0] - inner[0]], inner, [2 * x[-1] - inner[-1]]])))


def _ticks(axes: Axes, which: str, values: Sequence[int], borders: Array) -> None:
    shown = [value for value in values if borders[0] <= value <= borders[-1]]
    axes.set(**{f"{which}scale": "log", f"{which}lim": (borders[0], borders[-1])})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(shown, [spaced(value) for value in shown])
    axis.set_minor_locator(NullLocator())


@contextmanager
def _heat_panel(
    panels: list[Panel], name: str, rows: Sequence[MapRow], axis: str, title: str, words: str, bar_label: str,
    height: float,
) -> Iterator[Axes]:  # fmt: skip
    """Append a heat map of the probability of zero loss; its lines are drawn inside the block."""
    with panel(height=height) as (figure, axes):
        x, y = edges([row.value for row in rows]), edges(rows[0].widths.tolist())
        mesh = axes.pcolormesh(
            x, y, np.column_stack([row.frequency for row in rows]), cmap="Blues", vmin=0.0, vmax=1.0,
            edgecolor="face", linewidth=0.2, shading="flat",
        )  # fmt: skip
        _ticks(axes, "x", (2, 3, 5, 10, 20, 30, 60, 100, 200), x)
        _ticks(axes, "y", (2, 5, 10, 20, 50, 100, 200, 400, 1000), y)
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel("width k (neurons, log scale)")
        axes.grid(visible=False)
        yield axes
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30)
        bar.set_label(bar_label)
        bar.outline.set_visible(False)
        axes.set_title(textwrap.fill(title, TITLE_CHARACTERS))
        handles, labels = axes.get_legend_handles_labels()
        for handle in handles:
            handle.set_path_effects([])
        figure.legend(handles[::-1], labels[::-1], loc="outside lower left", ncols=1)
        panels.append(Panel(name, to_svg(figure, words), words))


def _line(axes: Axes, which: str, x: Sequence[float], y: Sequence[float], label: str, cased: bool = True) -> None:
    colour, dash, marker = LINES[which]
    white = [Stroke(linewidth=3.2, foreground="#fdfdfd"), Normal()] if cased else []
    axes.plot(
        x, _on_grid(y), color=colour, linestyle=dash, marker=marker, markersize=3.5, markeredgewidth=0, linewidth=1.6,
        label=label, path_effects=white,
    )  # fmt: skip


def _on_grid(widths: Sequence[float]) -> list[float]:
    return [width if 0.0 < width < math.inf else math.nan for width in widths]


def _limits(axes: Axes, which: str, x: Sequence[float], crossings: Sequence[CrossingWidth]) -> None:
    """Draw the intervals of a contour as bars, not as a surface: the map below stays readable."""
    low, high = axes.get_ylim()
    ends = np.clip([crossing.interval for crossing in crossings], low, high)
    axes.vlines(x, ends[:, 0], ends[:, 1], color=LINES[which][0], linewidth=1.1)


def planes_figure(
    planes: Sequence[Plane], anchors: Mapping[str, int], titles: Mapping[str, str], level: float
) -> Figure:
    """Draw the exact maps with all their contours, one panel per plane.

    The theorem's scaling passes through the contour at the anchor of the plane's axis.
    """
    panels: list[Panel] = []
    for plane in planes:
        rows, title, name = plane.rows, titles[plane.axis], f"maps-plane-{plane.axis}"
        values, crossings = [float(row.value) for row in rows], [row.crossing for row in rows]
        anchor, theorem = plane.scaling(anchors[plane.axis])
        words = TEXTS.text("plane_panel", axis=plane.axis, title=title)
        with _heat_panel(panels, name, rows, plane.axis, title, words, "P(zero loss), exact", 4.4) as axes:
            through = "" if math.isnan(anchor) else f", drawn through {plane.axis} = {spaced(anchor)}"
            _line(axes, "theorem", values, theorem, f"theorem's scaling n ψ²/σ_A²{through}")
            if plane.protocols:
                sizes = [float(row.value) for row in plane.protocols]
                _limits(axes, "protocol", sizes, [row.crossing for row in plane.protocols])
                estimates = [row.crossing.estimate for row in plane.protocols]
                _line(axes, "protocol", sizes, estimates, f"protocol: 50 % converged, {level:.0%}")
            _limits(axes, "exact", values, crossings)
            _line(axes, "exact", values, [c.estimate for c in crossings], f"exact: 50 % reach zero loss, {level:.0%}")
            _line(axes, "heuristic", values, [row.heuristic for row in rows], "heuristic (theory 7.9)", cased=False)
    table = [row for plane in planes for row in map_table(plane, anchors[plane.axis])]
    return TEXTS.figure("maps-plane", "planes_figure", panels, COLUMNS, table, level=level)


def map_table(plane: Plane, anchor: int) -> Iterator[Sequence[object]]:
    """Yield the rows of the CSV: every cell of the maps, then every contour."""

    def cells(kind: str, row: MapRow | ProtocolRow, c: Counts, share: Array) -> Iterator[Sequence[object]]:
        for numbers in zip(row.widths.tolist(), c.trials, c.holds, c.fails, c.undecided, share, strict=True):
            yield plane.axis, f"map, {kind}", *_sizes(plane, row), *numbers, None, None

    for row in plane.rows:
        yield from cells("exact", row, row.counts, row.frequency)
    for protocol in plane.protocols:
        with np.errstate(invalid="ignore"):
            yield from cells(
                "protocol", protocol, protocol.converged, protocol.converged.holds / protocol.converged.trials
            )
    _, theorem = plane.scaling(anchor)
    for row, scaled in zip(plane.rows, theorem, strict=True):
        yield plane.axis, "contour, exact", row.n, row.m, *[None] * 5, *_numbers(row.crossing)
        for kind, width in (("heuristic", row.heuristic), ("theorem's scaling", scaled)):
            yield plane.axis, f"contour, {kind}", row.n, row.m, *[None] * 5, width, None, None
    for protocol in plane.protocols:
        yield plane.axis, "contour, protocol", *_sizes(plane, protocol), *[None] * 5, *_numbers(protocol.crossing)


def _sizes(plane: Plane, row: MapRow | ProtocolRow) -> tuple[int | None, int | None]:
    if isinstance(row, MapRow):
        return row.n, row.m
    return (row.value, None) if plane.axis == "n" else (None, row.value)


def _numbers(crossing: CrossingWidth) -> tuple[float, float, float]:
    return (crossing.estimate, *crossing.interval)


def rows_figure(plane: Plane, rows: Sequence[ProtocolRow], level: float) -> Figure:
    """Draw the exact verdict and the protocol along single rows of a plane."""
    panels: list[Panel] = []
    table: list[Sequence[object]] = []
    for row in rows:
        name, words = f"maps-row-{plane.axis}-{row.value}", TEXTS.text("row_panel", axis=plane.axis, row=row)
        with drawn(panels, name, words, ncols=1) as axes:
            for counts, colour, marker, label in (
                (row.truth, INK, "D", "exact: zero loss is reached"),
                (row.converged, VERMILLION, "o", f"protocol: converged within {spaced(row.max_steps)} steps"),
            ):
                low, high = get_method("clopper-pearson").two_sided(
                    counts.holds, counts.holds + counts.undecided, counts.trials, (1.0 - level) / len(row.widths)
                )
                share = (counts.holds + 0.5 * counts.undecided) / np.maximum(counts.trials, 1)
                axes.fill_between(row.widths, low, high, color=colour, alpha=0.16, linewidth=0)
                axes.plot(row.widths, share, color=colour, marker=marker, markersize=4.0, linewidth=1.4, label=label)
                table += [
                    (plane.axis, row.value, width, label, *numbers)
                    for width, *numbers in zip(row.widths, counts.trials, share, low, high, strict=True)
                ]
            axes.axhline(0.5, color="#5f6772", linewidth=0.8, linestyle=(0, (1, 2)))
            log_width_axis(axes, row.widths[0], row.widths[-1])
            ticks = [k for k in (5, 10, 20, 50, 100, 200, 500) if row.widths[0] <= k <= row.widths[-1]]
            axes.set_xticks(ticks, [spaced(k) for k in ticks])
            axes.set_ylim(-0.02, 1.02)
            axes.set_ylabel("probability")
            ratio = None if math.isnan(row.shift.ratio) else row.shift.ratio
            beyond = math.isinf(row.crossing.estimate)
            axes.set_title(TEXTS.text("row_title", axis=plane.axis, row=row, ratio=ratio, beyond=beyond))
    columns = ("plane", "value", "width", "curve", "trials", "share", "lower", "upper")
    return TEXTS.figure("maps-row", "rows_figure", panels, columns, table)


def softplus_figure(rows: Sequence[MapRow], level: float, p_value: float) -> Figure:
    """Draw the map of softplus with the contour of its exact law, k = 2 m - 1; `p_value` tests all cells together."""
    panels: list[Panel] = []
    values, crossings = [float(row.value) for row in rows], [row.crossing for row in rows]
    title = TEXTS.text("softplus_title", p=p_value)
    words = TEXTS.text("softplus_panel", title=title)
    with _heat_panel(panels, "maps-softplus", rows, "m", title, words, "P(zero loss), exact verdict", 4.1) as axes:
        _line(axes, "heuristic", values, [2.0 * value - 1.0 for value in values], "law: 50 % at k = 2 m − 1")
        _limits(axes, "exact", values, crossings)
        colour, _, marker = LINES["exact"]
        measured = _on_grid([crossing.estimate for crossing in crossings])
        axes.plot(values, measured, color=colour, linestyle="", marker=marker, markersize=3.5, label="measured")
    table = [row for row in map_table(Plane("m", tuple(rows), ()), 10) if row[1] != "contour, heuristic"]
    return TEXTS.figure("maps-softplus", "softplus_figure", panels, COLUMNS, table, level=level)
