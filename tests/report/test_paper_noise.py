"""The study of noise: times and bands of curves that are known, the bound in closed form, the section of a tiny run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mc
from mc.estimate.flows.error_bands import settled, stopping_bound
from mc.estimate.flows.losses import Saved, loss_of, saved_of
from mc.report.paper.noise import kept, kernel_claims, section, stopped_of, stopping_claims
from mc.report.paper.section import Run, Runs

NETWORK = {"mode": ["hidden", "both"], "activation": "tanh", "d": 10}
PROBLEMS = {
    "noise-levels": {"n": 2, "m": 3, "operator": "spectrum", "condition": [1.0, 10.0], "noise": [0.1, 0.5]},
    "noise-bound": {"n": 2, "m": 2, "operator": "spectrum", "condition": 1.0, "noise": 0.1},
    "noise-kernel": {"n": 4, "m": 2, "operator": "orthonormal", "noise": 0.1},
}
WIDTHS = {"noise-levels": 40, "noise-bound": 1000, "noise-kernel": 40}
TRIALS = 6


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    base = tmp_path_factory.mktemp("noise")
    for name, problem in PROBLEMS.items():
        tables = {
            "experiment": {"name": name, "seed": 3, "trials": TRIALS},
            "problem": {**problem, "resample": "cell"},
            "network": NETWORK,
            "widths": {"values": [WIDTHS[name]]},
            "flow": {"widths": [WIDTHS[name]], "rule": "tolerance", "save": {"trials": TRIALS, "times": 24}},
            "claims": {"check": ["early-stopping"]},
        }
        mc.run(mc.Experiment.from_dict(tables), base / name, jobs=1)
    return Runs({name: Run(name, base / name) for name in PROBLEMS})


def test_the_section_of_a_tiny_run(runs: Runs, check_section: Callable[..., None]) -> None:
    made = section(runs)
    check_section(made, "noise", runs)
    assert [figure.name for figure in made.figures] == ["noise-bands", "noise-final", "noise-stopping", "noise-parts"]
    assert {claim.experiment for claim in made.claims} == set(PROBLEMS)
    final = next(claim for claim in made.claims if claim.figure == "noise-final")
    assert final.verdict == f"not violated in {2 * 4 * TRIALS} trajectories"  # two modes share the draws
    assert final.trials == 4 * TRIALS


def test_measured_early_stopping_is_not_later_than_its_bound(runs: Runs) -> None:
    run = runs["noise-bound"]
    loss, promised = loss_of(run.results.experiment_text), 0
    for cell in run.results.cells:
        for s in saved_of(cell):
            bound = stopping_bound(loss, s["psi_0"], s["norm_eps"], s.promised("sharp"))
            error = s["error_observation_error"]
            seen = settled(s["t"], s["observation_error"], error, 2.0 * s["norm_eps"])
            some = np.isfinite(bound)
            promised += int(some.sum())
            assert (seen.low[some] <= bound[some]).all()
    assert promised > 0


def test_failed_trials_stay_in_the_medians_of_early_stopping(runs: Runs, without: Callable[..., Saved]) -> None:
    run = runs["noise-bound"]
    loss = loss_of(run.results.experiment_text)
    (whole,) = (s for s in saved_of(run.results.cells[0]) if s.mode == "hidden")
    count = stopped_of(whole, loss).ratio("trial")[0].size
    (before,) = stopping_claims([stopped_of(whole, loss)] * 2, 0.5)
    for lost in (range(1), range(TRIALS)):
        part = stopped_of(without(whole, lost), loss)
        low, high = part.ratio("trial")
        held = int((part.bounds["trial"] > 0.0).sum())
        assert low.size == high.size == held + len(lost)
        assert int(np.isnan(low).sum()) == int(np.isnan(high).sum()) == len(lost)
    # a problem of which every trial failed is one of two, and leaves the claim about both open
    (claim,) = stopping_claims([stopped_of(whole, loss), part], 0.5)
    assert count > 0
    assert "each of 2 problems" in claim.claim
    assert claim.verdict == "undecided"
    assert claim.trials == count + TRIALS
    assert claim.interval.startswith("lowest: [−∞, ∞]")
    assert "∞" not in before.interval
    (kernel,) = kernel_claims(
        [without(next(iter(saved_of(runs["noise-kernel"].results.cells[0]))), range(TRIALS))], 0.5
    )
    assert (kernel.verdict, kernel.trials) == ("undecided", TRIALS)


def test_the_kernel_part_is_what_the_flow_left(runs: Runs) -> None:
    for s in saved_of(runs["noise-kernel"].results.cells[0]):
        whole = np.square(s["signal_error"][:, 0])
        parts = np.square(s["signal_error_range"][:, 0]) + np.square(s["signal_error_kernel"][:, 0])
        np.testing.assert_allclose(parts, whole, rtol=1e-9)
        assert (kept(s) > 0.0).all()
