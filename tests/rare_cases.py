"""Failures whose probability is known in closed form, for the tests and the benchmark of rare events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial

import numpy as np
from scipy.special import chdtr, chdtrc, chdtri, ndtr, ndtri

from mc.model import activations
from mc.model.arrays import Array
from mc.model.draws import SHARED_TRIAL, What, generator, get_law
from mc.trial.rare.margins import ActivationNorm, Margin, SummedPopulation
from mc.trial.rare.splitting import Ensemble, Repetitions, pilot, repeat


class SumOfH(Margin):
    """Sum of h over sqrt k: standard normal."""

    reads_V = False

    def __init__(self, k: int, threshold: float) -> None:
        self.k, self.threshold = k, threshold

    def sums(self, h: Array, V: Array) -> Array:
        return h.sum(axis=1)[:, None]

    def value(self, sums: Array, tops: Array) -> Array:
        return sums[:, 0] / np.sqrt(self.k)


class SumOfV(Margin):
    """Sum of the first row of V, in units where an entry lies in [-1, 1]."""

    reads_h = False

    def __init__(self, k: int, threshold: float, bound: float) -> None:
        self.k, self.threshold, self.bound = k, threshold, bound

    def sums(self, h: Array, V: Array) -> Array:
        return V[:, :1].sum(axis=2) / self.bound

    def value(self, sums: Array, tops: Array) -> Array:
        return sums[:, 0]


def uniform_sum(k: int, x: float) -> float:
    """P(sum of k uniform variables on [-1, 1] <= x): the k-fold convolution, in whole numbers of any size."""
    u = (Fraction(x) + k) / 2
    terms = (Fraction((-1) ** j * comb(k, j)) * (u - j) ** k for j in range(k + 1) if u > j)
    return float(sum(terms, Fraction(0)) / factorial(k))


def sign_sum(k: int, x: float) -> float:
    """P(sum of k signs <= x): the k-fold convolution of two equal atoms."""
    return float(Fraction(sum(comb(k, j) for j in range(k + 1) if 2 * j - k <= x), 2**k))


@dataclass(frozen=True)
class ClosedForm:
    """A margin, the law of V, and the probability that the margin is at most its threshold."""

    name: str
    margin: Margin
    law: str
    truth: float

    @property
    def ensemble(self) -> Ensemble:
        return Ensemble(
            get_law(self.law),
            int(self.margin.reads_V),
            self.margin.k,
            self.margin.reads_h,
            lambda h, V: SummedPopulation(self.margin, h, V),
        )


def _solve(law: Callable[[float], float], low: float, high: float, p: float) -> float:
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if law(middle) > p else (middle, high)
    return high


def closed_forms(p: float) -> tuple[ClosedForm, ...]:
    """One failure of each kind with a probability of p, or as near to it as a sum of signs comes."""
    identity = activations.get("identity")
    k = 16
    low, high = np.sqrt(chdtri(k, 1.0 - p) / k), np.sqrt(chdtri(k, p) / k)
    total = _solve(lambda x: uniform_sum(24, x), -24.0, 0.0, p)
    signs = max((x for x in range(-80, 1, 2) if sign_sum(80, x) <= p), default=-80)
    return (
        ClosedForm("Gaussian tail", SumOfH(k, float(ndtri(p))), "uniform", float(ndtr(ndtri(p)))),
        ClosedForm(
            "chi-square, lower tail",
            ActivationNorm(identity, k, float(low), high=False),
            "uniform",
            float(chdtr(k, k * low**2)),
        ),
        ClosedForm(
            "chi-square, upper tail",
            ActivationNorm(identity, k, float(high), high=True),
            "uniform",
            float(chdtrc(k, k * high**2)),
        ),
        ClosedForm("sum of uniforms", SumOfV(24, total, float(np.sqrt(3.0))), "uniform", uniform_sum(24, total)),
        ClosedForm("sum of signs", SumOfV(80, float(signs), 1.0), "rademacher", sign_sum(80, signs)),
    )


def estimates(form: ClosedForm, seed: int, repetitions: int, particles: int, moves: int) -> Repetitions:
    """Repetitions of splitting, with a pilot of their own."""
    streams = [
        generator(seed, (0, 0), trial, What.RARE, form.margin.k) for trial in (SHARED_TRIAL, *range(repetitions))
    ]
    schedule = pilot(form.ensemble, streams[0], particles, 0.25, moves, 200)
    return repeat(form.ensemble, schedule, streams[1:], particles, moves)
