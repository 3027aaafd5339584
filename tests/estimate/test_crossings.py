"""k*(p) by ordered exact tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mc.errors import InputError
from mc.estimate import Counts, crossing_width

WIDTHS = np.array([10, 20, 40, 80, 160])


def of(holds: list[int] | np.ndarray, trials: int = 100, undecided: list[int] | None = None) -> Counts:
    s, u = np.array(holds), np.array(undecided or [0] * len(holds))
    return Counts(s, trials - s - u, u)


def test_separated_data_give_a_finite_interval() -> None:
    found = crossing_width(WIDTHS, of([0, 0, 100, 100, 100]), 0.5)
    assert found.interval == (20.0, 40.0)
    assert 20.0 < found.estimate <= 40.0
    assert (found.method, found.grid) == ("clopper-pearson", (10, 160))


def test_an_order_stops_at_the_first_test_that_does_not_reject() -> None:
    # the third width alone would be rejected from below, but the second is not: the order ends there
    found = crossing_width(WIDTHS, of([0, 50, 0, 100, 100]), 0.5)
    assert found.interval == (10.0, 80.0)
    # no share of alpha is lost: the one-sided limit at alpha/2 decides, by hand P(Bin(n, 1/2) <= 1) for n = 8 is 0.035
    assert crossing_width(WIDTHS[:1], of([1], 8), 0.5, level=0.92).interval == (10.0, math.inf)
    assert crossing_width(WIDTHS[:1], of([1], 8), 0.5, level=0.94).interval == (0.0, math.inf)


def test_a_grid_that_is_too_short_is_censored_not_extrapolated() -> None:
    assert crossing_width(WIDTHS, of([100] * 5), 0.5).interval == (0.0, 10.0)
    assert crossing_width(WIDTHS, of([0] * 5), 0.5).interval == (160.0, math.inf)
    assert crossing_width(WIDTHS, of([50] * 5), 0.5).interval == (0.0, math.inf)
    # 100 of 100 do not show P >= 0.99
    assert math.isinf(crossing_width(WIDTHS, of([0, 0, 100, 100, 100]), 0.99).interval[1])
    nothing = crossing_width(WIDTHS, of([0] * 5, 0), 0.5)
    assert math.isnan(nothing.estimate)
    assert nothing.interval == (0.0, math.inf)
    with pytest.raises(InputError, match="crossing"):
        crossing_width(WIDTHS, of([1] * 5), 1.0)


def test_undecided_trials_widen_and_a_sequence_is_wider() -> None:
    sure = crossing_width(WIDTHS, of([0, 10, 90, 100, 100]), 0.5)
    open_ = crossing_width(WIDTHS, of([0, 10, 10, 100, 100], undecided=[0, 80, 80, 0, 0]), 0.5)
    assert sure.interval == (20.0, 40.0)
    assert open_.interval == (10.0, 80.0)
    assert (sure.estimate, open_.estimate) == (
        pytest.approx(math.sqrt(20 * 40)),
        20.0,
    )  # undecided: half
    near = of([0, 38, 62, 100, 100])
    assert crossing_width(WIDTHS, near, 0.5).interval == (20.0, 40.0)
    timeless = crossing_width(WIDTHS, near, 0.5, method="beta-binomial")
    assert timeless.interval == (10.0, 80.0)


@pytest.mark.parametrize("steepness", [2.0, 8.0, 40.0])
@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_covers_the_width(steepness: float, paired: bool, rng: np.random.Generator) -> None:
    studies, trials, covered, finite = 250, 60, 0, 0
    for log_width in rng.uniform(np.log(20), np.log(80), studies):
        truth = 1 / (1 + np.exp(-steepness * (np.log(WIDTHS) - log_width)))
        draws = rng.random((trials, 1 if paired else len(WIDTHS)))
        low, high = crossing_width(WIDTHS, of((draws < truth).sum(axis=0), trials), 0.5, 0.9).interval
        covered += low < math.exp(log_width) <= high
        finite += low > 0 and math.isfinite(high)
    assert covered / studies >= 0.9 - 4 * math.sqrt(0.9 * 0.1 / studies)
    if steepness > 5:
        assert finite > 0.95 * studies
