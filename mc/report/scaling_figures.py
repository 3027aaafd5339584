"""Scaling laws over the cells of a run: their exponents beside the theory's, and the curves collapsed on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mc.errors import InputError
from mc.estimate.cells.study import Study
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import Decision
from mc.estimate.widths.scaling import NAMES, CellCurve, ScalingLaw, cell_curve, scaling_law
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.style import BLUE, EVENT_LINES, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION, log_ticks, panel, to_svg

LEAST_CELLS = 4
COLLAPSED = ("sharp", "trial")
"""Rungs whose curves are drawn; the table has all."""
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = "os^DPv"


@dataclass(frozen=True)
class ScalingPage:
    """What the page shows of the scaling laws.

    Parameters
    ----------
    laws : tuple of ScalingLaw
    names : tuple of str
        Quantities that vary over the cells.
    held : tuple of str
        Those that do not.
    rows : tuple of mapping
        The table: rung, mode, constant and the exponents in words.
    figure : Figure or None
    """

    laws: tuple[ScalingLaw, ...]
    names: tuple[str, ...]
    held: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    figure: Figure | None


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "∞" if value > 0 else "−∞"


def _varies(curve: CellCurve) -> bool:
    """Whether some draws of a cell hold and some fail: all or none put k* nowhere."""
    holds, fails = ((curve.decisions == which).any() for which in (Decision.HOLDS, Decision.FAILS))
    return bool(holds and fails)


def _row(law: ScalingLaw) -> Mapping[str, Any]:
    exponents = {
        found.name: {
            "estimate": _signed(found.estimate),
            "trials": " to ".join(map(_signed, found.bootstrap)),
            "cells": " to ".join(map(_signed, found.jackknife)),
            "theory": f"{found.theory:g}".replace("-", "−"),
        }
        for found in law.exponents
    }
    used = int(np.isfinite(law.fitted).sum())
    return {"event": law.event, "mode": law.mode, "cells": f"{used} of {len(law.fitted)}", "exponents": exponents}


def _draw(axes: Axes, law: ScalingLaw, cells: Sequence[CellCurve], labels: Sequence[str]) -> None:
    for i, (x, share) in enumerate(law.collapse(cells)):
        if np.isfinite(x).all():
            axes.plot(
                x, share, color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=3.5,
                linewidth=1.0, markeredgewidth=0, alpha=0.85, label=labels[i] if len(cells) <= len(COLOURS) else None,
            )  # fmt: skip
    axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.axhline(law.p, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xscale("log")
    log_ticks(axes, "x", minor=True)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("width over the width k* of the law (log scale)")
    axes.set_ylabel("share of the draws certified")


def _figure(drawn: Sequence[tuple[ScalingLaw, Sequence[CellCurve], Sequence[str]]]) -> Figure | None:
    panels: list[Panel] = []
    rows: list[Row] = []
    for law, cells, labels in drawn:
        for label, cell, (x, share) in zip(labels, cells, law.collapse(cells), strict=True):
            rows += [(law.event, law.mode, label, *v) for v in zip(cell.widths.tolist(), x, share, strict=True)]
        if law.event not in COLLAPSED:
            continue
        words = (
            f"Share certified by {law.event} against k over the law's k*, {mode_name(law.mode)}: {len(cells)} cells."
        )
        with panel(height=3.3) as (figure, axes):
            _draw(axes, law, cells, labels)
            axes.set_title(f"{EVENT_LINES[law.event].label}: {mode_name(law.mode)}")
            if len(cells) <= len(COLOURS):
                figure.legend(loc="outside lower left", ncols=2)
            panels.append(Panel(f"all-collapse-{law.mode}-{law.event}", to_svg(figure, words), words))
    if not panels:
        return None
    caption = (
        "Each line is one cell, its widths divided by the width at which the fitted law puts one half. Where the law "
        "holds the lines fall on one; what is left between them is not explained by it."
    )
    header = ("event", "mode", "cell", "width", "scaled_width", "share")
    return Figure(
        "all-collapse", "The curves of all cells on one scale", caption, tuple(panels), csv_text(header, rows)
    )


def scaling(study: Study) -> ScalingPage | None:
    """Scaling laws of k*(1/2) over the cells of a run.

    Returns
    -------
    ScalingPage or None
        None with fewer than four cells, or where they do not tell the exponents apart.
    """
    if len(study.cells) < LEAST_CELLS:
        return None
    seed = int(study.experiment.get("experiment", {}).get("seed", 0))
    varying = [
        name
        for name in dict.fromkeys(key for own in study.cells for key in own.cell.problem)
        if name != "rank_tol" and len({str(own.cell.problem.get(name)) for own in study.cells}) > 1
    ]
    drawn = []
    for mode, event in dict.fromkeys(at for own in study.cells for at in own.curves):
        if event not in EVENT_LINES:
            continue
        found = [
            (own, made)
            for own in study.cells
            if (made := cell_curve(own.cell, event, mode)) is not None and _varies(made)
        ]
        curves = [made for _, made in found]
        labels = [
            ", ".join(f"{name} = {own.cell.problem[name]}" for name in varying if name in own.cell.problem)
            or f"cell {spaced(own.cell.index)}"
            for own, _ in found
        ]
        if len(curves) < LEAST_CELLS:
            continue
        try:
            law = scaling_law(curves, mode, event, seed, level=study.level)
        except InputError:
            # these cells do not tell the exponents apart
            continue
        if law.exponents:
            drawn.append((law, curves, labels))
    if not drawn:
        return None
    laws = tuple(law for law, _, _ in drawn)
    names = tuple(name for name in NAMES if any(name not in law.held for law in laws))
    held = tuple(name for name in NAMES if name not in names)
    return ScalingPage(laws, names, held, tuple(_row(law) for law in laws), _figure(drawn))
