"""Scaling laws over the cells of a run: their exponents beside the theory's, the curves of all cells on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from mc.errors import InputError
from mc.estimate.cells.study import Study
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import Decision
from mc.estimate.widths.scaling import NAMES, CellCurve, ScalingLaw, cell_curve, scaling_law
from mc.report.figures import Figure, Panel, mode_name, new_panel, to_csv
from mc.report.style import BLUE, EVENT_LINES, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION, log_ticks

LEAST_CELLS = 4
DRAWN_EVENTS = ("sharp", "trial")  # the table has all
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)


@dataclass(frozen=True)
class ScalingPage:
    """Scaling laws as the page shows them."""

    laws: tuple[ScalingLaw, ...]
    names: tuple[str, ...]  # quantities that vary over the cells
    held: tuple[str, ...]  # quantities that do not
    rows: tuple[Mapping[str, Any], ...]  # certificate, mode, number of cells, exponents in words
    figure: Figure | None


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "∞" if value > 0 else "−∞"


def _row(law: ScalingLaw) -> Mapping[str, Any]:
    exponents = {
        exponent.name: {
            "estimate": _signed(exponent.estimate),
            "trials": " to ".join(map(_signed, exponent.bootstrap)),
            "cells": " to ".join(map(_signed, exponent.jackknife)),
            "theory": f"{exponent.theory:g}".replace("-", "−"),
        }
        for exponent in law.exponents
    }
    fitted = int(np.isfinite(law.fitted).sum())
    return {"event": law.event, "mode": law.mode, "cells": f"{fitted} of {len(law.fitted)}", "exponents": exponents}


def _curves(study: Study, event: str, mode: str) -> dict[str, CellCurve]:
    """Curves of the cells by what tells the cells apart; a cell where all draws hold, or none, puts k* nowhere."""
    problems = [study_cell.cell.problem for study_cell in study.cells]
    names = dict.fromkeys(name for problem in problems for name in problem if name != "rank_tol")
    varying = [name for name in names if len({str(problem.get(name)) for problem in problems}) > 1]
    curves = {}
    for study_cell in study.cells:
        curve = cell_curve(study_cell.cell, event, mode)
        if curve is not None and {Decision.HOLDS, Decision.FAILS} <= set(np.unique(curve.decisions)):
            settings = [
                f"{name} = {study_cell.cell.problem[name]}" for name in varying if name in study_cell.cell.problem
            ]
            curves[", ".join(settings) or f"cell {spaced(study_cell.cell.index)}"] = curve
    return curves


def _law_frame(law: ScalingLaw, curves: Mapping[str, CellCurve]) -> pd.DataFrame:
    """One row for each cell and width, with the width in units of the law's k*."""
    collapsed = zip(curves.items(), law.collapse([*curves.values()]), strict=True)
    return pd.concat(
        pd.DataFrame(
            {"event": law.event, "mode": law.mode, "cell": label, "width": cell.widths, "scaled_width": x, "share": p}
        )
        for (label, cell), (x, p) in collapsed
    )


def _draw(axes: Axes, law: ScalingLaw, frame: pd.DataFrame, legend: bool) -> None:
    count = frame["cell"].nunique()
    sns.lineplot(
        frame[np.isfinite(frame["scaled_width"])], x="scaled_width", y="share", hue="cell", style="cell", markers=True,
        dashes=False, palette=[COLOURS[i % len(COLOURS)] for i in range(count)], hue_order=frame["cell"].unique(),
        estimator=None, linewidth=1.0, markersize=4.0, markeredgewidth=0, alpha=0.85, ax=axes,
        legend="full" if legend else False,
    )  # fmt: skip
    if legend:
        axes.get_legend().remove()  # type: ignore[union-attr]  # the legend of the panel lies below the axes
    axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.axhline(law.p, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xscale("log")
    log_ticks(axes, "x", minor=True)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("width over the width k* of the law (log scale)")
    axes.set_ylabel("share of the draws certified")


def _figure(laws: Sequence[tuple[ScalingLaw, pd.DataFrame]]) -> Figure | None:
    panels: list[Panel] = []
    for law, frame in laws:
        if law.event not in DRAWN_EVENTS:
            continue
        count = frame["cell"].nunique()
        alternative = (
            f"Share certified by {law.event} against k over the law's k*, {mode_name(law.mode)}: {count} cells."
        )
        title = f"{EVENT_LINES[law.event].label}: {mode_name(law.mode)}"
        legend = {"ncols": 2} if count <= len(COLOURS) else None
        with new_panel(panels, f"all-collapse-{law.mode}-{law.event}", alternative, title, legend, height=3.3) as axes:
            _draw(axes, law, frame, legend is not None)
    if not panels:
        return None
    caption = (
        "Each line is one cell, its widths divided by the width at which the fitted law puts one half. Where the law "
        "holds the lines fall on one; what is left between them is not explained by it."
    )
    table = to_csv(pd.concat([frame for _, frame in laws]))
    return Figure("all-collapse", "The curves of all cells on one scale", caption, tuple(panels), table)


def scaling(study: Study) -> ScalingPage | None:
    """Fit scaling laws of k*(1/2) over the cells of a run.

    None with fewer than four cells, or where the cells do not tell the exponents apart.
    """
    seed = int(study.experiment.get("experiment", {}).get("seed", 0))
    fitted = []
    for mode, event in dict.fromkeys(key for study_cell in study.cells for key in study_cell.curves):
        curves = _curves(study, event, mode) if event in EVENT_LINES else {}
        if len(curves) < LEAST_CELLS:
            continue
        try:
            law = scaling_law([*curves.values()], mode, event, seed, level=study.level)
        except InputError:
            continue  # these cells do not tell the exponents apart
        if law.exponents:
            fitted.append((law, _law_frame(law, curves)))
    if not fitted:
        return None
    laws = tuple(law for law, _ in fitted)
    names = tuple(name for name in NAMES if any(name not in law.held for law in laws))
    held = tuple(name for name in NAMES if name not in names)
    return ScalingPage(laws, names, held, tuple(map(_row, laws)), _figure(fitted))
