"""Activations: phi, phi', their constants and primitives (theory §1, §3.3, §3.4, §7.5)."""

from __future__ import annotations

from mc.errors import InputError
from mc.model.activations.base import Activation
from mc.model.activations.monotone import Arctan, Erf, Identity, Sigmoid, Softplus, Tanh
from mc.model.activations.nonmonotone import Gelu, Silu, Sin

__all__ = ["NAMES", "REFUSED", "Activation", "get"]

_CLASSES: tuple[type[Activation], ...] = (Sigmoid, Tanh, Softplus, Arctan, Erf, Identity, Sin, Silu, Gelu)

NAMES = tuple(kind.name for kind in _CLASSES)
"""Names that `get` accepts."""

REFUSED = "relu leaky_relu prelu relu6 selu hardtanh hard_tanh hard_sigmoid hard_swish hardshrink softshrink".split()
"""Activations whose phi' jumps, so that B2 = Lip(phi') does not exist."""


def get(activation: str | Activation) -> Activation:
    """Look an activation up by name; check the derivative of an object of your own and return it.

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
    raise InputError(f"activation {activation!r} is unknown: {choice}, or give an Activation object")
