"""The flows of a block: what is integrated, how it ends, what is saved, and the theorem's envelopes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import block_task

from mc.flow.settings import FlowSettings, Save
from mc.model import activations, losses
from mc.model.draws import draw_network, draw_problem, get_law
from mc.model.network import Network
from mc.theory.codes import CertifiedBy, Exact, Outcome
from mc.trial.block import compute_block

WIDTHS = (10, 40, 300, 4000)
PROBLEM = {"operator": "orthonormal", "n": 6, "m": 3, "signal": "gaussian", "noise": 0.1, "resample": "trial"}


def block(flow: FlowSettings, **changes: object) -> dict[str, np.ndarray]:
    values = {
        "seed": 4, "problem": PROBLEM, "modes": ("hidden", "both"), "widths": WIDTHS, "flow_widths": (10, 300, 4000),
        "ladder": ("paper", "trial", "sharp", "exact", "conserved"),
    }  # fmt: skip
    return compute_block(block_task(flow=flow, **{**values, **changes}))


def test_outcomes_agree_with_the_exact_limit() -> None:
    """A trial that cannot converge is not integrated; one that can is certified, at time 0 where `sharp` holds."""
    out = block(FlowSettings(), n_trials=40)
    exact = out["exact"][:, [0, 2, 3]]
    hidden, both = out["outcome"]
    assert (hidden[exact == Exact.CANNOT] == Outcome.NOT_CONVERGED_CERTIFIED).all()
    assert (out["steps"][0][exact == Exact.CANNOT] == 0).all()
    assert (exact == Exact.CANNOT).any()
    # what is too close to the boundary for the integrator stays undecided, and is never called anything else
    reaching = hidden[exact == Exact.REACHES_ZERO]
    assert np.isin(reaching, (Outcome.CONVERGED_CERTIFIED, Outcome.UNDECIDED)).all()
    assert (reaching == Outcome.UNDECIDED).mean() < 0.05
    # sigmoid, both layers: zero loss from every start (theory §7.5)
    assert (both == Outcome.CONVERGED_CERTIFIED).all()
    assert (out["certified_by"][1][out["margin_sharp"][1][:, [0, 2, 3]] <= 1.0] == CertifiedBy.CONSERVED).all()
    sharp = out["margin_sharp"][..., [0, 2, 3]] > 1.0
    assert sharp.any()
    assert (out["stop_time"][sharp] == 0.0).all()
    assert (out["stop_time"][out["certified_by"] == CertifiedBy.RESTART] > 0.0).all()
    drift = out["conserved_drift"]
    assert np.isfinite(drift[out["certified_by"] == CertifiedBy.RESTART]).all()
    assert np.nanmax(drift) < 1e-3


@pytest.mark.parametrize("loss", [("mse", 2.0), ("power", 4.0), ("logcosh", 2.0)])
def test_the_loss_stays_below_every_envelope(loss: tuple[str, float]) -> None:
    out = block(
        FlowSettings(rtol=1e-7, horizon=1e3, save=Save(trials=3, times=12)), loss=loss[0], p=loss[1], n_trials=3
    )
    for name in ("bound_rate", "bound_rate_sharp", "bound_conserved-rate"):
        bound = out[name]
        defined = np.isfinite(bound) & np.isfinite(out["loss"])
        assert defined.any()
        # rtol of the integration, on the loss
        assert (out["loss"][defined] <= bound[defined] * (1 + 1e-5) + 1e-11).all(), name
    for name in ("distance", "jacobian_sigma_min", "signal_error"):
        np.testing.assert_array_equal(np.isfinite(out[name]), np.isfinite(out["loss"]))
    # the companion's distance bounds the error of the loss where a tight run tells it
    times = tuple(out["t"][0, 0, 0, 1:4])
    flow = FlowSettings(rtol=1e-11, atol=1e-13, horizon=1e3, save=Save(trials=3, times=times))
    tight = block(flow, loss=loss[0], p=loss[1], n_trials=1, flow_widths=(10,), modes=("hidden",))
    error = np.abs(tight["loss"][0, 0, 0] - out["loss"][0, 0, 0, 1:4])
    assert (error <= out["error_loss"][0, 0, 0, 1:4] + 1e-13).all()
    total = np.hypot(out["signal_error_range"], out["signal_error_kernel"])
    np.testing.assert_allclose(total, out["signal_error"], rtol=1e-10)


def test_times_of_ones_own() -> None:
    times = (0.0, 1.0, 5.0, 1e5)
    out = block(FlowSettings(save=Save(trials=2, times=times)), flow_widths=(300,))
    np.testing.assert_array_equal(out["t"], np.broadcast_to(times, out["t"].shape))
    # all have converged long before 1e5: nothing is saved there
    assert np.isfinite(out["loss"][..., :3]).all()
    assert np.isnan(out["loss"][..., 3]).all()


def test_gradient_descent_saves_its_iterates() -> None:
    out = block(FlowSettings(rule="gd", gamma=0.5, save=Save(trials=2, times=10)), flow_widths=(300,), n_trials=3)
    assert (out["outcome"] == Outcome.CONVERGED_GD).all()
    steps = out["t"] / 0.5
    np.testing.assert_array_equal(steps, np.round(steps))
    assert np.isfinite(out["loss"]).all()
    np.testing.assert_array_equal(out["t"][:, :2, 0, -1], out["stop_time"][:, :2, 0])
    np.testing.assert_array_equal(out["loss"][:, :2, 0, -1], out["loss_final"][:, :2, 0])


def test_only_the_first_trials_of_a_cell_are_saved() -> None:
    settings = FlowSettings(save=Save(trials=8, times=3))
    assert block(settings, first_trial=6, flow_widths=(10,))["loss"].shape == (2, 2, 1, 3)
    assert block(settings, first_trial=12, flow_widths=(10,))["loss"].shape == (2, 0, 1, 3)
    assert block(settings, flow_widths=(10,))["loss"].shape == (2, 6, 1, 3)


@pytest.mark.parametrize("rule", ["restart", "tolerance"])
def test_outcomes_do_not_depend_on_the_ladder(rule: str) -> None:
    """The ladder is not part of a block's identity, so it may not change what a flow does."""
    flow = FlowSettings(rule=rule, horizon=500.0)
    whole, bare = (block(flow, ladder=ladder) for ladder in (("sharp", "exact", "conserved"), ("sharp",)))
    for name in ("outcome", "certified_by", "stop_time", "steps", "loss_final", "error_estimate"):
        np.testing.assert_array_equal(whole[name], bare[name], err_msg=name)
    assert (bare["exact"] == -1).all()
    assert np.isnan(bare["sigma_low"]).all()
    assert (bare["outcome"] == Outcome.NOT_CONVERGED_CERTIFIED).any()


