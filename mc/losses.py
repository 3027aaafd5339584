"""Losses with the Kurdyka-Lojasiewicz property: value, gradient, desingularizer psi and its companion Psi (theory §2).

A loss is a function of the residual e = v - y, whose last axis has the m observations; every leading axis is a batch.
psi is the desingularizer, Psi a primitive of -(psi')^2: along the flow psi(L) pays for the path, Psi(L) for the time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mc.errors import InputError

FloatArray = NDArray[np.float64]

_LOG_NORM = (-700.0, 700.0)  # where an own loss's bound is inverted: all norms a double holds

NAMES: tuple[str, ...] = ("mse", "power", "logcosh")


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

    @property
    def name(self) -> str:
        """Name with its parameter, such as ``power(4)``."""
        return self.kind

    @abstractmethod
    def value(self, e: ArrayLike) -> FloatArray:
        """L at the residual `e`, shape (..., m) -> (...)."""

    @abstractmethod
    def gradient(self, e: ArrayLike) -> FloatArray:
        """Gradient of L at the residual `e`, shape (..., m) -> (..., m), always a new array."""

    def hessian(self, e: ArrayLike) -> FloatArray:
        """Hessian of L at the residual `e`, (..., m) -> (..., m, m); by differences unless a subclass knows it."""
        e = _float(e)
        step = 1e-5 * (1.0 + np.abs(e).max(axis=-1, keepdims=True))
        columns = [
            (self.gradient(e + step * unit) - self.gradient(e - step * unit)) / (2.0 * step)
            for unit in np.eye(e.shape[-1])
        ]
        hessian = np.stack(columns, axis=-1)
        return _result(0.5 * (hessian + hessian.swapaxes(-1, -2)))

    @abstractmethod
    def psi(self, s: ArrayLike) -> FloatArray:
        """Desingularizer psi(s), s >= 0, elementwise (theory §2): psi(0) = 0, psi(inf) = inf."""

    @abstractmethod
    def psi_inverse(self, c: ArrayLike) -> FloatArray:
        """Loss s at which psi(s) = c, c >= 0, elementwise."""

    @abstractmethod
    def Psi(self, s: ArrayLike) -> FloatArray:
        """Primitive of -(psi')^2 at s >= 0, elementwise (theory §2): decreasing, Psi(0) = +inf."""

    @abstractmethod
    def Psi_inverse(self, xi: ArrayLike) -> FloatArray:
        """Loss s at which Psi(s) = xi, elementwise: Psi_inverse(+inf) = 0."""

    def value_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """Upper bound of L over residuals of norm `residual_norm` in R^m, elementwise; +inf where none is known."""
        return np.full_like(_float(residual_norm), np.inf)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """Upper bound of psi(L) over residuals of norm `residual_norm` in R^m, elementwise (theory §7.3)."""
        return self.psi(self.value_upper(residual_norm, m))

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> FloatArray:
        """Largest residual norm with ``psi_upper(norm, m) <= c``, elementwise; by bisection here, from below."""
        bound = _float(c)
        low, high = np.full_like(bound, _LOG_NORM[0]), np.full_like(bound, _LOG_NORM[1])
        for _ in range(64):
            middle = 0.5 * (low + high)
            fits = self.psi_upper(np.exp(middle), m) <= bound
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return np.where(low > _LOG_NORM[0], np.exp(low), 0.0)

    def psi_slope(self, m: int) -> float:
        """Lipschitz constant of e -> psi(L(e)) over R^m: what an error of e adds to psi; +inf where none is known."""
        return math.inf

    def psi_of(self, e: ArrayLike) -> FloatArray:
        """psi(L) at the residual `e`, (..., m) -> (...): without the detour through L where that loses digits."""
        return self.psi(self.value(e))

    def curvature_upper(self, psi: ArrayLike) -> FloatArray:
        """Upper bound of the Hessian's norm over losses up to the one with the psi given (theory §9); +inf: unknown."""
        return np.full_like(_float(psi), np.inf)

    def slope_upper(self, psi: ArrayLike) -> FloatArray:
        """Upper bound of |grad L| over losses up to the one with the psi given (theory §9); +inf: unknown."""
        return np.full_like(_float(psi), np.inf)

    def __repr__(self) -> str:
        return f"<Loss {self.name}>"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.name))


