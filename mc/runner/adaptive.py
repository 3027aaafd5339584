"""Adaptive sampling: choose the blocks of each round from the trials in the run folder, until the rule is met.

A round depends on complete rounds alone (`mc.estimate.sampling.adaptive.replay`), so a run that was interrupted,
resumed, or divided among machines takes the same decisions and gives the same numbers as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mc.estimate.sampling.adaptive import AdaptivePlan, Progress, Request, Stored, observer, replay
from mc.estimate.sampling.goals import adaptive_plan, cell_decisions, most_trials
from mc.estimate.widths.predicted import SCALES
from mc.experiment.experiment import Cell, Experiment
from mc.model.draws import draw_problem
from mc.runner.plan import Gap, agreed, gaps, run_plan, stream_digests
from mc.runner.progress import ObservedCell, Observer, trials_of_folder
from mc.store.failures import Failures, failed_blocks
from mc.store.plan import RunPlan
from mc.store.results import CellResults


def unseen_cell(experiment: Experiment, cell: Cell, problems: int) -> CellResults:
    """Return a cell before its first trial: its widths and modes, and the numbers of its first problems."""
    facts = [draw_problem(cell.problem, experiment.seed, cell.id, trial).facts() for trial in range(problems)]
    return CellResults(
        index=cell.index,
        key=cell.key,
        problem=cell.attributes,
        attrs={},
        modes=experiment.modes,
        trials=0,
        widths=np.array(experiment.widths, dtype=np.int64),
        flow_widths=np.array(experiment.flow_widths, dtype=np.int64),
        saved_trials=np.arange(0),
        data={name: np.array([fact[name] for fact in facts]) for name in SCALES},
    )


def sampling_plan(experiment: Experiment) -> AdaptivePlan:
    """Fix before trial 0 what the rule of [sampling] needs; see `mc.estimate.sampling.goals.adaptive_plan`.

    Raises InputError when ``decide = true`` and no claim is known before the first trial.
    """
    assert experiment.document.sampling is not None
    decide = experiment.document.sampling.decide
    cells = [unseen_cell(experiment, cell, int(decide)) for cell in experiment.cells()]
    return adaptive_plan(experiment.frozen_tables(), cells)


def largest_trials(experiment: Experiment) -> int:
    """Return the largest number of trials that the rule of [sampling] may take."""
    return most_trials(sampling_plan(experiment))


def decided(experiment: Experiment, cells: Iterable[ObservedCell]) -> Stored:
    """Return the decisions of the computed trials by (cell, mode, event)."""
    return {event: made for own in cells for event, made in cell_decisions(own.cell, experiment.ladder).items()}


class AdaptiveRounds:
    """The rounds of a run with [sampling]: iterate over the plan and the missing blocks of each.

    Blocks that failed in an earlier run are tried once more, first. A block that fails in this run is not tried again
    in it: its trials count as undecided, and the rounds go on. The iteration ends when the rule is met, or when the
    blocks of another shard are missing.
    """

    def __init__(
        self, experiment: Experiment, folder: Path, digests: Mapping[str, str], *, sharded: bool = False
    ) -> None:
        self.experiment, self.folder, self.digests, self.sharded = experiment, folder, digests, sharded
        self.rule = sampling_plan(experiment)
        self.observer = Observer(folder)
        self.complete = 0  # rounds
        self.finished = False

    def __iter__(self) -> Iterator[tuple[RunPlan, Sequence[Gap]]]:
        if retries := self._retries(failed_blocks(self.folder)):
            yield self._missing(retries)
        previous = -1
        while True:
            failures = failed_blocks(self.folder)  # read once for the round: other tasks write notes meanwhile
            state = self._state(failures)
            self.complete, self.finished = state.rounds, state.finished
            if self.finished or (self.sharded and state.rounds == previous):
                return
            if state.rounds == previous:
                raise RuntimeError("the blocks of a round were computed and are not in the folder")
            if requests := self._without_failed(self._requests(state), failures):
                yield self._missing(requests)
            previous = state.rounds

    def missing(self) -> tuple[RunPlan, Sequence[Gap]]:
        """Return the blocks that the next `run` computes, those that failed before among them."""
        failures = failed_blocks(self.folder)
        state = self._state(failures)
        requests = () if state.finished else self._without_failed(self._requests(state), failures)
        return self._missing((*self._retries(failures), *requests))

    def _missing(self, requests: Sequence[Request]) -> tuple[RunPlan, Sequence[Gap]]:
        most = max((self.rule.trials_of(request.last_block) for request in requests), default=1)
        plan = run_plan(self.experiment, most)
        return plan, gaps(self.folder, plan, self.digests, requests)

    def _state(self, failures: Failures) -> Progress:
        """Return the progress of the rule, with these failures of the folder."""
        plan = run_plan(self.experiment, trials_of_folder(self.experiment, self.folder))
        cells = self.observer.cells(plan, failures)
        return replay(self.rule, observer(decided(self.experiment, cells.values())))

    def _requests(self, state: Progress) -> Sequence[Request]:
        """Return the requests of the next round; where claims are decided, with a flow at each of its widths."""
        assert self.experiment.document.sampling is not None
        if not self.experiment.document.sampling.decide:
            return state.requests
        flows = set(self.experiment.flow_widths)
        return [replace(r, flow_widths=tuple(k for k in r.widths if k in flows)) for r in state.requests]

    def _retries(self, failures: Failures) -> Sequence[Request]:
        """Return the blocks that failed before, each at the widths at which it did."""
        cells = {cell.key: cell.index for cell in self.experiment.cells()}
        requests = []
        for (key, block), failure in sorted(failures.items(), key=lambda item: item[0][::-1]):
            if key in cells:
                flows, widths = (
                    tuple(k for k in own if failed is None or k in failed)
                    for own, failed in (
                        (self.experiment.flow_widths, failure.flow_widths),
                        (self.experiment.widths, failure.widths),
                    )
                )
                requests.append(Request(cells[key], block, block + 1, widths, flows))
        return requests

    def _without_failed(self, requests: Iterable[Request], failures: Failures) -> Sequence[Request]:
        """Return the requests without the blocks that failed, at the widths at which they did."""
        cells = {cell.index: cell.key for cell in self.experiment.cells()}
        parts = []
        for request in requests:
            first = request.first_block
            for block in range(request.first_block, request.last_block):
                failure = failures.get((cells[request.cell], block))
                if failure is None:
                    continue
                parts.append(replace(request, first_block=first, last_block=block))
                first = block + 1
                axes = {"width": request.widths, "flow_width": request.flow_widths}
                lost = failure.lacks(axes, {})
                widths, flows = (
                    tuple(k for i, k in enumerate(axes[dim]) if i not in lost[dim]) for dim in ("width", "flow_width")
                )
                parts.append(Request(request.cell, block, block + 1, widths, flows))
            parts.append(replace(request, first_block=first))
        return [r for r in parts if r.first_block < r.last_block and (r.widths or r.flow_widths)]


def missing(experiment: Experiment, folder: Path) -> tuple[RunPlan, Sequence[Gap]]:
    """Return the plan and the blocks that the next `run` computes: all missing ones, or with [sampling] of a round."""
    experiment = agreed(experiment, folder)
    digests = stream_digests(experiment)
    if experiment.document.sampling is not None:
        return AdaptiveRounds(experiment, folder, digests).missing()
    plan = run_plan(experiment)
    return plan, gaps(folder, plan, digests)
