"""The study "scaling": with which powers of n, m, sigma_A and psi the needed width grows, beside the theorem's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from mc.estimate.cells.factors import Point, law, points, power, residual_along, widest
from mc.estimate.cells.study import CellStudy
from mc.estimate.widths.scaling import NAMES, THEORY, Exponent, ScalingLaw
from mc.report.figures import Figure, Panel, mode_name
from mc.report.paper.section import (
    EMPTY,
    Limits,
    PaperClaim,
    Run,
    Runs,
    Section,
    Table,
    Texts,
    drawn,
    signed,
    whole,
    within,
)
from mc.report.style import EVENT_LINES, MUTED, log_ticks

TEXTS = Texts("scaling")

FACTORS = {"scaling-n": "n", "scaling-m": "m", "scaling-sigma": "sigma_A", "scaling-psi": "psi"}
"""The factor that each experiment varies."""

SYMBOLS = {"n": "n", "m": "m", "sigma_A": "σ_A", "psi": "ψ"}
LENGTHS = {
    "n": "length n of the signal",
    "m": "number m of observations",
    "sigma_A": "smallest singular value σ_A, |A| = 1",
    "psi": "initial residual ψ",
}

RUNGS = {"hidden": ("exact", "sharp", "trial", "paper"), "both": ("sharp", "trial", "paper")}
TOGETHER = 4
"""Exponents of one claim at most: the level is shared by so many."""

CLEAR = 1.15
"""Ratio from which the labels of two ticks do not touch."""

Key = tuple[str, str, str]
"""Factor, mode and rung."""


def _near(value: float, reach: float = 0.2) -> Limits:
    return value - reach, value + reach


EXPECTED: Mapping[str, Mapping[Key, Limits]] = {
    "theorem_claim": {
        ("n", "hidden", "paper"): _near(1), ("psi", "hidden", "paper"): _near(2),
        ("sigma_A", "hidden", "paper"): _near(-2),
    },
    "columns_claim": {("n", "hidden", "trial"): (0.5, 1.0)},
    "length_claim": {("n", "hidden", "sharp"): _near(0, 0.1), ("n", "both", "sharp"): _near(0, 0.1)},
    "exact_claim": {
        ("n", "hidden", "exact"): _near(0, 0.1), ("psi", "hidden", "exact"): (0.0, 2.0),
        ("sigma_A", "hidden", "exact"): (-2.0, 0.0),
    },
    "both_claim": {
        ("psi", "both", "trial"): (2.0, 4.0), ("psi", "both", "paper"): (2.0, 4.0),
        ("sigma_A", "both", "trial"): (-4.0, -2.0), ("sigma_A", "both", "paper"): (-4.0, -2.0),
    },
}  # fmt: skip
"""The ranges of powers that each claim of the template states, as they were expected before the runs."""


@dataclass(frozen=True)
class Fits:
    """Everything that is fitted."""

    points: Mapping[Key, tuple[Point, ...]]  # from the experiment of the factor
    powers: Mapping[Key, Exponent]  # where there are enough widths on the grid
    laws: Mapping[tuple[str, str], ScalingLaw]  # by (mode, rung), over the cells of all experiments


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    cells = {
        factor: trials
        for name, factor in FACTORS.items()
        if name in runs.by_name and (trials := tuple(cell for cell in runs[name].study.cells if cell.trials))
    }
    if not cells:
        return EMPTY
    level = 1.0 - (1.0 - runs.level) / TOGETHER
    first = next(iter(runs.by_name.values()))
    fits = _fits(cells, int(first.study.experiment.get("experiment", {}).get("seed", 0)), level)
    claims = (power_claim(block, ranges, fits, runs.by_name, runs.level) for block, ranges in EXPECTED.items())
    return Section(
        verdict=_verdict(fits),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=tuple(factor_figure(factor, fits, level) for factor in cells),
        tables=(
            TEXTS.table("powers_table", fits=fits, symbols=SYMBOLS, level=level),
            _laws_table(fits, level),
            _residual_table(cells),
        ),
        meaning=_meaning(fits),
    )


def _fits(cells: Mapping[str, tuple[CellStudy, ...]], seed: int, level: float) -> Fits:
    by_key: dict[Key, tuple[Point, ...]] = {}
    powers: dict[Key, Exponent] = {}
    laws: dict[tuple[str, str], ScalingLaw] = {}
    for mode, event in ((mode, event) for mode, events in RUNGS.items() for event in events):
        pooled: list[Point] = []
        for factor, studies in cells.items():
            of_factor = points(studies, mode, event, level)
            if not of_factor:
                continue
            by_key[factor, mode, event] = of_factor
            pooled += of_factor
            fitted = power(of_factor, factor, mode, event, seed, level)
            if fitted is not None:
                powers[factor, mode, event] = fitted
        whole = law(pooled, mode, event, seed, level)
        if whole is not None:
            laws[mode, event] = whole
    return Fits(by_key, powers, laws)


def _span(ends: Limits) -> str:
    return f"{signed(ends[0])} to {signed(ends[1])}"


def _power(exponent: Exponent | None) -> str:
    return "–" if exponent is None else f"{signed(exponent.estimate)} ({_span(widest(exponent))})"


def _laws_table(fits: Fits, level: float) -> Table:
    laws = [
        (mode, rung, int(sum(map(math.isfinite, law.fitted))), {power.name: power for power in law.exponents})
        for (mode, rung), law in fits.laws.items()
    ]
    symbols = {name: SYMBOLS[name] for name in NAMES}
    return TEXTS.table("laws_table", laws=laws, symbols=symbols, theory=THEORY, power=_power, level=level)


def _residual_table(cells: Mapping[str, tuple[CellStudy, ...]]) -> Table:
    rows = [
        (factor, study.cell.problem, residual_along(study.cell, [10, 1_000, int(study.cell.widths[-1])]))
        for factor, studies in cells.items()
        for study in studies
    ]
    varied = (("n", "n"), ("m", "m"), ("condition", "condition"), ("noise_norm", "|noise|"))
    return TEXTS.table("residual_table", cells=rows, varied=varied, symbols=SYMBOLS)


def power_claim(
    block: str, ranges: Mapping[Key, Limits], fits: Fits, runs: Mapping[str, Run], level: float
) -> PaperClaim | None:
    """Judge whether every power lies in its range; the widest of the intervals that decide gives the address."""
    intervals = {key: widest(fits.powers[key]) for key in ranges if key in fits.powers}
    if not intervals:
        return None
    verdict = within((limits, ranges[key]) for key, limits in intervals.items())
    outside = [key for key, limits in intervals.items() if within([(limits, ranges[key])]) == "contradicted"]
    complete = len(intervals) == len(ranges)
    key = (outside or sorted(intervals, key=lambda key: intervals[key][0] - intervals[key][1]))[0]
    last = [point for point in fits.points[key] if point.on_grid][-1]
    experiment = next(name for name, factor in FACTORS.items() if factor == key[0] and name in runs)
    by_factor = {factor: fits.points[factor, mode, rung] for factor, mode, rung in intervals}
    spans = [(SYMBOLS[factor], mode, rung, _span(limits)) for (factor, mode, rung), limits in intervals.items()]
    return TEXTS.claim(
        block,
        verdict=verdict if complete or outside else "undecided",
        trials=sum(len(point.curve.decisions) for of_factor in by_factor.values() for point in of_factor),
        figure=experiment,
        experiment=experiment,
        address=(fits.points[key].index(last), None, round(last.width.estimate)),
        interval=TEXTS.text("interval", level=level, intervals=spans, complete=complete),
    )


def _verdict(fits: Fits) -> str:
    rungs = []
    for mode, event in (("hidden", "exact"), ("hidden", "paper"), ("both", "sharp"), ("both", "paper")):
        fitted = [(SYMBOLS[name], fits.powers.get((name, mode, event))) for name in ("n", "psi", "sigma_A")]
        powers = [(symbol, exponent.estimate) for symbol, exponent in fitted if exponent is not None]
        if powers:
            rungs.append((mode, event, powers))
    return TEXTS.text("verdict", rungs=rungs)


def _meaning(fits: Fits) -> tuple[str, ...]:
    def fitted(*key: str) -> str:
        return _power(fits.powers.get((key[0], key[1], key[2])))

    theorem = {
        mode: ", ".join(f"{SYMBOLS[name]}: {whole(powers[name])}" for name in NAMES) for mode, powers in THEORY.items()
    }
    return TEXTS.paragraphs("meaning", theorem=theorem, power=fitted)


def _draw(axes: Axes, factor: str, mode: str, fits: Fits) -> None:
    anchor: tuple[np.ndarray, float, float] | None = None
    for name, line in EVENT_LINES.items():
        on_grid = [point for point in fits.points.get((factor, mode, name), ()) if point.on_grid]
        if not on_grid:
            continue
        x = np.array([point.scales[factor] for point in on_grid])
        y = np.array([point.width.estimate for point in on_grid])
        ends = np.array([point.width.interval for point in on_grid])
        low = np.clip(y - np.maximum(ends[:, 0], 1.0), 0.0, None)
        high = np.where(np.isfinite(ends[:, 1]), np.clip(ends[:, 1] - y, 0.0, None), 0.0)
        fitted = fits.powers.get((factor, mode, name))
        label = line.label if fitted is None else f"{line.label}: power {fitted.estimate:.2f}".replace("-", "−")
        axes.errorbar(
            x, y, yerr=[low, high], color=line.colour, marker=line.marker, markersize=4.5, linewidth=1.2,
            elinewidth=1.0, markeredgewidth=0, label=label.replace("exact: zero loss is reached", "exact"),
        )  # fmt: skip
        start = int(np.argmin(y))
        anchor = (np.array([x.min(), x.max()]), float(x[start]), float(y[start]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    if anchor is not None:
        span, x0, y0 = anchor
        slope = THEORY[mode][factor]
        axes.plot(
            span, 2.0 * y0 * (span / x0) ** slope, color=MUTED, linestyle=(0, (5.0, 2.0)), linewidth=1.2,
            label=f"power of the theorem: {whole(slope)}",
        )  # fmt: skip
        shown = [point for (varied, *_), of_factor in fits.points.items() if varied == factor for point in of_factor]
        ticks = sorted({float(f"{point.scales[factor]:.2g}") for point in shown})
        # of two ticks that would touch the second keeps its line only
        labels = [f"{b:g}" if b > CLEAR * a else "" for a, b in zip([0.0, *ticks], ticks, strict=False)]
        axes.set_xticks(ticks, labels)
        axes.xaxis.set_minor_locator(NullLocator())
    log_ticks(axes, "y")
    axes.set_xlabel(f"{LENGTHS[factor]} (log scale)")
    axes.set_ylabel("median width (neurons, log scale)")


def _rows(factor: str, fits: Fits) -> Iterator[Sequence[object]]:
    for (varied, mode, rung), of_factor in fits.points.items():
        for p in of_factor if varied == factor else ():
            scales = [p.scales.get(name) for name in (factor, "n", "m", "sigma_A", "psi")]
            yield mode, rung, factor, *scales, p.width.estimate, *p.width.interval, p.width.grid[1]


def factor_figure(factor: str, fits: Fits, level: float) -> Figure:
    """Draw the median width of every rung against one factor, one panel per mode; `level` is that of each width."""
    name = next(experiment for experiment, varied in FACTORS.items() if varied == factor)
    panels: list[Panel] = []
    for mode in dict.fromkeys(mode for varied, mode, _ in fits.points if varied == factor):
        fitted = [(key[2], exponent.estimate) for key, exponent in fits.powers.items() if key[:2] == (factor, mode)]
        words = TEXTS.text("factor_panel", factor=LENGTHS[factor], mode=mode, powers=fitted)
        with drawn(panels, f"{name}-{mode}", words, height=4.0, ncols=2, handlelength=2.4, columnspacing=1.2) as axes:
            _draw(axes, factor, mode, fits)
            axes.set_title(mode_name(mode).capitalize())
    columns = (
        "mode", "rung", "factor", "value", "n", "m", "sigma_A", "psi", "median_width", "low", "high", "grid_top",
    )  # fmt: skip
    rows = _rows(factor, fits)
    return TEXTS.figure(name, "factor_figure", panels, columns, rows, level=level, factor=LENGTHS[factor])
