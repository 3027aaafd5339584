"""Multilevel splitting with levels and steps fixed by a pilot: unbiased, whatever the moves (docs/rare.md).

A repetition draws networks independently and keeps those below the first level, copies them up to the old number, moves
the copies within the level, and so on; the product of the shares estimates P(margin <= threshold). Levels and steps
come from a pilot with a stream of its own, so they are constants to the repetitions, and every move keeps the law
given the level: the expectation of the product is the probability, for any number of particles and moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mc.model.arrays import Array, Index, IntArray, Mask
from mc.model.draws import OutputLaw
from mc.trial.rare.attainable import GaugePopulation
from mc.trial.rare.margins import SummedPopulation, block_slice
from mc.trial.rare.proposals import normals, outputs, propose

if TYPE_CHECKING:
    from numpy.random import Generator


TARGET_ACCEPTANCE = 0.4
"""Between the best rates of a random walk in one (0.44) and in many dimensions (0.23)."""
BATCHES = 4
"""Adaptations of the step of the pilot between two levels."""
GAIN = 2.5
LEAST_BLOCK = 8
"""Fewest neurons that change together: with fewer a move would cost no less."""
DIGITS = 6
"""Significant digits of levels and steps, so that they do not depend on the last bit of a machine."""

Population = SummedPopulation | GaugePopulation


@dataclass(frozen=True)
class Step:
    """A move: the number of neurons that change, and the correlation of new with old ones."""

    block: int
    correlation: float

    @classmethod
    def of(cls, size: float, k: int) -> Step:
        """Return the step that changes a share ``size`` of the network: fresh neurons, or a few that move a little."""
        amount, least = min(size, 1.0) * k, min(k, LEAST_BLOCK)
        if amount >= least:
            return cls(round(amount), 0.0)
        # E |new - old|^2 is that of ``amount`` fresh neurons
        return cls(least, rounded(1.0 - amount / least))


@dataclass(frozen=True)
class Schedule:
    """Levels down to the threshold, and the step of the moves at each of them but the last.

    ``reached`` is False where the pilot stopped before the threshold; the last level is then its lowest.
    """

    levels: tuple[float, ...]
    steps: tuple[Step, ...]
    reached: bool


@dataclass(frozen=True)
class Repetitions:
    """Estimates of R repetitions with diagnostics; arrays (R,)."""

    probability: Array  # unbiased, undecided networks counted as no failures; NaN where the threshold was not reached
    undecided: Array  # increase of the estimate if every undecided network failed
    ideal_variance: Array  # relative variance with independent particles: sum of (1 - p)/(p N) over the levels
    acceptance: Array  # smallest share of accepted moves of a level; NaN without moves
    autocorrelation: Array
    """Largest correlation over the levels of surviving the next level before and after the moves, >= 0; may be NaN."""
    survival: Array  # smallest share of survivors of a level
    direct: IntArray  # failures among the first particles, which are independent draws
    levels: int


@dataclass(frozen=True)
class Ensemble:
    """The law of the networks, and the constructor of a population from h (P, k) and V (P, n, k)."""

    law: OutputLaw
    n: int  # 0 where the margin does not depend on V
    k: int
    reads_h: bool  # where False, h is (P, 0)
    populate: Callable[[Array, Array], Population]

    def draw(self, rngs: Sequence[Generator], particles: int) -> Population:
        """Draw independent networks, those of each repetition from its own stream."""
        h = normals(rngs, particles, self.k if self.reads_h else 0)
        return self.populate(h, outputs(rngs, self.law, particles, self.n, self.k))


def rounded(value: float) -> float:
    """Round to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS - 1}e}")


