"""Figures of trajectories: losses, times to convergence, and gradient descent by a protocol of steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from mc.estimate.cells.study import CellStudy
from mc.estimate.flows.protocol import Protocol, StepPair
from mc.estimate.flows.survival import ConvergenceTimes, dkw_radius
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import Counts, Decision, dataset, decisions, mode_index
from mc.estimate.probability.methods import get_method
from mc.model.arrays import IntArray
from mc.report.figures import (
    LEGEND,
    Figure,
    Panel,
    cell_prefix,
    draw_curves,
    mode_name,
    mode_phrase,
    mode_title,
    new_panel,
    to_csv,
)
from mc.report.style import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILLION, Line, log_ticks, log_width_axis


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many indices, evenly from the first to the last."""
    return sorted({round(i) for i in np.linspace(0, count - 1, most)}) if count else []


# ---- losses along saved trajectories, under the envelope that the theorem promises

MAX_WIDTHS = 4  # flow widths shown per mode; the table has all of them
LOSS_FLOOR = 1e-24  # losses below it are rounding, not information
ENVELOPES = ("bound_rate", "bound_rate_sharp", "bound_conserved-rate")  # NaN where their hypothesis is false
ENVELOPE_DASH: Any = (0, (5, 2))

PROMISED, CONSERVED, NOTHING = 2, 1, 0
CERTIFIED_BY = {"trial": PROMISED, "sharp": PROMISED, "conserved": CONSERVED}
CERTIFIED_LINES = {
    PROMISED: Line(BLUE, "", "-", "certified before training"),
    CONSERVED: Line(GREEN, "", (0, (6, 1, 1, 1)), "by the conserved quantity only"),
    NOTHING: Line(VERMILLION, "", (0, (1.2, 1.0)), "not certified before training"),
}


def _certified_at_start(study: CellStudy, mode: str) -> IntArray:
    """Best certificate of each trial before training, shape (trial, flow width)."""
    cell = study.cell
    columns = np.searchsorted(cell.widths, cell.flow_widths)
    certified = np.zeros((int(cell.saved_trials.max()) + 1, len(columns)), dtype=np.int64)
    for event, level in CERTIFIED_BY.items():
        known = decisions(cell, event, mode)
        if known is not None:
            holds = known[: len(certified), columns] == Decision.HOLDS
            certified = np.maximum(certified, np.where(holds, level, NOTHING))
    return certified


