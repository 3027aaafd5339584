"""The report: every promised file, schema of summary.json, a page that needs nothing but itself."""

from __future__ import annotations

import csv
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mc.errors import InputError
from mc.estimate.probability.intervals import clopper_pearson
from mc.experiment.experiment import Experiment
from mc.report.page import report_results, write_report
from mc.report.style import inline, power_of_ten
from mc.report.summary import CLAIM_KEYS, ROW_KEYS, plain, to_json
from mc.runner import execute
from mc.store.results import CellResults, Results
from mc.theory.claims import CLAIMS
from mc.theory.codes import Exact, Outcome, Verdict

WIDTHS = np.unique(np.round(np.geomspace(10, 300_000, 14))).astype(np.int64)
FLOW_WIDTHS = WIDTHS[[4, 6]]
MEDIANS = {
    "hidden": {"sharp": 1_500.0, "trial": 10_000.0, "paper": 80_000.0},
    "both": {"sharp": 70.0, "trial": 900.0, "paper": 170_000.0},
}
MODES = ("hidden", "both")

EXPERIMENT = """
[experiment]
name = "{name}"
seed = 20
trials = {planned}
[problem]
n = 10
m = 5
operator = "orthonormal"
resample = "cell"
[network]
mode = ["hidden", "both"]
activation = "sigmoid"
output_law = "{law}"
d = 500
[loss]
kind = "mse"
p = 2.0
[estimate]
level = 0.95
simultaneous = true
"""


def margins(rng: np.random.Generator, trials: int) -> dict[str, np.ndarray]:
    """Margins growing like sqrt k, one sixth of a decade of spread, with the medians of the prototype."""
    noise = rng.normal(0.0, 0.3, (trials, 1)) + rng.normal(0.0, 0.05, (trials, len(WIDTHS)))
    found = {}
    for event in ("sharp", "trial", "paper"):
        half = np.array([MEDIANS[mode][event] for mode in MODES])[:, None, None]
        found[f"margin_{event}"] = np.exp(0.5 * np.log(WIDTHS / half) + noise)
    return found


def trajectories(rng: np.random.Generator, saved: int) -> dict[str, np.ndarray]:
    """Exponential decays, faster at larger widths, with an envelope twice as high and half as fast."""
    shape = (len(MODES), saved, len(FLOW_WIDTHS), 40)
    t = np.broadcast_to(np.concatenate([[0.0], np.geomspace(1e-2, 300.0, 39)]), shape).copy()
    rate = 0.05 * (1.0 + np.arange(len(FLOW_WIDTHS)))[None, None, :, None] * rng.uniform(0.8, 1.2, (*shape[:2], 1, 1))
    start = rng.uniform(3.0, 8.0, (*shape[:2], 1, 1))
    bound = start * np.exp(-0.5 * rate * t)
    return {"t": t, "loss": start * np.exp(-rate * t), "bound_rate": bound}


def cell(index: int = 0, trials: int = 60, present: int | None = None, seed: int = 5) -> CellResults:
    """A cell as the store would give it, with the trials from `present` on not computed."""
    rng = np.random.default_rng(seed)
    there = trials if present is None else present
    shape = (trials, len(WIDTHS))
    data: dict[str, np.ndarray] = dict(margins(rng, trials))
    reached = 40.0 * np.exp(rng.normal(0.0, 0.3, (trials, 1))) < WIDTHS
    data["exact"] = np.where(reached, Exact.REACHES_ZERO, Exact.CANNOT).astype(np.int8)
    data["exact"][1, 1] = Exact.UNDECIDED
    data["psi_0"] = np.full(shape, 3.0)
    data["sigma_low"] = np.full(shape, 0.1)
    data["sigma_A"] = np.ones(trials)
    data["norm_A"] = np.ones(trials)
    data["frobenius_A"] = np.full(trials, math.sqrt(5.0))
    data["frobenius_AAT"] = np.full(trials, math.sqrt(5.0))
    data["norm_y"] = rng.uniform(2.0, 3.0, trials)
    at = np.searchsorted(WIDTHS, FLOW_WIDTHS)
    outcome = np.full((2, trials, len(at)), Outcome.CONVERGED_CERTIFIED, dtype=np.int8)
    outcome[0][~reached[:, at]] = Outcome.NOT_CONVERGED_CERTIFIED
    outcome[:, ::7, 0] = Outcome.CONVERGED_TOLERANCE
    outcome[:, ::11, 1] = Outcome.HORIZON
    data["outcome"] = outcome
    true = data["margin_sharp"][:, :, at] > 1.0
    data["verdict_rate_sharp"] = np.where(true, Verdict.HOLDS, Verdict.HYPOTHESIS_FALSE).astype(np.int8)
    data["slack_rate_sharp"] = np.where(true, rng.uniform(0.2, 2.0, true.shape), np.nan)
    data |= trajectories(rng, min(8, there))
    data["bound_rate"][~true[:, : min(8, there)]] = np.nan
    computed = np.zeros(shape, dtype=np.int8)
    computed[:there] = 1
    for name in set(data) - {"t", "loss", "bound_rate"}:
        rows = data[name] if data[name].ndim < 3 else data[name].swapaxes(0, 1)  # the trial axis first
        rows[there:] = -1 if rows.dtype == np.int8 else np.nan
    data["computed"] = computed
    problem = {"n": 10, "m": 5, "operator": "orthonormal", "signal": "gaussian", "noise": 0.0, "resample": "cell"}
    return CellResults(
        index, f"{index:016x}", problem, {}, MODES, trials, WIDTHS, FLOW_WIDTHS, np.arange(min(8, there)), data
    )


