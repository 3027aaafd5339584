"""Claims along trajectories: true right-hand sides are never violated, broken ones are, with the trial's address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import mc.trial.claims
from mc.estimate.claims.implications import implication
from mc.flow.settings import FlowSettings, Save
from mc.model.losses import get as get_loss
from mc.theory.claim_checks import Observables, Promise
from mc.theory.claims import CLAIMS, TRAJECTORY_CLAIMS, Bounded, Sides, smallest_slack
from mc.theory.codes import Verdict
from mc.trial.block import BlockTask, compute_block

Arrays = dict[str, np.ndarray]
WIDTH = 1000


BASE: dict[str, Any] = {
    "seed": 4,
    "cell": (1, 2),
    "problem": {
        **{"operator": "orthonormal", "n": 1, "m": 1, "signal": "gaussian"},
        **{"noise": 0.1, "resample": "trial"},
    },
    "activation": "tanh",
    "output_law": "uniform",
    "modes": ("hidden", "both"),
    "d": 10,
    "loss": "mse",
    "p": 2.0,
    "ladder": ("paper", "trial", "sharp", "exact", "conserved"),
    "flow": FlowSettings(rule="tolerance", save=Save(times=16)),
    "first_trial": 0,
    "n_trials": 12,
    "widths": (WIDTH,),
    "flow_widths": (WIDTH,),
    "claims": TRAJECTORY_CLAIMS,
}


def followed(**changes: Any) -> Arrays:
    """A block with every claim followed along every trial; tanh, so that `paper` holds at a small width."""
    problem = {**BASE["problem"], **changes.pop("problem", {})}
    return compute_block(BlockTask(**{**BASE, "problem": problem, **changes}))


DESCENT = FlowSettings(rule="gd", gamma_scale=0.2, max_steps=400, save=Save(times=16))
CASES: dict[str, dict[str, Any]] = {
    "tight": {},
    "sigmoid": {"activation": "sigmoid"},
    "underdetermined": {"problem": {"n": 3, "m": 2}},
    "conditioned": {"problem": {"n": 3, "m": 3, "operator": "spectrum", "condition": 4.0}},
    "power": {"loss": "power", "p": 4.0},
    "logcosh": {"loss": "logcosh"},
    "narrow": {"problem": {"n": 6, "m": 4}, "widths": (8,), "flow_widths": (8,), "n_trials": 30},
    "one neuron": {"problem": {"n": 3, "m": 2}, "widths": (1,), "flow_widths": (1,)},
    "sin": {"activation": "sin", "problem": {"n": 2, "m": 1}},
    "noiseless": {"problem": {"noise": 0.0}},
    "descent": {"flow": DESCENT, "widths": (4000,), "flow_widths": (4000,)},
}


@cache
def case(name: str) -> Arrays:
    return followed(**{key: dict(v) if isinstance(v, dict) else v for key, v in CASES[name].items()})


def verdicts(out: Arrays) -> dict[str, np.ndarray]:
    return {name.removeprefix("verdict_"): out[name] for name in out if name.startswith("verdict_")}


@pytest.mark.parametrize("name", CASES)
def test_no_true_claim_is_violated(name: str) -> None:
    out = case(name)
    for member, found in verdicts(out).items():
        assert not (found == Verdict.VIOLATED).any(), member
        claim, _, hypothesis = member.rpartition("_")
        for index, mode in enumerate(("hidden", "both")):
            assert ((found[index] >= 0) == (mode in CLAIMS[claim].modes)).all(), member
            if hypothesis in ("paper", "trial", "sharp") and name != "descent":
                true = out[f"margin_{hypothesis}"][index] > 1.0
                np.testing.assert_array_equal(found[index] == Verdict.HYPOTHESIS_FALSE, ~true)
        # a verdict and its slack say the same
        slack, error = out[f"slack_{member}"], out[f"slack_error_{member}"]
        assert (slack[found == Verdict.HOLDS] >= error[found == Verdict.HOLDS] - 1e-12).all(), member
        silent = np.isin(found, (Verdict.HYPOTHESIS_FALSE, Verdict.VACUOUS, -1))
        assert np.isnan(slack[silent]).all()


def test_every_claim_is_decided_somewhere() -> None:
    """A checker that says nothing anywhere would pass every other test."""
    held: set[str] = set()
    for name in CASES:
        held |= {member for member, found in verdicts(case(name)).items() if (found == Verdict.HOLDS).sum() >= 5}
    assert held == {f"{claim}_{hypothesis}" for claim in TRAJECTORY_CLAIMS for hypothesis in CLAIMS[claim].hypotheses}


def test_what_is_vacuous_says_so() -> None:
    """Recovery where the tangent cone meets ker(A), early stopping without noise, a kernel that is not there."""
    for hypothesis in ("paper", "trial"):
        found = case("underdetermined")[f"verdict_recovery_{hypothesis}"]
        assert np.isin(found, (Verdict.VACUOUS, Verdict.HYPOTHESIS_FALSE)).all()
        assert (found == Verdict.VACUOUS).any()
    assert (case("noiseless")["verdict_early-stopping_sharp"] == Verdict.VACUOUS).all()
    assert (case("tight")["verdict_kernel-drift_always"] == Verdict.VACUOUS).all()


def test_the_first_rows_alone_are_followed_unless_claims_are_named() -> None:
    out = followed(claims=(), flow=FlowSettings(save=Save(trials=3, times=8)), n_trials=5)
    assert (out["verdict_ball_sharp"][:, :3] >= 0).all()
    assert (out["verdict_ball_sharp"][:, 3:] == -1).all()
    assert np.isnan(out["slack_ball_sharp"][:, 3:]).all()
    assert "verdict_ball_sharp" not in followed(claims=(), flow=FlowSettings(), n_trials=2)
    few = followed(claims=("rate",), n_trials=2)
    assert set(verdicts(few)) == {"rate_paper", "rate_trial", "rate_sharp"}
    np.testing.assert_allclose(few["slack_rate_sharp"], case("tight")["slack_rate_sharp"][:, :2], rtol=1e-6)


# Falsification: each checker is given a right-hand side that is wrong

Promises = dict[str, Promise]


def scaled(**factors: float) -> Callable[[Promises], Promises]:
    """The constants of every promise multiplied."""

    def broken(promises: Promises) -> Promises:
        return {
            name: replace(promise, **{field: getattr(promise, field) * by for field, by in factors.items()})
            for name, promise in promises.items()
        }

    return broken


def with_norm_A(observables: Observables, promise: Promise) -> tuple[Observables, Promise]:
    """|A| in place of sigma_A, wherever it stands."""
    ratio = observables.norm_A / observables.sigma_A
    broken = replace(observables, sigma_A=observables.norm_A, recovery_floor=observables.recovery_floor * ratio)
    return broken, replace(promise, sigma=promise.sigma * ratio, radius=promise.radius / ratio)


def changed(**fields: Any) -> Callable[[Observables, Promise], tuple[Observables, Promise]]:
    def broken(observables: Observables, promise: Promise) -> tuple[Observables, Promise]:
        values = {name: value(observables) if callable(value) else value for name, value in fields.items()}
        return replace(observables, **values), promise

    return broken


def observed(name: str, factor: float) -> Callable[[Observables], dict[str, np.ndarray]]:
    return lambda observables: {**observables.values, name: observables.values[name] * factor}


# claim, hypothesis, mode, case, what is broken
BROKEN = [
    ("ball", "trial", "both", "tight", scaled(radius=0.45)),
    ("ball", "sharp", "hidden", "tight", scaled(radius=0.5)),
    ("jacobian", "trial", "hidden", "tight", scaled(floor=2.2)),
    ("jacobian", "sharp", "both", "tight", scaled(floor=2.0)),
    ("rate", "paper", "hidden", "tight", scaled(sigma=2.2)),
    ("rate", "trial", "both", "sigmoid", scaled(sigma=2.2)),
    ("rate", "sharp", "both", "tight", scaled(sigma=2.0**0.5)),
    ("rate", "sharp", "both", "conditioned", with_norm_A),
    ("rate", "sharp", "hidden", "power", changed(loss=get_loss("mse"))),
    ("rate", "sharp", "both", "power", changed(loss=get_loss("power", 3.0))),
    ("limit", "trial", "both", "tight", scaled(sigma=2.5)),
    ("limit", "sharp", "both", "tight", scaled(sigma=2.0)),
    ("early-stopping", "sharp", "both", "tight", changed(norm_eps=lambda observables: 0.4 * observables.norm_eps)),
    ("recovery", "sharp", "both", "conditioned", with_norm_A),
    (
        "recovery",
        "trial",
        "hidden",
        "tight",
        changed(recovery_floor=lambda observables: 3.0 * observables.recovery_floor),
    ),
    ("conserved-rate", "conserved", "both", "sigmoid", scaled(sigma=2.0)),
    ("mirror", "always", "hidden", "narrow", changed(values=observed("bregman", 0.25))),
    ("mirror", "always", "hidden", "sin", changed(values=observed("bregman", 0.2))),
    (
        "zonotope",
        "always",
        "hidden",
        "narrow",
        changed(limit_residual=lambda observables: 1.5 * observables.limit_residual),
    ),
    ("identity", "always", "both", "conditioned", with_norm_A),
    ("kernel-drift", "always", "both", "underdetermined", changed(sup_dphi=0.002)),
    ("discretization", "trial", "both", "descent", scaled(radius=0.3)),
    ("discretization", "trial", "hidden", "descent", scaled(sigma=3.0)),
]


@pytest.mark.parametrize(("claim", "hypothesis", "mode", "name", "broken"), BROKEN)
def test_a_broken_right_hand_side_is_seen(
    claim: str, hypothesis: str, mode: str, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = CLAIMS[claim]
    if broken.__qualname__.startswith("scaled"):
        for kind in ("flow_promises", "descent_promises"):
            true = getattr(mc.trial.claims, kind)
            monkeypatch.setattr(mc.trial.claims, kind, lambda *given, true=true: broken(true(*given)))
    else:
        wrong = replace(checker, sides=lambda observables, promise: checker.sides(*broken(observables, promise)))
        monkeypatch.setattr(mc.trial.claims, "CLAIMS", {**CLAIMS, claim: wrong})
    row = ("hidden", "both").index(mode)
    settings = {key: dict(v) if isinstance(v, dict) else v for key, v in CASES[name].items()}
    out = followed(**{**settings, "claims": (claim,), "modes": (mode,)})
    member = f"{claim}_{hypothesis}"
    widths = np.array(settings.get("flow_widths", (WIDTH,)))
    found = implication(claim, hypothesis, mode, widths, out[f"verdict_{member}"][0], out[f"slack_{member}"][0])
    assert found.verdict == "violated"
    assert found.address is not None
    trial, width = found.address
    assert width == widths[0]
    # the same address held with the right side that is true
    assert case(name)[f"verdict_{member}"][row, trial, 0] == Verdict.HOLDS
    assert out[f"slack_{member}"][0, trial, 0] < 0.0


def test_each_checker_has_been_falsified() -> None:
    assert (
        {entry[0] for entry in BROKEN}
        == set(TRAJECTORY_CLAIMS)
        == {name for name, claim in CLAIMS.items() if claim.sides}
    )


def test_a_wrong_exact_verdict_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that converges, called one that cannot with a distance it keeps: the integration says otherwise."""
    checker = CLAIMS["zonotope"]

    def sides(observables: Observables, promise: Promise) -> Sides:
        far = np.full(observables.exact.shape, 0.05)
        return checker.sides(replace(observables, exact=np.ones_like(observables.exact), limit_residual=far), promise)

    monkeypatch.setattr(mc.trial.claims, "CLAIMS", {**CLAIMS, "zonotope": replace(checker, sides=sides)})
    out = followed(claims=("zonotope",), modes=("hidden",))
    assert (out["verdict_zonotope_always"] == Verdict.VIOLATED).all()


