"""A plane of the study of maps: zero loss over the width and one size of the problem, exactly and by a protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.flows.protocol import Protocol, protocol
from mc.estimate.probability.counts import CellLike, Counts, Decision, dataset, decisions, event_widths
from mc.estimate.probability.intervals import clopper_pearson
from mc.estimate.widths.contour import Shift, contour, gaussian_heuristic, shift
from mc.estimate.widths.crossings import CrossingWidth
from mc.estimate.widths.predicted import named
from mc.model.arrays import Array, IntArray, Mask
from mc.theory.codes import Outcome
from mc.theory.constants import published_width


@dataclass(frozen=True)
class MapRow:
    """One value of the axis: how often zero loss is reached at every width.

    Parameters
    ----------
    value : int
        On the axis.
    n, m : int
    widths : ndarray of int64, shape (K,)
    counts : Counts
    crossing : CrossingWidth
        Of one half; its interval is one of all rows of the plane together.
    heuristic : float
        Of theory (7.9) at the median draw; NaN for an unbounded activation.
    ratio : float
        Median of psi(L_0)/sigma_A over trials and widths.
    """

    value: int
    n: int
    m: int
    widths: IntArray
    counts: Counts
    crossing: CrossingWidth
    heuristic: float
    ratio: float

    @property
    def frequency(self) -> Array:
        """Share that reaches zero loss, an undecided trial counted half; NaN without trials."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.counts.holds + 0.5 * self.counts.undecided) / self.counts.trials)


@dataclass(frozen=True)
class Late:
    """Draws that reach zero loss and are called not converged, at the width nearest to the contour.

    Parameters
    ----------
    width, reaching, late : int
    interval : tuple of float
        Clopper-Pearson limits of late/reaching at the level of the plane, of this row alone; what is undecided stands
        against both ends.
    """

    width: int
    reaching: int
    late: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class ProtocolRow:
    """One value of the axis, as a protocol of gradient descent sees it; the exact verdict is of the same draws.

    Parameters
    ----------
    value, max_steps : int
    widths : ndarray of int64, shape (K,)
    said, truth : Counts
        Called converged; zero loss is reached.
    crossing : CrossingWidth
        Of `said`; its interval is one of all rows together.
    shift : Shift
        Contour of `said` over that of `truth`; its interval is one of all rows together.
    near : Late
    too_soon, too_late : ndarray of int64, shape (K,)
        Called converged though zero loss is out of reach; called not converged though it is reached.
    hopeless, deceived, tried : int
        Trials for which zero loss is out of reach at some width; those of them called converged at such a width; draws
        (trial and width) among them that were run, their bound on the loss being below the tolerance.
    undecided, possible : int
        Further trials that may be deceived, as far as is decided; `hopeless`, and those of them that are not in it.
    """

    value: int
    max_steps: int
    widths: IntArray
    said: Counts
    truth: Counts
    crossing: CrossingWidth
    shift: Shift
    near: Late
    too_soon: IntArray
    too_late: IntArray
    hopeless: int
    deceived: int
    tried: int
    undecided: int
    possible: int


@dataclass(frozen=True)
class Plane:
    """The two maps of a plane.

    Parameters
    ----------
    axis : {"n", "m"}
    rows : tuple of MapRow
    protocols : tuple of ProtocolRow
        Both ascending on the axis.
    """

    axis: str
    rows: tuple[MapRow, ...]
    protocols: tuple[ProtocolRow, ...]

    def scaling(self, anchor: int) -> tuple[float, tuple[float, ...]]:
        """The published width condition through the contour at one row, its constant being free.

        Parameters
        ----------
        anchor : int
            Value of the axis that it should pass through; the nearest row with a contour on the grid is taken.

        Returns
        -------
        value : float
            Of the row it passes through; NaN where there is none.
        widths : tuple of float
            C' n (psi/sigma_A)^2 of every row.
        """
        raw = [published_width("hidden", n=row.n, sigma_A=1.0, psi=row.ratio) for row in self.rows]
        on = [i for i, row in enumerate(self.rows) if 0.0 < row.crossing.estimate < math.inf and raw[i] > 0.0]
        if not on:
            return math.nan, tuple(math.nan for _ in raw)
        at = min(on, key=lambda i: abs(self.rows[i].value - anchor))
        factor = self.rows[at].crossing.estimate / raw[at]
        return float(self.rows[at].value), tuple(factor * width for width in raw)


def map_rows(axis: str, cells: Sequence[CellLike], experiment: Mapping[str, Any], level: float) -> tuple[MapRow, ...]:
    """Rows of the exact map, one per cell that has trials.

    Parameters
    ----------
    axis : {"n", "m"}
    cells : sequence of CellLike
        With exact, psi_0, sigma_A.
    experiment : mapping
        The parsed experiment file.
    level : float
        Of the contour, all rows together.
    """
    found = []
    for cell in cells:
        exact = decisions(cell, "exact", "hidden")
        if exact is not None:
            found.append((cell, event_widths(cell, "exact"), Counts.of(exact)))
    if not found:
        return ()
    found.sort(key=lambda item: int(item[0].problem[axis]))
    crossings = contour([(widths, counts) for _, widths, counts in found], level)
    rows = []
    for (cell, widths, counts), one in zip(found, crossings, strict=True):
        n, m = int(cell.problem["n"]), int(cell.problem["m"])
        rows.append(
            MapRow(n if axis == "n" else m, n, m, widths, counts, one, _heuristic(cell, experiment), _ratio(cell))
        )
    return tuple(rows)


