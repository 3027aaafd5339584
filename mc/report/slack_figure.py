"""The figure of the slacks: how loose each claim is where its hypothesis is true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.claims.pooled import ClaimRow
from mc.report.figures import Figure, Panel, Row, csv_text
from mc.report.style import BLUE, GREEN, INK, PURPLE, VERMILLION, log_ticks, panel, to_svg
from mc.theory.claims import Kind

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TITLES = ("Along trajectories", "From one certificate to the next")

CUT = 1e6
"""Factors beyond are drawn at the edge: what lies there is loose, however loose."""

SHORT = 60.0
"""Largest factor up to which 1, 2 and 5 of a decade have a tick."""

LINES = {"paper": (PURPLE, "^"), "trial": (VERMILLION, "s"), "sharp": (BLUE, "o"), "conserved": (GREEN, "P")}
OTHER = (INK, "D")


def drawn_rows(rows: Sequence[ClaimRow]) -> tuple[ClaimRow, ...]:
    """The rows that have slacks of trials: implications, and claims along trajectories."""
    return tuple(row for row in rows if row.claim.kind is not Kind.PROBABILITY and len(row.slacks))


def _quantiles(row: ClaimRow) -> list[float]:
    # "higher" never averages a number with an infinite one
    return [float(q) for q in np.quantile(row.slacks, QUANTILES, method="higher")]


def _factor(slack: float) -> float:
    return float(np.exp(np.clip(slack, -np.log(CUT), np.log(CUT))))


def _draw(axes: Axes, rows: Sequence[ClaimRow]) -> None:
    for at, row in enumerate(rows):
        colour, marker = LINES.get(row.hypothesis, OTHER)
        low, left, middle, right, high = (_factor(q) for q in _quantiles(row))
        axes.plot([low, high], [at, at], color=colour, linewidth=1.0, solid_capstyle="butt")
        axes.plot([left, right], [at, at], color=colour, linewidth=4.0, alpha=0.45, solid_capstyle="butt")
        axes.plot([middle], [at], color=colour, marker=marker, markersize=5.0, markeredgewidth=0)
        axes.plot([_factor(row.slack_min)], [at], color=colour, marker="|", markersize=9.0, markeredgewidth=1.4)
    axes.axvline(1.0, color=INK, linewidth=1.0)
    least = min(_factor(row.slack_min) for row in rows)
    most = max(_factor(_quantiles(row)[-1]) for row in rows)
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, least / 1.2), max(1.3 * most, 3.0))
    log_ticks(axes, "x")
    if most < SHORT:
        axes.set_xticks([tick for tick in (1, 2, 5, 10, 20, 50) if tick < 1.3 * most])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    names = [f"{row.claim.name}, {row.hypothesis}" if row.hypothesis != "always" else row.claim.name for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("right side over left side, at its smallest (log scale)")


def slacks(rows: Sequence[ClaimRow]) -> Figure | None:
    """Distribution of the smallest slack of each trajectory, by claim and hypothesis.

    Parameters
    ----------
    rows : sequence of ClaimRow
        Of the page.

    Returns
    -------
    Figure or None
        None without a slack.
    """
    drawn = drawn_rows(rows)
    if not drawn:
        return None
    table: list[Row] = [
        (
            row.claim.name, row.hypothesis, " ".join(row.modes), len(row.slacks), row.slack_min, *_quantiles(row),
            float(np.isinf(row.slacks).mean()),
        )
        for row in drawn
    ]  # fmt: skip
    groups = [[row for row in drawn if (row.claim.kind is Kind.IMPLICATION) is ladder] for ladder in (False, True)]
    panels = []
    for own, name, title in zip(groups, ("all-slacks", "all-slacks-ladder"), TITLES, strict=True):
        if not own:
            continue
        words = f"{title}: factor by which the right side exceeds the left side; violated below 1. Medians: "
        words += ", ".join(f"{row.claim.name} ({row.hypothesis}) {np.exp(row.slack_median):.3g}" for row in own) + "."
        with panel(5.4, 1.2 + 0.27 * len(own)) as (figure, axes):
            _draw(axes, own)
            axes.set_title(title)
            panels.append(Panel(name, to_svg(figure, words), words))
    caption = (
        "One row for each claim and hypothesis, over all trials and widths with the hypothesis true. Mark: median; "
        "thick: the middle half; thin: the middle 90 %; upright stroke: the tightest. Left of the heavy line the claim "
        f"is violated. Factors beyond {CUT:.0e} are drawn at the right edge."
    ).replace("1e+06", "10⁶")
    header = ("claim", "hypothesis", "modes", "pairs", "slack_min", *(f"quantile_{q:g}" for q in QUANTILES), "infinite")
    title = "How loose each claim is where its hypothesis is true"
    return Figure("all-slacks", title, caption, tuple(panels), csv_text(header, table))
