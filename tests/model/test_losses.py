"""Losses against the inequalities and identities of theory §2, and against 60-digit arithmetic."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from mc.errors import InputError
from mc.model import losses
from mc.model.arrays import Array
from mc.model.losses import Loss

EPS = float(np.finfo(np.float64).eps)
LOSSES = [losses.get("mse"), losses.get("power", 2.5), losses.get("power", 4), losses.get("logcosh")]
# exp, log and x^a amplify relative rounding by at most |log| of the range, below 700 here
LOG_RANGE = 700.0

pytestmark = pytest.mark.filterwarnings("error")
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


def magnitudes(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers spread evenly over the decades 10^low .. 10^high."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


# from 1e-25, so that power(4) stays a normal number, up to 1e4
COMPONENT = st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), magnitudes(-25, 4)).map(lambda pair: pair[0] * pair[1])
RESIDUAL = st.lists(COMPONENT, min_size=1, max_size=8).map(np.array).filter(lambda e: bool(np.any(e)))


def dpsi(loss: Loss, s: Array) -> Array:
    """psi', by hand from the table of theory §2."""
    if loss.kind == "logcosh":
        return np.asarray((-np.expm1(-2.0 * s)) ** -0.5)
    return np.asarray((loss.p * s) ** (1.0 / loss.p - 1.0))


def exact_psi(loss: Loss, s: Decimal) -> Decimal:
    if loss.kind == "logcosh":
        cosh = s.exp()
        return (cosh + (cosh * cosh - 1).sqrt()).ln()
    p = Decimal(loss.p)
    return ((p * s).ln() / p).exp()


def exact_primitive(loss: Loss, s: Decimal) -> Decimal:
    p = Decimal(loss.p)
    if loss.kind == "logcosh":
        return -((2 * s).exp() - 1).ln() / 2
    if loss.kind == "mse":
        return -s.ln() / 2
    return (-(p - 2) / p * (p * s).ln()).exp() / (p - 2)


def exact_value(loss: Loss, e: list[Decimal]) -> Decimal:
    if loss.kind == "logcosh":
        return sum((((x.exp() + (-x).exp()) / 2).ln() for x in e), Decimal(0))
    square = sum((x * x for x in e), Decimal(0))
    return (square.ln() * Decimal(loss.p) / 2).exp() / Decimal(loss.p)


@each_loss
@given(e=RESIDUAL)
def test_kl_radial_inequality(loss: Loss, e: Array) -> None:
    left = dpsi(loss, loss.value(e)) * (loss.gradient(e) @ e) / np.linalg.norm(e)
    tolerance = 4 * LOG_RANGE * EPS
    assert left >= 1 - tolerance
    if loss.kind != "logcosh":
        assert left == pytest.approx(1.0, rel=tolerance)


@each_loss
@given(e=RESIDUAL)
def test_psi_bounds_the_residual_and_is_bounded_by_its_norm(loss: Loss, e: Array) -> None:
    norm, psi = float(np.linalg.norm(e)), float(loss.psi(loss.value(e)))
    up = 1 + 4 * LOG_RANGE * EPS  # rounding of psi(L), as above
    assert norm <= psi * up
    assert psi <= loss.psi_upper(norm, e.size) * up
    assert loss.value(e) <= loss.value_upper(norm, e.size) * up
    assert psi <= np.abs(e).sum() * up


@given(rho=magnitudes(-25, 4), m=st.integers(1, 50))
def test_logcosh_bound_is_attained_at_equal_components(rho: float, m: int) -> None:
    loss = losses.get("logcosh")
    e = np.full(m, rho / np.sqrt(m))
    norm = float(np.linalg.norm(e))
    # a sum of m terms rounds by at most m EPS
    assert loss.value_upper(norm, m) == pytest.approx(float(loss.value(e)), rel=(m + 8) * EPS)
    assert loss.psi_upper(norm, m) == pytest.approx(float(loss.psi(loss.value(e))), rel=(m + 8) * EPS)


@each_loss
@given(e=RESIDUAL, size=magnitudes(-10, 1), seed=st.integers(0, 99))
def test_psi_slope_is_a_lipschitz_constant(loss: Loss, e: Array, size: float, seed: int) -> None:
    other = e + size * np.random.default_rng(seed).standard_normal(e.shape)
    moved = abs(loss.psi(loss.value(other)) - loss.psi(loss.value(e)))
    # both psi round by at most 4 LOG_RANGE EPS of their size
    rounding = 8 * LOG_RANGE * EPS * np.abs(np.concatenate([e, other])).sum()
    assert moved <= loss.psi_slope(e.size) * np.linalg.norm(other - e) + rounding


