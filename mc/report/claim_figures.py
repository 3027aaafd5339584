"""Figures of the claims: slacks, measured tails against their bounds, the law of softplus, and the published form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mc.estimate.claims.finding import Finding
from mc.estimate.claims.points import Points
from mc.estimate.claims.published import EVENTS, Constant
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.style import (
    BLUE,
    EVENT_LINES,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    log_ticks,
    panel,
    to_svg,
)
from mc.theory.claims import CLAIMS, Kind

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MARKERS = "os^DP"

# Slacks

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SLACK_PANELS = {"all-slacks": "Along trajectories", "all-slacks-ladder": "From one certificate to the next"}

CUT = 1e6
"""Larger factors are drawn at the edge."""

SHORT = 60.0
"""Largest factor up to which 1, 2 and 5 of a decade have a tick."""

HYPOTHESIS_LINES = {
    "paper": (PURPLE, "^"), "trial": (VERMILLION, "s"), "sharp": (BLUE, "o"), "conserved": (GREEN, "P"),
}  # fmt: skip


def _quantiles(row: Finding) -> list[float]:
    # "higher" never averages a number with an infinite one
    return [float(q) for q in np.quantile(row.slacks, QUANTILES, method="higher")]


def _factor(slack: float) -> float:
    return float(np.exp(np.clip(slack, -np.log(CUT), np.log(CUT))))


def _draw_slacks(axes: Axes, rows: Sequence[Finding]) -> None:
    for position, row in enumerate(rows):
        colour, marker = HYPOTHESIS_LINES.get(row.hypothesis, (INK, "D"))
        low, left, middle, right, high = (_factor(q) for q in _quantiles(row))
        axes.plot([low, high], [position, position], color=colour, linewidth=1.0, solid_capstyle="butt")
        axes.plot([left, right], [position, position], color=colour, linewidth=4.0, alpha=0.45, solid_capstyle="butt")
        axes.plot([middle], [position], color=colour, marker=marker, markersize=5.0, markeredgewidth=0)
        axes.plot([_factor(row.slack_min)], [position], color=colour, marker="|", markersize=9.0, markeredgewidth=1.4)
    axes.axvline(1.0, color=INK, linewidth=1.0)
    least = min(_factor(row.slack_min) for row in rows)
    most = max(_factor(_quantiles(row)[-1]) for row in rows)
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, least / 1.2), max(1.3 * most, 3.0))
    log_ticks(axes, "x")
    if most < SHORT:
        axes.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50) if tick < 1.3 * most])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    names = [f"{row.name}, {row.hypothesis}" if row.hypothesis != "always" else row.name for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("right side over left side, at its smallest (log scale)")


def slacks(rows: Sequence[Finding]) -> Figure | None:
    """Draw the distribution of the slacks of each implication and claim on trajectories of a page; None without any."""
    drawn = [row for row in rows if row.draws and len(row.slacks)]
    if not drawn:
        return None
    panels = []
    for (name, title), ladder in zip(SLACK_PANELS.items(), (False, True), strict=True):
        shown = [row for row in drawn if (CLAIMS[row.name].kind is Kind.IMPLICATION) is ladder]
        if not shown:
            continue
        alternative = f"{title}: factor by which the right side exceeds the left side; violated below 1. Medians: "
        alternative += ", ".join(f"{row.name} ({row.hypothesis}) {np.exp(row.slack_median):.3g}" for row in shown) + "."
        with panel(5.4, 1.2 + 0.27 * len(shown)) as (figure, axes):
            _draw_slacks(axes, shown)
            axes.set_title(title)
            panels.append(Panel(name, to_svg(figure, alternative), alternative))
    caption = (
        "One row for each claim and hypothesis, over all trials and widths with the hypothesis true. Mark: median; "
        "thick: the middle half; thin: the middle 90 %; upright stroke: the tightest. Left of the heavy line the claim "
        "is violated. Factors beyond 10⁶ are drawn at the right edge."
    )
    header = ("claim", "hypothesis", "modes", "pairs", "slack_min", *(f"quantile_{q:g}" for q in QUANTILES), "infinite")
    table: list[Row] = [
        (
            row.name, row.hypothesis, " ".join(row.modes), len(row.slacks), row.slack_min, *_quantiles(row),
            float(np.isinf(row.slacks).mean()),
        )
        for row in drawn
    ]  # fmt: skip
    title = "How loose each claim is where its hypothesis is true"
    return Figure("all-slacks", title, caption, tuple(panels), csv_text(header, table))


# Claims on probabilities

LEAST = 1e-4
"""Smallest probability drawn."""

POINTS = (
    "claim", "hypothesis", "cell", "part", "parameter", "width", "trials", "events", "undecided", "share", "lower",
    "upper", "claimed", "verdict",
)  # fmt: skip

TAILS = {
    "chernoff": "Conditioning: smallest eigenvalue",
    "concentration": "Concentration of the activations",
    "initial-error": "Initial observation",
}


def _points(finding: Finding, judged: Points) -> list[Row]:
    columns = (
        judged.parts, judged.parameters.tolist(), judged.widths.tolist(), judged.counts.trials.tolist(),
        judged.counts.holds.tolist(), judged.counts.undecided.tolist(), judged.frequency.tolist(),
        judged.lower.tolist(), judged.upper.tolist(), judged.bound.tolist(), [v.value for v in judged.verdicts],
    )  # fmt: skip
    return [(finding.name, finding.hypothesis, finding.cell, *row) for row in zip(*columns, strict=True)]


def _label(row: Row) -> str:
    """Return the part of the claim, or its hypothesis if it has one."""
    return str(row[3] if row[1] == "none" else row[1])


def _draw_tails(axes: Axes, rows: Sequence[Row]) -> None:
    for number, label in enumerate(dict.fromkeys(map(_label, rows))):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        shown = np.array([row[9:13] for row in rows if _label(row) == label], dtype=float)
        share, lower, upper, bound = shown[shown[:, 3] >= LEAST].T
        seen = share >= LEAST
        axes.vlines(bound[seen], np.maximum(lower, LEAST)[seen], upper[seen], color=colour, linewidth=0.7, alpha=0.45)
        axes.plot(
            bound[seen], share[seen], color=colour, marker=marker, markersize=4.0, markeredgewidth=0, linestyle="",
            label=label,
        )  # fmt: skip
        axes.plot(bound[~seen], upper[~seen], color=colour, marker="v", markersize=4.0, fillstyle="none", linestyle="")
    axes.plot([LEAST, 1.0], [LEAST, 1.0], color=INK, linewidth=1.2)
    axes.fill_between([LEAST, 1.0], [LEAST, 1.0], [1.0, 1.0], color=MUTED, alpha=0.12, linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=(0.8 * LEAST, 1.1), ylim=(0.8 * LEAST, 1.1))
    log_ticks(axes, "x")
    log_ticks(axes, "y")
    axes.set_xlabel("claimed bound of the probability (log scale)")
    axes.set_ylabel("measured probability (log scale)")


def tails(findings: Sequence[Finding]) -> Figure | None:
    """Draw measured probabilities of bad events against the bounds of theory §7.1-3, one panel a claim."""
    panels, table = [], []
    for name, title in TAILS.items():
        shown = [(f, f.judgement) for f in findings if f.name == name and f.judgement is not None and f.judgement.tests]
        if not shown:
            continue
        rows = [row for finding, judged in shown for row in _points(finding, judged)]
        table += rows
        claimed = [row for row in rows if row[-1] != "vacuous"]
        above = sum(row[-1] == "contradicted" for row in claimed)
        alternative = (
            f"{title} ({name}): measured probability against its bound at {len(claimed)} points, {above} above it "
        )
        alternative += "beyond the intervals."
        with panel(height=3.9) as (figure, axes):
            _draw_tails(axes, claimed)
            axes.set_title(title)
            if len(axes.get_legend_handles_labels()[1]) > 1:
                figure.legend(loc="outside lower left", ncols=2)
            panels.append(Panel(f"all-tails-{name}", to_svg(figure, alternative), alternative))
    if not panels:
        return None
    caption = (
        "Each mark is one width and one value of the free parameter; upright: one-sided limits at that point's share "
        "of the error. A hollow triangle is the upper limit where the event was never seen. In the shaded half the "
        "claim is false. Bounds below 10⁻⁴ are in the table only."
    )
    title = "The ingredients of the probability bounds against what was measured"
    return Figure("all-tails", title, caption, tuple(panels), csv_text(POINTS, table))


def law(findings: Sequence[Finding]) -> Figure | None:
    """Draw the orthant law of softplus and the measured probabilities, by the rank of the operator; None without."""
    shown = [(f, f.judgement) for f in findings if f.name == "orthant" and f.judgement is not None]
    if not shown:
        return None
    numbers: dict[float, int] = {}
    alternative = "Probability that softplus reaches zero loss against the width, with the law P(Bin(k, 1/2) >= r)."
    with panel(height=3.9) as (figure, axes):
        for _, judged in shown:
            for rank in np.unique(judged.parameters).tolist():
                same_rank, label = judged.parameters == rank, None if rank in numbers else f"rank {rank:g}"
                number = numbers.setdefault(rank, len(numbers))
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                axes.plot(judged.widths[same_rank], judged.bound[same_rank], color=colour, linewidth=1.2)
                axes.errorbar(
                    judged.widths[same_rank], judged.frequency[same_rank],
                    np.abs(np.array([judged.lower[same_rank], judged.upper[same_rank]]) - judged.frequency[same_rank]),
                    color=colour, marker=marker, markersize=4.0, linestyle="", elinewidth=0.8, label=label,
                )  # fmt: skip
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("width k of the hidden layer (neurons)")
        axes.set_ylabel("probability of zero loss")
        figure.legend(loc="outside lower left", ncols=3)
        drawn = Panel("all-orthant", to_svg(figure, alternative), alternative)
    caption = (
        "Line: the law, which depends on the operator through its rank alone. Marks: share of the draws, with limits "
        "that hold at all widths of a cell together; one set of marks a cell. Softplus, hidden layer trained."
    )
    table = [row for finding, judged in shown for row in _points(finding, judged)]
    return Figure("all-orthant", "The exact law of softplus", caption, (drawn,), csv_text(POINTS, table))


# The published form

CONSTANTS = (
    "run", "cell", "n", "m", "mode", "event", "trials", "promised", "psi_over_sigma_A", "largest_over_median",
    "constant", "low", "high", "width", "width_low", "width_high",
)  # fmt: skip


def _cell(run: str, one: Constant) -> str:
    sizes = f"n = {one.n}, m = {one.m}"
    return f"{run} {one.cell}: {sizes}" if run else f"cell {one.cell}: {sizes}"


def _draw_constants(axes: Axes, shown: Sequence[tuple[str, Constant]], cells: Sequence[str]) -> None:
    ends = [end for _, one in shown for end in (*one.interval, one.estimate) if 0.0 < end < math.inf]
    low, high = min(ends, default=1.0) / 4.0, max(ends, default=1.0) * 4.0
    for number, event in enumerate(EVENTS):
        line = EVENT_LINES["exact" if event == "zero loss" else event]
        of_event = [member for member in shown if member[1].event == event]
        for run, one in of_event:
            position = cells.index(_cell(run, one)) + 0.18 * (number - 1.5)
            left, right = max(one.interval[0], low), min(one.interval[1], high)
            axes.plot([left, right], [position, position], color=line.colour, linewidth=2.0, solid_capstyle="butt")
            if low < one.estimate < high:
                axes.plot(
                    [one.estimate], [position], color=line.colour, marker=line.marker, markersize=4.5, markeredgewidth=0
                )
        if of_event:
            axes.plot([], [], color=line.colour, marker=line.marker, markersize=4.5, label=event)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_ticks(axes, "x")
    axes.set_yticks(range(len(cells)), cells)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("constant C' (log scale)")


def constants_figure(constants: Sequence[tuple[str, Constant]]) -> Figure | None:
    """Draw C' of every cell with its interval, one panel a mode; constants come with the name of their run."""
    panels = []
    for mode in dict.fromkeys(one.mode for _, one in constants):
        shown = [member for member in constants if member[1].mode == mode]
        cells = list(dict.fromkeys(_cell(*member) for member in shown))
        alternative = f"Smallest constant C' of the published width condition in each cell, {mode_name(mode)}."
        with panel(height=1.6 + 0.36 * len(cells)) as (figure, axes):
            _draw_constants(axes, shown, cells)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=4)
            panels.append(Panel(f"all-published-{mode}", to_svg(figure, alternative), alternative))
    if not panels:
        return None
    table: list[Row] = [
        (
            run, one.cell, one.n, one.m, one.mode, one.event, one.trials, one.p, one.ratio, one.spread, one.estimate,
            *one.interval, one.crossing.estimate, *one.crossing.interval,
        )
        for run, one in constants
    ]  # fmt: skip
    caption = (
        "The condition reads k ≥ C' n psi²/sigma_A² (hidden layer) or C' n psi⁴/sigma_A⁴ (both layers), the promise "
        "1 − 1/n − 1/d or 1 − 2/n − 1/d. Line: interval of the smallest C' with which the promise holds in the cell; "
        "an end at the edge is open. psi/sigma_A is the largest over the trials of the cell. The form is as recalled, "
        "not transcribed, and C' is not specified: no experiment can refute it."
    )
    title = "From which constant on the published width condition is enough"
    return Figure("all-published", title, caption, tuple(panels), csv_text(CONSTANTS, table))
