"""A plane of the study of maps: zero loss over the width and one size of the problem, exactly and by a protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.flows.protocol import Protocol, protocol
from mc.estimate.probability.counts import Counts, Decision, dataset, decisions, event_widths
from mc.estimate.probability.intervals import clopper_pearson
from mc.estimate.widths.contour import Shift, contour, gaussian_heuristic, shift
from mc.estimate.widths.crossings import CrossingWidth
from mc.estimate.widths.predicted import named
from mc.model.arrays import Array, IntArray, Mask
from mc.store.results import CellResults
from mc.theory.codes import Outcome
from mc.theory.constants import published_width


@dataclass(frozen=True)
class MapRow:
    """One value of the axis: how often zero loss is reached at each of K widths."""

    value: int  # on the axis
    n: int
    m: int
    widths: IntArray
    counts: Counts
    crossing: CrossingWidth  # of one half; its interval is one of all rows of the plane together
    heuristic: float  # theory (7.9) at the median draw; NaN for an unbounded activation
    ratio: float  # median of psi(L_0)/sigma_A over trials and widths

    @property
    def frequency(self) -> Array:
        """Share that reaches zero loss, an undecided trial counted half; NaN without trials."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.counts.holds + 0.5 * self.counts.undecided) / self.counts.trials)


@dataclass(frozen=True)
class Late:
    """Draws that reach zero loss and are called not converged, at the width nearest to the contour."""

    width: int
    reaching: int
    late: int
    interval: tuple[float, float]
    """Clopper-Pearson limits of late/reaching, of this row alone; undecided draws stand against both ends."""


@dataclass(frozen=True)
class ProtocolRow:
    """One value of the axis: the answers of a protocol of gradient descent, and the exact verdict on the same draws."""

    value: int
    max_steps: int
    widths: IntArray
    converged: Counts  # called converged
    truth: Counts  # zero loss is reached
    crossing: CrossingWidth  # of `converged`; its interval is one of all rows together
    shift: Shift  # contour of `converged` over that of `truth`; its interval is one of all rows together
    near: Late
    too_soon: IntArray  # by width: called converged though zero loss is out of reach
    too_late: IntArray  # by width: called not converged though zero loss is reached
    hopeless: int  # trials for which zero loss is out of reach at some width
    deceived: int  # hopeless trials that are called converged at such a width
    tried: int  # hopeless (trial, width) pairs that were integrated, as the bound of their loss is below the tolerance
    undecided: int  # further trials that may be deceived
    possible: int  # hopeless trials, and undecided ones that are not among them


@dataclass(frozen=True)
class Plane:
    """The exact map and the map of a protocol over one axis, "n" or "m", rows ascending on the axis."""

    axis: str
    rows: tuple[MapRow, ...]
    protocols: tuple[ProtocolRow, ...]

    def scaling(self, anchor: int) -> tuple[float, tuple[float, ...]]:
        """Return the published width condition C' n (psi/sigma_A)^2 of every row, C' fitted at one row.

        It is fitted to the contour at the row nearest to `anchor` that has a contour on the grid; its value comes
        first, NaN where no row has one.
        """
        raw = [published_width("hidden", n=row.n, sigma_A=1.0, psi=row.ratio) for row in self.rows]
        on = [i for i, row in enumerate(self.rows) if 0.0 < row.crossing.estimate < math.inf and raw[i] > 0.0]
        if not on:
            return math.nan, tuple(math.nan for _ in raw)
        nearest = min(on, key=lambda i: abs(self.rows[i].value - anchor))
        factor = self.rows[nearest].crossing.estimate / raw[nearest]
        return float(self.rows[nearest].value), tuple(factor * width for width in raw)


def map_rows(
    axis: str, cells: Sequence[CellResults], experiment: Mapping[str, Any], level: float
) -> tuple[MapRow, ...]:
    """Return the rows of the exact map over `axis` ("n" or "m"), one per cell that has trials.

    The level is that of the contour, all rows together. Needs exact, psi_0, sigma_A.
    """
    decided = []
    for cell in cells:
        exact = decisions(cell, "exact", "hidden")
        if exact is not None:
            decided.append((cell, event_widths(cell, "exact"), Counts.of(exact)))
    if not decided:
        return ()
    decided.sort(key=lambda item: int(item[0].problem[axis]))
    crossings = contour([(widths, counts) for _, widths, counts in decided], level)
    rows = []
    for (cell, widths, counts), one in zip(decided, crossings, strict=True):
        n, m = int(cell.problem["n"]), int(cell.problem["m"])
        rows.append(
            MapRow(n if axis == "n" else m, n, m, widths, counts, one, _heuristic(cell, experiment), _ratio(cell))
        )
    return tuple(rows)


