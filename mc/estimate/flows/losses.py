"""The saved trajectories of one mode and width of a cell, with what was known of them at the start."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mc.estimate.probability.counts import CellLike, mode_index
from mc.model import losses
from mc.model.arrays import Array, Mask
from mc.model.losses import Loss
from mc.store.layout import Computed, field_of
from mc.theory.codes import Outcome


@dataclass(frozen=True)
class Saved:
    """T saved trajectories; arrays are asked for by the name of their dataset."""

    cell: CellLike
    mode: str
    width: int

    def __getitem__(self, name: str) -> Array:
        """A dataset of these trials: (T,) or, along the trajectory, (T, P)."""
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
        """Trials that failed, (T,): nothing is known of them."""
        lost = np.zeros(len(self.cell.saved_trials), dtype=bool)
        if "computed" in self.cell.data:
            lost |= self["computed"] == Computed.FAILED
        if "outcome" in self.cell.data:
            lost |= self["outcome"] == Outcome.ERROR
        return lost

    @property
    def seen(self) -> bool:
        """Whether one trajectory is there."""
        return bool(np.isfinite(self["loss"]).any())

    @property
    def asked(self) -> bool:
        """Whether one trajectory is there, or failed: what is said of all must count it."""
        return self.seen or bool(self.failed.any())

    def psi(self, loss: Loss) -> Array:
        """psi(L(t)), (T, P): |y(t) - y| for mse and the powers."""
        return np.asarray(loss.psi(self["loss"]))

    def promised(self, hypothesis: str) -> Array:
        """Bound from below of the observed singular value along the path, (T,); NaN where the hypothesis is false."""
        sigma = self["sigma_star"] if hypothesis == "sharp" else 0.5 * self["sigma_A"] * self["sigma_0"]
        with np.errstate(invalid="ignore"):
            return np.where(self[f"margin_{hypothesis}"] > 1.0, sigma, np.nan)


def saved_of(cell: CellLike) -> Iterator[Saved]:
    """Every mode and flow width of a cell of which trajectories were kept."""
    if "loss" not in cell.data or not len(cell.saved_trials):
        return
    for mode in cell.modes:
        for width in cell.flow_widths:
            yield Saved(cell, mode, int(width))


def loss_of(experiment_text: str) -> Loss:
    """The loss of a frozen experiment file."""
    table = tomllib.loads(experiment_text).get("loss", {})
    return losses.get(table.get("kind", "mse"), table.get("p"))
