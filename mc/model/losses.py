"""Losses with the Kurdyka-Lojasiewicz property: value, gradient, desingularizer psi and its companion Psi (theory §2).

A loss is a function of the residual e = v - y, whose last axis has the m observations; every leading axis is a batch.
psi is the desingularizer, Psi a primitive of -(psi')^2: along the flow psi(L) pays for the path, Psi(L) for the time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.model.arrays import Array, as_float

NAMES: tuple[str, ...] = ("mse", "power", "logcosh")

_LOG_NORM = (-700.0, 700.0)  # logarithms of the norms that a double holds, between which a bound is inverted


def get(kind: str | Loss, p: float | None = None) -> Loss:
    """Look a loss up by name.

    Parameters
    ----------
    kind : str or Loss
        One of `NAMES`; a Loss object is returned as it is.
    p : float, optional
        Exponent of `power` (p = 2 gives `mse`); the others accept only 2.

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


def checked_exponent(p: object) -> float:
    """Return `p` as a float; raise InputError unless it is a finite number of at least 2."""
    if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)):
        raise InputError(f"loss.p = {p!r} must be a number of at least 2")
    number = float(p)
    if not (math.isfinite(number) and number >= 2.0):
        raise InputError(f"loss.p = {number:g} must be a finite number of at least 2")
    return number


class Loss(ABC):
    """A loss with the KL property; subclass it for a loss of your own.

    A subclass gives the six abstract functions and should give `value_upper`: without it the probability bounds of
    theory §7, which know only the norm of the initial residual, are vacuous.
    """

    kind: str = "custom"
    """Registry name, or any name of your own."""
    p: float = 2.0
    """Growth exponent; 2 except for `power`."""
    radial: bool = False
    """Whether L depends on |e| alone."""
    quadratic: bool = False
    """Whether the Hessian is the identity."""
    convex: bool = False
    """Whether L is known to be convex (theory §3.5, §7.4)."""

    @property
    def name(self) -> str:
        """Return the name with its parameter, such as ``power(4)``."""
        return self.kind

    @abstractmethod
    def value(self, e: ArrayLike) -> Array:
        """Return L at the residual `e`, shape (..., m) -> (...)."""

    @abstractmethod
    def gradient(self, e: ArrayLike) -> Array:
        """Return the gradient of L at the residual `e`, shape (..., m) -> (..., m), always a new array."""

    def hessian(self, e: ArrayLike) -> Array:
        """Return the Hessian of L at `e`, (..., m) -> (..., m, m), by differences unless a subclass knows it."""
        e = as_float(e)
        step = 1e-5 * (1.0 + np.abs(e).max(axis=-1, keepdims=True))
        columns = [
            (self.gradient(e + step * unit) - self.gradient(e - step * unit)) / (2.0 * step)
            for unit in np.eye(e.shape[-1])
        ]
        hessian: Array = np.stack(columns, axis=-1)
        return 0.5 * (hessian + hessian.swapaxes(-1, -2))

    @abstractmethod
    def psi(self, s: ArrayLike) -> Array:
        """Return the desingularizer psi(s), s >= 0, elementwise (theory §2): psi(0) = 0, psi(inf) = inf."""

    @abstractmethod
    def psi_inverse(self, c: ArrayLike) -> Array:
        """Return the loss s at which psi(s) = c, c >= 0, elementwise."""

    @abstractmethod
    def Psi(self, s: ArrayLike) -> Array:
        """Return the primitive of -(psi')^2 at s >= 0, elementwise (theory §2): decreasing, Psi(0) = +inf."""

    @abstractmethod
    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Return the loss s at which Psi(s) = xi, elementwise: Psi_inverse(+inf) = 0."""

    def value_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Return an upper bound of L over residuals of this norm in R^m, elementwise; +inf where none is known."""
        return np.full_like(as_float(residual_norm), np.inf)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Return an upper bound of psi(L) over residuals of this norm in R^m, elementwise (theory §7.3)."""
        return self.psi(self.value_upper(residual_norm, m))

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> Array:
        """Return the largest residual norm with ``psi_upper(norm, m) <= c``, elementwise; by bisection, from below."""
        bound = as_float(c)
        low, high = np.full_like(bound, _LOG_NORM[0]), np.full_like(bound, _LOG_NORM[1])
        for _ in range(64):
            middle = 0.5 * (low + high)
            fits = self.psi_upper(np.exp(middle), m) <= bound
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return np.where(low > _LOG_NORM[0], np.exp(low), 0.0)

    def psi_slope(self, m: int) -> float:
        """Return a Lipschitz constant of e -> psi(L(e)) over R^m; +inf where none is known."""
        return math.inf

    def psi_of(self, e: ArrayLike) -> Array:
        """Return psi(L) at the residual `e`, (..., m) -> (...), without L in between where that loses digits."""
        return self.psi(self.value(e))

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """Bound the norm of the Hessian over losses up to the one with this psi (theory §9); +inf where unknown."""
        return np.full_like(as_float(psi), np.inf)

    def slope_upper(self, psi: ArrayLike) -> Array:
        """Bound |grad L| over losses up to the one with this psi (theory §9); +inf where unknown."""
        return np.full_like(as_float(psi), np.inf)

    def __repr__(self) -> str:
        return f"<Loss {self.name}>"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.name))


class NormPower(Loss):
    """A multiple of a power of |e|: the KL inequality is an equality, psi(L) = |e| (theory §2)."""

    radial = True
    convex = True

    def psi_of(self, e: ArrayLike) -> Array:
        """Return |e|."""
        norm: Array = np.linalg.norm(as_float(e), axis=-1)
        return norm

    def value_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Return L at that norm, exactly."""
        return self.psi_inverse(residual_norm)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Return |e|, exactly."""
        return as_float(residual_norm).copy()

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> Array:
        """Return c, exactly."""
        return as_float(c).copy()

    def psi_slope(self, m: int) -> float:
        """Return 1: psi(L(e)) = |e|."""
        return 1.0


class MeanSquare(NormPower):
    """L = |e|^2 / 2 (theory §2)."""

    kind = "mse"
    quadratic = True

    def value(self, e: ArrayLike) -> Array:
        """Return |e|^2 / 2."""
        return 0.5 * _square_norm(as_float(e))

    def gradient(self, e: ArrayLike) -> Array:
        """Return a copy of e."""
        return np.array(e, dtype=np.float64)

    def hessian(self, e: ArrayLike) -> Array:
        """Return the identity."""
        residual = as_float(e)
        return np.broadcast_to(np.eye(residual.shape[-1]), (*residual.shape, residual.shape[-1])).copy()

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """Return 1."""
        return np.ones_like(as_float(psi))

    def slope_upper(self, psi: ArrayLike) -> Array:
        """Return psi itself."""
        return as_float(psi).copy()

    def psi(self, s: ArrayLike) -> Array:
        """Return the square root of 2 s."""
        return np.sqrt(2.0 * as_float(s))

    def psi_inverse(self, c: ArrayLike) -> Array:
        """Return c^2 / 2."""
        return 0.5 * np.square(as_float(c))

    def Psi(self, s: ArrayLike) -> Array:
        """Return -log(s) / 2."""
        with np.errstate(divide="ignore"):
            return -0.5 * np.log(as_float(s))

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Return exp(-2 xi)."""
        with np.errstate(over="ignore"):
            return np.exp(-2.0 * as_float(xi))


