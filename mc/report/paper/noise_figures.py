"""Figures of the study of noise: errors over time, errors against the noise, early stopping against its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from mc.estimate.flows.error_bands import Settled, Stops, band, common_times
from mc.estimate.flows.losses import Saved
from mc.estimate.numbers import short, spaced
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.paper.section import DIGITS
from mc.report.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, VERMILLION, log_ticks, panel, to_svg

LOOKS = ((BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (ORANGE, (0, (6, 2)), "v"))
GRID = 60


def _label(tracks: Saved) -> str:
    problem = tracks.cell.problem
    condition = problem.get("condition")
    return f"n = {problem['n']}, m = {problem['m']}" + ("" if condition is None else f", condition {condition:g}")


def _logs(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    log_ticks(axes, "x")
    log_ticks(axes, "y")


def _bands(name: str, title: str, y: str, curves: Sequence[tuple[str, Saved, str, float]]) -> tuple[Panel, list[Row]]:
    """One panel of bands over time, (label, trajectories, dataset, level to mark or NaN) each."""
    rows: list[Row] = []
    with panel() as (figure, axes):
        for (label, tracks, dataset, level), (colour, dash, _) in zip(curves, LOOKS, strict=False):
            times = common_times(tracks["t"], GRID)
            low, middle, high = band(tracks["t"], tracks[dataset], times)
            axes.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(times, middle, color=colour, linestyle=dash, linewidth=1.4, label=label)
            if np.isfinite(level):
                axes.axhline(level, color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
            key = (tracks.cell.index, tracks.mode, tracks.width, dataset)
            rows += [(*key, *(float(v) for v in point)) for point in zip(times, low, middle, high, strict=True)]
        _logs(axes, "time t of the gradient flow (log scale)", y)
        axes.set_title(title)
        figure.legend(loc="outside lower left", ncols=3, handlelength=2.8, columnspacing=1.4)
        words = f"{y} against time, median and 5 to 95 % of the initialisations: {title}."
        return Panel(name, to_svg(figure, words), words), rows


BAND_COLUMNS = ("cell", "mode", "width", "observable", "t", "quantile_05", "median", "quantile_95")


def over_time(groups: Sequence[Sequence[Saved]]) -> Figure:
    """Bands of both errors over time: one group of trajectories, one curve for each noise level, makes two panels."""
    panels: list[Panel] = []
    rows: list[Row] = []
    for number, group in enumerate(groups):
        for dataset, y, factor in (
            ("observation_error", "|y(t) − ȳ| (log scale)", 2.0),
            ("signal_error", "|x(t) − x̄| (log scale)", np.nan),
        ):
            curves = [
                (f"noise {s.cell.problem['noise']:g}", s, dataset, factor * float(np.median(s["norm_eps"])))
                for s in group
            ]
            found, some = _bands(f"noise-bands-{number}-{dataset.split('_')[0]}", _label(group[0]), y, curves)
            panels.append(found)
            rows += some
    caption = (
        "Median and 5 to 95 % of the initialisations of one fixed problem at each time. Dotted: 2|ε| of the same "
        "colour, what early stopping promises. A trajectory that has ended counts with its last value."
    )
    title = "The observation error settles at the noise; the signal error does so only as far as A is well conditioned"
    return Figure("noise-bands", title, caption, tuple(panels), csv_text(BAND_COLUMNS, rows, DIGITS))


def against_noise(found: Sequence[tuple[Saved, Stops]]) -> Figure:
    """Signal error where training ends, at its best and where the discrepancy principle stops, for each condition."""
    rows: list[Row] = []
    panels: list[Panel] = []
    conditions = sorted({float(s.cell.problem["condition"]) for s, _ in found})
    mode = found[0][0].mode
    for condition in conditions:
        mine = [(s, stop) for s, stop in found if float(s.cell.problem["condition"]) == condition and s.mode == mode]
        words = f"Signal error against the noise level, condition {condition:g}: last, best and stopped."
        with panel() as (figure, axes):
            levels = np.array([float(s.cell.problem["noise"]) for s, _ in mine])
            names = (("last", "at the end"), ("stopped", "stopped at |y(t) − y| ≤ |ε|"), ("best", "least on the way"))
            for shift, (name, label), (colour, dash, marker) in zip((0.93, 1.0, 1.075), names, LOOKS, strict=False):
                low, middle, high = (
                    np.array([np.nanquantile(getattr(stop, name), q) for _, stop in mine]) for q in (0.05, 0.5, 0.95)
                )
                axes.errorbar(
                    levels * shift, middle, yerr=[middle - low, high - middle], color=colour, linestyle=dash,
                    marker=marker, markersize=4.5, linewidth=1.2, label=label,
                )  # fmt: skip
            for bound, label in (("sigma_A", "|ε|/σ_A"), ("norm_A", "|ε|/|A|")):
                line = [float(np.median(s["norm_eps"] / s[bound])) for s, _ in mine]
                dash = (0, (5, 2)) if bound == "sigma_A" else (0, (1, 2))
                axes.plot(levels, line, color=MUTED, linewidth=1.0, linestyle=dash, label=label)
            _logs(axes, "noise |ε| before projection, relative to |ȳ| (log scale)", "|x − x̄| (log scale)")
            # three levels: the ticks are the levels
            axes.set_xticks(levels, [f"{level:g}" for level in levels])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_title(f"Condition {condition:g}, {mode_name(mode)}")
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.8, columnspacing=1.4)
            panels.append(Panel(f"noise-final-condition-{condition:g}", to_svg(figure, words), words))
    for s, stop in found:
        problem = s.cell.problem
        for name in ("last", "stopped", "best"):
            quantiles = (float(np.nanquantile(getattr(stop, name), q)) for q in (0.05, 0.5, 0.95))
            rows.append((s.cell.index, s.mode, s.width, problem["condition"], problem["noise"], name, *quantiles))
    columns = ("cell", "mode", "width", "condition", "noise", "rule", "quantile_05", "median", "quantile_95")
    caption = (
        "Points: median, bars: 5 to 95 % of the initialisations. Training to the end gives |A⁺ε|, which lies between "
        "the grey lines; where it lies is up to the one noise vector of the problem."
    )
    title = "The last signal error is that of the pseudo-inverse; stopping early pays where A is badly conditioned"
    return Figure("noise-final", title, caption, tuple(panels), csv_text(columns, rows, DIGITS))


def against_bound(found: Sequence[tuple[Saved, Settled, Mapping[str, Array]]]) -> Figure:
    """The time from which on |y(t) - ybar| <= 2|eps| against the time from which on it is promised."""
    panels: list[Panel] = []
    rows: list[Row] = []
    for mode in dict.fromkeys(s.mode for s, _, _ in found):
        words = f"Measured time of early stopping against the time of its bound, {mode_name(mode)}."
        ends: list[float] = []
        with panel() as (figure, axes):
            for hypothesis, (colour, _, marker) in zip(("trial", "sharp"), LOOKS, strict=False):
                x, y = [], []
                for tracks, measured, bounds in found:
                    if tracks.mode == mode:
                        with np.errstate(invalid="ignore"):
                            middle = np.sqrt(measured.low * measured.high)
                        shown = (bounds[hypothesis] > 0.0) & (middle > 0.0) & np.isfinite(middle)
                        x.append(middle[shown])
                        y.append(bounds[hypothesis][shown])
                at, by = np.concatenate(x), np.concatenate(y)
                axes.plot(
                    at, by, linestyle="", marker=marker, markersize=3.0, markeredgewidth=0, alpha=0.5, color=colour,
                    label=f"bound of {hypothesis}", rasterized=True,
                )  # fmt: skip
                ends += [*at]
            if ends:
                line = np.array([min(ends), max(ends)])
                axes.plot(line, line, color=MUTED, linewidth=1.0, label="bound = measured")
                axes.plot(
                    line, 4.0 * line, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), label="bound = 4 × measured"
                )
            _logs(axes, "measured time of early stopping (log scale)", "time of the bound (log scale)")
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.4, columnspacing=1.4)
            panels.append(Panel(f"noise-stopping-{mode}", to_svg(figure, words), words))
    for tracks, measured, bounds in found:
        keys = (tracks.cell.index, tracks.mode, tracks.width, tracks.cell.problem["noise"])
        columns = (tracks.cell.saved_trials, measured.low, measured.high, bounds["trial"], bounds["sharp"])
        rows += [(*keys, int(i), *map(float, rest)) for i, *rest in zip(*columns, strict=True)]
    header = ("cell", "mode", "width", "noise", "trial", "measured_after", "measured_by", "bound_trial", "bound_sharp")
    caption = (
        "Each point is a network whose certificate holds; below the solid line the bound would be broken. The measured "
        "time is the geometric middle of the two saved times between which the error comes below 2|ε| to stay."
    )
    return Figure(
        "noise-stopping",
        "Early stopping takes effect long before its bound",
        caption,
        tuple(panels),
        csv_text(header, rows, DIGITS),
    )


def parts(tracks: Sequence[Saved]) -> Figure:
    """The parts of the signal error in the range of A^T and in ker(A) over time, for m < n."""
    panels: list[Panel] = []
    rows: list[Row] = []
    for s in tracks:
        curves = [
            ("in the range of Aᵀ", s, "signal_error_range", float(np.median(s["norm_eps"] / s["sigma_A"]))),
            ("in the kernel of A", s, "signal_error_kernel", np.nan),
        ]
        title = f"k = {spaced(s.width)}, {mode_name(s.mode)}"
        found, some = _bands(f"noise-parts-{s.mode}-{s.width}", title, "part of |x(t) − x̄| (log scale)", curves)
        panels.append(found)
        rows += some
    problem = tracks[0].cell.problem
    caption = (
        f"n = {problem['n']}, m = {problem['m']}: median and 5 to 95 % of the initialisations of one problem. Dotted: "
        f"|ε|/σ_A = {short(float(np.median(tracks[0]['norm_eps'] / tracks[0]['sigma_A'])))}, the bound of the part in "
        "the range where training has ended."
    )
    title = "What is not observed is not recovered: the kernel part of the error stays where it began"
    return Figure("noise-parts", title, caption, tuple(panels), csv_text(BAND_COLUMNS, rows, DIGITS))
