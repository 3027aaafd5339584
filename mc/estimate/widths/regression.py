"""Logistic regression of a probability on log k with Firth's penalty: finite also where the data are separated.

The penalised likelihood is L(beta) |I(beta)|^(1/2) (Jeffreys' prior); it has a finite maximum whenever two widths have
trials (Kosmidis and Firth 2021). All functions take leading batch axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from mc.errors import InputError
from mc.model.arrays import Array

MOST_STEPS = 100
HALVINGS = 30
STEP = 1e-10
"""Size of the last step of both parameters, in units of eta."""


@dataclass(frozen=True)
class Fit:
    """A fitted curve logit P = intercept + slope (log k - centre)."""

    centre: float  # mean of log k over the widths with trials
    intercept: Array  # shape (...)
    slope: Array

    def log_width(self, p: float) -> Array:
        """Return log k*(p), shape (...); NaN where the fitted curve does not rise."""
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (math.log(p) - math.log1p(-p) - self.intercept) / self.slope
        return np.where(self.slope > 0.0, self.centre + distance, np.nan)


def _information(eta: Array, trials: Array, x: Array) -> tuple[Array, Array, Array, Array]:
    """Return weights, total weight, weighted mean of x and weighted spread: |I| is total times spread."""
    weight = trials * (expit(-eta) * expit(eta))
    total = weight.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.where(total > 0.0, (weight * x).sum(axis=-1) / total, 0.0)
    spread = (weight * np.square(x - middle[..., None])).sum(axis=-1)
    return weight, total, middle, spread


def objective(eta: Array, holds: Array, trials: Array, x: Array) -> Array:
    """Return the penalised log-likelihood, -inf where the information vanishes in double precision.

    `eta`, `holds` and `trials` have shape (..., K), `x` (log k) shape (K,).
    """
    fails = trials - holds
    with np.errstate(invalid="ignore"):  # 0 log 0 is 0
        parts = np.where(holds > 0.0, holds * log_expit(eta), 0.0) + np.where(fails > 0.0, fails * log_expit(-eta), 0.0)
    _, total, _, spread = _information(eta, trials, x)
    with np.errstate(divide="ignore"):
        penalised: Array = parts.sum(axis=-1) + 0.5 * (np.log(total) + np.log(spread))
    return penalised


def _step(eta: Array, holds: Array, trials: Array, x: Array) -> tuple[Array, Array]:
    """Return one step of iteratively reweighted least squares on the penalised score, in (intercept, slope)."""
    weight, total, middle, spread = _information(eta, trials, x)
    away = x - middle[..., None]
    hat = weight * (1.0 / total[..., None] + np.square(away) / spread[..., None])
    mean, rest = expit(eta), expit(-eta)
    score = holds * rest - (trials - holds) * mean + 0.5 * hat * (rest - mean)
    slope = (score * away).sum(axis=-1) / spread
    return score.sum(axis=-1) / total - slope * middle, slope


def fit_curve(widths: ArrayLike, holds: ArrayLike, trials: ArrayLike) -> Fit:
    """Fit probability curves to holds out of trials, shape (..., K), at widths of shape (K,).

    Holds may be half numbers. Widths without trials in every batch are left out; InputError if fewer than two remain.
    """
    y, m = np.broadcast_arrays(np.asarray(holds, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    seen = (m > 0).reshape(-1, m.shape[-1]).any(axis=0)
    if seen.sum() < 2:
        raise InputError("a curve needs trials at two widths at least: add widths, or read the exact intervals")
    y, m, x = y[..., seen], m[..., seen], np.log(np.asarray(widths, dtype=np.float64)[seen])
    centre = float(x.mean())
    z = x - centre

    def eta(a: Array, b: Array) -> Array:
        return a[..., None] + b[..., None] * z

    share = (y.sum(axis=-1) + 0.5) / (m.sum(axis=-1) + 1.0)
    a = np.asarray(np.log(share) - np.log1p(-share))  # a flat start at the overall frequency
    b = np.zeros_like(a)
    best = objective(eta(a, b), y, m, z)
    for _ in range(MOST_STEPS):
        da, db = _step(eta(a, b), y, m, z)
        size = np.ones_like(best)
        for _ in range(HALVINGS):
            value = objective(eta(a + size * da, b + size * db), y, m, z)
            # rounding of the likelihood: near the maximum a full step may lose its last digits
            worse = ~(value >= best - 1e-12 * np.abs(best))
            if not worse.any():
                break
            size = np.where(worse, 0.5 * size, size)
        size = np.where(worse, 0.0, size)
        a, b, best = a + size * da, b + size * db, np.where(worse, best, value)
        if np.max(size * (np.abs(da) + np.abs(db) * np.ptp(z)), initial=0.0) < STEP:
            break
    return Fit(centre, a, b)


def weighted_line(x: Array, y: Array, weight: Array) -> tuple[float, float, Array]:
    """Fit a straight line by weighted least squares; return slope, information sum w (x - mean)^2, and residuals."""
    centred = x - np.average(x, weights=weight)
    moment = float((weight * np.square(centred)).sum())
    slope = float((weight * centred * y).sum() / moment)
    return slope, moment, y - np.average(y, weights=weight) - slope * centred
