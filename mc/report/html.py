"""What every page is made with: templates, the style sheet, figures set into the page, the folder it goes to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import jinja2
from markupsafe import Markup

from mc.errors import InputError
from mc.report.figures import Figure, mode_name


def environment() -> jinja2.Environment:
    """Where the templates are, and how they are filled."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("mc.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, _, _ = found.loader.get_source(found, "page.css") if found.loader else ("", None, None)
    found.globals["mode_name"] = mode_name
    found.globals["style"] = Markup(style)  # set into the page: it needs nothing but itself
    return found


def inlined(figures: Iterable[Figure]) -> dict[str, Markup]:
    """The panels as elements of a page, by name."""
    return {panel.name: Markup(panel.inline) for figure in figures for panel in figure.panels}


def files(figures: Iterable[Figure]) -> dict[str, str]:
    """The files beside a page by name: the numbers of each figure and its panels."""
    found = {}
    for figure in figures:
        found[f"{figure.name}.csv"] = figure.table
        found |= {f"{panel.name}.svg": panel.svg for panel in figure.panels}
    return found


def try_folder(out: Path) -> None:
    """Make the folder of a report.

    Raises
    ------
    InputError
        When it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the report cannot be written ({error.strerror}); choose another folder with -o"
        raise InputError(f"{out}: {reason}") from error
