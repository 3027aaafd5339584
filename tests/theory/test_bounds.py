"""Probability bounds: constants by hand and against simulation, the search against direct evaluation (theory §7)."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal, localcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc.errors import InputError
from mc.model import activations, losses
from mc.model.arrays import Array
from mc.theory import bounds, constants
from mc.theory.codes import FORMS, MODES
from mc.theory.constants import Setting

EPS = float(np.finfo(np.float64).eps)
ROOT3 = math.sqrt(3.0)
SIGMOID = activations.get("sigmoid")

pytestmark = pytest.mark.filterwarnings("error")


def setting(n: int = 10, m: int = 5, **changes: Any) -> Setting:
    """Orthonormal rows and |y| = sqrt m, the size of a Gaussian signal's observation."""
    size = math.sqrt(m)
    plain = Setting(n, m, 1.0, 1.0, size, size, size, losses.get("mse"), SIGMOID, ROOT3, True)
    return replace(plain, **changes)


each_mode = pytest.mark.parametrize("mode", MODES)
each_form = pytest.mark.parametrize("form", FORMS)


# --- constants by hand


def test_chernoff_by_hand() -> None:
    assert constants.chernoff_rate(0.5) == pytest.approx(0.5 + 0.5 * math.log(0.5), rel=4 * EPS)
    assert constants.chernoff_rate(1.0) == 1.0
    # eta^2/2 (1 + eta/3 + ...): the plain formula keeps no digit here
    assert constants.chernoff_rate(1e-9) == pytest.approx(0.5e-18 * (1 + 1e-9 / 3), rel=4 * EPS)
    # on both sides of the change of formula; the plain one loses eta/rate = 100 roundings
    for eta in (0.0199, 0.0201):
        exact = math.fsum(eta**j / (j * (j - 1)) for j in range(2, 30))
        assert constants.chernoff_rate(eta) == pytest.approx(exact, rel=200 * EPS)
    # n exp(-rate C^2 k/(B1^2 V^2 n)) with C = 2, B1 = 1/2, V = 4: the fraction is 1/n
    value = constants.chernoff_failure(30, 1.0, n=3, moment_dphi=2.0, sup_dphi=0.5, entry_bound=4.0)
    assert value == pytest.approx(3 * math.exp(-10 * 1.0), rel=16 * EPS)
    assert constants.chernoff_failure(1, 0.5, n=3, moment_dphi=2.0, sup_dphi=0.5, entry_bound=4.0) == 1.0


def test_chernoff_of_the_prototype_falls_below_one_from_width_983() -> None:
    given_by: dict[str, Any] = {
        "n": 5,
        "moment_dphi": SIGMOID.moment_dphi,
        "sup_dphi": SIGMOID.sup_dphi,
        "entry_bound": ROOT3,
    }
    assert constants.chernoff_failure(982, 0.25, **given_by) == 1.0
    assert constants.chernoff_failure(983, 0.25, **given_by) < 1.0


def test_activation_norm_by_hand() -> None:
    k, delta = 4, math.exp(-2.0)  # sqrt(2 log(1/delta)/k) = 1
    assert constants.activation_norm_upper(k, delta, moment_phi=2.0, sup_dphi=0.5) == pytest.approx(2.5)
    assert constants.activation_norm_upper(k, delta, moment_phi=2.0, sup_dphi=0.5, sup_phi=2.25) == 2.25
    assert constants.activation_norm_upper(k, 0.0, moment_phi=2.0, sup_dphi=0.5, sup_phi=3.0) == 3.0
    lower = constants.activation_norm_lower(k, delta, moment_phi=2.0, sup_dphi=0.5)
    assert lower == pytest.approx(math.sqrt(4 - 0.25 / 4) - 0.5)
    assert constants.activation_norm_lower(1, 0.5, moment_phi=1.0, sup_dphi=2.0) == 0.0  # C_phi^2 < B1^2/k
    assert constants.activation_norm_lower(k, 1e-9, moment_phi=1.0, sup_dphi=1.0) == 0.0  # deviation beyond the mean
    assert constants.activation_norm_lower(k, 0.0, moment_phi=1.0, sup_dphi=1.0) == 0.0


