"""The study "descent": agreement counted by hand, and the section on runs of a few trials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mc.estimate.flows.protocol import Protocol, answers
from mc.estimate.probability.counts import Decision
from mc.estimate.probability.paired import compare
from mc.report.paper.descent import Step, agreement_claim, section
from mc.report.paper.section import Run, Runs, Section
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome

HOLDS, FAILS, OPEN = Decision.HOLDS, Decision.FAILS, Decision.UNDECIDED


def step(said: list[list[int]], truth: list[list[int]], run: Run) -> Step:
    s, t = np.array(said, dtype=np.int8), np.array(truth, dtype=np.int8)
    soon, late = (np.sum((s == a) & (t == b), axis=0) for a, b in ((HOLDS, FAILS), (FAILS, HOLDS)))
    widths = np.arange(10, 10 + s.shape[1])
    own = Protocol(0, "hidden", "step 1", 100, 1e-7, widths, s, t, soon, late, np.full(len(widths), 5.0), compare(s, t))
    return Step(run, own)


@pytest.fixture(scope="module")
def runs(small_runs: Callable[..., Runs]) -> Runs:
    grid = {"experiment": {"trials": 8}, "widths": {"values": [16, 40]}}
    steps = grid | {"flow": {"widths": [16, 40], "max_steps": 300}}
    changes = {"descent-gradient-flow": grid | {"flow": {"widths": [16, 40]}}}
    changes |= {f"descent-step-{name}": steps for name in ("1", "half")}
    return small_runs(changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_an_open_trial_is_neither_agreement_nor_disagreement(runs: Runs) -> None:
    one = step([[HOLDS, FAILS], [FAILS, FAILS], [OPEN, HOLDS]], [[HOLDS, HOLDS], [FAILS, FAILS], [HOLDS, OPEN]],
               runs["descent-step-1"])  # fmt: skip
    counts = one.agreement()
    assert counts.holds.tolist() == [2, 1]
    assert counts.fails.tolist() == [0, 1]
    assert counts.undecided.tolist() == [1, 1]
    assert (one.late, one.soon, one.first_error()) == (1, 0, (0, 11))


def test_many_that_agree_support_and_many_that_do_not_contradict(runs: Runs) -> None:
    run = runs["descent-step-1"]
    agree = step([[HOLDS]] * 100, [[HOLDS]] * 100, run)
    assert agreement_claim(agree, 0.95).verdict == "supported"
    differ = step([[FAILS]] * 30 + [[HOLDS]] * 70, [[HOLDS]] * 100, run)
    found = agreement_claim(differ, 0.95)
    assert found.verdict == "contradicted"
    assert "30 trials are called too late" in found.explanation
    few = step([[HOLDS]] * 10, [[HOLDS]] * 10, run)
    assert agreement_claim(few, 0.95).verdict == "undecided"


def test_the_section_of_small_runs(made: Section, runs: Runs, check_section: Callable[..., None]) -> None:
    check_section(made, "descent", runs)
    assert {panel.name for panel in made.figures[0].panels} == {"descent-steps-hidden", "descent-steps-both"}
    errors, pairs = made.tables
    # Two steps, two modes, two widths; and the flow takes no part of its own in the first table.
    assert len(errors.rows) == 8
    assert {(row[0], row[1]) for row in pairs.rows} >= {("step-1", "step-half"), ("step-1", "gradient-flow")}


def test_what_no_network_can_reach_is_an_answer_of_the_protocol_too() -> None:
    outcome = np.array([[[Outcome.CONVERGED_GD], [Outcome.NOT_CONVERGED_CERTIFIED], [Outcome.STEP_BUDGET],
                         [Outcome.NOT_ATTEMPTED], [NOT_COMPUTED]]], dtype=np.int8)  # fmt: skip
    width, none = np.array([4]), np.array([], dtype=np.int64)
    cell = CellResults(0, "0" * 16, {}, {}, ("hidden",), 5, width, width, none, {"outcome": outcome})
    said = answers(cell, "hidden")
    assert said is not None
    assert said[:, 0].tolist() == [HOLDS, FAILS, FAILS, OPEN, Decision.NOT_COUNTED]
