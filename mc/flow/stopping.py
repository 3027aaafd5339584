"""When to stop: the certificate restarted at the computed point, or a loss tolerance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mc.certificates import Branch, ObservedPath, observed_spectra
from mc.flow.fields import Observation, ReducedFlow
from mc.lipschitz import TrialLipschitz
from mc.outcomes import NOT_COMPUTED, Outcome

Array = NDArray[np.float64]
Index = NDArray[np.intp]

COMPANY = 2
"""Steps for which a trial's test may wait for those of half its batch."""


class Rule(Protocol):
    """A stopping rule for T trials, of which it sees those that still run."""

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> NDArray[np.bool_]:
        """Whether what stopped a trial holds for every state within ``error`` of the one computed."""


class Never:
    """Goes on to the horizon."""

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """-1: go on."""
        return np.full(error.size, NOT_COMPUTED, np.int8)

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> NDArray[np.bool_]:
        """Nothing stops a trial."""
        return np.ones(error.size, dtype=bool)


@dataclass
class ToleranceRule:
    """Converged when the loss falls to ``loss_tolerance``: one for all trials, or one for each."""

    loss_tolerance: float | Array

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""
        level = self.loss_tolerance[trials] if isinstance(self.loss_tolerance, np.ndarray) else self.loss_tolerance
        reached = seen.loss <= level
        return np.where(reached, Outcome.CONVERGED_TOLERANCE, NOT_COMPUTED).astype(np.int8)

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> NDArray[np.bool_]:
        """Whether the error may add no more to psi(L) than the tolerance itself."""
        return np.asarray(possible_move(flow, seen, error) <= flow.loss.psi(np.array(self.loss_tolerance)))


class RestartRule:
    """Converged when `sharp` certifies the flow through the computed point, integration error included (theory §5.4).

    The certificate is tried at the start and again when psi(L) has fallen far enough for it to have a chance. Where it
    would hold but for an integration error that has grown larger than what is left of psi(L), the trial is undecided.

    Attributes
    ----------
    margin : (T,) array
        Margin at the last test of each trial, or a bound of it on the same side of one; certified iff above one.
    """

    def __init__(self, trials: int, patience: float = 0.8) -> None:
        self.patience = patience
        self.margin = np.zeros(trials)
        self._try_at = np.full(trials, np.inf)
        self._columns = np.full((2, trials), np.nan)
        self._skipped = 0

    def check(self, flow: ReducedFlow, seen: Observation, error: Array, trials: Index) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""
        psi = flow.psi_of(seen.residual)
        outcome = np.full(psi.size, NOT_COMPUTED, np.int8)
        rows = np.flatnonzero(psi <= self._try_at[trials])
        # a test costs the batch nearly the same for one trial as for all: wait for company, then test all
        many = 2 * rows.size >= psi.size
        self._skipped = 0 if many or self._skipped >= COMPANY else self._skipped + 1
        if rows.size and not self._skipped:
            rows = np.arange(psi.size) if many else rows
            some, there = flow.take(rows), seen.take(rows)
            test = RestartTest.of(some, there, error[rows], self._column_norms(some, there, trials[rows]))
            margin = test.margin(psi[rows])
            self.margin[trials[rows]] = margin
            # a margin of 1/2 wants half the psi, give or take what the spectrum changes by then
            self._try_at[trials[rows]] = psi[rows] * np.clip(1.2 * margin, 0.3, self.patience)
            outcome[rows[margin > 1.0]] = Outcome.CONVERGED_CERTIFIED
            lost = (margin <= 1.0) & (test.moved > psi[rows])
            if lost.any():
                exact = RestartTest.of(some, there, np.zeros(rows.size)).margin(psi[rows])
                outcome[rows[lost & (exact > 1.0)]] = Outcome.UNDECIDED
        return outcome

    def _column_norms(self, flow: ReducedFlow, seen: Observation, trials: Index) -> Array:
        """Largest |Z^T V_i| and |A V_i|, (2, T): V does not move in mode `hidden`."""
        if flow.mode == "both":
            return column_norms(flow, seen)
        if np.isnan(self._columns[0, trials]).any():
            self._columns[:, trials] = column_norms(flow, seen)
        return self._columns[:, trials]

    def confirms(self, flow: ReducedFlow, seen: Observation, error: Array) -> NDArray[np.bool_]:
        """Whether the certificate survives the error."""
        return np.asarray(RestartTest.of(flow, seen, error).margin(flow.psi_of(seen.residual)) > 1.0)


