"""What a figure is made of: panels as SVG, the numbers behind them as CSV, a message and a caption."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import spaced
from mc.report.style import MODE_NAMES, inline

Row = Sequence[object]


@dataclass(frozen=True)
class Panel:
    """One drawn panel.

    Parameters
    ----------
    name : str
        File name without ending.
    svg : str
        Stand-alone document.
    alternative : str
        The panel in words.
    """

    name: str
    svg: str
    alternative: str

    @property
    def inline(self) -> str:
        """The panel as an element of a page."""
        return inline(self.svg, self.name, self.alternative)


@dataclass(frozen=True)
class Figure:
    """One figure: panels, the numbers behind them and the words beside them.

    Parameters
    ----------
    name : str
        File name of the table without ending.
    title : str
        The message.
    caption : str
        How to read it.
    panels : tuple of Panel
    table : str
        The numbers, as CSV.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    table: str

    def named(self, prefix: str) -> Figure:
        """The same figure with a prefix to its names, so that a page may hold several of its kind."""
        panels = tuple(replace(panel, name=prefix + panel.name) for panel in self.panels)
        return replace(self, name=prefix + self.name, panels=panels)


def csv_text(header: Row, rows: Iterable[Row], digits: int | None = None) -> str:
    """A table as CSV; NaN and None empty, floats with all their digits or so many significant ones."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        shown = ["" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in row]
        if digits is not None:
            shown = [f"{v:.{digits}g}" if isinstance(v, float) else v for v in shown]
        writer.writerow(shown)
    return buffer.getvalue()


def cell_prefix(study: CellStudy) -> str:
    """Start of the file names of a cell."""
    return f"c{study.cell.index:03d}"


def trials_words(study: CellStudy) -> str:
    """How many trials a cell has: a number, or from which to which where it differs between widths."""
    return spaced(study.trials) if study.trials >= study.most else f"{spaced(study.trials)} to {spaced(study.most)}"


def mode_name(mode: str) -> str:
    """A mode in words."""
    return MODE_NAMES.get(mode, mode)


def mode_phrase(mode: str) -> str:
    """A mode in words, as a sentence goes on after "with"."""
    return f"the {mode_name(mode)}" if mode == "hidden" else mode_name(mode)
