"""Stopping rules: the certificate restarted at the computed point, or a loss tolerance.

``check`` returns the `Outcome` of each running trial, or -1 to continue. ``confirms`` says whether the reason to stop
holds for every state within ``error`` of the computed state. ``loosest`` is the rtol of a first attempt: it is loose
where the rule tests its verdict against the error anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mc.flow.field import Point, ReducedFlow
from mc.model.arrays import Array, Index, Mask
from mc.theory.certificates import Branch, ObservedPath, observed_spectra
from mc.theory.codes import NOT_COMPUTED, Outcome
from mc.theory.lipschitz import TrialLipschitz

PATIENCE = 0.8
"""Share of psi(L) below which a failed certificate is tested again."""


class Never:
    """Continue to the horizon."""

    loosest = 0.0

    def check(self, flow: ReducedFlow, point: Point, error: Array, trials: Index) -> NDArray[np.int8]:
        """Return -1 for every trial: continue."""
        return np.full(error.size, NOT_COMPUTED, np.int8)

    def confirms(self, flow: ReducedFlow, point: Point, error: Array) -> Mask:
        """Return True: the rule stops no trial."""
        return np.ones(error.size, dtype=bool)


@dataclass
class ToleranceRule:
    """Converged when the loss falls to ``loss_tolerance``, a number for all trials or an array (T,)."""

    loss_tolerance: float | Array
    loosest = 0.0

    def check(self, flow: ReducedFlow, point: Point, error: Array, trials: Index) -> NDArray[np.int8]:
        """Return `Outcome` of each trial, or -1 to continue."""
        level = self.loss_tolerance[trials] if isinstance(self.loss_tolerance, np.ndarray) else self.loss_tolerance
        reached = point.loss <= level
        return np.where(reached, Outcome.CONVERGED_TOLERANCE, NOT_COMPUTED).astype(np.int8)

    def confirms(self, flow: ReducedFlow, point: Point, error: Array) -> Mask:
        """Return whether the error adds at most psi(loss_tolerance) to psi(L)."""
        c_Z = np.sqrt(np.einsum("trk,trk->tk", point.Q, point.Q).max(axis=1))
        moved = possible_move(flow, point.gram, point.square_z, error, c_Z)
        return np.asarray(moved <= flow.loss.psi(np.array(self.loss_tolerance)))


class RestartRule:
    """Converged when `sharp` certifies the flow through the computed point, integration error included (theory §5.4).

    The certificate is tested where a bound of its margin exceeds one, and after a failure once psi(L) has fallen far
    enough for it to succeed. Where it would hold without the integration error, and that error exceeds the remaining
    psi(L), the trial is undecided. In mode `hidden`, if L is convex, the error does not matter: a proof for a point
    with this V and these boxes is true of every such point (theory §5.4).
    """

    loosest = 1e-2

    def __init__(self, trials: int) -> None:
        self._try_at = np.full(trials, np.inf)
        self._columns = np.full((2, trials), np.nan)

    def check(self, flow: ReducedFlow, point: Point, error: Array, trials: Index) -> NDArray[np.int8]:
        """Return `Outcome` of each trial, or -1 to continue."""
        psi = flow.psi_of(point.residual)
        outcome = np.full(psi.size, NOT_COMPUTED, np.int8)
        # V does not move in mode `hidden`
        if flow.mode == "both" or np.isnan(self._columns[0, trials]).any():
            self._columns[:, trials] = column_norms(flow, point)
        columns = self._columns[:, trials]
        least, most = margin_bounds(flow, point, columns, psi)
        promising = (psi <= self._try_at[trials]) & (most > 1.0)
        if error_is_harmless(flow):
            error = np.zeros_like(error)
            outcome[least > 1.0] = Outcome.CONVERGED_CERTIFIED
            promising &= least <= 1.0
        rows = np.flatnonzero(promising)
        if rows.size:
            test = RestartTest.of(flow, point, error, columns, rows)
            margin = test.margin(psi[rows])
            # a margin of 1/2 needs half the psi, up to the change of the spectrum by then
            self._try_at[trials[rows]] = psi[rows] * np.clip(1.2 * margin, 0.3, PATIENCE)
            outcome[rows[margin > 1.0]] = Outcome.CONVERGED_CERTIFIED
            drowned = (margin <= 1.0) & (test.moved > psi[rows])
            if drowned.any():
                exact = RestartTest.of(flow, point, np.zeros(psi.size), columns, rows).margin(psi[rows])
                outcome[rows[drowned & (exact > 1.0)]] = Outcome.UNDECIDED
        return outcome

    def confirms(self, flow: ReducedFlow, point: Point, error: Array) -> Mask:
        """Return whether the certificate survives the error."""
        error = np.zeros_like(error) if error_is_harmless(flow) else error
        return np.asarray(RestartTest.of(flow, point, error).margin(flow.psi_of(point.residual)) > 1.0)


Rule = Never | ToleranceRule | RestartRule


def error_is_harmless(flow: ReducedFlow) -> bool:
    """Return whether zero loss is reached from every point of the boxes or from none (theory §7.4)."""
    return flow.mode == "hidden" and flow.loss.convex


def margin_bounds(flow: ReducedFlow, point: Point, columns: Array, psi: Array) -> tuple[Array, Array]:
    """Return the lower and upper bound of the margin of `sharp`, (T,), by the stored eigenvalue or the diagonals.

    The branch through A J alone is a lower bound, both together are an upper one; lambda_min is at most the least entry
    of a diagonal, and sigma_A sigma_Z <= sigma_obs.
    """
    k, S, sigma_A = flow.width, flow.problems.S, flow.problems.sigma_A
    if point.slowest is not None:
        # the rounding that `smallest_singular_value` subtracts, to either side
        rounding = (S.shape[1] + k) * 2.0**-53 * np.square(S[:, 0]) * np.trace(point.gram, axis1=1, axis2=2) / k
        low, high = np.maximum(point.slowest - rounding, 0.0), point.slowest + rounding
        square_Z = high / np.square(sigma_A)
    else:
        diagonal = np.diagonal(point.gram, axis1=1, axis2=2) / k
        if flow.mode == "both":
            diagonal = diagonal + point.square_z[:, None] / k
        low, high, square_Z = np.zeros_like(psi), (np.square(S) * diagonal).min(axis=1), diagonal.min(axis=1)
    signal, observed = lipschitz_bounds(flow, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = 0.5 / (observed.on_ball(0.0) * psi)
        most = high * alone + 0.5 * sigma_A * square_Z / (signal.on_ball(0.0) * psi)
        return np.nan_to_num(low * alone), np.nan_to_num(most)


def lipschitz_bounds(flow: ReducedFlow, columns: Array) -> tuple[TrialLipschitz, TrialLipschitz]:
    """Return the Lipschitz constants of Z^T J and of A J, given the largest columns (2, T)."""
    c_Z, c_A = columns
    norm_A, width = np.broadcast_to(flow.problems.norm_A, c_A.shape), np.full(c_A.shape, float(flow.width))
    B1, B2 = flow.activation.sup_dphi, flow.activation.lip_dphi
    return (
        TrialLipschitz(flow.mode, B1, B2, c_Z, width),
        TrialLipschitz(flow.mode, norm_A * B1, norm_A * B2, c_A / norm_A, width),
    )


def column_norms(flow: ReducedFlow, point: Point) -> Array:
    """Return the largest |Z^T V_i| and |A V_i| over the neurons, (2, T)."""
    squares = np.square(point.Q)
    weights = np.stack([np.ones_like(flow.problems.S), np.square(flow.problems.S)], axis=1)
    return np.asarray(np.sqrt(np.matmul(weights, squares).max(axis=2)).T)


def possible_move(flow: ReducedFlow, gram: Array, square_z: Array, error: Array, c_Z: Array) -> Array:
    """Bound the increase of psi(L) within ``error``, (T,), by |A| (|J| + Lip error) error times the slope of psi."""
    mode, k, n_obs = flow.mode, flow.width, flow.problems.U.shape[1]
    norm_J = np.trace(gram, axis1=1, axis2=2) + (square_z if mode == "both" else 0.0)
    B1, B2 = flow.activation.sup_dphi, flow.activation.lip_dphi
    signal = TrialLipschitz(mode, B1, B2, c_Z, np.full(error.shape, float(k)))
    with np.errstate(invalid="ignore"):
        moved = flow.problems.norm_A * (np.sqrt(norm_J / k) + signal.on_ball(error) * error) * error
        # a custom loss may have no slope: then only an exact state is certified
        return np.where(error > 0.0, flow.loss.psi_slope(n_obs) * np.fmax(moved, 1e-300), 0.0)


def remaining_path(flow: ReducedFlow, point: Point, error: Array) -> Array:
    """Bound by `sharp` of the remaining path from any state within ``error``, (T,); infinite where not certified."""
    finite = np.isfinite(error)
    test = RestartTest.of(flow, point, np.where(finite, error, 0.0))
    path = ObservedPath.build(test.signal, test.observed)
    length = path.certify(flow.psi_of(point.residual) + test.moved)[1]
    return np.where(finite & np.isfinite(length), length, np.inf)


@dataclass(frozen=True)
class RestartTest:
    """The certificate `sharp` at a computed state, valid for every state within an error of it."""

    signal: Branch  # bound through Z^T J, arrays (T,)
    observed: Branch  # bound through A J, arrays (T,)
    moved: Array  # increase of psi(L) by the error, (T,)

    @classmethod
    def of(
        cls,
        flow: ReducedFlow,
        point: Point,
        error: Array,
        columns: Array | None = None,
        rows: Index | None = None,
    ) -> RestartTest:
        """Prepare the test of given rows (default: all) at a point within ``error`` (T,) of theta.

        ``columns`` (2, T) are the `column_norms`.
        """
        columns = column_norms(flow, point) if columns is None else columns
        problems, gram, square_z = flow.problems, point.gram, point.square_z
        if rows is not None and rows.size < error.size:
            # the large arrays are not copied
            flow = replace(flow, problems=problems.take(rows), Q_start=flow.Q_start[:0])
            columns, error, gram, square_z = columns[:, rows], error[rows], gram[rows], square_z[rows]
        k, mode = flow.width, flow.mode
        sigma_Z, sigma_obs = observed_spectra(gram, square_z, flow.problems.S, k, mode, k)
        signal, observed = lipschitz_bounds(flow, columns)
        # the column norms grow by at most the error of theta
        drift = error if mode == "both" else 0.0
        sigma_A = np.broadcast_to(flow.problems.sigma_A, error.shape)
        return cls(
            Branch(
                sigma_A,
                np.maximum(sigma_Z - signal.integrals(error)[0], 0.0),
                replace(signal, column_norm=signal.column_norm + drift),
            ),
            Branch(
                np.ones_like(error),
                np.maximum(sigma_obs - observed.integrals(error)[0], 0.0),
                replace(observed, column_norm=observed.column_norm + drift),
            ),
            possible_move(flow, gram, square_z, error, signal.column_norm),
        )

    def margin(self, psi: Array) -> Array:
        """Return the margin (T,) from psi(L) at the computed state: above one, the true state reaches zero loss.

        A bound of the margin on the same side of one replaces it where that is cheaper.
        """
        branches = (self.signal, self.observed)
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = psi + self.moved
            if self.signal.lipschitz.mode == "hidden":
                return np.where(np.isfinite(needed), self._area_of_lines() / needed, 0.0)
            # both branches together bound the area from above, one of them to a point near its end from below
            most = sum(b.factor * np.square(b.sigma) / (2.0 * b.lipschitz.on_ball(0.0)) for b in branches)
            margin = np.where(np.isfinite(needed) & (most > 0.0), most / needed, 0.0)
            least = np.maximum(*(b.area(b.lipschitz.reach(b.sigma, steps=2)) for b in branches)) / needed
        margin = np.where((margin > 1.0) & (least > 1.0), least, margin)
        rows = np.flatnonzero((margin > 1.0) & ~(least > 1.0))
        if rows.size:
            path = ObservedPath.build(self.signal.take(rows), self.observed.take(rows))
            margin[rows] = path.margin(needed[rows])
        return margin

    def _area_of_lines(self) -> Array:
        """Return the area under the larger of two lines that fall to zero: in mode `hidden` the branches are lines."""
        heights = np.stack([branch.factor * branch.sigma for branch in (self.signal, self.observed)])
        slopes = np.stack([branch.factor * branch.lipschitz.on_ball(0.0) for branch in (self.signal, self.observed)])
        whole = np.where(heights > 0.0, np.square(heights) / (2.0 * slopes), 0.0)
        # where the higher line ends first, the other is larger from their intersection on
        order = np.argsort(-heights, axis=0)
        (high, low), (steep, flat) = (np.take_along_axis(values, order, axis=0) for values in (heights, slopes))
        meet = (high - low) / (steep - flat)
        joined = meet * (high - 0.5 * steep * meet) + np.square(low - flat * meet) / (2.0 * flat)
        crosses = (high / steep < low / flat) & (low > 0.0)
        return np.asarray(np.where(crosses, joined, whole.max(axis=0)))
