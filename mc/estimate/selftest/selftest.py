"""The self-test of the statistics: exact coverage, exact and simulated errors of stopping rules, at known truths.

What is computed exactly cannot fail by chance. A simulated rule fails when it errs more often than one that errs with
probability alpha does, but for a chance of `FALSE_ALARM`/(number of simulations): a correct implementation fails the
whole self-test with probability below `FALSE_ALARM`, at whatever seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mc.estimate.probability.intervals import lower_limit, upper_limit
from mc.estimate.probability.methods import METHODS, MethodClass
from mc.estimate.probability.tests import exact_p_value
from mc.estimate.sampling.rule_errors import rules
from mc.estimate.selftest.coverage import (
    PROBABILITIES,
    ROUNDING,
    TRIALS,
    Coverage,
    exact_coverage,
    peeking_error,
    sequence_error,
    worst_coverage,
)

FALSE_ALARM = 1e-6


@dataclass(frozen=True)
class Check:
    """One line of the self-test.

    Parameters
    ----------
    name : str
    value : float
        What was found.
    limit : float
        What it must not exceed; NaN where it is only reported.
    how : str
        "exact" or the number of simulated studies.
    """

    name: str
    value: float
    limit: float
    how: str

    @property
    def passed(self) -> bool:
        """Whether the value keeps its limit."""
        return bool(np.isnan(self.limit) or self.value <= self.limit)


@dataclass(frozen=True)
class SelfTest:
    """All checks.

    Parameters
    ----------
    checks : tuple of Check
    false_alarm : float
        Upper bound of the probability that a correct implementation fails.
    """

    checks: tuple[Check, ...]
    false_alarm: float

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def lines(self) -> tuple[str, ...]:
        """The table as text, a line for each check."""
        width = max(len(check.name) for check in self.checks)
        rows = (
            f"{'ok  ' if c.passed else 'FAIL'} {c.name:<{width}}  {c.value:<11.5g}"
            f"{'(reported)' if np.isnan(c.limit) else f'<= {c.limit:<9.5g}'} {c.how}"
            for c in self.checks
        )
        failed = sum(not check.passed for check in self.checks)
        end = f"{len(self.checks) - failed} of {len(self.checks)} checks passed"
        return (*rows, f"{end}; a correct implementation fails with probability below {self.false_alarm:g}")


def _fixed(long: bool) -> Iterator[Check]:
    probabilities = PROBABILITIES if long else (0.5, 0.9, 0.99, 0.9999)
    trials = TRIALS if long else (20, 300, 1000, 100_000)
    for method in METHODS.values():
        for level in (0.95, 1.0 - 1e-3):
            worst = min((exact_coverage(method.name, p, n, level) for p in probabilities for n in trials), key=_excess)
            if method.name != "beta-binomial":
                edges = (worst_coverage(method.name, n, level) for n in trials if n <= 1000)
                worst = min((worst, *edges), key=_excess)
            approximate = method.method_class is MethodClass.APPROXIMATE
            yield Check(
                f"{method.name} {level:g}: misses most at p = {worst.p:.5g}, N = {worst.trials}",
                1.0 - worst.coverage,
                float("nan") if approximate else 1.0 - level + ROUNDING,
                "exact",
            )


def _excess(found: Coverage) -> float:
    return found.coverage


def _ends() -> Iterator[Check]:
    """The tails of the Clopper-Pearson limits, by the binomial law itself."""
    worst = 0.0
    for trials in (1, 20, 1000, 10**6):
        for holds in {0, 1, trials // 2, trials - 1, trials}:
            for tail in (0.025, 0.5e-3, 0.5e-12):
                if holds:
                    low = lower_limit(holds, trials, tail)
                    worst = max(worst, abs(float(exact_p_value(holds, trials, low, "greater")) - tail))
                if holds < trials:
                    high = upper_limit(holds, trials, tail)
                    worst = max(worst, abs(float(exact_p_value(holds, trials, high, "less")) - tail))
    yield Check("clopper-pearson: error of the tails, N = 1 to 1e6", worst, 1e-10, "exact")


def _sequences(long: bool) -> Iterator[Check]:
    trials = 100_000 if long else 3000
    for p in PROBABILITIES if long else (0.5, 0.9, 0.99, 0.9999):
        for alpha in (0.05, 1e-3):
            error = sequence_error(p, trials, alpha).probability
            yield Check(
                f"beta-binomial {1 - alpha:g}: ever excludes p = {p:g} in {trials} looks",
                error,
                alpha + ROUNDING,
                "exact",
            )
    error = peeking_error(0.9, 3000).probability
    yield Check("clopper-pearson 0.95 looked at 3000 times: ever excludes p = 0.9", error, float("nan"), "exact")


def _simulated(seed: int, long: bool) -> Iterator[Check]:
    found = [rule() for rule in rules(seed, 20 if long else 1)]
    for errors in found:
        allowed = most_errors(errors.studies, errors.alpha, FALSE_ALARM / len(found))
        yield Check(
            f"{errors.rule}: wrong reports, alpha = {errors.alpha:.3g}",
            errors.wrong / errors.studies,
            allowed / errors.studies,
            f"{errors.studies} studies",
        )


def most_errors(studies: int, alpha: float, chance: float) -> int:
    """The least number of errors that a rule erring with probability alpha exceeds with probability <= chance."""
    errors = np.arange(studies + 1)
    beyond = exact_p_value(np.minimum(errors + 1, studies), studies, alpha, "greater")
    beyond[-1] = 0.0
    return int(np.argmax(beyond <= chance))


def run_selftest(seed: int = 0, long: bool = False) -> SelfTest:
    """Test the statistics of this installation.

    Parameters
    ----------
    seed : int
        Of the simulations; the verdict of a correct implementation does not depend on it but with probability
        `FALSE_ALARM`.
    long : bool
        The tables of docs/statistics.md (minutes) instead of seconds.

    Returns
    -------
    SelfTest
    """
    checks = (*_ends(), *_fixed(long), *_sequences(long), *_simulated(seed, long))
    return SelfTest(checks, FALSE_ALARM)
