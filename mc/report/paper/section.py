"""The shared form of the nine studies: runs go in; claims, figures, tables and sentences come out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.axes import Axes

from mc.errors import InputError
from mc.estimate.cells.study import Study, study_run
from mc.estimate.flows.losses import Median
from mc.estimate.numbers import short, significant, spaced
from mc.report.figures import Figure, Panel, mode_name
from mc.report.style import PANEL_SIZE, panel, to_svg
from mc.store.results import Results, load

DIGITS = 7
"""Significant digits of the numbers beside a figure: the page holds them all."""

Address = tuple[int, int | None, int]
"""Cell, trial or None where no single trial is meant, width."""

Limits = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """One experiment of a study that has been run."""

    name: str  # of the experiment, also the stem of its file
    folder: Path

    @cached_property
    def results(self) -> Results:
        """The stored results; each array is read on first use."""
        return load(self.folder)

    @cached_property
    def study(self) -> Study:
        """The estimates of the run."""
        return study_run(self.results)


@dataclass(frozen=True)
class Runs:
    """The runs of one study by name, and the confidence level of every interval of its section."""

    by_name: Mapping[str, Run]
    level: float = 0.95

    def __getitem__(self, name: str) -> Run:
        """Return the run of an experiment; raise InputError when it has not been run."""
        if name not in self.by_name:
            raise InputError(f"{name}: this experiment of the report has not been run; `dipmc reproduce` runs it")
        return self.by_name[name]


@dataclass(frozen=True)
class PaperClaim:
    """A row of the table of claims that a study decides."""

    claim: str  # the statement, with its numbers
    verdict: str  # supported, contradicted, undecided, vacuous, violated, not violated in N, not contradicted
    interval: str  # the interval behind the verdict with its confidence; empty where the verdict needs none
    trials: int  # distinct trials behind the verdict
    figure: str  # name of a figure of the section
    experiment: str  # name of the experiment to run again
    address: Address | None = None  # the tightest trial, or the tightest point
    explanation: str = ""  # why, where the verdict contradicts the statement


@dataclass(frozen=True)
class Table:
    """A table of a section, every entry formatted."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A study as the page shows it."""

    verdict: str  # the answer to the question of the study, in one or two sentences with numbers
    claims: tuple[PaperClaim, ...] = ()  # beyond the claims of the registry, which the page takes from the runs
    figures: tuple[Figure, ...] = ()  # their names start with the name of the study
    tables: tuple[Table, ...] = ()
    meaning: tuple[str, ...] = ()  # paragraphs for a reader of this section alone


EMPTY = Section("Nothing has been computed yet.")
"""The section of a study whose runs hold no trial."""


def together(verdicts: Iterable[str]) -> str:
    """Return the verdict on several statements at once: the worst of theirs."""
    given = set(verdicts)
    return next((verdict for verdict in ("contradicted", "undecided") if verdict in given), "supported")


def within(pairs: Iterable[tuple[Limits, Limits]]) -> str:
    """Judge whether every number lies in its range, from pairs of (confidence limits, range)."""
    return together(
        "contradicted"
        if high < least or low > most
        else ("supported" if least <= low and high <= most else "undecided")
        for (low, high), (least, most) in pairs
    )