def violating(index: int) -> CellResults:
    """A cell in which trial 3 holds `paper` without `trial` at the largest width, both layers trained."""
    made = cell(index, seed=7)
    made.data["margin_paper"][1, 3, -1], made.data["margin_trial"][1, 3, -1] = 1.5, 0.5
    return made


def results(*cells: CellResults, planned: int = 60, law: str = "uniform", name: str = "ladder & <first>") -> Results:
    """A run of these cells."""
    text = EXPERIMENT.format(name=name, planned=planned, law=law)
    attrs = {"identity": "ab" * 32, "schema_version": 1, "git_commit": "unknown", "experiment": text}
    return Results(Path("results.h5"), text, attrs, cells)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of a complete run."""
    return report_results(results(cell()), tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of what can go wrong: two cells, one incomplete, a violation, outside the theorem."""
    run = results(cell(present=25), violating(1), law="gaussian")
    return report_results(run, tmp_path_factory.mktemp("strange")).parent


def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def strict(folder: Path) -> dict[str, Any]:
    """summary.json, read as JSON without the words NaN and Infinity, which are not JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)
    return found


def claim(folder: Path, name: str, mode: str, index: int = 0) -> dict[str, Any]:
    (found,) = [c for c in strict(folder)["claims"] if (c["name"], c["mode"], c["cell"]) == (name, mode, index)]
    return dict(found)


def test_every_figure_lies_beside_the_page_as_svg_with_its_numbers(report: Path) -> None:
    names = {path.name for path in report.iterdir()}
    kinds = ("ladder", "loss", "outcomes", "margins")
    assert {f"c000-{kind}.csv" for kind in kinds} | {"index.html", "summary.json"} <= names
    for path in report.glob("*.svg"):
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg")
        assert "<dc:date>" not in path.read_text(encoding="utf-8")
    assert len(list(report.glob("c000-*.svg"))) == 2 * (3 + len(FLOW_WIDTHS))
    for path in report.glob("*.csv"):
        header, *rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        assert rows
        assert {len(row) for row in rows} == {len(header)}


def test_the_page_needs_nothing_but_itself(report: Path, strange: Path) -> None:
    for folder in (report, strange):
        text = page(folder)
        assert not re.search(r"<script|@import|url\((?!#)", text)
        for target in re.findall(r'(?:src|href)="([^"]*)"', text):
            # a place on the page, or a file written beside it
            assert target.startswith("#") or (folder / target).is_file(), target


def test_every_figure_has_a_text_in_its_place_and_no_id_is_used_twice(report: Path) -> None:
    text = page(report)
    figures = re.findall(r"<svg[^>]*>", text)
    assert len(figures) == len(list(report.glob("*.svg")))
    for figure in figures:
        label = re.search(r'role="img" aria-label="([^"]{20,})"', figure)
        assert label is not None, figure
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(ids)


def test_colours_of_a_page_follow_its_scheme_and_those_of_a_file_do_not(report: Path) -> None:
    inside = re.findall(r"<svg.*?</svg>", page(report), flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{6}\b", "".join(inside))
    used = set(re.findall(r"var\((--[a-z]+)\)", "".join(inside)))
    style = page(report).split("</style>")[0]
    light, dark = style.split("prefers-color-scheme: dark", 1)
    assert all(f"{name}:" in light and f"{name}:" in dark for name in used)
    assert "var(" not in (report / "c000-ladder-hidden.svg").read_text(encoding="utf-8")


def test_names_are_escaped(report: Path) -> None:
    assert "<h1>ladder &amp; &lt;first&gt;</h1>" in page(report)


def test_claims_have_the_promised_keys_and_the_page_shows_them_all(report: Path) -> None:
    claims = strict(report)["claims"]
    assert all(tuple(c) == CLAIM_KEYS for c in claims)
    names = {(c["name"], c["mode"]) for c in claims}
    assert {("theory-trial", "hidden"), ("theory-paper", "both"), ("sharp-exact", "hidden")} < names
    assert {("paper-trial", m) for m in MODES} | {("trial-sharp", m) for m in MODES} < names
    assert {("rate", m) for m in MODES} < names
    text = page(report)
    cell, whole = text.split('<section id="claims">')
    assert cell.count('<span class="verdict') == sum(c["cell"] is not None for c in claims)
    assert whole.count('<span class="verdict') == len(strict(report)["rows"])
    assert {row["name"] for row in strict(report)["rows"]} == set(CLAIMS)
    assert all(tuple(row) == ROW_KEYS for row in strict(report)["rows"])
    for c in claims:
        assert (report / c["figure"]).is_file()


def test_the_numbers_of_an_implication_are_those_of_its_trials(report: Path) -> None:
    data = cell().data
    premise = (data["margin_trial"][0] > 1.0).any(axis=1).sum()
    found = claim(report, "trial-sharp", "hidden")
    assert found["hypothesis_true"] == premise
    assert found["verdict"] == f"not violated in {premise}"
    # one-sided at 0.95: the two-sided limit at 0.9
    assert found["upper"] == pytest.approx(clopper_pearson(0, premise, 0.9)[1])
    where = np.argwhere((data["margin_trial"][0] > 1.0) & (np.log(data["margin_sharp"][0]) == found["slack_min"]))
    assert [[found["address"]["trial"], int(np.searchsorted(WIDTHS, found["address"]["width"]))]] == where.tolist()


def test_a_bound_is_judged_where_it_is_tightest(report: Path) -> None:
    found = claim(report, "theory-trial", "hidden")
    assert found["verdict"] == "undecided"  # near 1 the bound is beyond what 60 trials can support
    at = [e for e in strict(report)["estimates"] if (e["event"], e["mode"]) == ("trial", "hidden") and e["theory"]]
    tightest = next(e for e in at if e["width"] == found["address"]["width"])
    assert found["slack_min"] == pytest.approx(found["lower"] - tightest["theory"])
    assert claim(report, "theory-paper", "both")["verdict"] == "vacuous"
    assert claim(report, "theory-paper", "both")["slack_min"] is None


def test_estimates_carry_their_brackets_and_levels(report: Path) -> None:
    (found,) = [
        e
        for e in strict(report)["estimates"]
        if (e["event"], e["mode"], e["width"]) == ("exact", "hidden", int(WIDTHS[1]))
    ]
    exact = cell().data["exact"][:, 1]
    holds = int((exact == Exact.REACHES_ZERO).sum())
    assert (found["trials"], found["holds"], found["undecided"]) == (60, holds, 1)
    assert found["bracket"] == [holds / 60, (holds + 1) / 60]
    assert found["simultaneous_level"] == pytest.approx(1 - 0.05 / len(WIDTHS))


def test_median_widths_are_near_those_the_data_were_made_with(report: Path) -> None:
    for median in strict(report)["medians"]:
        half = MEDIANS[median["mode"]].get(median["event"])
        if half is None:
            continue
        # the margin is exp(0.5 log(k/half) + 0.3 g): the width of a trial spreads by exp(0.6), its median over 60
        # trials by exp(0.6 * 1.25/sqrt 60) = 1.10; four such and the grid's step of 2.2, interpolated
        assert half / 1.6 < median["estimate"] < half * 1.6
        assert median["low"] < half <= (median["high"] or math.inf)


def test_the_caption_states_the_promised_width_also_beyond_the_grid(report: Path) -> None:
    widths = {(k["mode"], k["form"]): k["width"] for k in strict(report)["k_theory"]}
    assert widths["both", "paper"] > WIDTHS[-1] > widths["hidden", "trial"]
    assert "both, paper: from k = " in page(report)
    assert "beyond the grid" in page(report)


def test_an_incomplete_run_says_how_much_is_there(strange: Path, report: Path) -> None:
    assert "Incomplete: 25 of 60 trials are there at every width." in page(strange)
    assert "not complete" in page(strange)
    found = strict(strange)["provenance"]
    assert (found["trials_planned"], found["trials_present"], found["complete"]) == (60, [25, 60], False)
    assert claim(strange, "trial-sharp", "hidden")["trials"] == 25
    assert "not complete" not in page(report)
    assert strict(report)["provenance"]["complete"] is True


def test_a_violation_is_shown_with_its_address(strange: Path) -> None:
    found = claim(strange, "paper-trial", "both", 1)
    assert found["verdict"] == "violated"
    assert found["address"] == {"cell": 1, "trial": 3, "width": int(WIDTHS[-1])}
    assert found["slack_min"] == pytest.approx(math.log(0.5))
    assert '<span class="verdict bad">violated</span>' in page(strange)
    assert claim(strange, "paper-trial", "both", 0)["verdict"].startswith("not violated")


def test_a_law_outside_the_theorem_is_flagged_and_has_no_bound(strange: Path) -> None:
    assert page(strange).count("Outside the theorem") == 2
    for mode in MODES:
        assert claim(strange, "theory-trial", mode)["verdict"] == "vacuous"
    assert all(k["width"] is None for k in strict(strange)["k_theory"])


def test_cells_have_their_own_sections_and_files(strange: Path) -> None:
    text = page(strange)
    assert all(f'id="cell-{i}"' in text and f'href="#cell-{i}"' in text for i in (0, 1))
    assert (strange / "c001-ladder-both.svg").is_file()


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    small = results(cell(trials=10), planned=10)
    first, second = (report_results(small, tmp_path / name).parent for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_run_of_one_rung_and_no_flow_has_a_report(tmp_path: Path) -> None:
    whole = cell(trials=10)
    data = {name: whole.data[name] for name in ("psi_0", "computed", "exact")}
    bare = CellResults(0, whole.key, whole.problem, {}, ("hidden",), 10, WIDTHS, FLOW_WIDTHS[:0], np.arange(0), data)
    folder = report_results(results(bare, planned=10), tmp_path).parent
    assert [p.name for p in sorted(folder.glob("*.svg"))] == ["c000-ladder-hidden.svg"]
    assert strict(folder)["claims"] == []
    assert "No P_theory is compared" in page(folder)


def test_a_run_with_nothing_computed_yet_has_a_report(tmp_path: Path) -> None:
    folder = report_results(results(cell(present=0)), tmp_path).parent
    assert "Incomplete: 0 of 60 trials" in page(folder)
    assert {e["trials"] for e in strict(folder)["estimates"]} <= {0}


def test_a_run_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.h5"):
        write_report(tmp_path, tmp_path / "report")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file", encoding="utf-8")
    with pytest.raises(InputError, match="another folder"):
        report_results(results(cell(trials=10), planned=10), taken)


def test_json_has_no_words_that_are_not_json() -> None:
    found = plain({"a": math.nan, "b": [np.float64(math.inf), np.int64(3)], "c": Outcome.HORIZON, "d": np.bool_(True)})
    assert json.loads(to_json(found)) == {"a": None, "b": [None, 3], "c": 5, "d": True}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "0.01"), (1.0, "1"), (1000.0, "1\u202f000"), (1e4, "10⁴"), (1e-12, "10⁻¹²"), (2.5, "2.5"), (0.0, "")],
)
def test_powers_of_ten_read_as_one_writes_them(value: float, text: str) -> None:
    assert power_of_ten(value) == text


def test_an_inlined_figure_escapes_its_text() -> None:
    made = inline('<svg width="1" viewBox="0 0 1 1"><g id="a"/><use href="#a"/></svg>', "p", 'x < "y" & z')
    head = '<svg role="img" aria-label="x &lt; &quot;y&quot; &amp; z" viewBox="0 0 1 1">'
    assert made == head + '<g id="p-a"/><use href="#p-a"/></svg>'


def test_a_run_of_the_suite_is_reported_from_its_folder(tmp_path: Path) -> None:
    sizes = {"n": 4, "m": 2, "operator": "orthonormal", "resample": "cell"}
    small = Experiment.from_dict(
        {
            "experiment": {"name": "small", "seed": 3, "trials": 5},
            "problem": sizes,
            "network": {"mode": ["hidden", "both"]},
            "widths": {"values": [4, 64]},
            "flow": {"widths": [64], "save": {"trials": 2, "times": 8}},
        }
    )
    execute.run(small, tmp_path / "run", backend="inline")
    folder = write_report(tmp_path / "run", tmp_path / "report").parent
    found = strict(folder)
    assert found["provenance"]["trials_present"] == [5]
    # sigmoid, both layers: zero loss from every start at every width (theory §7.5)
    conserved = [e for e in found["estimates"] if e["event"] == "conserved"]
    assert [(e["holds"], e["trials"]) for e in conserved] == [(5, 5), (5, 5)]
    assert not [c for c in found["claims"] if c["verdict"] in ("violated", "contradicted")]
    kinds = {path.name.split("-")[1] for path in folder.glob("*.svg")}
    assert kinds == {"ladder", "loss", "outcomes", "margins", "times", "slacks", "slacks.svg", "tails", "published"}
