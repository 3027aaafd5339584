"""The repetitions of one block of trials, as arrays of the file layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mc.model.activations import Activation
from mc.model.arrays import Array
from mc.model.draws import RARE_TILTED, SHARED_TRIAL, OutputLaw, What, generator
from mc.model.losses import Loss
from mc.model.problem import Problem
from mc.theory.codes import MARGIN_RUNGS
from mc.trial.rare.attainable import GaugePopulation
from mc.trial.rare.margins import ActivationNorm, LadderMargin, LambdaMin, Margin, OutputNorm
from mc.trial.rare.populations import Population, SummedPopulation
from mc.trial.rare.settings import GROUP_BYTES, RareSettings
from mc.trial.rare.splitting import Ensemble, Repetitions, pilot, repeat
from mc.trial.rare.tilting import TiltedLaw

FLOATS = ("probability", "undecided", "ideal_variance", "acceptance", "autocorrelation", "survival")
COUNTS = ("direct", "levels")


def make_margin(
    settings: RareSettings, activation: Activation, law: OutputLaw, loss: Loss, problem: Problem, k: int
) -> Margin | None:
    """The margin of a study at one width; None for `exact`, which has a population of its own."""
    name, threshold = settings.margin, settings.threshold or 0.0
    if name == "lambda_min":
        return LambdaMin(activation, problem.A.shape[1], k, threshold)
    if name in ("activation_norm_low", "activation_norm_high"):
        return ActivationNorm(activation, k, threshold, high=name.endswith("high"))
    if name == "output_norm":
        return OutputNorm(activation, problem, k, threshold)
    if name in MARGIN_RUNGS:
        return LadderMargin(name, settings.mode or "hidden", activation, loss, law.entry_bound, problem, k, threshold)
    return None


def make_ensemble(margin: Margin | None, activation: Activation, law: OutputLaw, problem: Problem, k: int) -> Ensemble:
    """The law of the networks of one width, and the population that knows the margin."""

    def populate(h: Array, V: Array) -> Population:
        if margin is None:
            return GaugePopulation(activation, problem, h, V)
        return SummedPopulation(margin, h, V)

    n = problem.A.shape[1] if margin is None or margin.reads_V else 0
    return Ensemble(law, n, k, margin is not None and margin.reads_h, populate)


def rare_arrays(
    settings: RareSettings,
    seed: int,
    cell: tuple[int, int],
    trials: range,
    widths: Sequence[int],
    activation: Activation,
    law: OutputLaw,
    loss: Loss,
    problem: Problem,
) -> dict[str, NDArray[np.generic]]:
    """Splitting and tilted sampling at the widths wanted, in the first trials of a block.

    Parameters
    ----------
    settings : RareSettings
    seed : int
    cell : (int, int)
    trials : range
        Of the block.
    widths : increasing ints
        The axis of the arrays; where `settings` has no such width, nothing is computed.
    activation : Activation
    law : OutputLaw
    loss : Loss
    problem : Problem
        That all trials share, where the margin looks at it.

    Returns
    -------
    dict of arrays
        ``rare_*``, (trial, width) as in the layout; empty where the block has no repetition.
    """
    own = settings.trials(trials)
    if not own:
        return {}
    shape = (len(trials), len(widths))
    out: dict[str, NDArray[np.generic]] = {f"rare_{name}": np.full(shape, np.nan) for name in FLOATS}
    out |= {f"rare_{name}": np.full(shape, np.nan) for name in ("tilted", "tilted_variance")}
    out |= {f"rare_{name}": np.full(shape, -1, np.int64) for name in COUNTS}
    for column, k in enumerate(widths):
        if k not in settings.widths:
            continue
        margin = make_margin(settings, activation, law, loss, problem, k)
        ensemble = make_ensemble(margin, activation, law, problem, k)
        found = _split(settings, ensemble, seed, cell, own)
        for name in (*FLOATS, *COUNTS):
            out[f"rare_{name}"][: len(own), column] = getattr(found, name)
        if settings.tilted and margin is not None:
            net = generator(seed, cell, SHARED_TRIAL, What.RARE, RARE_TILTED + k)
            tilted = TiltedLaw.of(margin, law, net)
            for row, trial in enumerate(own):
                rng = generator(seed, cell, trial, What.RARE, RARE_TILTED + k)
                weights = tilted.weights(rng, settings.tilted, ensemble.n)
                mean = weights.mean()
                out["rare_tilted"][row, column] = mean
                spread = weights.var() / weights.size
                out["rare_tilted_variance"][row, column] = spread / mean**2 if mean > 0.0 else np.inf
    return out


def _split(settings: RareSettings, ensemble: Ensemble, seed: int, cell: tuple[int, int], trials: range) -> Repetitions:
    """The repetitions of one width, as many side by side as fit."""
    rng = generator(seed, cell, SHARED_TRIAL, What.RARE, ensemble.k)
    schedule = pilot(ensemble, rng, settings.particles, settings.survival, settings.moves, settings.max_levels)
    size = max(1, GROUP_BYTES // (8 * settings.particles * ensemble.k * (ensemble.n + 1)))
    parts = [
        repeat(
            ensemble,
            schedule,
            [generator(seed, cell, trial, What.RARE, ensemble.k) for trial in trials[first : first + size]],
            settings.particles,
            settings.moves,
        )
        for first in range(0, len(trials), size)
    ]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in (*FLOATS, "direct")}
    return Repetitions(**joined, levels=len(schedule.levels))
