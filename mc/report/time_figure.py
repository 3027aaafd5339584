"""The figure of the times to convergence: the share of the trials that have converged by t, per flow width and mode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.study import CellStudy
from mc.estimate.flows.survival import ConvergenceTimes
from mc.estimate.numbers import significant, spaced
from mc.estimate.widths.first_widths import dkw_radius
from mc.report.panels import Figure, Panel, Row, cell_prefix, csv_text, mode_name, mode_phrase
from mc.report.style import BLUE, GREEN, INK, PURPLE, VERMILLION, log_ticks, panel, to_svg

LINES = ((BLUE, "-"), (VERMILLION, (0, (5, 1.5))), (GREEN, (0, (6, 1, 1, 1))), (PURPLE, (0, (1.5, 1))), (INK, "-"))
COLUMNS = (
    "mode", "width", "trials", "events", "censored", "never", "left_out", "time", "converged", "lower", "upper",
    "known_converged", "not_known_not_to", "band_lower", "band_upper",
)  # fmt: skip


def _rows(mode: str, found: ConvergenceTimes) -> list[Row]:
    head = (mode, found.width, found.trials, found.events, found.censored, found.never, found.left_out)
    columns = (
        found.times, found.probability, found.lower, found.upper, found.least, found.most, found.band_lower,
        found.band_upper,
    )  # fmt: skip
    return [(*head, *map(float, values)) for values in zip(*columns, strict=True)]


def _at_start(found: ConvergenceTimes, values: np.ndarray, before: float) -> float:
    """The value at time 0, which has no place on a logarithmic axis: it enters at the left edge."""
    early = np.flatnonzero(found.times <= 0.0)
    return float(values[early[-1]]) if len(early) else before


def _limits(shown: Sequence[ConvergenceTimes]) -> tuple[float, float]:
    positive = np.concatenate([found.times[found.times > 0.0] for found in shown] or [np.empty(0)])
    return (float(positive.min()) / 3.0, float(positive.max()) * 1.5) if positive.size else (0.1, 10.0)


def _draw(axes: Axes, shown: Sequence[ConvergenceTimes], bands: bool) -> None:
    left, right = _limits(shown)
    for found, (colour, dash) in zip(shown, LINES, strict=False):
        later = found.times > 0.0
        t = np.concatenate([[left], found.times[later], [right]])

        def along(values: np.ndarray, before: float = 0.0, found: ConvergenceTimes = found) -> np.ndarray:
            inner = np.concatenate([[_at_start(found, values, before)], values[found.times > 0.0]])
            return np.concatenate([inner, inner[-1:]])

        if bands:
            low, high = along(found.band_lower), along(found.band_upper, dkw_radius(found.trials, found.level))
            axes.fill_between(t, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
        label = f"k = {spaced(found.width)}"
        axes.step(t, along(found.probability), where="post", color=colour, linestyle=dash, linewidth=1.4, label=label)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(-0.02, 1.02)
    log_ticks(axes, "x")
    axes.set_xlabel("time t of the gradient flow (log scale; left edge: t = 0)")
    axes.set_ylabel("probability to have converged by t")


def _median(found: ConvergenceTimes) -> str:
    median = found.median()
    if math.isinf(median):
        return "no time that was followed"
    return f"t = {spaced(significant(median))}" if median >= 10.0 else f"t = {median:.2g}"


def _shown(found: Sequence[ConvergenceTimes]) -> list[ConvergenceTimes]:
    if not found:
        return []
    return [found[i] for i in np.unique(np.round(np.linspace(0, len(found) - 1, len(LINES))).astype(int))]


def times(study: CellStudy, converged: Mapping[str, Sequence[ConvergenceTimes]], adaptive: bool) -> Figure | None:
    """Kaplan-Meier curves of the time to convergence.

    Parameters
    ----------
    study : CellStudy
    converged : mapping of mode to sequence of ConvergenceTimes
        One for each flow width.
    adaptive : bool
        Whether the number of trials followed the data: the limits of the curves, which assume that it did not, are
        then left out.

    Returns
    -------
    Figure or None
        None where nothing was followed in time.
    """
    panels: list[Panel] = []
    rows: list[Row] = []
    said = []
    level = next((found.level for own in converged.values() for found in own), 0.95)
    for mode in study.cell.modes:
        own = [found for found in converged.get(mode, ()) if found.trials]
        rows += [row for found in own for row in _rows(mode, found)]
        shown = _shown(own)
        if not shown:
            continue
        words = "; ".join(f"{_median(found)} at width {spaced(found.width)}" for found in shown)
        said.append(f"{_median(shown[-1])} at width {spaced(shown[-1].width)} with {mode_phrase(mode)}")
        text = f"Probability to have converged by time t, {mode_name(mode)}. Half of the trials have by {words}."
        with panel() as (figure, axes):
            _draw(axes, shown, not adaptive)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=3, handlelength=2.8, columnspacing=1.4)
            panels.append(Panel(f"{cell_prefix(study)}-times-{mode}", to_svg(figure, text), text))
    if not panels:
        return None
    caption = (
        "Kaplan-Meier estimate of the time at which convergence was certified or the tolerance met. A trial certified "
        "before training counts at t = 0, one certified not to converge never does, all others are censored where the "
        "integration stopped; that assumes that stopping there tells nothing of what would have come. "
    )
    shade = (
        f"Shaded: bands that assume nothing of them, confidence {level:.3g} at all times of a curve together."
        if not adaptive
        else "No bands are drawn: the number of trials followed the data."
    )
    title = "Half of the trials have converged by " + ", by ".join(said)
    return Figure(f"{cell_prefix(study)}-times", title, caption + shade, tuple(panels), csv_text(COLUMNS, rows))