class MeanSquare(Loss):
    """L = |e|^2 / 2: the KL inequality is an equality, psi(L) = |e| (theory §2)."""

    kind = "mse"
    radial = True
    quadratic = True

    def value(self, e: ArrayLike) -> FloatArray:
        """|e|^2 / 2, shape (..., m) -> (...)."""
        return 0.5 * _square_norm(_float(e))

    def gradient(self, e: ArrayLike) -> FloatArray:
        """Residual e itself, shape (..., m) -> (..., m), a copy."""
        return np.array(e, dtype=np.float64)

    def hessian(self, e: ArrayLike) -> FloatArray:
        """Identity."""
        residual = _float(e)
        return np.broadcast_to(np.eye(residual.shape[-1]), (*residual.shape, residual.shape[-1])).copy()

    def psi_of(self, e: ArrayLike) -> FloatArray:
        """|e|."""
        return _result(np.linalg.norm(_float(e), axis=-1))

    def curvature_upper(self, psi: ArrayLike) -> FloatArray:
        """1."""
        return np.ones_like(_float(psi))

    def slope_upper(self, psi: ArrayLike) -> FloatArray:
        """psi itself."""
        return _result(_float(psi).copy())

    def psi(self, s: ArrayLike) -> FloatArray:
        """Square root of 2 s."""
        return _result(np.sqrt(2.0 * _float(s)))

    def psi_inverse(self, c: ArrayLike) -> FloatArray:
        """c^2 / 2."""
        return _result(0.5 * np.square(_float(c)))

    def Psi(self, s: ArrayLike) -> FloatArray:
        """-log(s) / 2."""
        with np.errstate(divide="ignore"):
            return _result(-0.5 * np.log(_float(s)))

    def Psi_inverse(self, xi: ArrayLike) -> FloatArray:
        """Exponential of -2 xi."""
        with np.errstate(over="ignore"):
            return _result(np.exp(-2.0 * _float(xi)))

    def value_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """|e|^2 / 2, exactly."""
        return self.psi_inverse(residual_norm)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """|e|, exactly."""
        return _result(_float(residual_norm).copy())

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> FloatArray:
        """c, exactly."""
        return _result(_float(c).copy())

    def psi_slope(self, m: int) -> float:
        """1: psi(L(e)) = |e|."""
        return 1.0


class Power(Loss):
    """L = |e|^p / p with p > 2: the KL inequality is an equality, psi(L) = |e| (theory §2).

    Parameters
    ----------
    p : float
        Exponent, finite and above 2 (2 itself is `mse`: Psi has another form there).

    Raises
    ------
    InputError
        If `p` is not a finite number above 2.
    """

    kind = "power"
    radial = True

    def __init__(self, p: float) -> None:
        self.p = _exponent(p)
        if self.p == 2.0:
            raise InputError("loss.p = 2 is the loss of kind 'mse': ask for that one")

    @property
    def name(self) -> str:
        """``power(p)``."""
        return f"power({str(self.p).removesuffix('.0')})"  # all digits: the name tells exponents apart

    def value(self, e: ArrayLike) -> FloatArray:
        """|e|^p / p, shape (..., m) -> (...)."""
        return _result(_square_norm(_float(e)) ** (0.5 * self.p) / self.p)

    def gradient(self, e: ArrayLike) -> FloatArray:
        """|e|^(p-2) e, shape (..., m) -> (..., m); 0 at e = 0."""
        residual = _float(e)
        scale = _square_norm(residual) ** (0.5 * (self.p - 2.0))
        return _result(residual * scale[..., np.newaxis])

    def hessian(self, e: ArrayLike) -> FloatArray:
        """|e|^(p-2) (I + (p-2) e e^T/|e|^2); 0 at e = 0."""
        residual = _float(e)
        square = _square_norm(residual)[..., np.newaxis, np.newaxis]
        outer = residual[..., :, np.newaxis] * residual[..., np.newaxis, :] / np.fmax(square, 1e-300)
        eye = np.eye(residual.shape[-1])
        return _result(square ** (0.5 * (self.p - 2.0)) * (eye + (self.p - 2.0) * outer))

    def psi_of(self, e: ArrayLike) -> FloatArray:
        """|e|."""
        return _result(np.linalg.norm(_float(e), axis=-1))

    def curvature_upper(self, psi: ArrayLike) -> FloatArray:
        """(p - 1) psi^(p-2)."""
        return _result((self.p - 1.0) * _float(psi) ** (self.p - 2.0))

    def slope_upper(self, psi: ArrayLike) -> FloatArray:
        """psi^(p-1)."""
        return _result(_float(psi) ** (self.p - 1.0))

    def psi(self, s: ArrayLike) -> FloatArray:
        """(p s)^(1/p)."""
        return _result((self.p * _float(s)) ** (1.0 / self.p))

    def psi_inverse(self, c: ArrayLike) -> FloatArray:
        """c^p / p."""
        return _result(_float(c) ** self.p / self.p)

    def Psi(self, s: ArrayLike) -> FloatArray:
        """(p s)^(-(p-2)/p) / (p-2)."""
        with np.errstate(divide="ignore"):
            return _result((self.p * _float(s)) ** (-(self.p - 2.0) / self.p) / (self.p - 2.0))

    def Psi_inverse(self, xi: ArrayLike) -> FloatArray:
        """Loss s at which Psi(s) = xi; +inf for xi <= 0, below the range of Psi, where xi bounds nothing."""
        scaled = (self.p - 2.0) * np.maximum(_float(xi), 0.0)
        with np.errstate(divide="ignore", over="ignore"):
            return _result(scaled ** (-self.p / (self.p - 2.0)) / self.p)

    def value_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """|e|^p / p, exactly."""
        return self.psi_inverse(residual_norm)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """|e|, exactly."""
        return _result(_float(residual_norm).copy())

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> FloatArray:
        """c, exactly."""
        return _result(_float(c).copy())

    def psi_slope(self, m: int) -> float:
        """1: psi(L(e)) = |e|."""
        return 1.0


