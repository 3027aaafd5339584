"""Losses along saved trajectories: the trajectories of a mode and width, rates of decay, medians over trials."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from mc.estimate.probability.counts import mode_index
from mc.model import losses
from mc.model.arrays import Array, Mask
from mc.model.losses import Loss
from mc.store.layout import Computed, field_of
from mc.store.results import CellResults
from mc.theory.codes import Outcome


@dataclass(frozen=True)
class Saved:
    """T saved trajectories of a mode and width; index them by the name of a dataset."""

    cell: CellResults
    mode: str
    width: int

    def __getitem__(self, name: str) -> Array:
        """Return a dataset of these trials: (T,) or, along the trajectory, (T, P)."""
        data, dims = np.asarray(self.cell.data[name]), field_of(name).dims
        trials = self.cell.saved_trials
        mode, flow_width = mode_index(self.cell, self.mode), int(np.searchsorted(self.cell.flow_widths, self.width))
        if "time" in dims:
            return np.asarray(data[mode, :, flow_width])
        if "mode" in dims:
            data = data[mode]
        if data.ndim == 1:
            return np.asarray(data[trials])
        column = flow_width if "flow_width" in dims else int(np.searchsorted(self.cell.widths, self.width))
        return np.asarray(data[trials, column])

    @property
    def failed(self) -> Mask:
        """Trials, (T,), that failed."""
        lost = np.zeros(len(self.cell.saved_trials), dtype=bool)
        if "computed" in self.cell.data:
            lost |= self["computed"] == Computed.FAILED
        if "outcome" in self.cell.data:
            lost |= self["outcome"] == Outcome.ERROR
        return lost

    @property
    def seen(self) -> bool:
        """Whether at least one trajectory was saved."""
        return bool(np.isfinite(self["loss"]).any())

    @property
    def requested(self) -> bool:
        """Whether at least one trajectory was saved or failed: a claim on all trials counts failed ones."""
        return self.seen or bool(self.failed.any())

    def psi(self, loss: Loss) -> Array:
        """Return psi(L(t)), (T, P): |y(t) - y| for mse and the powers."""
        return np.asarray(loss.psi(self["loss"]))

    def promised(self, hypothesis: str) -> Array:
        """Return the lower bound of the observed singular value along the path, (T,); NaN if the hypothesis fails."""
        sigma = self["sigma_star"] if hypothesis == "sharp" else 0.5 * self["sigma_A"] * self["sigma_0"]
        with np.errstate(invalid="ignore"):
            return np.where(self[f"margin_{hypothesis}"] > 1.0, sigma, np.nan)


def saved_of(cell: CellResults) -> Iterator[Saved]:
    """Yield the saved trajectories of a cell for each mode and flow width."""
    if "loss" not in cell.data or not len(cell.saved_trials):
        return
    for mode in cell.modes:
        for width in cell.flow_widths:
            yield Saved(cell, mode, int(width))


def loss_of(experiment_text: str) -> Loss:
    """Return the loss of a frozen experiment file."""
    table = tomllib.loads(experiment_text).get("loss", {})
    return losses.get(table.get("kind", "mse"), table.get("p"))


LATE_DECADES = 1.0  # decades of time, the last ones, to which a polynomial rate is fitted
LATE_LOSS = 1e3  # last factor of the loss to which an exponential rate is fitted
FEWEST = 3  # times that a slope needs


@dataclass(frozen=True)
class Slopes:
    """Rates of T trials, (T,) each, with intervals that contain the slope of the exact losses; NaN without a slope."""

    value: Array
    low: Array
    high: Array


def power_exponent(t: Array, loss: Array, error: Array) -> Slopes:
    """Fit the exponent q of L ~ t^-q in the last decade of time, by least squares of log L on log t.

    `t`, `loss` and `error` of the integration are (T, P), NaN after the end.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = (loss > 0.0) & (t > 0.0)
        last = np.where(seen, t, 0.0).max(axis=1, keepdims=True)
        return _fall(np.log(t), loss, error, seen & (t >= last * 10.0**-LATE_DECADES))


def exponential_rate(t: Array, loss: Array, error: Array) -> Slopes:
    """Fit the rate of L ~ exp(-rate t) over the last factor `LATE_LOSS` of the loss; see `power_exponent`."""
    with np.errstate(invalid="ignore"):
        seen = loss > 0.0
        least = np.where(seen, loss, np.inf).min(axis=1, keepdims=True)
        return _fall(t, loss, error, seen & (loss <= LATE_LOSS * least))


def _fall(x: Array, loss: Array, error: Array, late: Mask) -> Slopes:
    """Return minus the slope of log L on x where `late`; errors of the logarithms add up, as the slope is linear."""
    count = late.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = np.where(late, x, 0.0) - np.where(
            late, np.where(late, x, 0.0).sum(axis=1, keepdims=True) / count, 0.0
        )
        weights = centred / np.square(centred).sum(axis=1, keepdims=True)
        logs = np.where(late, np.log(np.where(late, loss, 1.0)), 0.0)
        share = np.where(np.isnan(error), np.inf, error) / loss
        room = np.where(late, -np.log1p(-np.minimum(share, 1.0)), 0.0)
        slope = -(weights * logs).sum(axis=1)
        # a weight of zero takes nothing from an error, however large
        spread = np.where(weights == 0.0, 0.0, np.abs(weights) * room).sum(axis=1)
    too_short = count[:, 0] < FEWEST
    return Slopes(*(np.where(too_short, np.nan, s) for s in (slope, slope - spread, slope + spread)))


@dataclass(frozen=True)
class Median:
    """A median with a confidence interval."""

    value: float  # median of the midpoints of the known intervals; NaN without any
    low: float  # interval; infinite with too few trials, or too many unknown values
    high: float
    trials: int  # with those of unknown value


def median_of(low: Array, high: Array, level: float) -> Median:
    """Return the median over independent trials, with an interval from order statistics.

    `low` and `high`, (N,), enclose the value of each trial; NaN where nothing is known. With j the largest rank such
    that P(Bin(N, 1/2) < j) <= (1 - level)/2, the j-th smallest and the j-th largest value enclose every median with
    probability `level` or more; taken of the lower and of the upper ends, they do so for all values between these ends.
    """
    trials = low.size
    middle = np.where(np.isfinite(low) & np.isfinite(high), 0.5 * (low + high), np.where(np.isfinite(low), low, high))
    middle = middle[~np.isnan(middle)]
    value = float(np.median(middle)) if middle.size else float("nan")
    rank = int(binom.ppf(0.5 * (1.0 - level), trials, 0.5)) if trials else 0
    # ppf is the smallest c with P(Bin <= c) >= tail; j - 1 is c where that is an equality, else c - 1
    rank += int(bool(trials) and bool(binom.cdf(rank, trials, 0.5) <= 0.5 * (1.0 - level)))
    if rank < 1:
        return Median(value, -np.inf, np.inf, trials)
    least = np.sort(np.where(np.isnan(low), -np.inf, low))
    most = np.sort(np.where(np.isnan(high), np.inf, high))
    return Median(value, float(least[rank - 1]), float(most[trials - rank]), trials)
