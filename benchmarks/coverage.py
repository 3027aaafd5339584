"""The tables of docs/statistics.md: `python benchmarks/coverage.py` prints them, with the long self-test at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from mc.estimate import METHODS, MethodClass, clopper_pearson, exact_coverage, run_selftest, worst_coverage
from mc.estimate.sampling.rule_errors import TRUTH, Goal, adaptive_errors, crossing_errors
from mc.estimate.selftest.coverage import PROBABILITIES, TRIALS, peeking_error, sequence_error

ALPHA = 0.05


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def number(n: float) -> str:
    return f"{n:,.0f}".replace(",", " ")


def fixed() -> None:
    for name, method in METHODS.items():
        if method.method_class is MethodClass.TIME_UNIFORM:
            continue
        rows = [
            [f"{p:g}", *(f"{100 * exact_coverage(name, p, n, 1 - ALPHA).coverage:.2f}" for n in TRIALS)]
            for p in PROBABILITIES
        ]
        worst = [f"{100 * worst_coverage(name, n, 1 - ALPHA).coverage:.2f}" if n <= 10_000 else "" for n in TRIALS]
        head = ["p \\ N", *map(number, TRIALS)]
        table(f"{name} ({method.method_class}), two-sided 95 %", head, [*rows, ["worst p", *worst]])


def stopping() -> None:
    head = ["p \\ N", *map(number, TRIALS)]
    for title, error, most in (
        ("beta-binomial (time-uniform) 95 %, prior Beta(1/2, 1/2)", sequence_error, TRIALS[-1]),
        ("clopper-pearson 95 % looked at after every trial", peeking_error, TRIALS[-1]),
    ):
        rows = []
        for p in PROBABILITIES:
            found = error(p, most, ALPHA)
            ever = np.cumsum(found.below + found.above)
            rows.append([f"{p:g}", *(f"{100 * (1 - ever[n - 1]):.2f}" for n in TRIALS)])
        table(title, head, rows)


def rules() -> None:
    half, decide, none = Goal(target_half_width=0.05), Goal(decide=True), np.full(3, np.nan)
    found = [
        adaptive_errors(1, 2000, half, none),
        adaptive_errors(2, 2000, decide, TRUTH),
        adaptive_errors(3, 2000, decide, TRUTH + 1e-9),
        *(crossing_errors(4, 2000, slope) for slope in (1.0, 3.0, 30.0)),
    ]
    rows = [[e.rule, number(e.studies), str(e.wrong), f"{e.alpha:.2g}", f"{e.mean_trials:.0f}"] for e in found]
    table("simulated rules", ["rule", "studies", "wrong", "alpha", "trials per width"], rows)


def main() -> int:
    fixed()
    stopping()
    rules()
    start = time.process_time()
    clopper_pearson(np.random.Generator(np.random.PCG64DXSM(1)).integers(0, 1001, 100_000), 1000)
    print(f"\n100 000 Clopper-Pearson intervals at N = 1000: {time.process_time() - start:.2f} s")
    found = run_selftest(long=True)
    print("\n" + "\n".join(found.lines()))
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
