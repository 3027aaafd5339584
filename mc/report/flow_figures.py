"""Figures of trajectories: losses, times to convergence, and gradient descent by a protocol of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from mc.estimate.cells.study import CellStudy
from mc.estimate.flows.protocol import Protocol, StepPair
from mc.estimate.flows.survival import ConvergenceTimes, dkw_radius
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import Counts, Decision, dataset, decisions, mode_index
from mc.estimate.probability.methods import get_method
from mc.model.arrays import Array, IntArray
from mc.report.figures import Figure, Panel, Row, cell_prefix, csv_text, mode_name, mode_phrase
from mc.report.style import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILLION, log_ticks, log_width_axis, panel, to_svg

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


def _draw_losses(
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


def _loss_rows(mode: str, width: int, trials: IntArray, columns: list[Array]) -> list[Row]:
    return [
        (mode, width, int(trial), *(float(column[i, j]) for column in columns))
        for i, trial in enumerate(trials)
        for j in range(columns[0].shape[1])
        if np.isfinite(columns[0][i, j])
    ]


def _loss_panel(name: str, mode: str, width: int, data: tuple[NDArray[Any], ...]) -> Panel:
    _, _, bound, certified = data
    words = (
        f"Loss of {len(certified)} trials against time, {mode_name(mode)}, width {spaced(width)}: "
        f"{(certified == PROMISED).sum()} certified before training."
    )
    with panel(height=3.2) as (figure, axes):
        _draw_losses(axes, *data)
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
            rows += _loss_rows(mode, int(width), cell.saved_trials, [t[m, :, w], loss[m, :, w], *own])
            there = np.isfinite(loss[m, :, w]).any(axis=1)
            levels += np.bincount(start[there, w], minlength=3)
            if w in chosen and there.any():
                # Every bound whose hypothesis holds is a promise: the lowest one is drawn.
                lowest = np.fmin.reduce([np.full_like(loss[m, :, w], np.nan), *own])
                data = (t[m, there, w], loss[m, there, w], lowest[there], start[there, w])
                panels.append(_loss_panel(f"{cell_prefix(study)}-loss-{mode}-{width}", mode, int(width), data))
    more = f", {levels[CONSERVED]} more by the conserved quantity" if levels[CONSERVED] else ""
    title = f"Loss of {levels.sum()} saved flows: {levels[PROMISED]} are certified before training{more}"
    caption = (
        "Each line is one trial. Certified before training: the certificate trial or sharp holds at time 0, so the "
        "loss must stay under the dashed envelope, the lowest that is promised for the trial. A dotted trial may "
        "converge as well; nothing is promised for it."
    )
    header = ("mode", "width", "trial", "t", "loss", *bounds)
    return Figure(f"{cell_prefix(study)}-loss", title, caption, tuple(panels), csv_text(header, rows))


TIME_LINES = ((BLUE, "-"), (VERMILLION, (0, (5, 1.5))), (GREEN, (0, (6, 1, 1, 1))), (PURPLE, (0, (1.5, 1))), (INK, "-"))
TIME_COLUMNS = (
    "mode", "width", "trials", "events", "censored", "never", "left_out", "time", "converged", "lower", "upper",
    "known_converged", "not_known_not_to", "band_lower", "band_upper",
)  # fmt: skip


def _time_rows(mode: str, found: ConvergenceTimes) -> list[Row]:
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


def _draw_times(axes: Axes, shown: Sequence[ConvergenceTimes], bands: bool) -> None:
    left, right = _limits(shown)
    for found, (colour, dash) in zip(shown, TIME_LINES, strict=False):
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


def _shown_times(found: Sequence[ConvergenceTimes]) -> list[ConvergenceTimes]:
    if not found:
        return []
    return [found[i] for i in np.unique(np.round(np.linspace(0, len(found) - 1, len(TIME_LINES))).astype(int))]


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
        rows += [row for found in own for row in _time_rows(mode, found)]
        shown = _shown_times(own)
        if not shown:
            continue
        words = "; ".join(f"{_median(found)} at width {spaced(found.width)}" for found in shown)
        said.append(f"{_median(shown[-1])} at width {spaced(shown[-1].width)} with {mode_phrase(mode)}")
        text = f"Probability to have converged by time t, {mode_name(mode)}. Half of the trials have by {words}."
        with panel() as (figure, axes):
            _draw_times(axes, shown, not adaptive)
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
    return Figure(f"{cell_prefix(study)}-times", title, caption + shade, tuple(panels), csv_text(TIME_COLUMNS, rows))


COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MARKERS = "os^DP"

FEW = 8
"""Widths that all have a tick."""

Named = tuple[str, str, Protocol]
"""Name of the run, key of the cell, protocol."""


def _draw_protocol(
    axes: Axes, widths: Sequence[int], counts: Counts, level: float, colour: str, marker: str, label: str
) -> None:
    seen = counts.trials > 0
    k, either = np.asarray(widths)[seen], (counts.holds + counts.undecided)[seen]
    alpha = (1.0 - level) / max(len(k), 1)
    low, high = get_method("clopper-pearson").two_sided(counts.holds[seen], either, counts.trials[seen], alpha)
    share = (counts.holds + 0.5 * counts.undecided)[seen] / counts.trials[seen]
    axes.fill_between(k, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(k, share, color=colour, marker=marker, markersize=4.0, linewidth=1.3, markeredgewidth=0, label=label)


def protocols_figure(protocols: Sequence[Named], level: float) -> Figure | None:
    """Probability that the protocol says converged, beside that of zero loss; one panel for each problem and mode.

    Parameters
    ----------
    protocols : sequence of (run, key of the cell, Protocol)
        Those of one key and mode share a panel.
    level : float
        Of the bands, over the widths of a curve together.
    """
    panels, table = [], []
    groups: dict[tuple[str, str], list[Named]] = {}
    for one in protocols:
        groups.setdefault((one[1], one[2].mode), []).append(one)
    for number, ((_, mode), members) in enumerate(groups.items()):
        words = f"Probability that gradient descent is called converged against the width, {mode_name(mode)}."
        with panel(height=3.9) as (figure, axes):
            for i, (run, _, own) in enumerate(members):
                if i == 0:
                    truth = Counts.of(own.truth)
                    _draw_protocol(axes, own.widths.tolist(), truth, level, INK, "D", "zero loss is reached")
                name = f"{run}: {own.gamma}" if run else own.gamma
                style = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
                _draw_protocol(axes, own.widths.tolist(), own.counts, level, *style, name)
                table += _protocol_rows(run, own)
            widths = members[0][2].widths
            log_width_axis(axes, widths[0], widths[-1])
            if len(widths) <= FEW:
                axes.set_xticks(widths, [spaced(int(k)) for k in widths])
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_ylim(-0.02, 1.02)
            axes.set_ylabel("probability")
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=1)
            panels.append(Panel(f"all-protocol-{mode}-{number}", to_svg(figure, words), words))
    if not panels:
        return None
    caption = (
        "Diamonds: share of the draws that reach zero loss under the flow. Other marks: share that the protocol calls "
        "converged. Shaded: limits that hold at all widths of a curve together, undecided trials against both."
    )
    header = ("run", "cell", "mode", "gamma", "width", "trials", "converged", "too_soon", "too_late", "median_steps")
    title = "Gradient descent with a budget of steps, against what training reaches"
    return Figure("all-protocol", title, caption, tuple(panels), csv_text(header, table))


def _protocol_rows(run: str, own: Protocol) -> list[Row]:
    return [
        (
            run, own.cell, own.mode, own.gamma, int(k), int(own.counts.trials[i]), int(own.counts.holds[i]),
            int(own.too_soon[i]), int(own.too_late[i]), float(own.steps[i]),
        )
        for i, k in enumerate(own.widths)
    ]  # fmt: skip


def _where(
    widths: np.ndarray[tuple[int, ...], np.dtype[np.int64]], many: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> str:
    at = np.flatnonzero(many)
    if not len(at):
        return "none"
    ends = " to ".join(dict.fromkeys(spaced(int(widths[i])) for i in (at[0], at[-1])))
    return f"{spaced(int(many.sum()))}, k = {ends}"


def protocols_table(protocols: Sequence[Named]) -> tuple[Mapping[str, str], ...]:
    """One row per run, cell and mode: how often, where and why the protocol disagrees."""
    return tuple(
        {
            "run": run or f"cell {own.cell}",
            "mode": own.mode,
            "rule": f"{own.gamma}, at most {spaced(own.max_steps)} steps, L < {own.loss_tolerance:g}",
            "trials": spaced(int(own.counts.trials.sum())),
            "too_soon": _where(own.widths, own.too_soon),
            "too_late": _where(own.widths, own.too_late),
        }
        for run, _, own in protocols
    )


def steps_table(pairs: Sequence[StepPair], level: float) -> tuple[Mapping[str, str], ...]:
    """One row per pair of runs on the same draws: on how many they disagree, and whether one converges more often."""
    rows = []
    for pair in pairs:
        found = pair.comparison
        more, less = int(found.only_first.sum()), int(found.only_second.sum())
        different = np.flatnonzero(found.adjusted <= 1.0 - level)
        rows.append(
            {
                "first": pair.first,
                "second": pair.second,
                "mode": pair.mode,
                "pairs": spaced(int(found.pairs.sum())),
                "only_first": spaced(more),
                "only_second": spaced(less),
                "verdict": "no difference is shown"
                if not len(different)
                else f"they differ at {len(different)} of {len(pair.widths)} widths",
            }
        )
    return tuple(rows)
