"""The plain reference against finite differences and a dense SVD."""

from __future__ import annotations

import numpy as np
import pytest
from cases import random_network, random_problem

from mc.model.losses import get as get_loss
from mc.model.network import Network
from mc.model.problem import ProblemBatch
from mc.theory.certificates import spectra


def flat(network: Network, mode: str) -> np.ndarray:
    return np.concatenate([network.V.ravel(), network.W.ravel()]) if mode == "both" else network.W.ravel()


def at(network: Network, theta: np.ndarray, mode: str) -> Network:
    split = network.V.size if mode == "both" else 0
    V = theta[:split].reshape(network.V.shape) if split else network.V
    return Network(V, theta[split:].reshape(network.W.shape), network.u, network.activation)


@pytest.mark.parametrize("mode", ["hidden", "both"])
@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "sin", "gelu"])
def test_jacobian_and_gradient_against_differences(rng: np.random.Generator, activation: str, mode: str) -> None:
    network, problem = random_network(rng, 3, 4, 5, activation), random_problem(rng, 2, 3)
    loss, theta, step = get_loss("logcosh"), flat(network, mode), 1e-6
    J = network.jacobian(mode)
    gradient = network.gradient(problem.A, problem.y, loss, mode)
    gradient = np.concatenate([gradient[0].ravel(), gradient[1].ravel()])[-theta.size :]
    for i in range(theta.size):
        move = np.zeros_like(theta)
        move[i] = step
        ahead, behind = at(network, theta + move, mode), at(network, theta - move, mode)
        # second-order differences: the error is step^2 times a third derivative plus rounding / step
        np.testing.assert_allclose((ahead.output - behind.output) / (2 * step), J[:, i], atol=1e-9)
        values = [loss.value(problem.A @ net.output - problem.y) for net in (ahead, behind)]
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradient[i], abs=1e-8)


@pytest.mark.parametrize("mode", ["hidden", "both"])
@pytest.mark.parametrize(("m", "n", "k"), [(2, 4, 9), (4, 4, 9), (6, 4, 9), (2, 4, 3)])
def test_spectra_against_dense_svd(rng: np.random.Generator, m: int, n: int, k: int, mode: str) -> None:
    network, problem = random_network(rng, n, k, 7, "tanh"), random_problem(rng, m, n)
    J = network.jacobian(mode)
    dphi, z = network.activation.dphi(network.pre_activations), network.activation.phi(network.pre_activations)
    gram, square_z = (network.V * dphi**2) @ network.V.T, z @ z
    found = spectra(gram[None], np.array([square_z]), ProblemBatch.stack([problem]), k, mode, 10)
    # an eigenvalue of the Gram matrix is right to a few ulp of its trace, which the code subtracts on purpose
    slack = 100 * 2.0**-53 * np.trace(J @ J.T)
    for value, matrix, number in (
        (found.sigma_0, J, n),
        (found.sigma_Z, problem.Z.T @ J, problem.rank),
        (found.sigma_obs, problem.U.T @ problem.A @ J, problem.rank),
    ):
        smallest = np.linalg.svd(matrix, compute_uv=False)[number - 1] if min(matrix.shape) >= number else 0.0
        assert value[0] <= smallest * (1 + 1e-12)
        assert value[0] ** 2 == pytest.approx(smallest**2, abs=slack)
    if mode == "hidden" and k < n:
        assert found.sigma_0[0] == 0.0
        assert found.sigma_Z[0] > 0.0
