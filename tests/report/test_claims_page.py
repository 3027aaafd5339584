"""The page of claims: draws count once, the registry is complete, a suite is judged as a whole, protocols err."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mc.cli.main import main
from mc.estimate.claims.finding import Finding
from mc.estimate.claims.implications import implication
from mc.estimate.claims.pooled import Source, claim_rows
from mc.estimate.flows.protocol import answers, protocol, step_pairs, stepped
from mc.estimate.probability.counts import Decision
from mc.estimate.probability.intervals import upper_limit
from mc.report.claim_figures import slacks
from mc.report.claims import claims_rows, factor, replay_command
from mc.store.results import CellResults
from mc.theory.claims import CLAIMS
from mc.theory.codes import Exact, Outcome, Verdict

WIDTHS = np.array([10, 100])
HOLDS, VIOLATED, UNDECIDED, FALSE, VACUOUS = (int(v) for v in Verdict)


def finding(
    verdict: list[list[int]], name: str = "rate", hypothesis: str = "trial", cell: int = 0, **of: Any
) -> Finding:
    """What these verdicts of (trial, width) say."""
    slack = of.pop("slack", np.where(np.array(verdict) == HOLDS, 1.0, np.nan))
    return implication(name, hypothesis, "hidden", WIDTHS, np.array(verdict, np.int8), np.array(slack), cell=cell, **of)


def row(name: str, *sources: Source) -> Finding:
    (found,) = [one for one in claim_rows(sources) if one.name == name]
    return found


def source(*findings: Finding, name: str = "", seed: int = 1, key: str = "aa") -> Source:
    return Source(name, seed, {0: key, 1: "bb"}, findings)


def test_a_draw_that_two_runs_share_counts_once() -> None:
    first = source(finding([[HOLDS, FALSE], [FALSE, FALSE], [FALSE, HOLDS]]), name="a")
    second = source(finding([[FALSE, HOLDS], [HOLDS, HOLDS]]), name="b")
    shared = row("rate", first, second)
    assert (shared.trials, shared.hypothesis_true, shared.checks) == (3, 3, 5)
    other = row("rate", first, replace(second, seed=2))
    assert (other.trials, other.hypothesis_true, other.checks) == (5, 4, 5)
    assert shared.upper == pytest.approx(float(upper_limit(0, 3, 0.05)))
    assert shared.verdict == "not violated in 3"


def test_a_draw_violates_where_one_of_its_runs_does() -> None:
    good = source(finding([[HOLDS, HOLDS], [HOLDS, HOLDS]]), name="a")
    bad = source(finding([[HOLDS, HOLDS], [HOLDS, VIOLATED]], slack=[[1, 2], [3, -0.5]]), name="b")
    found = row("rate", good, bad)
    assert (found.verdict, found.violations, found.hypothesis_true) == ("violated", 1, 2)
    assert (found.run, found.cell, found.address) == ("b", 0, (1, 100))
    assert " ".join(replay_command(found)) == "dipmc replay RUN/b --cell 0 --trial 1 --width 100"


def test_undecided_draws_widen_the_limit() -> None:
    found = row("rate", source(finding([[UNDECIDED, FALSE], [HOLDS, HOLDS]])))
    assert found.verdict == "not violated in 1"
    assert found.upper == pytest.approx(float(upper_limit(1, 2, 0.05)))


def test_a_hypothesis_that_never_held_and_a_vacuous_claim_say_so() -> None:
    never = row("rate", source(finding([[FALSE, FALSE]] * 7)))
    assert never.verdict == "hypothesis false in all 7 trials"
    recovery = row("recovery", source(finding([[VACUOUS, FALSE]], name="recovery")))
    assert recovery.verdict == "vacuous: the tangent cone meets ker(A)"
    both = row("recovery", source(finding([[VACUOUS, FALSE], [HOLDS, VACUOUS]], name="recovery")))
    assert (both.verdict, both.detail) == ("not violated in 1", "vacuous in 1 draw(s): the tangent cone meets ker(A)")


def test_every_claim_of_the_registry_has_a_row() -> None:
    rows = claim_rows([source(finding([[HOLDS, HOLDS]]), finding([[FALSE, HOLDS]], hypothesis="sharp"))])
    assert list(dict.fromkeys(one.name for one in rows)) == list(CLAIMS)
    assert [one.hypothesis for one in rows if one.name == "rate"] == ["trial", "sharp"]
    words = list(claims_rows(rows))
    assert {one["verdict"] for one in words if one["name"] == "mirror"} == {"not checked in this run"}


def test_the_smallest_slack_has_its_error_and_leaves_undecided_pairs_out() -> None:
    verdict = [[HOLDS, UNDECIDED], [HOLDS, HOLDS]]
    slack, error = [[0.7, -1e-9], [2.0, 1e-3]], np.array([[1e-6, 1e-2], [1e-6, 1e-8]])
    found = row("rate", source(finding(verdict, slack=slack, error=error)))
    assert (found.slack_min, found.slack_error) == (1e-3, 1e-8)
    assert found.slack_median == 0.7
    (words,) = claims_rows([found])
    assert words["slack_note"] == "log 1.0e−03 ± 1.0e−08"
    assert words["median"] == "2.01"
    assert words["limits"].endswith(", 1 undecided")


def test_factors_are_read_off_logarithms() -> None:
    assert [factor(x) for x in (np.log(2.0), 0.001, np.inf, 20.0, np.nan)] == ["2", "1.001", "∞", "above 10⁶", "–"]


def test_a_figure_shows_infinite_slacks_at_the_edge() -> None:
    found = row("rate", source(finding([[HOLDS, HOLDS], [HOLDS, HOLDS]], slack=[[0.5, np.inf], [np.inf, np.inf]])))
    figure = slacks([found])
    assert figure is not None
    assert figure.table.splitlines()[1].endswith(",0.75")
    assert slacks([row("mirror", source(finding([[HOLDS, HOLDS]])))]) is None


def descent() -> CellResults:
    """Four trials at two widths; trial 1 too late at width 10, trial 2 too soon, trial 3 undecided."""
    outcome = np.array(
        [
            [
                [Outcome.CONVERGED_GD] * 2,
                [Outcome.STEP_BUDGET, Outcome.CONVERGED_GD],
                [Outcome.CONVERGED_GD] * 2,
                [Outcome.STEP_BUDGET] * 2,
            ]
        ],
        dtype=np.int8,
    )
    exact = np.array([[0, 0], [0, 0], [1, 0], [2, 0]], dtype=np.int8)
    assert (Exact.REACHES_ZERO, Exact.CANNOT, Exact.UNDECIDED) == (0, 1, 2)
    data = {"outcome": outcome, "exact": exact, "steps": np.full((1, 4, 2), 7), "psi_0": np.ones((4, 2))}
    return CellResults(0, "cc", {"n": 2, "m": 1}, {}, ("hidden",), 4, WIDTHS, WIDTHS, np.arange(0), data)


GD = {"flow": {"rule": "gd", "max_steps": 25_000, "loss_tolerance": 1e-7}, "experiment": {"seed": 1}}


def test_a_protocol_errs_too_soon_and_too_late() -> None:
    found = protocol(descent(), "hidden", GD)
    assert found is not None
    assert found.too_soon.tolist() == [1, 0]
    assert found.too_late.tolist() == [1, 1]  # trial 3 at width 100 as well
    assert found.counts.holds.tolist() == [2, 3]
    assert found.comparison.only_first.tolist() == [1, 0]
    assert protocol(descent(), "hidden", {"flow": {"rule": "restart"}}) is None


def test_out_of_steps_is_an_answer_of_the_protocol() -> None:
    said = answers(descent(), "hidden")
    assert said is not None
    assert said[3].tolist() == [Decision.FAILS, Decision.FAILS]


def test_a_trial_that_need_not_run_is_an_answer_of_the_protocol() -> None:
    """Its loss is bounded away from the tolerance: called not converged, not left open."""
    cell = descent()
    cell.data["outcome"][0, 0] = Outcome.NOT_CONVERGED_CERTIFIED
    said = answers(cell, "hidden")
    assert said is not None
    assert said[0].tolist() == [Decision.FAILS, Decision.FAILS]


def test_steps_are_compared_where_the_draws_are_shared() -> None:
    cell = descent()
    first, second = stepped("a", GD, (cell,)), stepped("b", {**GD, "experiment": {"seed": 2}}, (cell,))
    assert not list(step_pairs([first, second]))
    flow = stepped("c", {"flow": {"rule": "restart"}, "experiment": {"seed": 1}}, (cell,))
    (pair,) = step_pairs([flow, first])
    assert (pair.first, pair.second) == ("a", "c")
    assert pair.comparison.only_first.tolist() == [1, 0]
    assert pair.comparison.only_second.tolist() == [1, 1]


EXPERIMENT = """
[experiment]
name = "{name}"
seed = 3
trials = 6
[problem]
n = 3
m = 2
operator = "orthonormal"
resample = "cell"
[network]
mode = ["hidden", "both"]
activation = "{activation}"
[widths]
values = [4, 256]
[flow]
widths = [4]
rule = "gd"
max_steps = 300
"""


def test_a_suite_is_judged_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, activation in (("first", "sigmoid"), ("second", "softplus")):
        (tmp_path / f"{name}.toml").write_text(EXPERIMENT.format(name=name, activation=activation), encoding="utf-8")
    suite = '[experiment]\nname = "both"\n[suite]\nexperiments = ["first.toml", "second.toml"]\n'
    (tmp_path / "suite.toml").write_text(suite, encoding="utf-8")
    run, out = tmp_path / "run", tmp_path / "report"
    assert main(["run", str(tmp_path / "suite.toml"), "-o", str(run), "--quiet", "--backend", "inline"]) == 0
    assert main(["report", str(run), "-o", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "index.html")
    found = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    own = [json.loads((out / name / "summary.json").read_text(encoding="utf-8")) for name in ("first", "second")]
    assert len(found["claims"]) == sum(len(one["claims"]) for one in own)
    assert {row["name"] for row in found["rows"]} == set(CLAIMS)
    text = (out / "index.html").read_text(encoding="utf-8")
    assert all(name in text for name in CLAIMS)
    assert "<script" not in text
    for entry in found["claims"]:
        assert entry["figure"] is None or (out / entry["figure"]).is_file(), entry
    # Holm over the whole never makes a p-value smaller than on the page of one experiment
    alone = [claim["p_against"] for one in own for claim in one["claims"]]
    for entry, p in zip(found["claims"], alone, strict=True):
        assert (entry["p_against"] is None) == (p is None)
        assert p is None or entry["p_against"] >= p
    shared = [row for row in found["rows"] if row["name"] == "trial-sharp"]
    # the same seed and cells: the 6 draws of two activations are 6 draws
    assert [row["trials"] for row in shared] == [6]
    assert found["protocols"]
