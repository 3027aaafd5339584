"""The study of losses: rates of losses that are known, medians against the binomial law, the section of a tiny run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mc
from mc.estimate.flows.losses import Saved, exponential_rate
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


def test_the_section_of_a_tiny_run(runs: Runs, check_section: Callable[..., None]) -> None:
    made = section(runs)
    check_section(made, "losses", runs)
    assert [figure.name for figure in made.figures] == ["losses-time", "losses-exponents"]
    assert {claim.figure for claim in made.claims} == {"losses-time", "losses-exponents"}
    assert {claim.experiment for claim in made.claims} == set(LOSSES)
    lines = made.figures[1].table.splitlines()
    assert len(lines) == 1 + 2 * 7
    exponents = [float(line.split(",")[4]) for line in lines[1:]]
    # psi falls by a factor 100 at least, so that t_0/t is at most 1e-4 at the end and 1e-3 a decade before
    assert np.median(exponents) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("lost", [range(1), range(7)])
def test_failed_draws_leave_the_claims_open(runs: Runs, without: Callable[..., Saved], lost: range) -> None:
    whole = next(m for m in measure(runs) if m.p == 2.0)
    tracks = without(whole.tracks, lost)
    assert tracks.requested
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
