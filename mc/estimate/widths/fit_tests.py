"""Does a fitted curve fit: deviance and Pearson statistics, with a parametric bootstrap where counts are sparse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, xlogy

from mc.estimate.probability.streams import NO_CELL, Purpose, stream
from mc.estimate.widths.regression import Fit, fit_curve
from mc.model.arrays import Array

SPARSE = 5.0
"""Expected holds or fails at a width below which the chi-square law of the statistics is not trusted."""


@dataclass(frozen=True)
class FitTest:
    """Lack of fit of one curve; the widths are taken as independent.

    Parameters
    ----------
    link : str
    deviance, pearson : float
    freedom : int
        Widths less two.
    p_deviance, p_pearson : float
        From the chi-square law; NaN without degrees of freedom.
    sparse : bool
        Whether some expected count is below `SPARSE`.
    p_bootstrap : float or None
        (1 + simulated deviances at least as large)/(1 + simulations), None where it was not asked for.
    simulations : int
    """

    link: str
    deviance: float
    pearson: float
    freedom: int
    p_deviance: float
    p_pearson: float
    sparse: bool
    p_bootstrap: float | None
    simulations: int

    @property
    def p_value(self) -> float:
        """The one to read: bootstrapped where there is one, else that of the deviance."""
        return self.p_deviance if self.p_bootstrap is None else self.p_bootstrap


def deviance(holds: Array, trials: Array, mean: Array) -> Array:
    """Twice the log-likelihood ratio of the saturated curve to the fitted one, summed over the last axis."""
    fails = trials - holds
    with np.errstate(divide="ignore", invalid="ignore"):
        share, rest = holds / trials, fails / trials
        parts = np.where(holds > 0, xlogy(holds, share / mean), 0.0)
        parts = parts + np.where(fails > 0, xlogy(fails, rest / (1.0 - mean)), 0.0)
    total: Array = 2.0 * np.where(trials > 0, parts, 0.0).sum(axis=-1)
    return total


def pearson(holds: Array, trials: Array, mean: Array) -> Array:
    """Sum over the last axis of (holds - expected)^2 over the variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.square(holds - trials * mean) / (trials * mean * (1.0 - mean))
    # where the fit is 0 or 1 to the last bit and so are the data there is no discrepancy
    total: Array = np.where((trials > 0) & (holds != trials * mean), parts, 0.0).sum(axis=-1)
    return total


def fit_test(fit: Fit, seed: int | None = None, simulations: int = 199, cell: tuple[int, int] = NO_CELL) -> FitTest:
    """Test a fitted curve for lack of fit.

    Parameters
    ----------
    fit : Fit
        Of one curve, without batch axes.
    seed : int, optional
        Of the bootstrap, made where the counts are sparse; without it none is made.
    simulations : int
        Curves drawn from the fitted one, each fitted again.
    cell : tuple of int
        Address of the stream.

    Returns
    -------
    FitTest
    """
    mean = fit.mean
    expected = np.minimum(fit.trials * mean, fit.trials * (1.0 - mean))
    sparse = bool((expected[fit.trials > 0] < SPARSE).any())
    found, freedom = float(deviance(fit.holds, fit.trials, mean)), len(fit.x) - 2
    chi = float(pearson(fit.holds, fit.trials, mean))
    bootstrap = None
    if sparse and seed is not None and freedom > 0:
        rng = stream(seed, Purpose.LACK_OF_FIT, cell)
        trials = np.broadcast_to(fit.trials, (simulations, len(fit.x)))
        drawn = rng.binomial(trials.astype(np.int64), np.clip(mean, 0.0, 1.0)).astype(np.float64)
        again = fit_curve(np.exp(fit.x), drawn, trials, fit.link.name)
        # deviances of equal counts differ in their last digits only
        larger = deviance(drawn, trials, again.mean) >= found * (1.0 - 1e-9)
        bootstrap = float((1 + larger.sum()) / (1 + simulations))
    return FitTest(
        link=fit.link.name,
        deviance=found,
        pearson=chi,
        freedom=freedom,
        p_deviance=float(chdtrc(freedom, found)) if freedom > 0 else float("nan"),
        p_pearson=float(chdtrc(freedom, chi)) if freedom > 0 else float("nan"),
        sparse=sparse,
        p_bootstrap=bootstrap,
        simulations=simulations if bootstrap is not None else 0,
    )
