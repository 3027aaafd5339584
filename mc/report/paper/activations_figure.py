"""Median widths by activation and output law, and the share of the draws that get stuck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.factor_gaps import Rung
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.model.arrays import IntArray
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.paper.section import DIGITS
from mc.report.paper.widths import width_words
from mc.report.style import BLUE, EVENT_LINES, GREEN, MUTED, VERMILLION, log_ticks, log_width_axis, panel, to_svg

COLOURS = (BLUE, VERMILLION, GREEN)
MARKERS = "os^"


@dataclass(frozen=True)
class Ensemble:
    """An activation and an output law with its rungs by mode."""

    activation: str
    law: str
    rungs: Mapping[str, tuple[Rung, ...]]

    @property
    def label(self) -> str:
        """Both names."""
        return f"{self.activation}, {self.law}"


def _draw(axes: Axes, rows: Sequence[Ensemble], mode: str) -> None:
    for name, line in EVENT_LINES.items():
        labelled = False
        for i, row in enumerate(rows):
            rung = next((r for r in row.rungs.get(mode, ()) if r.name == name), None)
            if rung is None or math.isnan(rung.estimate):
                continue
            beyond = math.isinf(rung.estimate)
            x = float(rung.top) if beyond else max(rung.estimate, 1.0)
            if not beyond:
                ends = (max(rung.interval[0], 1.0), min(rung.interval[1], float(rung.top)))
                axes.hlines(i, *ends, color=line.colour, linewidth=3.0, alpha=0.35)
            axes.plot(
                [x], [i], color=line.colour, marker="$→$" if beyond else line.marker,
                markersize=8.0 if beyond else 5.0, linestyle="none", markeredgewidth=0,
                label=None if labelled or beyond else line.label,
            )  # fmt: skip
            labelled = labelled or not beyond
    for i in range(1, len(rows)):
        if rows[i].activation != rows[i - 1].activation:
            axes.axhline(i - 0.5, color=MUTED, linewidth=0.6)
    axes.set_xscale("log")
    log_ticks(axes, "x")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("median width (neurons, log scale)")


def medians_figure(rows: Sequence[Ensemble], level: float) -> Figure:
    """The median width of every rung, one row for each activation and law, one panel per mode.

    Parameters
    ----------
    rows : sequence of Ensemble
    level : float
        Of the interval of each width.
    """
    panels, table = [], []
    for mode in dict.fromkeys(mode for row in rows for mode in row.rungs):
        parts = [
            f"{row.label}: " + ", ".join(f"{r.name} {width_words(r.estimate, r.top)}" for r in row.rungs.get(mode, ()))
            for row in rows
        ]
        words = f"Median width of every rung, {mode_name(mode)}. {'; '.join(parts)}."
        with panel(height=4.6) as (figure, axes):
            _draw(axes, rows, mode)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=2, handlelength=1.2)
            panels.append(Panel(f"activations-medians-{mode}", to_svg(figure, words), words))
        table += [
            (row.activation, row.law, mode, rung.name, rung.estimate, *rung.interval, rung.top)
            for row in rows
            for rung in row.rungs.get(mode, ())
        ]
    caption = (
        f"Marks: width at which half of the draws have the certificate; thick lines: {level:.4g} limits from ordered "
        "exact tests, rounded outwards to the grid; an arrow: beyond the grid. Gaussian weights are unbounded, so that "
        "paper, which needs V_max, says nothing for them. Activations of one law share their problem and their draws; "
        "each law has a problem of its own, so that widths compare along one law only."
    )
    header = ("activation", "law", "mode", "rung", "median_width", "low", "high", "grid_top")
    title = "Where half of the draws are certified, by activation and law of the output weights"
    return Figure("activations-medians", title, caption, tuple(panels), csv_text(header, table, DIGITS))


def stuck_figure(found: Mapping[str, tuple[IntArray, Counts]], level: float) -> Figure:
    """The share of the draws that cannot reach zero loss with the hidden layer trained, by width.

    Parameters
    ----------
    found : mapping of activation to (widths, counts of draws that reach it)
    level : float
        Of the limits, over the widths of a curve together.
    """
    table: list[Row] = []
    words = "Share of the draws that get stuck against the width, " + ", ".join(found) + ", hidden layer trained."
    with panel(height=3.9) as (figure, axes):
        for i, (name, (widths, counts)) in enumerate(found.items()):
            seen = counts.trials > 0
            k, fails, either, trials = (
                np.asarray(v)[seen] for v in (widths, counts.fails, counts.fails + counts.undecided, counts.trials)
            )
            low, high = get_method("clopper-pearson").two_sided(fails, either, trials, (1.0 - level) / max(len(k), 1))
            axes.fill_between(k, low, high, color=COLOURS[i % 3], alpha=0.14, linewidth=0)
            axes.plot(
                k, fails / trials, color=COLOURS[i % 3], marker=MARKERS[i % 3], markersize=4.5, linewidth=1.3,
                markeredgewidth=0, label=name,
            )  # fmt: skip
            table += zip([name] * len(k), k, trials, fails, either - fails, low, high, strict=True)
        first = next(iter(found.values()))[0]
        log_width_axis(axes, first[0], first[-1])
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("share of the draws that get stuck")
        axes.set_title("Hidden layer trained: zero loss is out of reach")
        figure.legend(loc="outside lower left", ncols=3)
        drawn = Panel("activations-stuck-hidden", to_svg(figure, words), words)
    caption = (
        "Marks: share of the draws whose observation is outside the zonotope of the boxes that their neurons cannot "
        "leave, decided exactly. Shaded: exact limits that hold at all widths of a curve together."
    )
    header = ("activation", "width", "trials", "stuck", "undecided", "lower", "upper")
    title = "Where a neuron cannot cross a zero of the derivative, narrow networks get stuck"
    return Figure("activations-stuck", title, caption, (drawn,), csv_text(header, table, DIGITS))
