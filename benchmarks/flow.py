"""What deciding and integrating the flow costs, in units of drawing it: ``python benchmarks/flow.py [--peers]``.

I = drawing a trial's neurons by the contract and forming Q = Z^T V. Sigmoid, Gaussian A, mse, rtol 1e-5, loss tolerance
1e-7, no certificates, one thread and processor time (two workers where it says so). Every figure is a median of ratios
within one run, since machines are noisy. ``--peers`` adds the table of `peers.py`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from mc.flow.attainable import Decision, Target, decide
from mc.flow.case import Case as FlowCase
from mc.flow.field import ReducedFlow
from mc.flow.integrate import Ending, integrate, integrate_checked
from mc.flow.settings import FlowSettings
from mc.flow.stepper import norm
from mc.flow.stopping import Never, RestartRule, Rule, ToleranceRule
from mc.model.activations import get as get_activation
from mc.model.draws import CHUNK, draw_chunk, draw_problem, get_law
from mc.model.losses import get as get_loss
from mc.model.problem import Problem, ProblemBatch
from mc.theory.codes import Outcome
from mc.trial.block import BlockTask, compute_block

N, SEED, CELL, RTOL, TOLERANCE = 60, 1, (1, 2), 1e-5, 1e-7
LAW = get_law("uniform")
Rules = Callable[[int], Rule]


def to_tolerance(_trials: int) -> Rule:
    return ToleranceRule(TOLERANCE)


def never(_trials: int) -> Rule:
    return Never()


@dataclass(frozen=True)
class Case:
    """Trials of one setting, drawn."""

    m: int
    k: int
    mode: str
    problems: tuple[Problem, ...]
    h: np.ndarray
    flow: ReducedFlow

    @classmethod
    def draw(cls, m: int, k: int, mode: str, trials: int) -> Case:
        """Draw problems and neurons of the first trials."""
        problems = tuple(draw_problem(specification(m), SEED, CELL, trial) for trial in range(trials))
        batch = ProblemBatch.stack(problems)
        h, Q = np.empty((trials, k)), np.empty((trials, m, k))
        draw_neurons(problems, h, Q)
        return cls(m, k, mode, problems, h, ReducedFlow(mode, get_activation("sigmoid"), get_loss("mse"), batch, Q))

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.problems)

    def batches(self) -> list[np.ndarray]:
        """Rows that are integrated together."""
        return FlowCase(FlowSettings(), self.flow, self.h).batches(np.arange(self.trials))

    def drawing(self) -> None:
        """I, for every trial."""
        draw_neurons(self.problems, np.empty_like(self.h), np.empty_like(self.flow.Q_start))

    def decide(self) -> Decision:
        """Convergence of the hidden layer without integration."""
        batch = self.flow.problems
        return decide(Target(self.h, self.flow.Q_start, batch.target / batch.S, batch.S, self.k), self.flow.activation)

    def integrate(
        self,
        rules: Rules,
        method: str = "auto",
        rtol: float = RTOL,
        until: np.ndarray | None = None,
        function: Callable[..., Ending] = integrate,
        horizon: float = 1e6,
    ) -> Ending:
        """All trials, in batches of the size that `mc.trial.flows` takes."""
        ending = Ending.of(self.flow.start(self.h))
        controls = FlowSettings(rtol=rtol, atol=1e-3 * rtol, horizon=horizon, method=method)
        for rows in self.batches():
            flow, h = self.flow.take(rows), self.h[rows]
            if function is integrate_checked:
                part = integrate_checked(flow, h, controls, rules)
            else:
                part = integrate(flow, h, controls, rules(rows.size), until=None if until is None else until[rows])
            ending.replace(rows, part)
        return ending


def specification(m: int) -> dict[str, object]:
    """The [problem] table."""
    return {"operator": "gaussian", "n": N, "m": m, "signal": "gaussian", "noise": 0.0, "resample": "trial"}


def draw_neurons(problems: Iterable[Problem], h: np.ndarray, Q: np.ndarray) -> None:
    """Draw h and form Q = Z^T V, chunk by chunk."""
    k, values, V = h.shape[1], np.empty(CHUNK), np.empty((N, CHUNK))
    for trial, problem in enumerate(problems):
        for chunk in range(-(-k // CHUNK)):
            draw_chunk(SEED, CELL, trial, chunk, LAW, values, V)
            begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, k)
            h[trial, begin:end] = values[: end - begin]
            np.matmul(problem.Z.T, V[:, : end - begin], out=Q[trial, :, begin:end])


def seconds(function: Callable[[], object]) -> float:
    """Processor time of one call: what others run on the machine counts little."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def wall(function: Callable[[], object]) -> float:
    """Wall-clock time of one call, for what runs on several workers."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def ratios(base: Callable[[], object], runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each run by round, in turns; under "base" those of the base, taken before and after every run."""
    for function in runs.values():
        function()
    found: dict[str, list[float]] = {name: [] for name in ("base", *runs)}
    for _ in range(rounds):
        for name, function in runs.items():
            before, mine, after = seconds(base), seconds(function), seconds(base)
            found["base"].append(min(before, after))
            found[name].append(mine / min(before, after))
    return {name: np.array(values) for name, values in found.items()}


