"""What other tools make of the same trials: ``python benchmarks/peers.py``.

Sigmoid, Gaussian A, n = 60, mse, hidden layer trained, d = 500 inputs where W is full; converged when the loss falls
to 1e-7 before t = 10^6, or within 25 000 steps of gradient descent. Three settings: easy with (m, k) = (10, 1000);
(10, 100), where some trials cannot converge; stiff with (55, 1000). Verdicts are compared with `decide`.
What has all of W as its state gets fewer trials. Times are of the processor. A tool that is not installed is skipped.

    pip install torch jax diffrax equinox
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib.util import find_spec
from time import process_time

import numpy as np
from flow import RTOL, TOLERANCE, Case, seconds, to_tolerance
from scipy.integrate import solve_ivp
from threadpoolctl import threadpool_limits

from mc.flow.descent import stable_step
from mc.theory.codes import Exact, Outcome

HORIZON, STEPS, D, ATOL = 1e6, 25_000, 500, 1e-8
Verdicts = np.ndarray
Solver = Callable[[Case], Verdicts]


def full_weights(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """W (T, k, D) and the input u (D,), with W u = h."""
    rng = np.random.default_rng(3)
    u = rng.standard_normal(D)
    u /= np.linalg.norm(u)
    W = rng.standard_normal((case.trials, case.k, D))
    W += (case.h - W @ u)[:, :, None] * u
    return W, u


def scipy_reduced(case: Case, method: str = "LSODA") -> Verdicts:
    """One trial after the other, h as the state."""
    return np.array([_solve(case, trial, case.h[trial], method) for trial in range(case.trials)])


def scipy_full(case: Case, method: str = "RK45") -> Verdicts:
    """One trial after the other, all of W as the state."""
    W, u = full_weights(case)
    return np.array([_solve(case, trial, W[trial].ravel(), method, u) for trial in range(case.trials)])


def _solve(case: Case, trial: int, start: np.ndarray, method: str, u: np.ndarray | None = None) -> bool:
    G = case.problems[trial].S[:, None] * case.flow.Q_start[trial] / np.sqrt(case.k)
    target, shape = case.problems[trial].target, (case.k, -1)

    def see(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = state if u is None else state.reshape(shape) @ u
        z = 1.0 / (1.0 + np.exp(-h))
        return z, G @ z - target

    def field(_t: float, state: np.ndarray) -> np.ndarray:
        z, residual = see(state)
        slope = -z * (1.0 - z) * (residual @ G)
        return slope if u is None else np.outer(slope, u).ravel()

    def reached(_t: float, state: np.ndarray) -> float:
        return 0.5 * float(np.sum(see(state)[1] ** 2)) - TOLERANCE

    reached.terminal = True  # type: ignore[attr-defined]
    # SciPy's default keeps every accepted state: with t_eval empty it keeps none
    answer = solve_ivp(field, (0.0, HORIZON), start, method, [], events=reached, rtol=RTOL, atol=ATOL)
    return answer.status == 1


def fastest_scipy(solver: Callable[[Case, str], Verdicts], methods: tuple[str, ...], few: Case) -> str:
    """The quickest method on a few trials."""
    return min(methods, key=lambda method: seconds(lambda: solver(few, method)))


def diffrax_solver(full: bool) -> Solver:
    """vmap over the trials of Tsit5 with adaptive steps, in double precision; compiled at the first call."""
    # read when jax is first imported: one thread, double precision
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    import diffrax
    import jax
    import jax.numpy as jnp

    def residual_of(state, u, G, target):
        z = jax.nn.sigmoid(state @ u if full else state)
        return z, G @ z - target

    def field(_t, state, args):
        u, G, target = args
        z, residual = residual_of(state, u, G, target)
        slope = -z * (1.0 - z) * (residual @ G)
        return jnp.outer(slope, u) if full else slope

    def reached(_t, state, args, **_):
        return 0.5 * jnp.sum(residual_of(state, *args)[1] ** 2) <= TOLERANCE

    def one(state, u, G, target):
        answer = diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, HORIZON, None, state, (u, G, target),
            stepsize_controller=diffrax.PIDController(rtol=RTOL, atol=ATOL), event=diffrax.Event(reached),
            max_steps=1_000_000, throw=False,
        )  # fmt: skip
        return reached(None, answer.ys[-1], (u, G, target))

    batched = jax.jit(jax.vmap(one, in_axes=(0, None, 0, 0)))

    def solve(case: Case) -> Verdicts:
        start, u = full_weights(case) if full else (case.h, np.zeros(1))
        G = case.flow.problems.S[:, :, None] * case.flow.Q_start / np.sqrt(case.k)
        return np.asarray(batched(start, u, G, case.flow.problems.target))

    return solve


def torch_full(case: Case) -> Verdicts:
    """The literature's protocol: W full, step 1, at most 25 000 steps, one trial at a time, automatic gradient."""
    import torch

    torch.set_num_threads(1)
    W_all, u = full_weights(case)
    u, verdicts = torch.from_numpy(u), []
    for trial, problem in enumerate(case.problems):
        W = torch.from_numpy(W_all[trial]).requires_grad_()
        G = torch.from_numpy(problem.S[:, None] * case.flow.Q_start[trial] / np.sqrt(case.k))
        target, converged = torch.from_numpy(problem.target), False
        for _ in range(STEPS):
            loss = 0.5 * torch.sum((G @ torch.sigmoid(W @ u) - target) ** 2)
            if loss.item() < TOLERANCE:
                converged = True
                break
            (slope,) = torch.autograd.grad(loss, W)
            with torch.no_grad():
                W -= slope
        verdicts.append(converged)
    return np.array(verdicts)


