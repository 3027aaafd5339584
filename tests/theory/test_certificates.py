"""The ladder: streamed against direct, the implications, and the sharp integral against quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from cases import block_task
from scipy.integrate import quad

from mc.model import activations, losses
from mc.model.draws import draw_network, draw_problem, get_law
from mc.model.network import Network
from mc.theory.certificates import Branch, ObservedPath
from mc.theory.codes import LADDER, MODES
from mc.theory.lipschitz import TrialLipschitz
from mc.trial.block import BlockTask, compute_block

CELL = (11, 12)
SHAPE = {"operator": "gaussian", "n": 6, "m": 4, "signal": "gaussian", "noise": 0.1, "resample": "trial"}
ALL_RUNGS = {"seed": 5, "cell": CELL, "problem": SHAPE, "modes": MODES, "ladder": LADDER, "n_trials": 3}


def task(**changes: object) -> BlockTask:
    return block_task(**{**ALL_RUNGS, "widths": (5, 40, 1024, 1500, 2600), **changes})


@pytest.mark.parametrize(
    ("activation", "loss", "p", "law"),
    [
        ("sigmoid", "mse", 2.0, "uniform"),
        ("tanh", "power", 4.0, "rademacher"),
        ("sin", "logcosh", 2.0, "uniform"),
        ("silu", "mse", 2.0, "gaussian"),
    ],
)
def test_streamed_against_direct(activation: str, loss: str, p: float, law: str) -> None:
    """Every stored number at five widths from a dense network (V, W) and dense decompositions."""
    here = task(activation=activation, loss=loss, p=p, output_law=law)
    out = compute_block(here)
    for trial in range(3):
        problem = draw_problem(here.problem, here.seed, CELL, trial)
        for at, k in enumerate(here.widths):
            h, V = draw_network(here.seed, CELL, trial, k, get_law(law), 6)
            u = np.array([1.0])
            net = Network(V, h[:, None], u, activations.get(activation))
            the_loss = losses.get(loss, p if loss == "power" else None)
            psi = the_loss.psi(the_loss.value(problem.A @ net.output - problem.y))
            assert out["psi_0"][trial, at] == pytest.approx(float(psi), rel=1e-10)
            for index, mode in enumerate(here.modes):
                J = net.jacobian(mode)
                sigma = np.linalg.svd(J, compute_uv=False)[-1] if mode == "both" or k >= 6 else 0.0
                # the eigenvalue loses a few ulp of |J|^2
                assert out["sigma_0"][index, trial, at] ** 2 == pytest.approx(
                    sigma**2, abs=1e-12 * np.linalg.norm(J) ** 2
                )
                if sigma < 1e-3 * np.linalg.norm(J, 2):
                    continue
                needed = 2.0 * psi / (problem.sigma_A * sigma)
                assert out["radius_needed"][index, trial, at] == pytest.approx(needed, rel=1e-9)
                c = np.linalg.norm(V, axis=0).max()
                B1, B2 = net.activation.sup_dphi, net.activation.lip_dphi
                b = B2 * (c + needed)
                lip = B2 * c if mode == "hidden" else (b + np.sqrt(b * b + 4 * B1 * B1)) / 2
                assert out["margin_trial"][index, trial, at] == pytest.approx(
                    sigma * np.sqrt(k) / (2 * needed * lip), rel=1e-9
                )
                v = get_law(law).entry_bound
                lip = max(B1, B2) * (v if mode == "hidden" else 1 + 2 * (v + needed))
                assert out["margin_paper"][index, trial, at] == pytest.approx(
                    sigma * np.sqrt(k / 6) / (2 * needed * lip), rel=1e-9
                )
                direct = direct_sharp(net, problem, mode, float(psi))
                assert out["margin_sharp"][index, trial, at] == pytest.approx(direct, rel=1e-7)


def direct_sharp(net: Network, problem, mode: str, psi: float) -> float:
    """The sharp integral by quadrature of its definition, with every constant from dense matrices."""
    J, k = net.jacobian(mode), net.width
    sigma_Z = np.linalg.svd(problem.Z.T @ J, compute_uv=False)[-1]
    sigma_obs = np.linalg.svd(problem.U.T @ problem.A @ J, compute_uv=False)[-1]
    c_Z = np.linalg.norm(problem.Z.T @ net.V, axis=0).max()
    c_A = np.linalg.norm(problem.A @ net.V, axis=0).max()
    B1, B2, a = net.activation.sup_dphi, net.activation.lip_dphi, problem.norm_A
    if mode == "hidden":
        one, two = (lambda s: B2 * c_Z * s / np.sqrt(k)), (lambda s: B2 * c_A * s / np.sqrt(k))
    else:
        one = ell(B1, B2, c_Z, 1.0, k)
        two = ell(B1, B2, c_A, a, k)

    def m(s):
        return np.maximum(np.maximum(problem.sigma_A * (sigma_Z - one(s)), sigma_obs - two(s)), 0.0)

    end = 1.0
    while m(end) > 0:
        end *= 2
    # the two kinks cost the square of the piece's length: composite Gauss-Legendre on many small pieces
    x, w = np.polynomial.legendre.leggauss(4)
    edges = np.linspace(0.0, end, 20001)
    nodes = edges[:-1, None] + np.diff(edges)[:, None] * (x + 1) / 2
    return float((np.diff(edges)[:, None] * w / 2 * m(nodes)).sum() / psi)


def ell(B1: float, B2: float, c: float, a: float, k: int):
    """int_0^s |[[a B1, 0], [B2 (c + a u), a B1]]| du / sqrt(k) by the antiderivative, as theory §5.3 writes it."""
    B1, B2, c = a * B1, a * B2, c / a

    def F(b: float) -> float:
        return b * b / 4 + b / 4 * np.sqrt(b * b + 4 * B1 * B1) + B1 * B1 * np.arcsinh(b / (2 * B1))

    return lambda s: (F(B2 * (c + s)) - F(B2 * c)) / (B2 * np.sqrt(k))


def test_the_ladder_is_a_ladder() -> None:
    """paper => trial => sharp => zero loss on 10^4 trials where all of them occur, and s* <= R', sigma_* >= half."""
    shape = {"operator": "gaussian", "n": 2, "m": 1, "signal": "gaussian", "noise": 0.0, "resample": "trial"}
    out = compute_block(task(problem=shape, n_trials=10_000, widths=(2, 30, 300, 3000)))
    paper, trial, sharp = (out[f"margin_{rung}"] > 1.0 for rung in ("paper", "trial", "sharp"))
    assert not (paper & ~trial).any()
    assert not (trial & ~sharp).any()
    assert not (sharp[0] & (out["exact"] != 0)).any()
    # the implications are not empty
    assert paper.mean(axis=(1, 2)).min() > 0.005
    assert (trial & ~paper).any()
    assert (sharp & ~trial).any()
    # Proposition 1 of theory §5.3, which is more than the implications
    half = out["sigma_A"][None, :, None] * out["sigma_0"] / np.sqrt(2.0)
    assert (out["sigma_star"][trial] >= half[trial] * (1 - 1e-9)).all()
    defined = out["sigma_0"] > 0.0
    ratio = 2.0 * out["radius_trial"][defined] / out["radius_needed"][defined]
    assert (out["margin_sharp"][defined] >= ratio * (1 - 1e-9)).all()