def test_logcosh_psi_slope_is_approached() -> None:
    loss, e = losses.get("logcosh"), np.full(9, 20.0)
    slope = (loss.psi(loss.value(e + 0.5)) - loss.psi(loss.value(e))) / np.linalg.norm(np.full(9, 0.5))
    assert slope == pytest.approx(
        loss.psi_slope(9), rel=1e-12
    )  # tanh 20 = 1 - 8e-18, differences of 100 round to 1e-14


@each_loss
@given(c=magnitudes(-60, 5), m=st.integers(1, 50))
def test_psi_upper_is_inverted(loss: Loss, c: float, m: int) -> None:
    assert loss.psi_upper(loss.psi_upper_inverse(c, m), m) == pytest.approx(c, rel=2 * LOG_RANGE * EPS, abs=0)
    # the bisection of an own loss: log |e| to 1400/2^64, rounded at |log| <= 700, and never above
    by_bisection = Loss.psi_upper_inverse(loss, c, m)
    assert by_bisection == pytest.approx(float(loss.psi_upper_inverse(c, m)), rel=4 * LOG_RANGE * EPS, abs=0)


@each_loss
@given(s=magnitudes(-300, 6))
def test_round_trips_from_the_loss(loss: Loss, s: float) -> None:
    condition = loss.p / (loss.p - 2) if loss.kind == "power" else 2.0  # of Psi^-1, in relative terms
    assert loss.psi_inverse(loss.psi(s)) == pytest.approx(s, rel=2 * LOG_RANGE * EPS, abs=0)
    assert loss.Psi_inverse(loss.Psi(s)) == pytest.approx(s, rel=2 * condition * LOG_RANGE * EPS, abs=0)


@each_loss
@given(c=magnitudes(-70, 6))
def test_round_trip_from_psi(loss: Loss, c: float) -> None:
    assert loss.psi(loss.psi_inverse(c)) == pytest.approx(c, rel=2 * LOG_RANGE * EPS, abs=0)


@each_loss
@given(s=magnitudes(-300, 6))
def test_round_trip_from_primitive(loss: Loss, s: float) -> None:
    xi = loss.Psi(s)
    # near its zero Psi keeps absolute accuracy only
    assert loss.Psi(loss.Psi_inverse(xi)) == pytest.approx(float(xi), rel=4 * LOG_RANGE * EPS, abs=8 * EPS)


@each_loss
@given(s=magnitudes(-30, 3))
def test_against_exact_arithmetic(loss: Loss, s: float) -> None:
    with localcontext(prec=120):
        psi, primitive = exact_psi(loss, Decimal(s)), exact_primitive(loss, Decimal(s))
        step = Decimal(s) * Decimal("1e-30")

        def slope(f: Callable[[Loss, Decimal], Decimal]) -> Decimal:
            return (f(loss, Decimal(s) + step) - f(loss, Decimal(s) - step)) / (2 * step)

        # the definition of Psi; central differences err by step^2 = 1e-60, cancellation at s = 1e-30 leaves 30 digits
        assert abs(slope(exact_primitive) / slope(exact_psi) ** 2 + 1) < Decimal("1e-25")
        assert float(slope(exact_psi)) == pytest.approx(float(dpsi(loss, np.asarray(s))), rel=LOG_RANGE * EPS)
    # x^a and log round by |log x| EPS; s - log near their balance only absolutely
    assert loss.psi(s) == pytest.approx(float(psi), rel=LOG_RANGE * EPS)
    assert loss.Psi(s) == pytest.approx(float(primitive), rel=LOG_RANGE * EPS, abs=4 * EPS)


@each_loss
@given(e=st.lists(st.floats(-8, 8).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=4).filter(any))
def test_value_and_gradient_against_exact_arithmetic(loss: Loss, e: list[float]) -> None:
    value, gradient = loss.value(np.array(e)), loss.gradient(np.array(e))
    with localcontext(prec=60):
        exact = [Decimal(x) for x in e]
        assert value == pytest.approx(float(exact_value(loss, exact)), rel=32 * EPS)
        step = Decimal("1e-20")  # differences err by step^2 and by 1e-60/step: both far below a double
        for i in range(len(e)):
            ahead, behind = ([x + sign * step * (j == i) for j, x in enumerate(exact)] for sign in (1, -1))
            slope = (exact_value(loss, ahead) - exact_value(loss, behind)) / (2 * step)
            assert gradient[i] == pytest.approx(float(slope), rel=32 * EPS, abs=1e-30)