def test_initial_residual_by_hand() -> None:
    A: dict[str, float] = {"norm_A": 2.0, "frobenius_A": 3.0, "frobenius_AAT": 5.0, "entry_bound": 7.0}
    delta = math.exp(-4.0)
    value = constants.initial_output_upper(0.5, delta, subgaussian=True, **A)
    assert value == pytest.approx(0.5 * math.sqrt(9 + 2 * 5 * 2 + 2 * 4 * 4))
    value = constants.initial_output_upper(0.5, delta, subgaussian=False, **A)
    assert value == pytest.approx(0.5 * (3 + 2 * math.sqrt(2) * 7 * 2 * 2))


def test_subgaussian_form_never_exceeds_that_of_a_bounded_law() -> None:
    A = np.array([[1.0, 2.0, 0.0], [0.0, 0.5, 1.0]])
    norms: dict[str, Any] = {
        "norm_A": np.linalg.norm(A, 2),
        "frobenius_A": np.linalg.norm(A),
        "frobenius_AAT": np.linalg.norm(A @ A.T),
    }
    delta = np.geomspace(1e-300, 0.999, 50)
    forms = [constants.initial_output_upper(1.0, delta, subgaussian=x, entry_bound=1.0, **norms) for x in (True, False)]
    assert np.all(forms[0] < forms[1])


def direct_lipschitz(case: Setting, mode: str, form: str, k: float, rho: float) -> float:
    """Lip of theory §4, as printed there."""
    B1, B2, V, n = case.activation.sup_dphi, case.activation.lip_dphi, case.entry_bound, case.n
    B, c_max = max(B1, B2), math.sqrt(n) * V
    if (mode, form) == ("hidden", "trial"):
        return B2 * c_max / math.sqrt(k)
    if (mode, form) == ("hidden", "paper"):
        return B * V * math.sqrt(n / k)
    if (mode, form) == ("both", "paper"):
        return B * (1 + 2 * (V + rho)) * math.sqrt(n / k)
    b = B2 * (c_max + rho)
    return (b + math.sqrt(b * b + 4 * B1 * B1)) / (2 * math.sqrt(k))


def direct_radius(case: Setting, mode: str, form: str, k: float, sigma_0: float) -> float:
    """R with R = sigma_0/(2 Lip_R), by bisection on log R, from below."""
    low, high = math.log(1e-30), math.log(1e30)
    for _ in range(200):
        middle = 0.5 * (low + high)
        fits = 2 * math.exp(middle) * direct_lipschitz(case, mode, form, k, math.exp(middle)) <= sigma_0
        low, high = (middle, high) if fits else (low, middle)
    return math.exp(low)


@each_mode
@each_form
def test_lipschitz_and_largest_psi_against_bisection(mode: str, form: str) -> None:
    for name in ("sigmoid", "tanh", "identity"):
        case = setting(activation=activations.get(name), sigma_A=0.3)
        for k, sigma, rho in ((3, 2.0, 0.7), (10**5, 0.01, 1e-3), (10**18, 0.4, 40.0)):
            lip = direct_lipschitz(case, mode, form, k, rho)
            assert constants.lipschitz(case, mode, form, k, rho) == pytest.approx(lip, rel=16 * EPS)
            largest = constants.largest_psi(case, mode, form, k, sigma)
            if lip == 0.0:
                assert largest == math.inf
            else:  # R' = R at the largest psi; bisection ends at 70 * 2^-53 in log R
                radius = 2 * largest / (case.sigma_A * sigma)
                assert radius == pytest.approx(direct_radius(case, mode, form, k, sigma), rel=200 * EPS)
    assert constants.largest_psi(setting(), mode, form, 10, 0.0) == 0.0


