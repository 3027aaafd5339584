"""Every study of the paper at the scale of a test: `dipmc reproduce --scale smoke`, from nothing to the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import CHROMIUM, show

from mc.experiment.studies import load_studies

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "experiments/paper"
STUDIES = [study.name for study in load_studies(PAPER, "smoke")]
LARGEST_FIGURE, LARGEST_REPORT = 300_000, 8_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(smoke_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-m", "mc", "reproduce", "--scale", "smoke", "-j", "2", "--quiet"]
    command += ["--runs", str(smoke_folder), "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not run" not in done.stdout
    return folder


def test_every_study_has_answer_figures_and_meaning(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())
    assert [study["name"] for study in summary["studies"]] == STUDIES
    assert all(study["verdict"] for study in summary["studies"])
    page = (report / "index.html").read_text()
    for name in STUDIES:
        assert f'<figure id="{name}-' in page
        section = page[page.index(f'<section id="{name}"') :]
        assert "What it means" in section[: section.index("</section>")]


def test_every_claim_leads_to_its_section_and_to_its_experiment(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())
    names = {name for study in summary["studies"] for name in study["experiments"]}
    page = (report / "index.html").read_text()
    assert len(summary["claims"]) > 30
    for row in summary["claims"]:
        assert row["study"] in STUDIES
        assert row["experiment"] in names
        assert row["verdict"]
        assert f'id="{row["figure"]}"' in page
    for row in summary["claims"]:
        bad = re.match("violated|contradicted", row["verdict"])
        assert not bad or row["explanation"], row["claim"]


def test_the_report_is_small_enough_to_be_sent(report: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in report.iterdir()}
    assert sum(sizes.values()) < LARGEST_REPORT
    assert {name for name, size in sizes.items() if name.endswith(".svg") and size > LARGEST_FIGURE} == set()


@pytest.mark.skipif(not CHROMIUM, reason="no chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_complaint(report: Path, width: int, tmp_path: Path) -> None:
    shown = show(report / "index.html", width, tmp_path)
    assert shown.measured["width"] == width
    assert shown.measured["page"] <= width  # nothing sticks out to the side
    assert (shown.measured["broken"], shown.measured["twice"], shown.measured["unnamed"]) == ([], [], 0)
    assert (shown.console, shown.requests) == ([], [])
    assert len(shown.measured["figures"]) >= 2 * len(STUDIES)
    assert all(min(figure["box"][2:]) >= 100 for figure in shown.measured["figures"])
    for element in (*shown.measured["figures"], *shown.measured["tables"]):
        left, right, wide, high = element["box"]
        assert min(wide / min(200, width / 2), high / 20) >= 1
        assert left >= 0
        assert right <= width or element["scrolled"]
