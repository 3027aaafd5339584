"""The tables of docs/statistics.md: `python benchmarks/coverage.py` prints them, and fails where a promise is broken.

The tables at a fixed number of trials and under looks are exact sums over the binomial law; the rules are simulated.
`--quick` leaves out the large numbers of trials.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit

from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import METHODS, MethodClass, get_method
from mc.estimate.probability.sequences import log_e_value
from mc.estimate.probability.tests import exact_p_value
from mc.estimate.sampling.adaptive import METHOD, AdaptivePlan, Goal, Track, replay
from mc.estimate.sampling.planning import smallest_whole
from mc.estimate.widths.crossings import crossing_width
from mc.model.arrays import Array, IntArray, Mask
from mc.model.draws import What, generator

ALPHA = 0.05
PROBABILITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999)
TRIALS = (20, 50, 100, 300, 1000, 10_000, 100_000)
DEVIATIONS, SPARE = 12.0, 60
"""Standard deviations (and holds beside them) that are summed over; the rest, below 1e-15, counts as not covered."""
ROUNDING = 1e-12
"""Of a sum of at most a million products of doubles, and the mass left out."""
FALSE_ALARM = 1e-6
"""Probability below which a rule that keeps its promise is reported as broken."""


def exact_coverage(method: str, p: float, trials: int, alpha: float) -> float:
    """Return the exact coverage of the two-sided interval of a method at a fixed number of trials."""
    reach = DEVIATIONS * np.sqrt(trials * p * (1.0 - p)) + SPARE
    holds = np.arange(max(int(trials * p - reach), 0), min(int(trials * p + reach) + 1, trials) + 1)
    lower, upper = get_method(method).two_sided(holds, holds, trials, alpha)
    return float(stats.binom.pmf(holds, trials, p) @ ((lower <= p) & (p <= upper)))


def worst_coverage(method: str, trials: int, alpha: float) -> float:
    """Return the least coverage over 0.5 <= p <= 0.9999: it is approached just outside the limits themselves."""
    holds = np.arange(trials + 1)
    lower, upper = get_method(method).two_sided(holds, holds, trials, alpha)
    ends = np.concatenate([np.nextafter(lower, 0.0), np.nextafter(upper, 1.0)])
    p = np.unique(ends[(ends >= PROBABILITIES[0]) & (ends <= PROBABILITIES[-1])])
    # limits rise with the holds, so an interval of holds covers each p
    first, last = np.searchsorted(upper, p, side="left"), np.searchsorted(lower, p, side="right") - 1
    mass = stats.binom.cdf(last, trials, p) - stats.binom.cdf(first - 1, trials, p)
    return exact_coverage(method, float(p[int(np.argmin(mass))]), trials, alpha)


def ever_excluded(p: float, trials: int, excludes: Callable[[IntArray, IntArray], Mask]) -> Array:
    """Return the probability that p is excluded within n = 1..trials looks: the worst error of all stopping rules.

    ``excludes(holds, trials)`` must be true beyond a number of holds on each side of p. The law of the number of holds
    is carried forward trial by trial and absorbed where p is excluded, by sums of products without subtraction.
    """
    n = np.arange(1, trials + 1)
    middle = np.floor(n * p).astype(np.int64)
    high = smallest_whole(lambda s: (s > n) | excludes(np.minimum(s, n), n), middle + 1, n + 1) - 1
    low = n + 1 - smallest_whole(lambda f: (f > n) | excludes(n - np.minimum(f, n), n), n - middle, n + 1)
    excluded, start, law = np.zeros(trials), 0, np.ones(1)
    for i in range(trials):
        law = np.append(law * (1.0 - p), 0.0) + np.append(0.0, law * p)
        first = min(max(int(low[i]) - start, 0), len(law))
        last = max(min(int(high[i]) - start + 1, len(law)), first)
        excluded[i] = law[:first].sum() + law[last:].sum()
        start, law = start + first, law[first:last]
        if not len(law):
            break
    return np.cumsum(excluded)


def sequence_error(p: float, trials: int, alpha: float = ALPHA) -> Array:
    """Return the probability that the confidence sequence has excluded the truth p within n looks; at most alpha."""
    return ever_excluded(p, trials, lambda s, n: log_e_value(s, n, p, "two-sided") >= -np.log(alpha))


def peeking_error(p: float, trials: int, alpha: float = ALPHA) -> Array:
    """Return the same for Clopper-Pearson intervals at level 1 - alpha computed after every trial."""
    return ever_excluded(p, trials, lambda s, n: exact_p_value(s, n, p, "two-sided") < alpha)


@dataclass(frozen=True)
class Errors:
    """Wrong reports out of simulated studies."""

    rule: str
    studies: int
    wrong: int
    alpha: float  # the promised bound of the probability of a wrong report
    mean_trials: float  # per study and width

    @property
    def kept(self) -> bool:
        """Whether this many errors or more have probability above `FALSE_ALARM` for a rule that errs with alpha."""
        return bool(stats.binom.sf(self.wrong - 1, self.studies, self.alpha) > FALSE_ALARM)


TRUTH = np.array([0.5, 0.9, 0.99])
"""P at the three widths of the simulated cell, drawn from one uniform number per trial as widths share their draws."""
WIDTHS = np.array([10, 100, 1000], dtype=np.int64)


def adaptive_errors(seed: int, studies: int, goal: Goal, claims: Array, block_size: int = 16) -> Errors:
    """Run the adaptive rule to its end, again and again, on a cell whose probabilities are `TRUTH`.

    A report is wrong if an interval misses the truth, or with `decide` if a true claim (p <= truth) is contradicted or
    a false one supported.
    """
    plan = AdaptivePlan(goal, (Track(0, "hidden", "exact", WIDTHS, claims),), block_size)
    alpha, method = goal.alpha / plan.tests(0), get_method(METHOD)
    wrong, trials = 0, 0
    for study in range(studies):
        draws = generator(seed, (0, 0), study, What.ESTIMATION, 4).random(goal.max_trials)
        holds: IntArray = np.cumsum(draws[:, None] < TRUTH, axis=0, dtype=np.int64)

        def observe(_: Track, n: IntArray, holds: IntArray = holds) -> Counts:
            s = np.where(n > 0, holds[np.maximum(n, 1) - 1, np.arange(len(WIDTHS))], 0)
            return Counts(s, n - s, np.zeros_like(s))

        end = replay(plan, observe)
        (n,), (counts,) = end.trials, end.counts
        trials += int(n.sum())
        if goal.decide:
            supported = method.lower(counts.holds, n, alpha) >= claims
            contradicted = method.upper(counts.holds, n, alpha) < claims
            bad = np.where(claims <= TRUTH, contradicted, supported)
        else:
            lower, upper = method.two_sided(counts.holds, counts.holds, n, alpha)
            bad = (lower > TRUTH) | (upper < TRUTH)
        wrong += bool((bad & (n > 0)).any())
    kind = "true" if bool((claims <= TRUTH).all()) else "false"
    name = f"decide {kind} claims" if goal.decide else f"half-width {goal.target_half_width}"
    return Errors(f"adaptive, {name}", studies, wrong, goal.alpha, trials / (studies * len(WIDTHS)))


def crossing_errors(seed: int, studies: int, steepness: float, trials: int = 100, p: float = 0.5) -> Errors:
    """Count how often the interval of k*(p) from ordered tests misses it, k* drawn between widths of a coarse grid.

    `steepness` is the slope of the logistic curve in log k; at 30 the data are separated in almost every study.
    """
    widths = np.array([10, 20, 40, 80, 160], dtype=np.int64)
    rng = generator(seed, (0, 0), int(1000 * steepness), What.ESTIMATION, 3)
    wrong = 0
    for log_width in rng.uniform(np.log(20.0), np.log(80.0), studies):
        truth = expit(np.log(p / (1.0 - p)) + steepness * (np.log(widths) - log_width))
        holds = (rng.random((trials, 1)) < truth).sum(axis=0)
        low, high = crossing_width(widths, Counts(holds, trials - holds, np.zeros_like(holds)), p, 1 - ALPHA).interval
        wrong += not low < np.exp(log_width) <= high
    return Errors(f"k*({p:g}) by ordered tests, slope {steepness:g}", studies, wrong, ALPHA, float(trials))


def rules(studies: int) -> tuple[Errors, ...]:
    """Simulate the adaptive rule and the thresholds at known truths."""
    half, decide, none = Goal(target_half_width=0.05), Goal(decide=True), np.full(3, np.nan)
    return (
        adaptive_errors(1, studies, half, none),
        # claims at the truth: a contradiction is wrong; just above it: a support is
        adaptive_errors(2, studies, decide, TRUTH),
        adaptive_errors(3, studies, decide, TRUTH + 1e-9),
        *(crossing_errors(4, studies, slope) for slope in (1.0, 3.0, 30.0)),
    )


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n### {title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |" if row[0] != "---" else "|" + "|".join(row) + "|")


def number(n: float) -> str:
    return f"{n:,.0f}".replace(",", " ")


def print_tables(trials: Sequence[int], studies: int) -> Iterator[str]:
    """Print every table, and yield the promises that are broken."""
    head = ["p \\ N", *map(number, trials)]
    for name, method in METHODS.items():
        if method.method_class is MethodClass.TIME_UNIFORM:
            continue
        covered = [[exact_coverage(name, p, n, ALPHA) for n in trials] for p in PROBABILITIES]
        worst = [worst_coverage(name, n, ALPHA) for n in trials if n <= 10_000]
        rows = [[f"{p:g}", *(f"{100 * c:.2f}" for c in row)] for p, row in zip(PROBABILITIES, covered, strict=True)]
        rows.append(["worst p", *(f"{100 * c:.2f}" for c in worst), *[""] * (len(trials) - len(worst))])
        table(f"{name} ({method.method_class}), two-sided 95 %", head, rows)
        if min(min(map(min, covered)), *worst) < 1.0 - ALPHA - ROUNDING:
            yield f"{name} covers less than {1 - ALPHA:g}"
    for limits, error in (
        ("beta-binomial (time-uniform) 95 %, prior Beta(1/2, 1/2)", sequence_error),
        ("clopper-pearson 95 % looked at after every trial", peeking_error),
    ):
        errors = [error(p, trials[-1]) for p in PROBABILITIES]
        rows = [
            [f"{p:g}", *(f"{100 * (1 - e[n - 1]):.2f}" for n in trials)]
            for p, e in zip(PROBABILITIES, errors, strict=True)
        ]
        table(f"{limits}: never excluded the truth in N looks", head, rows)
        if error is sequence_error and max(e[-1] for e in errors) > ALPHA + ROUNDING:
            yield "beta-binomial excludes the truth too often"
    simulated = rules(studies)
    rows = [[e.rule, number(e.studies), str(e.wrong), f"{e.alpha:.2g}", f"{e.mean_trials:.0f}"] for e in simulated]
    table("Simulated rules", ["rule", "studies", "wrong", "alpha", "trials per width"], rows)
    yield from (f"{e.rule} errs {e.wrong} times in {e.studies}" for e in simulated if not e.kept)


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    broken = list(print_tables(TRIALS[:5] if quick else TRIALS, 100 if quick else 2000))
    print("\n" + ("\n".join(broken) or "every promise is kept"))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