# --- constants against simulation: a measured frequency exceeds its bound by at most 5 standard errors


def allowed(delta: float, trials: int) -> float:
    return delta + 5 * math.sqrt(delta * (1 - delta) / trials)


@pytest.mark.parametrize(("k", "eta"), [(8, 0.75), (24, 0.5), (60, 0.4)])
def test_chernoff_against_simulation(rng: np.random.Generator, k: int, eta: float) -> None:
    n, trials = 2, 20_000
    dphi = SIGMOID.dphi(rng.standard_normal((trials, 1, k)))
    scaled = dphi * (2.0 * rng.integers(0, 2, (trials, n, k)) - 1.0)
    smallest = np.linalg.eigvalsh(scaled @ scaled.transpose(0, 2, 1) / k)[:, 0]
    frequency = float(np.mean(smallest <= (1 - eta) * SIGMOID.moment_dphi**2))
    delta = constants.chernoff_failure(
        k, eta, n=n, moment_dphi=SIGMOID.moment_dphi, sup_dphi=SIGMOID.sup_dphi, entry_bound=1.0
    )
    assert 0 < frequency <= allowed(float(delta), trials)
    assert delta < 1


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus"])
@pytest.mark.parametrize("delta", [0.3, 0.05])
def test_activation_norm_against_simulation(rng: np.random.Generator, name: str, delta: float) -> None:
    act, k, trials = activations.get(name), 40, 20_000
    s = np.linalg.norm(act.phi(rng.standard_normal((trials, k))), axis=1) / math.sqrt(k)
    moments = {"moment_phi": act.moment_phi, "sup_dphi": act.sup_dphi}
    upper = float(constants.activation_norm_upper(k, delta, **moments))
    lower = float(constants.activation_norm_lower(k, delta, **moments))
    assert np.mean(s > upper) <= allowed(delta, trials)
    assert np.mean(s < lower) <= allowed(delta, trials)
    assert upper - lower < 25 * np.std(s)  # not an idle test: the bounds are on the scale of s


@pytest.mark.parametrize("law", ["uniform", "rademacher"])
@pytest.mark.parametrize("subgaussian", [True, False])
def test_initial_residual_against_simulation(rng: np.random.Generator, law: str, subgaussian: bool) -> None:
    m, n, k, trials, delta = 2, 3, 20, 20_000, 0.1
    A = rng.standard_normal((m, n))
    z = SIGMOID.phi(rng.standard_normal(k))  # the bound holds given z
    V = rng.uniform(-ROOT3, ROOT3, (trials, n, k)) if law == "uniform" else 2.0 * rng.integers(0, 2, (trials, n, k)) - 1
    output = np.linalg.norm(V @ z @ A.T, axis=1) / math.sqrt(k)
    upper = constants.initial_output_upper(
        np.linalg.norm(z) / math.sqrt(k),
        delta,
        norm_A=float(np.linalg.norm(A, 2)),
        frobenius_A=float(np.linalg.norm(A)),
        frobenius_AAT=float(np.linalg.norm(A @ A.T)),
        entry_bound=ROOT3 if law == "uniform" else 1.0,
        subgaussian=subgaussian,
    )
    assert np.mean(output > upper) <= allowed(delta, trials)
    assert np.mean(output > 0.1 * upper) > delta  # not an idle test: a tenth of the bound would fail


