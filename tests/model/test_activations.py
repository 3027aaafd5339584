"""Activations: constants and test values of theory §1, values, derivatives, boxes, refusals, and a user's own."""

from __future__ import annotations

import math
import pickle
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc.errors import InputError
from mc.model.activations import NAMES, Activation, get

pytestmark = pytest.mark.filterwarnings("error")

EPS = float(np.finfo(np.float64).eps)
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
