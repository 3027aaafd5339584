"""Time to convergence, censored: which outcomes are events, Kaplan-Meier curves and bands that need no assumption."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mc.estimate.probability.counts import CONVERGED, dataset, mode_index
from mc.estimate.probability.intervals import checked_level
from mc.model.arrays import Array, IntArray
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome

NEVER = (Outcome.NOT_CONVERGED_CERTIFIED,)
"""Proved never to converge: at risk for ever, an event at no time."""
CENSORED = (Outcome.HORIZON, Outcome.STEP_BUDGET, Outcome.UNDECIDED, Outcome.NON_FINITE, Outcome.ERROR)
"""Looked at until stop_time, open after it; one that failed is open from time 0. Only the horizon is chosen without
looking at the trial."""
LEFT_OUT = (Outcome.NOT_ATTEMPTED,)
"""Not asked for: no time is known."""


def dkw_radius(trials: int, level: float = 0.95) -> float:
    """Half-width sqrt(log(2/(1 - level))/2N) of the band around an empirical distribution function (Massart 1990)."""
    return math.sqrt(math.log(2.0 / (1.0 - level)) / (2.0 * trials)) if trials else 1.0


@dataclass(frozen=True)
class ConvergenceTimes:
    """The distribution of the time to convergence at one width.

    Parameters
    ----------
    width : int
    trials, events, censored, never, left_out : int
        trials = events + censored + never; those left out are in none.
    censored_by : dict of str to int
        By the word of the outcome.
    times : ndarray, shape (T,)
        Increasing times at which something ended.
    probability : ndarray, shape (T,)
        Kaplan-Meier estimate of P(converged by t); assumes that censoring tells nothing of what would have come.
    lower, upper : ndarray, shape (T,)
        Pointwise limits by Greenwood's formula on the log-log scale (approximate).
    least, most : ndarray, shape (T,)
        Share of the trials known to have converged by t, and not known not to have: no assumption on censoring.
    band_lower, band_upper : ndarray, shape (T,)
        These two widened by the Dvoretzky-Kiefer-Wolfowitz radius: exact, at all times together.
    level : float
    """

    width: int
    trials: int
    events: int
    censored: int
    never: int
    left_out: int
    censored_by: dict[str, int]
    times: Array
    probability: Array
    lower: Array
    upper: Array
    least: Array
    most: Array
    band_lower: Array
    band_upper: Array
    level: float

    def median(self) -> float:
        """First time by which the Kaplan-Meier estimate reaches one half; inf where it never does."""
        reached = np.flatnonzero(self.probability >= 0.5)
        return float(self.times[reached[0]]) if len(reached) else math.inf


def convergence_times(
    outcome: NDArray[np.int8], stop_time: Array, width: int = 0, level: float = 0.95
) -> ConvergenceTimes:
    """Kaplan-Meier curve of one width.

    Parameters
    ----------
    outcome : ndarray of int8, shape (trials,)
        Values of `Outcome`, -1 where nothing was computed.
    stop_time : ndarray, shape (trials,)
        Time of the flow at which the integration stopped: for "converged" that of the certificate or tolerance.
    width : int
    level : float

    Returns
    -------
    ConvergenceTimes
    """
    checked_level(level)
    stop_time = np.where(outcome == Outcome.ERROR, 0.0, stop_time)
    event, never, cut = (np.isin(outcome, which) for which in (CONVERGED, NEVER, CENSORED))
    known = np.isfinite(stop_time) & (stop_time >= 0.0)
    left_out = np.isin(outcome, LEFT_OUT) | ((event | cut) & ~known)
    event, cut = event & known, cut & known
    trials = int(event.sum() + cut.sum() + never.sum())
    times = np.unique(stop_time[event | cut])
    counts = {o.label: int(np.sum(cut & (outcome == o))) for o in CENSORED}
    # a trial that never converges outlives every time that is looked at
    beyond = 2.0 * float(times.max(initial=0.0)) + 1.0
    censored_times = np.concatenate([stop_time[cut], np.full(int(never.sum()), beyond)])
    probability, lower, upper = _kaplan_meier(stop_time[event], censored_times, times, level)
    done = np.searchsorted(np.sort(stop_time[event]), times, side="right")
    lost = np.searchsorted(np.sort(stop_time[cut]), times, side="right")
    least, most = done / max(trials, 1), (done + lost) / max(trials, 1)
    radius = dkw_radius(trials, level)
    return ConvergenceTimes(
        width=width,
        trials=trials,
        events=int(event.sum()),
        censored=int(cut.sum()),
        never=int(never.sum()),
        left_out=int(left_out.sum()),
        censored_by={word: number for word, number in counts.items() if number},
        times=times,
        probability=probability,
        lower=lower,
        upper=upper,
        least=least,
        most=most,
        band_lower=np.maximum(least - radius, 0.0),
        band_upper=np.minimum(most + radius, 1.0),
        level=level,
    )


def _kaplan_meier(events: Array, censored: Array, times: Array, level: float) -> tuple[Array, Array, Array]:
    if not len(events):
        return np.zeros(len(times)), np.zeros(len(times)), np.ones(len(times))
    sample = stats.CensoredData(uncensored=events, right=censored)
    curve = stats.ecdf(sample).cdf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # where the formula is undefined it gives NaN, which is read below
        warnings.simplefilter("ignore", RuntimeWarning)
        limits = curve.confidence_interval(level, method="log-log")
        lower, upper = limits.low.evaluate(times), limits.high.evaluate(times)
    # Greenwood's formula says nothing before the first event and after the last trial at risk
    return (
        np.asarray(curve.evaluate(times)),
        np.where(np.isnan(lower), 0.0, lower),
        np.where(np.isnan(upper), 1.0, upper),
    )


def cell_convergence_times(cell: CellResults, mode: str, level: float = 0.95) -> tuple[ConvergenceTimes, ...]:
    """Times to convergence at every flow width of a cell, empty where the run integrated nothing.

    Parameters
    ----------
    cell : CellResults
    mode : {"hidden", "both"}
    level : float
        Of each width alone.

    Returns
    -------
    tuple of ConvergenceTimes
    """
    outcomes, times = dataset(cell, "outcome"), dataset(cell, "stop_time")
    if outcomes is None or times is None or not outcomes.size:
        return ()
    axis = mode_index(cell, mode)
    outcome, time = np.asarray(outcomes[axis]), np.asarray(times[axis], dtype=np.float64)
    widths: IntArray = np.asarray(cell.flow_widths, dtype=np.int64)
    return tuple(
        convergence_times(outcome[:, i], time[:, i], int(width), level)
        for i, width in enumerate(widths)
        if (outcome[:, i] != NOT_COMPUTED).any()
    )