def test_descent_is_judged_by_itself() -> None:
    """Of the flow's verdicts only that no activations come near enough is taken for descent, and no envelope of it."""
    flow = FlowSettings(rule="gd", max_steps=200, save=Save(trials=2, times=4))
    out = block(flow, flow_widths=(10,))
    # every "cannot" here is further from y than the tolerance: |e|^2/2 = 1e-7
    cannot = (out["exact"][:, 0] == Exact.CANNOT) & (0.5 * out["limit_residual"][:, 0] ** 2 > 1e-7)
    assert cannot.any()
    hidden = out["outcome"][0, :, 0]
    np.testing.assert_array_equal(hidden == Outcome.NOT_CONVERGED_CERTIFIED, cannot)
    assert np.isin(hidden[~cannot], (Outcome.STEP_BUDGET, Outcome.CONVERGED_GD)).all()
    assert np.isin(out["outcome"][1], (Outcome.STEP_BUDGET, Outcome.CONVERGED_GD)).all()
    # for sin a step may leave the box of its neuron: every trial descends
    wild = block(flow, flow_widths=(10,), activation="sin", n_trials=20)
    assert (wild["exact"] == Exact.CANNOT).any()
    assert np.isin(wild["outcome"], (Outcome.STEP_BUDGET, Outcome.CONVERGED_GD)).all()
    for name in ("bound_rate", "bound_rate_sharp", "bound_conserved-rate"):
        assert np.isnan(out[name]).all()


