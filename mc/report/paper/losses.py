"""The study of losses: exponential and polynomial rates, measured and promised (theory §2, §4(i))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mc.estimate.flows.error_bands import band, common_times
from mc.estimate.flows.losses import (
    Median,
    Saved,
    Slopes,
    exponential_rate,
    loss_of,
    median_of,
    power_exponent,
    saved_of,
)
from mc.model.arrays import Array
from mc.model.losses import Power
from mc.report.figures import Figure, Panel, mode_name
from mc.report.paper.section import EMPTY, Limits, PaperClaim, Runs, Section, Texts, drawn, within
from mc.report.style import BLUE, INK, MUTED, VERMILLION, log_ticks

TEXTS = Texts("losses")
EXPONENTIAL = {"losses-mse": "mse", "losses-logcosh": "logcosh"}

TOLERANCE, LOOSENESS = 0.02, 4.0
"""Expected before the run: exponents within 2 % of theirs, rates at least 4 times those of the bound."""

GRID = 80
ENDED = 0.05
"""The curves stop where this share of the trajectories has ended: beyond, a band would not fall with the losses."""

FLOOR = 1e-14
"""Losses below it are not drawn."""


@dataclass(frozen=True)
class Measured:
    """Late rates of the trajectories of one loss and mode: exponents for a power p > 2, exponential rates for p = 2."""

    experiment: str
    name: str
    p: float
    tracks: Saved
    slopes: Slopes

    @property
    def polynomial(self) -> bool:
        """Whether the loss falls like a power of the time."""
        return self.p > 2.0

    @property
    def exponent(self) -> float:
        """The promised exponent p/(p - 2)."""
        return self.p / (self.p - 2.0)

    @property
    def certified(self) -> int:
        """Number of draws for which trial holds."""
        return int(np.isfinite(self.tracks.promised("trial")).sum())

    @property
    def mode(self) -> str:
        """The layers that were trained, as the page names them."""
        return mode_name(self.tracks.mode)

    def median(self, level: float) -> Median:
        """Return the median of the slopes."""
        return median_of(self.slopes.low, self.slopes.high, level)

    def over_end(self, level: float) -> Median:
        """Return rate over 2 sigma_min(A J)^2 at the end: J has all n directions, and A is orthogonal (m = n)."""
        sigma = self.tracks["sigma_A"] * _last(self.tracks["jacobian_sigma_min"])
        return median_of(self.slopes.low / (2.0 * sigma**2), self.slopes.high / (2.0 * sigma**2), level)

    def over_bound(self, level: float) -> Median:
        """Return rate over 2 sigma^2 = sigma_A^2 sigma_0^2/2 of `trial`, where it holds or the draw failed."""
        sigma = self.tracks.promised("trial")
        kept = np.isfinite(sigma) | self.tracks.failed
        rate = 2.0 * sigma[kept] ** 2
        return median_of(self.slopes.low[kept] / rate, self.slopes.high[kept] / rate, level)


def _last(values: Array) -> Array:
    """Return the last number of each row, NaN for a row without one."""
    last = np.where(np.isfinite(values), np.arange(values.shape[1]), -1).max(axis=1)
    return np.where(last < 0, np.nan, values[np.arange(values.shape[0]), np.maximum(last, 0)])


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    requested = measure(runs)
    measured = [m for m in requested if m.tracks.seen]
    if not measured:
        return EMPTY
    level = runs.level
    claims = rate_claims(requested, level)
    powers = [(m, m.median(level)) for m in measured if m.polynomial]
    figures = [time_figure([m for m in measured if m.tracks.mode == measured[0].tracks.mode])]
    if powers:
        figures.append(exponents_figure(powers))
    rates = [(m, over) for m in measured if not m.polynomial and (over := m.over_bound(level)).trials]
    supported = sum(claim.verdict == "supported" for claim in claims)
    return Section(
        verdict=TEXTS.text("verdict", supported=supported, total=len(claims), powers=powers),
        claims=tuple(claims),
        figures=tuple(figures),
        tables=(TEXTS.table("table", measured=measured, level=level),),
        meaning=TEXTS.paragraphs("meaning", powers=powers, rates=rates),
    )


def measure(runs: Runs) -> list[Measured]:
    """Measure the late rates of every loss and mode of which a trajectory was saved or failed."""
    measured = []
    for experiment, run in runs.by_name.items():
        loss = loss_of(run.results.experiment_text)
        for tracks in (tracks for cell in run.results.cells for tracks in saved_of(cell) if tracks.requested):
            data = (tracks["t"], tracks["loss"], tracks["error_loss"])
            if isinstance(loss, Power):
                measured.append(Measured(experiment, f"power p = {loss.p:g}", loss.p, tracks, power_exponent(*data)))
            else:
                name = EXPONENTIAL.get(experiment, loss.name)
                measured.append(Measured(experiment, name, 2.0, tracks, exponential_rate(*data)))
    return measured


def _claim(block: str, m: Measured, median: Median, ends: Limits, level: float) -> PaperClaim:
    return TEXTS.claim(
        block,
        verdict=within([((median.low, median.high), ends)]),
        trials=median.trials,
        figure="losses-exponents" if m.polynomial else "losses-time",
        experiment=m.experiment,
        address=(m.tracks.cell.index, None, m.tracks.width),
        m=m,
        median=median,
        level=level,
        tolerance=TOLERANCE,
        looseness=LOOSENESS,
    )


def rate_claims(measured: Sequence[Measured], level: float) -> list[PaperClaim]:
    """Judge the exponents against p/(p - 2), the exponential rates against the Jacobian at the end and the bound."""
    claims = []
    for m in measured:
        if m.polynomial:
            ends = m.exponent * (1.0 - TOLERANCE), m.exponent * (1.0 + TOLERANCE)
            claims.append(_claim("exponent_claim", m, m.median(level), ends, level))
            continue
        claims.append(_claim("end_claim", m, m.over_end(level), (1.0 - TOLERANCE, np.inf), level))
        over = m.over_bound(level)
        if over.trials:
            claims.append(_claim("bound_claim", m, over, (LOOSENESS, np.inf), level))
    return claims


def time_figure(measured: Sequence[Measured]) -> Figure:
    """Draw bands of the loss over time and of its bound, one panel for each loss."""
    panels: list[Panel] = []
    rows: list[Sequence[object]] = []
    for m in measured:
        times = common_times(m.tracks["t"], GRID, ENDED)
        if not m.polynomial:
            times = np.linspace(0.0, times[-1], GRID)
        loss, bound = (band(m.tracks["t"], m.tracks[name], times) for name in ("loss", "bound_rate"))
        name = f"losses-time-{m.name.replace(' = ', '-').replace(' ', '-')}"
        with drawn(panels, name, TEXTS.text("time_panel", m=m), ncols=2, handlelength=2.8) as axes:
            for curves, colour, dash, label in (
                (loss, BLUE, "-", "loss"),
                (bound, VERMILLION, (0, (5, 2)), "bound where trial holds"),
            ):
                low, middle, high = np.where(curves > FLOOR, curves, np.nan)
                if np.isfinite(middle).any():
                    floor = np.where(np.isnan(low), FLOOR, low)
                    axes.fill_between(times, floor, high, color=colour, alpha=0.18, linewidth=0)
                    axes.plot(times, middle, color=colour, linestyle=dash, linewidth=1.4, label=label)
            axes.set_yscale("log")
            log_ticks(axes, "y")
            if m.polynomial:
                axes.set_xscale("log")
                log_ticks(axes, "x")
            axes.set_xlabel("time t of the gradient flow" + (" (log scale)" if m.polynomial else ""))
            axes.set_ylabel("loss L(y(t)) (log scale)")
            axes.set_title(f"{m.name}, {m.mode}")
        rows += [(m.name, m.tracks.mode, m.tracks.width, *point) for point in zip(times, *loss, *bound, strict=True)]
    columns = ("loss", "mode", "width", "t", *(f"{name}_{q}" for name in ("loss", "bound") for q in ("05", "50", "95")))
    return TEXTS.figure("losses-time", "time_figure", panels, columns, rows)


def exponents_figure(powers: Sequence[tuple[Measured, Median]]) -> Figure:
    """Draw the measured exponents against p, beside p/(p - 2)."""
    panels: list[Panel] = []
    with drawn(panels, "losses-exponents", TEXTS.text("exponents_panel"), ncols=3) as axes:
        least, most = min(m.p for m, _ in powers), max(m.p for m, _ in powers)
        p_line = np.linspace(max(2.5, least - 0.4), most + 0.5, 100)
        axes.plot(p_line, p_line / (p_line - 2.0), color=INK, linewidth=1.0, label="p/(p − 2)")
        modes = dict.fromkeys(m.tracks.mode for m, _ in powers)
        for mode, colour, marker, shift in zip(modes, (BLUE, VERMILLION), "os", (-0.03, 0.03), strict=False):
            slopes = [(m.p, m.slopes.value[np.isfinite(m.slopes.value)]) for m, _ in powers if m.tracks.mode == mode]
            slopes = [(p, values) for p, values in slopes if values.size]
            low, middle, high = (np.array([np.quantile(v, q) for _, v in slopes]) for q in (0.05, 0.5, 0.95))
            axes.errorbar(
                [p + shift for p, _ in slopes], middle, yerr=[middle - low, high - middle], color=colour, linestyle="",
                marker=marker, markersize=4.5, capsize=2.5, label=mode_name(mode),
            )  # fmt: skip
        axes.set_xlabel("exponent p of the loss")
        axes.set_ylabel("measured exponent of 1/t")
        axes.set_title("Last decade of time")
        axes.axhline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    rows = [
        (m.p, m.tracks.mode, m.tracks.width, int(trial), *slope, median.low, median.high)
        for m, median in powers
        for trial, *slope in zip(m.tracks.cell.saved_trials, m.slopes.value, m.slopes.low, m.slopes.high, strict=True)
    ]
    columns = ("p", "mode", "width", "trial", "exponent", "low", "high", "median_low", "median_high")
    return TEXTS.figure("losses-exponents", "exponents_figure", panels, columns, rows)