class Power(NormPower):
    """L = |e|^p / p with a finite p > 2 (theory §2); InputError for any other p, also 2, where Psi has another form."""

    kind = "power"

    def __init__(self, p: float) -> None:
        self.p = checked_exponent(p)
        if self.p == 2.0:
            raise InputError("loss.p = 2 is the loss of kind 'mse': write kind = 'mse'")

    @property
    def name(self) -> str:
        """Return ``power(p)`` with all digits of p, so that the name tells exponents apart."""
        return f"power({str(self.p).removesuffix('.0')})"

    def value(self, e: ArrayLike) -> Array:
        """Return |e|^p / p."""
        return _square_norm(as_float(e)) ** (0.5 * self.p) / self.p

    def gradient(self, e: ArrayLike) -> Array:
        """Return |e|^(p-2) e; 0 at e = 0."""
        residual = as_float(e)
        scale = _square_norm(residual) ** (0.5 * (self.p - 2.0))
        return residual * scale[..., np.newaxis]

    def hessian(self, e: ArrayLike) -> Array:
        """Return |e|^(p-2) (I + (p-2) e e^T/|e|^2); 0 at e = 0."""
        residual = as_float(e)
        square = _square_norm(residual)[..., np.newaxis, np.newaxis]
        outer = residual[..., :, np.newaxis] * residual[..., np.newaxis, :] / np.fmax(square, 1e-300)
        eye = np.eye(residual.shape[-1])
        return square ** (0.5 * (self.p - 2.0)) * (eye + (self.p - 2.0) * outer)

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """Return (p - 1) psi^(p-2)."""
        return (self.p - 1.0) * as_float(psi) ** (self.p - 2.0)

    def slope_upper(self, psi: ArrayLike) -> Array:
        """Return psi^(p-1)."""
        return as_float(psi) ** (self.p - 1.0)

    def psi(self, s: ArrayLike) -> Array:
        """Return (p s)^(1/p)."""
        return (self.p * as_float(s)) ** (1.0 / self.p)

    def psi_inverse(self, c: ArrayLike) -> Array:
        """Return c^p / p."""
        return as_float(c) ** self.p / self.p

    def Psi(self, s: ArrayLike) -> Array:
        """Return (p s)^(-(p-2)/p) / (p-2)."""
        with np.errstate(divide="ignore"):
            return (self.p * as_float(s)) ** (-(self.p - 2.0) / self.p) / (self.p - 2.0)

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Return the loss s at which Psi(s) = xi; +inf for xi <= 0, below the range of Psi, where xi bounds nothing."""
        scaled = (self.p - 2.0) * np.maximum(as_float(xi), 0.0)
        with np.errstate(divide="ignore", over="ignore"):
            return scaled ** (-self.p / (self.p - 2.0)) / self.p


class LogCosh(Loss):
    """L = sum log cosh e_i, quadratic near zero and linear far away, psi(L) = arccosh(exp L) >= |e| (theory §2)."""

    kind = "logcosh"
    convex = True

    def value(self, e: ArrayLike) -> Array:
        """Return the sum of log cosh e_i."""
        total: Array = _log_cosh(as_float(e)).sum(axis=-1)
        return total

    def gradient(self, e: ArrayLike) -> Array:
        """Return tanh e_i."""
        return np.tanh(as_float(e))

    def hessian(self, e: ArrayLike) -> Array:
        """Return 1 - tanh(e_i)^2 on the diagonal."""
        residual = as_float(e)
        slope = np.tanh(residual)
        return (1.0 - slope * slope)[..., :, np.newaxis] * np.eye(residual.shape[-1])

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """Return 1."""
        return np.ones_like(as_float(psi))

    def slope_upper(self, psi: ArrayLike) -> Array:
        """Return psi >= |e| >= |tanh e|."""
        return as_float(psi).copy()

    def psi(self, s: ArrayLike) -> Array:
        """Return arccosh(exp s)."""
        loss = as_float(s)
        return loss + np.log1p(np.sqrt(-np.expm1(-2.0 * loss)))

    def psi_inverse(self, c: ArrayLike) -> Array:
        """Return log cosh c."""
        return _log_cosh(as_float(c))

    def Psi(self, s: ArrayLike) -> Array:
        """Return -log(exp(2 s) - 1) / 2."""
        loss = as_float(s)
        with np.errstate(divide="ignore"):
            return -loss - 0.5 * np.log(-np.expm1(-2.0 * loss))

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Return log(1 + exp(-2 xi)) / 2."""
        return 0.5 * np.logaddexp(0.0, -2.0 * as_float(xi))

    def value_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Return m log cosh(|e| / sqrt m), attained at equal components."""
        # log cosh sqrt(x) is concave: at a given norm the sum is largest at equal components
        return m * _log_cosh(as_float(residual_norm) / math.sqrt(m))

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> Array:
        """Return the norm of equal components at which psi is c."""
        return math.sqrt(m) * self.psi(self.psi_inverse(c) / m)

    def psi_slope(self, m: int) -> float:
        """Return sqrt m, approached at large equal components."""
        # |grad psi(L)|^2 = sum tanh^2 e_i/(1 - prod sech^2 e_i), and the denominator is at least max tanh^2 e_i
        return math.sqrt(m)


def _square_norm(e: Array) -> Array:
    """Return the sum of squares over the last axis."""
    square: Array = np.einsum("...i,...i->...", e, e)
    return square


def _log_cosh(x: Array) -> Array:
    """Return log cosh x without overflow and without cancellation at small x (theory §2)."""
    size = np.abs(x)
    near = 0.5 * np.log1p(np.square(np.sinh(np.minimum(size, 1.0))))
    far = size + np.log1p(np.exp(-2.0 * size)) - math.log(2.0)
    return np.where(size <= 1.0, near, far)
