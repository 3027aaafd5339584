"""Primitives Phi and Pi, their inverses, the floors of theory §7.5, and the special functions beneath them."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy.integrate import quad
from scipy.optimize import brentq
from test_activations import OwnSigmoid, OwnSilu, OwnSin, ShiftedTanh

from mc.model.activations import NAMES, Activation, get
from mc.model.activations.monotone import Softplus
from mc.model.activations.special import double_sinh_inverse, solve_increasing, wright_omega

pytestmark = pytest.mark.filterwarnings("error")

EPS = float(np.finfo(np.float64).eps)
INCREASING = tuple(name for name in NAMES if get(name).increasing)


def error_of_omega(x: float, omega: float) -> float:
    """Relative error of omega, to first order, from its residual in 40 digits."""
    getcontext().prec = 40
    w = Decimal(omega)
    return float(abs(w + w.ln() - Decimal(x)) / (1 + w))


@given(x=st.one_of(st.floats(-700.0, 100.0), st.floats(-5.0, 5.0), st.floats(60.0, 1e10), st.floats(1e10, 1e300)))
@settings(max_examples=300, deadline=None)
def test_wright_omega_to_the_last_places(x):
    omega = float(wright_omega(x))
    assert error_of_omega(x, omega) <= 4e-16


def test_wright_omega_agrees_with_scipy_at_every_regime():
    x = np.concatenate([np.linspace(-700.0, 80.0, 20_001), np.geomspace(60.0, 1e12, 2000)])
    # 4e-16 ours, tested above; scipy errs by 3.6e-15 near x = -34
    np.testing.assert_allclose(wright_omega(x), special.wrightomega(x), rtol=5e-15)
    shuffled = np.random.default_rng(0).permutation(x.size)
    np.testing.assert_array_equal(wright_omega(x[shuffled]), wright_omega(x)[shuffled])  # regimes mixed in a chunk


def test_wright_omega_beyond_the_floats():
    x = np.array([-1e6, -745.5, -np.inf, np.nan])
    assert np.isnan(wright_omega(x)[3])
    np.testing.assert_array_equal(wright_omega(x)[:3], 0.0)
    assert wright_omega(np.empty((2, 0))).shape == (2, 0)


@given(c=st.one_of(st.floats(-70.0, 70.0), st.floats(-1e-3, 1e-3), st.floats(-1e300, 1e300)))
@settings(max_examples=300, deadline=None)
def test_root_of_the_double_sinh(c):
    getcontext().prec = 340  # exp(h) - exp(-h) cancels down to the smallest floats
    h = float(double_sinh_inverse(c))
    exact = Decimal(h)
    residual = 2 * exact + exact.exp() - (-exact).exp() - Decimal(c)
    slope = 2 + exact.exp() + (-exact).exp()
    # 3 last places of h, or of the smallest normal float: the Taylor terms of a subnormal c underflow
    assert abs(float(residual / slope)) <= 3 * EPS * abs(h) + 1e-307


def test_safeguarded_newton_falls_back_on_bisection():
    target = np.array([0.0, 0.5, -0.999, 0.9999999])

    def residual(x, index):
        return np.tanh(50.0 * x) - target[index], 50.0 / np.cosh(np.minimum(np.abs(50.0 * x), 300.0)) ** 2

    root = solve_increasing(residual, np.full(4, -6.0), 6.0, 5.9, 0.02)
    # conditioning: rounding of tanh over its slope
    np.testing.assert_allclose(root, np.arctanh(target) / 50.0, rtol=1e-8, atol=1e-17)
    outside = solve_increasing(lambda x, index: (x + 10.0, np.ones_like(x)), np.zeros(3), 1.0, 0.5, 1.0)
    np.testing.assert_allclose(outside, 0.0, atol=1e-15)


def pairs_in_one_interval(activation: Activation) -> list[tuple[float, float]]:
    starts = np.array([-5.5, -3.0, -2.0, -1.7, -0.9, -0.3, 0.05, 0.4, 1.2, 3.0, 5.0])
    box = [np.searchsorted(critical_points(activation), (h, h + 0.3)) for h in starts]
    return [(float(h), float(h) + 0.3) for h, (a, b) in zip(starts, box, strict=True) if a == b]


def critical_points(activation: Activation) -> np.ndarray:
    return (np.arange(-4, 5) + 0.5) * math.pi if activation.name == "sin" else activation.critical_points


@pytest.mark.parametrize("name", NAMES)
def test_primitives_are_integrals(name):
    activation = get(name)
    for a, b in pairs_in_one_interval(activation):
        for primitive, integrand in (
            (activation.primitive, lambda h: 1.0 / float(activation.dphi(h))),
            (activation.ratio_primitive, lambda h: float(activation.phi(h)) / float(activation.dphi(h))),
        ):
            low, high = primitive(np.array([a, b]))
            integral = quad(integrand, a, b, epsabs=0.0, epsrel=1e-13)[0]
            # 1e-12: quad's and the tables' relative error; 1e-14: rounding of the two values that are subtracted
            assert abs(high - low - integral) <= 1e-12 * abs(integral) + 1e-14 * (abs(low) + abs(high))


@pytest.mark.parametrize("name", ["tanh", "arctan", "erf", "identity", "sin", "silu", "gelu"])
def test_potential_vanishes_where_phi_does(name):
    activation = get(name)
    h = np.array([-1e-3, -1e-6, 0.0, 1e-8, 1e-3])
    # Pi = h^2/2 (1 + a h + ...), |a| < 1
    np.testing.assert_allclose(activation.ratio_primitive(h), 0.5 * h * h, rtol=1e-3)
    assert activation.ratio_primitive(np.zeros(1))[0] == 0.0


def test_potential_of_erf_is_the_series_of_the_theory():
    getcontext().prec = 30
    h = np.array([0.3, 0.999, 1.001, 2.0, 5.9, 6.1, 9.9])
    exact = []
    for value in h:
        square, term, total = Decimal(value) ** 2, Decimal(value) ** 2 / 2, Decimal(0)
        for n in range(600):
            total += term
            term *= 2 * square * (2 * n + 2) / ((2 * n + 3) * (2 * n + 4))
        exact.append(float(total))
    # 4e-15: 17 last places, the error of scipy's erfi at |h| = 8
    np.testing.assert_allclose(get("erf").ratio_primitive(h), exact, rtol=4e-15)
    assert np.isfinite(get("erf").ratio_primitive(np.array([-26.0, 26.0]))).all()


@pytest.mark.parametrize("name", NAMES)
@given(h=st.floats(-6.0, 6.0))
@settings(max_examples=60, deadline=None)
def test_inverse_returns_to_the_start(name, h):
    activation = get(name)
    h = np.array([h])
    distance = np.min(np.abs(critical_points(activation) - h), initial=np.inf)
    c = activation.primitive(h)
    back = activation.primitive_inverse(c, h)
    if distance < 1e-9:  # Phi is logarithmic there: h is only known to stay on its side, as close
        assert np.searchsorted(critical_points(activation), back) == np.searchsorted(critical_points(activation), h)
        np.testing.assert_allclose(back, h, rtol=0, atol=2 * distance + 16 * EPS)
        return
    # 8 last places of h, and of c seen through dh/dc = phi'; near a zero of phi' the rounding of phi' itself, of eps
    # relative to the distance, enters Phi once per logarithmic unit (32 of them)
    tolerance = (
        8 * EPS * (np.abs(h) + np.abs(activation.dphi(h) * c)) + 64 * EPS * np.abs(activation.dphi(h)) / distance**2
    )
    np.testing.assert_allclose(back, h, rtol=0, atol=float(tolerance[0]))


@pytest.mark.parametrize("name", INCREASING)
@given(c=st.one_of(st.floats(-1e300, 1e300), st.floats(-1e3, 1e3), st.floats(-1e-3, 1e-3)))
@settings(max_examples=60, deadline=None)
def test_extreme_arguments_of_the_inverse(name, c):
    activation = get(name)
    c = np.array([c])
    h = activation.primitive_inverse(c, np.zeros(1))
    assert np.isfinite(h).all()
    with np.errstate(over="ignore"):
        back = activation.primitive(h)
        # h to 4 last places (and to eps absolutely where softplus crosses 0), through dPhi = dh/phi'
        spread = 8 * EPS * (np.abs(h) + EPS ** (name != "softplus")) / activation.dphi(h)
    assert abs(back[0] - c[0]) <= spread[0] + 32 * EPS * abs(c[0]) + 1e-307


def test_the_start_only_names_the_branch():
    c = np.linspace(-3.0, 3.0, 50)
    for name in INCREASING:
        activation = get(name)
        starts = activation.primitive_inverse(c, np.full(50, -2.0)), activation.primitive_inverse(c, np.full(50, 9.0))
        np.testing.assert_array_equal(*starts)
    for activation in (get("sin"), get("silu"), get("gelu"), OwnSin()):
        points = critical_points(activation)
        for h_start in (-2.1, -1.9, 0.3, 2.0, 4.0):
            extreme = np.array([-1e8, -40.0, -1.0, 0.0, 1.0, 40.0, 1e8])
            h = activation.primitive_inverse(extreme, np.full(7, h_start))
            assert (np.searchsorted(points, h) == np.searchsorted(points, h_start)).all(), (activation.name, h_start)
            sign = np.sign(activation.dphi(np.array([h_start])))
            assert (sign * np.diff(h) >= 0.0).all()


def test_tanh_is_half_the_sigmoid_at_eight_times():
    c = np.concatenate([np.linspace(-50.0, 50.0, 101), [1e299]])
    sigmoid, tanh = get("sigmoid"), get("tanh")
    h = sigmoid.primitive_inverse(8.0 * c, c)
    # Phi of tanh at half of it is c: rounding of h, |h| <= 700, through cosh^2
    np.testing.assert_allclose(tanh.primitive(0.5 * h[:-1]), c[:-1], rtol=32 * EPS, atol=EPS)
    np.testing.assert_array_equal(tanh.primitive_inverse(c, c), 0.5 * h)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "arctan", "erf", "identity", "sin", "silu", "gelu"])
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([0.1, 1.0, 30.0, 1e3]))
@settings(max_examples=20, deadline=None)
def test_phi_at_primitive_is_phi_of_the_inverse(name: str, seed: int, scale: float) -> None:
    """Both ways are good to some last places of phi, whose size is at most that of h here."""
    rng, activation = np.random.default_rng(seed), get(name)
    h = rng.standard_normal(200)
    c = activation.primitive(h) + scale * rng.standard_normal(200)
    back = activation.primitive_inverse(c, h)
    size = 1.0 + np.abs(activation.phi(back)) + np.abs(back * activation.dphi(back))
    z = activation.phi_at_primitive(c, h)
    assert (np.abs(z - activation.phi(back)) <= 8 * EPS * size).all()


def interval_samples(activation: Activation, h0: float, count: int) -> np.ndarray:
    """Points of the interval of h0, dense around it and graded towards its ends."""
    points = critical_points(activation)
    ends = np.concatenate([[-np.inf], points, [np.inf]])
    low, high = ends[np.searchsorted(points, h0)], ends[np.searchsorted(points, h0) + 1]
    low, high = max(low, -30.0), min(high, 12.0)
    graded = np.geomspace(1e-9, 0.5, count)
    width = high - low
    return np.concatenate([np.linspace(low, high, count + 2)[1:-1], low + width * graded, high - width * graded])


@pytest.mark.parametrize("activation", [*map(get, NAMES), OwnSigmoid(), OwnSin(), OwnSilu(), ShiftedTanh()], ids=str)
@given(h0=st.floats(-4.0, 4.0), energy=st.one_of(st.floats(0.0, 3.0), st.floats(0.0, 40.0), st.just(0.0)))
@settings(max_examples=25, deadline=None)
def test_floor_holds_wherever_the_conserved_quantity_allows(activation, h0, energy):
    points = critical_points(activation)
    if np.min(np.abs(points - h0), initial=1.0) < 1e-6:
        return
    floor = activation.log_phi_floor(np.array([h0]), np.array([energy]))[0]
    h = np.append(interval_samples(activation, h0, 300), h0)
    potential = activation.ratio_primitive(h)
    phi = activation.phi(h)
    same_side = np.sign(phi) == np.sign(phi[-1])
    allowed = same_side & (potential >= potential[-1] - energy)
    assert allowed[-1]
    # 2 last places of log and of the exponent of a small phi
    size = np.log(np.abs(phi[allowed & (phi != 0.0)]))
    assert (size >= floor - 2 * EPS * (1 + np.abs(size))).all()


CASES = [
    (-3.0, 0.1),
    (-1.9, 0.3),
    (-1.0, 0.02),
    (-0.5, 0.01),
    (0.4, 0.02),
    (1.0, 0.3),
    (1.4, 0.2),
    (2.5, 0.5),
    (3.0, 8.0),
]


@pytest.mark.parametrize("activation", [*map(get, NAMES), OwnSigmoid(), OwnSilu()], ids=str)
def test_floor_is_attained_at_the_boundary(activation):
    attained = 0
    for h0, energy in CASES:
        level = float(activation.ratio_primitive(np.array([h0]))[0]) - energy
        floor = activation.log_phi_floor(np.array([h0]), np.array([energy]))[0]
        ends = np.concatenate([[-60.0], critical_points(activation), [12.0]])
        place = int(np.searchsorted(critical_points(activation), h0))
        vanishes = "softplus" not in activation.name and "sigmoid" not in activation.name
        if activation.name == "sin":
            zero = math.pi * round(h0 / math.pi)
        elif activation.name == "gelu" and h0 < activation.critical_points[0]:
            assert floor == -np.inf
            continue
        elif vanishes and h0 > ends[place] and ends[place] < 0.0 < ends[place + 1]:
            zero = 0.0
        else:
            zero = -60.0  # phi of one sign: |phi| and Pi fall towards -infinity
        if zero != -60.0 and level <= 0.0:
            assert floor == -np.inf
            continue
        boundary = brentq(
            lambda h, x=level: float(activation.ratio_primitive(np.array([h]))[0]) - x, zero, h0, xtol=1e-14
        )
        size = math.log(abs(float(activation.phi(np.array([boundary]))[0])))
        assert -1e-9 <= floor - size <= 1e-12, (h0, energy)
        attained += 1
    assert attained >= 3


def test_floors_are_the_closed_forms_of_the_theory():
    rng = np.random.default_rng(1)
    h0, energy = rng.standard_normal(400), rng.chisquare(3, 400) / 6
    level = {name: get(name).ratio_primitive(h0) - energy for name in ("sigmoid", "tanh", "sin")}
    omega = special.wrightomega(level["sigmoid"])
    expected = {
        "sigmoid": np.log(omega / (1 + omega)),
        "tanh": 0.5 * np.log(2 * np.maximum(level["tanh"], 0) / (1 + 2 * np.abs(level["tanh"])) + 1e-300),
        "sin": 0.5 * np.log(-np.expm1(-2 * np.maximum(level["sin"], 0)) + 1e-300),
    }
    for name, value in expected.items():
        floor = get(name).log_phi_floor(h0, energy)
        finite = np.isfinite(floor)
        np.testing.assert_array_equal(finite, (level[name] > 1e-13) | (name == "sigmoid"))
        # absolute error of the level, 1e-14, over the level itself
        np.testing.assert_allclose(
            floor[finite], value[finite], rtol=1e-13, atol=float(np.max(1e-14 / np.abs(level[name])))
        )


@pytest.mark.parametrize("name", NAMES)
def test_floor_stays_finite_and_silent_far_out(name):
    activation = get(name)
    h0, energy = np.array([[-30.0, -1.0, 1.0, 30.0]] * 4), np.array([[0.0], [1.0], [1e4], [1e8]])
    floor = activation.log_phi_floor(h0, energy)
    assert floor.shape == (4, 4)
    assert not np.isnan(floor).any()
    assert (floor <= np.log(np.maximum(np.abs(activation.phi(h0)), 1e-300))).all()
    assert (floor[1:] <= floor[:-1]).all()  # more energy, less floor
    if name in ("sigmoid", "softplus"):  # zero loss from every start at every width: never -inf, even below exp(-745)
        assert np.isfinite(floor).all()
        # Pi = h + exp h, h - 1 + exp(h)/2 far left: log floor = level, and level + 1
        np.testing.assert_allclose(floor[3, :3], -1e8, rtol=1e-6)
    if name == "silu":  # left of h_min Pi = h + O(1) and log|phi| = h + log|h|
        np.testing.assert_allclose(floor[2:, 0], -energy[2:, 0], rtol=5e-3)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_kept_and_broadcast(name):
    activation = get(name)
    h, energy = np.linspace(-1.0, 2.0, 4), np.array([[0.0], [0.1], [1.0]])
    together = activation.log_phi_floor(h, energy)
    assert together.shape == (3, 4)
    np.testing.assert_array_equal(together[1], activation.log_phi_floor(h, np.full(4, 0.1)))
    for method in (activation.phi, activation.dphi, activation.primitive, activation.ratio_primitive):
        assert np.shape(method(np.empty((2, 0)))) == (2, 0)
        np.testing.assert_array_equal(method(0.7), method(np.array([0.7]))[0])
    assert np.shape(activation.log_phi_floor(0.7, 0.1)) == ()
    assert np.shape(activation.log_phi_floor(2.5, 0.1)) == ()
    assert np.shape(activation.primitive_inverse(np.zeros((2, 3)), np.ones((2, 3)))) == (2, 3)
    assert np.shape(activation.primitive_inverse(0.3, 0.4)) == ()


def test_softplus_floor_uses_a_table_within_its_stated_error():
    softplus = Softplus()
    level = np.random.default_rng(2).uniform(-45.0, 80.0, 2000)
    exact = np.log(softplus.phi(softplus.ratio_primitive_inverse(level)))
    floor = softplus._log_floor(level, level)
    # lowered by 1e-11 in h, and d log(phi)/dh <= 1
    assert ((floor <= exact + 1e-14 * np.abs(exact)) & (floor >= exact - 3e-11 - 1e-13 * np.abs(exact))).all()


@pytest.mark.parametrize(("own", "name"), [(OwnSigmoid(), "sigmoid"), (OwnSin(), "sin"), (OwnSilu(), "silu")])
def test_numerical_versions_agree_with_closed_forms(own, name):
    closed = get(name)
    h = np.linspace(-6.0, 6.0, 301) + 0.0123
    c = closed.primitive(h)
    np.testing.assert_allclose(own.primitive(h), c, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(own.primitive_inverse(c, h), closed.primitive_inverse(c, h), rtol=1e-12, atol=1e-13)
    shift = own.ratio_primitive(np.zeros(1)) - closed.ratio_primitive(np.zeros(1))  # sigmoid: Pi has a free constant
    np.testing.assert_allclose(own.ratio_primitive(h) - shift, closed.ratio_primitive(h), rtol=1e-12, atol=1e-12)
    energy = np.linspace(0.0, 3.0, h.size)
    ours, theirs = own.log_phi_floor(h, energy), closed.log_phi_floor(h, energy)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    # the table's Pi is allowed 1e-12 of 10, over levels as small as 1e-2
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-9, atol=1e-9)


def test_own_activation_without_closed_forms_round_trips():
    own = ShiftedTanh()
    h = np.linspace(-8.0, 8.0, 201)
    np.testing.assert_allclose(own.primitive_inverse(own.primitive(h), 0.0 * h), h, rtol=1e-13, atol=1e-14)
    far = own.primitive_inverse(np.array([-1e9, 1e9]), np.zeros(2))
    # beyond the bend Phi is 10 h plus a constant below 100
    np.testing.assert_allclose(far, [-1e8, 1e8], rtol=1e-6)
    zero = brentq(lambda x: float(own.phi(np.array([x]))[0]), 0.0, 1.0, xtol=1e-15)
    np.testing.assert_allclose(own.ratio_primitive(np.array([zero])), 0.0, atol=1e-20)
