"""Trials of blocks that failed: rows with an outcome, undecided in every estimate, ordinary once they are computed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from block_stub import FLOW_WIDTHS, SIZE, TRIALS, WIDTHS, datasets, make_block, run_plan, stub, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from run_stubs import Counting, adaptive, coins, experiment
from stored_cells import cell

from mc.cli.status import run_lines
from mc.estimate import Counts
from mc.estimate.cells.study import claimed_trials, study_run
from mc.estimate.claims.implications import flow_implications, implied, ladder_implications
from mc.estimate.flows.survival import convergence_times
from mc.estimate.probability.counts import decisions
from mc.estimate.sampling.adaptive import AdaptivePlan, Progress, replay
from mc.report.page import report_results
from mc.report.paper.page import totals
from mc.report.paper.section import Run
from mc.report.tables import notes
from mc.runner.execute import run
from mc.runner.progress import behind
from mc.store import failures
from mc.store.failures import failed_blocks, forget, note
from mc.store.layout import Computed
from mc.store.merge import merge
from mc.store.results import load
from mc.theory.codes import NOT_COMPUTED, Exact, Outcome, Verdict
from mc.trial.block import BlockTask
from mc.verify.folder import Status, verify_run

LOST = slice(4, 8)
"""Trials of block 1, which `failing` refuses."""


def plausible(task: BlockTask) -> dict[str, Any]:
    """A stub whose problems the bounds accept, and of which every event applies to every trial."""
    made = stub(task)
    found = {name: np.abs(np.nan_to_num(x, nan=0.5)) if x.dtype == np.float64 else x for name, x in made.items()}
    found["exact"] = np.clip(found["exact"], Exact.REACHES_ZERO, Exact.UNDECIDED).astype(np.int8)
    found["outcome"] = np.clip(found["outcome"], 0, int(Outcome.HORIZON)).astype(np.int8)
    ones = np.ones(task.n_trials)
    return found | dict.fromkeys(("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y"), ones)


def failing(task: BlockTask) -> dict[str, Any]:
    """Raises in the second block of each cell."""
    if task.first_trial == task.n_trials:
        raise ArithmeticError("division of the stub")
    return plausible(task)


def fail(run: Path, plan: Any, index: int, number: int, *widths: tuple[int, ...]) -> None:
    note(run, plan.cells[index].key, number, f"cell {index}, block {number}", "ValueError: x", *(widths or ASKED))


ASKED = (WIDTHS, FLOW_WIDTHS)


# a run


def test_a_failed_block_is_undecided_until_it_is_computed(tmp_path: Path) -> None:
    whole = run(experiment(), tmp_path / "whole", compute=plausible)
    assert whole.results is not None
    run(experiment(), tmp_path / "r", compute=failing)
    results = load(tmp_path / "r")
    for made in results.cells:
        assert (made["computed"][LOST] == Computed.FAILED).all()
        assert (made["outcome"][:, LOST] == Outcome.ERROR).all()
        assert np.isnan(made["margin_paper"][:, LOST]).all()
        assert made["trials_present"].tolist() == [6, 6, 6]
    with h5py.File(results.path) as file:
        flags = file["c000/computed"].attrs
        assert dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))[2] == "failed"
    table = results.to_pandas()
    assert len(table) == 2 * 2 * 10 * 3
    assert set(table.query("4 <= trial < 8")["computed"]) == {"failed"}
    assert set(table.query("trial < 4")["computed"]) == {"present"}
    widened, undisturbed = study_run(results), study_run(load(tmp_path / "whole"))
    assert not widened.complete
    assert undisturbed.complete
    for mine, theirs in zip(widened.cells, undisturbed.cells, strict=True):
        assert (mine.trials, mine.failed) == (10, 4)
        assert mine.curves.keys() == theirs.curves.keys()
        for at, curve in mine.curves.items():
            own, full = curve.counts, theirs.curves[at].counts
            assert own.trials.tolist() == full.trials.tolist()
            assert (own.holds <= full.holds).all()
            assert (full.holds <= own.holds + own.undecided).all()
            assert (own.undecided >= 4).any()
            assert (curve.lower <= theirs.curves[at].lower).all()
            assert (curve.upper >= theirs.curves[at].upper).all()
        (told,) = (words for words in notes(widened, mine) if words.startswith("Failed"))
        assert "4 of 10 trials" in told
        assert "block 1 (trials 4 to 7): ArithmeticError: division of the stub" in told
    assert any("24 trials x widths failed" in check.summary for check in verify_run(tmp_path / "r"))
    assert run(experiment(), tmp_path / "r", compute=plausible).blocks_computed == 2
    assert failed_blocks(tmp_path / "r") == {}
    assert datasets(tmp_path / "r" / "results.h5") == datasets(whole.results)
    assert "failures" not in load(tmp_path / "r").attrs


def test_where_every_block_failed_the_interval_is_everything(tmp_path: Path) -> None:
    def broken(task: BlockTask) -> dict[str, Any]:
        raise ArithmeticError("always")

    run(experiment(), tmp_path, compute=broken)
    (first, _) = study_run(load(tmp_path)).cells
    assert ("hidden", "paper") in first.curves
    assert ("both", "conserved") in first.curves
    assert ("hidden", "converged") in first.curves
    for curve in first.curves.values():
        assert (curve.counts.undecided == 10).all()
        assert (curve.lower == 0.0).all()
        assert (curve.upper == 1.0).all()
    page = report_results(load(tmp_path), tmp_path / "report").read_text()
    assert "Failed: 10 of 10 trials have no result at some width" in page
    assert "ArithmeticError: always" in page
    told = json.loads((tmp_path / "report" / "summary.json").read_text())["provenance"]
    assert (told["trials_present"], told["trials_failed"], told["complete"]) == ([0, 0], [10, 10], False)


def test_results_are_behind_when_a_failure_came_or_went(tmp_path: Path) -> None:
    run(experiment(), tmp_path, compute=failing)
    assert not behind(tmp_path)
    kept = {path: path.read_bytes() for path in (tmp_path / "failures").iterdir()}
    for path in kept:
        path.unlink()
    assert behind(tmp_path)
    assert any("`dipmc merge`" in check.summary for check in verify_run(tmp_path) if check.name == "results")
    for path, content in kept.items():
        path.write_bytes(content)
    assert not behind(tmp_path)
    (check,) = (check for check in verify_run(tmp_path) if check.name == "results")
    assert check.status != Status.FAILED
    assert "`dipmc merge`" not in check.summary
    told = list(run_lines(tmp_path))
    assert any("failed: " in line and "block 1 (trials 4 to 7): ArithmeticError" in line for line in told)
    assert any("hidden paper" in line and "10 trials" in line for line in told)  # those that failed are counted


def test_status_is_silent_on_a_note_whose_block_is_there(tmp_path: Path) -> None:
    run(experiment(), tmp_path, compute=failing)
    kept = {path: path.read_bytes() for path in (tmp_path / "failures").iterdir()}
    run(experiment(), tmp_path, compute=plausible)
    for path, content in kept.items():  # as if the process had ended before it removed them
        path.write_bytes(content)
    assert len(failed_blocks(tmp_path)) == 2
    assert not any("failed" in line for line in run_lines(tmp_path))


def test_the_totals_of_a_page_count_what_was_computed(tmp_path: Path) -> None:
    run(experiment(), tmp_path / "tiny", compute=failing)
    found = totals([Run("tiny", tmp_path / "tiny")])
    # 2 cells with 6 of 10 trials, at 3 widths and, of the flow, in 2 modes at 2 widths
    assert (found.networks, found.trajectories) == (2 * 6 * 3, 2 * 6 * 2 * 2)


# notes


def test_a_note_keeps_the_widths_that_failed_and_loses_those_that_came(tmp_path: Path) -> None:
    plan = run_plan()
    key = plan.cells[0].key
    fail(tmp_path, plan, 0, 1, (10, 30), (10,))
    fail(tmp_path, plan, 0, 1, (100,), ())
    assert failed_blocks(tmp_path)[key, 1].widths == (10, 30, 100)
    forget(tmp_path, key, 1, (10, 100), (10,))
    assert failed_blocks(tmp_path)[key, 1].widths == (30,)
    forget(tmp_path, key, 1, (30,), ())
    assert failed_blocks(tmp_path) == {}
    forget(tmp_path, key, 1, (30,), ())


def test_a_note_without_widths_is_of_all_that_is_not_there(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0, (10, 30), (10,))
    fail(tmp_path, plan, 0, 0)
    path = next((tmp_path / "failures").iterdir())
    held = json.loads(path.read_text())
    path.write_text(json.dumps({name: held[name] for name in ("place", "error", "host", "at")}))
    merge(tmp_path, plan, {})
    made = load(tmp_path).cells[0]
    assert made["computed"][0].tolist() == [1, 1, 2, 2]
    assert (made["outcome"][:, :SIZE, 1] == Outcome.ERROR).all()
    forget(tmp_path, plan.cells[0].key, 0, (10, 30), (10,))
    assert failed_blocks(tmp_path)[plan.cells[0].key, 0].widths is None  # the others are not there yet


def test_a_note_that_another_task_removes_while_it_is_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, read = run_plan(), failures._read
    key = plan.cells[0].key

    def removed(path: Path) -> Any:
        path.unlink(missing_ok=True)
        return read(path)

    fail(tmp_path, plan, 0, 1, (10,), ())
    monkeypatch.setattr(failures, "_read", removed)
    forget(tmp_path, key, 1, (10,), ())
    monkeypatch.undo()
    fail(tmp_path, plan, 0, 1, (10,), ())
    monkeypatch.setattr(failures, "_read", removed)
    fail(tmp_path, plan, 0, 1, (30,), ())
    monkeypatch.undo()
    assert failed_blocks(tmp_path)[key, 1].widths == (30,)


# the merge


@settings(max_examples=20)  # each merges twice
@given(st.lists(st.sampled_from(["there", "failed", "part", "absent"]), min_size=6, max_size=6))
def test_rows_follow_from_blocks_and_notes_alone(tmp_path_factory: pytest.TempPathFactory, states: list[str]) -> None:
    plan, folders = run_plan(), [tmp_path_factory.mktemp("run") for _ in range(2)]
    places = list(zip(itertools.product(range(2), range(3)), states, strict=True))
    for folder, order in zip(folders, (places, places[::-1]), strict=True):
        for (index, number), state in order:
            if state in ("failed", "part"):
                fail(folder, plan, index, number)
            if state == "part":
                write(folder, plan, plan.cells[index], number, (10, 30), (10,))
            if state == "there":
                write(folder, plan, plan.cells[index], number)
                fail(folder, plan, index, number)  # a note that was left behind says nothing
    for folder in folders:
        merge(folder, plan, {})
    assert datasets(folders[0] / "results.h5") == datasets(folders[1] / "results.h5")
    code = {"there": [1] * 4, "failed": [2] * 4, "part": [1, 1, 2, 2], "absent": [0] * 4}
    for (index, number), state in places:
        rows = slice(number * SIZE, min((number + 1) * SIZE, TRIALS))
        made = load(folders[0]).cells[index]
        assert (made["computed"][rows] == code[state]).all()
        if "outcome" in made:
            lost = (made["outcome"][:, rows] == Outcome.ERROR).all(axis=(0, 1))
            made_up = make_block(plan, plan.cells[index], number)[1]["outcome"][:, : rows.stop - rows.start]
            assert lost.tolist() == {"failed": [True, True], "part": [False, True]}.get(state, [False, False])
            there = {"there": [0, 1], "part": [0]}.get(state, [])
            assert np.array_equal(made["outcome"][:, rows][..., there], made_up[..., there])
        else:
            assert state == "absent"


# counts and claims


@given(
    margins=hnp.arrays(np.float64, (8, 3), elements=st.sampled_from([0.5, 2.0])),
    lost=hnp.arrays(np.bool_, (8, 3)),
)
def test_all_that_the_lost_trials_may_say_is_in_the_bracket(margins: Any, lost: Any) -> None:
    widths, modes = (10, 30, 100), ("hidden",)
    full = decisions(
        cell(modes, widths, margin_trial=margins[None], computed=np.ones((8, 3), np.int8)), "trial", "hidden"
    )
    seen = np.where(lost, np.nan, margins)[None]
    part = decisions(
        cell(modes, widths, margin_trial=seen, computed=np.where(lost, 2, 1).astype(np.int8)), "trial", "hidden"
    )
    assert full is not None
    assert part is not None
    mine, whole = Counts.of(part), Counts.of(full)
    assert mine.trials.tolist() == whole.trials.tolist()
    assert mine.undecided.tolist() == lost.sum(axis=0).tolist()
    assert (mine.holds <= whole.holds).all()
    assert (whole.holds <= mine.holds + mine.undecided).all()


def test_a_failed_trial_counts_only_where_the_event_applies() -> None:
    computed = np.array([[1, 1, 0], [2, 2, 2]], dtype=np.int8)
    margin = np.array([[[2.0, np.nan, np.nan], [np.nan, np.nan, np.nan]]])
    found = decisions(cell(("hidden",), (10, 30, 100), margin_trial=margin, computed=computed), "trial", "hidden")
    assert found is not None
    # at the second width a trial was computed and the rung said nothing; at the third nothing is known of any
    assert found.tolist() == [[1, -1, -1], [2, -1, 2]]
    never = np.full((1, 2, 3), np.nan)
    assert decisions(cell(("hidden",), (10, 30, 100), margin_trial=never, computed=computed), "trial", "hidden") is None


def test_claims_on_failed_trials_are_undecided_and_never_held() -> None:
    assert implied(np.array([[2, 2, 2]], np.int8), np.array([[0, 1, 2]], np.int8)).tolist() == [
        [Verdict.UNDECIDED, Verdict.HYPOTHESIS_FALSE, Verdict.UNDECIDED]
    ]
    ones = np.array([[[2.0, 2.0], [np.nan, np.nan]]])
    computed = np.array([[1, 1], [2, 2]], dtype=np.int8)
    (ladder,) = ladder_implications(
        cell(("hidden",), margin_paper=ones, margin_trial=ones, computed=computed), "hidden"
    )
    assert (ladder.trials, ladder.hypothesis_true, ladder.undecided, ladder.violations) == (2, 2, 1, 0)
    assert ladder.verdict == "not violated in 1"
    outcome = np.array([[[0, 0], [Outcome.ERROR, Outcome.ERROR]]] * 2, dtype=np.int8)
    verdict = np.array([[[0, 3], [-1, -1]], [[-1, -1], [-1, -1]]], dtype=np.int8)
    made = cell(outcome=outcome, verdict_ball_paper=verdict)
    (ball,) = flow_implications(made, "hidden")
    assert (ball.trials, ball.undecided, ball.violations) == (2, 1, 0)
    assert list(flow_implications(made, "both")) == []  # the claim applies to none of this mode


def test_failed_trials_that_no_claim_was_to_be_checked_on_say_nothing() -> None:
    outcome = np.array([[[0], [Outcome.ERROR], [0], [Outcome.ERROR]]], dtype=np.int8)
    verdict = np.array([[[0], [-1], [-1], [-1]]], dtype=np.int8)
    made = cell(("hidden",), (10,), outcome=outcome, verdict_ball_paper=verdict)
    for claimed, trials, undecided in ((1, 1, 0), (2, 2, 1), (3, 2, 1), (None, 3, 2)):
        (ball,) = flow_implications(made, "hidden", claimed=claimed)
        assert (ball.trials, ball.undecided) == (trials, undecided)
    flow = {"save": {"trials": 2}}
    assert claimed_trials({"flow": flow, "claims": {"check": ["saved"]}}) == 2
    assert claimed_trials({"flow": flow}) == 2
    assert claimed_trials({"flow": flow, "claims": {"check": ["all"]}}) is None
    assert claimed_trials({"flow": flow, "claims": {"check": ["theory-trial", "ball"]}}) is None


def test_a_failed_flow_may_have_converged_at_any_time() -> None:
    outcome = np.array([Outcome.CONVERGED_CERTIFIED, Outcome.ERROR, NOT_COMPUTED], dtype=np.int8)
    found = convergence_times(outcome, np.array([1.0, np.nan, np.nan]))
    assert (found.trials, found.events, found.censored, found.left_out) == (2, 1, 1, 0)
    assert found.times.tolist() == [0.0, 1.0]
    assert found.least.tolist() == [0.0, 0.5]
    assert found.most.tolist() == [0.5, 1.0]


# adaptive runs


class Failing(Counting):
    """The coins, but for one block."""

    def __call__(self, task: BlockTask) -> dict[str, Any]:
        self.tasks.append(task)
        if task.first_trial == task.n_trials:
            raise ArithmeticError("lost")
        return coins(task)

    @property
    def lost(self) -> int:
        """How often that block was tried."""
        return sum(task.first_trial == task.n_trials for task in self.tasks)


def test_an_adaptive_run_goes_on_without_a_failed_block_and_counts_it_undecided(tmp_path: Path) -> None:
    first = Failing()
    summary = run(adaptive(), tmp_path, backend="inline", compute=first)
    assert (first.lost, len(summary.failures)) == (1, 1)
    state = study_run(load(tmp_path)).sampled
    assert state is not None
    assert state[1].finished
    assert [counts.undecided.tolist() for counts in state[1].counts] == [[16, 16, 16]]
    again = Failing()
    run(adaptive(), tmp_path, backend="inline", compute=again)
    assert (again.lost, len(again.tasks)) == (1, 1)  # once a run, and nothing else is missing
    mended = Counting(coins)
    run(adaptive(), tmp_path, backend="inline", compute=mended)
    assert [task.first_trial for task in mended.tasks] == [16]
    assert failed_blocks(tmp_path) == {}
    assert not (load(tmp_path).cells[0]["computed"] == Computed.FAILED).any()


def test_a_failure_that_another_task_notes_meanwhile_does_not_end_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = adaptive().cells()

    def noted_meanwhile(plan: AdaptivePlan, observe: Any) -> Progress:
        state = replay(plan, observe)
        for request in state.requests:
            for block in range(request.first_block, request.last_block):
                note(tmp_path, only.key, block, "elsewhere", "ValueError: x", request.widths, request.flow_widths)
        return state

    monkeypatch.setattr("mc.runner.adaptive.replay", noted_meanwhile)
    summary = run(adaptive(), tmp_path, backend="inline", compute=Counting(coins))
    assert summary.blocks_computed > 0
    assert failed_blocks(tmp_path) == {}


def test_an_adaptive_run_of_which_every_block_fails_ends(tmp_path: Path) -> None:
    def broken(task: BlockTask) -> dict[str, Any]:
        raise ArithmeticError("always")

    summary = run(adaptive(), tmp_path, backend="inline", compute=broken)
    assert summary.blocks_computed == 0
    assert 0 < len(summary.failures) <= 2  # those of the first round
    assert (load(tmp_path).cells[0]["computed"] == Computed.FAILED).all()
