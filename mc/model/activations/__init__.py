"""Activations: phi, phi', their constants and primitives (theory §1, §3.3, §3.4, §7.5)."""

from __future__ import annotations

from mc.errors import InputError
from mc.model.activations.base import Activation
from mc.model.activations.erf import Erf
from mc.model.activations.monotone import Arctan, Identity, Sigmoid, Softplus, Tanh
from mc.model.activations.nonmonotone import Gelu, Silu, Sin
from mc.model.activations.special import log_wright_omega, wright_omega

__all__ = ["NAMES", "REFUSED", "Activation", "get", "log_wright_omega", "wright_omega"]

_CLASSES: tuple[type[Activation], ...] = (Sigmoid, Tanh, Softplus, Arctan, Erf, Identity, Sin, Silu, Gelu)

NAMES: tuple[str, ...] = tuple(kind.name for kind in _CLASSES)
"""Names `get` knows."""

REFUSED: tuple[str, ...] = tuple(
    "relu leaky_relu prelu relu6 selu hardtanh hard_tanh hard_sigmoid hard_swish hardshrink softshrink".split()
)
"""Names known and refused: phi' jumps, so B2 = Lip(phi') does not exist."""


def get(activation: str | Activation) -> Activation:
    """The activation of that name, or the user's own object after a check of its derivative.

    Parameters
    ----------
    activation : str or Activation

    Returns
    -------
    Activation

    Raises
    ------
    InputError
        Unknown name, a name whose phi' is not Lipschitz, or an object whose `dphi` is not the derivative of its `phi`.
    """
    if isinstance(activation, Activation):
        if not isinstance(activation, _CLASSES):
            activation.check()
        return activation
    if not isinstance(activation, str):
        raise InputError(f"activation must be a name or an Activation instance, not {activation!r}")
    for kind in _CLASSES:
        if kind.name == activation:
            return kind()
    choice = f"use one of {', '.join(NAMES)}"
    if activation.lower().replace("-", "_") in REFUSED:
        raise InputError(
            f"activation {activation!r}: phi' is not Lipschitz, so the theorem's constants do not exist: {choice}"
        )
    raise InputError(f"activation {activation!r} is unknown: {choice}, or give an Activation object of your own")
