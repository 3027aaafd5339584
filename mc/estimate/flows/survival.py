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
"""Proved never to converge: censored after all other times."""
CENSORED = (Outcome.HORIZON, Outcome.STEP_BUDGET, Outcome.UNDECIDED, Outcome.NON_FINITE, Outcome.ERROR)
"""Observed until stop_time, a failed trial until time 0. Only the horizon does not depend on the trial."""
LEFT_OUT = (Outcome.NOT_ATTEMPTED,)
"""Not integrated: no time is known."""


def dkw_radius(trials: int, level: float = 0.95) -> float:
    """Return the half-width sqrt(log(2/(1 - level))/2N) of a DKW band around a distribution function (Massart 1990)."""
    return math.sqrt(math.log(2.0 / (1.0 - level)) / (2.0 * trials)) if trials else 1.0


@dataclass(frozen=True)
class ConvergenceTimes:
    """Distribution of the time to convergence at one width, at T times; trials = events + censored + never."""

    width: int
    trials: int
    events: int
    censored: int
    never: int
    left_out: int  # trials of no known time
    censored_by: dict[str, int]  # by the label of the outcome
    times: Array  # increasing times at which a trial ended
    probability: Array  # Kaplan-Meier estimate of P(converged by t); assumes that censoring is independent
    lower: Array  # pointwise limits by Greenwood's formula on the log-log scale (approximate)
    upper: Array
    least: Array  # share of the trials known to have converged by t; no assumption on censoring
    most: Array  # share of the trials not known not to have converged by t
    band_lower: Array  # the two shares widened by the Dvoretzky-Kiefer-Wolfowitz radius: exact, at all times together
    band_upper: Array
    level: float

    def median(self) -> float:
        """Return the first time by which the Kaplan-Meier estimate reaches one half; inf where it never does."""
        reached = np.flatnonzero(self.probability >= 0.5)
        return float(self.times[reached[0]]) if len(reached) else math.inf


def convergence_times(
    outcome: NDArray[np.int8], stop_time: Array, width: int = 0, level: float = 0.95
) -> ConvergenceTimes:
    """Return the Kaplan-Meier curve of one width.

    `outcome` holds values of `Outcome`, (trials,), -1 where nothing was computed; `stop_time`, (trials,), the time at
    which the integration stopped: for "converged" that of the certificate or tolerance.
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
    """Return the times to convergence at each flow width of a cell; empty where the run integrated nothing.

    `level` is that of each width alone.
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
