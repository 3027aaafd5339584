"""The figure of the outcomes: how the integrations of the flow ended, per width and mode."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import dataset, mode_index
from mc.model.arrays import IntArray
from mc.report.panels import Figure, Panel, Row, cell_prefix, csv_text, mode_name
from mc.report.style import OUTCOME_FILLS, PLATE, panel, to_svg
from mc.theory.codes import Outcome


def _draw(axes: Axes, counts: IntArray, widths: IntArray, present: list[Outcome]) -> None:
    total = counts.sum(axis=0)
    position, left = np.arange(len(widths)), np.zeros(len(widths))
    for outcome in present:
        share = counts[outcome] / np.maximum(total, 1)
        colour, hatch = OUTCOME_FILLS[outcome]
        axes.barh(position, share, left=left, color=colour, hatch=hatch, edgecolor=PLATE, linewidth=0.8)
        left += share
    axes.set_yticks(position, [f"k = {spaced(k)}" for k in widths])
    axes.invert_yaxis()
    axes.grid(False)
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the trials")


def _legend(present: list[Outcome]) -> list[Patch]:
    fills = {o: OUTCOME_FILLS[o] for o in present}
    return [Patch(facecolor=c, hatch=h, edgecolor=PLATE, label=o.label) for o, (c, h) in fills.items()]


def outcomes(study: CellStudy) -> Figure | None:
    """Stacked shares of how the integration ended, per width and mode.

    Returns
    -------
    Figure or None
        None when the run integrated nothing.
    """
    stored, widths = dataset(study.cell, "outcome"), study.cell.flow_widths
    if stored is None or not (stored >= 0).any():
        return None
    counts = np.stack([np.sum(stored == o, axis=1) for o in Outcome])  # (outcome, mode, flow width)
    present = [o for o in Outcome if counts[o].any()]
    height = 1.3 + 0.3 * len(widths) + 0.2 * ((len(present) + 1) // 2)
    panels: list[Panel] = []
    rows: list[Row] = []
    for mode in study.cell.modes:
        own = counts[:, mode_index(study.cell, mode)]
        rows += [
            (mode, int(k), o.label, int(own[o, i]), int(own[:, i].sum())) for i, k in enumerate(widths) for o in present
        ]
        words = f"Shares of the outcomes of the flow per width, {mode_name(mode)}."
        with panel(height=height) as (figure, axes):
            _draw(axes, own, widths, present)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(handles=_legend(present), loc="outside lower left", ncols=2)
            panels.append(Panel(f"{cell_prefix(study)}-outcomes-{mode}", to_svg(figure, words), words))
    decided = sum(int(counts[o].sum()) for o in present if o <= Outcome.NOT_CONVERGED_CERTIFIED)
    title = f"{spaced(decided)} of {spaced(int(counts.sum()))} integrations end in a decision"
    caption = (
        "An outcome called certified carries a proof. What is neither converged nor certified not to converge counts "
        "as undecided and widens every interval; it is never dropped."
    )
    table = csv_text(("mode", "width", "outcome", "count", "trials"), rows)
    return Figure(f"{cell_prefix(study)}-outcomes", title, caption, tuple(panels), table)