# Two sides


def sides_of(left: Any, right: Any, error: float = 0.0) -> Sides:
    left, right = (np.atleast_2d(np.asarray(side, dtype=float)) for side in (left, right))
    return Sides(Bounded.within(left, error), Bounded.within(right, error), np.arange(left.size, dtype=float)[None])


def test_a_verdict_needs_more_than_the_error() -> None:
    for right, error, expected in (
        (2.0, 0.1, Verdict.HOLDS),
        (1.1, 0.1, Verdict.UNDECIDED),
        (0.9, 0.1, Verdict.UNDECIDED),
        (0.5, 0.1, Verdict.VIOLATED),
        (0.5, np.nan, Verdict.UNDECIDED),
    ):
        slack = smallest_slack(sides_of([1.0], [right], error))
        assert slack.verdict[0] == expected
        assert slack.value[0] == pytest.approx(np.log(right))


def test_one_time_decides_and_times_not_looked_at_do_not() -> None:
    slack = smallest_slack(sides_of([1.0, 1.0, np.nan, 1.0], [3.0, 2.0, 0.1, 5.0]))
    assert (slack.verdict[0], slack.time[0]) == (Verdict.HOLDS, 1.0)
    assert slack.value[0] == pytest.approx(np.log(2.0))
    assert smallest_slack(sides_of([np.nan], [1.0])).verdict[0] == Verdict.UNDECIDED
    assert smallest_slack(sides_of([0.0], [1.0])).verdict[0] == Verdict.HOLDS
    vacuous = replace(sides_of([2.0], [1.0]), vacuous=np.array([True]))
    assert smallest_slack(vacuous).verdict[0] == Verdict.VACUOUS


