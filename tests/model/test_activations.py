"""Activations: constants of theory §1, values, boxes, refusals; Phi, Pi, their inverses, the floors of §7.5."""

from __future__ import annotations

import math
import pickle
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy.integrate import quad
from scipy.optimize import brentq

from mc.errors import InputError
from mc.model.activations import NAMES, Activation, get
from mc.model.activations.monotone import Softplus
from mc.model.activations.special import double_sinh_inverse, solve_increasing, wright_omega

pytestmark = pytest.mark.filterwarnings("error")

EPS = float(np.finfo(np.float64).eps)
INCREASING = tuple(name for name in NAMES if get(name).increasing)
# Step 2e-5: a maximum is missed by at most (1e-5)^2/2 |phi'''| < 1e-9; the tails only carry the limits at infinity.
GRID = np.concatenate([np.linspace(-4.0, 4.0, 400_001), np.linspace(-60.0, 60.0, 1201)])


class OwnSigmoid(Activation):
    name = "own-sigmoid"

    def phi(self, h):
        return 1.0 / (1.0 + np.exp(-h))

    def dphi(self, h):
        e = np.exp(-np.abs(h))
        return e / (1.0 + e) ** 2


class ShiftedTanh(Activation):
    name = "shifted-tanh"

    def phi(self, h):
        return np.tanh(h - 0.5) + 0.1 * h

    def dphi(self, h):
        return np.cosh(np.clip(h - 0.5, -300.0, 300.0)) ** -2 + 0.1


class OwnSin(Activation):
    name = "own-sin"

    def phi(self, h):
        return np.sin(h)

    def dphi(self, h):
        return np.cos(h)


class OwnSilu(Activation):
    name = "own-silu"

    def phi(self, h):
        return h / (1.0 + np.exp(-h))

    def dphi(self, h):
        s = 1.0 / (1.0 + np.exp(-h))
        return s * (1.0 + h / (1.0 + np.exp(h)))


class Squared(Activation):
    name = "squared"

    def phi(self, h):
        return h * h

    def dphi(self, h):
        return 2.0 * h


class OwnRelu(Activation):
    name = "own-relu"

    def phi(self, h):
        return np.maximum(h, 0.0)

    def dphi(self, h):
        return (np.asarray(h) > 0.0) * 1.0


class RootLike(Activation):
    """phi' = sqrt|h| near 0: continuous, not Lipschitz."""

    name = "root-like"

    def phi(self, h):
        size = np.abs(h)
        return np.sign(h) * np.where(size < 1.0, size**1.5 / 1.5, size - 1.0 / 3.0)

    def dphi(self, h):
        return np.minimum(np.sqrt(np.abs(h)), 1.0)


class OwnElu(Activation):
    """phi' has a kink, and is Lipschitz with constant 1 all the same: the theorem holds for it."""

    name = "own-elu"

    def phi(self, h):
        return np.where(h > 0.0, h, np.expm1(np.minimum(h, 0.0)))

    def dphi(self, h):
        return np.exp(np.minimum(h, 0.0))


class OwnLinear(Activation):
    name = "own-linear"

    def phi(self, h):
        return 3.0 * h

    def dphi(self, h):
        return 3.0  # a number is as good as an array


class WrongDerivative(OwnSigmoid):
    name = "wrong"

    def dphi(self, h):
        return 1.01 * OwnSigmoid.dphi(self, h)


class DeadZone(Activation):
    """phi' is Lipschitz and bounded, and zero on [-1, 1]."""

    name = "dead-zone"

    def phi(self, h):
        t = np.clip(np.abs(h) - 1.0, 0.0, None)
        return np.sign(h) * np.where(t < 1.0, 0.5 * t * t, t - 0.5)

    def dphi(self, h):
        return np.clip(np.abs(h) - 1.0, 0.0, 1.0)


B1_B2 = {
    "sigmoid": (0.25, 1 / (6 * math.sqrt(3))),
    "tanh": (1, 4 / (3 * math.sqrt(3))),
    "softplus": (1, 0.25),
    "arctan": (1, 3 * math.sqrt(3) / 8),
    "erf": (2 / math.sqrt(math.pi), math.sqrt(8 / (math.pi * math.e))),
    "identity": (1, 0),
    "sin": (1, 1),
    "silu": (1.0998393201289, 0.5),
    "gelu": (1.1289041451852, math.sqrt(2 / math.pi)),
}


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_those_of_the_theory(name):
    activation = get(name)
    # 1e-13 relative: the digits theory §1 gives.
    np.testing.assert_allclose((activation.sup_dphi, activation.lip_dphi), B1_B2[name], rtol=1e-13)
    assert activation.bound == max(activation.sup_dphi, activation.lip_dphi)


