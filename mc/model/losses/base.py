"""What a loss is, and what is known of one of the user's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mc.model.arrays import Array

_LOG_NORM = (-700.0, 700.0)  # where an own loss's bound is inverted: all norms a double holds


class Loss(ABC):
    """A loss with the KL property; subclass it for one's own.

    A subclass gives the six abstract functions and should give `value_upper`: without it the probability bounds of
    theory §7, which know only the norm of the initial residual, are vacuous.

    Attributes
    ----------
    kind : str
        Registry name, or any name of the user's own.
    p : float
        Growth exponent; 2 except for `power`.
    """

    kind: str = "custom"
    p: float = 2.0
    radial: bool = False
    """Whether L depends on |e| alone."""
    quadratic: bool = False
    """Whether the Hessian is the identity."""
    convex: bool = False
    """Whether L is known to be convex (theory §3.5, §7.4)."""

    @property
    def name(self) -> str:
        """Name with its parameter, such as ``power(4)``."""
        return self.kind

    @abstractmethod
    def value(self, e: ArrayLike) -> Array:
        """L at the residual `e`, shape (..., m) -> (...)."""

    @abstractmethod
    def gradient(self, e: ArrayLike) -> Array:
        """Gradient of L at the residual `e`, shape (..., m) -> (..., m), always a new array."""

    def hessian(self, e: ArrayLike) -> Array:
        """Hessian of L at the residual `e`, (..., m) -> (..., m, m); by differences unless a subclass knows it."""
        e = as_float(e)
        step = 1e-5 * (1.0 + np.abs(e).max(axis=-1, keepdims=True))
        columns = [
            (self.gradient(e + step * unit) - self.gradient(e - step * unit)) / (2.0 * step)
            for unit in np.eye(e.shape[-1])
        ]
        hessian = np.stack(columns, axis=-1)
        return result(0.5 * (hessian + hessian.swapaxes(-1, -2)))

    @abstractmethod
    def psi(self, s: ArrayLike) -> Array:
        """Desingularizer psi(s), s >= 0, elementwise (theory §2): psi(0) = 0, psi(inf) = inf."""

    @abstractmethod
    def psi_inverse(self, c: ArrayLike) -> Array:
        """Loss s at which psi(s) = c, c >= 0, elementwise."""

    @abstractmethod
    def Psi(self, s: ArrayLike) -> Array:
        """Primitive of -(psi')^2 at s >= 0, elementwise (theory §2): decreasing, Psi(0) = +inf."""

    @abstractmethod
    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Loss s at which Psi(s) = xi, elementwise: Psi_inverse(+inf) = 0."""

    def value_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Upper bound of L over residuals of norm `residual_norm` in R^m, elementwise; +inf where none is known."""
        return np.full_like(as_float(residual_norm), np.inf)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Upper bound of psi(L) over residuals of norm `residual_norm` in R^m, elementwise (theory §7.3)."""
        return self.psi(self.value_upper(residual_norm, m))

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> Array:
        """Largest residual norm with ``psi_upper(norm, m) <= c``, elementwise; by bisection here, from below."""
        bound = as_float(c)
        low, high = np.full_like(bound, _LOG_NORM[0]), np.full_like(bound, _LOG_NORM[1])
        for _ in range(64):
            middle = 0.5 * (low + high)
            fits = self.psi_upper(np.exp(middle), m) <= bound
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return np.where(low > _LOG_NORM[0], np.exp(low), 0.0)

    def psi_slope(self, m: int) -> float:
        """Lipschitz constant of e -> psi(L(e)) over R^m: what an error of e adds to psi; +inf where none is known."""
        return math.inf

    def psi_of(self, e: ArrayLike) -> Array:
        """psi(L) at the residual `e`, (..., m) -> (...): without the detour through L where that loses digits."""
        return self.psi(self.value(e))

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """Upper bound of the Hessian's norm over losses up to the one with the psi given (theory §9); +inf: unknown."""
        return np.full_like(as_float(psi), np.inf)

    def slope_upper(self, psi: ArrayLike) -> Array:
        """Upper bound of |grad L| over losses up to the one with the psi given (theory §9); +inf: unknown."""
        return np.full_like(as_float(psi), np.inf)

    def __repr__(self) -> str:
        return f"<Loss {self.name}>"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.name))


def as_float(x: ArrayLike) -> Array:
    """x as float64, without a copy where it is."""
    return np.asarray(x, dtype=np.float64)


def result(x: Any) -> Array:
    """Type of a numpy expression, which the stubs leave open."""
    out: Array = x
    return out
