"""Adaptive allocation: which widths still need trials, decided round by round from complete rounds alone.

Everything here is a pure function of counts. A round is fixed before it starts: for each cell a range of blocks and the
widths that are still open. The stopping rule looks at confidence sequences, at whole rounds only, so each width keeps
the first trials of its cell, their number depends on the past alone, and the intervals hold whatever the rule did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.estimate.probability.counts import Counts, Decision, Decisions
from mc.estimate.probability.methods import get_method
from mc.model.arrays import Array, IntArray, Mask

METHOD = "beta-binomial"
GROWTH = 1.5
"""Trials after a round over trials before it: at most a third of the trials come after the rule could have stopped."""

Stored = Mapping[tuple[int, str, str], tuple[Decisions, Mask]]
"""(decisions, computed), both of shape (trial, width), by (cell, mode, event)."""


@dataclass(frozen=True)
class Goal:
    """The values of a [sampling] table."""

    target_half_width: float | None = None
    decide: bool = False  # whether the claims P >= p are to be decided
    min_trials: int = 20  # trials of every width before the rule looks
    max_trials: int = 2000  # maximum number of trials per width
    alpha: float = 0.05  # error probability of all sequences of a cell together


@dataclass(frozen=True)
class Track:
    """One probability curve that sampling is to settle."""

    cell: int
    mode: str
    event: str
    widths: IntArray  # shape (K,), increasing
    claims: Array  # p of the claim P >= p, fixed before the first trial; NaN or p <= 0 where nothing is claimed
    flow: bool = False  # whether the widths are those of the flow


@dataclass(frozen=True)
class Request:
    """Blocks `first_block` to `last_block` - 1 of a cell at these widths.

    The neuron stream is drawn up to the widest of them. `widths` contains every width of `flow_widths`.
    """

    cell: int
    first_block: int
    last_block: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """State of an adaptive run after its complete rounds."""

    rounds: int
    requests: tuple[Request, ...]  # the round to do next; empty when finished
    trials: tuple[IntArray, ...]  # by track: trials of each width in the complete rounds, all that the rule has seen
    open: tuple[Mask, ...]  # by track: widths that need more trials
    counts: tuple[Counts, ...]  # by track, over these trials

    @property
    def finished(self) -> bool:
        """Whether no width is open any more."""
        return not self.requests


@dataclass(frozen=True)
class AdaptivePlan:
    """Everything that is fixed before the first trial."""

    goal: Goal
    tracks: tuple[Track, ...]
    block_size: int

    def __post_init__(self) -> None:
        if (self.goal.target_half_width is not None) == self.goal.decide:
            raise InputError("[sampling]: give exactly one of target_half_width and decide = true")
        if self.block_size < 1 or not self.tracks:
            raise InputError("[sampling]: nothing to sample: there is no event at any width")

    def tests(self, cell: int) -> int:
        """Count the sequences of a cell that share alpha: every (mode, event, width) looked at."""
        return sum(int(self.wanted(track).sum()) for track in self.tracks if track.cell == cell)

    def wanted(self, track: Track) -> Mask:
        """Return the widths that the goal is about: all of them, or those with a claim."""
        return track.claims > 0.0 if self.goal.decide else np.ones(len(track.widths), dtype=np.bool_)

    def blocks_after(self, blocks: int) -> int:
        """Return the number of blocks of a cell after its next round."""
        least, most = (-(-n // self.block_size) for n in (self.goal.min_trials, self.goal.max_trials))
        return min(max(least, int(np.ceil(GROWTH * blocks)), blocks + 1), most)

    def trials_of(self, blocks: int) -> int:
        """Return the trials that count of so many blocks: the last block is computed whole and used in part."""
        return min(blocks * self.block_size, self.goal.max_trials)


def limits_of(
    plan: AdaptivePlan, track: Track, least: ArrayLike, most: ArrayLike, trials: IntArray
) -> tuple[Array, Array]:
    """Return the limits that the rule looks at, each with its share of alpha, from least and most holds out of trials.

    They are two-sided for a half-width, and one-sided each with `decide`.
    """
    method, alpha = get_method(METHOD), plan.goal.alpha / max(plan.tests(track.cell), 1)
    if not plan.goal.decide:
        return method.two_sided(least, most, trials, alpha)
    # support and contradiction exclude one another: each may err at alpha on its own
    return method.lower(least, trials, alpha), method.upper(most, trials, alpha)


def limits(plan: AdaptivePlan, track: Track, counts: Counts) -> tuple[Array, Array]:
    """Return the limits that the rule looks at, from counts."""
    return limits_of(plan, track, counts.holds, counts.most_holds, counts.trials)


def goal_met(plan: AdaptivePlan, track: Track, lower: Array, upper: Array) -> Mask:
    """Return the widths at which limits meet the goal: short enough, or a claim supported or contradicted."""
    if plan.goal.target_half_width is not None:
        return np.asarray(upper - lower <= 2.0 * plan.goal.target_half_width)
    return np.asarray((lower >= track.claims) | (upper < track.claims))


def reached(plan: AdaptivePlan, track: Track, counts: Counts) -> Mask:
    """Return the widths of a track that the goal is about and at which it is met."""
    met = goal_met(plan, track, *limits(plan, track, counts))
    return np.asarray(met & (counts.trials >= plan.goal.min_trials) & plan.wanted(track))


def unsettled(plan: AdaptivePlan, track: Track, counts: Counts) -> Mask:
    """Return the widths of a track that need more trials, from counts over complete rounds.

    Undecided trials stand against both ends, so a width that they keep open runs to `max_trials`.
    """
    below_limit = counts.trials < plan.goal.max_trials
    return np.asarray(~reached(plan, track, counts) & below_limit & plan.wanted(track))


def _request(plan: AdaptivePlan, cell: int, blocks: int, open_masks: Sequence[Mask]) -> Request | None:
    """Return the next round of a cell; None where no width is open."""
    widths: set[int] = set()
    flow: set[int] = set()
    for track, mask in zip(plan.tracks, open_masks, strict=True):
        if track.cell == cell:
            (flow if track.flow else widths).update(int(k) for k in track.widths[mask])
    if not widths | flow:
        return None
    return Request(cell, blocks, plan.blocks_after(blocks), tuple(sorted(widths | flow)), tuple(sorted(flow)))


Observe = Callable[[Track, IntArray], Counts | None]


def replay(plan: AdaptivePlan, observe: Observe) -> Progress:
    """Follow the rule from the first trial through every complete round.

    A run that was interrupted, or computed more than a round requested, takes the same decisions as one that was not:
    trials beyond the last complete round are not looked at. A width once closed stays closed.

    Parameters
    ----------
    plan : AdaptivePlan
    observe : callable
        ``observe(track, trials)``: counts of a track over the first ``trials[i]`` trials at width i, or None when one
        of them is missing. Called only for trials of complete blocks.
    """
    cells = tuple(dict.fromkeys(track.cell for track in plan.tracks))
    blocks: dict[int, int] = dict.fromkeys(cells, 0)
    open_masks = tuple(plan.wanted(track) for track in plan.tracks)
    trials = tuple(np.zeros(len(track.widths), dtype=np.int64) for track in plan.tracks)
    counts = tuple(Counts.zero(len(track.widths)) for track in plan.tracks)
    rounds = 0
    while True:
        requests = tuple(r for cell in cells if (r := _request(plan, cell, blocks[cell], open_masks)) is not None)
        after = _trials_after(plan, trials, requests)
        seen = [observe(track, n) for track, n in zip(plan.tracks, after, strict=True)] if requests else []
        complete = [c for c in seen if c is not None]
        if not requests or len(complete) < len(seen):
            return Progress(rounds, requests, trials, open_masks, counts)
        blocks |= {request.cell: request.last_block for request in requests}
        trials, counts, rounds = after, tuple(complete), rounds + 1
        # where no present trial counts, the event does not apply and more trials would not help
        open_masks = tuple(
            was_open & unsettled(plan, track, c) & (n < plan.goal.max_trials) & ((c.trials > 0) | (n == 0))
            for was_open, track, c, n in zip(open_masks, plan.tracks, counts, trials, strict=True)
        )


def _trials_after(plan: AdaptivePlan, trials: Sequence[IntArray], requests: Sequence[Request]) -> tuple[IntArray, ...]:
    """Return the trials of every track after a round."""
    request_of: Mapping[int, Request] = {request.cell: request for request in requests}
    after = []
    for track, n in zip(plan.tracks, trials, strict=True):
        request = request_of.get(track.cell)
        if request is None:
            after.append(n)
            continue
        sampled = np.isin(track.widths, request.flow_widths if track.flow else request.widths)
        after.append(np.where(sampled, plan.trials_of(request.last_block), n))
    return tuple(after)


def first_counts(decisions: Decisions, computed: Mask, trials: IntArray) -> Counts | None:
    """Count the first ``trials[i]`` trials of each width i; None when one of them is not computed."""
    if trials.max(initial=0) > len(decisions):
        return None
    wanted = np.arange(len(decisions))[:, None] < trials
    if (wanted & ~computed).any():
        return None
    return Counts.of(np.where(wanted, decisions, Decision.NOT_COUNTED).astype(np.int8))


def observer(stored: Stored) -> Observe:
    """Return the callback of `replay` for the decisions of a run; a track that is absent has no trial yet."""

    def observe(track: Track, trials: IntArray) -> Counts | None:
        decided = stored.get((track.cell, track.mode, track.event))
        if decided is None:
            return None if trials.any() else Counts.zero(len(trials))
        return first_counts(*decided, trials)

    return observe
