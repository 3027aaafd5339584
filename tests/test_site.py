"""The documentation site builds without a warning, fetches nothing, and shows formulas as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MATHML = "{http://www.w3.org/1998/Math/MathML}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going", "-c", "docs/site"]
    made = subprocess.run(
        [*command, "-d", str(out / "read"), ".", str(out / "html")], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return out / "html"


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "experiments" / "README.md"]
    assert len(pages) > 10
    missing = [page.name for page in pages if not (site / page.relative_to(ROOT)).with_suffix(".html").is_file()]
    assert not missing
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()


def test_opening_the_site_asks_nobody(site: Path) -> None:
    loads = re.compile(
        r"<(?:link|script|img|iframe|source)\b[^>]*(?:src|href)=[\"'](?:https?:)?//[^>]*>", re.IGNORECASE
    )
    imports = re.compile(r"(?:@import\s+(?:url\()?|url\()[\"']?(?:https?:)?//[^)]*")
    found = [hit for page in site.rglob("*.html") for hit in loads.findall(page.read_text("utf-8"))]
    found += [hit for sheet in site.rglob("*.css") for hit in imports.findall(sheet.read_text("utf-8"))]
    assert not found


def test_every_link_inside_the_site_leads_somewhere(site: Path) -> None:
    """Also to files outside docs/, which are copied, and to the anchors that a forge would make."""
    ids = {page: set(re.findall(r"\bid=\"([^\"]+)\"", page.read_text("utf-8"))) for page in site.rglob("*.html")}
    broken = []
    for page in ids:
        for link in re.findall(r"<(?:a|img)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"", page.read_text("utf-8")):
            name, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or page.name in ("search.html", "genindex.html"):
                continue
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and target in ids and anchor not in ids[target]):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken


def test_the_theory_has_its_formulas_and_their_numbers(site: Path) -> None:
    page = (site / "docs" / "theory.html").read_text("utf-8")
    source = (ROOT / "docs" / "theory.md").read_text("utf-8")
    assert page.count("<math ") > 1000
    assert re.findall(r"class=\"tag\">\(([\d.]+)\)", page) == re.findall(r"\\tag\{([\d.]+)\}", source)
    assert "$" not in re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def shown(site: Path):
    """The converter of the site: texts of the elements of a formula, in order."""
    sys.path.insert(0, str(ROOT / "docs" / "site"))
    try:
        from mathml import mathml
    finally:
        sys.path.pop(0)

    def texts(tex: str) -> list[str]:
        tree = ET.fromstring(mathml(tex, block=False))
        return [
            f"{each.tag.removeprefix(MATHML)}:{(each.text or '').strip()}" for each in tree.iter() if len(each) == 0
        ]

    return texts


@pytest.mark.parametrize(
    ("tex", "elements"),
    [
        (r"\frac12x", ["mn:1", "mn:2", "mi:x"]),  # two digits are two arguments
        (r"\frac{a}23", ["mi:a", "mn:2", "mn:3"]),
        (r"x^23", ["mi:x", "mn:2", "mn:3"]),
        (r"x_{12}", ["mi:x", "mn:12"]),
        (r"|v|", ["mo:|", "mi:v", "mo:|"]),
        (r"\log v", ["mi:log", "mspace:", "mi:v"]),
        (r"\lbrace s\rbrace", ["mo:{", "mi:s", "mo:}"]),
        (r"\big(s\big)", ["mo:(", "mi:s", "mo:)"]),
        (r"a\iff b", ["mi:a", "mo:⟺", "mi:b"]),
    ],
)
def test_a_formula_is_read_as_tex_reads_it(shown, tex: str, elements: list[str]) -> None:
    assert shown(tex) == elements


def test_a_formula_that_is_not_understood_is_an_error(shown) -> None:
    from docutils.utils.math import MathError

    with pytest.raises(MathError, match="unheard"):
        shown(r"\unheard{x}")