def _heuristic(cell: CellResults, experiment: Mapping[str, Any]) -> float:
    """Return theory (7.9) for a bounded activation and a Gaussian signal without noise; NaN for others."""
    ensemble, problem = named(experiment), cell.problem
    noisy = problem.get("noise", 0.0) or problem.get("noise_norm")
    if ensemble is None or problem.get("signal", "gaussian") != "gaussian" or noisy:
        return math.nan
    low, high = (float(end) for end in ensemble.activation.box(0.0))
    rank = min(int(problem["n"]), int(problem["m"]))
    return gaussian_heuristic(rank, low, high) if math.isfinite(low) and math.isfinite(high) else math.nan


def _ratio(cell: CellResults) -> float:
    """Return the median of psi(L_0)/sigma_A; NaN where not stored."""
    psi, sigma = dataset(cell, "psi_0"), dataset(cell, "sigma_A")
    if psi is None or sigma is None:
        return math.nan
    ratios = psi / sigma[:, None]
    ratios = ratios[np.isfinite(ratios)]
    return float(np.median(ratios)) if len(ratios) else math.nan


def protocol_rows(
    axis: str, runs: Sequence[tuple[Mapping[str, Any], Sequence[CellResults]]], level: float
) -> tuple[ProtocolRow, ...]:
    """Return the rows of the map of a protocol over `axis`, one per cell that has trials.

    `runs` are (experiment, cells) of the rule gd, hidden layer. The level is that of the contour and of the shift, all
    rows together; of `near`, row by row.
    """
    protocols = []
    for experiment, cells in runs:
        for cell in cells:
            answers = protocol(cell, "hidden", experiment, level)
            if answers is not None and answers.counts.trials.any():
                protocols.append((int(cell.problem[axis]), cell, answers))
    if not protocols:
        return ()
    protocols.sort(key=lambda item: item[0])
    crossings = contour([(answers.widths, answers.counts) for _, _, answers in protocols], level)
    rows = []
    for (value, cell, answers), one in zip(protocols, crossings, strict=True):
        hopeless = answers.truth == Decision.FAILS
        deceived, doubtful = _deceived(answers)
        outcome = np.asarray(cell.data["outcome"])[cell.modes.index("hidden")]
        rows.append(
            ProtocolRow(
                value=value,
                max_steps=answers.max_steps,
                widths=answers.widths,
                converged=answers.counts,
                truth=Counts.of(answers.truth),
                crossing=one,
                shift=shift(answers.widths, answers.answer, answers.truth, 1.0 - (1.0 - level) / len(protocols)),
                near=_near(answers, level),
                too_soon=answers.too_soon,
                too_late=answers.too_late,
                hopeless=int(hopeless.any(axis=1).sum()),
                deceived=int(deceived.sum()),
                tried=int((hopeless & ~np.isin(outcome, (Outcome.NOT_CONVERGED_CERTIFIED, Outcome.ERROR))).sum()),
                undecided=int(doubtful.sum()),
                possible=int((hopeless.any(axis=1) | doubtful).sum()),
            )
        )
    return tuple(rows)


def _deceived(answers: Protocol) -> tuple[Mask, Mask]:
    """Return the trials that are called converged where zero loss is out of reach, and the trials that may be."""
    sure = (answers.truth == Decision.FAILS) & (answers.answer == Decision.HOLDS)
    may = np.isin(answers.truth, (Decision.FAILS, Decision.UNDECIDED))
    may &= np.isin(answers.answer, (Decision.HOLDS, Decision.UNDECIDED))
    return sure.any(axis=1), may.any(axis=1) & ~sure.any(axis=1)


def _near(answers: Protocol, level: float) -> Late:
    """Count late draws at the width whose share of zero loss is nearest to one half: its draws are independent."""
    counts = Counts.of(answers.truth)
    share = counts.holds / np.maximum(counts.trials, 1)
    nearest = int(np.argmin(np.abs(share - 0.5)))
    truth, answer = answers.truth[:, nearest], answers.answer[:, nearest]
    late, reaching = int(answers.too_late[nearest]), int(counts.holds[nearest])
    unknown, doubtful = truth == Decision.UNDECIDED, answer == Decision.UNDECIDED
    # the lower limit takes every undecided draw as in time, the upper one as late or as never reaching zero loss
    in_time = int((unknown & (answer != Decision.FAILS)).sum())
    too_late = int((unknown & (answer != Decision.HOLDS)).sum())
    more = int(((truth == Decision.HOLDS) & doubtful).sum())
    low = float(clopper_pearson(late, reaching + in_time, level)[0])
    high = float(clopper_pearson(late + more + too_late, reaching + too_late, level)[1])
    return Late(int(answers.widths[nearest]), reaching, late, (low, high))