@each_mode
def test_p_theory_stays_below_the_measured_frequency(rng: np.random.Generator, mode: str) -> None:
    act, n, trials = activations.get("tanh"), 2, 60
    y = np.array([0.6, -0.8])
    case = Setting(n, n, 1.0, 1.0, math.sqrt(2), math.sqrt(2), 1.0, losses.get("mse"), act, ROOT3, True)
    largest = int(bounds.k_theory(case, mode, "trial", 0.3))
    h, V = rng.standard_normal((trials, largest)), rng.uniform(-ROOT3, ROOT3, (trials, n, largest))
    for k in np.geomspace(4, largest, 12).astype(int):
        holds = 0
        for h_k, V_k in zip(h[:, :k], V[:, :, :k], strict=True):
            z, scaled = act.phi(h_k), V_k * act.dphi(h_k)
            gram = scaled @ scaled.T / k + (z @ z / k if mode == "both" else 0.0) * np.eye(n)
            sigma = math.sqrt(float(np.linalg.eigvalsh(gram)[0]))
            radius = 2 * float(np.linalg.norm(V_k @ z / math.sqrt(k) - y)) / sigma
            b = act.lip_dphi * (float(np.linalg.norm(V_k, axis=0).max()) + (radius if mode == "both" else 0.0))
            lip = b if mode == "hidden" else 0.5 * (b + math.sqrt(b * b + 4 * act.sup_dphi**2))
            holds += 2 * radius * lip / math.sqrt(k) < sigma
        p = float(bounds.p_theory(case, mode, "trial", int(k)))
        assert holds / trials + 5 * math.sqrt(p * (1 - p) / trials) >= p
    assert p >= 0.7  # the last width, where the bound says something


# --- the search


def verify(case: Setting, mode: str, form: str, k: int) -> bounds.Parameters:
    """Evaluate theory §7.1-3 and §4 directly at the parameters behind P_theory(k)."""
    point = bounds.certifying_parameters(case, mode, form, k)
    act, V = case.activation, case.entry_bound
    B1, (delta_1, delta_2, delta_3, delta_4) = act.sup_dphi, point.deltas

    def tail(delta: float) -> float:
        return B1 * math.sqrt(2 * math.log(1 / delta) / k)

    assert all(delta == 0.0 or event in point.events for event, delta in enumerate(point.deltas, start=1))
    # alone or in company a width has one value, to the last digits of the search
    assert bounds.failure(case, mode, form, k) == pytest.approx(sum(point.deltas), rel=4 * EPS)
    square = 0.0
    if 1 in point.events:
        with localcontext(prec=50):  # the plain rate loses all digits at small eta
            eta = Decimal(point.eta)
            rate = float(eta + (1 - eta) * (1 - eta).ln()) if eta < 1 else 1.0
        exponent = rate * act.moment_dphi**2 * k / (B1**2 * V**2 * case.n)
        # a rounding of the exponent moves exp by exponent EPS; the rate keeps all but 100 roundings (at eta = 0.02)
        assert delta_1 == pytest.approx(case.n * math.exp(-exponent), rel=150 * (1 + exponent) * EPS, abs=1e-300)
        square += (1 - point.eta) * act.moment_dphi**2
    if 3 not in point.events:
        assert direct_lipschitz(case, mode, form, k, 1.0) == 0.0
        return point
    if 4 in point.events:
        assert mode == "both"
        square += max(math.sqrt(act.moment_phi**2 - B1**2 / k) - tail(delta_4), 0.0) ** 2
    upper = act.moment_phi + tail(delta_2) if 2 in point.events else act.sup_phi
    tau = math.log(1 / delta_3)
    if case.subgaussian:
        factor = math.sqrt(case.frobenius_A**2 + 2 * case.frobenius_AAT * math.sqrt(tau) + 2 * case.norm_A**2 * tau)
    else:
        factor = case.frobenius_A + 2 * math.sqrt(2 * tau) * V * case.norm_A
    residual = min(upper, act.sup_phi) * factor + case.norm_y
    if case.loss.kind == "logcosh":
        root = residual / math.sqrt(case.m)  # arccosh(cosh^m) without overflow
        log_cosh = case.m * (root + math.log1p(math.exp(-2 * root)) - math.log(2))
        psi = log_cosh + math.log1p(math.sqrt(-math.expm1(-2 * log_cosh)))
    else:
        psi = residual
    sigma = math.sqrt(square)
    needed = 2 * psi / (case.sigma_A * sigma)
    assert needed < direct_radius(case, mode, form, k, sigma)
    assert 2 * needed * direct_lipschitz(case, mode, form, k, needed) < sigma
    return point


