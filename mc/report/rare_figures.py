"""The figure of a rare failure: measured -log10 P against the width, counts where they reach, the bound beside."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import significant, spaced
from mc.estimate.rare.probability import METHOD, METHOD_CLASS
from mc.estimate.rare.study import RareStudy
from mc.model.arrays import Array
from mc.report.figures import Figure, Panel, Row, cell_prefix, csv_text
from mc.report.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION, panel, power_of_ten, to_svg
from mc.report.summary import plain

COLUMNS = (
    "width", "repetitions", "probability", "lower", "upper", "tilted", "tilted_lower", "tilted_upper", "counted_fails",
    "counted_trials", "counted_undecided", "counted_upper_one_sided", "first_particles_fails", "first_particles",
    "theory", "spread_of_logarithms", "variance_inflation", "acceptance", "autocorrelation", "survival", "levels",
    "warnings",
)  # fmt: skip

TITLE_CHARACTERS = 70
SIZE = (6.4, 4.3)

FAILURES = {
    "lambda_min": "λmin(VDφ²Vᵀ/k) ≤ {threshold} C²",
    "activation_norm_low": "|z|/√k ≤ {threshold} C",
    "activation_norm_high": "|z|/√k ≥ {threshold} C",
    "output_norm": "|y(0)| ≥ {threshold} C|A|",
    "exact": "zero loss is out of reach",
}
"""The failure in symbols; C is the moment of φ′ for λmin, of φ for the norms, |A| the Frobenius norm."""


def failure_words(study: RareStudy) -> str:
    """The failure, in symbols or words."""
    table = study.table
    if table["margin"] in FAILURES:
        return FAILURES[table["margin"]].format(threshold=f"{table.get('threshold', 0.0):g}")
    limit = "" if table["threshold"] == 1.0 else f" with {table['threshold']:g} to spare"
    return f"`{table['margin']}` does not certify{limit}"


def rare_rows(study: RareStudy) -> list[Row]:
    """The numbers of the figure."""
    rows: list[Row] = []
    for i, w in enumerate(study.widths):
        counted = (None,) * 4
        if w.counted is not None:
            counted = (w.counted.fails, w.counted.trials, w.counted.undecided, w.counted.upper)  # type: ignore[assignment]
        theory = None if study.theory is None else float(study.theory.failure[i])
        rows.append(
            (
                w.width, w.repetitions, w.probability, *w.interval, w.tilted, *w.tilted_interval, *counted,
                w.direct.fails, w.direct.trials, theory, w.spread, w.inflation, w.acceptance, w.autocorrelation,
                w.survival, w.levels, "; ".join(w.warnings),
            )
        )  # fmt: skip
    return rows


def rare_message(study: RareStudy) -> str:
    """What the figure shows, in one sentence."""
    if not study.widths:
        return "Splitting did not come to the threshold"
    last = ([w for w in study.widths if w.repetitions] or study.widths)[-1]
    say = f"P({failure_words(study)}) falls to {_power(last.probability)} at k = {spaced(last.width)}"
    if study.theory is not None and study.theory.exact:
        inside = sum(
            w.interval[0] <= p <= w.interval[1] for w, p in zip(study.widths, study.theory.failure, strict=True)
        )
        return f"{say}; the exact law lies in {inside} of {len(study.widths)} intervals"
    if math.isfinite(study.pessimism):
        return f"{say}, {significant(study.pessimism, 2):g} times as fast as the bound"
    return say


def _power(p: float) -> str:
    """A probability as a reader writes it: 0.12, 2.0·10⁻¹⁴."""
    if not p < 0.01:
        return f"{p:.2g}"
    mantissa, exponent = f"{p:.1e}".split("e")
    return f"{mantissa}·{power_of_ten(float(f'1e{exponent}'))}"


def _decades(p: Array | float) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log10(p) + 0.0)


def _bars(axes: Axes, k: Array, middle: Array, ends: Array, **how: object) -> None:
    """Points with intervals, drawn on -log10; an open end of an interval reaches the top of the axis."""
    y, low, high = _decades(middle), _decades(ends[:, 1]), _decades(np.maximum(ends[:, 0], 1e-300))
    axes.errorbar(k, y, yerr=np.abs(np.stack([y - low, high - y])), linewidth=1.2, capsize=2.5, **how)  # type: ignore[arg-type]


def _draw_counted(axes: Axes, study: RareStudy) -> None:
    seen = [w for w in study.widths if w.counted is not None]
    some = [w for w in seen if w.counted is not None and w.counted.fails > 0]
    none = [w for w in seen if w.counted is not None and w.counted.fails == 0]
    if some:
        k = np.array([w.width for w in some], dtype=float)
        counted = [w.counted for w in some if w.counted is not None]
        share = np.array([c.fails / c.trials for c in counted])
        _bars(
            axes, k, share, np.array([c.interval for c in counted]), color=INK, fmt="D", markersize=4.0,
            markerfacecolor="none", label=f"counted in {spaced(counted[0].trials)} trials (exact interval)",
        )  # fmt: skip
    if none:
        k = np.array([w.width for w in none], dtype=float)
        limits = _decades(np.array([w.counted.upper for w in none if w.counted is not None]))
        axes.plot(
            k, limits, color=INK, marker=10, linestyle="", markersize=6.0, label="no failure counted: at least so rare"
        )


def _draw(axes: Axes, study: RareStudy) -> None:
    k = np.array([w.width for w in study.widths], dtype=float)
    if study.drawn is not None:
        dense, bound = study.drawn
        says = bound.failure < 1.0
        if bound.exact:
            axes.plot(
                dense, _decades(bound.failure), color=GREEN, linewidth=1.4, label=f"{bound.name} ({bound.source})"
            )
        elif says.any():
            label = f"{bound.name}, upper bound ({bound.source})"
            axes.plot(
                dense[says], _decades(bound.failure[says]), color=VERMILLION, linestyle=(0, (5.0, 2.0)), label=label
            )
    _bars(
        axes, k, np.array([w.probability for w in study.widths]), np.array([w.interval for w in study.widths]),
        color=BLUE, fmt="o", markersize=4.5, label=f"splitting, estimate with {100.0 * study.level:g} % interval",
    )  # fmt: skip
    tilted = [w for w in study.widths if w.tilted > 0.0]
    if tilted:
        _bars(
            axes, np.array([w.width for w in tilted], dtype=float), np.array([w.tilted for w in tilted]),
            np.array([w.tilted_interval for w in tilted]), color=ORANGE, fmt="s", markersize=7.0,
            markerfacecolor="none", label="tilted importance sampling, a second estimate",
        )  # fmt: skip
    _draw_counted(axes, study)
    doubtful = [w for w in study.widths if not w.trusted]
    if doubtful:
        axes.plot(
            [w.width for w in doubtful], _decades(np.array([w.probability for w in doubtful])), color=MUTED, marker="x",
            linestyle="", markersize=9.0, label="diagnostics forbid trust",
        )  # fmt: skip
    top = float(_decades(min(w.probability for w in study.widths if w.probability > 0.0)))
    axes.set_ylim(-0.03 * top, 1.12 * top)
    axes.set_xlabel("width k of the hidden layer (neurons)")
    axes.set_ylabel("−log₁₀ P(failure): decades below one")


def _caption(study: RareStudy) -> str:
    parts = [
        "Circles: mean of independent repetitions of multilevel splitting, an estimate whose interval rests on their "
        "spread. Diamonds: failures counted in the run's own trials, with exact limits."
    ]
    rate = study.rate
    if rate is not None and math.isfinite(rate.standard_error):
        slope = (
            f"In the tail -log P grows by {rate.rate:.3g} a neuron ({rate.interval[0]:.3g} to {rate.interval[1]:.3g})"
        )
        if math.isfinite(study.pessimism) and study.theory is not None:
            slope += (
                f"; the bound's constant is {study.theory.rate:.3g}, {significant(study.pessimism, 2):g} times smaller"
            )
        parts.append(slope + ".")
    warned = [w for w in study.widths if w.warnings]
    parts += [f"Not to be trusted at k = {spaced(w.width)}: {'; '.join(w.warnings)}." for w in warned]
    if study.unreached:
        parts.append(f"Splitting did not come to the threshold at k = {', '.join(map(spaced, study.unreached))}.")
    return " ".join(parts)


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2g} to {interval[1]:.2g}"


def rare_table(study: RareStudy | None) -> tuple[Mapping[str, str], ...]:
    """Rows of the table below the figure."""
    rows = []
    for i, w in enumerate(study.widths if study is not None else ()):
        counted = w.counted
        bound = study.theory if study is not None else None
        rows.append(
            {
                "width": spaced(w.width),
                "counted": "–" if counted is None else f"{spaced(counted.fails)} of {spaced(counted.trials)}",
                "limit": "–" if counted is None else f"{counted.upper:.2g}",
                "splitting": f"{w.probability:.2g}",
                "interval": _span(w.interval),
                "tilting": f"{w.tilted:.2g}" if math.isfinite(w.tilted) else "–",
                "tilting_interval": _span(w.tilted_interval) if math.isfinite(w.tilted) else "",
                "theory": "–" if bound is None else f"{bound.failure[i]:.2g}",
                "trust": "; ".join(w.warnings) or "no diagnostic speaks against it",
            }
        )
    return tuple(rows)


def rare_summary(studies: Mapping[int, RareStudy | None]) -> dict[str, Any]:
    """The entry ``rare`` of summary.json, by cell; empty where there is no [rare]."""
    found = [
        {
            "cell": index,
            "failure": dict(study.table),
            "method": METHOD,
            "class": METHOD_CLASS,
            "level": study.level,
            "widths": [dict(zip(COLUMNS, row, strict=True)) for row in rare_rows(study)],
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
    return {"rare": plain(found)} if found else {}


def rare_failures(cell: CellStudy, study: RareStudy | None) -> Figure | None:
    """Measured -log10 P(failure) against the width.

    Parameters
    ----------
    cell : CellStudy
    study : RareStudy or None

    Returns
    -------
    Figure or None
        None without repetitions that came to the threshold.
    """
    if study is None or not any(w.probability > 0.0 for w in study.widths):
        return None
    message = rare_message(study)
    name = f"{cell_prefix(cell)}-rare-{study.table['margin'].replace('_', '')}"
    with panel(*SIZE) as (figure, axes):
        _draw(axes, study)
        axes.set_title(textwrap.fill(message, TITLE_CHARACTERS))
        figure.legend(loc="outside lower left", ncols=1, handlelength=2.8)
        drawn = Panel(
            name, to_svg(figure, message), f"Decades below one of a rare failure against the width. {message}."
        )
    table = csv_text(COLUMNS, rare_rows(study))
    return Figure(f"{cell_prefix(cell)}-rare", f"A rare failure: {message}", _caption(study), (drawn,), table)
