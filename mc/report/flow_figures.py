"""The figure of the losses along saved trajectories, under the envelope that the theorem promises."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import Decision, dataset, decisions, mode_index
from mc.model.arrays import Array, IntArray
from mc.report.panels import Figure, Panel, Row, cell_prefix, csv_text, mode_name
from mc.report.style import BLUE, GREEN, INK, VERMILLION, log_ticks, panel, to_svg

MAX_WIDTHS = 4
"""Flow widths shown per mode; the table has all of them."""

LOSS_FLOOR = 1e-24
"""Losses below it are rounding, not information."""

ENVELOPES = ("bound_rate", "bound_rate_sharp", "bound_conserved-rate")
"""Bounds of the loss; NaN where their hypothesis is false."""

PROMISED, CONSERVED, NOTHING = 2, 1, 0


def certified_at_start(study: CellStudy, mode: str) -> IntArray:
    """What holds before training: `trial` or `sharp`, else `conserved`, else nothing; shape (trial, flow_width)."""
    cell = study.cell
    at = np.searchsorted(cell.widths, cell.flow_widths)
    known = [(decisions(cell, event, mode), level) for event, level in _LEVELS]
    found = [np.where(d[:, at] == Decision.HOLDS, level, NOTHING) for d, level in known if d is not None]
    return np.max(found, axis=0) if found else np.zeros((int(cell.saved_trials.max()) + 1, len(at)), dtype=np.int64)


_LEVELS = (("trial", PROMISED), ("sharp", PROMISED), ("conserved", CONSERVED))
_LINES: tuple[tuple[int, str, str, Any], ...] = (
    (PROMISED, "certified before training", BLUE, "-"),
    (CONSERVED, "by the conserved quantity only", GREEN, (0, (6, 1, 1, 1))),
    (NOTHING, "not certified before training", VERMILLION, (0, (1.2, 1.0))),
)
_ENVELOPE_DASH: Any = (0, (5, 2))


def _draw(
    axes: Axes,
    t: Array,
    loss: Array,
    bound: Array,
    certified: IntArray,
) -> None:
    looks = {level: (colour, dash) for level, _, colour, dash in _LINES}
    for i in range(len(t)):
        # Time 0 has no place on a logarithmic axis: the line starts at the first saved time after it.
        promised, shown = (t[i] > 0.0) & (bound[i] > LOSS_FLOOR), (t[i] > 0.0) & (loss[i] > LOSS_FLOOR)
        axes.plot(t[i][promised], bound[i][promised], color=INK, linestyle=_ENVELOPE_DASH, linewidth=0.8, alpha=0.6)
        colour, dash = looks[int(certified[i])]
        axes.plot(t[i][shown], loss[i][shown], color=colour, linestyle=dash, linewidth=1.0, alpha=0.85)
    axes.set_xscale("log")
    axes.set_yscale("log")
    positive = loss[loss > LOSS_FLOOR]
    if positive.size:
        axes.set_ylim(float(positive.min()) / 5.0, float(positive.max()) * 8.0)
    log_ticks(axes, "x")
    log_ticks(axes, "y")
    axes.set_xlabel("time t of the gradient flow (log scale)")
    axes.set_ylabel("loss L(y(t)) (log scale)")


def _handles(certified: IntArray, has_bound: bool) -> list[Line2D]:
    found = [
        Line2D([], [], color=colour, linestyle=dash, linewidth=1.2, label=label)
        for level, label, colour, dash in _LINES
        if (certified == level).any()
    ]
    if has_bound:
        found.append(Line2D([], [], color=INK, linestyle=_ENVELOPE_DASH, linewidth=1.0, label="promised envelope"))
    return found


def _rows(mode: str, width: int, trials: IntArray, columns: list[Array]) -> list[Row]:
    return [
        (mode, width, int(trial), *(float(column[i, j]) for column in columns))
        for i, trial in enumerate(trials)
        for j in range(columns[0].shape[1])
        if np.isfinite(columns[0][i, j])
    ]


def _panel(name: str, mode: str, width: int, data: tuple[NDArray[Any], ...]) -> Panel:
    _, _, bound, certified = data
    words = (
        f"Loss of {len(certified)} trials against time, {mode_name(mode)}, width {spaced(width)}: "
        f"{(certified == PROMISED).sum()} certified before training."
    )
    with panel(height=3.2) as (figure, axes):
        _draw(axes, *data)
        axes.set_title(f"{mode_name(mode).capitalize()}, k = {spaced(width)}")
        handles = _handles(certified, bool(np.isfinite(bound).any()))
        figure.legend(handles=handles, loc="outside lower left", ncols=2, handlelength=2.8)
        return Panel(name, to_svg(figure, words), words)


def trajectories(study: CellStudy) -> Figure | None:
    """Loss of every saved trial against time at some flow widths, with the theorem's envelope.

    Returns
    -------
    Figure or None
        None when the run saved no trajectory.
    """
    cell = study.cell
    t, loss = dataset(cell, "t"), dataset(cell, "loss")
    if t is None or loss is None or not np.isfinite(loss).any():
        return None
    bounds = {name: found for name in ENVELOPES if (found := dataset(cell, name)) is not None}
    chosen = np.unique(np.round(np.linspace(0, len(cell.flow_widths) - 1, MAX_WIDTHS)).astype(int))
    panels: list[Panel] = []
    rows: list[Row] = []
    levels = np.zeros(3, dtype=np.int64)  # saved flows by what is certified before training
    for mode in cell.modes:
        m, start = mode_index(cell, mode), certified_at_start(study, mode)[cell.saved_trials]
        for w, width in enumerate(cell.flow_widths):
            own = [found[m, :, w] for found in bounds.values()]
            rows += _rows(mode, int(width), cell.saved_trials, [t[m, :, w], loss[m, :, w], *own])
            there = np.isfinite(loss[m, :, w]).any(axis=1)
            levels += np.bincount(start[there, w], minlength=3)
            if w in chosen and there.any():
                # Every bound whose hypothesis holds is a promise: the lowest one is drawn.
                lowest = np.fmin.reduce([np.full_like(loss[m, :, w], np.nan), *own])
                data = (t[m, there, w], loss[m, there, w], lowest[there], start[there, w])
                panels.append(_panel(f"{cell_prefix(study)}-loss-{mode}-{width}", mode, int(width), data))
    more = f", {levels[CONSERVED]} more by the conserved quantity" if levels[CONSERVED] else ""
    title = f"Loss of {levels.sum()} saved flows: {levels[PROMISED]} are certified before training{more}"
    caption = (
        "Each line is one trial. Certified before training: the certificate trial or sharp holds at time 0, so the "
        "loss must stay under the dashed envelope, the lowest that is promised for the trial. A dotted trial may "
        "converge as well; nothing is promised for it."
    )
    header = ("mode", "width", "trial", "t", "loss", *bounds)
    return Figure(f"{cell_prefix(study)}-loss", title, caption, tuple(panels), csv_text(header, rows))