CASES = st.builds(
    lambda n, m, name, loss, log_sigma, y, law: setting(
        n,
        min(m, n),
        sigma_A=10.0**log_sigma,
        activation=activations.get(name),
        loss=loss,
        norm_y=y,
        entry_bound=law[0],
        subgaussian=law[1],
    ),
    n=st.integers(1, 60),
    m=st.integers(1, 60),
    name=st.sampled_from(["sigmoid", "tanh", "softplus", "arctan", "identity", "sin"]),
    loss=st.sampled_from([losses.get("mse"), losses.get("power", 3), losses.get("logcosh")]),
    log_sigma=st.floats(-2, 0),
    y=st.floats(0, 10),
    law=st.sampled_from([(ROOT3, True), (1.0, True), (2.5, False)]),
)


@settings(max_examples=12)
@given(case=CASES, mode=st.sampled_from(MODES), form=st.sampled_from(FORMS), log_delta=st.floats(-12, -0.01))
def test_certificates_are_valid_and_k_theory_is_their_first_width(
    case: Setting, mode: str, form: str, log_delta: float
) -> None:
    delta = math.exp(log_delta)
    first = bounds.k_theory(case, mode, form, delta)
    assert isinstance(first, int)
    assert bounds.p_theory(case, mode, form, first) >= 1 - delta
    if first > 1:
        assert bounds.p_theory(case, mode, form, first - 1) < 1 - delta
    for k in (first, 3 * first, 1000 * first):
        assert bounds.p_theory(case, mode, form, k) >= 1 - delta
        verify(case, mode, form, k)


@settings(max_examples=8)
@given(case=CASES, mode=st.sampled_from(MODES))
def test_non_decreasing_and_trial_above_paper(case: Setting, mode: str) -> None:
    start = bounds.k_theory(case, mode, "trial", 0.9)
    k = np.unique(np.concatenate([np.arange(start, start + 20), np.geomspace(start, min(1e6 * start, 1e18), 30)]))
    rng = np.random.default_rng(0)
    order = rng.permutation(len(k))  # the order of the widths must not matter
    trial, paper = (bounds.failure(case, mode, form, k[order])[np.argsort(order)] for form in ("trial", "paper"))
    assert np.all(np.diff(trial) <= 0)
    assert np.all(np.diff(paper) <= 0)
    # the search ends within STEP_END^2 of its minimum, times the curvature of the logarithm of the sum, below 1e4
    assert np.all(trial <= paper * (1 + 1e-10))
    # alone or in company a width has one value, to the last digits of the search
    alone = [float(bounds.failure(case, mode, "trial", x)) for x in k[::10]]
    np.testing.assert_allclose(trial[::10], alone, rtol=1e-10)


