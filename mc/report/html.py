"""Templates, style sheet and figures of every page, and the folder of the page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import jinja2
from markupsafe import Markup

from mc.errors import InputError
from mc.report.figures import Figure, mode_name


def environment() -> jinja2.Environment:
    """Return the environment that loads and fills the templates."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("mc.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, _, _ = templates.loader.get_source(templates, "page.css") if templates.loader else ("", None, None)
    templates.globals["mode_name"] = mode_name
    templates.globals["style"] = Markup(style)  # set into the page: it needs nothing but itself
    return templates


def inlined(figures: Iterable[Figure]) -> dict[str, Markup]:
    """Return the panels as elements of a page, by name."""
    return {panel.name: Markup(panel.inline) for figure in figures for panel in figure.panels}


def files(figures: Iterable[Figure]) -> dict[str, str]:
    """Return the text of the files beside a page by name: the numbers of each figure, and its panels."""
    texts = {}
    for figure in figures:
        texts[f"{figure.name}.csv"] = figure.table
        texts |= {f"{panel.name}.svg": panel.svg for panel in figure.panels}
    return texts


def try_folder(out: Path) -> None:
    """Make the folder of a report; InputError when it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the report cannot be written ({error.strerror}); choose another folder with -o"
        raise InputError(f"{out}: {reason}") from error
