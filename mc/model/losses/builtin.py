"""The losses of theory §2: mean square, power and log-cosh."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.model.arrays import Array
from mc.model.losses.base import Loss, as_float, result


class NormPower(Loss):
    """A multiple of a power of |e|: the KL inequality is an equality, psi(L) = |e| (theory §2)."""

    radial = True
    convex = True

    def psi_of(self, e: ArrayLike) -> Array:
        """|e|."""
        return result(np.linalg.norm(as_float(e), axis=-1))

    def value_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """L at that norm, exactly."""
        return self.psi_inverse(residual_norm)

    def psi_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """|e|, exactly."""
        return result(as_float(residual_norm).copy())

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> Array:
        """c, exactly."""
        return result(as_float(c).copy())

    def psi_slope(self, m: int) -> float:
        """1: psi(L(e)) = |e|."""
        return 1.0


class MeanSquare(NormPower):
    """L = |e|^2 / 2: the KL inequality is an equality, psi(L) = |e| (theory §2)."""

    kind = "mse"
    quadratic = True

    def value(self, e: ArrayLike) -> Array:
        """|e|^2 / 2, shape (..., m) -> (...)."""
        return 0.5 * square_norm(as_float(e))

    def gradient(self, e: ArrayLike) -> Array:
        """Residual e itself, shape (..., m) -> (..., m), a copy."""
        return np.array(e, dtype=np.float64)

    def hessian(self, e: ArrayLike) -> Array:
        """Identity."""
        residual = as_float(e)
        return np.broadcast_to(np.eye(residual.shape[-1]), (*residual.shape, residual.shape[-1])).copy()

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """1."""
        return np.ones_like(as_float(psi))

    def slope_upper(self, psi: ArrayLike) -> Array:
        """psi itself."""
        return result(as_float(psi).copy())

    def psi(self, s: ArrayLike) -> Array:
        """Square root of 2 s."""
        return result(np.sqrt(2.0 * as_float(s)))

    def psi_inverse(self, c: ArrayLike) -> Array:
        """c^2 / 2."""
        return result(0.5 * np.square(as_float(c)))

    def Psi(self, s: ArrayLike) -> Array:
        """-log(s) / 2."""
        with np.errstate(divide="ignore"):
            return result(-0.5 * np.log(as_float(s)))

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Exponential of -2 xi."""
        with np.errstate(over="ignore"):
            return result(np.exp(-2.0 * as_float(xi)))


