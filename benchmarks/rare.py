"""Rare events against known truths: coverage of the intervals, the large-deviation rate of lambda_min, the cost.

``python benchmarks/rare.py coverage`` makes the table of closed forms of docs/rare.md (a quarter of an hour of one
core), ``brute`` counts failures of real margins in hundreds of thousands of networks, ``rate`` gives the rate of
Cramér's theorem beside that of theory §7.1, ``cost`` the time of 1e-9.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# the closed forms are those of the tests
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rare_cases import closed_forms, estimates

from mc.estimate import clopper_pearson
from mc.estimate.rare.probability import log_interval
from mc.model import activations
from mc.model.draws import SHARED_TRIAL, What, draw_problem, generator, get_law
from mc.theory import constants
from mc.trial.rare.margins import LambdaMin
from mc.trial.rare.repetitions import make_ensemble, make_margin, rare_arrays
from mc.trial.rare.settings import RareSettings
from mc.trial.rare.tilting import TiltedLaw
from mc.trial.task import BlockTask, Group, groups

PROBABILITIES = (1e-3, 1e-6, 1e-9, 1e-12)
INTERVALS = 200
REPETITIONS, PARTICLES, MOVES = 10, 150, 24


def coverage(intervals: int) -> Iterator[str]:
    """How often the 95 % interval holds the truth, and how wide it is."""
    yield "| failure | P | intervals that hold P | factor from middle to end, median | bias of the mean |"
    yield "|---|---|---|---|---|"
    for p in PROBABILITIES:
        for form in closed_forms(p):
            hits, factors, means = 0, [], []
            for seed in range(intervals):
                found = estimates(form, seed, REPETITIONS, PARTICLES, MOVES).probability
                lower, upper = log_interval(found)
                hits += lower <= form.truth <= upper
                factors.append(np.sqrt(upper / lower))
                means.append(found.mean() / form.truth)
            error = np.std(means) / np.sqrt(intervals)
            yield (
                f"| {form.name} | {form.truth:.3g} | {hits} of {intervals} | {np.median(factors):.2f} | "
                f"{np.mean(means) - 1.0:+.3f} ± {error:.3f} |"
            )


def rates() -> Iterator[str]:
    """-log P/k for large k by Cramér's theorem over a net of directions, and the constant of theory §7.1."""
    activation, law = activations.get("sigmoid"), get_law("uniform")
    yield "| n | rate of P(lambda_min <= 3/4 C^2) | rate of delta_1 | ratio |"
    yield "|---|---|---|---|"
    for n in (1, 2, 5, 10, 20):
        margin = LambdaMin(activation, n, 1000, 0.75)
        tilted = TiltedLaw.of(margin, law, generator(0, (0, 0), SHARED_TRIAL, What.ESTIMATION, n))
        rate = tilted.rate(0.75 * activation.moment_dphi**2)
        scale = (activation.moment_dphi / (activation.sup_dphi * law.entry_bound)) ** 2 / n
        bound = float(constants.chernoff_rate(0.25)) * scale
        yield f"| {n} | {rate:.5f} | {bound:.6f} | {rate / bound:.1f} |"


COSTS = (
    ("lambda_min", "hidden", "sigmoid", 0.75, 5, 3, 1400, 300, 8, 32),
    ("sharp", "both", "sigmoid", 1.0, 5, 3, 320, 300, 8, 32),
    ("exact", "hidden", "softplus", 0.0, 10, 10, 65, 300, 12, 48),
    ("exact", "hidden", "sigmoid", 0.0, 10, 10, 260, 200, 8, 24),
)


BRUTE = (
    ("lambda_min", "hidden", 0.75, 5, 3, (430, 570, 715)),
    ("sharp", "both", 1.0, 5, 3, (45, 75, 105)),
    ("exact", "hidden", 0.0, 10, 10, (140, 165, 185)),
)
DRAWS = (40_000, 200_000, 600_000)
"""Independent networks for probabilities near 1e-2, 1e-3 and 1e-4."""


def brute() -> Iterator[str]:
    """Failures counted in many independent networks, beside splitting, on the real margins."""
    yield "| margin | k | counted | 95 % of the count | splitting | 95 % of splitting |"
    yield "|---|---|---|---|---|---|"
    for name, mode, threshold, n, m, widths in BRUTE:
        settings = RareSettings(name, widths, mode, threshold, 200, 32, 32, 0.25, 24, 100, 0)
        for k, draws in zip(widths, DRAWS, strict=True):
            group = group_of(n, m, k, "sigmoid")
            ensemble = make_ensemble(make_margin(settings, group, k), group, k)
            rng, fails, size = generator(9, (0, 2), 0, What.NEURONS, k), 0, 2000
            for _ in range(0, draws, size):
                fails += int(ensemble.draw([rng], size).failures()[0].sum())
            low, high = (float(limit) for limit in clopper_pearson(fails, draws))
            found = rare_arrays(settings, group)
            p = found["rare_probability"][:32, 0]
            lower, upper = log_interval(p)
            yield (
                f"| {name}, {mode} | {k} | {fails} of {draws} | {low:.2e} to {high:.2e} | {p.mean():.2e} | "
                f"{lower:.2e} to {upper:.2e} |"
            )


def group_of(n: int, m: int, k: int, activation: str) -> Group:
    """128 trials of one problem with orthonormal rows, at one width."""
    spec = {"n": n, "m": m, "operator": "orthonormal", "signal": "gaussian", "noise": 0.0, "resample": "cell"}
    task = BlockTask(
        seed=9, cell=(0, 1), problem=spec, activation=activation, output_law="uniform", modes=("hidden", "both"), d=10,
        loss="mse", p=2.0, ladder=(), flow=None, first_trial=0, n_trials=128, widths=(k,), flow_widths=(),
    )  # fmt: skip
    (group,) = groups(task, [draw_problem(spec, 17, (0, 1), 0)])
    return group


def cost() -> Iterator[str]:
    """Processor seconds of an estimate near 1e-9, pilot included."""
    yield "| margin | k | P | 95 % interval | processor seconds |"
    yield "|---|---|---|---|---|"
    for margin, mode, name, threshold, n, m, k, particles, repetitions, moves in COSTS:
        settings = RareSettings(margin, (k,), mode, threshold, particles, repetitions, repetitions, 0.25, moves, 100, 0)
        group = group_of(n, m, k, name)
        begin = time.process_time()
        found = rare_arrays(settings, group)
        seconds = time.process_time() - begin
        p = found["rare_probability"][:repetitions, 0]
        lower, upper = log_interval(p)
        yield f"| {margin}, {name}, {mode} | {k} | {p.mean():.2g} | {lower:.2g} to {upper:.2g} | {seconds:.0f} |"


def main() -> None:
    """Print the tables that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=["coverage", "brute", "rate", "cost", []], default=[])
    parser.add_argument("--intervals", type=int, default=INTERVALS)
    options = parser.parse_args()
    chosen = options.tables or ["coverage", "brute", "rate", "cost"]
    tables = {"coverage": coverage(options.intervals), "brute": brute(), "rate": rates(), "cost": cost()}
    for name, lines in tables.items():
        if name in chosen:
            for line in lines:
                print(line, flush=True)


if __name__ == "__main__":
    main()
