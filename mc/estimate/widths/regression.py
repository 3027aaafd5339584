"""Binomial regression of a probability on log k with Firth's penalty: finite also where the data are separated.

The penalised likelihood is L(beta) |I(beta)|^(1/2) (Jeffreys' prior); it has a finite maximum for the logit, probit and
cloglog links whenever two widths have trials (Kosmidis and Firth 2021). All functions take leading batch axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.estimate.widths.links import Curvature, Link, get_link
from mc.model.arrays import Array, Mask

MOST_STEPS = 100
HALVINGS = 30
STEP = 1e-10
"""Size of the last step of both parameters, in units of eta."""


@dataclass(frozen=True)
class Fit:
    """A fitted curve g(P) = intercept + slope (log k - centre).

    Parameters
    ----------
    link : Link
    x : ndarray, shape (K,)
        log k of the widths that have trials.
    centre : float
        Mean of x.
    holds, trials : ndarray, shape (..., K)
    intercept, slope : ndarray, shape (...)
    objective : ndarray, shape (...)
        Penalised log-likelihood at its maximum.
    covariance : ndarray, shape (..., 2, 2)
        Inverse information of (intercept, slope), the widths taken as independent.
    """

    link: Link
    x: Array
    centre: float
    holds: Array
    trials: Array
    intercept: Array
    slope: Array
    objective: Array
    covariance: Array

    def log_width(self, p: float) -> Array:
        """log k*(p); NaN where the fitted curve does not rise."""
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (self.link.of(p) - self.intercept) / self.slope
        return np.where(self.slope > 0.0, self.centre + distance, np.nan)

    @property
    def mean(self) -> Array:
        """Fitted probability at each width, shape (..., K)."""
        eta = self.intercept[..., None] + self.slope[..., None] * (self.x - self.centre)
        fitted: Array = np.exp(self.link.at(eta).log_mean)
        return fitted


def _information(curve: Curvature, trials: Array, x: Array) -> tuple[Array, Array, Array, Array]:
    """Weights, total weight, weighted mean of x and weighted spread: |I| is total times spread."""
    weight = trials * curve.weight
    total = weight.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.where(total > 0.0, (weight * x).sum(axis=-1) / total, 0.0)
    spread = (weight * np.square(x - middle[..., None])).sum(axis=-1)
    return weight, total, middle, spread


def log_likelihood(curve: Curvature, holds: Array, trials: Array) -> Array:
    """Binomial log-likelihood without its constant, 0 log 0 read as 0."""
    fails = trials - holds
    with np.errstate(invalid="ignore"):
        parts = np.where(holds > 0.0, holds * curve.log_mean, 0.0) + np.where(fails > 0.0, fails * curve.log_rest, 0.0)
    total: Array = parts.sum(axis=-1)
    return total


def objective(link: Link, eta: Array, holds: Array, trials: Array, x: Array) -> Array:
    """Penalised log-likelihood, -inf where the information vanishes in double precision."""
    curve = link.at(eta)
    _, total, _, spread = _information(curve, trials, x)
    with np.errstate(divide="ignore"):
        found: Array = log_likelihood(curve, holds, trials) + 0.5 * (np.log(total) + np.log(spread))
    return found


def _step(curve: Curvature, holds: Array, trials: Array, x: Array) -> tuple[Array, Array]:
    """One step of iteratively reweighted least squares on the penalised score, as change of (intercept, slope)."""
    weight, total, middle, spread = _information(curve, trials, x)
    away = x - middle[..., None]
    hat = weight * (1.0 / total[..., None] + np.square(away) / spread[..., None])
    score = holds * curve.up - (trials - holds) * curve.down + 0.5 * hat * curve.weight_turn
    slope = (score * away).sum(axis=-1) / spread
    return score.sum(axis=-1) / total - slope * middle, slope


def fit_curve(widths: ArrayLike, holds: ArrayLike, trials: ArrayLike, link: str = "logit") -> Fit:
    """Fit a probability curve.

    Parameters
    ----------
    widths : array_like, shape (K,)
    holds, trials : array_like, shape (..., K)
        Holds may be half numbers. Widths without trials in every batch are left out.
    link : {"logit", "probit", "cloglog"}

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If fewer than two widths have trials.
    """
    found = get_link(link)
    y, m = np.broadcast_arrays(np.asarray(holds, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    seen = (m > 0).reshape(-1, m.shape[-1]).any(axis=0)
    if seen.sum() < 2:
        raise InputError("a curve needs trials at two widths at least: add widths, or read the exact intervals")
    y, m, x = y[..., seen], m[..., seen], np.log(np.asarray(widths, dtype=np.float64)[seen])
    centre = float(x.mean())
    z = x - centre
    # a flat start at the overall frequency lies inside every link's domain
    share = (y.sum(axis=-1) + 0.5) / (m.sum(axis=-1) + 1.0)
    a = np.vectorize(found.of, otypes=[float])(share)
    b = np.zeros_like(a)
    best = objective(found, a[..., None] + b[..., None] * z, y, m, z)
    for _ in range(MOST_STEPS):
        da, db = _step(found.at(a[..., None] + b[..., None] * z), y, m, z)
        size = np.ones_like(best)
        for _ in range(HALVINGS):
            value = objective(found, (a + size * da)[..., None] + (b + size * db)[..., None] * z, y, m, z)
            # rounding of the likelihood: near the maximum a full step may lose its last digits
            worse = ~(value >= best - 1e-12 * np.abs(best))
            if not worse.any():
                break
            size = np.where(worse, 0.5 * size, size)
        size = np.where(worse, 0.0, size)
        a, b, best = a + size * da, b + size * db, np.where(worse, best, value)
        if np.max(size * (np.abs(da) + np.abs(db) * np.ptp(z)), initial=0.0) < STEP:
            break
    _, total, middle, spread = _information(found.at(a[..., None] + b[..., None] * z), m, z)
    covariance = np.empty((*a.shape, 2, 2))
    covariance[..., 0, 0] = 1.0 / total + np.square(middle) / spread
    covariance[..., 0, 1] = covariance[..., 1, 0] = -middle / spread
    covariance[..., 1, 1] = 1.0 / spread
    return Fit(found, x, centre, y, m, a, b, best, covariance)


def design_effect(fit: Fit, holds: Mask, p: float) -> float:
    """How many times the variance of log k*(p) exceeds that of independent widths, from the trials themselves.

    The widths of a trial share their draws. The sandwich variance adds up the scores of each trial before it squares
    them; its ratio to the model's is what a likelihood interval must be widened by. At least one.

    Parameters
    ----------
    fit : Fit
        Of one curve, without batch axes.
    holds : ndarray of bool, shape (trials, K)
        Decisions at the widths of the fit, every one computed.
    p : float

    Returns
    -------
    float
    """
    z = fit.x - fit.centre
    curve = fit.link.at(fit.intercept + fit.slope * z)
    score = np.where(holds, curve.up, -curve.down)
    scores = np.stack([score.sum(axis=1), (score * z).sum(axis=1)])
    scores -= scores.mean(axis=1, keepdims=True)
    gradient = np.array([1.0, (fit.link.of(p) - float(fit.intercept)) / float(fit.slope)])
    lever = fit.covariance @ gradient
    modelled = float(gradient @ lever)
    observed = float(np.square(lever @ scores).sum()) * len(holds) / max(len(holds) - 1, 1)
    return max(observed / modelled, 1.0) if modelled > 0.0 else 1.0