def resample(alive: Mask, rng: Generator) -> Index:
    """Return the rows that replace N particles: every survivor equally often, the remainder without replacement.

    Without survivors all rows stay: the estimate is 0 already.
    """
    survivors, size = np.flatnonzero(alive), alive.size
    if not survivors.size:
        return np.arange(size)
    whole = np.repeat(survivors, size // survivors.size)
    return np.concatenate([whole, rng.choice(survivors, size - whole.size, replace=False)])


def _moves(
    population: Population,
    ensemble: Ensemble,
    rngs: Sequence[Generator],
    step: Step,
    level: float,
    first: int,
    count: int,
) -> Array:
    """Move every network ``count`` times, block after block from the ``first``; return the shares accepted, (R,)."""
    accepted = np.zeros(len(rngs))
    for number in range(first, first + count):
        part = block_slice(number, ensemble.k, step.block)
        old = population.h[:, part] if ensemble.reads_h else population.h
        h, V = propose(rngs, ensemble.law, old, population.V[:, :, part], step.correlation)
        accepted += population.move(number, h, V, level).reshape(len(rngs), -1).mean(axis=1)
    return accepted / count


def pilot(ensemble: Ensemble, rng: Generator, particles: int, survival: float, moves: int, max_levels: int) -> Schedule:
    """Find levels that a given share survives, and steps with the target rate of acceptance.

    ``rng`` is the stream of the pilot alone.
    """
    population = ensemble.draw([rng], particles)
    levels: list[float] = []
    steps: list[Step] = []
    size, lowest = 0.5, np.inf
    rank = max(1, round(survival * particles)) - 1
    while len(levels) < max_levels:
        values = population.values()
        level = rounded(float(np.sort(values)[rank]))
        if level <= population.threshold:
            return Schedule((*levels, population.threshold), tuple(steps), True)
        if level >= lowest:
            # margins with few values: the next smaller value, if any network has it
            smaller = [value for value in map(rounded, values.tolist()) if value < lowest]
            level = max(smaller, default=lowest)
        lowest = level
        population = population.take(resample(values <= level, rng))
        for batch in range(BATCHES):
            step = Step.of(size, ensemble.k)
            population.refresh(step.block)
            count = max(1, moves // BATCHES)
            rate = float(_moves(population, ensemble, [rng], step, level, batch * count, count)[0])
            size = min(1.0, size * float(np.exp(GAIN * (rate - TARGET_ACCEPTANCE))))
        levels.append(level)
        steps.append(Step.of(rounded(size), ensemble.k))
    return Schedule(tuple(levels), tuple(steps[:-1]), False)


def repeat(
    ensemble: Ensemble, schedule: Schedule, rngs: Sequence[Generator], particles: int, moves: int
) -> Repetitions:
    """Run independent repetitions side by side, one for each stream."""
    R = len(rngs)
    population = ensemble.draw(rngs, particles)
    direct = population.failures()[0].reshape(R, -1).sum(axis=1)
    probability, variance, survival = np.ones(R), np.zeros(R), np.ones(R)
    acceptance, correlation = np.full(R, np.nan), np.full(R, np.nan)
    first = 0
    alive = population.below(schedule.levels[0])
    for number, level in enumerate(schedule.levels[:-1]):
        share = alive.reshape(R, -1).mean(axis=1)
        probability, survival = probability * share, np.minimum(survival, share)
        variance += _variance(share, particles)
        chosen = [resample(part, rng) for part, rng in zip(alive.reshape(R, -1), rngs, strict=True)]
        population = population.take(np.concatenate([rows + i * particles for i, rows in enumerate(chosen)]))
        step = schedule.steps[number]
        population.refresh(step.block)
        before = population.below(schedule.levels[number + 1])
        rate = _moves(population, ensemble, rngs, step, level, first, moves)
        first += moves
        alive = population.below(schedule.levels[number + 1])
        acceptance = np.fmin(acceptance, rate)
        correlation = np.fmax(correlation, _correlation(before.reshape(R, -1), alive.reshape(R, -1)))
    fails, undecided = population.failures()
    share, doubt = (mask.reshape(R, -1).mean(axis=1) for mask in (fails, undecided))
    variance += _variance(share, particles)
    nothing = np.full(R, np.nan)
    return Repetitions(
        probability=probability * share if schedule.reached else nothing,
        undecided=probability * doubt if schedule.reached else nothing,
        ideal_variance=variance if schedule.reached else nothing,
        acceptance=acceptance,
        autocorrelation=np.maximum(correlation, 0.0),
        survival=np.minimum(survival, share) if schedule.reached else survival,
        direct=direct.astype(np.int64),
        levels=len(schedule.levels),
    )


def _variance(share: Array, particles: int) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray((1.0 - share) / (share * particles))


def _correlation(before: Mask, after: Mask) -> Array:
    """Return the correlation of two indicators over the particles, (R,); NaN where one of them is constant."""
    x, y = before.astype(float), after.astype(float)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).mean(axis=1) / np.sqrt((x * x).mean(axis=1) * (y * y).mean(axis=1)))
