"""Factors between rungs at known widths, and powers of one factor that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mc.estimate.cells.factors import Point, Rung, gaps, power, widest
from mc.estimate.probability.counts import Counts, Decision
from mc.estimate.widths.crossings import crossing_width
from mc.estimate.widths.scaling import CellCurve


def test_factors_are_ratios_of_the_widths_and_their_limits_those_of_the_farthest_ends() -> None:
    found = (
        Rung("exact", 40.0, (30.0, 50.0), 10_000),
        Rung("sharp", 400.0, (300.0, 600.0), 10_000),
        Rung("paper", math.inf, (5_000.0, math.inf), 10_000),
        Rung("theory", 20_000.0, (20_000.0, 20_000.0), 10_000),
    )
    first, second, third = gaps(found)
    assert (first.reason, first.factor, first.interval) == ("linearisation", 10.0, (300.0 / 50.0, 600.0 / 30.0))
    assert math.isinf(second.factor)
    assert second.interval == (5_000.0 / 600.0, math.inf)
    # The width of paper is unknown above, so that all that is known of the bound over it is the upper end.
    assert math.isnan(third.factor)
    assert third.interval == (0.0, 4.0)


def test_a_certificate_that_every_single_neuron_has_is_at_width_one() -> None:
    every = Counts(np.array([8, 8]), np.array([0, 0]), np.array([0, 0]))
    assert crossing_width(np.array([1, 2]), every, 0.5).estimate == 1.0
    assert crossing_width(np.array([2, 3]), every, 0.5).estimate == 0.0


WIDTHS = np.unique(np.round(np.geomspace(1, 100_000, 41))).astype(np.int64)


TRIALS = 200


SPREAD = 0.3


def point(rng: np.random.Generator, n: float, power_of_n: float, index: int) -> Point:
    """A cell whose draws are certified from a width on that is 20 n^power, with logistic spread of its logarithm."""
    starts = math.log(20.0) + power_of_n * math.log(n) + rng.logistic(scale=SPREAD, size=TRIALS)
    found = np.where(np.log(WIDTHS) >= starts[:, None], Decision.HOLDS, Decision.FAILS).astype(np.int8)
    at = crossing_width(WIDTHS, Counts.of(found), 0.5)
    scales = {"n": n, "m": 2.0, "sigma_A": 1.0, "psi": 1.0}
    return Point(scales, at, CellCurve(scales, WIDTHS, found, (index, 0)))


@pytest.mark.parametrize("true", [0.0, 1.0, 1.5])
def test_a_known_power_is_found(rng: np.random.Generator, true: float) -> None:
    found = [point(rng, n, true, i) for i, n in enumerate((3.0, 6.0, 12.0, 24.0, 48.0))]
    exponent = power(found, "n", "hidden", "paper", seed=1, level=0.999)
    assert exponent is not None
    # A logistic median of 200 draws has standard error 2 * 0.3/sqrt(200) = 0.042; log n spreads by 0.98 over 5 cells,
    # so that the slope has 0.042/(0.98 sqrt 5) = 0.019, and five of those are 0.1.
    assert exponent.estimate == pytest.approx(true, abs=0.1)
    low, high = widest(exponent)
    assert low <= true <= high


def test_widths_that_are_not_on_the_grid_are_left_out(rng: np.random.Generator) -> None:
    found = [point(rng, n, 2.0, i) for i, n in enumerate((3.0, 6.0, 1_000.0))]
    assert [p.on_grid for p in found] == [True, True, False]
    assert power(found, "n", "hidden", "paper", seed=1, level=0.95) is None