def _loss_frame(study: CellStudy, bounds: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each saved time of each trajectory."""
    cell, frames = study.cell, []
    t, loss = dataset(cell, "t"), dataset(cell, "loss")
    assert t is not None
    assert loss is not None
    for mode in cell.modes:
        m, certified = mode_index(cell, mode), _certified_at_start(study, mode)
        for w, width in enumerate(cell.flow_widths):
            rows, times = np.nonzero(np.isfinite(t[m, :, w]))
            trials = cell.saved_trials[rows]
            frame = pd.DataFrame({"mode": mode, "width": width, "trial": trials, "t": t[m, rows, w, times]})
            frame["loss"] = loss[m, rows, w, times]
            frames.append(frame.assign(**{name: bound[m, rows, w, times] for name, bound in bounds.items()}))
            frames[-1]["certified"] = certified[trials, w]
    return pd.concat(frames)


def _draw_losses(axes: Axes, frame: pd.DataFrame) -> None:
    # Time 0 has no place on a logarithmic axis: a line starts at the first saved time after it.
    for _, trial in frame[frame["t"] > 0.0].groupby("trial"):
        line = CERTIFIED_LINES[int(trial["certified"].iloc[0])]
        bound, loss = trial[trial["envelope"] > LOSS_FLOOR], trial[trial["loss"] > LOSS_FLOOR]
        axes.plot(bound["t"], bound["envelope"], color=INK, linestyle=ENVELOPE_DASH, linewidth=0.8, alpha=0.6)
        axes.plot(loss["t"], loss["loss"], color=line.colour, linestyle=line.dash, linewidth=1.0, alpha=0.85)
    axes.set_xscale("log")
    axes.set_yscale("log")
    positive = frame["loss"][frame["loss"] > LOSS_FLOOR]
    if len(positive):
        axes.set_ylim(positive.min() / 5.0, positive.max() * 8.0)
    log_ticks(axes, "x")
    log_ticks(axes, "y")
    axes.set_xlabel("time t of the gradient flow (log scale)")
    axes.set_ylabel("loss L(y(t)) (log scale)")


def _loss_legend(frame: pd.DataFrame) -> list[Line2D]:
    lines = [line for level, line in CERTIFIED_LINES.items() if (frame["certified"] == level).any()]
    handles = [Line2D([], [], color=x.colour, linestyle=x.dash, linewidth=1.2, label=x.label) for x in lines]
    if frame["envelope"].notna().any():
        handles.append(Line2D([], [], color=INK, linestyle=ENVELOPE_DASH, linewidth=1.0, label="promised envelope"))
    return handles


def trajectories(study: CellStudy) -> Figure | None:
    """Draw the losses of saved trials at some flow widths, with their envelopes; None when no trajectory was saved."""
    cell, loss = study.cell, dataset(study.cell, "loss")
    if dataset(cell, "t") is None or loss is None or not np.isfinite(loss).any():
        return None
    bounds = {name: bound for name in ENVELOPES if (bound := dataset(cell, name)) is not None}
    frame = _loss_frame(study, bounds)
    # Every bound whose hypothesis holds is a promise: the lowest one is drawn.
    drawn = frame.assign(envelope=frame[[*bounds]].min(axis=1))[frame["loss"].notna()]
    chosen = [cell.flow_widths[i] for i in _spread(len(cell.flow_widths), MAX_WIDTHS)]
    panels: list[Panel] = []
    for (mode, width), shown in drawn[drawn["width"].isin(chosen)].groupby(["mode", "width"], sort=False):
        certified = shown.drop_duplicates("trial")["certified"]
        alternative = (
            f"Loss of {len(certified)} trials against time, {mode_name(mode)}, width {spaced(width)}: "
            f"{(certified == PROMISED).sum()} certified before training."
        )
        name, title = f"{cell_prefix(study)}-loss-{mode}-{width}", f"{mode_title(mode)}, k = {spaced(width)}"
        legend = {"handles": _loss_legend(shown), "ncols": 2, "handlelength": 2.8}
        with new_panel(panels, name, alternative, title, legend, height=3.2) as axes:
            _draw_losses(axes, shown)
    flows = drawn.drop_duplicates(["mode", "width", "trial"])["certified"]
    promised, conserved = ((flows == level).sum() for level in (PROMISED, CONSERVED))
    more = f", {conserved} more by the conserved quantity" if conserved else ""
    title = f"Loss of {len(flows)} saved flows: {promised} are certified before training{more}"
    caption = (
        "Each line is one trial. Certified before training: the certificate trial or sharp holds at time 0, so the "
        "loss must stay under the dashed envelope, the lowest that is promised for the trial. A dotted trial may "
        "converge as well; nothing is promised for it."
    )
    table = to_csv(frame.drop(columns="certified"))
    return Figure(f"{cell_prefix(study)}-loss", title, caption, tuple(panels), table)


# ---- times to convergence: the share of the trials that have converged by t

TIME_LOOKS: tuple[tuple[str, Any], ...] = (
    (BLUE, "-"), (VERMILLION, (0, (5, 1.5))), (GREEN, (0, (6, 1, 1, 1))), (PURPLE, (0, (1.5, 1))), (INK, "-"),
)  # fmt: skip


def _time_frame(mode: str, curve: ConvergenceTimes) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mode": mode, "width": curve.width, "trials": curve.trials, "events": curve.events,
            "censored": curve.censored, "never": curve.never, "left_out": curve.left_out, "time": curve.times,
            "converged": curve.probability, "lower": curve.lower, "upper": curve.upper,
            "known_converged": curve.least, "not_known_not_to": curve.most, "band_lower": curve.band_lower,
            "band_upper": curve.band_upper,
        }
    )  # fmt: skip


def _step_frame(curve: ConvergenceTimes, left: float, right: float) -> pd.DataFrame:
    """Corners of a step curve between two times; time 0, which a logarithmic axis lacks, enters at the left edge."""
    frame = _time_frame("", curve)[["width", "time", "converged", "band_lower", "band_upper"]]
    start = frame[frame["time"] <= 0.0].tail(1).assign(time=left)
    if start.empty:
        start.loc[0] = (curve.width, left, 0.0, 0.0, dkw_radius(curve.trials, curve.level))
    inner = pd.concat([start, frame[frame["time"] > 0.0]])
    return pd.concat([inner, inner.tail(1).assign(time=right)])


def _draw_times(axes: Axes, curves: Sequence[ConvergenceTimes], bands: bool) -> None:
    positive = [time for curve in curves for time in curve.times if time > 0.0]
    left, right = (min(positive) / 3.0, max(positive) * 1.5) if positive else (0.1, 10.0)
    lines = {
        curve.width: Line(colour, "", dash, f"k = {spaced(curve.width)}")
        for curve, (colour, dash) in zip(curves, TIME_LOOKS, strict=False)
    }
    frame = pd.concat([_step_frame(curve, left, right) for curve in curves])
    band = ("band_lower", "band_upper") if bands else None
    draw_curves(axes, frame, ("time", "converged", "width"), lines, band, steps=True)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(-0.02, 1.02)
    log_ticks(axes, "x")
    axes.set_xlabel("time t of the gradient flow (log scale; left edge: t = 0)")
    axes.set_ylabel("probability to have converged by t")


def _median_words(curve: ConvergenceTimes) -> str:
    median = curve.median()
    width = f" at width {spaced(curve.width)}"
    if math.isinf(median):
        return "no time that was followed" + width
    return (f"t = {spaced(significant(median))}" if median >= 10.0 else f"t = {median:.2g}") + width


def times(study: CellStudy, converged: Mapping[str, Sequence[ConvergenceTimes]], adaptive: bool) -> Figure | None:
    """Draw Kaplan-Meier curves of the time to convergence; None where nothing was followed in time.

    `converged` holds a curve for each flow width of each mode. An adaptive number of trials followed the data: the
    bands, which assume that it did not, are omitted.
    """
    panels: list[Panel] = []
    frames, messages, level = [], [], 0.95
    for mode in study.cell.modes:
        curves = [curve for curve in converged.get(mode, ()) if curve.trials]
        if not curves:
            continue
        level = curves[0].level
        frames += [_time_frame(mode, curve) for curve in curves]
        shown = [curves[i] for i in _spread(len(curves), len(TIME_LOOKS))]
        medians = [_median_words(curve) for curve in shown]
        messages.append(f"{medians[-1]} with {mode_phrase(mode)}")
        alternative = (
            f"Probability to have converged by time t, {mode_name(mode)}. Half of the trials have by "
            f"{'; '.join(medians)}."
        )
        legend = {**LEGEND, "ncols": 3}
        with new_panel(panels, f"{cell_prefix(study)}-times-{mode}", alternative, mode_title(mode), legend) as axes:
            _draw_times(axes, shown, not adaptive)
    if not panels:
        return None
    caption = (
        "Kaplan-Meier estimate of the time at which convergence was certified or the tolerance met. A trial certified "
        "before training counts at t = 0, one certified not to converge never does, all others are censored where the "
        "integration stopped; that assumes that stopping there tells nothing of what would have come. "
    )
    caption += (
        "No bands are drawn: the number of trials followed the data."
        if adaptive
        else f"Shaded: bands that assume nothing of them, confidence {level:.3g} at all times of a curve together."
    )
    title = "Half of the trials have converged by " + ", by ".join(messages)
    return Figure(f"{cell_prefix(study)}-times", title, caption, tuple(panels), to_csv(pd.concat(frames)))


# ---- gradient descent: its protocol against the exact verdict, its steps among themselves

PROTOCOL_LOOKS = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "P"))
FEW_WIDTHS = 8  # so few widths all have a tick

Named = tuple[str, str, Protocol]
"""Name of the run, key of the cell, protocol."""


def _share_frame(curve: str, widths: IntArray, counts: Counts, level: float) -> pd.DataFrame:
    """Share of the trials for which an event holds at each width, with limits that hold at all widths together."""
    computed = counts.trials > 0
    holds, undecided, trials = (n[computed] for n in (counts.holds, counts.undecided, counts.trials))
    alpha = (1.0 - level) / max(len(trials), 1)
    low, high = get_method("clopper-pearson").two_sided(holds, holds + undecided, trials, alpha)
    share = (holds + 0.5 * undecided) / trials
    return pd.DataFrame({"curve": curve, "width": widths[computed], "share": share, "low": low, "high": high})


def _draw_protocols(axes: Axes, members: Sequence[Named], level: float) -> None:
    truth, widths = members[0][2].truth, members[0][2].widths
    frames = [_share_frame("truth", widths, Counts.of(truth), level)]
    lines = {"truth": Line(INK, "D", "-", "zero loss is reached")}
    for i, (run, _, protocol) in enumerate(members):
        colour, marker = PROTOCOL_LOOKS[i % len(PROTOCOL_LOOKS)]
        lines[f"{i}"] = Line(colour, marker, "-", f"{run}: {protocol.gamma}" if run else protocol.gamma)
        frames.append(_share_frame(f"{i}", protocol.widths, protocol.counts, level))
    draw_curves(axes, pd.concat(frames), ("width", "share", "curve"), lines, ("low", "high"))
    log_width_axis(axes, widths[0], widths[-1])
    if len(widths) <= FEW_WIDTHS:
        axes.set_xticks(widths, [spaced(int(k)) for k in widths])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("probability")


def _protocol_frame(run: str, protocol: Protocol) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": run, "cell": protocol.cell, "mode": protocol.mode, "gamma": protocol.gamma, "width": protocol.widths,
            "trials": protocol.counts.trials, "converged": protocol.counts.holds, "too_soon": protocol.too_soon,
            "too_late": protocol.too_late, "median_steps": protocol.steps,
        }
    )  # fmt: skip


def protocols_figure(protocols: Sequence[Named], level: float) -> Figure | None:
    """Draw the probability that the protocol says converged, beside that of zero loss.

    One panel for each problem (key of the cell) and mode; the bands hold over the widths of a curve together.
    """
    groups: dict[tuple[str, str], list[Named]] = {}
    for member in protocols:
        groups.setdefault((member[1], member[2].mode), []).append(member)
    panels: list[Panel] = []
    for number, ((_, mode), members) in enumerate(groups.items()):
        alternative = f"Probability that gradient descent is called converged against the width, {mode_name(mode)}."
        name = f"all-protocol-{mode}-{number}"
        with new_panel(panels, name, alternative, mode_title(mode), {"ncols": 1}, height=3.9) as axes:
            _draw_protocols(axes, members, level)
    if not panels:
        return None
    frame = pd.concat([_protocol_frame(run, protocol) for members in groups.values() for run, _, protocol in members])
    caption = (
        "Diamonds: share of the draws that reach zero loss under the flow. Other marks: share that the protocol calls "
        "converged. Shaded: limits that hold at all widths of a curve together, undecided trials against both."
    )
    title = "Gradient descent with a budget of steps, against what training reaches"
    return Figure("all-protocol", title, caption, tuple(panels), to_csv(frame))


def _count_words(widths: IntArray, counts: IntArray) -> str:
    """Return a count over all widths, and the first and last width that have any."""
    if not counts.any():
        return "none"
    ends = widths[np.flatnonzero(counts)[[0, -1]]]
    return f"{spaced(int(counts.sum()))}, k = {' to '.join(dict.fromkeys(spaced(int(k)) for k in ends))}"


def protocols_table(protocols: Iterable[Named]) -> tuple[Mapping[str, str], ...]:
    """Return a row per run, cell and mode: how often, where and why the protocol disagrees."""
    return tuple(
        {
            "run": run or f"cell {protocol.cell}",
            "mode": protocol.mode,
            "rule": f"{protocol.gamma}, at most {spaced(protocol.max_steps)} steps, L < {protocol.loss_tolerance:g}",
            "trials": spaced(int(protocol.counts.trials.sum())),
            "too_soon": _count_words(protocol.widths, protocol.too_soon),
            "too_late": _count_words(protocol.widths, protocol.too_late),
        }
        for run, _, protocol in protocols
    )


def steps_table(pairs: Iterable[StepPair], level: float) -> tuple[Mapping[str, str], ...]:
    """Return a row per pair of runs on the same draws: how often they disagree, whether one converges more often."""
    rows = []
    for pair in pairs:
        compared = pair.comparison
        different = int((compared.adjusted <= 1.0 - level).sum())
        verdict = f"they differ at {different} of {len(pair.widths)} widths" if different else "no difference is shown"
        rows.append(
            {
                "first": pair.first,
                "second": pair.second,
                "mode": pair.mode,
                "pairs": spaced(int(compared.pairs.sum())),
                "only_first": spaced(int(compared.only_first.sum())),
                "only_second": spaced(int(compared.only_second.sum())),
                "verdict": verdict,
            }
        )
    return tuple(rows)
