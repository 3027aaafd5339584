"""Error against seconds and against right-hand sides of every method: ``python benchmarks/work_precision.py``.

Sigmoid, Gaussian A with n = 60, mse, k = 1000, a mild case (m = 10) and a stiff one (m = 55), each mode; every trial is
integrated to the time at which its loss falls to 1e-7, and the error is that of theta there, the median over trials.
A right-hand side is one evaluation of the activation at all neurons. SciPy takes the reduced state of one trial at a
time; its implicit solvers are left out where their dense Jacobian has more than 10^7 entries. Writes
docs/figures/work-precision-*.svg and prints what it drew.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flow import Case, never, seconds, to_tolerance
from matplotlib.axes import Axes
from scipy.integrate import solve_ivp
from seaborn import despine
from threadpoolctl import threadpool_limits

from mc.flow.stepper import norm
from mc.report.style import BLUE, GREEN, INK, MODE_NAMES, ORANGE, PURPLE, VERMILLION, log_ticks, panel, to_svg

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
DENSE = 10**7
"""Entries of a Jacobian beyond which SciPy's implicit solvers are not tried."""

LINES = {
    "dual": (BLUE, "o", "-", "dual (exponential Rosenbrock)"),
    "lowrank": (VERMILLION, "s", "-", "lowrank (exponential Runge-Kutta)"),
    "explicit": (GREEN, "^", "-", "explicit (Dormand-Prince)"),
    "DOP853": (PURPLE, "D", "--", "SciPy DOP853"),
    "LSODA": (ORANGE, "v", "--", "SciPy LSODA"),
    "Radau": (INK, "P", "--", "SciPy Radau"),
}
SCIPY = ("DOP853", "LSODA", "Radau")


@dataclass(frozen=True)
class Point:
    """One run: error in theta, seconds a trial, right-hand sides a trial."""

    error: float
    seconds: float
    evaluations: float