class Power(NormPower):
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

    def __init__(self, p: float) -> None:
        self.p = checked_exponent(p)
        if self.p == 2.0:
            raise InputError("loss.p = 2 is the loss of kind 'mse': ask for that one")

    @property
    def name(self) -> str:
        """``power(p)``."""
        return f"power({str(self.p).removesuffix('.0')})"  # all digits: the name tells exponents apart

    def value(self, e: ArrayLike) -> Array:
        """|e|^p / p, shape (..., m) -> (...)."""
        return result(square_norm(as_float(e)) ** (0.5 * self.p) / self.p)

    def gradient(self, e: ArrayLike) -> Array:
        """|e|^(p-2) e, shape (..., m) -> (..., m); 0 at e = 0."""
        residual = as_float(e)
        scale = square_norm(residual) ** (0.5 * (self.p - 2.0))
        return result(residual * scale[..., np.newaxis])

    def hessian(self, e: ArrayLike) -> Array:
        """|e|^(p-2) (I + (p-2) e e^T/|e|^2); 0 at e = 0."""
        residual = as_float(e)
        square = square_norm(residual)[..., np.newaxis, np.newaxis]
        outer = residual[..., :, np.newaxis] * residual[..., np.newaxis, :] / np.fmax(square, 1e-300)
        eye = np.eye(residual.shape[-1])
        return result(square ** (0.5 * (self.p - 2.0)) * (eye + (self.p - 2.0) * outer))

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """(p - 1) psi^(p-2)."""
        return result((self.p - 1.0) * as_float(psi) ** (self.p - 2.0))

    def slope_upper(self, psi: ArrayLike) -> Array:
        """psi^(p-1)."""
        return result(as_float(psi) ** (self.p - 1.0))

    def psi(self, s: ArrayLike) -> Array:
        """(p s)^(1/p)."""
        return result((self.p * as_float(s)) ** (1.0 / self.p))

    def psi_inverse(self, c: ArrayLike) -> Array:
        """c^p / p."""
        return result(as_float(c) ** self.p / self.p)

    def Psi(self, s: ArrayLike) -> Array:
        """(p s)^(-(p-2)/p) / (p-2)."""
        with np.errstate(divide="ignore"):
            return result((self.p * as_float(s)) ** (-(self.p - 2.0) / self.p) / (self.p - 2.0))

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Loss s at which Psi(s) = xi; +inf for xi <= 0, below the range of Psi, where xi bounds nothing."""
        scaled = (self.p - 2.0) * np.maximum(as_float(xi), 0.0)
        with np.errstate(divide="ignore", over="ignore"):
            return result(scaled ** (-self.p / (self.p - 2.0)) / self.p)


class LogCosh(Loss):
    """L = sum log cosh e_i, quadratic near zero and linear far away, psi(L) = arccosh(exp L) >= |e| (theory §2)."""

    kind = "logcosh"
    convex = True

    def value(self, e: ArrayLike) -> Array:
        """Sum of log cosh e_i, shape (..., m) -> (...)."""
        return result(_log_cosh(as_float(e)).sum(axis=-1))

    def gradient(self, e: ArrayLike) -> Array:
        """Hyperbolic tangent of e_i, shape (..., m) -> (..., m)."""
        return result(np.tanh(as_float(e)))

    def hessian(self, e: ArrayLike) -> Array:
        """1 - tanh(e_i)^2 on the diagonal."""
        residual = as_float(e)
        slope = np.tanh(residual)
        return result((1.0 - slope * slope)[..., :, np.newaxis] * np.eye(residual.shape[-1]))

    def curvature_upper(self, psi: ArrayLike) -> Array:
        """1."""
        return np.ones_like(as_float(psi))

    def slope_upper(self, psi: ArrayLike) -> Array:
        """|tanh e| <= |e| <= psi."""
        return result(as_float(psi).copy())

    def psi(self, s: ArrayLike) -> Array:
        """Inverse hyperbolic cosine of exp s."""
        loss = as_float(s)
        return result(loss + np.log1p(np.sqrt(-np.expm1(-2.0 * loss))))

    def psi_inverse(self, c: ArrayLike) -> Array:
        """Logarithm of cosh c."""
        return result(_log_cosh(as_float(c)))

    def Psi(self, s: ArrayLike) -> Array:
        """-log(exp(2 s) - 1) / 2."""
        loss = as_float(s)
        with np.errstate(divide="ignore"):
            return result(-loss - 0.5 * np.log(-np.expm1(-2.0 * loss)))

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        """Half of log(1 + exp(-2 xi))."""
        return result(0.5 * np.logaddexp(0.0, -2.0 * as_float(xi)))

    def value_upper(self, residual_norm: ArrayLike, m: int) -> Array:
        """Bound m log cosh(|e| / sqrt m), attained at equal components."""
        # log cosh sqrt(x) is concave: at a given norm the sum is largest at equal components
        return result(m * _log_cosh(as_float(residual_norm) / math.sqrt(m)))

    def psi_upper_inverse(self, c: ArrayLike, m: int) -> Array:
        """Norm of equal components at which psi is c."""
        return result(math.sqrt(m) * self.psi(self.psi_inverse(c) / m))

    def psi_slope(self, m: int) -> float:
        """Square root of m, approached at large equal components."""
        # |grad psi(L)|^2 = sum tanh^2 e_i/(1 - prod sech^2 e_i), and the denominator is at least max tanh^2 e_i
        return math.sqrt(m)


def checked_exponent(p: object) -> float:
    """`p` as a float if it is a finite number of at least 2, else InputError."""
    if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)):
        raise InputError(f"loss.p = {p!r} must be a number of at least 2")
    number = float(p)
    if not (math.isfinite(number) and number >= 2.0):
        raise InputError(f"loss.p = {number:g} must be a finite number of at least 2")
    return number


def square_norm(e: Array) -> Array:
    """Sum of squares over the last axis."""
    return result(np.einsum("...i,...i->...", e, e))


def _log_cosh(x: Array) -> Array:
    """Logarithm of cosh x without overflow and without cancellation at small x (theory §2)."""
    size = np.abs(x)
    near = 0.5 * np.log1p(np.square(np.sinh(np.minimum(size, 1.0))))
    far = size + np.log1p(np.exp(-2.0 * size)) - math.log(2.0)
    return np.where(size <= 1.0, near, far)
