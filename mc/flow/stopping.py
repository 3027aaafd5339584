"""When to stop: the certificate restarted at the computed point, or a loss tolerance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mc.flow.field import Observation, ReducedFlow
from mc.model.arrays import Array, Index, Mask
from mc.theory.certificates import Branch, ObservedPath, observed_spectra
from mc.theory.codes import NOT_COMPUTED, Outcome
from mc.theory.lipschitz import TrialLipschitz


class Rule(Protocol):
    """A stopping rule for T trials, of which it sees those that still run.

    Attributes
    ----------
    loosest : float
        rtol of a first attempt: above that of the controls where the verdict is checked against the error anyway.
    """

    loosest: float

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> Mask:
        """Whether what stopped a trial holds for every state within ``error`` of the one computed."""


class Never:
    """Goes on to the horizon."""

    loosest = 0.0

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """-1: go on."""
        return np.full(error.size, NOT_COMPUTED, np.int8)

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> Mask:
        """Nothing stops a trial."""
        return np.ones(error.size, dtype=bool)


@dataclass
class ToleranceRule:
    """Converged when the loss falls to ``loss_tolerance``: one for all trials, or one for each."""

    loss_tolerance: float | Array
    loosest = 0.0

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""
        level = self.loss_tolerance[trials] if isinstance(self.loss_tolerance, np.ndarray) else self.loss_tolerance
        reached = seen.loss <= level
        return np.where(reached, Outcome.CONVERGED_TOLERANCE, NOT_COMPUTED).astype(np.int8)

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> Mask:
        """Whether the error may add no more to psi(L) than the tolerance itself."""
        c_Z = np.sqrt(np.einsum("trk,trk->tk", seen.Q, seen.Q).max(axis=1))
        moved = possible_move(flow, seen.gram, seen.square_z, error, c_Z)
        return np.asarray(moved <= flow.loss.psi(np.array(self.loss_tolerance)))


class RestartRule:
    """Converged when `sharp` certifies the flow through the computed point, integration error included (theory §5.4).

    The certificate is tried where a bound of its margin does not refuse it, and after a failure when psi(L) has fallen
    far enough for it to have a chance. Where it would hold but for an integration error that has grown
    larger than what is left of psi(L), the trial is undecided. In mode `hidden`, if L is convex, the error cannot
    matter: what is proved of a point with this V and these boxes is true of every such point (theory §5.4).

    Attributes
    ----------
    margin : (T,) array
        Margin at the last test of each trial, or a bound of it on the same side of one; certified iff above one.
    """

    loosest = 1e-2

    def __init__(self, trials: int, patience: float = 0.8) -> None:
        self.patience = patience
        self.margin = np.zeros(trials)
        self._try_at = np.full(trials, np.inf)
        self._columns = np.full((2, trials), np.nan)

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""
        psi = flow.psi_of(seen.residual)
        outcome = np.full(psi.size, NOT_COMPUTED, np.int8)
        # V does not move in mode `hidden`
        if flow.mode == "both" or np.isnan(self._columns[0, trials]).any():
            self._columns[:, trials] = column_norms(flow, seen)
        columns = self._columns[:, trials]
        least, most = margin_bounds(flow, seen, columns, psi)
        worth = (psi <= self._try_at[trials]) & (most > 1.0)
        if error_is_harmless(flow):
            error, sure = np.zeros_like(error), np.flatnonzero(least > 1.0)
            self.margin[trials[sure]], outcome[sure] = least[sure], Outcome.CONVERGED_CERTIFIED
            worth &= least <= 1.0
        rows = np.flatnonzero(worth)
        if rows.size:
            test = RestartTest.of(flow, seen, error, columns, rows)
            margin = test.margin(psi[rows])
            self.margin[trials[rows]] = margin
            # a margin of 1/2 wants half the psi, give or take what the spectrum changes by then
            self._try_at[trials[rows]] = psi[rows] * np.clip(1.2 * margin, 0.3, self.patience)
            outcome[rows[margin > 1.0]] = Outcome.CONVERGED_CERTIFIED
            lost = (margin <= 1.0) & (test.moved > psi[rows])
            if lost.any():
                exact = RestartTest.of(flow, seen, np.zeros(psi.size), columns, rows).margin(psi[rows])
                outcome[rows[lost & (exact > 1.0)]] = Outcome.UNDECIDED
        return outcome

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> Mask:
        """Whether the certificate survives the error."""
        error = np.zeros_like(error) if error_is_harmless(flow) else error
        return np.asarray(RestartTest.of(flow, seen, error).margin(flow.psi_of(seen.residual)) > 1.0)


def error_is_harmless(flow: ReducedFlow) -> bool:
    """Whether zero loss is reached from every point of the boxes or from none (theory §7.4)."""
    return flow.mode == "hidden" and flow.loss.convex


def margin_bounds(flow: ReducedFlow, seen: Observation, columns: Array, psi: Array) -> tuple[Array, Array]:
    """Lower and upper bound of the margin of `sharp`, (T,), from the eigenvalue known or else from the diagonals.

    The branch through A J alone is a lower bound, both together are an upper one; lambda_min is at most the least entry
    of a diagonal, and sigma_A sigma_Z <= sigma_obs.
    """
    k, S, sigma_A = flow.width, flow.problems.S, flow.problems.sigma_A
    if seen.slowest is not None:
        # as much rounding as `smallest_singular_value` allows for, to either side
        rounding = (S.shape[1] + k) * 2.0**-53 * np.square(S[:, 0]) * np.trace(seen.gram, axis1=1, axis2=2) / k
        low, high = np.maximum(seen.slowest - rounding, 0.0), seen.slowest + rounding
        square_Z = high / np.square(sigma_A)
    else:
        diagonal = np.diagonal(seen.gram, axis1=1, axis2=2) / k
        if flow.mode == "both":
            diagonal = diagonal + seen.square_z[:, None] / k
        low, high, square_Z = np.zeros_like(psi), (np.square(S) * diagonal).min(axis=1), diagonal.min(axis=1)
    signal, observed = lipschitz_bounds(flow, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = 0.5 / (observed.at(0.0) * psi)
        most = high * alone + 0.5 * sigma_A * square_Z / (signal.at(0.0) * psi)
        return np.nan_to_num(low * alone), np.nan_to_num(most)


def lipschitz_bounds(flow: ReducedFlow, columns: Array) -> tuple[TrialLipschitz, TrialLipschitz]:
    """Lipschitz constants of Z^T J and of A J, given the largest columns (2, T)."""
    c_Z, c_A = columns
    norm_A, width = np.broadcast_to(flow.problems.norm_A, c_A.shape), np.full(c_A.shape, float(flow.width))
    B1, B2 = flow.activation.sup_dphi, flow.activation.lip_dphi
    return (
        TrialLipschitz(flow.mode, B1, B2, c_Z, width),
        TrialLipschitz(flow.mode, norm_A * B1, norm_A * B2, c_A / norm_A, width),
    )


def column_norms(flow: ReducedFlow, seen: Observation) -> Array:
    """Largest |Z^T V_i| and |A V_i| over the neurons, (2, T)."""
    squares = np.square(seen.Q)
    weights = np.stack([np.ones_like(flow.problems.S), np.square(flow.problems.S)], axis=1)
    return np.asarray(np.sqrt(np.matmul(weights, squares).max(axis=2)).T)


def possible_move(flow: ReducedFlow, gram: Array, square_z: Array, error: Array, c_Z: Array) -> Array:
    """What a state within ``error`` may add to psi(L), (T,): |A| (|J| + Lip error) error times the slope of psi."""
    mode, k, n_obs = flow.mode, flow.width, flow.problems.U.shape[1]
    norm_J = np.trace(gram, axis1=1, axis2=2) + (square_z if mode == "both" else 0.0)
    B1, B2 = flow.activation.sup_dphi, flow.activation.lip_dphi
    signal = TrialLipschitz(mode, B1, B2, c_Z, np.full(error.shape, float(k)))
    with np.errstate(invalid="ignore"):
        moved = flow.problems.norm_A * (np.sqrt(norm_J / k) + signal.at(error) * error) * error
        # a loss of the user's own may have no slope: then only an exact state says anything
        return np.where(error > 0.0, flow.loss.psi_slope(n_obs) * np.fmax(moved, 1e-300), 0.0)


def path_left(flow: ReducedFlow, seen: Observation, error: Array) -> Array:
    """Bound of the path to go from any state within ``error``, (T,): what `sharp` allows; infinite uncertified."""
    known = np.isfinite(error)
    test = RestartTest.of(flow, seen, np.where(known, error, 0.0))
    path = ObservedPath.build(test.signal, test.observed)
    left = path.certify(flow.psi_of(seen.residual) + test.moved)[1]
    return np.where(known & np.isfinite(left), left, np.inf)


@dataclass(frozen=True)
class RestartTest:
    """`sharp` at a computed state, valid for every state within an error of it.

    Attributes
    ----------
    signal, observed : Branch
        Bounds through Z^T J and through A J, of arrays (T,).
    moved : (T,) array
        What the error may add to psi(L).
    """

    signal: Branch
    observed: Branch
    moved: Array

    @classmethod
    def of(
        cls,
        flow: ReducedFlow,
        seen: Observation,
        error: Array,
        columns: Array | None = None,
        rows: Index | None = None,
    ) -> RestartTest:
        """Prepare the test.

        Parameters
        ----------
        flow : ReducedFlow
        seen : Observation
            Of the computed state.
        error : (T,) array
            Bound delta of |theta_computed - theta|.
        columns : (2, T) array, optional
            See `column_norms`.
        rows : int array, optional
            The trials to test; all by default.
        """
        columns = column_norms(flow, seen) if columns is None else columns
        problems, gram, square_z = flow.problems, seen.gram, seen.square_z
        if rows is not None and rows.size < error.size:
            # the large arrays stay where they are
            flow = replace(flow, problems=problems.take(rows), Q_start=flow.Q_start[:0])
            columns, error, gram, square_z = columns[:, rows], error[rows], gram[rows], square_z[rows]
        k, mode = flow.width, flow.mode
        sigma_Z, sigma_obs = observed_spectra(gram, square_z, flow.problems.S, k, mode, k)
        signal, observed = lipschitz_bounds(flow, columns)
        # the column norms grow by what theta may be off
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
        """Margin given psi(L) at the computed state: the flow through the true state reaches zero loss above one.

        Parameters
        ----------
        psi : (T,) array

        Returns
        -------
        (T,) array
            A bound of the margin where that already tells the side of one.
        """
        branches = (self.signal, self.observed)
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = psi + self.moved
            if self.signal.lipschitz.mode == "hidden":
                return np.where(np.isfinite(needed), self._area_of_lines() / needed, 0.0)
            # both branches together bound the area from above, one of them to a point near its end from below
            most = sum(b.factor * np.square(b.sigma) / (2.0 * b.lipschitz.at(0.0)) for b in branches)
            margin = np.where(np.isfinite(needed) & (most > 0.0), most / needed, 0.0)
            least = np.maximum(*(b.area(b.lipschitz.reach(b.sigma, steps=2)) for b in branches)) / needed
        margin = np.where((margin > 1.0) & (least > 1.0), least, margin)
        rows = np.flatnonzero((margin > 1.0) & ~(least > 1.0))
        if rows.size:
            path = ObservedPath.build(self.signal.take(rows), self.observed.take(rows))
            margin[rows] = path.margin(needed[rows])
        return margin

    def _area_of_lines(self) -> Array:
        """Area under the larger of two lines that fall to zero: in mode `hidden` the branches are no more than that."""
        heights = np.stack([branch.factor * branch.sigma for branch in (self.signal, self.observed)])
        slopes = np.stack([branch.factor * branch.lipschitz.at(0.0) for branch in (self.signal, self.observed)])
        whole = np.where(heights > 0.0, np.square(heights) / (2.0 * slopes), 0.0)
        # where the higher line ends first the other takes over where they meet
        order = np.argsort(-heights, axis=0)
        (high, low), (steep, flat) = (np.take_along_axis(values, order, axis=0) for values in (heights, slopes))
        meet = (high - low) / (steep - flat)
        joined = meet * (high - 0.5 * steep * meet) + np.square(low - flat * meet) / (2.0 * flat)
        crosses = (high / steep < low / flat) & (low > 0.0)
        return np.asarray(np.where(crosses, joined, whole.max(axis=0)))