def torch_reduced(case: Case) -> Verdicts:
    """All trials at once in h, nine tenths of the largest stable step at the start, as many steps."""
    import torch

    torch.set_num_threads(1)
    G = torch.from_numpy(case.flow.problems.S[:, :, None] * case.flow.Q_start / np.sqrt(case.k))
    gamma = torch.from_numpy(0.9 * 2.0 * stable_step(case.flow, case.h))[:, None]
    h, target = torch.from_numpy(case.h.copy()), torch.from_numpy(case.flow.problems.target)
    left, verdicts = torch.arange(case.trials), np.zeros(case.trials, dtype=bool)
    with torch.no_grad():
        for _ in range(STEPS):
            z = torch.sigmoid(h)
            residual = torch.bmm(G, z[:, :, None])[:, :, 0] - target
            done = 0.5 * torch.sum(residual**2, dim=1) < TOLERANCE
            if done.any():
                verdicts[left[done].numpy()] = True
                keep = ~done
                h, G, target, gamma, left, z, residual = (
                    each[keep] for each in (h, G, target, gamma, left, z, residual)
                )
                if not left.numel():
                    break
            h = h - gamma * z * (1.0 - z) * torch.bmm(residual[:, None, :], G)[:, 0, :]
    return verdicts


def package_flow(case: Case) -> Verdicts:
    """The flow of this package by the loss tolerance, without the limit's help."""
    return case.integrate(to_tolerance, horizon=HORIZON).outcome == Outcome.CONVERGED_TOLERANCE


def package_limit(case: Case) -> Verdicts:
    """The decision of this package."""
    return case.decide().exact == Exact.REACHES_ZERO


def solvers(few: Case) -> dict[str, Solver | str]:
    """What to run, or why not."""
    reduced = fastest_scipy(scipy_reduced, ("LSODA", "DOP853", "RK45"), few)
    full = fastest_scipy(scipy_full, ("DOP853", "RK45"), few)
    found: dict[str, Solver | str] = {
        "dipmc, exact limit": package_limit,
        "dipmc, flow to 1e-7": package_flow,
        f"SciPy {reduced} on reduced h": lambda case: scipy_reduced(case, reduced),
        f"SciPy {full} on full W": lambda case: scipy_full(case, full),
    }
    have_diffrax, have_torch = (all(map(find_spec, names)) for names in (("diffrax", "jax"), ("torch",)))
    for name, wide in (("diffrax Tsit5 vmap on reduced h", False), ("diffrax Tsit5 vmap on full W", True)):
        found[name] = diffrax_solver(wide) if have_diffrax else "diffrax is not installed"
    found["PyTorch, batched descent on reduced h, largest stable step"] = (
        torch_reduced if have_torch else "torch is not installed"
    )
    found["PyTorch, descent on full W, step 1 (literature)"] = torch_full if have_torch else "torch is not installed"
    return found


def measure(solve: Solver, case: Case, truth: Verdicts, warm: bool, rounds: int) -> tuple[float, str]:
    """Median ms a trial, and in how many trials the verdict is that of `decide`."""
    if warm:
        solve(case)
    times, verdicts = [], truth
    for _ in range(rounds):
        begin = process_time()
        verdicts = solve(case)
        times.append(1e3 * (process_time() - begin) / case.trials)
    return float(np.median(times)), f"{np.count_nonzero(verdicts == truth)} of {case.trials}"


def main(rounds: int = 3, only: str = "") -> None:
    """Print one row for each peer whose name holds ``only``."""
    settings = ((10, 1_000, 8, 2), (10, 100, 16, 4), (55, 1_000, 4, 2))
    cases = [Case.draw(m, k, "hidden", trials) for m, k, trials, _ in settings]
    few = [Case.draw(m, k, "hidden", trials) for m, k, _, trials in settings]
    heads = " | ".join(f"({case.m}, 60, {case.k}): ms a trial | agrees" for case in cases)
    print(f"| tool, one thread | {heads} |")
    print("|---|" + "---|---|" * len(cases))
    with threadpool_limits(1):
        for name, solve in solvers(few[0]).items():
            if only not in name:
                continue
            if isinstance(solve, str):
                print(f"| {name} | skipped: {solve} |" + " |" * (2 * len(cases) - 1), flush=True)
                continue
            full, compiled, cells = "full W" in name, "diffrax" in name, []
            for case in few if full else cases:
                if full and "PyTorch" not in name and case.m > 50:
                    cells += ["not run: minutes a trial", ""]
                    continue
                # what takes long is timed once
                slow = full or case.k == 100 or case.m > 50
                took, agreement = measure(solve, case, package_limit(case), not slow or compiled, 1 if slow else rounds)
                cells += [f"{took:.3g}", agreement]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    reached = [f"{np.count_nonzero(package_limit(c))} of {c.trials} at (m, k) = ({c.m}, {c.k})" for c in cases]
    print(f"\n- zero loss is reached in {', '.join(reached)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="other tools on the same trials")
    parser.add_argument("--only", default="", help="run the tools whose name holds this")
    main(only=parser.parse_args().only)
