"""Contours of maps on laws that are known, and the rows of a protocol of gradient descent."""

from __future__ import annotations

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit

from mc.estimate.cells.planes import ProtocolRow, protocol_rows
from mc.estimate.probability.counts import Counts, Decision
from mc.estimate.probability.intervals import clopper_pearson
from mc.estimate.widths.contour import GROUPS, contour, exponent, gaussian_heuristic, shift
from mc.estimate.widths.crossings import interpolated_width
from mc.report.paper.maps import contour_words
from mc.theory.codes import Exact, Outcome

WIDTHS = np.array([30, 36, 44, 53, 64, 78, 94, 114, 138, 167, 202])


K0, SPREAD = 84.0, 0.25


def draws(rng: np.random.Generator, rows: int, trials: int, k0: float = K0) -> np.ndarray:
    """(rows, trials, widths) decisions of P(k) = expit(log(k/k0)/s): each trial has one threshold for all widths."""
    threshold = np.log(k0) + SPREAD * rng.logistic(size=(rows, trials, 1))
    return (np.log(WIDTHS) >= threshold).astype(np.int8)


def test_limits_of_a_contour_cover_a_logistic_law(rng: np.random.Generator) -> None:
    """2000 rows of 150 trials whose widths share their draws, as the networks of a trial do."""
    rows, level = 2000, 0.95
    found = [interpolated_width(WIDTHS, Counts.of(one), level) for one in draws(rng, rows, 150)]
    covered = sum(one.interval[0] <= K0 <= one.interval[1] for one in found)
    # exact limits cover at least 0.95; four standard errors of 2000 rows. The curve is straight to 1e-4 between widths.
    assert covered >= rows * (level - 4.0 * math.sqrt(level * (1.0 - level) / rows))
    # and they say something: standard error of a frequency 0.041, slope 1 per unit of log k, so 1.96 of them are 0.08
    lengths = [math.log(one.interval[1] / one.interval[0]) for one in found]
    assert 0.16 < np.median(lengths) < 0.25
    estimates = np.log([one.estimate for one in found])
    # linear interpolation between widths 1.2 apart and the isotonic fit bias by less than a tenth of the error 0.041
    assert abs(estimates.mean() - math.log(K0)) < 0.005


def test_all_rows_of_a_contour_hold_together(rng: np.random.Generator) -> None:
    maps, level = 300, 0.8
    together = 0
    for one in draws(rng, maps * 8, 80).reshape(maps, 8, 80, -1):
        found = contour([(WIDTHS, Counts.of(row)) for row in one], level)
        together += all(row.interval[0] <= K0 <= row.interval[1] for row in found)
    # eight rows at 1 - 0.2/8 each; four standard errors of 300 maps
    assert together >= maps * (level - 4.0 * math.sqrt(level * (1.0 - level) / maps))


def test_a_contour_off_the_grid_is_open() -> None:
    never, always, trials = np.zeros(11, dtype=np.int64), np.full(11, 50), np.full(11, 50)
    beyond = interpolated_width(WIDTHS, Counts(never, trials, never), 0.95)
    assert (beyond.estimate, beyond.interval) == (math.inf, (202.0, math.inf))
    assert contour_words(beyond) == "> 202"
    before = interpolated_width(WIDTHS, Counts(always, never, never), 0.95)
    assert (before.estimate, before.interval) == (0.0, (0.0, 30.0))
    assert contour_words(before) == "< 30"
    open_ = interpolated_width(WIDTHS, Counts(never, never, trials), 0.95)
    assert open_.interval == (0.0, math.inf)
    assert math.isnan(interpolated_width(WIDTHS, Counts.zero(11), 0.95).estimate)


def test_undecided_trials_widen_a_contour(rng: np.random.Generator) -> None:
    (one,) = draws(rng, 1, 200)
    decided = interpolated_width(WIDTHS, Counts.of(one), 0.95)
    one[:20] = Decision.UNDECIDED
    some = interpolated_width(WIDTHS, Counts.of(one), 0.95)
    assert some.interval[0] < decided.interval[0] < decided.interval[1] < some.interval[1]


def test_the_shift_of_a_later_event(rng: np.random.Generator) -> None:
    """The first event has thresholds 1.1 times those of the second, so its contour is 1.1 times as wide."""
    rows, covered, ratios = 400, 0, []
    for _ in range(rows):
        threshold = np.log(K0) + SPREAD * rng.logistic(size=(256, 1))
        first = (np.log(WIDTHS) >= threshold + math.log(1.1)).astype(np.int8)
        second = (np.log(WIDTHS) >= threshold).astype(np.int8)
        found = shift(WIDTHS, first, second)
        ratios.append(found.ratio)
        covered += found.interval[0] <= 1.1 <= found.interval[1]
    # jackknife limits are approximate: 0.92 is asked of the nominal 0.95, less four standard errors of 400 rows
    assert covered >= rows * (0.92 - 4.0 * math.sqrt(0.95 * 0.05 / rows))
    # interpolation on widths 1.2 apart: bias below 1 %
    assert abs(np.median(ratios) / 1.1 - 1.0) < 0.01
    few = np.zeros((GROUPS, len(WIDTHS)), dtype=np.int8)
    assert math.isnan(shift(WIDTHS, few, few).ratio)


