"""What a block of trials is computed from: the task, and groups of its trials that are computed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.flow.settings import FlowSettings
from mc.model import activations, losses
from mc.model.activations import Activation
from mc.model.arrays import Array, Index
from mc.model.draws import OutputLaw, draw_network, get_law
from mc.model.losses import Loss
from mc.model.problem import Problem, ProblemBatch
from mc.trial.rare.settings import RareSettings


@dataclass(frozen=True)
class BlockTask:
    """Everything that determines the numbers of a block."""

    seed: int
    cell: tuple[int, int]  # the two words of the cell's id
    problem: Mapping[str, Any]  # resolved [problem] values
    activation: str | Activation
    output_law: str | OutputLaw
    modes: tuple[str, ...]
    d: int  # length of the network's input
    loss: str | Loss
    p: float  # exponent of the loss `power`
    ladder: tuple[str, ...]  # certificates to store
    flow: FlowSettings | None
    first_trial: int
    n_trials: int
    widths: tuple[int, ...]  # increasing
    flow_widths: tuple[int, ...]  # increasing, a part of the widths
    claims: tuple[str, ...] = ()  # claims to check in every trial; none: all claims, in the saved trials alone
    rare: RareSettings | None = None

    @property
    def trials(self) -> range:
        """Return the trials of the block."""
        return range(self.first_trial, self.first_trial + self.n_trials)

    @property
    def integrates(self) -> bool:
        """Return whether trajectories are integrated."""
        return self.flow is not None and bool(self.flow_widths)

    @property
    def needs_limit(self) -> bool:
        """Return whether the exact limit is computed: for the ladder or for the outcome of a flow."""
        return "exact" in self.ladder or (self.integrates and "hidden" in self.modes)

    @property
    def needs_floors(self) -> bool:
        """Return whether the conserved floors are summed: for the ladder or for the outcome of a flow."""
        return "both" in self.modes and ("conserved" in self.ladder or self.integrates)


@dataclass(frozen=True)
class Group:
    """Trials of a block whose operators have one rank, with the names of the task resolved."""

    task: BlockTask
    activation: Activation
    law: OutputLaw
    loss: Loss
    rows: Index  # rows of the block
    problems: Sequence[Problem]  # one for each row
    batch: ProblemBatch  # the same, stacked

    def network(self, row: int, width: int) -> tuple[Array, Array]:
        """Draw h (width,) and V (n, width) of a row of the block."""
        task = self.task
        return draw_network(task.seed, task.cell, task.first_trial + row, width, self.law, self.batch.n)


def groups(task: BlockTask, problems: Sequence[Problem]) -> Iterator[Group]:
    """Split the trials of a block by rank; a cell has more than one rank only with a rank tolerance of the user."""
    loss = losses.get(task.loss, task.p) if isinstance(task.loss, str) else task.loss
    activation = activations.get(task.activation) if isinstance(task.activation, str) else task.activation
    ranks = np.array([problem.rank for problem in problems])
    for rank in np.unique(ranks):
        rows = np.flatnonzero(ranks == rank)
        members = [problems[int(row)] for row in rows]
        yield Group(task, activation, get_law(task.output_law), loss, rows, members, ProblemBatch.stack(members))
