"""Rare failures: measured -log10 P against the width with counts and bound, as a figure, a table and a summary."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import significant, spaced
from mc.estimate.rare.predicted import RareTheory
from mc.estimate.rare.probability import METHOD, METHOD_CLASS
from mc.estimate.rare.study import RareStudy
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel, Row, cell_prefix, csv_text, new_panel
from mc.report.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION, power_of_ten
from mc.report.summary import plain

COLUMNS = (
    "width", "repetitions", "probability", "lower", "upper", "tilted", "tilted_lower", "tilted_upper", "counted_fails",
    "counted_trials", "counted_undecided", "counted_upper_one_sided", "first_particles_fails", "first_particles",
    "theory", "spread_of_logarithms", "variance_inflation", "acceptance", "autocorrelation", "survival", "levels",
    "warnings",
)  # fmt: skip

TITLE_CHARACTERS = 70

FAILURES = {
    "lambda_min": "λmin(VDφ²Vᵀ/k) ≤ {threshold} C²",
    "activation_norm_low": "|z|/√k ≤ {threshold} C",
    "activation_norm_high": "|z|/√k ≥ {threshold} C",
    "output_norm": "|y(0)| ≥ {threshold} C|A|",
    "exact": "zero loss is out of reach",
}
"""The failure in symbols; C is the moment of φ′ for λmin, of φ for the norms, |A| the Frobenius norm."""


def failure_words(study: RareStudy) -> str:
    """Return the failure in symbols or words."""
    table = study.table
    if table["margin"] in FAILURES:
        return FAILURES[table["margin"]].format(threshold=f"{table.get('threshold', 0.0):g}")
    limit = "" if table["threshold"] == 1.0 else f" with {table['threshold']:g} to spare"
    return f"`{table['margin']}` does not certify{limit}"


def _rows(study: RareStudy) -> list[Row]:
    """Return the numbers of the figure, a row for each width in the order of `COLUMNS`."""
    rows: list[Row] = []
    for i, w in enumerate(study.widths):
        c = w.counted
        counted = (None,) * 4 if c is None else (c.fails, c.trials, c.undecided, c.upper)
        theory = None if study.theory is None else float(study.theory.failure[i])
        rows.append(
            (
                w.width, w.repetitions, w.probability, *w.interval, w.tilted, *w.tilted_interval, *counted,
                w.direct.fails, w.direct.trials, theory, w.spread, w.inflation, w.acceptance, w.autocorrelation,
                w.survival, w.levels, "; ".join(w.warnings),
            )
        )  # fmt: skip
    return rows


def _message(study: RareStudy) -> str:
    """Return the result in one sentence."""
    last = ([w for w in study.widths if w.repetitions] or study.widths)[-1]
    message = f"P({failure_words(study)}) falls to {_power(last.probability)} at k = {spaced(last.width)}"
    if study.theory is not None and study.theory.exact:
        pairs = zip(study.widths, study.theory.failure, strict=True)
        inside = sum(w.interval[0] <= p <= w.interval[1] for w, p in pairs)
        return f"{message}; the exact law lies in {inside} of {len(study.widths)} intervals"
    if math.isfinite(study.pessimism):
        return f"{message}, {significant(study.pessimism, 2):g} times as fast as the bound"
    return message


def _power(p: float) -> str:
    """Format a probability: 0.12, 2.0·10⁻¹⁴."""
    if not p < 0.01:
        return f"{p:.2g}"
    mantissa, exponent = f"{p:.1e}".split("e")
    return f"{mantissa}·{power_of_ten(float(f'1e{exponent}'))}"


def _decades(p: Array | float) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log10(p) + 0.0)


def _bars(
    axes: Axes, k: Sequence[int], middle: Sequence[float], ends: Sequence[tuple[float, float]], **look: Any
) -> None:
    """Draw points with intervals on -log10; an open end of an interval reaches the top of the axis."""
    low, high = np.array(ends).T
    y, bottom, top = _decades(np.array(middle)), _decades(high), _decades(np.maximum(low, 1e-300))
    axes.errorbar(k, y, yerr=np.abs(np.stack([y - bottom, top - y])), linewidth=1.2, capsize=2.5, **look)


def _draw_theory(axes: Axes, k: Array, bound: RareTheory) -> None:
    if bound.exact:
        label = f"{bound.name} ({bound.source})"
        axes.plot(k, _decades(bound.failure), color=GREEN, linewidth=1.4, label=label)
    elif (informative := bound.failure < 1.0).any():
        label = f"{bound.name}, upper bound ({bound.source})"
        y = _decades(bound.failure[informative])
        axes.plot(k[informative], y, color=VERMILLION, linestyle=(0, (5.0, 2.0)), label=label)


def _draw_counted(axes: Axes, study: RareStudy) -> None:
    counted = {w.width: w.counted for w in study.widths if w.counted is not None}
    positive = {k: c for k, c in counted.items() if c.fails > 0}
    if positive:
        trials = next(iter(positive.values())).trials
        _bars(
            axes, [*positive], [c.fails / c.trials for c in positive.values()],
            [c.interval for c in positive.values()], color=INK, fmt="D", markersize=4.0, markerfacecolor="none",
            label=f"counted in {spaced(trials)} trials (exact interval)",
        )  # fmt: skip
    zero = {k: c for k, c in counted.items() if c.fails == 0}
    if zero:
        limits = _decades(np.array([c.upper for c in zero.values()]))
        label = "no failure counted: at least so rare"
        axes.plot([*zero], limits, color=INK, marker=10, linestyle="", markersize=6.0, label=label)


def _draw(axes: Axes, study: RareStudy) -> None:
    if study.drawn is not None:
        _draw_theory(axes, *study.drawn)
    widths, label = study.widths, f"splitting, estimate with {100.0 * study.level:g} % interval"
    look: dict[str, Any] = {"color": BLUE, "fmt": "o", "markersize": 4.5, "label": label}
    _bars(axes, [w.width for w in widths], [w.probability for w in widths], [w.interval for w in widths], **look)
    tilted = [w for w in widths if w.tilted > 0.0]
    if tilted:
        look = {"color": ORANGE, "fmt": "s", "markersize": 7.0, "markerfacecolor": "none"}
        look["label"] = "tilted importance sampling, a second estimate"
        _bars(axes, [w.width for w in tilted], [w.tilted for w in tilted], [w.tilted_interval for w in tilted], **look)
    _draw_counted(axes, study)
    doubtful = {w.width: w.probability for w in widths if not w.trusted}
    if doubtful:
        y = _decades(np.array([*doubtful.values()]))
        label = "diagnostics forbid trust"
        axes.plot([*doubtful], y, color=MUTED, marker="x", linestyle="", markersize=9.0, label=label)
    top = float(_decades(min(w.probability for w in widths if w.probability > 0.0)))
    axes.set_ylim(-0.03 * top, 1.12 * top)
    axes.set_xlabel("width k of the hidden layer (neurons)")
    axes.set_ylabel("−log₁₀ P(failure): decades below one")


def _caption(study: RareStudy) -> str:
    parts = [
        "Circles: mean of independent repetitions of multilevel splitting, an estimate whose interval rests on their "
        "spread. Diamonds: failures counted in the run's own trials, with exact limits."
    ]
    rate, times = study.rate, study.pessimism
    if rate is not None and math.isfinite(rate.standard_error):
        low, high = rate.interval
        slope = f"In the tail -log P grows by {rate.rate:.3g} a neuron ({low:.3g} to {high:.3g})"
        if math.isfinite(times) and study.theory is not None:
            slope += f"; the bound's constant is {study.theory.rate:.3g}, {significant(times, 2):g} times smaller"
        parts.append(slope + ".")
    warned = [w for w in study.widths if w.warnings]
    parts += [f"Not to be trusted at k = {spaced(w.width)}: {'; '.join(w.warnings)}." for w in warned]
    if study.unreached:
        parts.append(f"Splitting did not come to the threshold at k = {', '.join(map(spaced, study.unreached))}.")
    return " ".join(parts)


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2g} to {interval[1]:.2g}"


def rare_table(study: RareStudy | None) -> tuple[Mapping[str, str], ...]:
    """Return the rows of the table below the figure."""
    if study is None:
        return ()
    theory = ["–"] * len(study.widths) if study.theory is None else [f"{p:.2g}" for p in study.theory.failure]
    return tuple(
        {
            "width": spaced(w.width),
            "counted": "–" if w.counted is None else f"{spaced(w.counted.fails)} of {spaced(w.counted.trials)}",
            "limit": "–" if w.counted is None else f"{w.counted.upper:.2g}",
            "splitting": f"{w.probability:.2g}",
            "interval": _span(w.interval),
            "tilting": f"{w.tilted:.2g}" if math.isfinite(w.tilted) else "–",
            "tilting_interval": _span(w.tilted_interval) if math.isfinite(w.tilted) else "",
            "theory": bound,
            "trust": "; ".join(w.warnings) or "no diagnostic speaks against it",
        }
        for w, bound in zip(study.widths, theory, strict=True)
    )


def rare_summary(studies: Mapping[int, RareStudy | None]) -> dict[str, Any]:
    """Return the entry ``rare`` of summary.json, by cell; empty where there is no [rare]."""
    entries = [
        {
            "cell": index,
            "failure": dict(study.table),
            "method": METHOD,
            "class": METHOD_CLASS,
            "level": study.level,
            "widths": [dict(zip(COLUMNS, row, strict=True)) for row in _rows(study)],
            "unreached": list(study.unreached),
            "rate": None if study.rate is None else study.rate.rate,
            "rate_interval": None if study.rate is None else list(study.rate.interval),
            "theory": None if study.theory is None else study.theory.name,
            "theory_rate": None if study.theory is None else study.theory.rate,
            "pessimism": study.pessimism,
        }
        for index, study in studies.items()
        if study is not None
    ]
    return {"rare": plain(entries)} if entries else {}


def rare_failures(cell: CellStudy, study: RareStudy | None) -> Figure | None:
    """Draw -log10 P(failure) against the width; None without repetitions that came to the threshold."""
    if study is None or not any(w.probability > 0.0 for w in study.widths):
        return None
    message, panels = _message(study), list[Panel]()
    name = f"{cell_prefix(cell)}-rare-{study.table['margin'].replace('_', '')}"
    alternative = f"Decades below one of a rare failure against the width. {message}."
    title, legend = textwrap.fill(message, TITLE_CHARACTERS), {"ncols": 1, "handlelength": 2.8}
    with new_panel(panels, name, alternative, title, legend, width=6.4, height=4.3) as axes:
        _draw(axes, study)
    table = csv_text(COLUMNS, _rows(study))
    return Figure(f"{cell_prefix(cell)}-rare", f"A rare failure: {message}", _caption(study), tuple(panels), table)