def test_undecided_trials_widen_a_shift(rng: np.random.Generator) -> None:
    first, second = draws(rng, 2, 256)
    decided = shift(WIDTHS, first, second)
    first[:16] = second[:16] = Decision.UNDECIDED
    found = shift(WIDTHS, first, second)
    for one, other in ((0, 1), (1, 0), (0, 0), (1, 1)):
        done = [np.where(each == Decision.UNDECIDED, to, each) for each, to in ((first, one), (second, other))]
        ends = shift(WIDTHS, *done).interval
        assert found.interval[0] <= ends[0] < ends[1] <= found.interval[1]
    # at one half 16 of 256 move a frequency by 1/32, slope 1 per unit of log k: both crossings, both ways, make 1/8
    assert math.log(found.interval[1] / found.interval[0]) > math.log(decided.interval[1] / decided.interval[0]) + 0.1
    first[:200] = Decision.UNDECIDED
    assert shift(WIDTHS, first, second).interval == (0.0, math.inf)


def test_exponent_of_a_known_contour(rng: np.random.Generator) -> None:
    sizes = [4, 6, 9, 13, 19]
    covered, maps = 0, 300
    for _ in range(maps):
        found = []
        for size in sizes:
            grid = np.round(8.85 * size * np.geomspace(0.3, 3.0, 12)).astype(np.int64)
            holds = rng.binomial(200, expit(np.log(grid / (8.85 * size)) / SPREAD))
            found.append(interpolated_width(grid, Counts(holds, 200 - holds, np.zeros_like(holds)), 0.99))
        got = exponent(sizes, found)
        covered += got.interval[0] <= 1.0 <= got.interval[1]
    # independent widths make the fit better than each test: the limits are at least at their level, less four errors
    assert covered >= maps * (0.95 - 4.0 * math.sqrt(0.95 * 0.05 / maps))


def test_heuristic_at_the_median_draw() -> None:
    """(7.9) for sigmoid: r + 2 pi (median + r/4); the median of chi-square with two degrees of freedom is 2 log 2."""
    assert gaussian_heuristic(2, 0.0, 1.0) == pytest.approx(
        2.0 + 2.0 * math.pi * (2.0 * math.log(2.0) + 0.5), rel=1e-12
    )


def descent(truth: list[Exact], said: list[Outcome]) -> ProtocolRow:
    """The row of a protocol at one width, from exact verdicts and ends of descent."""
    n = len(truth)
    cell = SimpleNamespace(
        index=0, key="0", problem={"n": 3, "m": 3}, modes=("hidden",), widths=np.array([50]),
        flow_widths=np.array([50]), saved_trials=np.arange(0),
        data={
            "exact": np.array(truth, dtype=np.int8)[:, None], "outcome": np.array(said, dtype=np.int8)[None, :, None],
            "computed": np.where(np.array(said) == Outcome.ERROR, 2, 1).reshape(n, 1),
        },
    )  # fmt: skip
    (row,) = protocol_rows("n", [({"flow": {"rule": "gd", "max_steps": 10}}, [cell])], 0.95)
    return row


REACHES, CANNOT, OPEN = Exact.REACHES_ZERO, Exact.CANNOT, Exact.UNDECIDED


FOUND, BUDGET, FAILED = Outcome.CONVERGED_GD, Outcome.STEP_BUDGET, Outcome.ERROR


def test_failed_descents_widen_what_is_said_of_a_protocol() -> None:
    truth, said = [REACHES] * 20 + [CANNOT] * 20, [FOUND] * 15 + [BUDGET] * 25
    whole = descent(truth, said)
    assert (whole.near.late, whole.near.reaching) == (5, 20)
    assert whole.near.interval == tuple(float(end) for end in clopper_pearson(5, 20, 0.95))
    assert (whole.hopeless, whole.deceived, whole.tried, whole.undecided, whole.possible) == (20, 0, 20, 0, 20)
    # three descents fail where zero loss is reached, two where it is not, one trial fails whole
    extra = [REACHES] * 3 + [CANNOT] * 2 + [Exact.NOT_APPLICABLE]
    found = descent(truth + extra, said + [FAILED] * 6)
    # every trial that failed is open in both
    assert (found.hopeless, found.deceived, found.tried, found.undecided, found.possible) == (20, 0, 20, 6, 26)
    assert found.near.interval[0] == clopper_pearson(5, 26, 0.95)[0]
    assert found.near.interval[1] == clopper_pearson(11, 26, 0.95)[1]


def test_limits_of_late_draws_hold_every_completion() -> None:
    """Each undecided verdict and each undecided end, decided both ways."""
    truth = [REACHES] * 8 + [CANNOT] * 8 + [OPEN] * 4
    unknown = [Outcome.UNDECIDED] * 2
    said = [FOUND] * 4 + [BUDGET] * 2 + unknown + [BUDGET] * 8 + [FOUND, BUDGET] + unknown
    low, high = descent(truth, said).near.interval
    ends = []
    for reached in product((REACHES, CANNOT), repeat=4):
        for ended in product((FOUND, BUDGET), repeat=4):
            ways = iter(ended)
            done = [next(ways) if end == Outcome.UNDECIDED else end for end in said]
            ends.append(descent(truth[:16] + list(reached), done).near.interval)
    assert low == min(end[0] for end in ends)
    assert high == max(end[1] for end in ends)
