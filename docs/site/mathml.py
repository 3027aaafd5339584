"""Formulas as MathML, made when the site is built: nothing is fetched or computed in the browser."""

from __future__ import annotations

import html
import itertools
import re
import xml.etree.ElementTree as ET
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

TAG = re.compile(r"\\tag\{([^{}]*)\}")
MATHML = "http://www.w3.org/1998/Math/MathML"
SCRIPTS = tuple(f"{{{MATHML}}}{name}" for name in ("msup", "msub", "msubsup"))
SPACED = tuple(f"{{{MATHML}}}{name}" for name in ("mo", "mspace"))
APPLY = "\u2061"
LOG = logging.getLogger(__name__)

# TeX as it is written for a forge, and as docutils reads it
READ_AS = (
    (r"\\(big|Big)(?=[(\[/]|\\lbrace)", r"\\\1l"),
    (r"\\(big|Big)(?=[)\]]|\\rbrace)", r"\\\1r"),
    (r"\\lbrace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (r"\\cr(?![A-Za-z])", r"\\\\"),
    (r"\\iff(?![A-Za-z])", r"\\Longleftrightarrow "),
    (r"\\dots(?![A-Za-z])", r"\\ldots "),
    # an argument without braces is one digit, of which docutils would take all that follow
    (r"\\frac(\d)(\d)", r"\\frac{\1}{\2}"),
    (r"(\\sqrt|\\frac|[_^])(\d)(?=\d)", r"\1{\2}"),
    (r"(\\frac\{[^{}]*\}|\\frac(?:\\[A-Za-z]+|[A-Za-z0-9]) ?)(\d)(?=\d)", r"\1{\2}"),
)


def mathml(tex: str, block: bool) -> str:
    """MathML of one formula; MathError with the reason when it holds what docutils does not know."""
    for written, read in READ_AS:
        tex = re.sub(written, read, tex)
    root = ET.fromstring(tex2mathml(tex.strip(), as_block=block).replace("&ApplyFunction;", APPLY))
    ET.register_namespace("", MATHML)
    for row in list(root.iter()):
        _space(row)
    return ET.tostring(root, encoding="unicode")


def _space(row: ET.Element) -> None:
    """Spaces of TeX that docutils leaves out: none at bars, a thin one beside a function's name."""
    if row.tag not in (f"{{{MATHML}}}{name}" for name in ("math", "mrow", "mtd", "msqrt", "mstyle")):
        return
    for child in list(row):
        if (child.text or "").strip() == APPLY:
            row.remove(child)
        if (child.text or "").strip() in ("|", "\u2223"):
            child.attrib.update({"lspace": "0", "rspace": "0", "stretchy": "false"})
    children = list(row)
    for before, after in itertools.pairwise(children):
        if (_function(before) or _function(after)) and before.tag not in SPACED and after.tag not in SPACED:
            row.insert(list(row).index(after), ET.Element(f"{{{MATHML}}}mspace", width="0.167em"))


def _function(element: ET.Element) -> bool:
    """Whether this is a name of several letters, with its indices: log, sinh squared, Lip at rho."""
    name = next(iter(element), element) if element.tag in SCRIPTS else element
    return name.tag == f"{{{MATHML}}}mi" and len((name.text or "").strip()) > 1


def _convert(node: nodes.Element, block: bool) -> str:
    tex = node.astext()
    try:
        return mathml(TAG.sub("", tex), block)
    except MathError as error:
        LOG.warning("formula %r: %s", tex, error, location=node)
        return html.escape(tex)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_convert(node, False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    tag = TAG.search(node.astext())
    number = f'<span class="tag">({html.escape(tag[1])})</span>' if tag else ""
    translator.body.append(f'<div class="formula">{_convert(node, True)}{number}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer as ``html_math_renderer = "mathml"``."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
