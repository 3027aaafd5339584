"""What one pass over the neurons costs, in units of drawing them: ``python benchmarks/streaming.py``.

n = 10, m = 5, widths 10 to 10^6 (6 per decade), sigmoid, both modes, one thread. Drawing is by the words of the
random-number contract; the pass draws, evaluates and certifies every width of the paper, trial and sharp rungs.
Medians of ratios within one run, since machines are noisy.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from mc.model.draws import CHUNK
from mc.trial.block import BlockTask, compute_block

N, M, TRIALS, SEED, CELL = 10, 5, 4, 1, (1, 2)
WIDTHS = tuple(sorted({round(10 ** (i / 6)) for i in range(6, 37)}))
RUNGS = ("paper", "trial", "sharp")


def drawing() -> None:
    """All neurons of the trials, as the contract words it."""
    for trial in range(TRIALS):
        for chunk in range(-(-WIDTHS[-1] // CHUNK)):
            bits = np.random.PCG64DXSM(np.random.SeedSequence(SEED, spawn_key=(*CELL, trial, 3, chunk)))
            rng = np.random.Generator(bits)
            rng.standard_normal(CHUNK)
            rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), (N, CHUNK))


def one_pass(ladder: tuple[str, ...]) -> None:
    """The block function without limit and flow."""
    problem = {"operator": "orthonormal", "n": N, "m": M, "signal": "gaussian", "noise": 0.0, "resample": "cell"}
    compute_block(
        BlockTask(
            SEED, CELL, problem, "sigmoid", "uniform", ("hidden", "both"), 500, "mse", 2.0, ladder, None, 0, TRIALS,
            WIDTHS, (),
        )
    )  # fmt: skip


def seconds(function: Callable[[], None]) -> float:
    """Wall-clock time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main(rounds: int = 7) -> None:
    """Print the two ratios."""
    with threadpool_limits(1):
        one_pass((*RUNGS, "conserved"))
        plain, conserved, base = [], [], []
        for _ in range(rounds):
            base.append(seconds(drawing))
            plain.append(seconds(lambda: one_pass(RUNGS)) / base[-1])
            conserved.append(seconds(lambda: one_pass((*RUNGS, "conserved"))) / base[-1])
    print(f"drawing {WIDTHS[-1]:,} neurons of n = {N}: {1e3 * np.median(base) / TRIALS:.1f} ms a trial")
    for name, ratios, target in (("without conserved", plain, 2.4), ("with conserved", conserved, 3.2)):
        low, high = np.quantile(ratios, [0.25, 0.75])
        quartiles = f"quartiles {low:.2f} to {high:.2f}; target {target}"
        print(f"whole pass, {name}: {np.median(ratios):.2f} x drawing ({quartiles})")


if __name__ == "__main__":
    main()
