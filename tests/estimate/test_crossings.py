"""k*(p) by ordered exact tests, and K* trial by trial with its band."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mc.errors import InputError
from mc.estimate import Counts, Decision, crossing_width, first_widths_of
from mc.estimate.flows.survival import dkw_radius
from mc.estimate.widths.first_widths import LAST, MONOTONE

WIDTHS = np.array([10, 20, 40, 80, 160])
F, H, U, O = (int(d) for d in (Decision.FAILS, Decision.HOLDS, Decision.UNDECIDED, Decision.NOT_COUNTED))


def of(holds: list[int] | np.ndarray, trials: int = 100, undecided: list[int] | None = None) -> Counts:
    s, u = np.array(holds), np.array(undecided or [0] * len(holds))
    return Counts(s, trials - s - u, u)


def test_separated_data_give_a_finite_interval() -> None:
    found = crossing_width(WIDTHS, of([0, 0, 100, 100, 100]), 0.5)
    assert found.interval == (20.0, 40.0)
    assert 20.0 < found.estimate <= 40.0
    assert (found.censored, str(found.method_class), found.grid) == ("no", "exact", (10, 160))


def test_an_order_stops_at_the_first_test_that_does_not_reject() -> None:
    # the third width alone would be rejected from below, but the second is not: the order ends there
    found = crossing_width(WIDTHS, of([0, 50, 0, 100, 100]), 0.5)
    assert found.interval == (10.0, 80.0)
    # no share of alpha is lost: the one-sided limit at alpha/2 decides, by hand P(Bin(n, 1/2) <= 1) for n = 8 is 0.035
    assert crossing_width(WIDTHS[:1], of([1], 8), 0.5, level=0.92).interval == (10.0, math.inf)
    assert crossing_width(WIDTHS[:1], of([1], 8), 0.5, level=0.94).interval == (0.0, math.inf)


def test_a_grid_that_is_too_short_is_censored_not_extrapolated() -> None:
    assert crossing_width(WIDTHS, of([100] * 5), 0.5).censored == "below"
    assert crossing_width(WIDTHS, of([0] * 5), 0.5).censored == "above"
    assert crossing_width(WIDTHS, of([50] * 5), 0.5).censored == "both"
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
    assert open_.bracket[0] < open_.estimate < open_.bracket[1]
    assert crossing_width(
        WIDTHS, of([0, 10, 10, 100, 100], undecided=[0, 80, 80, 0, 0]), 0.5, policy="hold"
    ).interval == (
        10.0,
        20.0,
    )
    near = of([0, 38, 62, 100, 100])
    assert crossing_width(WIDTHS, near, 0.5).interval == (20.0, 40.0)
    timeless = crossing_width(WIDTHS, near, 0.5, method="beta-binomial")
    assert timeless.interval == (10.0, 80.0)
    assert str(timeless.method_class) == "time-uniform"


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


def test_k_star_of_every_trial_by_hand() -> None:
    decisions = np.array(
        [[F, F, H, H, H], [H, H, H, H, H], [F, F, F, F, F], [F, H, F, H, H], [F, U, H, U, H], [F, O, H, H, H]],
        dtype=np.int8,
    )
    found = first_widths_of(decisions, WIDTHS)
    assert found.trials == 5  # the last was not computed everywhere
    assert found.latest.tolist() == [40, 10, LAST, 80, 160]
    assert found.earliest.tolist() == [40, 10, LAST, 80, 20]
    assert found.reversed == 1
    assert found.censored == (1, 1)
    assert found.least.tolist() == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8])
    assert found.most.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert found.label == "holds at this and every wider grid width"
    assert first_widths_of(decisions, WIDTHS, monotone=True).label == "first width at which it holds"
    assert first_widths_of(decisions, WIDTHS, policy="drop").trials == 4
    assert first_widths_of(decisions, WIDTHS, policy="hold").latest.tolist() == found.earliest.tolist()
    with pytest.raises(InputError, match="policy"):
        first_widths_of(decisions, WIDTHS, policy="no")  # type: ignore[arg-type]


def test_no_trial_says_nothing_of_k_star() -> None:
    found = first_widths_of(np.full((3, 5), O, dtype=np.int8), WIDTHS)
    assert found.trials == 0
    assert (found.lower.tolist(), found.upper.tolist()) == ([0.0] * 5, [1.0] * 5)
    assert found.quantile(0.5) == (0.0, math.inf)


def test_the_band_covers_all_widths_together(rng: np.random.Generator) -> None:
    studies, trials, missed = 600, 80, 0
    truth = stats.norm.cdf(np.log(WIDTHS), np.log(40), 0.8)
    for _ in range(studies):
        k = np.exp(rng.normal(np.log(40), 0.8, trials))
        found = first_widths_of((k[:, None] <= WIDTHS).astype(np.int8), WIDTHS, 0.9)
        missed += bool(np.any((found.lower > truth) | (found.upper < truth)))
        low, high = found.quantile(0.5)
        assert low < high
    assert missed / studies <= 0.1 + 4 * math.sqrt(0.09 / studies)
    assert dkw_radius(80, 0.9) == pytest.approx(math.sqrt(math.log(20) / 160))


def test_softplus_is_monotone_because_the_cone_only_opens(rng: np.random.Generator) -> None:
    # y inside the cone of the first k columns: non-negative least squares leaves nothing, and never does so again later
    from scipy.optimize import nnls

    assert ("hidden", "exact", "softplus") in MONOTONE
    for _ in range(20):
        columns, y = rng.normal(size=(3, 12)), rng.normal(size=3)
        inside = [nnls(columns[:, :k], y)[1] < 1e-9 for k in range(3, 13)]
        assert inside == sorted(inside)
