"""Likelihood intervals of k*(p) from profiles: finite under separation, open where no slope is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from mc.estimate.probability.counts import Counts, Decision, Decisions
from mc.estimate.probability.intervals import checked_level
from mc.estimate.probability.methods import MethodClass
from mc.estimate.probability.undecided import Policy, reading
from mc.estimate.widths.links import Link
from mc.estimate.widths.regression import Fit, design_effect, fit_curve, log_likelihood, objective
from mc.model.arrays import Array, IntArray, Mask

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
INNER = 32
"""Golden sections of the slope: the range of 14 e-folds shrinks to 3e-6, where the profile is off by its square."""
OUTER = 30
"""Halvings of the range of log k*, to 1e-9 of it."""
REFINED = 16
"""Golden sections beside the best of the grid: to a thousandth of its spacing; the maximum is off by the square."""
GRID = 41
"""Widths at which the plain profile is tried before its maximum is refined."""
REACH = 3.0
"""How far beyond the grid an end is looked for, in lengths of the grid (at least e-folds); beyond it is infinite."""


@dataclass(frozen=True)
class FittedWidth:
    """k*(p) of a fitted curve.

    Parameters
    ----------
    p : float
    estimate : float
        NaN where the curve does not rise.
    bracket : tuple of float
        The estimate with all undecided trials holding, and all failing.
    interval : tuple of float
        Ends of the profile-likelihood interval (see `profile_limits`); 0 and inf where the data do not bound it.
    level : float
    link : str
    method, method_class : str
    design_effect : float
        What the likelihood ratio was divided by for the dependence of the widths of a trial; 1 if not looked at.
    extrapolated : bool
        Whether the estimate lies outside the widths that have trials.
    policy : str
    """

    p: float
    estimate: float
    bracket: tuple[float, float]
    interval: tuple[float, float]
    level: float
    link: str
    method: str
    method_class: MethodClass
    design_effect: float
    extrapolated: bool
    policy: Policy


def profile(
    link: Link, p: float, log_width: Array, holds: Array, trials: Array, x: Array, penalised: bool = True
) -> Array:
    """The log-likelihood, by default penalised, maximised over rising slopes with log k*(p) given.

    Parameters
    ----------
    log_width : ndarray, shape (...)
    holds, trials : ndarray, shape (..., K)
    x : ndarray, shape (K,)
        log k.

    Returns
    -------
    ndarray, shape (...)
    """
    eta = link.of(p)
    away = x - log_width[..., None]
    spacing = float(np.diff(x).min())

    def value(log_slope: Array) -> Array:
        at = eta + np.exp(log_slope)[..., None] * away
        return objective(link, at, holds, trials, x) if penalised else log_likelihood(link.at(at), holds, trials)

    # from a curve flat over the whole reach to one that jumps between two widths
    low = np.full(log_width.shape, math.log(1e-3 / (x[-1] - x[0])))
    high = np.full(log_width.shape, math.log(50.0 / spacing))
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(INNER):
        # ties are of -inf, at slopes too steep for the information to be a number
        lower = at_left >= at_right
        high, low = np.where(lower, right, high), np.where(lower, low, left)
        kept, at_kept = np.where(lower, left, right), np.where(lower, at_left, at_right)
        fresh = np.where(lower, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        at_fresh = value(fresh)
        left, right = np.where(lower, fresh, kept), np.where(lower, kept, fresh)
        at_left, at_right = np.where(lower, at_fresh, at_kept), np.where(lower, at_kept, at_fresh)
    return np.maximum(at_left, at_right)


def _plain_maximum(fit: Fit, p: float, reach: float) -> tuple[Array, Array]:
    """Where the unpenalised profile is largest, and its value: the best of a grid, then golden sections beside it."""
    grid = np.linspace(fit.x[0] - reach, fit.x[-1] + reach, GRID)

    def value(log_width: Array) -> Array:
        return profile(fit.link, p, log_width, fit.holds, fit.trials, fit.x, penalised=False)

    values = value(np.broadcast_to(grid.reshape(-1, *([1] * fit.slope.ndim)), (GRID, *fit.slope.shape)))
    best = grid[values.argmax(axis=0)]
    low, high = best - (grid[1] - grid[0]), best + (grid[1] - grid[0])
    for _ in range(REFINED):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        lower = value(left) >= value(right)
        high, low = np.where(lower, right, high), np.where(lower, low, left)
    middle = 0.5 * (low + high)
    at_middle, at_best = value(middle), values.max(axis=0)
    return np.where(at_middle >= at_best, middle, best), np.maximum(at_middle, at_best)


def _ends(fit: Fit, p: float, centre: Array, floor: Array, reach: float, penalised: bool) -> Array:
    """Ends of {log k : profile(log k) >= floor} around `centre`, shape (2, ...); infinite beyond the reach."""
    sides = np.array([-1.0, 1.0]).reshape(2, *([1] * centre.ndim))
    inside = np.broadcast_to(centre, (2, *centre.shape)).copy()
    outside = np.where(sides < 0, np.minimum(fit.x[0], inside) - reach, np.maximum(fit.x[-1], inside) + reach)

    def above(log_width: Array) -> Mask:
        found = profile(fit.link, p, log_width, fit.holds, fit.trials, fit.x, penalised)
        return np.asarray(found >= floor)

    open_ = above(outside)
    for _ in range(OUTER):
        middle = 0.5 * (inside + outside)
        within = above(middle)
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    return np.where(open_, sides * np.inf, 0.5 * (inside + outside))


def profile_limits(fit: Fit, p: float, level: float = 0.95, effect: float = 1.0) -> tuple[Array, Array]:
    """Ends of the likelihood interval of log k*(p).

    The set {log k : 2 (max - profile(log k)) <= effect times the chi-square quantile} is taken of the penalised and of
    the plain likelihood, and the hull of both is given. Where the data are separated the plain one is flat over the gap
    between the widths and keeps the whole gap; the penalised one alone would choose the middle of it and miss the truth
    about every second time.

    Parameters
    ----------
    fit : Fit
        With or without batch axes.
    p, level : float
    effect : float
        The design effect.

    Returns
    -------
    lower, upper : ndarray, shape (...)
        Of log k; -inf and inf where a profile stays above its threshold within `REACH`, or the fit does not rise.
    """
    checked_level(level)
    reach = max(REACH * float(np.ptp(fit.x)), REACH)
    drop = 0.5 * effect * float(chdtri(1, 1.0 - level))
    centre = fit.log_width(p)
    rises = np.isfinite(centre)
    penalised = _ends(fit, p, np.where(rises, centre, fit.centre), fit.objective - drop, reach, True)
    at, best = _plain_maximum(fit, p, reach)
    plain = _ends(fit, p, at, best - drop, reach, False)
    lower = np.where(rises, np.minimum(penalised[0], plain[0]), -np.inf)
    upper = np.where(rises, np.maximum(penalised[1], plain[1]), np.inf)
    return lower, upper


def _effect(fit: Fit, decisions: Decisions | None, widths: IntArray, p: float) -> float:
    if decisions is None or not float(fit.slope) > 0.0:
        return 1.0
    kept = decisions[:, np.isin(np.log(widths.astype(np.float64)), fit.x)]
    kept = kept[(kept != Decision.NOT_COUNTED).all(axis=1)]
    return design_effect(fit, kept == Decision.HOLDS, p) if len(kept) > 1 else 1.0


def fitted_width(
    widths: IntArray,
    counts: Counts,
    p: float,
    level: float = 0.95,
    link: str = "logit",
    policy: Policy = "bracket",
    decisions: Decisions | None = None,
) -> FittedWidth:
    """k*(p) by binomial regression in log k with Firth's penalty.

    Parameters
    ----------
    widths : ndarray of int64, shape (K,), increasing
    counts : Counts
    p, level : float
    link : {"logit", "probit", "cloglog"}
    policy : str
        Under "bracket" the interval reaches from the lower end with all undecided holding to the upper end with all
        failing.
    decisions : ndarray of int8, shape (trial, K), optional
        The trials behind the counts: the interval is then widened by the design effect.

    Returns
    -------
    FittedWidth
        Approximate, and only as good as the link: see `mc.estimate.widths.fit_tests`.
    """
    read = reading(counts, policy)
    middle = fit_curve(widths, (read.most + read.least) / 2.0, read.trials, link)
    ends = np.stack([read.most, read.least])[: 1 if np.array_equal(read.most, read.least) else 2]
    both = fit_curve(widths, ends, np.broadcast_to(read.trials, ends.shape), link)
    effect = _effect(middle, decisions, widths, p)
    lower, upper = profile_limits(both, p, level, effect)
    with np.errstate(over="ignore"):
        estimate = float(np.exp(middle.log_width(p)))
        early, late = (float(x) for x in np.exp(both.log_width(p))[[0, -1]])
        low, high = float(np.exp(lower[0])), float(np.exp(upper[-1]))
    outside = not float(np.exp(middle.x[0])) <= estimate <= float(np.exp(middle.x[-1]))
    return FittedWidth(
        p=p,
        estimate=estimate,
        bracket=(early, late),
        interval=(low, high),
        level=level,
        link=link,
        method=f"firth-{link}",
        method_class=MethodClass.APPROXIMATE,
        design_effect=effect,
        extrapolated=outside,
        policy=policy,
    )