def brute_force(case: Setting, mode: str, form: str, k: int, rng: np.random.Generator, draws: int) -> float:
    """Best 1 - sum of deltas over random parameters, by another route: eta from delta_2 to delta_4, R' < R by trial."""
    act, best = case.activation, 0.0
    names = ("norm_A", "frobenius_A", "frobenius_AAT", "entry_bound", "subgaussian")
    norms = {name: getattr(case, name) for name in names}
    near = [delta or 0.01 for delta in bounds.certifying_parameters(case, mode, form, k).deltas[1:]]
    spread = rng.choice([1e-3, 0.03, 1.0], (draws, 1))
    for drop in ((), (2,), (1,), (4,), (1, 2), (2, 4)):
        if (drop != () and drop != (2,) and mode == "hidden") or (2 in drop and math.isinf(act.sup_phi)):
            continue
        # half of the draws anywhere, half about the parameters of the search
        anywhere, about = rng.uniform(-16, 0, (draws, 3)), spread * rng.standard_normal((draws, 3))
        about = about + np.log(near)
        delta = np.minimum(np.exp(np.where(rng.random((draws, 1)) < 0.5, anywhere, about)), 0.999)
        delta_2, delta_3 = np.where(2 in drop, 0.0, delta[:, 0]), delta[:, 1]
        delta_4 = np.where(mode == "hidden" or 4 in drop, 0.0, delta[:, 2])
        moments = {"moment_phi": act.moment_phi, "sup_dphi": act.sup_dphi}
        upper = constants.activation_norm_upper(k, delta_2, sup_phi=act.sup_phi, **moments)
        output = constants.initial_output_upper(upper, delta_3, **norms)
        psi = case.loss.psi_upper(output + case.norm_y, case.m)
        lower = constants.activation_norm_lower(k, delta_4, **moments)
        square = np.where(delta_4 > 0, lower**2, 0.0)

        def certified(sigma: Array, psi: Array = psi) -> Array:
            with np.errstate(divide="ignore"):
                rho = 2 * psi / (case.sigma_A * sigma)
            return np.asarray(2 * rho * constants.lipschitz(case, mode, form, k, rho) < sigma)

        delta_1 = np.zeros(draws)
        if 1 in drop:
            feasible = certified(np.sqrt(square))
        else:
            feasible = certified(np.sqrt(square + act.moment_dphi**2))
            low, high = np.zeros(draws), np.ones(draws)
            for _ in range(55):  # the largest eta that certifies
                eta = 0.5 * (low + high)
                fits = certified(np.sqrt(square + (1 - eta) * act.moment_dphi**2))
                low, high = np.where(fits, eta, low), np.where(fits, high, eta)
            delta_1 = constants.chernoff_failure(
                k, low, n=case.n, moment_dphi=act.moment_dphi, sup_dphi=act.sup_dphi, entry_bound=case.entry_bound
            )
        total = delta_1 + delta_2 + delta_3 + delta_4
        best = max(best, float(np.max(np.where(feasible, 1 - total, 0.0))))
    return best


