"""The figure and the tables of gradient descent: its protocol against the exact verdict, its steps among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from mc.estimate.flows.protocol import Protocol, StepPair
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.report.panels import Figure, Panel, Row, csv_text, mode_name
from mc.report.style import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILLION, log_width_axis, panel, to_svg

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MARKERS = "os^DP"

FEW = 8
"""Widths that all have a tick."""

Named = tuple[str, str, Protocol]
"""Name of the run, key of the cell, protocol."""


def _curve(
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
                    _curve(axes, own.widths.tolist(), Counts.of(own.truth), level, INK, "D", "zero loss is reached")
                name = f"{run}: {own.gamma}" if run else own.gamma
                style = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
                _curve(axes, own.widths.tolist(), own.counts, level, *style, name)
                table += _rows(run, own)
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


def _rows(run: str, own: Protocol) -> list[Row]:
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
