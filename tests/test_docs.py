"""Links and anchors resolve, cited sections of the theory exist, examples are valid, the text is of the project."""

from __future__ import annotations

import importlib
import operator
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
THEORY = ROOT / "docs" / "theory.md"
TEXT = {".py", ".md", ".toml", ".lock", ".cff", ".yaml", ".yml", ".html", ".j2", ".css", ".js", ".svg", ".txt", ""}

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
# "theory §5", "theory §7.1-3", "theory §3.3, §7.4", also where a comment breaks the line.
NUMBER = r"\d+(?:\.\d+)*"
CITATION = re.compile(rf"[Tt]heory[\s#]+§({NUMBER}(?:\s*(?:-|–|,|and|to)\s*§?{NUMBER})*)")
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:work|farm|root|home|Users)/|/tmp/[a-z]+_jobs|file:[/]{3}")
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|TB[D])\b")


@cache
def repository_files() -> tuple[Path, ...]:
    """What is or would be committed; outside a checkout, what lies in the folders of the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = {ROOT / name for name in listed.stdout.split("\0") if name}
    else:
        folders = ("mc", "tests", "docs", "experiments", "benchmarks", ".ci")
        paths = {*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))}
        paths |= {ROOT / "data" / "README.md", ROOT / "reports" / "README.md"}
    return tuple(sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts))


def texts(*suffixes: str) -> list[Path]:
    return [path for path in repository_files() if path.suffix in suffixes]


def prose(text: str) -> str:
    """The text without its code: what a code block shows is no link and no heading."""
    return CODE.sub("`code`", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as a web view of the repository makes them."""
    found: set[str] = set()
    for title in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        copies = (slug if i == 0 else f"{slug}-{i}" for i in range(100))
        found.add(next(copy for copy in copies if copy not in found))
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def link_problems(page: Path, text: str) -> Iterator[str]:
    """The relative links of a page that lead nowhere."""
    for match in LINK.finditer(prose(text)):
        link = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", link, re.IGNORECASE):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            yield f"{page.name}: {link}: no such file"
        elif anchor and target.suffix == ".md":
            there = text if target == page else target.read_text(encoding="utf-8")
            if anchor not in anchors(there):
                yield f"{page.name}: {link}: no such heading"


def sections(text: str) -> set[str]:
    """The numbers of headings (## 5. ..., ### 5.3 ...) and of the items inside a section (3. ... under ## 5)."""
    found: set[str] = set()
    current = ""
    for line in FENCE.sub("", text).splitlines():
        if heading := re.match(rf"#{{1,6}}\s+(?:§\s*)?({NUMBER})\b", line):
            found.add(heading[1])
            current = heading[1]
        elif item := re.match(rf"\s{{0,3}}(?:\*\*)?({NUMBER})[.)]", line):
            number = item[1]
            found.add(number if "." in number else f"{current}.{number}" if current else number)
    return found


def cited(text: str) -> set[str]:
    """The section numbers a text cites; in "7.1-3" the 3 stands for 7.3."""
    found: set[str] = set()
    for match in CITATION.finditer(text):
        chapter = ""
        for separator, number in re.findall(rf"([^\d.]*)({NUMBER})", match[1]):
            chapter = number.split(".")[0] if "." in number or not chapter or "§" in separator else chapter
            found.add(number if "." in number or number == chapter else f"{chapter}.{number}")
    return found


def text_problems(name: str, text: str) -> list[str]:
    bad = [*MACHINE_PATH.finditer(text), *UNFINISHED.finditer(text)]
    return [f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}" for match in bad]


def test_the_walk_sees_the_repository() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in repository_files()}
    assert {"README.md", "mc/errors.py", "data/README.md", "docs/README.md", "Makefile"} <= names