def _heuristic(cell: CellLike, experiment: Mapping[str, Any]) -> float:
    """Theory (7.9) for a bounded activation and a Gaussian signal without noise; NaN for another one."""
    ensemble, problem = named(experiment), cell.problem
    noisy = problem.get("noise", 0.0) or problem.get("noise_norm")
    if ensemble is None or problem.get("signal", "gaussian") != "gaussian" or noisy:
        return math.nan
    low, high = (float(end) for end in ensemble.activation.box(0.0))
    rank = min(int(problem["n"]), int(problem["m"]))
    return gaussian_heuristic(rank, low, high) if math.isfinite(low) and math.isfinite(high) else math.nan


def _ratio(cell: CellLike) -> float:
    psi, sigma = dataset(cell, "psi_0"), dataset(cell, "sigma_A")
    if psi is None or sigma is None:
        return math.nan
    ratios = psi / sigma[:, None]
    ratios = ratios[np.isfinite(ratios)]
    return float(np.median(ratios)) if len(ratios) else math.nan


def protocol_rows(
    axis: str, runs: Sequence[tuple[Mapping[str, Any], Sequence[CellLike]]], level: float
) -> tuple[ProtocolRow, ...]:
    """Rows of the map of a protocol, one per cell that has trials.

    Parameters
    ----------
    axis : {"n", "m"}
    runs : sequence of (experiment, cells)
        Of the rule gd, hidden layer.
    level : float
        Of the contour and of the shift, all rows together; of `near`, row by row.
    """
    found = []
    for experiment, cells in runs:
        for cell in cells:
            own = protocol(cell, "hidden", experiment, level)
            if own is not None and own.counts.trials.any():
                found.append((int(cell.problem[axis]), cell, own))
    if not found:
        return ()
    found.sort(key=lambda item: item[0])
    crossings = contour([(own.widths, own.counts) for _, _, own in found], level)
    rows = []
    for (value, cell, own), one in zip(found, crossings, strict=True):
        hopeless = own.truth == Decision.FAILS
        deceived, doubtful = _deceived(own)
        outcome = np.asarray(cell.data["outcome"])[cell.modes.index("hidden")]
        rows.append(
            ProtocolRow(
                value=value,
                max_steps=own.max_steps,
                widths=own.widths,
                said=own.counts,
                truth=Counts.of(own.truth),
                crossing=one,
                shift=shift(own.widths, own.said, own.truth, 1.0 - (1.0 - level) / len(found)),
                near=_near(own, level),
                too_soon=own.too_soon,
                too_late=own.too_late,
                hopeless=int(hopeless.any(axis=1).sum()),
                deceived=int(deceived.sum()),
                tried=int((hopeless & ~np.isin(outcome, (Outcome.NOT_CONVERGED_CERTIFIED, Outcome.ERROR))).sum()),
                undecided=int(doubtful.sum()),
                possible=int((hopeless.any(axis=1) | doubtful).sum()),
            )
        )
    return tuple(rows)


def _deceived(own: Protocol) -> tuple[Mask, Mask]:
    """Trials called converged where zero loss is out of reach, and those of which that cannot be excluded."""
    sure = (own.truth == Decision.FAILS) & (own.said == Decision.HOLDS)
    may = np.isin(own.truth, (Decision.FAILS, Decision.UNDECIDED))
    may &= np.isin(own.said, (Decision.HOLDS, Decision.UNDECIDED))
    return sure.any(axis=1), may.any(axis=1) & ~sure.any(axis=1)


def _near(own: Protocol, level: float) -> Late:
    """At the width whose share of zero loss is nearest to one half: its draws are independent."""
    counts = Counts.of(own.truth)
    share = counts.holds / np.maximum(counts.trials, 1)
    at = int(np.argmin(np.abs(share - 0.5)))
    truth, said = own.truth[:, at], own.said[:, at]
    late, reaching = int(own.too_late[at]), int(counts.holds[at])
    open_, doubtful = truth == Decision.UNDECIDED, said == Decision.UNDECIDED
    # least: every draw that may reach it in time does; most: every one that may be late is, the others never reach it
    in_time = int((open_ & (said != Decision.FAILS)).sum())
    too_late = int((open_ & (said != Decision.HOLDS)).sum())
    more = int(((truth == Decision.HOLDS) & doubtful).sum())
    low = float(clopper_pearson(late, reaching + in_time, level)[0])
    high = float(clopper_pearson(late + more + too_late, reaching + too_late, level)[1])
    return Late(int(own.widths[at]), reaching, late, (low, high))
