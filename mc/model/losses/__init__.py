"""Losses with the Kurdyka-Lojasiewicz property: value, gradient, desingularizer psi and its companion Psi (theory §2).

A loss is a function of the residual e = v - y, whose last axis has the m observations; every leading axis is a batch.
psi is the desingularizer, Psi a primitive of -(psi')^2: along the flow psi(L) pays for the path, Psi(L) for the time.
"""

from __future__ import annotations

from mc.errors import InputError
from mc.model.losses.base import Loss
from mc.model.losses.builtin import LogCosh, MeanSquare, Power, checked_exponent

__all__ = ["NAMES", "LogCosh", "Loss", "MeanSquare", "Power", "get"]

NAMES: tuple[str, ...] = ("mse", "power", "logcosh")


def get(kind: str | Loss, p: float | None = None) -> Loss:
    """Look a loss up by name.

    Parameters
    ----------
    kind : str or Loss
        One of `NAMES`; a Loss object is returned as it is.
    p : float, optional
        Exponent of `power` (p = 2 gives `mse`); the others accept only 2.

    Returns
    -------
    Loss

    Raises
    ------
    InputError
        For an unknown name, or an exponent that is missing, not a number, below 2 or not meant for this kind.
    """
    if isinstance(kind, Loss):
        return kind
    if kind not in NAMES:
        raise InputError(f"loss.kind = {kind!r} is unknown: choose one of {', '.join(NAMES)}, or pass a Loss object")
    if kind == "power" and p is None:
        raise InputError("loss.kind = 'power' needs loss.p, a number of at least 2")
    exponent = 2.0 if p is None else checked_exponent(p)
    if kind == "power":
        return MeanSquare() if exponent == 2.0 else Power(exponent)
    if exponent != 2.0:
        raise InputError(f"loss.p = {exponent:g} is only for loss.kind = 'power': remove it or change the kind")
    return MeanSquare() if kind == "mse" else LogCosh()