@pytest.mark.parametrize("name", NAMES)
def test_constants_bound_and_are_attained(name):
    activation = get(name)
    largest = np.max(np.abs(activation.dphi(GRID)))
    assert largest <= activation.sup_dphi * (1 + 4 * EPS)  # rounding of phi' itself
    assert largest >= activation.sup_dphi - 1e-9
    step = 1e-5  # rounding eps/step = 2e-11, truncation step^2/6 |phi''''| < 2e-10
    slope = np.max(np.abs(activation.dphi(GRID + step) - activation.dphi(GRID - step))) / (2 * step)
    assert activation.lip_dphi - 1e-9 <= slope <= activation.lip_dphi + 1e-9
    values = np.max(np.abs(activation.phi(np.concatenate([GRID, [-1e9, 1e9]]))))
    assert values <= activation.sup_phi
    if np.isfinite(activation.sup_phi):
        assert values >= activation.sup_phi - 2e-9  # arctan lacks 1e-9 at |h| = 1e9
    else:
        assert values >= 1e9


def test_irrational_constants_are_rounded_up():
    getcontext().prec = 40
    pi = Decimal("3.14159265358979323846264338327950288419717")
    exact = {
        "sigmoid": 1 / (6 * Decimal(3).sqrt()),
        "tanh": 4 / (3 * Decimal(3).sqrt()),
        "arctan": 3 * Decimal(3).sqrt() / 8,
        "erf": (8 / (pi * Decimal(1).exp())).sqrt(),
        "gelu": (2 / pi).sqrt(),
    }
    for name, value in exact.items():
        assert Decimal(get(name).lip_dphi) >= value
    assert Decimal(get("erf").sup_dphi) >= 2 / pi.sqrt()
    assert Decimal(get("silu").sup_dphi) >= Decimal("1.09983932012886691695818492432057097")
    assert Decimal(get("gelu").sup_dphi) >= Decimal("1.12890414518515478634074444226197331")


