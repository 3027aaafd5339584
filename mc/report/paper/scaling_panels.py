"""The median width of every rung against one factor, with the power of the theorem as a slope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from mc.estimate.cells.factors import Point
from mc.estimate.widths.scaling import THEORY, Exponent
from mc.report.figures import Figure, Panel, Row, csv_text, mode_name
from mc.report.paper.section import DIGITS
from mc.report.style import EVENT_LINES, MUTED, log_ticks, panel, to_svg

SYMBOLS = {"n": "n", "m": "m", "sigma_A": "σ_A", "psi": "ψ"}
WORDS = {
    "n": "length n of the signal",
    "m": "number m of observations",
    "sigma_A": "smallest singular value σ_A, |A| = 1",
    "psi": "initial residual ψ",
}

Found = Mapping[tuple[str, str], Sequence[Point]]
"""Points by mode and rung."""

CLEAR = 1.15
"""Ratio from which the labels of two ticks do not touch."""


def _draw(axes: Axes, factor: str, mode: str, found: Found, powers: Mapping[tuple[str, str], Exponent]) -> None:
    anchor: tuple[np.ndarray, float, float] | None = None
    for name, line in EVENT_LINES.items():
        own = [point for point in found.get((mode, name), ()) if point.on_grid]
        if not own:
            continue
        x = np.array([point.scales[factor] for point in own])
        y = np.array([point.width.estimate for point in own])
        ends = np.array([point.width.interval for point in own])
        low = np.clip(y - np.maximum(ends[:, 0], 1.0), 0.0, None)
        high = np.where(np.isfinite(ends[:, 1]), np.clip(ends[:, 1] - y, 0.0, None), 0.0)
        fitted = powers.get((mode, name))
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
            label=f"power of the theorem: {slope:g}".replace("-", "−"),
        )  # fmt: skip
        ticks = sorted({float(f"{p.scales[factor]:.2g}") for points in found.values() for p in points})
        # of two ticks that would touch the second keeps its line only
        words = [f"{b:g}" if b > CLEAR * a else "" for a, b in zip([0.0, *ticks], ticks, strict=False)]
        axes.set_xticks(ticks, words)
        axes.xaxis.set_minor_locator(NullLocator())
    log_ticks(axes, "y")
    axes.set_xlabel(f"{WORDS[factor]} (log scale)")
    axes.set_ylabel("median width (neurons, log scale)")


def _rows(factor: str, found: Found) -> list[Row]:
    return [
        (mode, name, factor, p.scales[factor], p.scales.get("n"), p.scales.get("m"), p.scales["sigma_A"],
         p.scales["psi"], p.width.estimate, *p.width.interval, p.width.grid[1])
        for (mode, name), own in found.items()
        for p in own
    ]  # fmt: skip


def factor_figure(
    name: str, factor: str, found: Found, powers: Mapping[tuple[str, str], Exponent], level: float
) -> Figure:
    """Median widths against a factor, one panel per mode.

    Parameters
    ----------
    name : str
        Of the figure.
    factor : str
        n, m, sigma_A or psi.
    found : mapping of (mode, rung) to points
    powers : mapping of (mode, rung) to Exponent
    level : float
        Of the interval of each width.

    Returns
    -------
    Figure
    """
    panels = []
    for mode in dict.fromkeys(key[0] for key in found):
        fitted = [f"{event} {e.estimate:.2f}".replace("-", "−") for (own, event), e in powers.items() if own == mode]
        words = f"Median width of every rung against the {WORDS[factor]}, {mode_name(mode)}. Powers: "
        words += (", ".join(fitted) or "none fitted") + "."
        with panel(height=4.0) as (figure, axes):
            _draw(axes, factor, mode, found, powers)
            axes.set_title(mode_name(mode).capitalize())
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.4, columnspacing=1.2)
            panels.append(Panel(f"{name}-{mode}", to_svg(figure, words), words))
    caption = (
        f"Marks: width at which half of the draws have the certificate, with {level:.4g} limits from ordered exact "
        "tests. Rungs that are not on the grid are left out, as is conserved, which a single neuron has. Dashed: the "
        "power of the theorem, at an arbitrary height, since its constant is unspecified."
    )
    header = (
        "mode", "rung", "factor", "value", "n", "m", "sigma_A", "psi", "median_width", "low", "high", "grid_top",
    )  # fmt: skip
    title = f"The width that half of the draws need, against the {WORDS[factor]}"
    return Figure(name, title, caption, tuple(panels), csv_text(header, _rows(factor, found), DIGITS))