def row(
    case: Case | str, what: str, target: str, measured: np.ndarray | float, limit: float, least: bool = False
) -> None:
    """One line of the Markdown table."""
    name = case if isinstance(case, str) else f"({case.m}, {N}, {case.k}) {case.mode}"
    middle = float(np.median(measured))
    spread = f" ({np.min(measured):.3g} to {np.max(measured):.3g})" if np.size(measured) > 1 else ""
    met = middle >= limit if least else middle <= limit
    verdict = "met" if met else f"missed by {limit / middle if least else middle / limit:.2g} x"
    print(f"| {name} | {what} | {target} | {middle:.3g}{spread} | {verdict} |", flush=True)


def against_drawing(case: Case, targets: dict[str, float], rounds: int) -> None:
    """Rows in units of I."""
    runs: dict[str, Callable[[], object]] = {
        "exact limit": case.decide,
        "flow, restart": partial(case.integrate, RestartRule, function=integrate_checked),
        "flow to 1e-7": partial(case.integrate, to_tolerance),
    }
    found = ratios(case.drawing, {name: runs[name] for name in targets}, rounds)
    for name, limit in targets.items():
        row(case, name, f"<= {limit:g} I", found[name], limit)
    ending = case.integrate(to_tolerance)
    outcomes = " ".join(
        f"{Outcome(code).label} {count}" for code, count in enumerate(np.bincount(ending.outcome)) if count
    )
    size = case.batches()[0].size
    notes.append(
        f"({case.m}, {N}, {case.k}) {case.mode}: I = {1e3 * np.median(found['base']) / case.trials:.2f} ms, "
        f"{case.trials} trials in batches of {size}, {np.median(ending.steps):.0f} attempts, {outcomes}"
    )


def against_explicit(case: Case, tolerances: tuple[float, ...], limit: float) -> None:
    """Speed against the explicit pair at the same measured error in theta, at the times where the flow ended."""
    until = case.integrate(to_tolerance).time
    # the explicit pair, or where that takes minutes the method which tests hold to SciPy
    method = "explicit" if case.mode == "hidden" else "lowrank"
    reference = case.integrate(never, method, 1e-10, until).state

    def error(state: np.ndarray) -> float:
        return float(np.median(norm(state - reference)))

    def auto() -> None:
        states.append(case.integrate(never, until=until).state)

    states: list[np.ndarray] = []
    own = np.array([seconds(auto) for _ in range(3)])
    table = []
    for rtol in tolerances:
        time_taken = seconds(lambda rtol=rtol: states.append(case.integrate(never, "explicit", rtol, until).state))
        table.append((error(states[-1]), time_taken))
        own = np.append(own, seconds(auto))
    wanted = error(states[0])
    errors, times = np.array(sorted(table)).T
    # beyond the table its end stands, which can only be to the advantage of the explicit pair
    matched = np.exp(np.interp(np.log(wanted), np.log(errors), np.log(times)))
    row(case, "speed against the explicit pair, equal error", f">= {limit:g} x", matched / own, limit, least=True)
    pairs = ", ".join(
        f"{rtol:.0e}: {err:.1e} in {1e3 * t / case.trials:.0f} ms"
        for rtol, (err, t) in zip(tolerances, table, strict=True)
    )
    mine = 1e3 * np.median(own) / case.trials
    notes.append(
        f"({case.m}, {N}, {case.k}) {case.mode}: error {wanted:.1e} in {mine:.0f} ms a trial; explicit pair {pairs}"
    )


