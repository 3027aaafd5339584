"""What the theory claims, by name: statement, hypothesis, source; and the right-hand side of claims on trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mc.losses import Loss

Array = NDArray[np.float64]


class Kind(StrEnum):
    """What a claim speaks of."""

    IMPLICATION = "implication"
    PROBABILITY = "probability"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True)
class Claim:
    """One statement of the theory.

    Attributes
    ----------
    name : str
    kind : Kind
    formula : str
    hypothesis : str
    modes : tuple of str
    source : str
        Section of docs/theory.md.
    """

    name: str
    kind: Kind
    formula: str
    hypothesis: str
    modes: tuple[str, ...]
    source: str


_BOTH = ("hidden", "both")
_ALL = (
    Claim("paper-trial", Kind.IMPLICATION, "margin_trial > 1", "paper: margin_paper > 1", _BOTH, "theory §5"),
    Claim("trial-sharp", Kind.IMPLICATION, "margin_sharp > 1", "trial: margin_trial > 1", _BOTH, "theory §5.3"),
    Claim("sharp-exact", Kind.IMPLICATION, "zero loss is reached", "sharp: margin_sharp > 1", ("hidden",),
          "theory §7.4"),
    Claim("theory-trial", Kind.PROBABILITY, "P(trial) >= P_theory^trial(k)", "none", _BOTH, "theory §7.1-3"),
    Claim("theory-paper", Kind.PROBABILITY, "P(paper) >= P_theory^paper(k)", "none", _BOTH, "theory §7.1-3"),
    Claim("rate", Kind.TRAJECTORY, "L(t) <= Psi^-1(sigma^2 t + Psi(L_0))", "trial, sharp", _BOTH, "theory §4, §5.3"),
    Claim("conserved-rate", Kind.TRAJECTORY, "L(t) <= Psi^-1(sigma_A^2 sigma_low^2 t + Psi(L_0))", "sigma_low > 0",
          ("both",), "theory §7.5"),
)  # fmt: skip
CLAIMS: Mapping[str, Claim] = {claim.name: claim for claim in _ALL}


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
