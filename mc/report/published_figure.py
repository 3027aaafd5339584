"""The figure of the published form: from which constant C' on its promise is seen to hold, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from mc.estimate.claims.published import EVENTS, Constant
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.style import EVENT_LINES, log_ticks, panel, to_svg

LINES = {"zero loss": EVENT_LINES["exact"], **{event: EVENT_LINES[event] for event in EVENTS[1:]}}


def _place(run: str, one: Constant) -> str:
    sizes = f"n = {one.n}, m = {one.m}"
    return f"{run} {one.cell}: {sizes}" if run else f"cell {one.cell}: {sizes}"


def _draw(axes: Axes, own: Sequence[tuple[str, Constant]]) -> None:
    cells = list(dict.fromkeys(_place(*member) for member in own))
    ends = [end for _, one in own for end in (*one.interval, one.estimate) if 0.0 < end < math.inf]
    low, high = min(ends, default=1.0) / 4.0, max(ends, default=1.0) * 4.0
    for number, event in enumerate(EVENTS):
        line = LINES[event]
        for run, one in own:
            if one.event != event:
                continue
            at = cells.index(_place(run, one)) + 0.18 * (number - 1.5)
            left, right = max(one.interval[0], low), min(one.interval[1], high)
            axes.plot([left, right], [at, at], color=line.colour, linewidth=2.0, solid_capstyle="butt")
            if low < one.estimate < high:
                axes.plot(
                    [one.estimate], [at], color=line.colour, marker=line.marker, markersize=4.5, markeredgewidth=0
                )
        if any(one.event == event for _, one in own):
            axes.plot([], [], color=line.colour, marker=line.marker, markersize=4.5, label=event)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_ticks(axes, "x")
    axes.set_yticks(range(len(cells)), cells)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("constant C' (log scale)")


def constants_figure(constants: Sequence[tuple[str, Constant]]) -> Figure | None:
    """C' of every cell with its interval, one panel a mode.

    Parameters
    ----------
    constants : sequence of (run, Constant)

    Returns
    -------
    Figure or None
        None without a constant.
    """
    panels = []
    for mode in dict.fromkeys(one.mode for _, one in constants):
        own = [member for member in constants if member[1].mode == mode]
        words = f"Smallest constant C' of the published width condition in each cell, {mode_name(mode)}."
        with panel(height=1.6 + 0.36 * len({_place(*member) for member in own})) as (figure, axes):
            _draw(axes, own)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=4)
            panels.append(Panel(f"all-published-{mode}", to_svg(figure, words), words))
    if not panels:
        return None
    table: list[Row] = [
        (
            run, one.cell, one.n, one.m, one.mode, one.event, one.trials, one.p, one.ratio, one.spread, one.estimate,
            *one.interval, one.crossing.estimate, *one.crossing.interval,
        )
        for run, one in constants
    ]  # fmt: skip
    header = (
        "run", "cell", "n", "m", "mode", "event", "trials", "promised", "psi_over_sigma_A", "largest_over_median",
        "constant", "low", "high", "width", "width_low", "width_high",
    )  # fmt: skip
    caption = (
        "The condition reads k ≥ C' n psi²/sigma_A² (hidden layer) or C' n psi⁴/sigma_A⁴ (both layers), the promise "
        "1 − 1/n − 1/d or 1 − 2/n − 1/d. Line: interval of the smallest C' with which the promise holds in the cell; "
        "an end at the edge is open. psi/sigma_A is the largest over the trials of the cell. The form is as recalled, "
        "not transcribed, and C' is not specified: no experiment can refute it."
    )
    title = "From which constant on the published width condition is enough"
    return Figure("all-published", title, caption, tuple(panels), csv_text(header, table))
