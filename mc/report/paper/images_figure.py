"""Figures of recovered signals: curves of a signal of one dimension, sheets of pictures, decibels over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.flows.recovery import Course, Truth
from mc.estimate.numbers import spaced
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel, mode_name
from mc.report.paper.section import Texts, drawn
from mc.report.style import BLUE, GREEN, GREY, INK, MUTED, ORANGE, PURPLE, VERMILLION, grid, log_ticks, to_svg

TEXTS = Texts("images")

WIDTH_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MODE_DASHES = {"both": "-", "hidden": (0, (4.0, 1.6))}
MOMENT_LINES = {"start": (MUTED, (0, (1, 1.5))), "|ε| reached": (BLUE, "-"), "end": (VERMILLION, (0, (4.0, 1.6)))}
COLUMNS = 4
"""Pictures side by side: readable on a telephone."""


@dataclass(frozen=True)
class Shown:
    """A trajectory with what is needed to show it."""

    name: str  # part of a file name
    title: str
    course: Course
    truth: Truth
    signals: Array  # x(t), (P, n)

    def moments(self) -> dict[str, int]:
        """Return the indices of the start, early stopping, the best moment and the end, as far as they exist."""
        course = self.course
        indices = {"start": 0, "|ε| reached": course.stop, "best": course.best, "end": course.last}
        return {moment: index for moment, index in indices.items() if index >= 0}

    def words(self, block: str) -> str:
        """Describe the panel: its title and the decibels at the moments."""
        moments = [(moment, self.course.at(index)) for moment, index in self.moments().items()]
        return TEXTS.text(block, title=self.title, moments=moments)


def signals_figure(name: str, shown: Sequence[Shown], title: str) -> Figure:
    """Draw truth, observation and x(t) at a few moments, a panel for each trajectory."""
    panels: list[Panel] = []
    for one in shown:
        with drawn(panels, f"{name}-{one.name}", one.words("signals_panel"), ncols=2, handlelength=2.2) as axes:
            _draw_signal(axes, one)
            axes.set_title(one.title)
    rows = [
        (one.name, one.course.mode, one.course.width, moment, one.course.time[index], entry, *values)
        for one in shown
        for moment, index in one.moments().items()
        for entry, values in enumerate(zip(one.truth.signal, one.truth.back, one.signals[index], strict=True))
    ]
    columns = ("panel", "mode", "width", "moment", "t", "entry", "truth", "observation", "signal")
    return TEXTS.figure(name, "signals_figure", panels, columns, rows, title=title)


def _draw_signal(axes: Axes, shown: Shown) -> None:
    truth, entries = shown.truth, np.arange(shown.truth.signal.size)
    axes.step(entries, truth.signal, where="mid", color=INK, linewidth=1.6, label="truth")
    axes.plot(entries[truth.seen], truth.back[truth.seen], ".", color=GREY, markersize=5.0, label="observation")
    for moment, index in shown.moments().items():
        if moment in MOMENT_LINES:
            colour, dash = MOMENT_LINES[moment]
            label = f"x(t), {moment}: {shown.course.at(index):.1f} dB"
            axes.plot(entries, shown.signals[index], color=colour, linestyle=dash, linewidth=1.2, label=label)
    axes.set_ylim(truth.signal.min() - 0.75 * truth.span, truth.signal.max() + 0.75 * truth.span)
    axes.set_xlabel("entry of the signal")
    axes.set_ylabel("value")


def _pictures(one: Shown) -> dict[str, Array]:
    """Return the pictures of a sheet by title: truth, observation, the moments and times between them, two rows."""
    course = one.course
    titles: dict[int, str] = {}
    for moment, index in one.moments().items():
        titles[index] = f"{titles[index]}, {moment}" if index in titles else moment
    moving = np.diff(course.time, prepend=0.0) > 0.0
    free = [i for i in range(1, course.last) if moving[i] and i not in titles]
    wanted = min(2 * COLUMNS - 2 - len(titles), len(free))
    chosen = {free[round(at)] for at in np.linspace(0, len(free) - 1, wanted + 2)[1:-1]} if wanted > 0 else set()
    pictures = {"truth\n": one.truth.signal, "observation\n": np.where(one.truth.seen, one.truth.back, np.nan)}
    for index in sorted({*titles, *chosen}):
        title = titles.get(index, f"t = {course.time[index]:.2g}")
        pictures[f"{title}\n{course.at(index):.1f} dB"] = one.signals[index]
    return pictures


def sheet_figure(name: str, shown: Sequence[Shown], side: int, title: str) -> Figure:
    """Draw sheets of pictures of side x side pixels, one sheet for each trajectory."""
    panels = []
    for one in shown:
        pictures, words = _pictures(one), one.words("sheet_panel")
        rows = -(-len(pictures) // COLUMNS)
        low, high = float(one.truth.signal.min()), float(one.truth.signal.max())
        with grid(rows, COLUMNS) as (figure, axes):
            figure.set_size_inches(1.35 * COLUMNS, 1.65 * rows + 0.3)
            for spot in axes.flat:
                spot.set_axis_off()
            for spot, (heading, values) in zip(axes.flat, pictures.items(), strict=False):
                # the pixels themselves go into the file, each a square
                spot.imshow(
                    values.reshape(side, side), cmap="gray", vmin=low, vmax=high, interpolation="none", aspect="equal"
                )
                spot.set_title(heading, fontsize=8.0, fontweight="normal")
            figure.suptitle(one.title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
            panels.append(Panel(f"{name}-{one.name}", to_svg(figure, words), words))
    columns = ("panel", "mode", "width", "trial", "t", "psnr", "residual", "in_range", "in_kernel", "moments")
    table = [row for one in shown for row in _course_rows(one.name, one.course)]
    return TEXTS.figure(name, "sheet_figure", panels, columns, table, title=title)


def _stops(course: Course) -> dict[str, int]:
    return {"2|eps|": course.stop_twice, "|eps|": course.stop, "best": course.best}


def _course_rows(name: str, course: Course) -> Iterator[Sequence[object]]:
    for i in np.flatnonzero(np.isfinite(course.psnr)):
        observables = (course.time, course.psnr, course.residual, course.in_range, course.in_kernel)
        moments = " ".join(moment for moment, index in _stops(course).items() if index == i)
        yield name, course.mode, course.width, course.trial, *(values[i] for values in observables), moments


def grouped(trajectories: Sequence[Course]) -> dict[tuple[str, int], list[Course]]:
    """Group trajectories by mode and width."""
    groups: dict[tuple[str, int], list[Course]] = {}
    for course in trajectories:
        groups.setdefault((course.mode, course.width), []).append(course)
    return groups


def _median(group: Sequence[Course]) -> tuple[Array, Array]:
    """Return the median of the decibels at common times, interpolated between the saved times of each trajectory."""
    begin = max(float(course.time[course.time > 0.0][0]) for course in group)
    end = max(float(course.time[course.last]) for course in group)
    times = np.geomspace(begin, max(end, 1.01 * begin), 60)
    values = []
    for course in group:
        saved = np.isfinite(course.psnr) & (course.time > 0.0)
        # a converged trajectory keeps its last value
        values.append(np.interp(np.log(times), np.log(course.time[saved]), course.psnr[saved]))
    return times, np.median(values, axis=0)


def _median_rows(name: str, groups: Mapping[tuple[str, int], list[Course]]) -> Iterator[Sequence[object]]:
    """Yield the lines of a panel (medians, no trial), then the moments of each trial."""
    for (mode, width), group in groups.items():
        for t, middle in zip(*_median(group), strict=True):
            yield name, mode, width, None, "median", t, middle
        for course in group:
            for moment, i in _stops(course).items():
                if i >= 0:
                    yield name, mode, width, course.trial, moment, course.time[i], course.psnr[i]


def _draw_courses(axes: Axes, groups: Mapping[tuple[str, int], list[Course]]) -> None:
    widths = sorted({width for _, width in groups})
    for (mode, width), group in groups.items():
        colour = WIDTH_COLOURS[widths.index(width) % len(WIDTH_COLOURS)]
        times, middle = _median(group)
        axes.plot(
            times, middle, color=colour, linestyle=MODE_DASHES[mode], linewidth=1.3,
            label=f"{mode_name(mode)}, k = {spaced(width)}",
        )  # fmt: skip
        for marker, moment in (("v", "2|eps|"), ("o", "|eps|"), ("*", "best")):
            marked = [c.time[i] for c in group if (i := _stops(c)[moment]) >= 0 and c.time[i] > 0.0]
            if 2 * len(marked) > len(group):
                time = float(np.exp(np.median(np.log(marked))))
                axes.plot(
                    time, float(np.interp(np.log(time), np.log(times), middle)), marker, color=colour, markersize=7.0,
                    markeredgecolor="white", markeredgewidth=0.6, zorder=4,
                )  # fmt: skip
    axes.set_xscale("log")
    log_ticks(axes, "x")
    axes.set_xlabel("time t (log scale)")
    axes.set_ylabel("PSNR of x(t) (dB)")


def courses_figure(name: str, cells: Sequence[tuple[str, str, Sequence[Course]]], title: str) -> Figure:
    """Draw decibels over time with the moments of early stopping, a panel for each (name, title, trajectories)."""
    panels: list[Panel] = []
    rows: list[Sequence[object]] = []
    for cell, heading, trajectories in cells:
        groups = grouped(trajectories)
        medians = [
            (mode, width, np.median([c.at(c.best) for c in group]), np.median([c.at(c.last) for c in group]))
            for (mode, width), group in groups.items()
        ]
        words = TEXTS.text("courses_panel", title=heading, groups=medians)
        with drawn(panels, f"{name}-{cell}", words, ncols=2, handlelength=2.4, fontsize=7.5) as axes:
            _draw_courses(axes, groups)
            axes.set_title(heading)
        rows += _median_rows(cell, groups)
    columns = ("panel", "mode", "width", "trial", "moment", "t", "psnr")
    return TEXTS.figure(name, "courses_figure", panels, columns, rows, title=title)
