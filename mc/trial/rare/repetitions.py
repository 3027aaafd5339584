"""The repetitions of a rare failure in one block of trials, as datasets of the file layout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Array
from mc.model.draws import RARE_TILTED, SHARED_TRIAL, What, generator
from mc.theory.codes import MARGIN_RUNGS
from mc.trial.rare.attainable import GaugePopulation
from mc.trial.rare.margins import ActivationNorm, LadderMargin, LambdaMin, Margin, OutputNorm, SummedPopulation
from mc.trial.rare.settings import GROUP_BYTES, RareSettings
from mc.trial.rare.splitting import Ensemble, Population, Repetitions, pilot, repeat
from mc.trial.rare.tilting import TiltedLaw
from mc.trial.task import Group

FLOATS = ("probability", "undecided", "ideal_variance", "acceptance", "autocorrelation", "survival")
COUNTS = ("direct", "levels")


def make_margin(settings: RareSettings, group: Group, k: int) -> Margin | None:
    """Return the margin of a study at one width; None for `exact`, which has a population of its own."""
    name, threshold, problem, activation = (
        settings.margin,
        settings.threshold or 0.0,
        group.problems[0],
        group.activation,
    )
    if name == "lambda_min":
        return LambdaMin(activation, problem.A.shape[1], k, threshold)
    if name in ("activation_norm_low", "activation_norm_high"):
        return ActivationNorm(activation, k, threshold, high=name.endswith("high"))
    if name == "output_norm":
        return OutputNorm(activation, problem, k, threshold)
    if name in MARGIN_RUNGS:
        mode, bound = settings.mode or "hidden", group.law.entry_bound
        return LadderMargin(name, mode, activation, group.loss, bound, problem, k, threshold)
    return None


def make_ensemble(margin: Margin | None, group: Group, k: int) -> Ensemble:
    """Return the law of the networks of one width, with populations for the margin."""

    def populate(h: Array, V: Array) -> Population:
        if margin is None:
            return GaugePopulation(group.activation, group.problems[0], h, V)
        return SummedPopulation(margin, h, V)

    n = group.batch.n if margin is None or margin.reads_V else 0
    return Ensemble(group.law, n, k, margin is not None and margin.reads_h, populate)


def rare_arrays(settings: RareSettings, group: Group) -> dict[str, NDArray[np.generic]]:
    """Estimate the probability of a failure by splitting and by tilted sampling, in the first trials of a block.

    Returns the datasets ``rare_*`` (trial, width); none where the block has no repetition. The group holds the problem
    that all trials share, where the margin depends on it.
    """
    task = group.task
    trials, seed, cell = settings.trials(task.trials), task.seed, task.cell
    if not trials:
        return {}
    shape = (task.n_trials, len(task.widths))
    out: dict[str, NDArray[np.generic]] = {f"rare_{name}": np.full(shape, np.nan) for name in FLOATS}
    out |= {f"rare_{name}": np.full(shape, np.nan) for name in ("tilted", "tilted_variance")}
    out |= {f"rare_{name}": np.full(shape, -1, np.int64) for name in COUNTS}
    for column, k in enumerate(task.widths):
        if k not in settings.widths:
            continue
        margin = make_margin(settings, group, k)
        ensemble = make_ensemble(margin, group, k)
        estimates = _split(settings, ensemble, seed, cell, trials)
        for name in (*FLOATS, *COUNTS):
            out[f"rare_{name}"][: len(trials), column] = getattr(estimates, name)
        if settings.tilted and margin is not None:
            net = generator(seed, cell, SHARED_TRIAL, What.RARE, RARE_TILTED + k)
            tilted = TiltedLaw.of(margin, group.law, net)
            for row, trial in enumerate(trials):
                rng = generator(seed, cell, trial, What.RARE, RARE_TILTED + k)
                weights = tilted.weights(rng, settings.tilted, ensemble.n)
                mean = weights.mean()
                out["rare_tilted"][row, column] = mean
                spread = weights.var() / weights.size
                out["rare_tilted_variance"][row, column] = spread / mean**2 if mean > 0.0 else np.inf
    return out


def _split(settings: RareSettings, ensemble: Ensemble, seed: int, cell: tuple[int, int], trials: range) -> Repetitions:
    """Run the repetitions of one width, as many side by side as fit in memory."""
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
