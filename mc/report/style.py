"""Style of the figures, and their SVG: the same bytes each time, readable in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from mc.theory.codes import Outcome

INK, MUTED, RULE, PLATE = "#1b1f24", "#5f6772", "#d9dde2", "#ffffff"
BLUE, VERMILLION, PURPLE, GREEN, ORANGE, SKY = "#0072b2", "#d55e00", "#b4568c", "#009e73", "#e69f00", "#56b4e9"
GREY = "#9aa1aa"

VARIABLES = {
    INK: "--ink", MUTED: "--muted", RULE: "--rule", PLATE: "--plate", BLUE: "--blue", VERMILLION: "--vermillion",
    PURPLE: "--purple", GREEN: "--green", ORANGE: "--orange", SKY: "--sky", GREY: "--grey",
}  # fmt: skip
"""Variable of the page for each colour of a figure; colours after Okabe and Ito, for the colour-blind too."""


@dataclass(frozen=True)
class Line:
    """Look of one curve; marker and dash tell curves apart without colour."""

    colour: str
    marker: str
    dash: Any
    label: str


EVENT_LINES = {
    "exact": Line(INK, "D", "-", "exact: zero loss is reached"),
    "conserved": Line(GREEN, "P", "-", "conserved"),
    "sharp": Line(BLUE, "o", "-", "sharp"),
    "trial": Line(VERMILLION, "s", "-", "trial"),
    "paper": Line(PURPLE, "^", "-", "paper"),
}
"""The rungs of the ladder from the widest claim to the narrowest, in the order of the legend."""

THEORY_LINES = {
    "trial": Line(VERMILLION, "", (0, (5.0, 2.0)), "theory, trial (lower bound)"),
    "paper": Line(PURPLE, "", (0, (1.5, 1.5)), "theory, paper (lower bound)"),
}

OUTCOME_FILLS = {
    Outcome.CONVERGED_CERTIFIED: (BLUE, ""),
    Outcome.CONVERGED_TOLERANCE: (SKY, "//"),
    Outcome.CONVERGED_GD: (GREEN, "\\\\"),
    Outcome.NOT_CONVERGED_CERTIFIED: (VERMILLION, "xx"),
    Outcome.UNDECIDED: (GREY, ".."),
    Outcome.HORIZON: (ORANGE, "--"),
    Outcome.STEP_BUDGET: (ORANGE, "++"),
    Outcome.NON_FINITE: (PURPLE, "oo"),
    Outcome.NOT_ATTEMPTED: (RULE, ""),
    Outcome.ERROR: (INK, ""),
}

MODE_NAMES = {"hidden": "hidden layer trained", "both": "both layers trained"}

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "svg.hashsalt": "dipmc",  # the same figure gives the same bytes
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
}

PANEL_SIZE = (4.7, 3.5)
"""Inches; two panels side by side on a wide page, one below the other on a telephone."""


@contextmanager
def panel(width: float = PANEL_SIZE[0], height: float = PANEL_SIZE[1]) -> Iterator[tuple[Figure, Axes]]:
    """Make a figure of one panel in the house style; the settings hold inside the block only."""
    settings: Any = sns.axes_style("ticks") | _SETTINGS
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        sns.despine(ax=axes)
        yield figure, axes


@contextmanager
def grid(rows: int, columns: int) -> Iterator[tuple[Figure, NDArray[Any]]]:
    """Make a figure and its (rows, columns) array of panels in the house style; see `panel`."""
    settings: Any = sns.axes_style("ticks") | _SETTINGS
    with mpl.rc_context(settings):
        figure = Figure(figsize=(max(3.6 * columns, PANEL_SIZE[0]), 2.8 * rows + 0.8), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        sns.despine(figure)
        yield figure, axes


def log_width_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis a logarithmic axis of widths, whose ticks read 10, 100, 1 000, 10⁴."""
    axes.set_xscale("log")
    axes.set_xlim(low / 1.12, high * 1.12)
    log_ticks(axes, "x", minor=True)
    axes.set_xlabel("width k of the hidden layer (neurons, log scale)")


def log_ticks(axes: Axes, which: str, minor: bool = False) -> None:
    """Set ticks at powers of ten, labelled without mathematical layout (it is not selectable text)."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(base=10.0, numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axis.set_minor_formatter(NullFormatter())
    # Eight minor ticks per decade take half of the drawing time and say nothing that the grid does not.
    axis.set_minor_locator(LogLocator(base=10.0, subs=(2.0, 5.0), numticks=7) if minor else NullLocator())


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(value: float) -> str:
    """Format a power of ten: 0.1, 1, 100, 1 000, 10⁵; anything else in short form."""
    if value <= 0.0:
        return ""
    exponent = len(f"{value:.0f}") - 1 if value >= 1 else int(f"{value:.0e}".partition("e")[2])
    if abs(value / 10.0**exponent - 1.0) > 1e-9:
        return f"{value:g}"
    if -2 <= exponent <= 3:
        return f"{value:,.{max(-exponent, 0)}f}".replace(",", "\u202f")
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def to_svg(figure: Figure, title: str) -> str:
    """Return the figure as a stand-alone SVG document without date and program version; `title` is its title."""
    buffer = io.StringIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    # Verdana has the widths of DejaVu Sans, with which the layout was computed.
    return buffer.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, 'Liberation Sans', Arial")


def inline(svg: str, name: str, alternative: str) -> str:
    """Return an ``<svg>`` element for a page, from the text of `to_svg`.

    `name`, unique on the page, is put before every id; colours follow the page; `alternative` says what the figure
    shows, for readers who do not see it.
    """
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    label = alternative.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = re.match(r"<svg[^>]*>", body)
    assert head is not None
    box = re.search(r'viewBox="[^"]*"', head.group())
    assert box is not None
    return f'<svg role="img" aria-label="{label}" {box.group()}>{body[head.end() :]}'
