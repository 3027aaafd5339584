"""Estimation: exact limits, counts that add, bands, median widths, verdicts, P_theory of a run."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stored_cells import cell

from mc.errors import InputError
from mc.estimate import Counts, at_least, clopper_pearson, curve, decisions, implication, study_run
from mc.estimate.cells.study import trials_present
from mc.estimate.claims.implications import flow_implications, implied, ladder_implications
from mc.estimate.numbers import significant
from mc.estimate.probability.counts import Decision
from mc.estimate.probability.support import Support, together
from mc.estimate.widths.crossings import median_width, pooled
from mc.estimate.widths.curves import curve_of_counts
from mc.estimate.widths.predicted import TheoryCurve, cell_theory
from mc.theory import bounds
from mc.theory.codes import Exact, Outcome, Verdict

DECISIONS = hnp.arrays(np.int8, st.tuples(st.integers(0, 12), st.just(3)), elements=st.sampled_from([-1, 0, 1, 2]))


@given(DECISIONS, DECISIONS, DECISIONS)
def test_counts_of_blocks_add_to_the_counts_of_the_whole_in_any_order(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> None:
    def plain(counts: Counts) -> list[list[int]]:
        return [counts.holds.tolist(), counts.fails.tolist(), counts.undecided.tolist()]

    x, y, z = map(Counts.of, (a, b, c))
    whole = plain(Counts.of(np.concatenate([a, b, c])))
    assert plain((x + y) + z) == plain(x + (y + z)) == plain(z + x + y) == whole
    assert plain(Counts.zero(3) + x) == plain(x)
    assert x.trials.tolist() == (a >= 0).sum(axis=0).tolist()


NAN = math.nan


def test_a_margin_decides_strictly_above_one_and_absent_trials_do_not_count() -> None:
    margin = np.array([[[1.0, 1.5], [2.0, NAN], [NAN, NAN]]])
    found = decisions(
        cell(("hidden",), margin_trial=margin, computed=np.array([[1, 1], [1, 1], [0, 0]], dtype=np.int8)),
        "trial",
        "hidden",
    )
    assert found is not None
    # the second trial was computed at the second width without a margin: undecided, not dropped
    assert found.tolist() == [[0, 1], [1, 2], [-1, -1]]


def test_a_rung_that_was_not_asked_for_has_no_curve() -> None:
    nothing = cell(("hidden",), margin_trial=np.full((1, 2, 2), NAN), computed=np.ones((2, 2), dtype=np.int8))
    assert decisions(nothing, "trial", "hidden") is None
    assert decisions(nothing, "paper", "hidden") is None
    assert curve(nothing, "paper", "hidden") is None


def test_exact_is_of_hidden_alone_and_what_does_not_apply_is_no_trial() -> None:
    exact = [[Exact.REACHES_ZERO, Exact.CANNOT], [Exact.UNDECIDED, Exact.NOT_APPLICABLE], [-1, -1]]
    some = cell(exact=np.array(exact, dtype=np.int8))
    found = decisions(some, "exact", "hidden")
    assert found is not None
    assert found.tolist() == [[1, 0], [2, -1], [-1, -1]]
    assert decisions(some, "exact", "both") is None


def test_conserved_is_of_both_alone_and_needs_a_finite_start() -> None:
    some = cell(sigma_low=[[0.1, 0.0], [0.1, NAN]], psi_0=[[1.0, 1.0], [math.inf, 1.0]])
    found = decisions(some, "conserved", "both")
    assert found is not None
    assert found.tolist() == [[1, 0], [0, -1]]
    assert decisions(some, "conserved", "hidden") is None


def test_only_a_proof_makes_the_flow_fail() -> None:
    outcome = np.array([[list(Outcome), [-1] * len(Outcome)]], dtype=np.int8)
    found = decisions(cell(("hidden",), tuple(range(1, 11)), outcome=outcome), "converged", "hidden")
    assert found is not None
    expected = [1, 1, 1, 0, 2, 2, 2, 2, 2, 2]
    assert found[0].tolist() == expected
    assert set(found[1].tolist()) == {int(Decision.NOT_COUNTED)}


def test_unknown_events_and_modes_are_refused() -> None:
    with pytest.raises(InputError, match="event 'sharpest'"):
        decisions(cell(), "sharpest", "hidden")
    with pytest.raises(InputError, match="mode 'both'"):
        decisions(cell(("hidden",), margin_trial=np.ones((1, 1, 2))), "trial", "both")


def counts(holds: list[int], fails: list[int], undecided: list[int] | None = None) -> Counts:
    return Counts(np.array(holds), np.array(fails), np.array(undecided or [0] * len(holds)))


def test_undecided_trials_stand_against_both_ends_of_an_interval() -> None:
    made = curve_of_counts("trial", "both", 3, np.array([10, 20]), counts([50, 0], [30, 0], [20, 0]), 0.9)
    first, empty = made.estimates()
    # one width has trials: Bonferroni over one
    assert first.simultaneous_level == pytest.approx(0.9)
    assert first.interval[0] == clopper_pearson(50, 100, 0.9)[0]
    assert first.interval[1] == clopper_pearson(70, 100, 0.9)[1]
    assert first.bracket == (0.5, 0.7)
    assert (first.trials, first.holds, first.fails, first.undecided) == (100, 50, 30, 20)
    assert (first.cell, first.mode, first.width, first.method_class) == (3, "both", 10, "exact")
    assert empty.interval == empty.bracket == (0.0, 1.0)


def test_a_band_shares_alpha_over_its_widths_and_a_pointwise_one_does_not() -> None:
    some = counts([5, 50, 95], [95, 50, 5])
    band = curve_of_counts("trial", "both", 0, np.array([1, 2, 3]), some, 0.95)
    points = curve_of_counts("trial", "both", 0, np.array([1, 2, 3]), some, 0.95, simultaneous=False)
    assert band.simultaneous_level == pytest.approx(1 - 0.05 / 3)
    # 1 - (1 - level) rounds alpha/3 in its 15th digit, and the limits follow
    assert band.lower == pytest.approx(clopper_pearson([5, 50, 95], 100, 1 - 0.05 / 3)[0], rel=1e-12)
    assert points.simultaneous_level == 0.95
    assert np.all(points.lower > band.lower)


def test_the_level_of_an_experiment_is_checked() -> None:
    with pytest.raises(InputError, match="level"):
        curve_of_counts("trial", "both", 0, np.array([1]), counts([1], [1]), 1.5)


def test_a_verdict_needs_the_one_sided_limit_at_its_share_of_alpha() -> None:
    # 100 of 100: lower limit alpha^(1/100); with two widths alpha/2 each
    some = counts([100, 100], [0, 0])
    limit = 0.025 ** (1 / 100)
    assert at_least(some, [limit - 1e-9, limit + 1e-9], 0.05, 2) == (Support.SUPPORTED, Support.UNDECIDED)
    limit = 1 - 0.025 ** (1 / 100)
    none = counts([0, 0], [100, 100])
    assert at_least(none, [limit + 1e-9, limit - 1e-9], 0.05, 2) == (Support.CONTRADICTED, Support.UNDECIDED)


def test_a_bound_of_nothing_is_vacuous_whatever_was_seen() -> None:
    some = counts([0, 100, 50], [100, 0, 50])
    assert at_least(some, [0.0, -1.0, NAN]) == (Support.VACUOUS,) * 3


def test_undecided_trials_and_a_bound_that_is_off_make_no_verdict() -> None:
    some = counts([0, 100], [50, 0], [50, 0])
    # contradicted only with the undecided as holds: the upper limit of 50 of 100 is above 0.5
    assert at_least(some, [0.5, 0.9]) == (Support.UNDECIDED, Support.SUPPORTED)
    assert at_least(some, [0.7, 0.9], p_error=0.2) == (Support.UNDECIDED, Support.UNDECIDED)


def test_no_trials_support_nothing_but_a_bound_of_nothing() -> None:
    assert at_least(counts([0, 0], [0, 0]), [0.3, 0.0]) == (Support.UNDECIDED, Support.VACUOUS)


def test_one_contradiction_refutes_and_support_must_be_everywhere() -> None:
    s, c, u, v = Support.SUPPORTED, Support.CONTRADICTED, Support.UNDECIDED, Support.VACUOUS
    assert together((s, v, s)) == s
    assert together((s, u)) == u
    assert together((s, c, u)) == c
    assert together((v, v)) == v
    assert together(()) == v


def test_the_error_of_all_verdicts_together_stays_below_alpha(rng: np.random.Generator) -> None:
    # P equals the bound at each of 6 widths, so "contradicted" anywhere is an error: at most 5 % of 2000 studies,
    # four standard errors of a frequency of 0.05 on top
    p, studies = np.linspace(0.3, 0.95, 6), 2000
    holds = rng.binomial(80, p, (studies, 6))
    wrong = sum(Support.CONTRADICTED in at_least(counts(list(s), list(80 - s)), p, 0.05, 6) for s in holds)
    assert wrong / studies <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / studies)
    assert wrong > 0  # the verdict can be reached at all


H, V, U, F = (int(x) for x in (Verdict.HOLDS, Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.HYPOTHESIS_FALSE))


def test_an_implication_that_holds_gives_the_limit_of_its_violation_rate_and_the_tightest_trial() -> None:
    verdict = np.array([[H, H], [F, H], [F, F], [-1, -1]], dtype=np.int8)
    slack = np.array([[3.0, 0.5], [NAN, 0.25], [0.1, 0.1], [NAN, NAN]])
    found = implication("rate", "trial", "both", np.array([10, 20]), verdict, slack, alpha=0.05)
    assert (found.trials, found.hypothesis_true, found.checks, found.violations) == (3, 2, 3, 0)
    assert found.upper == pytest.approx(1 - math.sqrt(0.05))  # two independent trials: (1 - p)^2 = alpha
    assert found.lower == 0.0
    # a small slack where the hypothesis is false is no news
    assert (found.slack_min, found.address) == (0.25, (1, 20))
    assert found.verdict == "not violated in 2"


def test_one_violation_is_named_by_its_address() -> None:
    verdict = np.array([[H, H], [H, V], [V, V]], dtype=np.int8)
    slack = np.array([[1.0, 1.0], [1.0, -0.1], [-0.5, -0.2]])
    found = implication("rate", "trial", "both", np.array([10, 20]), verdict, slack)
    assert found.verdict == "violated"
    assert (found.violations, found.address, found.slack_min) == (2, (1, 20), -0.5)
    assert 0.0 < found.lower < 2 / 3 < found.upper


def test_undecided_and_untested_implications_are_no_success() -> None:
    widths = np.array([10])
    open_ = implication("rate", "trial", "both", widths, np.array([[U], [U]], dtype=np.int8))
    assert (open_.verdict, open_.upper, open_.undecided) == ("undecided", 1.0, 2)
    assert math.isnan(open_.slack_min)
    false = implication("rate", "trial", "both", widths, np.array([[F], [-1]], dtype=np.int8))
    assert (false.verdict, false.upper, false.hypothesis_true) == ("hypothesis-false", 1.0, 0)
    vacuous = implication("rate", "trial", "both", widths, np.array([[int(Verdict.VACUOUS)]], dtype=np.int8))
    assert vacuous.verdict == "vacuous"
    mixed = implication("rate", "trial", "both", widths, np.array([[H], [U]], dtype=np.int8))
    assert mixed.verdict == "not violated in 1"
    assert mixed.upper == pytest.approx(math.sqrt(0.95))  # one of two may violate: P(at most one) = 1 - p^2 = 0.05


def test_the_ladder_finds_a_certificate_that_does_not_imply_the_next() -> None:
    margins = {
        "margin_paper": np.array([[[0.5, 1.2], [1.1, 1.3]]]),
        "margin_trial": np.array([[[1.5, 2.0], [0.9, 4.0]]]),
        "margin_sharp": np.array([[[2.0, 3.0], [1.2, 5.0]]]),
    }
    exact = np.array([[Exact.REACHES_ZERO, Exact.CANNOT], [Exact.UNDECIDED, Exact.REACHES_ZERO]], dtype=np.int8)
    some = cell(("hidden",), exact=exact, computed=np.ones((2, 2), dtype=np.int8), **margins)
    paper, trial, sharp = ladder_implications(some, "hidden")
    assert (paper.name, paper.verdict, paper.address) == ("paper-trial", "violated", (1, 10))
    assert (trial.name, trial.verdict, trial.address) == ("trial-sharp", "not violated in 2", (0, 10))
    assert trial.slack_min == pytest.approx(math.log(2.0))
    assert (sharp.name, sharp.verdict, sharp.address) == ("sharp-exact", "violated", (0, 100))


def test_what_was_not_computed_implies_nothing() -> None:
    found = implied(np.array([[1, -1, 1, 0]], dtype=np.int8), np.array([[-1, 1, 1, 1]], dtype=np.int8))
    assert found.tolist() == [[-1, -1, H, F]]


def test_claims_of_the_flow_are_found_by_their_datasets() -> None:
    data = {
        "verdict_conserved-rate_conserved": np.array([[[-1, -1]], [[H, V]]], dtype=np.int8),
        "slack_conserved-rate_conserved": np.array([[[NAN, NAN]], [[0.5, -1.0]]]),
    }
    assert list(flow_implications(cell(**data), "hidden")) == []  # nothing was computed there
    (found,) = flow_implications(cell(**data), "both")
    assert (found.name, found.hypothesis, found.address) == ("conserved-rate", "conserved", (0, 100))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=8))
def test_pooling_gives_a_non_decreasing_sequence_of_the_same_mean(pairs: list[tuple[float, int]]) -> None:
    values, weights = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    fit = pooled(values, weights)
    # sums of at most 8 numbers up to 50: a few roundings
    assert np.all(np.diff(fit) >= -1e-14)
    assert fit @ weights == pytest.approx(values @ weights, abs=1e-12)
    assert pooled(fit, weights) == pytest.approx(fit, abs=1e-14)


def test_pooling_leaves_what_is_in_order_and_averages_what_is_not() -> None:
    assert pooled([0.1, 0.5, 0.9], [1, 1, 1]).tolist() == [0.1, 0.5, 0.9]
    assert pooled([0.2, 0.8, 0.4], [1, 1, 3]).tolist() == pytest.approx([0.2, 0.5, 0.5])


GRID = np.round(np.geomspace(10, 1000, 9)).astype(np.int64)


def logistic(widths: np.ndarray, half: float) -> np.ndarray:
    return 1 / (1 + (half / widths) ** 3)


def of_holds(holds: np.ndarray, trials: int, widths: np.ndarray = GRID) -> Any:
    return curve_of_counts("trial", "both", 0, widths, counts(list(holds), list(trials - holds)))


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_of_a_median_width_covers_it(paired: bool, rng: np.random.Generator) -> None:
    half, trials, studies = 130.0, 60, 300
    covered = finite = 0
    for _ in range(studies):
        draws = rng.random((trials, 1 if paired else len(GRID)))  # paired: the widths of a trial share their draw
        found = median_width(of_holds((draws < logistic(GRID, half)).sum(axis=0), trials))
        low, high = found.interval
        covered += low < half <= high
        finite += low > 0 and math.isfinite(high)
        assert low <= found.estimate <= high
    # at least 0.95, less four standard errors of a frequency of 0.95 in 300 studies
    assert covered / studies >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / studies)
    assert finite == studies  # with 60 trials the band tells 0.02 and 0.98 from one half


def test_a_median_width_beyond_the_grid_says_so() -> None:
    above = median_width(of_holds(np.zeros(9, dtype=int), 50))
    assert math.isinf(above.estimate)
    assert above.interval == (1000.0, math.inf)
    assert above.label.startswith("above")
    below = median_width(of_holds(np.full(9, 50), 50))
    assert below.estimate == 0.0
    assert below.interval == (0.0, 10.0)
    assert below.label == "below 10"
    nothing = median_width(of_holds(np.zeros(9, dtype=int), 0))
    assert math.isnan(nothing.estimate)
    assert nothing.interval == (0.0, math.inf)
    assert nothing.interval_label == "no information"


def test_the_median_width_interpolates_in_log_width() -> None:
    made = of_holds(np.array([0, 25, 75, 100]), 100, np.array([1, 10, 1000, 2000]))
    assert median_width(made).estimate == pytest.approx(100.0)  # half way between 10 and 1000
    assert median_width(made, p=0.25).estimate == 10.0


def test_undecided_trials_widen_the_interval_of_a_median_width() -> None:
    widths = np.array([10, 20, 40, 80])
    sure = curve_of_counts("exact", "hidden", 0, widths, counts([0, 5, 95, 100], [100, 95, 5, 0]))
    open_ = curve_of_counts("exact", "hidden", 0, widths, counts([0, 5, 5, 100], [100, 5, 5, 0], [0, 90, 90, 0]))
    assert median_width(sure).interval == (20.0, 40.0)
    assert median_width(open_).interval == (10.0, 80.0)


@pytest.mark.parametrize(("x", "expected"), [(8.4, 8), (87.3, 87), (1234.0, 1200), (84_321.0, 84_000)])
def test_widths_are_rounded_to_what_they_are_known_to(x: float, expected: int) -> None:
    assert significant(x) == expected


SCALES = {"sigma_A": 1.0, "norm_A": 1.0, "frobenius_A": math.sqrt(5.0), "frobenius_AAT": math.sqrt(5.0)}
EXPERIMENT: dict[str, Any] = {"network": {"activation": "sigmoid", "output_law": "uniform"}, "loss": {"kind": "mse"}}


def problem_cell(norms: list[float], resample: str = "trial") -> Any:
    data = {name: np.full(len(norms), value) for name, value in SCALES.items()}
    made = cell(norm_y=np.array(norms), **data)
    made.problem["resample"] = resample
    return made


def test_the_theory_of_a_cell_is_the_mean_over_its_problems() -> None:
    theory = cell_theory(problem_cell([1.0, 3.0, NAN]), EXPERIMENT)
    assert theory is not None
    assert [s.norm_y for s in theory.settings] == [1.0, 3.0]  # the third was not computed
    widths = np.array([100, 50_000, 500_000])
    alone = [bounds.p_theory(s, "hidden", "trial", widths) for s in theory.settings]
    found = theory.curve("hidden", "trial", widths)
    assert found.p == pytest.approx(np.mean(alone, axis=0))
    assert found.standard_error == pytest.approx(np.std(alone, axis=0, ddof=1) / math.sqrt(2))
    assert "2 problems" in found.source
    assert found.at(np.array([2])).p.tolist() == [found.p[2]]


def test_a_problem_shared_by_the_trials_counts_once() -> None:
    theory = cell_theory(problem_cell([2.0, 2.0], "cell"), EXPERIMENT)
    assert theory is not None
    assert len(theory.settings) == 1
    found = theory.curve("hidden", "trial", np.array([10, 500_000]))
    assert found.standard_error.tolist() == [0.0, 0.0]
    assert found.source.endswith("the problem of the cell")


def test_the_promised_width_keeps_its_promise() -> None:
    theory = cell_theory(problem_cell([2.0], "cell"), EXPERIMENT)
    assert theory is not None
    width = int(theory.width_for("hidden", "trial", 0.05))
    at, before = theory.curve("hidden", "trial", np.array([width, width - 1])).p
    assert at >= 0.95 > before


def test_gaussian_entries_are_outside_the_theorem() -> None:
    theory = cell_theory(problem_cell([2.0], "cell"), {**EXPERIMENT, "network": {"output_law": "gaussian"}})
    assert theory is not None
    assert "outside the theorem" in theory.outside
    assert theory.curve("hidden", "trial", np.array([10**6])).p.tolist() == [0.0]
    assert math.isinf(theory.width_for("hidden", "trial", 0.05))


@pytest.mark.parametrize("network", [{"activation": "of my own"}, {"output_law": "of my own"}])
def test_what_has_no_name_has_no_theory(network: dict[str, str]) -> None:
    assert cell_theory(problem_cell([2.0]), {**EXPERIMENT, "network": network}) is None
    assert cell_theory(cell(), EXPERIMENT) is None


def test_a_curve_is_judged_against_its_theory_at_the_widths_where_it_says_something() -> None:
    made = curve_of_counts("trial", "both", 0, np.array([1, 2, 3]), counts([0, 100, 40], [100, 0, 60]))
    theory = TheoryCurve("trial", np.array([0.0, 0.9, 0.9]), np.zeros(3), 1)
    judged = made.against(theory)
    assert judged.verdicts == (Support.VACUOUS, Support.SUPPORTED, Support.CONTRADICTED)
    estimate = judged.estimates()[1]
    assert (estimate.theory, estimate.verdict) == (0.9, Support.SUPPORTED)
    assert estimate.theory_source is not None
    assert made.verdicts is None
    assert made.estimates()[0].verdict is None


def test_a_study_has_what_the_cell_has() -> None:
    margin = np.array([[[0.5, 2.0], [0.5, 2.0]]])
    some = cell(("hidden",), margin_trial=margin, computed=np.array([[1, 1], [1, 0]], dtype=np.int8))
    text = '[experiment]\ntrials = 2\n[estimate]\nlevel = 0.9\n[claims]\ncheck = ["rate"]\n'
    found = study_run(SimpleNamespace(experiment_text=text, attrs={}, cells=(some,)))
    assert (found.level, found.simultaneous, found.planned, found.complete) == (0.9, True, 2, False)
    assert set(found.cells[0].curves) == {("hidden", "trial")}
    assert trials_present(some) == 1
    assert found.cells[0].theory is None
