"""The events behind the probability bounds, each with its failure probability (theory §7.1-3).

Event 1: lambda_min(V Dphi^2 V^T/k) > (1 - eta) C_dphi^2. Events 2 and 4: s = |z|/sqrt k below and above its bounds.
Event 3: the initial residual below its bound, given s. Event i fails with probability at most delta_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from mc.errors import InputError
from mc.model.activations import Activation
from mc.model.arrays import Array
from mc.model.losses import Loss
from mc.theory.codes import FORMS, MODES

PUBLISHED_NOTE = "form as recalled, not transcribed"
"""Printed wherever the published form is attributed."""


@dataclass(frozen=True)
class Setting:
    """The quantities of a problem (A, xbar, eps) and a network on which the bounds depend."""

    n: int  # length of the signal
    m: int  # number of observations
    sigma_A: float  # smallest positive singular value of A
    norm_A: float  # operator norm of A
    frobenius_A: float
    frobenius_AAT: float  # Frobenius norm of A A^T
    norm_y: float
    loss: Loss
    activation: Activation
    entry_bound: float  # V_max; infinite for a law outside the theorem, whose bounds are vacuous
    subgaussian: bool  # whether E exp(t v) <= exp(t^2/2) for an entry v of V

    def __post_init__(self) -> None:
        for name in ("n", "m", "sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "entry_bound"):
            if not getattr(self, name) > 0:  # also NaN
                raise InputError(f"bounds: {name} = {getattr(self, name)!r} must be positive")
        if not self.norm_y >= 0:
            raise InputError(f"bounds: norm_y = {self.norm_y!r} must not be negative")


def published_width(mode: str, *, n: int, sigma_A: float, psi: float) -> float:
    """Return k/C' of the published condition, C' unstated: n (psi/sigma_A)^2 (`hidden`), ^4 (`both`) (theory §7)."""
    check_names(mode)
    return n * (psi / sigma_A) ** (2 if mode == "hidden" else 4)


def published_probability(mode: str, *, n: int, d: int) -> float:
    """Return 1 - 1/n - 1/d in `hidden`, 1 - 2/n - 1/d in `both` (theory §7); 0 (vacuous) where negative."""
    check_names(mode)
    return max(0.0, 1.0 - (1 if mode == "hidden" else 2) / n - 1.0 / d)


def chernoff_rate(eta: ArrayLike) -> Array:
    """Return eta + (1 - eta) log(1 - eta), without cancellation at small eta; 1 at eta = 1 (theory §7.1)."""
    x = np.asarray(eta, dtype=np.float64)
    series = np.zeros_like(x)
    for j in range(10, 1, -1):  # sum of eta^j / (j (j - 1)): the first term left out is below 1e-15 of the sum
        series = x * series + 1.0 / (j * (j - 1))
    return np.where(x < 0.02, x * x * series, x + special.xlog1py(1.0 - x, -x))


def chernoff_failure(
    k: ArrayLike, eta: ArrayLike, *, n: int, moment_dphi: float, sup_dphi: float, entry_bound: float
) -> Array:
    """Return delta_1 >= P(lambda_min(V Dphi^2 V^T/k) <= (1 - eta) C_dphi^2), at most 1 (theory §7.1).

    V has n rows; `moment_dphi`, `sup_dphi` and `entry_bound` are C_dphi, B1 and V_max; `k` and `eta` broadcast.
    """
    scale = (moment_dphi / (sup_dphi * entry_bound)) ** 2 / n
    return np.asarray(np.minimum(1.0, n * np.exp(-chernoff_rate(eta) * scale * np.asarray(k, dtype=np.float64))))


def _deviation(k: ArrayLike, delta: ArrayLike) -> Array:
    """Return sqrt(2 log(1/delta)/k) (Gaussian concentration, theory §7.2)."""
    with np.errstate(divide="ignore"):
        exponent = -2.0 * np.log(np.asarray(delta, dtype=np.float64))
    return np.asarray(np.sqrt(exponent / np.asarray(k, dtype=np.float64)))


def activation_norm_upper(
    k: ArrayLike, delta: ArrayLike, *, moment_phi: float, sup_dphi: float, sup_phi: float = math.inf
) -> Array:
    """Return a bound that |phi(h)|/sqrt k exceeds with probability <= `delta`; sup|phi| at delta = 0 (theory §7.2)."""
    return np.minimum(moment_phi + sup_dphi * _deviation(k, delta), sup_phi)


def activation_norm_lower(k: ArrayLike, delta: ArrayLike, *, moment_phi: float, sup_dphi: float) -> Array:
    """Return a bound >= 0 that |phi(h)|/sqrt k falls below with probability at most `delta` (theory §7.2)."""
    mean = np.sqrt(np.maximum(moment_phi**2 - sup_dphi**2 / np.asarray(k, dtype=np.float64), 0.0))
    return np.asarray(np.maximum(mean - sup_dphi * _deviation(k, delta), 0.0))


def initial_output_upper(
    activation_norm: ArrayLike,
    delta: ArrayLike,
    *,
    norm_A: float | Array,
    frobenius_A: float | Array,
    frobenius_AAT: float | Array,
    entry_bound: float,
    subgaussian: bool,
) -> Array:
    """Return a bound that |y(0)| exceeds with probability at most `delta`, given s = |z|/sqrt k (theory §7.3).

    `activation_norm` is s or a bound of s; the norms |A|, |A|_F and |A A^T|_F are of one problem or broadcast.
    The subgaussian form never exceeds that of a bounded law.
    """
    with np.errstate(divide="ignore"):
        tau = -np.log(np.asarray(delta, dtype=np.float64))
    if subgaussian:
        factor = np.sqrt(frobenius_A**2 + 2.0 * frobenius_AAT * np.sqrt(tau) + 2.0 * norm_A**2 * tau)
    else:
        factor = frobenius_A + 2.0 * math.sqrt(2.0) * entry_bound * norm_A * np.sqrt(tau)
    return np.asarray(np.asarray(activation_norm, dtype=np.float64) * factor)


def lipschitz(setting: Setting, mode: str, form: str, k: ArrayLike, radius: ArrayLike) -> Array:
    """Return Lip over the ball of this radius, with c_max <= sqrt(n) V_max in the form `trial` (theory §4)."""
    base, slope, square = _lipschitz_parts(setting, mode, form)
    b = base + slope * np.asarray(radius, dtype=np.float64)
    return np.asarray(0.5 * (b + np.sqrt(b * b + square)) / np.sqrt(np.asarray(k, dtype=np.float64)))


def largest_psi(setting: Setting, mode: str, form: str, k: ArrayLike, sigma_0: ArrayLike) -> Array:
    """Return the value that psi(L_0) must stay below for R' < R, given sigma_0 and the width (theory §4).

    R' < R reads 2 rho Lip_rho < sigma_0 at rho = R' = 2 psi/(sigma_A sigma_0): a quadratic in rho. The value is
    infinite where the Jacobian is constant.
    """
    sigma = np.asarray(sigma_0, dtype=np.float64)
    base, slope, square = _lipschitz_parts(setting, mode, form)
    scaled = sigma * np.sqrt(np.asarray(k, dtype=np.float64))
    denominator = base + np.sqrt(base * base + square + 2.0 * scaled * slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        psi = 0.5 * setting.sigma_A * sigma * scaled / denominator
    return np.where(scaled > 0.0, psi, 0.0)


def _lipschitz_parts(setting: Setting, mode: str, form: str) -> tuple[float, float, float]:
    """Return (base, slope, square): sqrt(k) Lip_rho = (b + sqrt(b^2 + square))/2 with b = base + slope rho."""
    check_names(mode, form)
    B1, B2, root_n = setting.activation.sup_dphi, setting.activation.lip_dphi, math.sqrt(setting.n)
    if form == "trial":
        column_norm = root_n * setting.entry_bound
        return (B2 * column_norm, 0.0, 0.0) if mode == "hidden" else (B2 * column_norm, B2, 4.0 * B1 * B1)
    bound = max(B1, B2) * root_n
    if mode == "hidden":
        return bound * setting.entry_bound, 0.0, 0.0
    return bound * (1.0 + 2.0 * setting.entry_bound), 2.0 * bound, 0.0


def check_names(mode: str, form: str = "trial") -> None:
    """Raise InputError for an unknown mode or form."""
    if mode not in MODES:
        raise InputError(f"mode = {mode!r} is unknown: choose one of {', '.join(MODES)}")
    if form not in FORMS:
        raise InputError(f"form = {form!r} is unknown: choose one of {', '.join(FORMS)}")