class Counting:
    """An activation that counts its evaluations, trials times calls."""

    def __init__(self, activation: Any) -> None:
        self._activation, self.calls = activation, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._activation, name)

    def phi_dphi(self, h: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        """Count, then evaluate."""
        self.calls += h.size // h.shape[-1]
        return self._activation.phi_dphi(h, *args, **kwargs)


@dataclass(frozen=True)
class Task:
    """Trials, where they end, and their tight solution."""

    case: Case
    until: np.ndarray
    exact: np.ndarray

    @classmethod
    def of(cls, m: int, mode: str, trials: int) -> Task:
        """Trials with DOP853 at 1e-12 as the tight solution."""
        case = Case.draw(m, 1_000, mode, trials)
        until = case.integrate(to_tolerance).time
        ends = [solve(case, trial, until[trial], "DOP853", 1e-12).y[:, -1] for trial in range(trials)]
        return cls(case, until, np.stack(ends).reshape(case.flow.start(case.h).shape))

    def own(self, method: str, rtol: float, rounds: int) -> Point:
        """A method of the package; the run that counts is timed as well."""
        counter = Counting(self.case.flow.activation)
        counted = replace(self.case, flow=replace(self.case.flow, activation=counter))
        states: list[np.ndarray] = []
        times = [seconds(lambda: states.append(counted.integrate(never, method, rtol, self.until).state))]
        calls = counter.calls
        again = partial(self.case.integrate, never, method, rtol, self.until)
        times += [seconds(again) for _ in range(rounds - 1)]
        error = float(np.median(norm(states[0] - self.exact)))
        return Point(error, float(np.median(times)) / self.case.trials, calls / self.case.trials)

    def scipy(self, method: str, rtol: float, trials: int) -> Point:
        """A solver of SciPy, on the reduced state of the first trials."""
        points = []
        for trial in range(trials):
            answers: list[Any] = []
            took = seconds(partial(self._append, answers, trial, method, rtol))
            error = np.linalg.norm(answers[0].y[:, -1] - self.exact[trial].ravel())
            # a Jacobian by differences costs a right-hand side for each unknown; LSODA counts them itself
            jacobians = self.exact[trial].size * answers[0].njev if method == "Radau" else 0
            points.append((error, took, answers[0].nfev + jacobians))
        return Point(*(float(value) for value in np.median(points, axis=0)))

    def _append(self, answers: list[Any], trial: int, method: str, rtol: float) -> None:
        answers.append(solve(self.case, trial, self.until[trial], method, rtol))


def solve(case: Case, trial: int, until: float, method: str, rtol: float) -> Any:
    """SciPy on the reduced state of one trial, the right-hand side in plain NumPy."""
    flow = case.flow.take(np.array([trial]))
    problem, Q_start, root = case.problems[trial], flow.Q_start[0], np.sqrt(case.k)
    start = flow.start(case.h[trial : trial + 1])[0]

    def field(_t: float, y: np.ndarray) -> np.ndarray:
        state = y.reshape(start.shape)
        Q = Q_start if case.mode == "hidden" else state[1:]
        z = 1.0 / (1.0 + np.exp(-state[0]))
        pull = problem.S * (problem.S * (Q @ z) / root - problem.target) / root
        slope = np.empty_like(start)
        slope[0] = -z * (1.0 - z) * (pull @ Q)
        if case.mode == "both":
            np.multiply.outer(-pull, z, out=slope[1:])
        return slope.ravel()

    return solve_ivp(field, (0.0, until), start.ravel(), method, [until], rtol=rtol, atol=1e-3 * rtol)


def curves(task: Task, scipy_trials: int, tolerances: tuple[float, ...]) -> dict[str, list[Point]]:
    """Every method at every tolerance."""
    found: dict[str, list[Point]] = {}
    stiff, unknowns = task.case.m > 50, task.exact[0].size
    for name in LINES:
        if (name == "dual" and task.case.mode == "both") or (name in ("LSODA", "Radau") and unknowns**2 > DENSE):
            continue
        # what stability limits costs the same at every tolerance: fewer of them say as much
        slow = name == "Radau" or (stiff and name in ("explicit", *SCIPY))
        rtols = tolerances[1::2] if slow else tolerances
        if name in SCIPY:
            found[name] = [task.scipy(name, rtol, 1 if slow else scipy_trials) for rtol in rtols]
        else:
            found[name] = [task.own(name, rtol, 1 if slow else 3) for rtol in rtols]
        for rtol, point in zip(rtols, found[name], strict=True):
            print(
                f"| {task.case.m} | {task.case.mode} | {name} | {rtol:.0e} | {point.error:.1e} | "
                f"{1e3 * point.seconds:.3g} | {point.evaluations:.0f} |",
                flush=True,
            )
    return found


def draw(m: int, mode: str, found: dict[str, list[Point]]) -> str:
    """Two panels: seconds, right-hand sides."""
    kind = "stiff" if m > 50 else "mild"
    with panel(8.2, 4.1) as (figure, axes):
        axes.remove()
        panels: list[Axes] = list(figure.subplots(1, 2, sharey=True))
        for name, points in found.items():
            colour, marker, dash, label = LINES[name]
            errors = [point.error for point in points]
            for axis, values in zip(
                panels, ([1e3 * p.seconds for p in points], [p.evaluations for p in points]), strict=True
            ):
                axis.plot(
                    values,
                    errors,
                    color=colour,
                    marker=marker,
                    linestyle=dash,
                    label=label,
                    markersize=5.0,
                    linewidth=1.4,
                )
        for axis, label in zip(panels, ("milliseconds a trial", "right-hand sides a trial"), strict=True):
            axis.set_xscale("log")
            axis.set_yscale("log")
            log_ticks(axis, "x", minor=True)
            log_ticks(axis, "y")
            axis.set_xlabel(f"{label} (log scale)")
            despine(ax=axis)
        panels[0].set_ylabel("error in θ at the end (log scale)")
        figure.suptitle(
            f"{kind}: (m, n, k) = ({m}, 60, 1000), {MODE_NAMES[mode]}",
            x=0.01,
            ha="left",
            fontsize=9.5,
            fontweight="bold",
        )
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
        path = FIGURES / f"work-precision-{mode}-{kind}.svg"
        path.write_text(to_svg(figure, f"Work and precision, {kind} case, {MODE_NAMES[mode]}"), encoding="utf-8")
    return path.name


def main(tolerances: tuple[float, ...]) -> None:
    """Run every method and write the figures."""
    print("| m | mode | method | rtol | error | ms a trial | right-hand sides |")
    print("|---|---|---|---|---|---|---|")
    with threadpool_limits(1):
        for m, mode, trials, scipy_trials in (
            (10, "hidden", 8, 3), (10, "both", 8, 3), (55, "hidden", 2, 1), (55, "both", 1, 1),
        ):  # fmt: skip
            draw(m, mode, curves(Task.of(m, mode, trials), scipy_trials, tolerances))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="work-precision diagrams of the integrators")
    parser.add_argument("--decades", type=int, default=6, help="tolerances from 1e-3 down, one a decade")
    main(tuple(10.0 ** -(3 + i) for i in range(parser.parse_args().decades)))