@each_mode
@each_form
@pytest.mark.parametrize(("name", "n", "delta"), [("sigmoid", 10, 0.9), ("tanh", 4, 0.3), ("softplus", 2, 0.02)])
def test_no_random_search_beats_the_optimum(
    rng: np.random.Generator, mode: str, form: str, name: str, n: int, delta: float
) -> None:
    case = setting(n, (n + 1) // 2, activation=activations.get(name))
    k = int(bounds.k_theory(case, mode, form, delta))
    found, optimum = brute_force(case, mode, form, k, rng, 2000), float(bounds.p_theory(case, mode, form, k))
    assert found <= optimum + 1e-6
    assert found >= optimum - 1e-3  # the random search is a judge: it comes close


def test_tiny_failures_keep_their_digits() -> None:
    case = setting()
    k = bounds.k_theory(case, "hidden", "trial", 1e-15)
    assert bounds.p_theory(case, "hidden", "trial", int(k)) >= 1 - 1e-15
    # 1 - P would be a multiple of 1.1e-16; the sum of deltas is not
    assert 1e-16 < bounds.failure(case, "hidden", "trial", int(k)) < 1.1e-15
    assert 0 < bounds.failure(case, "hidden", "trial", 10 * int(k)) < 1e-17


@each_mode
@each_form
def test_huge_widths(mode: str, form: str) -> None:
    assert bounds.p_theory(setting(), mode, form, 10**18) == 1.0
    hard = setting(sigma_A=1e-9)
    assert bounds.k_theory(hard, mode, form, 0.05) == math.inf
    np.testing.assert_array_equal(bounds.p_theory(hard, mode, form, [1, 10**9, 10**18]), 0.0)


def test_k_theory_near_the_largest_widths_is_exact() -> None:
    case = setting(sigma_A=1e-5)
    k = bounds.k_theory(case, "hidden", "trial", 0.05)
    assert 1e14 < k < 1e18
    assert (
        bounds.p_theory(case, "hidden", "trial", int(k) - 1) < 0.95 <= bounds.p_theory(case, "hidden", "trial", int(k))
    )


def test_identity_hidden_needs_event_1_alone() -> None:
    case = setting(activation=activations.get("identity"))
    k = bounds.k_theory(case, "hidden", "trial", 0.05)
    # n exp(-k/(3 n)) <= 0.05: k = 30 log 200 = 158.95
    assert k == 159
    assert bounds.certifying_parameters(case, "hidden", "trial", 159).events == (1,)
    assert bounds.p_theory(case, "hidden", "trial", 159) == pytest.approx(1 - 10 * math.exp(-5.3), rel=8 * EPS)


def test_law_outside_the_theorem_and_unknown_loss_bounds_are_vacuous() -> None:
    gaussian = setting(entry_bound=math.inf)
    assert bounds.failure(gaussian, "both", "trial", 10**9) == 1.0
    assert bounds.certifying_parameters(gaussian, "both", "trial", 10**9).events == ()
    assert bounds.k_theory(gaussian, "hidden", "paper", 0.5) == math.inf
    own: Any = SimpleNamespace(psi_upper_inverse=lambda psi, m: np.zeros_like(psi))  # nothing known from the norm
    assert bounds.p_theory(setting(loss=own), "both", "trial", 10**18) == 0.0


def test_bounded_phi_can_drop_event_2() -> None:
    # so few activations that Gaussian concentration says less than sup|phi|: a made-up activation with a large slope
    steep: Any = SimpleNamespace(sup_dphi=50.0, lip_dphi=1e-6, sup_phi=0.6, moment_phi=0.5, moment_dphi=40.0)
    case = setting(activation=steep)
    k = int(bounds.k_theory(case, "hidden", "trial", 0.05))
    assert verify(case, "hidden", "trial", k).events == (1, 3)
    unbounded: Any = SimpleNamespace(**{**vars(steep), "sup_phi": math.inf})
    assert bounds.p_theory(case, "hidden", "trial", k) > bounds.p_theory(
        setting(activation=unbounded), "hidden", "trial", k
    )


def test_shapes_and_refusals() -> None:
    assert bounds.p_theory(setting(), "both", "trial", 1000).shape == ()
    assert bounds.p_theory(setting(), "both", "trial", np.ones((2, 3))).shape == (2, 3)
    assert bounds.p_theory(setting(), "both", "trial", []).shape == (0,)
    for call, message in (
        (lambda: bounds.p_theory(setting(), "neither", "trial", 5), "mode"),
        (lambda: bounds.p_theory(setting(), "both", "best", 5), "form"),
        (lambda: bounds.p_theory(setting(), "both", "trial", 0), "width"),
        (lambda: bounds.k_theory(setting(), "both", "trial", 0.0), "delta"),
        (lambda: bounds.k_theory(setting(), "both", "trial", math.nan), "delta"),
        (lambda: setting(sigma_A=0.0), "sigma_A"),
        (lambda: setting(norm_y=math.nan), "norm_y"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_published_form() -> None:
    assert constants.published_width("hidden", n=10, sigma_A=0.5, psi=3.0) == 10 * 36
    assert constants.published_width("both", n=10, sigma_A=0.5, psi=3.0) == 10 * 36**2
    assert constants.published_probability("hidden", n=10, d=500) == pytest.approx(0.898)
    assert constants.published_probability("both", n=10, d=500) == pytest.approx(0.798)
    assert constants.published_probability("both", n=1, d=500) == 0.0
    assert "recalled" in constants.PUBLISHED_NOTE
