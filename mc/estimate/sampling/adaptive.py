"""Adaptive allocation: which widths still need trials, decided round by round from complete rounds alone.

Everything here is a pure function of counts. A round is fixed before it starts: for each cell a range of blocks and the
widths that are still open. The stopping rule looks at confidence sequences, at whole rounds only, so each width keeps
the first trials of its cell, their number depends on the past alone, and the intervals hold whatever the rule did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.undecided import reading
from mc.model.arrays import Array, IntArray, Mask

METHOD = "beta-binomial"
GROWTH = 1.5
"""Trials after a round over trials before it: at most a third of the trials come after the rule could have stopped."""


class SamplingLike(Protocol):
    """The table [sampling] of an experiment, or anything with its values."""

    @property
    def target_half_width(self) -> float | None:
        """Half-width to reach, or None."""

    @property
    def decide(self) -> bool:
        """Whether the claims P >= p are to be decided."""

    @property
    def min_trials(self) -> int:
        """Trials of every width before the rule looks."""

    @property
    def max_trials(self) -> int:
        """Trials at which every width is closed."""

    @property
    def alpha(self) -> float:
        """Error probability of all sequences of a cell together."""


@dataclass(frozen=True)
class Track:
    """One probability curve that sampling is to settle.

    Parameters
    ----------
    cell : int
    mode, event : str
    widths : ndarray of int64, shape (K,), increasing
    claims : ndarray, shape (K,)
        p of the claim P >= p, fixed before the first trial; NaN or p <= 0 where nothing is claimed.
    flow : bool
        Whether the widths are those of the flow.
    """

    cell: int
    mode: str
    event: str
    widths: IntArray
    claims: Array
    flow: bool = False


@dataclass(frozen=True)
class Request:
    """Blocks `first_block` to `last_block` - 1 of a cell at these widths.

    The neuron stream is drawn as far as the widest of them. `widths` contains every width of `flow_widths`.
    """

    cell: int
    first_block: int
    last_block: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """Where an adaptive run stands.

    Parameters
    ----------
    rounds : int
        Complete rounds.
    requests : tuple of Request
        The round to do next; empty when finished.
    trials : tuple of ndarray of int64, one per track
        Trials of each width in the complete rounds: the only ones the rule has seen.
    open : tuple of ndarray of bool, one per track
    counts : tuple of Counts, one per track
        Over these trials.
    """

    rounds: int
    requests: tuple[Request, ...]
    trials: tuple[IntArray, ...]
    open: tuple[Mask, ...]
    counts: tuple[Counts, ...]

    @property
    def finished(self) -> bool:
        """Whether no width is open any more."""
        return not self.requests


@dataclass(frozen=True)
class AdaptivePlan:
    """What is fixed before the first trial.

    Parameters
    ----------
    goal : SamplingLike
    tracks : tuple of Track
    block_size : int
    """

    goal: SamplingLike
    tracks: tuple[Track, ...]
    block_size: int

    def __post_init__(self) -> None:
        if (self.goal.target_half_width is not None) == self.goal.decide:
            raise InputError("[sampling]: give exactly one of target_half_width and decide = true")
        if self.block_size < 1 or not self.tracks:
            raise InputError("[sampling]: nothing to sample: there is no event at any width")

    def tests(self, cell: int) -> int:
        """Sequences of a cell that share alpha: every (mode, event, width) looked at."""
        return sum(int(self.wanted(track).sum()) for track in self.tracks if track.cell == cell)

    def wanted(self, track: Track) -> Mask:
        """Widths the goal is about: all of them, or those with a claim."""
        return track.claims > 0.0 if self.goal.decide else np.ones(len(track.widths), dtype=np.bool_)

    def blocks_after(self, blocks: int) -> int:
        """Blocks of a cell after its next round."""
        least, most = (-(-n // self.block_size) for n in (self.goal.min_trials, self.goal.max_trials))
        return min(max(least, int(np.ceil(GROWTH * blocks)), blocks + 1), most)

    def trials_of(self, blocks: int) -> int:
        """Trials that count of so many blocks: the last block of all is computed whole and used in part."""
        return min(blocks * self.block_size, self.goal.max_trials)


def limits(plan: AdaptivePlan, track: Track, counts: Counts) -> tuple[Array, Array]:
    """The limits that the rule looks at, each with its share of alpha: two-sided, or one-sided each with `decide`."""
    method, read = get_method(METHOD), reading(counts)
    alpha = plan.goal.alpha / max(plan.tests(track.cell), 1)
    if not plan.goal.decide:
        return method.two_sided(read.least, read.most, read.trials, alpha)
    # support and contradiction exclude one another: each may err at alpha on its own
    return method.lower(read.least, read.trials, alpha), method.upper(read.most, read.trials, alpha)


def reached(plan: AdaptivePlan, track: Track, counts: Counts) -> Mask:
    """Widths of a track that the goal is about and at which it is met, however many trials that took."""
    lower, upper = limits(plan, track, counts)
    if plan.goal.target_half_width is not None:
        met = upper - lower <= 2.0 * plan.goal.target_half_width
    else:
        met = (lower >= track.claims) | (upper < track.claims)
    return np.asarray(met & (counts.trials >= plan.goal.min_trials) & plan.wanted(track))


def unsettled(plan: AdaptivePlan, track: Track, counts: Counts) -> Mask:
    """Widths of a track that need more trials.

    Parameters
    ----------
    plan : AdaptivePlan
    track : Track
    counts : Counts
        Of the widths of the track, over complete rounds.

    Returns
    -------
    ndarray of bool, shape (K,)
        Never where `max_trials` are there; always below `min_trials` where the goal is about the width. Undecided
        trials stand against both ends, so a width that they keep open runs to `max_trials`.
    """
    few = counts.trials < plan.goal.max_trials
    return np.asarray(~reached(plan, track, counts) & few & plan.wanted(track))


def _request(plan: AdaptivePlan, cell: int, blocks: int, open_: Sequence[Mask]) -> Request | None:
    widths: set[int] = set()
    flow: set[int] = set()
    for track, mask in zip(plan.tracks, open_, strict=True):
        if track.cell == cell:
            (flow if track.flow else widths).update(int(k) for k in track.widths[mask])
    if not widths | flow:
        return None
    return Request(cell, blocks, plan.blocks_after(blocks), tuple(sorted(widths | flow)), tuple(sorted(flow)))


Observe = Callable[[Track, IntArray], Counts | None]


def replay(plan: AdaptivePlan, observe: Observe) -> Progress:
    """Follow the rule from the first trial through every complete round.

    A run that was interrupted, or computed more than a round asked for, thus takes the same decisions as one that was
    not: what lies beyond the last complete round is not looked at.

    Parameters
    ----------
    plan : AdaptivePlan
    observe : callable
        ``observe(track, trials)``: counts of a track over the first ``trials[i]`` trials at width i, or None when one
        of them is missing. Asked only for trials of complete blocks.

    Returns
    -------
    Progress
        `requests` is the round to do next. A width once closed stays closed.
    """
    cells = tuple(dict.fromkeys(track.cell for track in plan.tracks))
    blocks: dict[int, int] = dict.fromkeys(cells, 0)
    open_ = tuple(plan.wanted(track) for track in plan.tracks)
    trials = tuple(np.zeros(len(track.widths), dtype=np.int64) for track in plan.tracks)
    counts = tuple(Counts.zero(len(track.widths)) for track in plan.tracks)
    rounds = 0
    while True:
        requests = tuple(r for cell in cells if (r := _request(plan, cell, blocks[cell], open_)) is not None)
        after = _trials_after(plan, trials, requests)
        seen = [observe(track, n) for track, n in zip(plan.tracks, after, strict=True)] if requests else []
        complete = [c for c in seen if c is not None]
        if not requests or len(complete) < len(seen):
            return Progress(rounds, requests, trials, open_, counts)
        blocks |= {request.cell: request.last_block for request in requests}
        trials, counts, rounds = after, tuple(complete), rounds + 1
        # where trials that are there count nowhere the event does not apply, and more of them would not help
        open_ = tuple(
            was & unsettled(plan, track, found) & (n < plan.goal.max_trials) & ((found.trials > 0) | (n == 0))
            for was, track, found, n in zip(open_, plan.tracks, counts, trials, strict=True)
        )


def _trials_after(plan: AdaptivePlan, trials: Sequence[IntArray], requests: Sequence[Request]) -> tuple[IntArray, ...]:
    asked: Mapping[int, Request] = {request.cell: request for request in requests}
    found = []
    for track, n in zip(plan.tracks, trials, strict=True):
        request = asked.get(track.cell)
        if request is None:
            found.append(n)
            continue
        here = np.isin(track.widths, request.flow_widths if track.flow else request.widths)
        found.append(np.where(here, plan.trials_of(request.last_block), n))
    return tuple(found)
