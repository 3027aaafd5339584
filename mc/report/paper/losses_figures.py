"""Figures of the study of losses: the loss over time under its bound, and the measured exponents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mc.estimate.flows.error_bands import band, common_times
from mc.estimate.flows.losses import Median, Saved, Slopes
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.paper.section import DIGITS
from mc.report.style import BLUE, INK, MUTED, VERMILLION, log_ticks, panel, to_svg

GRID = 80
ENDED = 0.05
"""The curves stop where this share of the trajectories has ended: beyond, a band would not fall with the losses."""

FLOOR = 1e-14
"""Losses below it are not drawn."""


def over_time(curves: Sequence[tuple[str, bool, Saved]]) -> Figure:
    """Bands of the loss over time and of its bound: (name, whether exponential, trajectories) each makes a panel."""
    panels: list[Panel] = []
    rows: list[Row] = []
    for name, exponential, tracks in curves:
        t, loss, bound = tracks["t"], tracks["loss"], tracks["bound_rate"]
        times = common_times(t, GRID, ENDED)
        if exponential:
            times = np.linspace(0.0, times[-1], GRID)
        measured, promised = band(t, loss, times), band(t, bound, times)
        words = f"Loss {name} against time with its bound, {mode_name(tracks.mode)}."
        with panel() as (figure, axes):
            for found, colour, dash, label in (
                (measured, BLUE, "-", "loss"),
                (promised, VERMILLION, (0, (5, 2)), "bound where trial holds"),
            ):
                low, middle, high = np.where(found > FLOOR, found, np.nan)
                if np.isfinite(middle).any():
                    floor = np.where(np.isnan(low), FLOOR, low)
                    axes.fill_between(times, floor, high, color=colour, alpha=0.18, linewidth=0)
                    axes.plot(times, middle, color=colour, linestyle=dash, linewidth=1.4, label=label)
            axes.set_yscale("log")
            log_ticks(axes, "y")
            if not exponential:
                axes.set_xscale("log")
                log_ticks(axes, "x")
            axes.set_xlabel("time t of the gradient flow" + ("" if exponential else " (log scale)"))
            axes.set_ylabel("loss L(y(t)) (log scale)")
            axes.set_title(f"{name}, {mode_name(tracks.mode)}")
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.8)
            panels.append(
                Panel(f"losses-time-{name.replace(' = ', '-').replace(' ', '-')}", to_svg(figure, words), words)
            )
        rows += [
            (name, tracks.mode, tracks.width, *map(float, point))
            for point in zip(times, *measured, *promised, strict=True)
        ]
    header = ("loss", "mode", "width", "t", *(f"{a}_{q}" for a in ("loss", "bound") for q in ("05", "50", "95")))
    caption = (
        "Median and 5 to 95 % of the draws. A straight line is an exponential where only the loss is on a logarithmic "
        "scale (mse, logcosh), a power of the time where both are. Dashed: the bound of theory §4(i), over the draws "
        "of which it speaks. Drawn until 5 % of the trajectories have ended."
    )
    title = "Each loss falls the way its desingularizer says, well below the bound"
    return Figure("losses-time", title, caption, tuple(panels), csv_text(header, rows, DIGITS))


def exponents(found: Sequence[tuple[float, Saved, Slopes, Median]]) -> Figure:
    """Measured exponents against p, beside p/(p - 2): (p, trajectories, slopes, their median) each."""
    rows: list[Row] = []
    words = "Measured exponents of the loss in time against p, beside p/(p-2)."
    with panel() as (figure, axes):
        least, most = min(p for p, *_ in found), max(p for p, *_ in found)
        p_line = np.linspace(max(2.5, least - 0.4), most + 0.5, 100)
        axes.plot(p_line, p_line / (p_line - 2.0), color=INK, linewidth=1.0, label="p/(p − 2)")
        modes = list(dict.fromkeys(s.mode for _, s, _, _ in found))
        for mode, colour, marker, shift in zip(modes, (BLUE, VERMILLION), "os", (-0.03, 0.03), strict=False):
            mine = [(p, slopes.value[np.isfinite(slopes.value)]) for p, s, slopes, _ in found if s.mode == mode]
            mine = [(p, values) for p, values in mine if values.size]
            low, middle, high = (np.array([np.quantile(v, q) for _, v in mine]) for q in (0.05, 0.5, 0.95))
            axes.errorbar(
                [p + shift for p, _ in mine], middle, yerr=[middle - low, high - middle], color=colour, linestyle="",
                marker=marker, markersize=4.5, capsize=2.5, label=mode_name(mode),
            )  # fmt: skip
        axes.set_xlabel("exponent p of the loss")
        axes.set_ylabel("measured exponent of 1/t")
        axes.set_title("Last decade of time")
        axes.axhline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        figure.legend(loc="outside lower left", ncols=3)
        drawn = Panel("losses-exponents", to_svg(figure, words), words)
    for p, s, slopes, median in found:
        for trial, *slope in zip(s.cell.saved_trials, slopes.value, slopes.low, slopes.high, strict=True):
            rows.append((p, s.mode, s.width, int(trial), *map(float, slope), median.low, median.high))
    header = ("p", "mode", "width", "trial", "exponent", "low", "high", "median_low", "median_high")
    caption = (
        "Points: median over the draws, bars: 5 to 95 % of them; line: the exponent of Ψ⁻¹ (theory §2), which every p "
        "approaches only in the limit of late times. Dotted: 1, the limit of large p."
    )
    return Figure(
        "losses-exponents",
        "The measured powers of the time are p/(p − 2)",
        caption,
        (drawn,),
        csv_text(header, rows, DIGITS),
    )
