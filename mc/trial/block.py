"""One pure function: a cell and a range of trials in, arrays out. No file is written, no pool, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc.flow.attainable import Decision, Target, decide
from mc.model import activations, losses
from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.model.draws import CHUNK, OutputLaw, draw_chunk, draw_network, draw_problem, get_law
from mc.model.losses import Loss
from mc.model.problem import Problem, ProblemBatch
from mc.theory.certificates import RUNG_DATASETS, Spectra, rungs, spectra
from mc.theory.codes import NOT_COMPUTED, Exact, ExactBy
from mc.trial.claims import Witness
from mc.trial.flows import FlowSettings, run_flows
from mc.trial.neuron_sums import Kept, streamed_sums
from mc.trial.rare import RareSettings, rare_arrays

Arrays = dict[str, NDArray[Any]]

STREAM_BYTES = 1_000_000
"""Size of the buffers of a group of trials that are streamed together: it fits a second-level cache."""


@dataclass(frozen=True)
class BlockTask:
    """All that changes a number of a block.

    Attributes
    ----------
    seed : int
    cell : (int, int)
        The two words of the cell's id.
    problem : mapping
        Resolved [problem] values.
    activation, output_law, loss : str or object
    modes : tuple of str
    d : int
        Length of the network's input.
    p : float
        Exponent of the loss ``power``.
    ladder : tuple of str
        Certificates wanted.
    claims : tuple of str
        Claims to check along every trajectory; none: all of them, along the saved ones alone.
    flow : FlowSettings or None
    first_trial, n_trials : int
    widths, flow_widths : increasing ints
    rare : RareSettings or None
    """

    seed: int
    cell: tuple[int, int]
    problem: Mapping[str, Any]
    activation: str | Activation
    output_law: str | OutputLaw
    modes: tuple[str, ...]
    d: int
    loss: str | Loss
    p: float
    ladder: tuple[str, ...]
    flow: FlowSettings | None
    first_trial: int
    n_trials: int
    widths: tuple[int, ...]
    flow_widths: tuple[int, ...]
    claims: tuple[str, ...] = ()
    rare: RareSettings | None = None


@dataclass(frozen=True)
class _Model:
    """A task with its names resolved."""

    task: BlockTask
    activation: Activation
    law: OutputLaw
    loss: Loss

    @classmethod
    def of(cls, task: BlockTask) -> _Model:
        loss = losses.get(task.loss, task.p) if isinstance(task.loss, str) else task.loss
        activation = activations.get(task.activation) if isinstance(task.activation, str) else task.activation
        return cls(task, activation, get_law(task.output_law), loss)

    @property
    def flows(self) -> bool:
        """Whether anything is integrated."""
        return self.task.flow is not None and bool(self.task.flow_widths)

    @property
    def decides(self) -> bool:
        """Whether the exact limit is computed: the outcome of a flow may not depend on what else was asked for."""
        return "exact" in self.task.ladder or (self.flows and "hidden" in self.task.modes)

    @property
    def floors(self) -> bool:
        """Whether the conserved floors are summed, likewise."""
        return "both" in self.task.modes and ("conserved" in self.task.ladder or self.flows)

    def network(self, trial: int, width: int, n: int) -> tuple[Array, Array]:
        """h (width,) and V (n, width) of a trial."""
        return draw_network(self.task.seed, self.task.cell, trial, width, self.law, n)


def compute_block(task: BlockTask, witness: Witness | None = None) -> Arrays:
    """Compute every number of a block.

    Parameters
    ----------
    task : BlockTask
    witness : callable, optional
        Is shown the two sides of every claim along the trajectories that are followed.

    Returns
    -------
    dict of arrays
        Named and shaped as the file layout says, with all ``n_trials`` trials of the block.

    Raises
    ------
    InputError
        If an input file of the problem is missing or has changed.
    """
    model = _Model.of(task)
    trials = range(task.first_trial, task.first_trial + task.n_trials)
    if task.problem.get("resample", "trial") == "cell":
        problems = [draw_problem(task.problem, task.seed, task.cell, trials[0])] * task.n_trials
    else:
        problems = [draw_problem(task.problem, task.seed, task.cell, trial) for trial in trials]
    facts = [problem.facts() for problem in problems]
    out: Arrays = {name: np.array([fact[name] for fact in facts]) for name in facts[0]}
    _allocate(out, task)
    # trials of one rank are computed together; a cell has more than one only with a rank tolerance of the user's own
    ranks = np.array([problem.rank for problem in problems])
    for rank in np.unique(ranks):
        rows = np.flatnonzero(ranks == rank)
        _compute_rows(out, model, rows, [problems[row] for row in rows], witness)
    if task.rare is not None:
        out |= rare_arrays(
            task.rare, task.seed, task.cell, trials, task.widths, model.activation, model.law,
            model.loss, problems[0],
        )  # fmt: skip
    return out


def _allocate(out: Arrays, task: BlockTask) -> None:
    trial_width = (task.n_trials, len(task.widths))
    for name in ("psi_0", "norm_y0", "activation_scale", "limit_residual", "sigma_low"):
        out[name] = np.full(trial_width, np.nan)
    for name in ("exact", "exact_by"):
        out[name] = np.full(trial_width, NOT_COMPUTED, np.int8)
    for name in RUNG_DATASETS:
        out[name] = np.full((len(task.modes), *trial_width), np.nan)


@dataclass(frozen=True)
class _Streamed:
    """What one pass leaves of T trials: scalars at every width, and the first neurons.

    ``observed`` is Z^T V z, (T, widths, r); ``square_z`` is |z|^2; ``columns`` the largest column norms; ``spectra`` by
    mode.
    """

    observed: Array
    square_z: Array
    columns: tuple[Array, Array, Array]
    sigma_low: Array
    spectra: Mapping[str, Spectra]
    kept: Kept


def _compute_rows(
    out: Arrays, model: _Model, rows: Index, problems: Sequence[Problem], witness: Witness | None
) -> None:
    task = model.task
    batch = ProblemBatch.stack(problems)
    width = np.array(task.widths, dtype=float)
    streamed = _stream(model, rows, batch)
    observation = batch.S[:, None, :] * streamed.observed / np.sqrt(width)[:, None]
    residual = observation - batch.target[:, None, :]
    # a product for each width: one for all of them would round each by its neighbours
    lifted = np.matmul(batch.U[:, None], residual[..., None])[..., 0]
    psi_0 = model.loss.psi_of(lifted)
    out["psi_0"][rows] = psi_0
    out["norm_y0"][rows] = np.linalg.norm(observation, axis=-1)
    out["activation_scale"][rows] = np.sqrt(streamed.square_z / width)
    out["sigma_low"][rows] = streamed.sigma_low if model.floors else np.nan
    certified = np.zeros(psi_0.shape, dtype=bool)
    for index, mode in enumerate(task.modes):
        ladder = rungs(
            streamed.spectra[mode], mode, model.activation, model.law.entry_bound, batch, psi_0, streamed.columns, width
        )
        for name, values in ladder.items():
            out[name][index, rows] = values
        if mode == "hidden":
            certified = ladder["margin_sharp"] > 1.0
    if model.decides:
        _decide(out, model, rows, batch, streamed, certified)
    if task.flow is not None and model.flows:
        run_flows(
            out,
            task.flow,
            model.activation,
            model.loss,
            task.modes,
            task.widths,
            task.flow_widths,
            task.claims,
            rows,
            task.first_trial,
            problems,
            streamed.kept,
            partial(model.network, n=batch.n),
            witness,
        )
    # what only the flow needed is not an answer that was asked for
    if "exact" not in task.ladder:
        out["exact"][rows] = out["exact_by"][rows] = NOT_COMPUTED
        out["limit_residual"][rows] = np.nan
    if "conserved" not in task.ladder:
        out["sigma_low"][rows] = np.nan


def _subset(rank: int) -> int:
    """Neurons that nearly always suffice to decide the limit of a wider network (theory §7.4): whole chunks."""
    return CHUNK * max(1, -(-16 * rank // CHUNK))


def _stream(model: _Model, rows: Index, batch: ProblemBatch) -> _Streamed:
    """One pass over the neurons of some trials, a cache-sized group at a time."""
    task, n, r = model.task, batch.n, batch.rank
    widths = task.widths
    subset = min(_subset(r), -(-widths[-1] // CHUNK) * CHUNK) if model.decides else 0
    kept = Kept.empty(rows.size, r, max(subset, *(-(-width // CHUNK) * CHUNK for width in (0, *task.flow_widths))))
    shape = (rows.size, len(widths))
    observed, square_z, sigma_low = np.empty((*shape, r)), np.empty(shape), np.zeros(shape)
    columns = (np.empty(shape), np.empty(shape), np.empty(shape))
    values = {mode: Spectra(np.empty(shape), np.empty(shape), np.empty(shape)) for mode in task.modes}
    group = max(1, STREAM_BYTES // (16 * n * CHUNK))
    for first in range(0, rows.size, group):
        here = slice(first, min(first + group, rows.size))
        trials = task.first_trial + rows[here]
        problems = batch.take(here)

        def draw(trial: int, chunk: int, h: Array, V: Array, trials: Index = trials) -> None:
            draw_chunk(task.seed, task.cell, int(trials[trial]), chunk, model.law, h, V)

        passes = streamed_sums(
            draw,
            trials.size,
            problems,
            model.activation,
            widths,
            chunk_size=CHUNK,
            floors=model.floors,
            kept=kept.rows(here),
        )
        for at, (width, sums) in enumerate(passes):
            observed[here, at] = np.matmul(problems.Zt, sums.signal[:, :, None])[:, :, 0]
            square_z[here, at] = sums.square_z
            sigma_low[here, at] = sums.sigma_low(width)
            for column, top in zip(columns, (sums.top_V, sums.top_Z, sums.top_A), strict=True):
                column[here, at] = np.sqrt(top)
            terms = CHUNK + width / CHUNK
            for mode in task.modes:
                found = spectra(sums.gram, sums.square_z, problems, width, mode, terms)
                for stored, value in zip(values[mode], found, strict=True):
                    stored[here, at] = value
    return _Streamed(observed, square_z, columns, sigma_low, values, kept)


def _decide(
    out: Arrays,
    model: _Model,
    rows: Index,
    batch: ProblemBatch,
    streamed: _Streamed,
    certified: Mask,
) -> None:
    """Exact convergence of the hidden layer at every width (theory §7.4)."""
    if "hidden" not in model.task.modes:
        out["exact"][rows] = Exact.NOT_APPLICABLE
        return
    kept, subset = streamed.kept, _subset(batch.rank)
    level = np.broadcast_to(batch.target / batch.S, (rows.size, batch.rank))
    frozen = streamed.kept.h.shape[1] >= subset
    start = _signal(kept, model.activation, subset) if frozen else np.zeros_like(level)
    for at, width in enumerate(model.task.widths):
        if "exact" not in model.task.ladder and width not in model.task.flow_widths:
            continue
        decision = Decision.undecided(rows.size)
        decision.settle(np.flatnonzero(certified[:, at]), Exact.REACHES_ZERO, ExactBy.SHARP, 0.0)
        left = np.flatnonzero(~certified[:, at])
        problems = batch.take(left)
        if width <= subset:
            target = Target(kept.h[left, :width], kept.Q[left, :, :width], level[left], problems.S, width)
            _merge(decision, left, decide(target, model.activation))
        elif left.size:
            # neurons beyond the subset stay where they start
            rest = (streamed.observed[left, at] - start[left]) / np.sqrt(width)
            target = Target(kept.h[left, :subset], kept.Q[left, :, :subset], level[left] - rest, problems.S, width)
            few = decide(target, model.activation)
            proved = few.exact == Exact.REACHES_ZERO
            decision.settle(left[proved], Exact.REACHES_ZERO, ExactBy.SUBSET, 0.0)
            for row in left[~proved]:
                _merge(decision, np.array([row]), _decide_whole(model, rows, int(row), batch, level, width))
        out["exact"][rows, at] = decision.exact
        out["exact_by"][rows, at] = decision.by
        out["limit_residual"][rows, at] = decision.residual


def _merge(decision: Decision, rows: Index, part: Decision) -> None:
    decision.exact[rows], decision.by[rows], decision.residual[rows] = part.exact, part.by, part.residual


def _signal(kept: Kept, activation: Activation, neurons: int) -> Array:
    """Z^T V z over the first neurons, (T, r)."""
    z = activation.phi(kept.h[:, :neurons])
    return np.asarray(np.matmul(kept.Q[:, :, :neurons], z[:, :, None])[:, :, 0])


def _decide_whole(model: _Model, rows: Index, row: int, batch: ProblemBatch, level: Array, width: int) -> Decision:
    """Decide one trial with all its neurons, drawn again."""
    h, V = model.network(model.task.first_trial + int(rows[row]), width, batch.n)
    problem = batch.take(np.array([row]))
    Q = np.matmul(problem.Zt, V[None])
    return decide(Target(h[None], Q, level[row : row + 1], problem.S, width), model.activation)