def growth_in_width(rounds: int) -> None:
    """Cost against k, per neuron."""
    for mode in ("hidden", "both"):
        widths, cost = (100, 1_000, 10_000, 100_000), []
        for k in widths:
            case = Case.draw(10, k, mode, max(1, min(50, 20_000 // k)))
            case.integrate(to_tolerance)
            cost.append(min(seconds(partial(case.integrate, to_tolerance)) for _ in range(rounds)) / case.trials)
        slope = np.polyfit(np.log(widths[1:]), np.log(cost[1:]), 1)[0]
        row(f"(10, {N}, 100 to 100 000) {mode}", "exponent of k in the cost, k >= 1000", "<= 1.1", slope, 1.1)
        listed = ", ".join(f"{1e3 * t:.3g} ms at k = {k}" for k, t in zip(widths, cost, strict=True))
        notes.append(f"(10, {N}, k) {mode}, flow to 1e-7: {listed}")


def task(d: int, trials: int, widths: tuple[int, ...], first: int = 0) -> BlockTask:
    """A block as a run computes it, certificates off: limit, flow by the rule restart, companion included."""
    settings = FlowSettings(rule="restart", rtol=RTOL)
    return BlockTask(
        SEED, CELL, specification(10), "sigmoid", "uniform", ("hidden",), d, "mse", 2.0, ("exact",), settings, first,
        trials, widths, widths,
    )  # fmt: skip


def flatness_in_d(rounds: int) -> None:
    """Length of the network's input: from drawing to outcome."""
    d_values = (10, 1_000, 100_000)
    runs = {str(d): partial(compute_block, task(d, 25, (1_000,))) for d in d_values[1:]}
    found = ratios(partial(compute_block, task(d_values[0], 25, (1_000,))), runs, rounds)
    for d in d_values[1:]:
        row(f"(10, {N}, 1000) hidden", f"block of d = {d} against d = 10", "<= 1.1 x", found[str(d)], 1.1)


def draw_only(first: int, trials: int, k: int) -> None:
    problems = [draw_problem(specification(10), SEED, CELL, first + trial) for trial in range(trials)]
    draw_neurons(problems, np.empty((trials, k)), np.empty((trials, 10, k)))


def workers(trials: int, rounds: int) -> None:
    """Two workers against one, and a whole study against its drawing on two."""
    widths, size = (50, 100, 200, 400, 800, 1_500, 2_500, 4_000), 25
    firsts = range(0, trials, size)
    tasks = [delayed(compute_block)(task(500, size, widths, first)) for first in firsts]
    draws = [delayed(draw_only)(first, size, widths[-1]) for first in firsts]
    one, two, study = [], [], []
    with Parallel(n_jobs=2, inner_max_num_threads=1) as pool:
        pool(tasks[:2] + draws[:2])
        for _ in range(rounds):
            two.append(wall(partial(pool, tasks)))
            one.append(wall(lambda: [function(*args) for function, args, _ in tasks]))
            study.append([sum(pool(delayed(seconds)(partial(f, *a)) for f, a, _ in jobs)) for jobs in (tasks, draws)])
    gain = np.array(one) / np.array(two)
    row(f"{len(tasks)} blocks of {size} trials", "two workers against one", ">= 1.8 x", gain, 1.8, least=True)
    work, drawn = np.array(study).T
    name = f"{trials} trials x 8 widths to 4000, (10, {N}) hidden"
    row(name, "limit and restart, two workers", "<= 5 x drawing", work / drawn, 5.0)
    notes.append(
        f"{trials} trials x 8 widths: {np.median(work):.2f} s of processor time in two workers, drawing "
        f"{np.median(drawn):.2f} s; 10 000 trials are {10_000 / trials:.0f} such runs"
    )
    load = os.getloadavg()[0]
    notes.append(f"two workers against one is by the clock; the load average was {load:.1f}, 2 when nothing else runs")


def share_of_checks(case: Case, rounds: int) -> None:
    """What the tests of the certificate cost: a restart run against the same trajectories without them."""
    ending = case.integrate(RestartRule, function=integrate_checked)
    plain = partial(case.integrate, never, rtol=RestartRule.loosest, until=ending.time)
    found = ratios(plain, {"restart": partial(case.integrate, RestartRule, function=integrate_checked)}, rounds)
    share = 1.0 - 1.0 / found["restart"]
    row(case, "tests of the certificate, part of a restart run", "<= 10 %", 100.0 * share, 10.0)
    notes.append(f"{case.mode} restart: {np.median(ending.steps):.0f} attempts, {ending.steps.max()} at most")


notes: list[str] = []


def main(rounds: int = 5, with_peers: bool = False) -> None:
    """Print the table, then what lies behind it."""
    print("| (m, n, k) and layers trained | what | target | measured: median (range) | verdict |")
    print("|---|---|---|---|---|")
    with threadpool_limits(1):
        hidden = Case.draw(10, 1_000, "hidden", 50)
        against_drawing(hidden, {"exact limit": 1.2, "flow, restart": 2.0, "flow to 1e-7": 4.0}, rounds)
        stiff = Case.draw(55, 1_000, "hidden", 4)
        against_drawing(stiff, {"flow to 1e-7": 200.0}, rounds)
        against_explicit(stiff, (1e-5, 1e-6, 1e-7, 1e-8), 3.0)
        against_drawing(Case.draw(10, 1_000, "both", 16), {"flow to 1e-7": 12.0}, rounds)
        against_explicit(Case.draw(55, 1_000, "both", 2), (1e-4, 1e-5, 1e-6), 3.0)
        growth_in_width(2)
        flatness_in_d(rounds)
        workers(200, 3)
        share_of_checks(hidden, rounds)
        both = Case.draw(10, 1_000, "both", 16)
        checked = ratios(
            partial(both.integrate, never, until=both.integrate(to_tolerance).time),
            {"checked": partial(both.integrate, RestartRule, function=integrate_checked)},
            rounds,
        )
        notes.append(
            f"both layers, restart with its companion: {np.median(checked['checked']):.1f} x the plain run to 1e-7"
        )
    print()
    for note in notes:
        print(f"- {note}")
    if with_peers:
        import peers

        print()
        peers.main()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="cost of limit and flow in units of drawing")
    parser.add_argument("--peers", action="store_true", help="add the comparison with other solvers")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.peers)
