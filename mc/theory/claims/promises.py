"""What a hypothesis promises along a trajectory: how far, how fast, with which Jacobian (theory §4, §5.3, §9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mc.model.arrays import Array, Mask
from mc.model.losses import Loss
from mc.theory.claims.registry import ALWAYS


@dataclass(frozen=True)
class Promise:
    """A hypothesis, and the constants of what follows from it, for T trials.

    Attributes
    ----------
    holds : (T,) bool array
        Whether the hypothesis is true.
    radius : (T,) array
        Bound of |theta(t) - theta_0|.
    sigma : (T,) array
        L(t) <= Psi^-1(sigma^2 t + Psi(L_0)).
    floor : (T,) array
        Lower bound of the singular value named by ``floor_of``.
    floor_of : str
        Observable that the floor bounds: of J, or of A J.
    """

    holds: Mask
    radius: Array
    sigma: Array
    floor: Array
    floor_of: str = "jacobian_sigma_min"

    def loss_bound(self, loss: Loss, loss_0: Array, t: Array) -> Array:
        """Psi^-1(sigma^2 t + Psi(L_0)), (T, P); see `loss_bound`."""
        return loss_bound(loss, loss_0[:, None], self.sigma[:, None], t)


def loss_bound(loss: Loss, loss_0: Array, sigma: Array, t: Array) -> Array:
    """Psi^-1(sigma^2 t + Psi(L_0)): the loss that a smallest singular value sigma along the path allows (theory §4).

    Parameters
    ----------
    loss : Loss
    loss_0 : (T, 1) array
        Loss at time 0.
    sigma : (T, 1) array
        Lower bound of the observed singular value; NaN where the hypothesis is false.
    t : (T, times) array

    Returns
    -------
    (T, times) array
        NaN where sigma is.
    """
    with np.errstate(invalid="ignore"):
        # a product that overflows or a loss of zero leaves an infinite xi: no loss is left
        return np.asarray(loss.Psi_inverse(np.square(sigma) * t + loss.Psi(loss_0)))


def flow_promises(facts: Mapping[str, Array], mode: str) -> dict[str, Promise]:
    """What the certificates of T trials promise of their flows.

    Parameters
    ----------
    facts : mapping of str to (T,) array
        Datasets of the block by name: sigma_A, psi_0, sigma_0, radius_needed, margin_paper, margin_trial, margin_sharp,
        sigma_star, radius_sharp, sigma_low.
    mode : {"hidden", "both"}

    Returns
    -------
    dict of str to Promise
        By hypothesis: ``paper``, ``trial``, ``sharp``, ``conserved`` and ``always``.
    """
    sigma_A, sigma_0 = facts["sigma_A"], facts["sigma_0"]
    half = 0.5 * sigma_0
    found = {
        rung: Promise(facts[f"margin_{rung}"] > 1.0, facts["radius_needed"], sigma_A * half, half)
        for rung in ("paper", "trial")
    }
    star = facts["sigma_star"]
    found["sharp"] = Promise(facts["margin_sharp"] > 1.0, facts["radius_sharp"], star, star, "observed_sigma_min")
    low = facts["sigma_low"] if mode == "both" else np.full_like(sigma_A, np.nan)
    rate = sigma_A * low
    with np.errstate(divide="ignore", invalid="ignore"):
        found["conserved"] = Promise(rate > 0.0, facts["psi_0"] / rate, rate, rate, "observed_sigma_min")
    nothing = np.full_like(sigma_A, np.nan)
    found[ALWAYS] = Promise(np.ones(sigma_A.shape, dtype=bool), nothing, nothing, nothing)
    return found


def descent_promises(facts: Mapping[str, Array], kappa: Array) -> dict[str, Promise]:
    """The same of gradient descent with a fixed step, of the time gamma j (theory §9).

    Parameters
    ----------
    facts : mapping of str to (T,) array
        See `flow_promises`; with radius_paper and radius_trial.
    kappa : (T,) array
        1 - gamma beta/2 with beta over the ball of radius R'/kappa; NaN where no kappa > 0 will do.

    Returns
    -------
    dict of str to Promise
    """
    sigma_A, half = facts["sigma_A"], 0.5 * facts["sigma_0"]
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = facts["radius_needed"] / kappa
        rate = sigma_A * half * np.sqrt(kappa)
        found = {rung: Promise(radius < facts[f"radius_{rung}"], radius, rate, half) for rung in ("paper", "trial")}
    nothing = np.full_like(sigma_A, np.nan)
    found[ALWAYS] = Promise(np.ones(sigma_A.shape, dtype=bool), nothing, nothing, nothing)
    return found
