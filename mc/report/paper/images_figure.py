"""Figures of recovered signals: curves of a signal of one dimension, sheets of pictures, decibels over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.flows.recovery import Course, Truth
from mc.estimate.numbers import spaced
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.paper.section import DIGITS
from mc.report.style import BLUE, GREEN, GREY, INK, MUTED, ORANGE, PURPLE, VERMILLION, grid, log_ticks, panel, to_svg

WIDTH_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MODE_DASHES = {"both": "-", "hidden": (0, (4.0, 1.6))}
COLUMNS = 4
"""Pictures side by side: readable on a telephone."""


@dataclass(frozen=True)
class Shown:
    """A trajectory with what is needed to show it.

    Parameters
    ----------
    name : str
        Part of a file name.
    title : str
    course : Course
    truth : Truth
    signals : (P, n) array
        x(t).
    """

    name: str
    title: str
    course: Course
    truth: Truth
    signals: Array

    def moments(self) -> dict[str, int]:
        """Indices of the start, early stopping, the best moment and the end, without those that are nowhere."""
        course = self.course
        found = {"start": 0, "|ε| reached": course.stop, "best": course.best, "end": course.last}
        return {word: index for word, index in found.items() if index >= 0}


def _curves(axes: Axes, shown: Shown) -> None:
    truth, at = shown.truth, np.arange(shown.truth.signal.size)
    axes.step(at, truth.signal, where="mid", color=INK, linewidth=1.6, label="truth")
    axes.plot(at[truth.seen], truth.back[truth.seen], ".", color=GREY, markersize=5.0, label="observation")
    looks = {"start": (MUTED, (0, (1, 1.5))), "|ε| reached": (BLUE, "-"), "end": (VERMILLION, (0, (4.0, 1.6)))}
    for word, index in shown.moments().items():
        if word in looks:
            colour, dash = looks[word]
            label = f"x(t), {word}: {shown.course.at(index):.1f} dB"
            axes.plot(at, shown.signals[index], color=colour, linestyle=dash, linewidth=1.2, label=label)
    low, high = truth.signal.min() - 0.75 * truth.span, truth.signal.max() + 0.75 * truth.span
    axes.set_ylim(low, high)
    axes.set_xlabel("entry of the signal")
    axes.set_ylabel("value")


def signals_figure(name: str, shown: Sequence[Shown], title: str) -> Figure:
    """Truth, observation and x(t) at a few moments, a panel for each trajectory.

    Parameters
    ----------
    name : str
        Of the figure.
    shown : sequence of Shown
    title : str
        The message.
    """
    panels = []
    for one in shown:
        own = f"{name}-{one.name}"
        said = ", ".join(f"{one.course.at(i):.1f} dB at {word}" for word, i in one.moments().items())
        words = f"{one.title}: truth, observation and generated signal; {said}."
        with panel() as (figure, axes):
            _curves(axes, one)
            axes.set_title(one.title)
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.2)
            panels.append(Panel(own, to_svg(figure, words), words))
    caption = (
        "The same trial in every panel of an operator. Black: the truth. Dots: the observation, put where it "
        "belongs. Lines: what the "
        "network generates at the start, when |y(t) - y| has fallen to |ε| (early stopping), and at the end. What "
        "leaves the "
        "panel is cut off."
    )
    rows = (
        (one.name, one.course.mode, one.course.width, word, float(one.course.time[index]), entry, *values)
        for one in shown
        for word, index in one.moments().items()
        for entry, values in enumerate(zip(one.truth.signal, one.truth.back, one.signals[index], strict=True))
    )
    header = ("panel", "mode", "width", "moment", "t", "entry", "truth", "observation", "signal")
    return Figure(name, title, caption, tuple(panels), csv_text(header, rows, DIGITS))


def _pictures(one: Shown) -> dict[str, Array]:
    """What a sheet shows: truth, observation, and the moments with times between them, two rows in all."""
    course = one.course
    words: dict[int, str] = {}
    for word, index in one.moments().items():
        words[index] = f"{words[index]}, {word}" if index in words else word
    moving = np.diff(course.time, prepend=0.0) > 0.0
    free = [i for i in range(1, course.last) if moving[i] and i not in words]
    wanted = min(2 * COLUMNS - 2 - len(words), len(free))
    chosen = {free[round(at)] for at in np.linspace(0, len(free) - 1, wanted + 2)[1:-1]} if wanted > 0 else set()
    found = {"truth\n": one.truth.signal, "observation\n": np.where(one.truth.seen, one.truth.back, np.nan)}
    for index in sorted({*words, *chosen}):
        word = words.get(index, f"t = {course.time[index]:.2g}")
        found[f"{word}\n{course.at(index):.1f} dB"] = one.signals[index]
    return found


def sheet_figure(name: str, shown: Sequence[Shown], side: int, title: str) -> Figure:
    """Sheets of pictures, one for each trajectory; see `signals_figure`.

    Parameters
    ----------
    name : str
    shown : sequence of Shown
    side : int
        Pixels of a side.
    title : str
    """
    panels = []
    for one in shown:
        pictures = _pictures(one)
        rows = -(-len(pictures) // COLUMNS)
        low, high = float(one.truth.signal.min()), float(one.truth.signal.max())
        said = ", ".join(f"{one.course.at(i):.1f} dB at {word}" for word, i in one.moments().items())
        words = f"{one.title}: the picture, its observation and what the network generates over time; {said}."
        with grid(rows, COLUMNS) as (figure, axes):
            figure.set_size_inches(1.35 * COLUMNS, 1.65 * rows + 0.3)
            for spot in axes.flat:
                spot.set_axis_off()
            for spot, (word, values) in zip(axes.flat, pictures.items(), strict=False):
                # the pixels themselves go into the file, each a square
                spot.imshow(
                    values.reshape(side, side), cmap="gray", vmin=low, vmax=high, interpolation="none", aspect="equal"
                )
                spot.set_title(word, fontsize=8.0, fontweight="normal")
            figure.suptitle(one.title, fontsize=9.5, fontweight="bold", x=0.01, ha="left")
            panels.append(Panel(f"{name}-{one.name}", to_svg(figure, words), words))
    caption = (
        "Grey levels from the darkest to the brightest of the truth, what is beyond is cut off; white in the "
        "observation: not observed. "
        "Decibels: peak "
        "signal-to-noise ratio, with the range of the truth as the peak. |ε| reached: where the discrepancy "
        "principle stops."
    )
    table = [row for one in shown for row in _course_rows(one.name, one.course)]
    return Figure(name, title, caption, tuple(panels), csv_text(COURSE_COLUMNS, table, DIGITS))


COURSE_COLUMNS = (
    "panel", "mode", "width", "trial", "t", "psnr", "residual", "in_range", "in_kernel", "moments",
)  # fmt: skip


def _course_rows(name: str, course: Course) -> Iterable[Row]:
    moments = {"2|eps|": course.stop_twice, "|eps|": course.stop, "best": course.best}
    for i in np.flatnonzero(np.isfinite(course.psnr)):
        yield (
            name, course.mode, course.width, course.trial, float(course.time[i]), float(course.psnr[i]),
            float(course.residual[i]), float(course.in_range[i]), float(course.in_kernel[i]),
            " ".join(word for word, at in moments.items() if i == at),
        )  # fmt: skip


def _median(group: Sequence[Course]) -> tuple[Array, Array]:
    """Median of the decibels of some trajectories at common times, read off each between its saved times."""
    begin = max(float(course.time[course.time > 0.0][0]) for course in group)
    end = max(float(course.time[course.last]) for course in group)
    times = np.geomspace(begin, max(end, 1.01 * begin), 60)
    # one that has converged stays where it is
    values = [
        np.interp(np.log(times), np.log(c.time[there]), c.psnr[there])
        for c in group
        for there in [np.isfinite(c.psnr) & (c.time > 0.0)]
    ]
    return times, np.median(values, axis=0)


def grouped(found: Sequence[Course]) -> dict[tuple[str, int], list[Course]]:
    """Trajectories by mode and width."""
    groups: dict[tuple[str, int], list[Course]] = {}
    for course in found:
        groups.setdefault((course.mode, course.width), []).append(course)
    return groups


DRAWN_COLUMNS = ("panel", "mode", "width", "trial", "moment", "t", "psnr")


def _drawn_rows(name: str, groups: dict[tuple[str, int], list[Course]]) -> Iterable[Row]:
    """The lines of a panel (medians, no trial), then the moments of each trial."""
    for (mode, width), group in groups.items():
        for t, middle in zip(*_median(group), strict=True):
            yield (name, mode, width, None, "median", float(t), float(middle))
        for course in group:
            moments = {"2|eps|": course.stop_twice, "|eps|": course.stop, "best": course.best}
            for word, i in moments.items():
                if i >= 0:
                    yield (name, mode, width, course.trial, word, float(course.time[i]), float(course.psnr[i]))


def _draw_courses(axes: Axes, groups: dict[tuple[str, int], list[Course]]) -> None:
    widths = sorted({width for _, width in groups})
    for (mode, width), group in groups.items():
        colour = WIDTH_COLOURS[widths.index(width) % len(WIDTH_COLOURS)]
        times, middle = _median(group)
        axes.plot(
            times, middle, color=colour, linestyle=MODE_DASHES[mode], linewidth=1.3,
            label=f"{mode_name(mode)}, k = {spaced(width)}",
        )  # fmt: skip
        for marker, pick in (("v", "stop_twice"), ("o", "stop"), ("*", "best")):
            marked = [(c.time[i], c.psnr[i]) for c in group if (i := getattr(c, pick)) >= 0 and c.time[i] > 0.0]
            if 2 * len(marked) > len(group):
                at = float(np.exp(np.median(np.log([t for t, _ in marked]))))
                axes.plot(
                    at, float(np.interp(np.log(at), np.log(times), middle)), marker, color=colour, markersize=7.0,
                    markeredgecolor="white", markeredgewidth=0.6, zorder=4,
                )  # fmt: skip
    axes.set_xscale("log")
    log_ticks(axes, "x")
    axes.set_xlabel("time t (log scale)")
    axes.set_ylabel("PSNR of x(t) (dB)")


def courses_figure(name: str, cells: Sequence[tuple[str, str, Sequence[Course]]], title: str) -> Figure:
    """Decibels over time, a panel for each cell: medians over the trials, with the moments of early stopping.

    Parameters
    ----------
    name : str
    cells : sequence of (str, str, sequence of Course)
        Name, title and trajectories of each panel.
    title : str
    """
    panels = []
    for own, heading, found in cells:
        groups = grouped(found)
        words = f"{heading}: decibels of the generated signal over time, " + "; ".join(
            f"{mode_name(mode)}, width {width}: best {np.median([c.at(c.best) for c in group]):.1f}, end "
            f"{np.median([c.at(c.last) for c in group]):.1f}"
            for (mode, width), group in groups.items()
        )
        with panel() as (figure, axes):
            _draw_courses(axes, groups)
            axes.set_title(heading)
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.4, fontsize=7.5)
            panels.append(Panel(f"{name}-{own}", to_svg(figure, words), words))
    caption = (
        "Lines: median over the trials of the peak signal-to-noise ratio (peak: the range of the truth). Triangle "
        "and disc: where "
        "|y(t) - y| falls below 2 |ε| and below |ε|, the discrepancy principle; star: the best moment; medians of "
        "their times, "
        "where more than half of the trials have them. A line without a disc never comes within the noise of y."
    )
    rows = [row for own, _, found in cells for row in _drawn_rows(own, grouped(found))]
    return Figure(name, title, caption, tuple(panels), csv_text(DRAWN_COLUMNS, rows, DIGITS))
