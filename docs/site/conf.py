"""The documentation site (make docs): the pages of the repository as they stand, from README.md on."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from mc.version import __version__  # noqa: E402

project = "dipmc"
author = "the dipmc developers"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/*.md", "experiments/README.md", "data/README.md",
                    "reports/README.md"]  # fmt: skip
exclude_patterns = ["data/*/**", "reports/*/**", "mc", "tests", "benchmarks", ".*", "build", "dist", "site"]

# The menu: caption, pages. A page that is left out is a warning, hence an error.
MENU = {
    "Start": "docs/README docs/tutorial docs/howto docs/reproduce experiments/README",
    "Theory": "docs/theory docs/claims docs/glossary docs/references",
    "Method": "docs/architecture docs/statistics docs/rare docs/performance docs/reliability",
    "Reference": "docs/api docs/format data/README reports/README docs/cluster CHANGELOG",
}

myst_enable_extensions = ["dollarmath", "html_image"]
myst_dmath_double_inline = False
myst_heading_anchors = 4  # the anchors of a forge
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"dipmc {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}
pygments_style = "tango"

autodoc_typehints = "none"  # numpydoc says them, with shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
add_module_names = False


def add_menu(app: Sphinx, page: str, source: list[str]) -> None:
    """The menu at the end of the first page: a forge, which would print it, does not see it."""
    if page == root_doc:
        for caption, pages in MENU.items():
            entries = "\n".join(pages.split())
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n{entries}\n```\n"


def as_rst(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `names` and formulas such as |V_i|: let reStructuredText see no markup in them."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            line = re.sub(r"(?<![`:])`([^`\n]+)`(?!`)", r"``\1``", line)
            pieces = re.split(r"(``[^`]*``)", line)
            pieces[::2] = (re.sub(r"([|*\\]|_(?!\w))", r"\\\1", piece) for piece in pieces[::2])
            lines[i] = "".join(pieces)


def first_page(app: Sphinx, error: Exception | None) -> None:
    """The README is also the index that a browser asks for."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    """Hook the functions above in."""
    app.connect("source-read", add_menu)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
    app.connect("build-finished", first_page)