positive = st.floats(1e-3, 1e3)


@given(
    left=arrays(float, (2, 4), elements=positive),
    right=arrays(float, (2, 4), elements=positive),
    error=st.floats(0.0, 10.0),
    off=arrays(float, (2, 2, 4), elements=st.floats(-1.0, 1.0)),
)
def test_the_verdict_is_right_for_any_truth_within_the_errors(
    left: np.ndarray, right: np.ndarray, error: float, off: np.ndarray
) -> None:
    """Whatever the true sides are, within the errors, a verdict that is given is true of them."""
    time = np.broadcast_to(np.arange(4.0), left.shape)
    slack = smallest_slack(Sides(Bounded.within(left, error), Bounded.within(right, error), time))
    true_left, true_right = (
        np.maximum(side + error * move, 0.0) for side, move in zip((left, right), off, strict=True)
    )
    holds = (true_left <= true_right).all(axis=1)
    assert holds[slack.verdict == Verdict.HOLDS].all()
    assert not holds[slack.verdict == Verdict.VIOLATED].any()


def test_a_checker_names_observables_that_exist() -> None:
    from mc.flow.observables import CHECKED, SAVED

    for claim in CLAIMS.values():
        assert set(claim.observables) <= {*SAVED, *CHECKED}


def test_on_claim_gets_the_sides_that_the_slack_comes_from() -> None:
    seen: dict[tuple[str, str], Sides] = {}

    def on_claim(mode: str, width: int, rows: np.ndarray, member: str, sides: Sides) -> None:
        assert width == WIDTH
        assert rows.tolist() == [0, 1, 2]
        seen[mode, member] = sides

    flow = FlowSettings(rule="tolerance", save=Save(times=16))
    task = BlockTask(**{**BASE, "flow": flow, "n_trials": 3, "claims": ("ball", "mirror")})
    out = compute_block(task, on_claim)
    assert {member for _, member in seen} == {"ball_paper", "ball_trial", "ball_sharp", "mirror_always"}
    for (mode, member), sides in seen.items():
        slack = smallest_slack(sides).value
        stored = out[f"slack_{member}"][("hidden", "both").index(mode), :, 0]
        np.testing.assert_array_equal(slack[~np.isnan(stored)], stored[~np.isnan(stored)])


