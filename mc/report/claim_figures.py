"""Figures of the claims on probabilities: measured tails against their bounds, and a law against its curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mc.estimate.claims.findings import Finding
from mc.report.figures import Figure, Panel, Row, csv_text
from mc.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILLION, log_ticks, panel, to_svg

LEAST = 1e-4
"""Smallest probability drawn."""
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MARKERS = "os^DP"

HEADER = (
    "claim", "hypothesis", "cell", "part", "parameter", "width", "trials", "events", "undecided", "share", "lower",
    "upper", "claimed", "verdict",
)  # fmt: skip

TITLES = {
    "chernoff": "Conditioning: smallest eigenvalue",
    "concentration": "Concentration of the activations",
    "initial-error": "Initial observation",
}


def _rows(found: Finding) -> list[Row]:
    judged = found.judgement
    assert judged is not None
    points = judged.points
    return [
        (
            found.name, found.hypothesis, found.cell, points.parts[i], float(points.parameters[i]),
            int(points.widths[i]), int(points.counts.trials[i]), int(points.counts.holds[i]),
            int(points.counts.undecided[i]), float(points.frequency[i]), float(judged.lower[i]),
            float(judged.upper[i]), float(points.bound[i]), judged.verdicts[i].value,
        )
        for i in range(len(points.parts))
    ]  # fmt: skip


def _label(row: Row) -> str:
    """The part of the claim, or its hypothesis where it has one."""
    return str(row[3] if row[1] == "none" else row[1])


def _tails(axes: Axes, rows: Sequence[Row]) -> None:
    for number, label in enumerate(dict.fromkeys(map(_label, rows))):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        own = np.array([row[9:13] for row in rows if _label(row) == label], dtype=float)
        share, lower, upper, bound = own[own[:, 3] >= LEAST].T
        seen = share >= LEAST
        axes.vlines(bound[seen], np.maximum(lower, LEAST)[seen], upper[seen], color=colour, linewidth=0.7, alpha=0.45)
        axes.plot(
            bound[seen], share[seen], color=colour, marker=marker, markersize=4.0, markeredgewidth=0, linestyle="",
            label=label,
        )  # fmt: skip
        axes.plot(bound[~seen], upper[~seen], color=colour, marker="v", markersize=4.0, fillstyle="none", linestyle="")
    axes.plot([LEAST, 1.0], [LEAST, 1.0], color=INK, linewidth=1.2)
    axes.fill_between([LEAST, 1.0], [LEAST, 1.0], [1.0, 1.0], color=MUTED, alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.8 * LEAST, 1.1)
    axes.set_ylim(0.8 * LEAST, 1.1)
    log_ticks(axes, "x")
    log_ticks(axes, "y")
    axes.set_xlabel("claimed bound of the probability (log scale)")
    axes.set_ylabel("measured probability (log scale)")


def tails(findings: Sequence[Finding]) -> Figure | None:
    """Measured probabilities of the bad events against the bounds of theory §7.1-3, one panel a claim.

    Parameters
    ----------
    findings : sequence of Finding
        Of one run or of several.

    Returns
    -------
    Figure or None
        None where none of the three was checked.
    """
    panels, table = [], []
    for name, title in TITLES.items():
        own = [f for f in findings if f.name == name and f.judgement is not None and f.judgement.tests]
        if not own:
            continue
        rows = [row for found in own for row in _rows(found)]
        table += rows
        said = [row for row in rows if row[-1] != "vacuous"]
        above = sum(row[-1] == "contradicted" for row in said)
        words = f"{title} ({name}): measured probability against its bound at {len(said)} points, {above} above it "
        words += "beyond the intervals."
        with panel(height=3.9) as (figure, axes):
            _tails(axes, said)
            axes.set_title(title)
            if len(axes.get_legend_handles_labels()[1]) > 1:
                figure.legend(loc="outside lower left", ncols=2)
            panels.append(Panel(f"all-tails-{name}", to_svg(figure, words), words))
    if not panels:
        return None
    caption = (
        "Each mark is one width and one value of the free parameter; upright: one-sided limits at that point's share "
        "of the error. A hollow triangle is the upper limit where the event was never seen. In the shaded half the "
        "claim is false. Bounds below 10⁻⁴ are in the table only."
    )
    title = "The ingredients of the probability bounds against what was measured"
    return Figure("all-tails", title, caption, tuple(panels), csv_text(HEADER, table))


def law(findings: Sequence[Finding]) -> Figure | None:
    """The orthant law of softplus and the measured probabilities, by the rank of the operator."""
    own = [f for f in findings if f.name == "orthant" and f.judgement is not None]
    if not own:
        return None
    table: list[Row] = []
    seen: dict[float, int] = {}
    words = "Probability that softplus reaches zero loss against the width, with the law P(Bin(k, 1/2) >= r)."
    with panel(height=3.9) as (figure, axes):
        for found in own:
            judged = found.judgement
            assert judged is not None
            table += _rows(found)
            points = judged.points
            for rank in np.unique(points.parameters).tolist():
                at, label = points.parameters == rank, None if rank in seen else f"rank {rank:g}"
                number = seen.setdefault(rank, len(seen))
                colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                axes.plot(points.widths[at], points.bound[at], color=colour, linewidth=1.2)
                axes.errorbar(
                    points.widths[at], points.frequency[at],
                    np.abs(np.array([judged.lower[at], judged.upper[at]]) - points.frequency[at]), color=colour,
                    marker=marker, markersize=4.0, linestyle="", elinewidth=0.8, label=label,
                )  # fmt: skip
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("width k of the hidden layer (neurons)")
        axes.set_ylabel("probability of zero loss")
        figure.legend(loc="outside lower left", ncols=3)
        made = Panel("all-orthant", to_svg(figure, words), words)
    caption = (
        "Line: the law, which sees the operator by its rank alone. Marks: share of the draws, with limits that hold at "
        "all widths of a cell together; one set of marks a cell. Softplus, hidden layer trained."
    )
    return Figure("all-orthant", "The exact law of softplus", caption, (made,), csv_text(HEADER, table))
