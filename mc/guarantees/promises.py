"""What a hypothesis promises along a trajectory: how far, how fast, and with which Jacobian (theory §4, §5.3, §9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mc.losses import Loss

Array = NDArray[np.float64]


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
