"""Adaptive allocation: rounds fixed beforehand, decisions from complete rounds alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.errors import InputError
from mc.estimate import Counts
from mc.estimate.probability.methods import METHODS
from mc.estimate.sampling.adaptive import AdaptivePlan, Goal, Progress, Track, observer, replay, unsettled

WIDTHS = np.array([10, 100, 1000], dtype=np.int64)
NONE = np.full(3, np.nan)


def track(claims: np.ndarray = NONE, cell: int = 0, event: str = "trial", flow: bool = False) -> Track:
    return Track(cell, "hidden", event, WIDTHS, np.asarray(claims, dtype=float), flow)


def stored(rng: np.random.Generator, truth: list[float], trials: int, event: str = "trial", cell: int = 0):  # type: ignore[no-untyped-def]
    decisions = (rng.random((trials, 1)) < np.array(truth)).astype(np.int8)
    return {(cell, "hidden", event): (decisions, np.ones((trials, 3), dtype=bool))}


def test_one_goal_and_something_to_sample() -> None:
    with pytest.raises(InputError, match="exactly one"):
        AdaptivePlan(Goal(), (track(),), 16)
    with pytest.raises(InputError, match="exactly one"):
        AdaptivePlan(Goal(target_half_width=0.1, decide=True), (track(),), 16)
    with pytest.raises(InputError, match="nothing to sample"):
        AdaptivePlan(Goal(decide=True), (), 16)


def test_alpha_is_shared_by_what_the_goal_is_about() -> None:
    both = (track(), track(event="sharp"), track(cell=1))
    assert AdaptivePlan(Goal(target_half_width=0.1), both, 16).tests(0) == 6
    some = (track(np.array([0.0, 0.9, np.nan])), track(np.array([0.5, 0.5, -1.0]), event="sharp"))
    assert AdaptivePlan(Goal(decide=True), some, 16).tests(0) == 3


def test_rounds_grow_and_end_with_the_trials_allowed() -> None:
    plan = AdaptivePlan(Goal(target_half_width=0.01, min_trials=100, max_trials=1000), (track(),), 32)
    blocks = [plan.blocks_after(0)]
    while blocks[-1] < 32:
        blocks.append(plan.blocks_after(blocks[-1]))
    assert blocks == [4, 6, 9, 14, 21, 32]
    assert plan.trials_of(32) == 1000  # the last block is computed whole and used in part
    assert plan.trials_of(31) == 992


def test_a_half_width_is_measured_on_the_sequence_with_its_share_of_alpha() -> None:
    plan = AdaptivePlan(Goal(target_half_width=0.1, min_trials=10), (track(),), 16)
    counts = Counts(np.array([100, 200, 30]), np.array([100, 0, 0]), np.array([0, 0, 170]))
    lower, upper = METHODS["beta-binomial"].two_sided(counts.holds, counts.holds + counts.undecided, 200, 0.05 / 3)
    assert (
        unsettled(plan, plan.tracks[0], counts).tolist() == ((upper - lower) / 2 > 0.1).tolist() == [True, False, True]
    )
    few = Counts(np.array([9, 9, 9]), np.zeros(3, int), np.zeros(3, int))
    assert unsettled(plan, plan.tracks[0], few).all()
    many = Counts(np.full(3, 1000), np.full(3, 1000), np.zeros(3, int))
    assert not unsettled(plan, plan.tracks[0], many).any()


def test_a_claim_is_open_until_it_is_supported_or_contradicted() -> None:
    plan = AdaptivePlan(Goal(decide=True, min_trials=10), (track(np.array([0.9, 0.9, 0.9])),), 16)
    counts = Counts(np.array([200, 100, 180]), np.array([0, 100, 20]), np.zeros(3, int))
    assert unsettled(plan, plan.tracks[0], counts).tolist() == [False, False, True]
    none = AdaptivePlan(Goal(decide=True, min_trials=10), (track(np.array([0.9, 0.0, np.nan])),), 16)
    assert unsettled(none, none.tracks[0], Counts.zero(3)).tolist() == [True, False, False]


def follow(plan: AdaptivePlan, data: Callable[[int], object], most: int) -> list[Progress]:
    """Every state of a run that computes exactly what each round asks for."""
    states, have = [], [np.zeros(len(t.widths), dtype=np.int64) for t in plan.tracks]
    whole = data(most)
    for _ in range(100):
        computed = {
            (t.cell, t.mode, t.event): (
                whole[t.cell, t.mode, t.event][0],  # type: ignore[index]
                np.arange(most)[:, None] < have[i],
            )
            for i, t in enumerate(plan.tracks)
        }
        states.append(replay(plan, observer(computed)))
        if states[-1].finished:
            return states
        for request in states[-1].requests:
            for i, t in enumerate(plan.tracks):
                if t.cell == request.cell:
                    here = np.isin(t.widths, request.flow_widths if t.flow else request.widths)
                    have[i] = np.where(here, request.last_block * plan.block_size, have[i])
    raise AssertionError("the rule does not end")


@given(
    st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3),
    st.booleans(),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
def test_a_run_ends_repeats_and_never_looks_beyond_complete_rounds(
    truth: list[float], decide: bool, block_size: int, seed: int
) -> None:
    rng = np.random.Generator(np.random.PCG64DXSM(seed))
    goal = Goal(target_half_width=None if decide else 0.15, decide=decide, min_trials=10, max_trials=120)
    plan = AdaptivePlan(goal, (track(np.array([0.5, 0.9, np.nan])),), block_size)
    most = 120 + block_size
    data = stored(rng, truth, most)
    states = follow(plan, lambda _: data, most)
    end = states[-1]
    # all trials there from the start: the same decisions, since what lies beyond a complete round is not looked at
    at_once = replay(plan, observer(data))
    assert at_once.rounds == end.rounds
    assert at_once.trials[0].tolist() == end.trials[0].tolist()
    assert at_once.counts[0].holds.tolist() == end.counts[0].holds.tolist()
    assert end.trials[0].max() <= 120
    assert not any(mask.any() for mask in end.open)
    for before, after in pairwise(states):
        assert after.rounds == before.rounds + 1
        assert not (after.open[0] & ~before.open[0]).any()  # closed stays closed
        request = before.requests[0]
        assert set(request.widths) == set(WIDTHS[before.open[0]].tolist())  # no width wider than the widest open one
        assert request.last_block > request.first_block
        assert (after.trials[0] >= before.trials[0]).all()
    if decide:
        assert end.trials[0][2] == 0  # nothing is claimed at the last width


def test_cells_advance_on_their_own_and_flow_widths_stay_apart(rng: np.random.Generator) -> None:
    goal = Goal(target_half_width=0.12, min_trials=16, max_trials=400)
    flow = Track(0, "hidden", "converged", WIDTHS[:2], np.full(2, np.nan), flow=True)
    plan = AdaptivePlan(goal, (track(), flow, track(cell=1)), 16)
    data = stored(rng, [0.0, 0.0, 0.0], 416) | stored(rng, [0.5, 0.5, 0.5], 416, cell=1)
    data |= {
        (0, "hidden", "converged"): tuple(x[:, :2] for x in stored(rng, [0.5, 0.0, 0.0], 416)[0, "hidden", "trial"])
    }
    states = follow(plan, lambda _: data, 416)
    assert {r.cell for r in states[0].requests} == {0, 1}
    late = states[-2].requests
    assert {r.cell for r in late} == {0, 1}
    alone = next(r for r in late if r.cell == 0)
    assert alone.flow_widths == alone.widths == (10,)  # only the flow at the first width is still open
    assert sum(int(mask.sum()) for mask in states[-2].open[:2]) == 1
    assert states[-1].finished


def test_a_missing_trial_stops_the_replay_there(rng: np.random.Generator) -> None:
    plan = AdaptivePlan(Goal(target_half_width=0.05, min_trials=32, max_trials=400), (track(),), 16)
    data = stored(rng, [0.5, 0.5, 0.5], 400)
    data[0, "hidden", "trial"][1][40, 2] = False
    found = replay(plan, observer(data))
    assert (found.rounds, found.trials[0].tolist()) == (1, [32, 32, 32])
    assert (found.requests[0].first_block, found.requests[0].last_block) == (2, 3)
    assert replay(plan, observer({})).rounds == 0