def test_a_descent_that_diverges_is_recorded_as_such() -> None:
    flow = FlowSettings(rule="gd", gamma=50.0, max_steps=300, save=Save(trials=3, times=8))
    out = block(flow, flow_widths=(300,), loss="power", p=6.0, activation="softplus")
    assert (out["outcome"] == Outcome.NON_FINITE).sum() > 2
    assert np.isfinite(out["loss"][..., 0]).all()


@pytest.mark.parametrize(("loss", "p"), [("mse", 2.0), ("logcosh", 2.0), ("power", 4.0), ("power", 10.0)])
def test_the_automatic_step_descends(loss: str, p: float) -> None:
    """gamma = auto: half of what is stable at the start lowers the loss, whatever its curvature there."""
    flow = FlowSettings(rule="gd", max_steps=50)
    out = block(flow, flow_widths=(300,), loss=loss, p=p, n_trials=20, modes=("hidden",))
    start = out["psi_0"][:, 2] ** p / p if loss != "logcosh" else np.log(np.cosh(out["psi_0"][:, 2]))
    assert (out["loss_final"][0, :, 0] < start).all()


@pytest.mark.parametrize("activation", ["sin", "silu", "gelu", "identity", "erf"])
def test_other_activations(activation: str) -> None:
    out = block(FlowSettings(horizon=1e3), activation=activation, flow_widths=(10, 300))
    exact = out["exact"][:, [0, 2]]
    assert np.isin(out["exact"], (Exact.REACHES_ZERO, Exact.CANNOT)).all()
    certified = out["outcome"][0] == Outcome.CONVERGED_CERTIFIED
    assert (exact[certified] == Exact.REACHES_ZERO).all()
    assert certified.any()


@pytest.mark.parametrize("mode", ["hidden", "both"])
def test_saved_signals_are_those_of_the_plain_network(mode: str) -> None:
    """x(t) in reduced coordinates (theory §3.2) against gradient descent on (V, W), two of four entries unobserved."""
    steps, gamma, k, seed, cell = (0, 1, 7, 20), 0.4, 30, 4, (1, 2)
    table = {"operator": "mask", "n": 4, "m": 2, "keep": 0.5, "signal": "gaussian", "noise": 0.3, "resample": "trial"}
    flow = FlowSettings(
        rule="gd",
        gamma=gamma,
        max_steps=20,
        loss_tolerance=1e-30,
        save=Save(trials=2, signal=True, times=tuple(gamma * step for step in steps)),
    )
    out = block(flow, problem=table, modes=(mode,), widths=(k,), flow_widths=(k,), n_trials=3, seed=seed, cell=cell)
    assert out["signal"].shape == (1, 2, 1, len(steps), 4)
    u, loss = np.array([0.6, 0.8]), losses.get("mse")
    for trial in range(2):
        problem = draw_problem(table, seed, cell, trial)
        h, V = draw_network(seed, cell, trial, k, get_law("uniform"), 4)
        network = Network(V, np.outer(h, u), u, activations.get("sigmoid"))
        plain = []
        for step in range(steps[-1] + 1):
            if step in steps:
                plain.append(network.output)
            grad_V, grad_W = network.gradient(problem.A, problem.y, loss, mode)
            network = Network(network.V - gamma * grad_V, network.W - gamma * grad_W, u, network.activation)
        # twenty steps of thirty neurons, each rounded to some ulp of numbers of size one
        np.testing.assert_allclose(out["signal"][0, trial, 0], plain, atol=1e-12)
        error = np.linalg.norm(out["signal"][0, trial, 0] - problem.xbar, axis=1)
        np.testing.assert_allclose(out["signal_error"][0, trial, 0], error, rtol=1e-12)


def test_signals_of_a_flow_fit_its_errors_and_change_nothing_else() -> None:
    plain = FlowSettings(save=Save(trials=2, times=5))
    out, without = (block(flow, n_trials=3) for flow in (replace(plain, save=replace(plain.save, signal=True)), plain))
    assert out.keys() - without.keys() == {"signal"}
    for name, array in without.items():
        np.testing.assert_array_equal(out[name], array)
    xbar = np.stack([draw_problem(PROBLEM, 4, (1, 2), trial).xbar for trial in range(2)])
    error = np.linalg.norm(out["signal"] - xbar[None, :, None, None], axis=-1)
    np.testing.assert_allclose(out["signal_error"], error, rtol=1e-12)