@each_loss
def test_zero_residual_is_safe(loss: Loss) -> None:
    zero = np.zeros((3, 2))
    np.testing.assert_array_equal(loss.value(zero), np.zeros(3))
    np.testing.assert_array_equal(loss.gradient(zero), zero)
    assert loss.psi(0.0) == 0.0
    assert loss.psi_inverse(0.0) == 0.0
    assert loss.Psi(0.0) == np.inf
    assert loss.Psi_inverse(np.inf) == 0.0
    assert loss.psi_upper(0.0, 5) == 0.0
    assert loss.value_upper(0.0, 5) == 0.0


@each_loss
@pytest.mark.parametrize("size", [1e-200, 1e4])
def test_tiny_and_huge_residuals(loss: Loss, size: float) -> None:
    e = np.full((2, 100), size)
    for array in (loss.value(e), loss.gradient(e), loss.psi(loss.value(e)), loss.psi_upper(size * 10, 100)):
        assert np.all(np.isfinite(array))
    assert np.all(loss.Psi(loss.value(e)) > -np.inf)
    if loss.kind == "logcosh" and size > 1:
        np.testing.assert_allclose(loss.value(e), 100 * (size - np.log(2)), rtol=100 * EPS)


@pytest.mark.parametrize("xi", [0.0, -1.0])
def test_below_its_range_power_bounds_nothing(xi: float) -> None:
    assert losses.get("power", 4).Psi_inverse(xi) == np.inf


@each_loss
def test_batches_equal_single_residuals(loss: Loss) -> None:
    e = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    assert loss.value(e).shape == (2, 3)
    assert loss.gradient(e).shape == e.shape
    for index in np.ndindex(2, 3):
        assert loss.value(e)[index] == pytest.approx(float(loss.value(e[index])), rel=8 * EPS)
        np.testing.assert_allclose(loss.gradient(e)[index], loss.gradient(e[index]), rtol=8 * EPS)


@each_loss
def test_gradient_never_aliases_its_argument(loss: Loss) -> None:
    e = np.ones(3)
    assert not np.shares_memory(loss.gradient(e), e)


def test_lookup() -> None:
    assert losses.NAMES == ("mse", "power", "logcosh")
    assert losses.get("power", 2) == losses.get("mse") == losses.get("mse", 2.0)
    assert [loss.name for loss in LOSSES] == ["mse", "power(2.5)", "power(4)", "logcosh"]
    assert len({losses.get("power", 3), losses.get("power", 3.0), losses.get("power", 4)}) == 2
    assert losses.get(LOSSES[1]) is LOSSES[1]
    for loss in LOSSES:
        assert pickle.loads(pickle.dumps(loss)) == loss  # noqa: S301  our own bytes


@pytest.mark.parametrize(
    ("kind", "p", "message"),
    [
        ("huber", None, "loss.kind"),
        ("power", None, "needs loss.p"),
        ("power", 1.5, "loss.p = 1.5"),
        ("power", float("nan"), "loss.p = nan"),
        ("power", float("inf"), "loss.p = inf"),
        ("power", True, "loss.p = True"),
        ("mse", 3.0, "only for loss.kind = 'power'"),
        ("logcosh", 4.0, "only for loss.kind = 'power'"),
    ],
)
def test_refusals(kind: str, p: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        losses.get(kind, p)


def test_power_refuses_two_where_its_primitive_does_not_exist() -> None:
    with pytest.raises(InputError, match="mse"):
        losses.Power(2)


class Scaled(Loss):
    """A user's own loss: 2 |e|^2, without bounds from the norm."""

    def value(self, e: ArrayLike) -> Array:
        return 4 * LOSSES[0].value(e)

    def gradient(self, e: ArrayLike) -> Array:
        return 4 * LOSSES[0].gradient(e)

    def psi(self, s: ArrayLike) -> Array:
        return np.sqrt(np.asarray(s) / 2)

    def psi_inverse(self, c: ArrayLike) -> Array:
        return 2 * np.square(np.asarray(c, dtype=np.float64))

    def Psi(self, s: ArrayLike) -> Array:
        return np.asarray(-np.log(np.asarray(s)) / 8)

    def Psi_inverse(self, xi: ArrayLike) -> Array:
        return np.asarray(np.exp(-8 * np.asarray(xi)))


def test_own_loss_without_a_bound_is_vacuous_not_wrong() -> None:
    own = Scaled()
    assert own.name == "custom"
    assert own.psi(own.value([3.0, 4.0])) == 5.0
    assert own.psi_upper(1.0, 2) == np.inf
    assert own.psi_upper_inverse(1.0, 2) == 0.0
    assert own.psi_slope(2) == np.inf