class Texts:
    """The sentences of one study: the blocks of ``templates/paper_STUDY.txt.j2``, filled with numbers."""

    def __init__(self, study: str) -> None:
        self.study = study

    @cached_property
    def _template(self) -> jinja2.Template:
        return _templates().get_template(f"paper_{self.study}.txt.j2")

    def _render(self, block: str, numbers: Mapping[str, Any]) -> str:
        return "".join(self._template.blocks[block](self._template.new_context(dict(numbers))))

    def _parts(self, block: str, numbers: Mapping[str, Any]) -> list[str]:
        """Render a block whose parts are separated by lines of three dashes."""
        return [_one_line(part) for part in re.split(r"^---$", self._render(block, numbers), flags=re.MULTILINE)]

    def text(self, block: str, **numbers: Any) -> str:
        """Render a block as one paragraph."""
        return _one_line(self._render(block, numbers))

    def paragraphs(self, block: str, **numbers: Any) -> tuple[str, ...]:
        """Render a block whose paragraphs are separated by empty lines."""
        return tuple(filter(None, map(_one_line, re.split(r"\n\s*\n", self._render(block, numbers)))))

    def claim(
        self, block: str, verdict: str, trials: int, figure: str, experiment: str, address: Address | None = None,
        **numbers: Any,
    ) -> PaperClaim:  # fmt: skip
        """Make a claim from a block with three parts: statement, interval, explanation of a failure."""
        statement, interval, explanation = self._parts(block, numbers)
        failed = verdict in ("contradicted", "violated") or verdict.startswith("violated in")
        return PaperClaim(
            statement, verdict, interval, int(trials), figure, experiment, address, explanation if failed else ""
        )

    def table(self, block: str, rows: Iterable[Iterable[str]] | None = None, **numbers: Any) -> Table:
        """Make a table from a block with three parts: title, header, and a line for each row, unless `rows` is given.

        A broken bar ¦ separates the columns.
        """
        title, header, *lines = re.split(r"^---$", self._render(block, numbers), flags=re.MULTILINE)
        cells = [line.split("¦") for line in "".join(lines).splitlines() if line] if rows is None else rows
        return Table(
            _one_line(title),
            tuple(_one_line(column) for column in header.split("¦")),
            tuple(tuple(cell.strip(" ") for cell in row) for row in cells),
        )

    def figure(
        self, name: str, block: str, panels: Iterable[Panel], columns: Sequence[str], rows: Iterable[Sequence[object]],
        **numbers: Any,
    ) -> Figure:  # fmt: skip
        """Make a figure from a block with two parts, title and caption, and from the numbers behind it."""
        title, caption = self._parts(block, numbers)
        frame = pd.DataFrame(list(rows), columns=list(columns))
        csv = frame.to_csv(index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")
        return Figure(name, title, caption, tuple(panels), csv)


def _one_line(text: str) -> str:
    # not split(): it would also replace the thin spaces between thousands
    return re.sub(r"[ \n]+", " ", text).strip(" ")


def _templates() -> jinja2.Environment:
    """Return the environment of the text templates: plain text, which paper.html.j2 escapes when it sets the page."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("mc.report", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "spaced": spaced, "short": short, "significant": significant, "fmt": format, "signed": signed,
        "interval": interval_words, "factor": factor_words, "factor_limits": factor_limits,
        "mode": mode_name, "whole": whole,
    }  # fmt: skip
    templates.globals |= {"width": width_words, "limits": limits_words, "infinity": math.inf}
    templates.tests["nan"] = math.isnan
    return templates


@contextmanager
def drawn(
    panels: list[Panel], name: str, alternative: str, height: float = PANEL_SIZE[1], **legend: Any
) -> Iterator[Axes]:
    """Append one panel with a legend below it to `panels`; the axes are drawn inside the block."""
    with panel(height=height) as (figure, axes):
        yield axes
        figure.legend(loc="outside lower left", **legend)
        panels.append(Panel(name, to_svg(figure, alternative), alternative))


def interval_words(median: Median, digits: int = 3) -> str:
    """Format a median with its interval; a dash stands for the median of nothing."""
    if not median.trials:
        return "–"
    return f"{short(median.value, digits)} [{short(median.low, digits)}, {short(median.high, digits)}]"


def width_words(estimate: float, top: int) -> str:
    """Format a width: 0 is "below the grid", inf beyond its last width `top`, NaN a dash."""
    if math.isnan(estimate):
        return "–"
    if math.isinf(estimate):
        return f"> {spaced(top)}"
    return "below the grid" if estimate == 0.0 else spaced(significant(estimate, 3))


def limits_words(interval: Limits) -> str:
    """Format an interval (low, high] of a width; an end that the grid cuts is open."""
    low, high = interval
    if math.isinf(high):
        return f"> {spaced(int(low))}" if low else "no information"
    return f"{spaced(int(low) if low else 1)} to {spaced(significant(high, 7))}"


def whole(power: float) -> str:
    """Format a power that is a whole number."""
    return f"{power:g}".replace("-", "−")


def factor_words(factor: float) -> str:
    """Format a factor: ×1.2, ×12, ×1 200."""
    if math.isnan(factor):
        return "–"
    return "×" + ("∞" if math.isinf(factor) else spaced(significant(factor)) if factor >= 100 else short(factor, 2))


def factor_limits(interval: Limits) -> str:
    """Format an interval of a factor; an open end is "at least"."""
    low, high = interval
    if math.isinf(high):
        return f"at least {factor_words(low)}" if low > 0.0 else "no information"
    return f"{factor_words(low)} to {factor_words(high)}"


def signed(value: float, digits: int = 2) -> str:
    """Format a number with a minus sign and so many digits after the point; never minus zero."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


_GREEK = {
    "theta": "θ", "sigma": "σ", "Sigma": "Σ", "lambda": "λ", "delta": "δ", "gamma": "γ", "kappa": "κ", "eta": "η",
    "eps": "ε", "phi": "φ", "psi": "ψ", "Psi": "Ψ", "pi": "π", "xi": "ξ",
}  # fmt: skip
_NAMES = _GREEK | {"xbar": "x̄", "ybar": "ȳ", "theta_inf": "θ_∞", "C_dphi": "C_φ′", "dphi": "φ′", "sqrt": "√"}
_SIGNS = {">=": "≥", "<=": "≤", "^-1": "⁻¹", "^-2": "⁻²", "^-4": "⁻⁴", "^2": "²", "^4": "⁴", "^+": "⁺", "^T": "ᵀ"}

_NAME = re.compile(r"(?<![A-Za-z])(?:" + "|".join(sorted(_NAMES, key=len, reverse=True)) + r")(?![A-Za-z])")
_SIGN = re.compile(r">=|<=|\^(?:-[124]|[24]|\+|T(?![A-Za-z]))(?!\d|\.\d)")


def typeset(text: str) -> str:
    """Replace the names of symbols by the symbols: ``psi^2 <= 2 |eps|`` becomes ψ² ≤ 2 |ε|.

    Only whole names are replaced; an exponent other than a small whole number stays; backquotes are removed.
    """
    text = _NAME.sub(lambda match: _NAMES[match.group()], text.replace("`", ""))
    return _SIGN.sub(lambda match: _SIGNS[match.group()], text)


SectionMaker = Callable[[Runs], Section]
"""The interface of a study's module: ``section(runs)``."""
