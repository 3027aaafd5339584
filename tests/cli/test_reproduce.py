"""`dipmc reproduce`: from a folder of studies to the page, and the page in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, show
from click.testing import CliRunner

from mc.cli.main import cli
from mc.errors import InputError
from mc.report.paper.page import without_folders

SMOKE = ("reproduce", "--scale", "smoke", "-j", "1", "--quiet")


def run(*words: str) -> str:
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, studies_folder: Path) -> tuple[Path, str]:
    """The folder of the runs and the report of two small studies, and the output of the command."""
    folder = tmp_path_factory.mktemp("paper")
    return folder, run(*SMOKE, *options(studies_folder, folder))


def options(studies: Path, folder: Path, report: str = "report") -> tuple[str, ...]:
    return "--studies", str(studies), "--runs", f"{folder}/runs", "-o", f"{folder}/{report}"


def test_the_terminal_has_the_answers_the_verdicts_and_the_page(made: tuple[Path, str]) -> None:
    folder, output = made
    lines = output.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["Rungs of a small problem", "A study of one run"]
    assert re.match(r"\d+ claims: \d+ ", lines[2])
    assert lines[3].startswith("3 experiments with 2 problems, 6 random draws, 24 networks judged, 12 traj")
    assert lines[4] == f"{folder}/report/index.html"


def test_what_it_has_run_is_not_run_again(made: tuple[Path, str], studies_folder: Path) -> None:
    folder, _ = made
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/blocks/*.h5")}
    assert len(before) == 3
    run(*SMOKE, *options(studies_folder, folder, "again"))
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/blocks/*.h5")}


def test_summary_has_the_claims_of_the_page(made: tuple[Path, str]) -> None:
    folder, output = made
    summary = json.loads((folder / "report/summary.json").read_text())
    assert f"{len(summary['claims'])} claims:" in output
    assert summary["totals"]["draws"] == 6
    assert [study["name"] for study in summary["studies"]] == ["rungs", "alone"]
    assert {"claim", "verdict", "interval", "trials", "figure", "experiment", "address", "replay"} <= set(
        summary["claims"][0]
    )
    assert set(summary["provenance"]) == {"alpha", "beta", "gamma"}


def test_each_figure_has_its_file_and_its_numbers_in_the_page_too(made: tuple[Path, str]) -> None:
    folder, _ = made
    page = (folder / "report/index.html").read_text()
    files = sorted((folder / "report").glob("*.csv"))
    assert len(files) == len(re.findall("<figure ", page)) > 3
    for path in files:
        assert f'download="{path.name}"' in page
        assert len(list(csv.reader(io.StringIO(path.read_text())))) > 1
    panels = sorted((folder / "report").glob("*.svg"))
    assert len(panels) == len(re.findall('<svg role="img"', page)) >= len(files)


class Closed(HTMLParser):
    """Elements that lead out of the page at load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        values = dict(attrs)
        if tag != "a":
            self.addresses += [str(values[key]) for key in ("src", "href", "xlink:href", "data") if key in values]


def test_the_page_holds_all_it_shows_and_no_script(made: tuple[Path, str]) -> None:
    parser = Closed()
    parser.feed((made[0] / "report/index.html").read_text())
    assert parser.scripts == 0
    assert [place for place in parser.addresses if not place.startswith(("#", "data:"))] == []


@pytest.mark.skipif(not CHROMIUM, reason="no chromium here: apt-get install chromium")
@pytest.mark.slow
def test_the_browser_would_have_seen_it(made: tuple[Path, str], tmp_path: Path) -> None:
    text = (made[0] / "report/index.html").read_text()
    bad = tmp_path / "bad.html"
    extra = '<a href="#nowhere">x</a><div style="width:5000px">x</div><img src="http://127.0.0.1:9/x.png" alt="x">'
    bad.write_text(text.replace("</main>", extra + "<script>console.error('wrong')</script></main>"))
    shown = show(bad, 1280, tmp_path)
    assert shown.measured["broken"] == ["nowhere"]
    assert shown.measured["page"] > 1280
    assert any("wrong" in line for line in shown.console)
    assert shown.requests == ["http://127.0.0.1:9/x.png"]


def test_the_page_does_not_say_where_arrays_lie() -> None:
    text = 'signal_path = "/some/a b/phantom-64.npz"\n[problem.files."C:\\\\x\\\\A.npy"]\noperator = "file"\n'
    assert without_folders(text) == ('signal_path = "phantom-64.npz"\n[problem.files."A.npy"]\noperator = "file"\n')


def test_a_study_that_is_not_run_is_reported_as_missing(studies_folder: Path, tmp_path: Path) -> None:
    output = run(*SMOKE, "--only", "alone", *options(studies_folder, tmp_path))
    assert "Rungs of a small problem: not run" in output
    page = (tmp_path / "report/index.html").read_text()
    assert "dipmc reproduce --only rungs --scale smoke" in page
    assert not list(tmp_path.glob("runs/alpha"))


def test_runs_of_another_scale_are_not_those_of_this_one(
    made: tuple[Path, str], studies_folder: Path, tmp_path: Path
) -> None:
    where = ("--studies", str(studies_folder), "--runs", f"{made[0]}/runs", "-o", str(tmp_path))
    output = run("reproduce", "--scale", "laptop", "--report-only", *where)
    assert output.count("not run") == 2
    assert "0 experiments" in output
    assert run(*SMOKE, "--report-only", *where).count("not run") == 0


def test_the_report_alone_runs_nothing(studies_folder: Path, tmp_path: Path) -> None:
    assert run(*SMOKE, "--report-only", *options(studies_folder, tmp_path)).count("not run") == 2
    assert not list(tmp_path.glob("runs/*/blocks/*"))


def test_a_mistake_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"studies\.toml: no such file"):
        run("reproduce", "--studies", str(tmp_path))