def test_moments_have_the_test_values_of_the_theory():
    e2 = math.exp(-2)
    expected = {
        "erf": (2 / math.pi * math.asin(2 / 3), 4 / (math.pi * math.sqrt(5))),
        "sin": ((1 - e2) / 2, (1 + e2) / 2),
        "identity": (1, 1),
    }
    for name, squares in expected.items():
        activation = get(name)
        # 1e-13: error of the trapezoidal rule (theory §1)
        np.testing.assert_allclose((activation.moment_phi**2, activation.moment_dphi**2), squares, rtol=1e-13)
    np.testing.assert_allclose(get("arctan").moment_dphi ** 2, 0.5, rtol=1e-13)
    np.testing.assert_allclose(get("softplus").moment_dphi, get("sigmoid").moment_phi, rtol=1e-13)
    # eight printed digits
    np.testing.assert_allclose(get("sigmoid").moment_phi, 0.54164475, atol=5e-9)
    np.testing.assert_allclose(get("sigmoid").moment_dphi, 0.21174570, atol=5e-9)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_is_that_of_phi(name):
    activation = get(name)
    h = np.linspace(-8.0, 8.0, 321) + 1e-3
    step = 1e-5
    slope = (activation.phi(h + step) - activation.phi(h - step)) / (2 * step)
    # rounding 2 eps |phi|/step, |phi| <= 8, plus truncation step^2/6 |phi'''| < 1e-10
    np.testing.assert_allclose(activation.dphi(h), slope, rtol=0, atol=16 * EPS / step + 1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_fused_values_fill_the_buffers(name):
    activation = get(name)
    h = np.linspace(-9.0, 9.0, 120).reshape(3, 40)
    before = h.copy()
    phi, dphi = np.empty_like(h), np.empty_like(h)
    result = activation.phi_dphi(h, phi, dphi)
    assert result[0] is phi
    assert result[1] is dphi
    np.testing.assert_array_equal(h, before)
    assert activation.phi(h, out=np.empty_like(h)).shape == h.shape
    # two ways to round: a few last places, and of 1 where phi' cancels near its zero
    np.testing.assert_allclose(phi, activation.phi(h), rtol=8 * EPS, atol=0)
    np.testing.assert_allclose(dphi, activation.dphi(h), rtol=8 * EPS, atol=4 * EPS)
    np.testing.assert_array_equal(np.stack(activation.phi_dphi(h)), np.stack([phi, dphi]))


@pytest.mark.parametrize("name", NAMES)
def test_far_out_values_are_finite_and_silent(name):
    activation = get(name)
    h = np.array([-700.0, -300.0, -40.0, -1e-300, 0.0, 1e-300, 40.0, 300.0, 700.0])
    phi, dphi = activation.phi_dphi(h)
    assert np.isfinite(phi).all()
    assert np.isfinite(dphi).all()
    assert (np.abs(dphi) <= activation.sup_dphi).all()


def logistic(h: float, power: int) -> Decimal:
    """exp(-h)^(power - 1) / (1 + exp(-h))^power: sigmoid for power 1, its derivative for power 2."""
    e = (-Decimal(h)).exp()
    return e ** (power - 1) / (1 + e) ** power


def relative_error(value: float, exact: Decimal) -> float:
    return float(abs(Decimal(float(value)) / exact - 1))


@given(h=st.floats(-30.0, 30.0))
@settings(max_examples=150, deadline=None)
def test_sigmoid_and_its_kin_keep_relative_accuracy(h):
    getcontext().prec = 40
    sigmoid, slope = get("sigmoid").phi_dphi(np.array([h]))
    four = 4 * EPS  # last places, as promised for the hot path
    assert relative_error(sigmoid[0], logistic(h, 1)) <= four
    assert relative_error(slope[0], logistic(h, 2)) <= four
    softplus, softplus_slope = get("softplus").phi_dphi(np.array([h]))
    assert relative_error(softplus[0], (1 + Decimal(h).exp()).ln()) <= four
    assert relative_error(softplus_slope[0], logistic(h, 1)) <= four
    # exp(-2|h|) of the float -2|h|, which is exact
    assert relative_error(get("tanh").phi_dphi(np.array([h]))[1][0], 4 * logistic(2 * h, 2)) <= four


def test_boxes_are_the_images_of_the_intervals_between_zeros_of_the_derivative():
    h = np.array([-2.0, -1.28, -1.27, -0.76, -0.75, 3.0])
    silu, gelu = get("silu"), get("gelu")
    # eleven printed digits of theory §3.3
    np.testing.assert_allclose(silu.critical_points, [-1.27846454276], atol=5e-12)
    np.testing.assert_allclose(gelu.critical_points, [-0.75179152469], atol=5e-12)
    silu_min, gelu_min = silu.box(h)[0], gelu.box(h)[0]
    np.testing.assert_allclose(silu_min, silu.critical_points[0] + 1.0, rtol=4 * EPS)
    np.testing.assert_allclose(gelu_min, -0.16997120749, atol=5e-12)
    np.testing.assert_array_equal(silu.box(h)[1], [0.0, 0.0, np.inf, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(gelu.box(h)[1], [0.0, 0.0, 0.0, 0.0, np.inf, np.inf])
    np.testing.assert_array_equal(get("sin").box(h), [[-1.0] * 6, [1.0] * 6])
    np.testing.assert_array_equal(get("softplus").box(h), [[0.0] * 6, [np.inf] * 6])
    for activation in (silu, gelu):
        at_zero = activation.dphi(activation.critical_points)
        np.testing.assert_allclose(at_zero, 0.0, atol=4 * EPS)


@pytest.mark.parametrize("name", NAMES)
@given(h=st.floats(-6.0, 6.0))
@settings(max_examples=30, deadline=None)
def test_values_lie_in_their_box(name, h):
    activation = get(name)
    lower, upper = activation.box(np.array([h]))
    value = activation.phi(np.array([h]))
    slack = 2 * EPS * abs(value[0])  # the value rounds beyond its minimum
    assert lower[0] - slack <= value[0] <= upper[0] + slack


def test_increasing_flags():
    assert [name for name in NAMES if not get(name).increasing] == ["sin", "silu", "gelu"]
    assert OwnSigmoid().increasing
    assert not OwnSin().increasing


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "Leaky-ReLU", "selu", "relu6"])
def test_a_rectifier_is_refused_with_the_reason(name):
    with pytest.raises(InputError, match="phi' is not Lipschitz"):
        get(name)


def test_an_unknown_name_is_refused_with_the_list():
    with pytest.raises(InputError, match="softplus") as caught:
        get("sigmoidd")
    assert all(name in str(caught.value) for name in NAMES)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="instance"):
        get(OwnSin)  # the class, not an object of it


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (OwnRelu(), "not Lipschitz"),
        (RootLike(), "not Lipschitz"),
        (Squared(), "unbounded"),
        (WrongDerivative(), "not the derivative"),
        (DeadZone(), "zero on an interval"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_own_activation_outside_the_theorem_is_refused(activation, message):
    with pytest.raises(InputError, match=message):
        get(activation)


def test_own_activation_accepts_buffers_and_pickles():
    own = OwnSigmoid()
    assert get(own) is own
    h = np.linspace(-2.0, 2.0, 5)
    phi, dphi = np.empty(5), np.empty(5)
    own.phi_dphi(h, phi, dphi)
    np.testing.assert_array_equal(phi, own.phi(h))
    np.testing.assert_array_equal(dphi, own.dphi(h, out=np.empty(5)))
    c = own.primitive(h)
    copy = pickle.loads(pickle.dumps(own))  # noqa: S301 - made on the line itself
    np.testing.assert_array_equal(copy.primitive(h), c)
    for name in NAMES:
        assert pickle.loads(pickle.dumps(get(name))).name == name  # noqa: S301


@pytest.mark.parametrize(("own", "name"), [(OwnSigmoid(), "sigmoid"), (OwnSin(), "sin"), (OwnSilu(), "silu")])
def test_numerical_constants_agree_with_closed_forms(own, name):
    closed = get(name)
    # rounded up by 1e-9 and 1e-6 (module numerical), never below
    assert closed.sup_dphi * (1 - EPS) <= own.sup_dphi <= closed.sup_dphi * (1 + 2e-9)
    assert closed.lip_dphi * (1 - EPS) <= own.lip_dphi <= closed.lip_dphi * (1 + 2e-6)
    if np.isinf(closed.sup_phi):
        assert own.sup_phi == closed.sup_phi
    else:
        assert closed.sup_phi <= own.sup_phi <= closed.sup_phi * (1 + 2e-9)
    assert own.increasing == closed.increasing
    np.testing.assert_allclose((own.moment_phi, own.moment_dphi), (closed.moment_phi, closed.moment_dphi), rtol=1e-14)
    h = np.array([-4.0, -2.0, -1.0, 0.2, 1.0, 4.0])
    np.testing.assert_allclose(own.box(h), closed.box(h), rtol=0, atol=4 * EPS)


def test_numerical_constants_of_a_shifted_tanh():
    own = ShiftedTanh()
    # Lip(phi') does not see the shift or the linear part: that of tanh
    np.testing.assert_allclose((own.sup_dphi, own.lip_dphi), (1.1, get("tanh").lip_dphi), rtol=2e-6)
    assert own.sup_phi == np.inf
    assert own.increasing
    np.testing.assert_array_equal(own.box(np.zeros(2)), [[-np.inf] * 2, [np.inf] * 2])


def test_a_kink_of_the_derivative_is_not_a_jump():
    own = get(OwnElu())
    assert 1.0 <= own.sup_dphi <= 1.0 + 2e-9
    assert 1.0 <= own.lip_dphi <= 1.0 + 2e-6
    h = np.linspace(-5.0, 5.0, 41)
    # Phi = h for h > 0, 1 - exp(-h) below; the kink costs the cell it is in nothing, as cells begin at 0
    np.testing.assert_allclose(own.primitive(h), np.where(h > 0.0, h, 1.0 - np.exp(-h)), rtol=1e-12, atol=1e-14)


def test_a_linear_activation_of_ones_own_has_no_curvature():
    own = get(OwnLinear())
    assert own.lip_dphi == 0.0
    np.testing.assert_allclose(own.primitive(np.array([-6.0, 1.5])), [-2.0, 0.5], rtol=1e-13)
    assert own.dphi(np.zeros((2, 3))).shape == (2, 3)


# --- primitives, inverses and floors


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
