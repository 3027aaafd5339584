"""The examples of the documentation run: each page from top to bottom, in one folder, with one namespace.

Python blocks are executed; a TOML block that is a whole experiment is validated, and kept where it names its file
(``# file: NAME``); of a shell block every `dipmc` line is run. What cannot run says so in a comment above it,
``<!-- not run: REASON -->``, and is counted.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from mc import Experiment
from mc.cli.main import main

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>python|toml|sh)\n(?P<code>.*?)^```", re.M | re.S
)
SKIPPED = {  # how many blocks of a page are marked; all others of these languages run
    "README.md": 1,
    "data/README.md": 0,
    "docs/api.md": 0,
    "docs/cluster.md": 5,
    "docs/howto.md": 1,
    "docs/performance.md": 1,
    "docs/rare.md": 1,
    "docs/statistics.md": 0,
    "docs/tutorial.md": 0,
}
STUDIED = ("data/README.md",)  # reads data/quickstart, which another page makes
ELSEWHERE = ("docs/format.md",)  # its examples run on the golden files, in tests/test_format.py


@dataclass(frozen=True)
class Example:
    """One fenced block."""

    line: int
    language: str
    code: str
    skipped: bool


def examples(text: str) -> Iterator[Example]:
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Example(line, match["language"], match["code"], match["why"] is not None)


def commands(code: str) -> Iterator[list[str]]:
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "dipmc", f"only dipmc is run here, not {line!r}: mark the block as not run"
            yield words[1:]


def run(example: Example, names: dict[str, Any], page: str) -> None:
    if example.language == "python":
        # lines are those of the page, so that a failure names its place
        exec(compile("\n" * (example.line - 1) + example.code, page, "exec"), names)
    elif example.language == "toml":
        if named := re.match(r"# file: (\S+)\n", example.code):
            Path(named[1]).write_text(example.code, encoding="utf-8")
        tables = tomllib.loads(example.code)
        if tables.keys() >= {"experiment", "problem", "network", "widths"}:
            assert Experiment.from_dict(tables).cells()
    else:
        for words in commands(example.code):
            assert main(words) == 0, f"{page}:{example.line}: dipmc {shlex.join(words)}"


def test_every_page_with_examples_is_known() -> None:
    pages = [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name / "README.md" for name in ("", "data", "experiments", "reports")),
    ]
    found = {
        page.relative_to(ROOT).as_posix(): sum(each.skipped for each in examples(page.read_text("utf-8")))
        for page in pages
        if any(examples(page.read_text("utf-8"))) and page.relative_to(ROOT).as_posix() not in ELSEWHERE
    }
    assert found == SKIPPED


def small_quickstart(path: Path) -> None:
    """experiments/quickstart.toml with few trials and narrow networks: its name, tables and axes, in a second."""
    tables = tomllib.loads((ROOT / "experiments" / "quickstart.toml").read_text(encoding="utf-8"))
    tables["experiment"]["trials"] = 4
    tables["widths"] = {"values": [10, 100]}
    tables["flow"] |= {"widths": [10], "save": {"trials": 2, "times": 4}}
    path.parent.mkdir()
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", SKIPPED)
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_quickstart(tmp_path / "experiments" / "quickstart.toml")
    if page in STUDIED:
        assert main(["run", "experiments/quickstart.toml", "--quiet"]) == 0
    names: dict[str, Any] = {"__name__": "__example__"}
    for example in examples((ROOT / page).read_text(encoding="utf-8")):
        if not example.skipped:
            run(example, names, page)


def test_an_example_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "```python\nassert False\n```\n\n```toml\nexperiment = {\n```\n\n```sh\ndipmc run gone.toml\n```\n"
    wrong = list(examples(text + "\n<!-- not run: shows a cluster -->\n```sh\nmake demo\n```\n"))
    assert [each.skipped for each in wrong] == [False, False, False, True]
    with pytest.raises(AssertionError):
        run(wrong[0], {}, "page")
    with pytest.raises(tomllib.TOMLDecodeError):
        run(wrong[1], {}, "page")
    with pytest.raises(AssertionError, match=r"page:10: dipmc run gone\.toml"):
        run(wrong[2], {}, "page")
    with pytest.raises(AssertionError, match="only dipmc is run here"):
        run(wrong[3], {}, "page")