class LogCosh(Loss):
    """L = sum log cosh e_i, quadratic near zero and linear far away, psi(L) = arccosh(exp L) >= |e| (theory §2)."""

    kind = "logcosh"

    def value(self, e: ArrayLike) -> FloatArray:
        """Sum of log cosh e_i, shape (..., m) -> (...)."""
        return _result(_log_cosh(_float(e)).sum(axis=-1))

    def gradient(self, e: ArrayLike) -> FloatArray:
        """Hyperbolic tangent of e_i, shape (..., m) -> (..., m)."""
        return _result(np.tanh(_float(e)))

    def hessian(self, e: ArrayLike) -> FloatArray:
        """1 - tanh(e_i)^2 on the diagonal."""
        residual = _float(e)
        slope = np.tanh(residual)
        return _result((1.0 - slope * slope)[..., :, np.newaxis] * np.eye(residual.shape[-1]))

    def curvature_upper(self, psi: ArrayLike) -> FloatArray:
        """1."""
        return np.ones_like(_float(psi))

    def slope_upper(self, psi: ArrayLike) -> FloatArray:
        """|tanh e| <= |e| <= psi."""
        return _result(_float(psi).copy())

    def psi(self, s: ArrayLike) -> FloatArray:
        """Inverse hyperbolic cosine of exp s."""
        loss = _float(s)
        return _result(loss + np.log1p(np.sqrt(-np.expm1(-2.0 * loss))))

    def psi_inverse(self, c: ArrayLike) -> FloatArray:
        """Logarithm of cosh c."""
        return _result(_log_cosh(_float(c)))

    def Psi(self, s: ArrayLike) -> FloatArray:
        """-log(exp(2 s) - 1) / 2."""
        loss = _float(s)
        with np.errstate(divide="ignore"):
            return _result(-loss - 0.5 * np.log(-np.expm1(-2.0 * loss)))

    def Psi_inverse(self, xi: ArrayLike) -> FloatArray:
        """Half of log(1 + exp(-2 xi))."""
        return _result(0.5 * np.logaddexp(0.0, -2.0 * _float(xi)))

    def value_upper(self, residual_norm: ArrayLike, m: int) -> FloatArray:
        """Bound m log cosh(|e| / sqrt m), attained at equal components."""
        # log cosh sqrt(x) is concave: at a given norm the sum is largest at equal components
        return _result(m * _log_cosh(_float(residual_norm) / math.sqrt(m)))

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> FloatArray:
        """Norm of equal components at which psi is c."""
        return _result(math.sqrt(m) * self.psi(self.psi_inverse(c) / m))

    def psi_slope(self, m: int) -> float:
        """Square root of m, approached at large equal components."""
        # |grad psi(L)|^2 = sum tanh^2 e_i/(1 - prod sech^2 e_i), and the denominator is at least max tanh^2 e_i
        return math.sqrt(m)


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
    exponent = 2.0 if p is None else _exponent(p)
    if kind == "power":
        return MeanSquare() if exponent == 2.0 else Power(exponent)
    if exponent != 2.0:
        raise InputError(f"loss.p = {exponent:g} is only for loss.kind = 'power': remove it or change the kind")
    return MeanSquare() if kind == "mse" else LogCosh()


def _exponent(p: object) -> float:
    """`p` as a float if it is a finite number of at least 2, else InputError."""
    if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)):
        raise InputError(f"loss.p = {p!r} must be a number of at least 2")
    number = float(p)
    if not (math.isfinite(number) and number >= 2.0):
        raise InputError(f"loss.p = {number:g} must be a finite number of at least 2")
    return number


def _float(x: ArrayLike) -> FloatArray:
    return np.asarray(x, dtype=np.float64)


def _result(x: Any) -> FloatArray:
    """Type of a numpy expression, which the stubs leave open."""
    out: FloatArray = x
    return out


def _square_norm(e: FloatArray) -> FloatArray:
    return _result(np.einsum("...i,...i->...", e, e))


def _log_cosh(x: FloatArray) -> FloatArray:
    """Logarithm of cosh x without overflow and without cancellation at small x (theory §2)."""
    size = np.abs(x)
    near = 0.5 * np.log1p(np.square(np.sinh(np.minimum(size, 1.0))))
    far = size + np.log1p(np.exp(-2.0 * size)) - math.log(2.0)
    return np.where(size <= 1.0, near, far)
