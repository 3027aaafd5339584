"""P_theory for the problems that a run drew, to compare with the measured probabilities (theory §7.1-3)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.estimate.probability.counts import dataset
from mc.model import activations, losses
from mc.model.activations import Activation
from mc.model.arrays import Array, IntArray
from mc.model.draws import OutputLaw, get_law
from mc.model.losses import Loss
from mc.store.results import CellResults
from mc.theory import bounds
from mc.theory.constants import Setting

MAX_PROBLEMS = 32
"""Maximum number of problems of a cell in a mean P_theory: each costs a tenth of a second."""

MAX_WIDTH_PROBLEMS = 3
"""Maximum number of problems of a cell in k_theory, which takes a bisection per problem."""

SCALES = ("sigma_A", "norm_A", "frobenius_A", "frobenius_AAT", "norm_y")


@dataclass(frozen=True)
class TheoryCurve:
    """P_theory at given widths; arrays of shape (K,)."""

    form: str  # "trial" or "paper": the Lipschitz constant that the bound is made with
    p: Array  # mean over the problems; 0 is vacuous
    standard_error: Array  # of that mean; 0 for a single problem
    problems: int  # number of problems behind the mean

    def at(self, rows: IntArray) -> TheoryCurve:
        """Return the same bound at the widths of these indices."""
        return TheoryCurve(self.form, self.p[rows], self.standard_error[rows], self.problems)

    @property
    def source(self) -> str:
        """The bound and the problems it is averaged over, as text."""
        over = "the problem of the cell" if self.problems == 1 else f"mean over {self.problems} problems of the run"
        return f"P_theory^{self.form} (theory §7.1-3), {over}"


@dataclass(frozen=True)
class CellTheory:
    """The bounds of one cell."""

    settings: tuple[Setting, ...]
    """One for each of at most `MAX_PROBLEMS` problems (exactly one with ``resample = "cell"``)."""
    outside: str = ""  # why the theorem does not apply, empty when it does

    def curve(self, mode: str, form: str, widths: ArrayLike) -> TheoryCurve:
        """Return P_theory at the widths, averaged over the problems."""
        k = np.asarray(widths)
        # P_theory does not decrease in k: vacuous at the largest width is vacuous at all, for a fraction of the time.
        p = np.array(
            [
                bounds.p_theory(s, mode, form, k)
                if bounds.p_theory(s, mode, form, k.max()) > 0.0
                else np.zeros(k.shape)
                for s in self.settings
            ]
        )
        count = len(p)
        error = p.std(axis=0, ddof=1) / math.sqrt(count) if count > 1 else np.zeros(k.shape)
        return TheoryCurve(form, p.mean(axis=0), error, count)

    def width_for(self, mode: str, form: str, delta: float) -> float:
        """Return k_theory(delta), the width from which the bound promises 1 - delta or inf, of the typical problems."""
        # The extreme problems differ by |y|/sigma_A, on which the bound depends most: take problems in the middle.
        ordered = sorted(self.settings, key=lambda s: s.norm_y / s.sigma_A)
        skip = max(len(ordered) - MAX_WIDTH_PROBLEMS, 0) // 2
        chosen = ordered[skip : skip + MAX_WIDTH_PROBLEMS]
        return float(statistics.median_high([bounds.k_theory(s, mode, form, delta) for s in chosen]))


@dataclass(frozen=True)
class Ensemble:
    """The activation, output law and loss of an experiment."""

    law: OutputLaw
    activation: Activation
    loss: Loss


def named(experiment: Mapping[str, Any]) -> Ensemble | None:
    """Return activation, output law and loss of a parsed experiment; None where one is not built in."""
    network, loss_table = experiment.get("network", {}), experiment.get("loss", {})
    try:
        return Ensemble(
            get_law(network.get("output_law", "uniform")),
            activations.get(network.get("activation", "sigmoid")),
            losses.get(loss_table.get("kind", "mse"), loss_table.get("p")),
        )
    except InputError:
        return None


def cell_theory(cell: CellResults, experiment: Mapping[str, Any]) -> CellTheory | None:
    """Return the bounds for the problems of a cell, which needs the datasets `SCALES`.

    None when there is nothing to compare with: an activation, a loss or an output law that is not built in, or a run
    without the numbers of its problems.
    """
    scales = {name: dataset(cell, name) for name in SCALES}
    ensemble = named(experiment)
    if ensemble is None or any(values is None for values in scales.values()):
        return None
    law, activation, loss = ensemble.law, ensemble.activation, ensemble.loss
    columns = np.array([np.asarray(scales[name], dtype=np.float64) for name in SCALES])
    present = np.flatnonzero(np.isfinite(columns).all(axis=0))
    limit = 1 if cell.problem.get("resample") == "cell" else MAX_PROBLEMS
    if not len(present):
        return None
    settings = tuple(
        Setting(
            n=int(cell.problem["n"]),
            m=int(cell.problem["m"]),
            **{name: float(value) for name, value in zip(SCALES, columns[:, trial], strict=True)},
            loss=loss,
            activation=activation,
            entry_bound=law.entry_bound,
            subgaussian=law.subgaussian,
        )
        for trial in present[:limit]
    )
    outside = "" if law.in_theorem else "the entries of V are unbounded: outside the theorem"
    return CellTheory(settings, outside)