def test_relative_links_resolve() -> None:
    found = [problem for page in texts(".md") for problem in link_problems(page, page.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def test_cited_sections_exist() -> None:
    there = sections(THEORY.read_text(encoding="utf-8"))
    pages = [path for path in texts(".py", ".md", ".toml", ".html", ".j2") if path != Path(__file__)]
    wanted = {path: cited(path.read_text(encoding="utf-8")) for path in pages}
    assert any(path.is_relative_to(ROOT / "mc") for path, numbers in wanted.items() if numbers)
    found = [f"{path.relative_to(ROOT)}: theory §{n}" for path, numbers in wanted.items() for n in numbers - there]
    assert not found, "no such section in docs/theory.md:\n" + "\n".join(found)


def blocks(language: str) -> list[str]:
    """The code blocks of one language in all pages."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [block for page in texts(".md") for block in fence.findall(page.read_text(encoding="utf-8"))]


def test_experiments_shown_are_valid() -> None:
    from mc.experiment.experiment import Experiment

    shown = [tomllib.loads(block) for block in blocks("toml")]
    whole = [tables for tables in shown if tables.keys() >= {"experiment", "problem", "network", "widths"}]
    assert whole
    for tables in whole:
        # what reads a file is validated where its page has made it, in tests/test_examples.py
        if not {"path", "signal_path"} & tables["problem"].keys():
            assert Experiment.from_dict(tables).cells()


def test_python_names_shown_exist() -> None:
    names = {name for block in blocks("python") for name in re.findall(r"\bmc((?:\.\w+)+)", block)}
    assert ".run" in names
    for name in names:
        operator.attrgetter(name[1:])(importlib.import_module("mc"))


def test_commands_shown_exist() -> None:
    pages = [page for page in texts(".md") if page.name != "CHANGELOG.md"]  # which also names removed commands
    shown = {name for page in pages for name in re.findall(r"(?m)(?:`|^)dipmc ([a-z]+)\b", page.read_text("utf-8"))}
    listed = subprocess.run(
        [sys.executable, "-m", "mc", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "run" in shown
    assert shown <= set(re.findall(r"^ +([a-z]+)\b", listed.stdout, re.MULTILINE))


def test_the_text_is_of_the_project_and_finished() -> None:
    pages = texts(*TEXT)
    found = [bad for p in pages for bad in text_problems(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[a](other.md) ![b](../docs/other.md) [c](https://x.org/y) [d](other.md#second-part) [e](#top-1)", 0),
        ("`[a](gone.md)`\n```\n[a](gone.md)\n```\n", 0),
        ("[a](gone.md)", 1),
        ("![a](gone.svg)", 1),
        ("[a]: gone.md", 1),
        ("[a](other.md#third)", 1),
        ("[a](#third)", 1),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# Other\n## Second, part\n", encoding="utf-8")
    page = tmp_path / "docs" / "page.md"
    page.write_text(text := "# Top\n# Top\n" + text, encoding="utf-8")
    assert len(list(link_problems(page, text))) == count


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("theory §5.3 and theory §4", {"5.3", "4"}),
        ("(theory §7.1-3)", {"7.1", "7.3"}),
        ("theory §3.3, §7.4", {"3.3", "7.4"}),
        ("theory §4-§6, then 3 more", {"4", "6"}),
        ("    # see theory\n    # §7.5", {"7.5"}),
        ("theory of section 5", set()),
    ],
)
def test_citations_are_read(text: str, numbers: set[str]) -> None:
    assert cited(text) == numbers


def test_sections_are_read() -> None:
    text = "# Theory\n## 5. Ladder\n1. `paper`\n   2. `trial`\n### 5.3 Sharp\n## §6 Recovery\n```\n## 9. code\n```\n"
    assert sections(text) == {"5", "5.1", "5.2", "5.3", "6"}


def test_foreign_text_is_found() -> None:
    unfinished, path = "TO" + "DO later", "x = '/ro" + "ot/data'"
    assert text_problems("a", f"fine\n{unfinished}\n{path}\n") == ["a:3: /ro" + "ot/", "a:2: TO" + "DO"]
    assert text_problems("a", "docs/homework/x, https://x.org/home/, a workshop") == []