def test_a_trajectory_that_begins_below_the_tolerance_is_followed_all_the_same() -> None:
    out = followed(
        claims=("rate", "ball"), flow=FlowSettings(rule="tolerance", loss_tolerance=10.0, save=Save(times=8))
    )
    for claim in ("rate", "ball"):
        assert np.isin(out[f"verdict_{claim}_sharp"], (Verdict.HOLDS, Verdict.HYPOTHESIS_FALSE)).all()
        assert (out[f"verdict_{claim}_sharp"] == Verdict.HOLDS).any()


# Where a verdict could go wrong


def test_an_equality_is_not_a_violation() -> None:
    """Identity, hidden layer: sigma_min(A J(t)) = sigma_* at all times, and rounding alone tells them apart."""
    for n in (1, 3):
        out = followed(activation="identity", modes=("hidden",), problem={"n": n, "m": n}, widths=(4000,),
                       flow_widths=(4000,), claims=("jacobian", "rate", "limit"), n_trials=6)  # fmt: skip
        for member, found in verdicts(out).items():
            assert not (found == Verdict.VIOLATED).any(), member


@pytest.mark.parametrize("times", [(0.5, 1.0, 1e5), (1e-3,)])
def test_times_of_ones_own_are_looked_at_where_there_is_a_trajectory(times: tuple[float, ...]) -> None:
    """Times beyond the end are not looked at, and what holds after the end rests on the end."""
    out = followed(flow=FlowSettings(rule="tolerance", save=Save(times=times)), problem={"n": 2, "m": 2}, n_trials=6)
    for member, found in verdicts(out).items():
        assert not (found == Verdict.VIOLATED).any(), member
        slack = out[f"slack_{member}"]
        assert (slack[found == Verdict.HOLDS] >= -1e-12).all(), member
    for member in ("jacobian_sharp", "ball_sharp", "mirror_always", "early-stopping_sharp"):
        found = out[f"verdict_{member}"]
        assert np.isin(found, (Verdict.HOLDS, Verdict.HYPOTHESIS_FALSE, -1)).all(), member
        assert (found == Verdict.HOLDS).any(), member


