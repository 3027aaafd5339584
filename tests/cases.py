"""Small problems, networks and block tasks that several tests share."""

from __future__ import annotations

import numpy as np

from mc.flow.field import ReducedFlow
from mc.model.activations import get as get_activation
from mc.model.losses import get as get_loss
from mc.model.network import Network
from mc.model.problem import Problem, ProblemBatch, make_problem
from mc.trial.block import BlockTask


def random_problem(rng: np.random.Generator, m: int, n: int, *, condition: float | None = None) -> Problem:
    """A Gaussian operator, or one whose singular values are log-spaced; a signal and some noise."""
    A = rng.standard_normal((m, n)) / np.sqrt(n)
    if condition is not None:
        U, _, Zt = np.linalg.svd(A, full_matrices=False)
        A = U * np.geomspace(1.0, 1.0 / condition, min(m, n)) @ Zt
    return make_problem(A, rng.standard_normal(n), 0.1 * rng.standard_normal(m))


def random_network(rng: np.random.Generator, n: int, k: int, d: int, activation: str) -> Network:
    """A network at initialisation, with h standard normal and uniform V."""
    u = rng.standard_normal(d)
    u /= np.linalg.norm(u)
    return Network(
        rng.uniform(-np.sqrt(3), np.sqrt(3), (n, k)), rng.standard_normal((k, d)), u, get_activation(activation)
    )


def reduced(problem: Problem, network: Network, mode: str, loss: str = "mse", p: float = 2.0) -> ReducedFlow:
    """The reduced flow of one network."""
    return ReducedFlow(
        mode,
        network.activation,
        get_loss(loss, p if loss == "power" else None),
        ProblemBatch.stack([problem]),
        (problem.Z.T @ network.V)[None],
    )


def block_task(**changes: object) -> BlockTask:
    """A block of sigmoid networks, one mode, without flow; every value can be changed."""
    values = {
        "seed": 3, "cell": (1, 2), "problem": {}, "activation": "sigmoid", "output_law": "uniform",
        "modes": ("hidden",), "d": 10, "loss": "mse", "p": 2.0, "ladder": ("sharp", "exact"), "flow": None,
        "first_trial": 0, "n_trials": 6, "widths": (10,), "flow_widths": (),
    }  # fmt: skip
    return BlockTask(**{**values, **changes})
