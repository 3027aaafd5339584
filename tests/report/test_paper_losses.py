"""The study of losses: rates of losses that are known, medians against the binomial law, the section of a tiny run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_cases import without

import mc
from mc.estimate.flows.losses import exponential_rate, median_of, power_exponent
from mc.report.paper.losses import Measured, measure, rate_claims, section
from mc.report.paper.section import Run, Runs

EXPERIMENT = {
    "problem": {"n": 2, "m": 2, "operator": "orthonormal"},
    "network": {"mode": ["hidden", "both"], "activation": "tanh", "d": 10},
    "widths": {"values": [60]},
    "flow": {"widths": [60], "rule": "tolerance", "save": {"trials": 7, "times": 40}},
    "claims": {"check": ["rate"]},
}
LOSSES = {"losses-mse": {"kind": "mse"}, "losses-power-4": {"kind": "power", "p": 4.0}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    base = tmp_path_factory.mktemp("losses")
    for name, loss in LOSSES.items():
        tables = {"experiment": {"name": name, "seed": 3, "trials": 7}, **EXPERIMENT, "loss": loss}
        mc.run(mc.Experiment.from_dict(tables), base / name, jobs=1)
    return Runs({name: Run(name, base / name) for name in LOSSES})


@given(st.floats(0.5, 6.0), st.floats(0.0, 5.0))
def test_a_power_of_the_time_has_its_exponent(q: float, log_scale: float) -> None:
    t = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 60)])[None]
    with np.errstate(divide="ignore"):
        loss = np.where(t > 0.0, math.exp(log_scale) * t**-q, 1e9)
    found = power_exponent(t, loss, np.zeros_like(loss))
    assert found.value[0] == pytest.approx(q, rel=1e-9)
    assert found.low[0] <= found.value[0] <= found.high[0]


@given(st.floats(0.01, 10.0), st.floats(-0.04, 0.04))
def test_an_exponential_has_its_rate_within_what_the_errors_leave(rate: float, wrong: float) -> None:
    t = np.linspace(0.0, 15.0 / rate, 80)[None]
    exact = 3.0 * np.exp(-rate * t)
    seen = exact * (1.0 + wrong * np.sign(np.arange(80) % 2 - 0.5))
    found = exponential_rate(t, seen, np.abs(seen - exact))
    assert found.low[0] <= rate * (1 + 1e-9)
    assert found.high[0] >= rate * (1 - 1e-9)
    assert exponential_rate(t, exact, np.zeros_like(t)).value[0] == pytest.approx(rate, rel=1e-9)


def test_early_times_do_not_count() -> None:
    t = np.geomspace(1e-3, 1e3, 200)[None]
    early = np.where(t < 50.0, 1.0, 0.0)
    loss = t**-2.0 * (1.0 + 7.0 * early)
    assert power_exponent(t, loss, np.zeros_like(t)).value[0] == pytest.approx(2.0, rel=1e-9)


def test_a_loss_of_which_nothing_is_known_leaves_the_slope_open() -> None:
    t = np.geomspace(1.0, 1e3, 50)[None]
    unknown = np.full_like(t, np.nan)
    found = power_exponent(t, t**-2.0, unknown)
    assert (found.low[0], found.high[0]) == (-np.inf, np.inf)
    assert np.isnan(power_exponent(t, unknown, unknown).value[0])


@pytest.mark.parametrize(("trials", "level"), [(6, 0.95), (17, 0.9), (100, 0.95), (101, 0.99)])
def test_ranks_of_the_median_are_the_largest_that_the_binomial_law_allows(trials: int, level: float) -> None:
    values = np.arange(1.0, trials + 1.0)
    found = median_of(values, values, level)
    rank = int(found.low)
    below = [math.fsum(math.comb(trials, i) for i in range(j)) / 2.0**trials for j in (rank, rank + 1)]
    assert below[0] <= 0.5 * (1.0 - level) < below[1]
    assert found.high == trials + 1 - rank


def test_five_trials_say_nothing_of_a_median_at_95_percent() -> None:
    values = np.arange(5.0)
    found = median_of(values, values, 0.95)
    assert (found.value, found.low, found.high) == (2.0, -np.inf, np.inf)
    assert median_of(np.empty(0), np.empty(0), 0.95).low == -np.inf


def test_unknown_trials_and_wide_ones_widen_the_interval_and_are_never_dropped() -> None:
    values = np.arange(1.0, 101.0)
    sure = median_of(values, values, 0.95)
    unknown = np.where(values > 90.0, np.nan, values)
    open_ = median_of(unknown, unknown, 0.95)
    assert open_.low < sure.low
    assert open_.high == sure.high  # the ten largest may still be the largest
    wide = median_of(values - 1.0, values + 2.0, 0.95)
    assert (wide.low, wide.high) == (sure.low - 1.0, sure.high + 2.0)


def test_the_section_of_a_tiny_run(runs: Runs) -> None:
    made = section(runs)
    assert [figure.name for figure in made.figures] == ["losses-time", "losses-exponents"]
    assert {claim.figure for claim in made.claims} == {"losses-time", "losses-exponents"}
    assert {claim.experiment for claim in made.claims} == set(LOSSES)
    assert all(claim.explanation for claim in made.claims if claim.verdict == "contradicted")
    lines = made.figures[1].table.splitlines()
    assert len(lines) == 1 + 2 * 7
    exponents = [float(line.split(",")[4]) for line in lines[1:]]
    # psi falls by a factor 100 at least, so that t_0/t is at most 1e-4 at the end and 1e-3 a decade before
    assert np.median(exponents) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("lost", [range(1), range(7)])
def test_failed_draws_leave_the_claims_open(runs: Runs, lost: range) -> None:
    whole = next(m for m in measure(runs) if m.p == 2.0)
    tracks = without(whole.tracks, lost)
    assert tracks.asked
    assert tracks.seen == (len(lost) < 7)
    slopes = exponential_rate(tracks["t"], tracks["loss"], tracks["error_loss"])
    part = Measured(whole.experiment, whole.name, whole.p, tracks, slopes)
    held = int(np.isfinite(tracks.promised("trial")).sum())
    assert part.over_bound(0.95).trials == held + len(lost)
    # seven draws at 0.95 give the least and the largest: one that is not known opens both ends
    end = part.over_end(0.95)
    assert (end.low, end.high, end.trials) == (-np.inf, np.inf, 7)
    assert whole.over_end(0.95).low > -np.inf
    assert {claim.verdict for claim in rate_claims([part], 0.95)} == {"undecided"}


def test_the_section_without_trajectories_says_so() -> None:
    assert section(Runs({})).claims == ()
