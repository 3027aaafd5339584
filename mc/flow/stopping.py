"""When to stop: the certificate restarted at the computed point, or a loss tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mc.certificates import Branch, ObservedPath, observed_spectra
from mc.flow.fields import Observation, ReducedFlow
from mc.lipschitz import TrialLipschitz
from mc.outcomes import NOT_COMPUTED, Outcome

Array = NDArray[np.float64]
Index = NDArray[np.intp]


class Rule(Protocol):
    """A stopping rule for one batch of trials."""

    def check(self, flow: ReducedFlow, state: Array, seen: Observation, error: Array) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""


@dataclass
class ToleranceRule:
    """Converged when the loss falls to ``loss_tolerance``."""

    loss_tolerance: float

    def check(self, flow: ReducedFlow, state: Array, seen: Observation, error: Array) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""
        reached = seen.loss <= self.loss_tolerance
        return np.where(reached, Outcome.CONVERGED_TOLERANCE, NOT_COMPUTED).astype(np.int8)

    def keep(self, rows: Index) -> None:
        """Nothing to drop."""


class RestartRule:
    """Converged when `sharp` certifies the flow through the computed point, integration error included (theory §5.4).

    The certificate is tried at the start and each time psi(L) has fallen by ``patience``. Where it would hold but for
    an integration error that has grown larger than what is left of psi(L), the trial is undecided.

    Attributes
    ----------
    margin : (T,) array
        Margin at the last test of each trial; certified iff above one.
    """

    def __init__(self, trials: int, patience: float = 0.8) -> None:
        self.patience = patience
        self.tried_at = np.full(trials, np.inf)
        self.margin = np.zeros(trials)

    def check(self, flow: ReducedFlow, state: Array, seen: Observation, error: Array) -> NDArray[np.int8]:
        """`Outcome` of each trial, or -1 to go on."""
        psi = flow.loss.psi(seen.loss)
        rows = np.flatnonzero(psi <= self.patience * self.tried_at)
        outcome = np.full(psi.size, NOT_COMPUTED, np.int8)
        if rows.size:
            self.tried_at[rows] = psi[rows]
            some, there = flow.take(rows), _rows(seen, rows)
            self.margin[rows], moved = restart_margin(some, there, psi[rows], error[rows])
            outcome[rows[self.margin[rows] > 1.0]] = Outcome.CONVERGED_CERTIFIED
            lost = (self.margin[rows] <= 1.0) & (moved > psi[rows])
            if lost.any():
                exact, _ = restart_margin(some, there, psi[rows], np.zeros(rows.size))
                outcome[rows[lost & (exact > 1.0)]] = Outcome.UNDECIDED
        return outcome

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""
        self.tried_at, self.margin = self.tried_at[rows], self.margin[rows]


def _rows(seen: Observation, rows: Index) -> Observation:
    return Observation(seen.Q[rows], seen.z[rows], seen.dphi[rows], seen.residual[rows], seen.loss[rows])


def restart_margin(flow: ReducedFlow, seen: Observation, psi: Array, error: Array) -> tuple[Array, Array]:
    """Margin of `sharp` at the computed state, valid for every state within ``error`` of it.

    Parameters
    ----------
    flow : ReducedFlow
    seen : Observation
        Of the computed state.
    psi : (T,) array
        psi(L) there.
    error : (T,) array
        Bound delta of |theta_computed - theta|.

    Returns
    -------
    margin : (T,) array
        The flow through the true state reaches zero loss where this exceeds one.
    moved : (T,) array
        What the error may add to psi(L).
    """
    k, S, mode = flow.width, flow.problems.S, flow.mode
    norm_A = flow.problems.norm_A
    square_z = np.einsum("tk,tk->t", seen.z, seen.z)
    weighted = seen.Q * np.square(seen.dphi)[:, None, :]
    gram = np.matmul(weighted, seen.Q.swapaxes(1, 2))
    sigma_Z, sigma_obs = observed_spectra(gram, square_z, S, k, mode, k)
    squares = np.square(seen.Q)
    c_Z = np.sqrt(squares.sum(axis=1).max(axis=1))
    c_A = np.sqrt(np.matmul(np.square(S)[:, None, :], squares)[:, 0].max(axis=1))
    width = np.asarray(float(k))
    B1, B2 = flow.activation.sup_dphi, flow.activation.lip_dphi
    signal = TrialLipschitz(mode, B1, B2, c_Z, width)
    observed = TrialLipschitz(mode, norm_A * B1, norm_A * B2, c_A / norm_A, width)
    norm_J = np.sqrt((np.trace(gram, axis1=1, axis2=2) + (square_z if mode == "both" else 0.0)) / k)
    # |J| and the column norms grow by what theta may be off
    moved = norm_A * (norm_J + signal.at(error) * error) * error
    # a loss of the user's own may have no slope: then only an exact state certifies
    moved = np.where(moved > 0.0, flow.loss.psi_slope(flow.problems.U.shape[1]) * np.fmax(moved, 1e-300), 0.0)
    drift = error if mode == "both" else 0.0
    path = ObservedPath.build(
        Branch(
            flow.problems.sigma_A,
            np.maximum(sigma_Z - signal.integrals(error)[0], 0.0),
            TrialLipschitz(mode, B1, B2, c_Z + drift, width),
        ),
        Branch(
            1.0,
            np.maximum(sigma_obs - observed.integrals(error)[0], 0.0),
            TrialLipschitz(mode, norm_A * B1, norm_A * B2, c_A / norm_A + drift, width),
        ),
    )
    return path.certify(psi + moved)[0], moved