def test_a_second_integration_that_ends_earlier_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    true = mc.trial.claims.flow_promises
    monkeypatch.setattr(mc.trial.claims, "flow_promises", lambda *given: scaled(radius=0.45)(true(*given)))
    monkeypatch.setattr("mc.flow.observe.MORE_STEPS", 1)
    for steps in (9, 2000):
        flow = FlowSettings(rule="tolerance", max_steps=steps, save=Save(times=16))
        out = followed(flow=flow, claims=("ball",), modes=("both",), n_trials=4)
        assert (out["verdict_ball_trial"] == Verdict.VIOLATED).any()
        assert not (out["verdict_ball_trial"] == Verdict.HOLDS).any()


def test_one_problem_for_all_trials_gives_what_each_gives_alone() -> None:
    shared = followed(problem={"resample": "cell", "n": 3, "m": 2}, n_trials=4)
    alone = followed(problem={"resample": "cell", "n": 3, "m": 2}, n_trials=1, first_trial=2)
    for member in verdicts(alone):
        np.testing.assert_array_equal(alone[f"verdict_{member}"][:, 0], shared[f"verdict_{member}"][:, 2])
        np.testing.assert_allclose(alone[f"slack_{member}"][:, 0], shared[f"slack_{member}"][:, 2], rtol=1e-5)


def test_claims_that_do_not_speak_of_descent_do_not_make_it_run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(mc.trial.claims, "observe_descent", lambda *given: seen.append(1))
    followed(flow=DESCENT, claims=("ball",), n_trials=2)
    assert not seen
