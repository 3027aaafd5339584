"""The median widths of all rungs at every size, with the factor of each step between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from mc.estimate.cells.factor_gaps import Gap, Rung
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.paper.section import DIGITS
from mc.report.paper.widths import factor_words, width_words
from mc.report.style import EVENT_LINES, INK, MUTED, ORANGE, Line, log_ticks, panel, to_svg

LINES = EVENT_LINES | {"theory": Line(ORANGE, "v", (0, (1.5, 1.5)), "P_theory (paper form) reaches 1/2")}
NAMES = {
    ("exact", "sharp"): "linearisation",
    ("conserved", "sharp"): "linearisation",
    ("sharp", "trial"): "ball, unobserved",
    ("trial", "paper"): "worst columns",
    ("paper", "theory"): "union bounds",
}
"""The steps in as few words as fit beside the first size (`mc.estimate.cells.factor_gaps.REASONS` in full)."""

LABELS = {"exact": "exact: zero loss is reached", "conserved": "conserved: every width"}


@dataclass(frozen=True)
class Column:
    """One size: its label, and rungs and steps by mode."""

    label: str
    rungs: Mapping[str, tuple[Rung, ...]]
    gaps: Mapping[str, tuple[Gap, ...]]


def _place(rung: Rung) -> float:
    """Where a rung is drawn: one beyond the grid at its end."""
    return float(rung.top) if math.isinf(rung.estimate) and rung.name != "theory" else rung.estimate


def _draw(axes: Axes, columns: Sequence[Column], mode: str) -> None:
    for name, line in LINES.items():
        found = [(i, r) for i, column in enumerate(columns) for r in column.rungs.get(mode, ()) if r.name == name]
        found = [(i, r) for i, r in found if r.estimate > 0.0 and math.isfinite(_place(r))]
        if not found:
            continue
        x, y = [i for i, _ in found], [_place(r) for _, r in found]
        axes.plot(x, y, color=line.colour, linestyle=line.dash, linewidth=1.0, alpha=0.6)
        for i, rung in found:
            low, high = max(rung.interval[0], 1.0), min(rung.interval[1], float(rung.top))
            if name != "theory":
                axes.vlines(i, low, high, color=line.colour, linewidth=3.0, alpha=0.35)
            beyond = math.isinf(rung.estimate)
            axes.plot(
                [i], [_place(rung)], color=line.colour, marker="$↑$" if beyond else line.marker,
                markersize=8.0 if beyond else 5.5, linestyle="none", markeredgewidth=0,
            )  # fmt: skip
        axes.plot(
            [], [], color=line.colour, marker=line.marker, linestyle=line.dash, label=LABELS.get(name, line.label)
        )
    for i, column in enumerate(columns):
        for gap in column.gaps.get(mode, ()):
            low, high = _place(gap.lower), _place(gap.upper)
            if low > 0.0 and math.isfinite(high) and math.isfinite(gap.factor):
                if i == 0:
                    name = NAMES.get((gap.lower.name, gap.upper.name), "")
                    axes.annotate(
                        name, (0, math.sqrt(low * high)), xytext=(-6, 0), textcoords="offset points", ha="right",
                        va="center", fontsize=8.0, color=MUTED,
                    )  # fmt: skip
                axes.annotate(
                    factor_words(gap.factor), (i, math.sqrt(low * high)), xytext=(5, 0), textcoords="offset points",
                    va="center", fontsize=8.0, color=INK,
                )  # fmt: skip
    axes.set_yscale("log")
    log_ticks(axes, "y")
    axes.set_xlim(-1.25, len(columns) - 1 + 0.55)
    axes.set_xticks(range(len(columns)), [column.label.replace(", ", "\n") for column in columns])
    axes.set_ylabel("median width (neurons, log scale)")
    axes.grid(axis="x", color=MUTED, alpha=0.15)


def _rows(columns: Sequence[Column]) -> list[Row]:
    return [
        (column.label, mode, rung.name, rung.estimate, *rung.interval, rung.top)
        for column in columns
        for mode, found in column.rungs.items()
        for rung in found
    ]


def medians_figure(columns: Sequence[Column], level: float) -> Figure:
    """Median widths against the size, one panel per mode.

    Parameters
    ----------
    columns : sequence of Column
    level : float
        Confidence of a factor; each width has the confidence 1 - (1 - level)/2.

    Returns
    -------
    Figure
    """
    panels = []
    for mode in dict.fromkeys(mode for column in columns for mode in column.rungs):
        parts = [
            f"{column.label}: " + ", ".join(f"{r.name} {width_words(r.estimate, r.top)}" for r in column.rungs[mode])
            for column in columns
            if mode in column.rungs
        ]
        words = f"Median width of every rung at each size, {mode_name(mode)}. {'. '.join(parts)}."
        with panel(height=4.3) as (figure, axes):
            _draw(axes, columns, mode)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.4, columnspacing=1.2)
            panels.append(Panel(f"ladder-medians-{mode}", to_svg(figure, words), words))
    caption = (
        "Marks: the width at which half of the draws have the certificate; an arrow at the top of the grid: beyond it. "
        f"Thick lines: {1 - (1 - level) / 2:.4g} intervals from ordered exact tests, rounded outwards to the grid. "
        "Numbers: how many times wider the upper of two neighbouring rungs is. From below: linearisation (exact or "
        "conserved to sharp), the ball and the directions that are not observed (to trial), worst-case columns (to "
        "paper), union bounds and concentration (to P_theory). Lines join the sizes for the eye only."
    )
    header = ("size", "mode", "rung", "median_width", "low", "high", "grid_top")
    return Figure(
        "ladder-medians", "What each step of the proof costs in neurons", caption, tuple(panels),
        csv_text(header, _rows(columns), DIGITS),
    )  # fmt: skip