def column_norms(flow: ReducedFlow, seen: Observation) -> Array:
    """Largest |Z^T V_i| and |A V_i| over the neurons, (2, T)."""
    squares = np.square(seen.Q)
    weights = np.stack([np.ones_like(flow.problems.S), np.square(flow.problems.S)], axis=1)
    return np.asarray(np.sqrt(np.matmul(weights, squares).max(axis=2)).T)


def possible_move(flow: ReducedFlow, seen: Observation, error: Array, c_Z: Array | None = None) -> Array:
    """What a state within ``error`` may add to psi(L), (T,): |A| (|J| + Lip error) error times the slope of psi."""
    mode, k, n_obs = flow.mode, flow.width, flow.problems.U.shape[1]
    norm_J = np.trace(seen.gram, axis1=1, axis2=2) + (seen.square_z if mode == "both" else 0.0)
    if c_Z is None:
        c_Z = np.sqrt(np.einsum("trk,trk->tk", seen.Q, seen.Q).max(axis=1))
    width = np.full(error.shape, float(k))
    signal = TrialLipschitz(mode, flow.activation.sup_dphi, flow.activation.lip_dphi, c_Z, width)
    with np.errstate(invalid="ignore"):
        moved = flow.problems.norm_A * (np.sqrt(norm_J / k) + signal.at(error) * error) * error
        # a loss of the user's own may have no slope: then only an exact state says anything
        return np.where(error > 0.0, flow.loss.psi_slope(n_obs) * np.fmax(moved, 1e-300), 0.0)


def path_left(flow: ReducedFlow, seen: Observation) -> Array:
    """Bound of the path still to go from a state, (T,): the length that `sharp` allows there; infinite uncertified."""
    test = RestartTest.of(flow, seen, np.zeros(seen.loss.size))
    path = ObservedPath.build(test.signal, test.observed)
    return np.nan_to_num(path.certify(flow.psi_of(seen.residual))[1], nan=np.inf)


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
    def of(cls, flow: ReducedFlow, seen: Observation, error: Array, columns: Array | None = None) -> RestartTest:
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
        """
        k, S, mode = flow.width, flow.problems.S, flow.mode
        sigma_Z, sigma_obs = observed_spectra(seen.gram, seen.square_z, S, k, mode, k)
        c_Z, c_A = column_norms(flow, seen) if columns is None else columns
        norm_A = np.broadcast_to(flow.problems.norm_A, error.shape)
        B1, B2, width = flow.activation.sup_dphi, flow.activation.lip_dphi, np.full(error.shape, float(k))
        signal = TrialLipschitz(mode, B1, B2, c_Z, width)
        observed = TrialLipschitz(mode, norm_A * B1, norm_A * B2, c_A / norm_A, width)
        # the column norms grow by what theta may be off
        drift = error if mode == "both" else 0.0
        sigma_A = np.broadcast_to(flow.problems.sigma_A, error.shape)
        return cls(
            Branch(
                sigma_A,
                np.maximum(sigma_Z - signal.integrals(error)[0], 0.0),
                replace(signal, column_norm=c_Z + drift),
            ),
            Branch(
                np.ones_like(error),
                np.maximum(sigma_obs - observed.integrals(error)[0], 0.0),
                replace(observed, column_norm=c_A / norm_A + drift),
            ),
            possible_move(flow, seen, error, c_Z),
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
            most = sum(b.factor * np.square(b.sigma) / (2.0 * b.lipschitz.at(0.0)) for b in branches)
            margin = np.where(np.isfinite(needed) & (most > 0.0), most / needed, 0.0)
            # one branch alone, to a point that need not be its end, is a lower bound
            least = np.maximum(*(b.area(b.lipschitz.reach(b.sigma, steps=2)) for b in branches)) / needed
        margin = np.where((margin > 1.0) & (least > 1.0), least, margin)
        rows = np.flatnonzero((margin > 1.0) & ~(least > 1.0))
        if rows.size:
            path = ObservedPath.build(self.signal.take(rows), self.observed.take(rows))
            margin[rows] = path.margin(needed[rows])
        return margin