def test_rank_deficient_and_overdetermined_cells() -> None:
    for m, n in ((9, 4), (4, 4), (1, 1)):
        shape = {"operator": "gaussian", "n": n, "m": m, "signal": "gaussian", "noise": 0.1, "resample": "trial"}
        out = compute_block(task(problem=shape, widths=(3, 2000)))
        assert np.isfinite(out["psi_0"]).all()
        assert (out["rank"] == min(m, n)).all()
    # a rank that differs from trial to trial: rows are computed in groups and put back in place
    shape = {"operator": "gaussian", "n": 5, "m": 4, "signal": "gaussian", "noise": 0.0, "rank_tol": 0.4}
    whole = compute_block(task(problem=shape, n_trials=8, widths=(50,)))
    assert np.unique(whole["rank"]).size > 1
    for trial in range(8):
        single = compute_block(task(problem=shape, first_trial=trial, n_trials=1, widths=(50,)))
        np.testing.assert_array_equal(single["margin_sharp"][:, 0], whole["margin_sharp"][:, trial])


def test_a_width_does_not_depend_on_the_others() -> None:
    alone, among = (compute_block(task(widths=w)) for w in ((1500,), (7, 1024, 1030, 1500, 4000)))
    for name, values in alone.items():
        if values.ndim > 1:
            np.testing.assert_array_equal(values[..., 0], among[name][..., 3], err_msg=name)
        else:
            np.testing.assert_array_equal(values, among[name], err_msg=name)


def test_a_trial_does_not_depend_on_the_others() -> None:
    shape = {"operator": "gaussian", "n": 6, "m": 4, "signal": "gaussian", "noise": 0.1, "resample": "cell"}
    many = compute_block(task(problem=shape, n_trials=7))
    few = compute_block(task(problem=shape, first_trial=5, n_trials=2))
    for name, values in few.items():
        axis = 1 if values.ndim == 3 else 0
        np.testing.assert_array_equal(values, np.take(many[name], [5, 6], axis=axis), err_msg=name)


def test_solved_at_the_start() -> None:
    """psi(L_0) = 0: every margin that has a Jacobian is infinite, and nothing divides by zero."""
    branch = Branch(1.0, np.array([0.5]), TrialLipschitz("hidden", 1.0, 1.0, np.array([1.0]), np.array([4.0])))
    margin, path, sigma = ObservedPath.build(branch, branch).certify(np.array([0.0]))
    assert margin[0] == np.inf
    assert path[0] == 0.0
    assert sigma[0] == 0.5


def test_path_length_and_final_singular_value(rng: np.random.Generator) -> None:
    """int_0^{s*} m = psi_0 and sigma_* = m(s*), with both branches in play."""
    crossed = 0
    for _ in range(200):
        k, a = np.array([100.0]), rng.uniform(1.0, 4.0)
        c = rng.uniform(0.5, 3.0, 2)
        sigma = rng.uniform(0.1, 1.0, 2)
        path = ObservedPath.build(
            Branch(rng.uniform(0.2, 1.0), sigma[:1], TrialLipschitz("both", 0.25, 0.1, c[:1], k)),
            Branch(1.0, sigma[1:], TrialLipschitz("both", 0.25 * a, 0.1 * a, c[1:], k)),
        )
        whole = path.area(path.end)
        psi = rng.uniform(0.01, 0.999) * whole
        margin, length, star = path.certify(psi)
        assert margin[0] == pytest.approx(whole[0] / psi[0])
        points = [path.crossing[0]] if 0 < path.crossing[0] < length[0] else None
        area = quad(lambda s, m=path: m.level(np.array([s]))[0], 0, length[0], points=points, epsabs=1e-13)[0]
        assert area == pytest.approx(psi[0], rel=1e-9)
        assert star[0] == pytest.approx(path.level(length)[0])
        crossed += points is not None
    assert crossed > 10
    assert np.isnan(path.certify(2.0 * whole)[1][0])
