"""The study "activations": what got stuck, counted by hand, and the section on runs of a few trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paper_cases as cases
import pytest

from mc.estimate.flows.stuck import exact_counts, stuck
from mc.report.paper.activations import section
from mc.report.paper.section import EMPTY, Runs, Section
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Exact, Outcome, Verdict

NAMES = ("activations-sigmoid-uniform", "activations-tanh-uniform", "activations-sigmoid-gaussian")
CHANGES = {"experiment": {"trials": 8}, "widths": {"values": [1, 3, 6, 16, 40, 100, 1_000]}}


def cell() -> CellResults:
    """Three draws at widths 2, 4 and 8; the flow at 2 and 4."""
    reach, never, early = Exact.REACHES_ZERO, Exact.CANNOT, Exact.UNDECIDED
    arrived, stopped, late = Outcome.CONVERGED_TOLERANCE, Outcome.NOT_CONVERGED_CERTIFIED, Outcome.HORIZON
    data = {
        "exact": np.array([[never, reach, reach], [never, never, reach], [reach, early, reach]], dtype=np.int8),
        "outcome": np.array([[[stopped, arrived], [stopped, stopped], [arrived, late]]], dtype=np.int8),
        "verdict_zonotope_always": np.array(
            [[[Verdict.HOLDS, Verdict.HOLDS], [Verdict.HOLDS, Verdict.VIOLATED], [Verdict.HOLDS, Verdict.UNDECIDED]]],
            dtype=np.int8,
        ),
    }
    widths, empty = np.array([2, 4, 8]), np.array([], dtype=np.int64)
    return CellResults(0, "0" * 16, {"n": 2, "m": 1}, {}, ("hidden",), 3, widths, widths[:2], empty, data)


def test_ends_are_counted_and_the_widest_stuck_draws_are_named() -> None:
    found = stuck(cell(), "hidden")
    assert found is not None
    assert found.trials.tolist() == [3, 3]
    assert found.arrived.tolist() == [1, 1]
    assert found.cannot.tolist() == [2, 1]
    assert found.left_open.tolist() == [0, 1]
    assert found.checked.tolist() == [3, 2]
    assert found.broken.tolist() == [0, 1]
    # The first trial that cannot, at k = 4 and then at k = 2; at k = 8 nobody is stuck.
    assert found.examples == ((1, 4), (0, 2))
    counts = exact_counts(cell())
    assert counts is not None
    assert counts.fails.tolist() == [2, 1, 0]
    assert counts.undecided.tolist() == [0, 1, 0]


def test_every_trajectory_that_was_asked_for_ends_in_one_column() -> None:
    made = cell()
    outcome = np.array([[[NOT_COMPUTED] * 2, *([outcome] * 2 for outcome in Outcome)]], dtype=np.int8)
    found = stuck(replace(made, trials=outcome.shape[1], data={"outcome": outcome}), "hidden")
    assert found is not None
    assert found.trials.tolist() == [len(Outcome)] * 2
    assert (found.arrived + found.cannot + found.left_open).tolist() == found.trials.tolist()


def test_a_mode_that_was_not_run_has_no_ends() -> None:
    assert stuck(cell(), "both") is None


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    changes = dict.fromkeys(NAMES, CHANGES)
    changes["activations-stuck-sin"] = CHANGES | {"flow": {"horizon": 10.0}}
    return cases.small_runs(tmp_path_factory.mktemp("activations"), changes)


@pytest.fixture(scope="module")
def made(runs: Runs) -> Section:
    return section(runs)


def test_the_section_of_small_runs(made: Section, runs: Runs) -> None:
    cases.check_section(made, "activations", runs)
    assert [figure.name for figure in made.figures] == ["activations-medians", "activations-stuck"]


def test_gaussian_weights_have_no_paper_rung(made: Section) -> None:
    rows = [row for row in made.tables[0].rows if row[1] == "gaussian"]
    assert rows
    # Its entries have no bound, hence no published Lipschitz constant: never certified, on no grid.
    assert all(row[-1].startswith(("–", ">")) for row in rows)


def test_every_example_can_be_replayed(made: Section) -> None:
    examples = made.tables[-1].rows
    assert examples
    assert all("--trial" in row[-1] and "activations-stuck-sin" in row[-1] for row in examples)


def test_without_a_trial_nothing_is_said() -> None:
    assert section(Runs({})).verdict == EMPTY.verdict
