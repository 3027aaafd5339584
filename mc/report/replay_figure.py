"""Figure of a replay: both sides of the claims on one trial along time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mc.errors import InputError
from mc.estimate.numbers import spaced
from mc.report.figures import mode_name
from mc.report.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, VERMILLION, grid, log_ticks, to_svg
from mc.trial.curves import Trajectory

NAMES = {
    "loss": "loss L(y(t))",
    "distance": "distance |θ(t) − θ₀|",
    "jacobian_sigma_min": "smallest singular value of J(t)",
}
MOST_WIDTHS = 4
LOOKS: Mapping[str, tuple[str, Any]] = {
    "sharp": (GREEN, (0, (6, 1, 1, 1))),
    "conserved": (ORANGE, (0, (3, 1, 1, 1, 1, 1))),
    "trial": (VERMILLION, (0, (5, 2))),
    "paper": (PURPLE, (0, (1.5, 1))),
}
"""Colour and dash by hypothesis; the wider claim is drawn first, so that dots on a line show where two coincide."""


def _widths(traces: Sequence[Trajectory]) -> list[int]:
    widths = sorted({trace.width for trace in traces})
    return [widths[i] for i in np.unique(np.round(np.linspace(0, len(widths) - 1, MOST_WIDTHS)).astype(int))]


def _draw(axes: Axes, quantity: str, trace: Trajectory) -> None:
    t, value = trace.columns["t"], trace.columns[quantity]
    error = trace.columns.get(f"error_{quantity}", np.zeros_like(value))
    # time 0 has no place on a logarithmic axis
    later = (t > 0.0) & np.isfinite(t)
    with np.errstate(invalid="ignore"):
        floor = np.where(value - error > 0.0, value - error, value * 1e-3)
    axes.fill_between(t[later], floor[later], (value + error)[later], color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(t[later], value[later], color=BLUE, linewidth=1.4)
    for name in sorted(trace.bounds(quantity), key=lambda name: list(LOOKS).index(trace.hypothesis(name))):
        colour, dash = LOOKS[trace.hypothesis(name)]
        bound = trace.columns[name]
        axes.plot(t[later & (bound > 0.0)], bound[later & (bound > 0.0)], color=colour, linestyle=dash, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    positive = value[later & (value > 0.0)]
    if positive.size:
        axes.set_ylim(float(positive.min()) / 10.0, float(positive.max()) * 30.0)
    log_ticks(axes, "x")
    log_ticks(axes, "y")
    if not trace.bounds(quantity):
        axes.text(0.03, 0.04, "nothing proved", transform=axes.transAxes, color=MUTED, fontsize=8.5)


def replay_svg(traces: Sequence[Trajectory], title: str) -> str:
    """Draw the computed quantities of one trial (of `mc.verify.replay.replay_trial`) and their proved bounds."""
    if not traces:
        raise InputError("--plot: this trial has no trajectory at these widths; choose a flow width of the run")
    widths = _widths(traces)
    quantities = [q for q in NAMES if any(q in trace.observables() for trace in traces)]
    rows = [(q, mode) for q in quantities for mode in dict.fromkeys(trace.mode for trace in traces)]
    hypotheses = {trace.hypothesis(name) for trace in traces for q in quantities for name in trace.bounds(q)}
    with grid(len(rows), len(widths)) as (figure, panels):
        for i, (quantity, mode) in enumerate(rows):
            for j, width in enumerate(widths):
                axes = panels[i, j]
                for trace in traces:
                    if (trace.width, trace.mode) == (width, mode):
                        _draw(axes, quantity, trace)
                axes.set_title(f"{mode_name(mode).capitalize()}, k = {spaced(width)}")
                if j == 0:
                    axes.set_ylabel(f"{NAMES[quantity]} (log scale)")
                if i == len(rows) - 1:
                    axes.set_xlabel("time t of the gradient flow (log scale)")
        handles = [Line2D([], [], color=BLUE, linewidth=1.4, label="computed, with its estimated error")]
        handles += [
            Line2D([], [], color=colour, linestyle=dash, linewidth=1.2, label=f"promised: {name}")
            for name, (colour, dash) in LOOKS.items()
            if name in hypotheses
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(len(handles), 3), handlelength=3.2)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.0)
        return to_svg(figure, title)
