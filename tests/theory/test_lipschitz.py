"""Lipschitz constants of the Jacobian: the closed forms against quadrature, the bounds against Jacobians."""

from __future__ import annotations

import numpy as np
import pytest
from cases import random_network
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from mc.model.network import Network
from mc.theory.lipschitz import PublishedLipschitz, TrialLipschitz

positive = st.floats(1e-3, 1e3)


def both(B1: float, B2: float, c: float, k: float) -> TrialLipschitz:
    return TrialLipschitz("both", B1, B2, np.array([c]), np.array([k]))


@given(B1=positive, B2=positive, c=st.floats(0, 100), k=st.floats(1, 1e6), s=st.floats(1e-3, 1e3))
def test_integrals_against_quadrature(B1: float, B2: float, c: float, k: float, s: float) -> None:
    lipschitz = both(B1, B2, c, k)
    ell, area = lipschitz.integrals(np.array([s]))

    # the integrand bends at rho = B1/B2 - c: pieces around it, or the quadrature misses a logarithm
    points = [x for x in B1 / B2 * np.geomspace(1e-2, 1e4, 13) if x < s] or None

    def integral(weight):
        f = lambda u: weight(u) * lipschitz.on_ball(u)[0]  # noqa: E731
        return quad(f, 0.0, s, points=points, epsabs=0.0, epsrel=1e-12, limit=500)[0]

    assert ell[0] == pytest.approx(integral(lambda u: 1.0), rel=1e-11)
    assert area[0] == pytest.approx(integral(lambda u: s - u), rel=1e-11)


@given(mode=st.sampled_from(["hidden", "both"]), B1=positive, B2=positive, c=positive, k=positive, sigma=positive)
def test_radius_and_reach_solve_their_equations(
    mode: str, B1: float, B2: float, c: float, k: float, sigma: float
) -> None:
    trial = TrialLipschitz(mode, B1, B2, np.array([c]), np.array([k]))
    paper = PublishedLipschitz(mode, max(B1, B2), c, 3, np.array([k]))
    at = np.array([sigma])
    for lipschitz in (trial, paper):
        radius = lipschitz.radius(at)
        np.testing.assert_allclose(2.0 * radius * lipschitz.on_ball(radius), sigma, rtol=1e-12)
    np.testing.assert_allclose(trial.integrals(trial.reach(at))[0], sigma, rtol=1e-9)


def test_constant_jacobian() -> None:
    none = TrialLipschitz("hidden", 1.0, 0.0, np.array([2.0]), np.array([5.0]))
    assert none.radius(np.array([1.0]))[0] == np.inf
    assert none.reach(np.array([1.0]))[0] == np.inf
    linear = both(1.0, 0.0, 2.0, 4.0)
    assert linear.on_ball(7.0)[0] == 0.5
    np.testing.assert_allclose(linear.integrals(np.array([3.0])), [[1.5], [2.25]])


def test_outside_the_theorem_nothing_is_published() -> None:
    for mode in ("hidden", "both"):
        paper = PublishedLipschitz(mode, 1.0, np.inf, 3, np.array([5.0]))
        assert paper.radius(np.array([1.0]))[0] == 0.0


@pytest.mark.parametrize("mode", ["hidden", "both"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "sin", "gelu"])
def test_jacobians_differ_by_no_more(rng: np.random.Generator, activation: str, mode: str) -> None:
    """Lip_rho bounds |J - J'| / |theta - theta'| inside the ball, and is attained up to a factor in `hidden`."""
    n, k = 3, 6
    largest = 0.0
    for _ in range(50):
        net = random_network(rng, n, k, 2, activation)
        c, rho = np.linalg.norm(net.V, axis=0).max(), rng.uniform(0.1, 3.0)
        points = []
        for _ in range(2):
            dV = rng.standard_normal((n, k)) * (mode == "both")
            # along u, where the network feels W
            dW = np.outer(rng.standard_normal(k), net.u)
            size = np.sqrt((dV**2).sum() + (dW**2).sum())
            scale = rho * rng.uniform(0.0, 1.0) / size
            points.append(Network(net.V + scale * dV, net.W + scale * dW, net.u, net.activation))
        one, two = points
        distance = np.sqrt(((one.V - two.V) ** 2).sum() + ((one.W - two.W) ** 2).sum())
        ratio = np.linalg.norm(one.jacobian(mode) - two.jacobian(mode), 2) / distance
        bound = TrialLipschitz(mode, net.activation.sup_dphi, net.activation.lip_dphi, np.array([c]), np.array([k]))
        paper = PublishedLipschitz(mode, net.activation.bound, np.sqrt(3.0), n, np.array([float(k)]))
        assert ratio <= bound.on_ball(rho)[0] * (1 + 1e-12)
        assert bound.on_ball(rho)[0] <= paper.on_ball(rho)[0] * (1 + 1e-12)
        largest = max(largest, ratio / bound.on_ball(rho)[0])
    # a bound that were never approached would test nothing
    assert largest > 0.2
