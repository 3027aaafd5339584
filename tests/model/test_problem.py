"""Operators, signals, noise and the decomposition of a problem."""

from __future__ import annotations

import numpy as np
import pytest

from mc.errors import InputError
from mc.model.draws import draw_problem
from mc.model.problem import OPERATORS, SIGNALS, ProblemBatch, make_problem

CELL = (7, 8)


def draw(trial: int = 0, **spec: object):
    base = {"n": 12, "m": 6, "operator": "gaussian", "signal": "gaussian", "noise": 0.0}
    return draw_problem({**base, **spec}, 3, CELL, trial)


@pytest.mark.parametrize(("m", "n"), [(6, 12), (12, 12), (12, 6), (1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("operator", ["gaussian", "orthonormal", "spectrum"])
def test_decomposition(operator: str, m: int, n: int) -> None:
    problem = draw(operator=operator, m=m, n=n, condition=30.0, noise=0.5)
    assert problem.A.shape == (m, n)
    assert problem.rank == min(m, n)
    np.testing.assert_allclose((problem.U * problem.S) @ problem.Z.T, problem.A, atol=1e-14)
    np.testing.assert_allclose(problem.Z.T @ problem.Z, np.eye(problem.rank), atol=1e-14)
    # y lies in the image of A
    np.testing.assert_allclose(problem.U @ problem.target, problem.y, atol=1e-13)
    assert np.linalg.norm(problem.eps) == pytest.approx(0.5 * np.linalg.norm(problem.ybar), rel=1e-12)


def test_orthonormal_and_spectrum_have_their_singular_values() -> None:
    np.testing.assert_allclose(draw(operator="orthonormal").S, 1.0, rtol=1e-13)
    np.testing.assert_allclose(draw(operator="orthonormal", m=12, n=6).S, 1.0, rtol=1e-13)
    S = draw(operator="spectrum", condition=1000.0).S
    np.testing.assert_allclose(S, np.geomspace(1.0, 1e-3, 6), rtol=1e-10)


def test_gaussian_operator_has_variance_one_over_n() -> None:
    A = draw(n=400, m=300).A
    # the mean of 120 000 squares of variance 2/n^2 each: four standard errors
    assert abs((A**2).mean() * 400 - 1.0) < 4.0 * np.sqrt(2.0 / A.size)


def test_mask_identity_and_blur() -> None:
    A = draw(operator="mask", keep=0.5).A
    assert A.shape == (6, 12)
    assert set(np.unique(A)) == {0.0, 1.0}
    np.testing.assert_array_equal(A.sum(axis=1), 1.0)
    assert (A.sum(axis=0) <= 1.0).all()
    np.testing.assert_array_equal(draw(operator="identity", m=12).A, np.eye(12))
    blur = draw(operator="blur", m=12, blur_width=1.0).A
    np.testing.assert_allclose(blur.sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(blur, blur.T, atol=1e-16)
    # a circulant matrix commutes with the shift
    np.testing.assert_allclose(np.roll(np.roll(blur, 1, 0), 1, 1), blur, atol=1e-16)


def test_signals() -> None:
    assert np.count_nonzero(draw(signal="sparse", sparsity=3).xbar) == 3
    for pieces in (1, 2, 12):
        xbar = draw(signal="piecewise", pieces=pieces).xbar
        assert np.count_nonzero(np.diff(xbar)) == pieces - 1


def test_rank_deficient_operator_is_truncated(rng: np.random.Generator) -> None:
    A = rng.standard_normal((5, 2)) @ rng.standard_normal((2, 7))
    problem = make_problem(A, rng.standard_normal(7), rng.standard_normal(5))
    assert problem.rank == 2
    assert problem.discarded.size == 3
    np.testing.assert_allclose(problem.A, A, atol=1e-13)
    np.testing.assert_allclose(problem.U @ problem.target, problem.y, atol=1e-13)
    # a tolerance of one's own drops more, and the operator is then the truncated one
    S = np.linalg.svd(A, compute_uv=False)
    cut = make_problem(A, rng.standard_normal(7), rank_tol=0.5 * (1.0 + S[1] / S[0]))
    assert cut.rank == 1
    assert np.linalg.matrix_rank(cut.A) == 1


def test_resample(rng: np.random.Generator) -> None:
    shared = [draw(trial, resample="cell").A for trial in range(2)]
    np.testing.assert_array_equal(*shared)
    fresh = [draw(trial).A for trial in range(2)]
    assert not np.array_equal(*fresh)


def test_noise_norm_and_none() -> None:
    assert np.linalg.norm(draw(noise_norm=0.25).eps) == pytest.approx(0.25, rel=1e-12)
    assert not draw().eps.any()


def test_facts_are_norms_of_the_operator(rng: np.random.Generator) -> None:
    problem = make_problem(rng.standard_normal((4, 6)), rng.standard_normal(6))
    facts = problem.facts()
    assert facts["frobenius_A"] == pytest.approx(np.linalg.norm(problem.A), rel=1e-14)
    assert facts["frobenius_AAT"] == pytest.approx(np.linalg.norm(problem.A @ problem.A.T), rel=1e-14)
    assert facts["norm_A"] == pytest.approx(np.linalg.norm(problem.A, 2), rel=1e-14)


def test_bad_problems(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="zero"):
        make_problem(np.zeros((2, 3)), np.ones(3))
    with pytest.raises(InputError, match="NaN"):
        make_problem(np.full((2, 3), np.nan), np.ones(3))
    with pytest.raises(InputError, match="does not fit"):
        make_problem(np.ones((2, 3)), np.ones(2))
    with pytest.raises(InputError, match=", ".join(OPERATORS)):
        draw(operator="fourier")
    with pytest.raises(InputError, match=", ".join(SIGNALS)):
        draw(signal="audio")


def test_stacking_shares_one_problem(rng: np.random.Generator) -> None:
    one, two = (make_problem(rng.standard_normal((2, 3)), np.ones(3)) for _ in range(2))
    assert ProblemBatch.stack([one, one]).S.shape == (1, 2)
    batch = ProblemBatch.stack([one, two])
    np.testing.assert_array_equal(batch.take(np.array([1])).S[0], two.S)
