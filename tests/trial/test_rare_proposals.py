"""Moves keep the law of the neurons, sums kept by differences are those of a fresh pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mc.model import activations
from mc.model.draws import OutputLaw, What, draw_problem, generator, get_law
from mc.model.losses import get as get_loss
from mc.trial.rare.margins import LadderMargin, LambdaMin, SummedPopulation, block_slice
from mc.trial.rare.proposals import outputs, propose
from mc.trial.rare.splitting import Step, resample

SPEC = {"n": 3, "m": 2, "operator": "gaussian", "signal": "gaussian", "noise": 0.0, "resample": "cell"}


def rng_of(number: int) -> np.random.Generator:
    return generator(5, (0, 0), number, What.RARE)


def two_points(rng: np.random.Generator, out: np.ndarray) -> None:
    """A law of nobody's: 2 with probability 1/5, -1/2 otherwise (mean 0, variance 1)."""
    out[...] = np.where(rng.random(out.shape) < 0.2, 2.0, -0.5)


OWN = OutputLaw("two-points", 2.0, False, two_points)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("law", ["uniform", "rademacher", "gaussian", OWN])
def test_a_move_keeps_the_law_and_has_its_correlation(law: str | OutputLaw, correlation: float) -> None:
    law = get_law(law)
    rows, n, b = 20_000, 2, 2
    h, V = rng_of(0).standard_normal((rows, b)), outputs([rng_of(1)], law, rows, n, b)
    new_h, new_V = propose([rng_of(2), rng_of(3)], law, h, V, correlation)
    size = V.size
    # entries have mean 0, variance 1 and a fourth moment of at most 3.25 (OWN): standard errors 1 and 1.5 over sqrt(N)
    for values, N in ((new_h, h.size), (new_V, size)):
        assert abs(values.mean()) < 4.0 / np.sqrt(N)
        assert abs(np.square(values).mean() - 1.0) < 6.0 / np.sqrt(N)
    # of the normal variables; for a uniform one the correlation is (6/pi) arcsin(rho/2), below rho by at most 0.02
    assert abs((h * new_h).mean() - correlation) < 4.0 * np.sqrt(2.0 / h.size)
    expected = 6.0 / np.pi * np.arcsin(correlation / 2.0) if law.name == "uniform" else correlation
    assert abs((V * new_V).mean() - expected) < 4.0 * np.sqrt(3.25 / size)
    if law.name == "uniform":
        # Kolmogorov: 1.95 / sqrt(N) is exceeded with probability 1e-3
        assert stats.kstest(new_V.ravel(), "uniform", (-np.sqrt(3), 2 * np.sqrt(3))).statistic < 1.95 / np.sqrt(size)
    elif law.name != "gaussian":
        assert set(np.unique(new_V)) <= set(np.unique(V))


def test_a_move_at_the_end_of_the_range_stays_finite_and_inside() -> None:
    V = np.full((50, 1, 1), np.sqrt(3.0))
    _, new = propose([rng_of(4)], get_law("uniform"), np.zeros((50, 0)), V, 0.9)
    assert np.isfinite(new).all()
    assert (np.abs(new) <= np.sqrt(3.0)).all()


def test_each_repetition_has_its_own_stream() -> None:
    law, h, V = get_law("uniform"), np.zeros((8, 3)), np.zeros((8, 2, 3))
    together = propose([rng_of(0), rng_of(1)], law, h, V, 0.0)
    alone = propose([rng_of(1)], law, h[4:], V[4:], 0.0)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a[4:], b)


@given(st.integers(1, 300), st.floats(1e-6, 1.0))
def test_a_step_changes_what_it_says(k: int, size: float) -> None:
    step = Step.of(size, k)
    assert 1 <= step.block <= k
    assert 0.0 <= step.correlation < 1.0
    # block (1 - correlation) is the number of fresh neurons that change as much; whole blocks are rounded by a half
    assert abs(step.block * (1.0 - step.correlation) - size * k) <= 0.5 + 1e-5 * k
    covered = np.concatenate([np.arange(k)[block_slice(i, k, step.block)] for i in range(-(-k // step.block))])
    np.testing.assert_array_equal(covered, np.arange(k))


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 5))
def test_resampling_gives_every_survivor_as_many_copies_as_the_next(alive: list[bool], seed: int) -> None:
    mask = np.array(alive)
    rows = resample(mask, rng_of(seed))
    assert rows.size == mask.size
    if mask.any():
        copies = np.bincount(rows, minlength=mask.size)
        assert copies[~mask].sum() == 0
        assert np.ptp(copies[mask]) <= 1
    else:
        np.testing.assert_array_equal(rows, np.arange(mask.size))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.sampled_from([0.0, 0.5]), st.booleans())
def test_sums_kept_by_differences_are_those_of_a_fresh_pass(block: int, correlation: float, ladder: bool) -> None:
    activation, law, k, rows = activations.get("tanh"), get_law("uniform"), 40, 30
    problem = draw_problem(SPEC, 1, (0, 0), 0)
    if ladder:
        margin = LadderMargin("sharp", "both", activation, get_loss("mse"), law.entry_bound, problem, k, 1.0)
    else:
        margin = LambdaMin(activation, 3, k, 0.5)
    rng = rng_of(9)
    population = SummedPopulation(margin, rng.standard_normal((rows, k)), outputs([rng], law, rows, 3, k), block)
    level, moves, accepted = float(np.median(population.values())), 60, 0
    for number in range(moves):
        part = block_slice(number, k, block)
        h, V = propose([rng], law, population.h[:, part], population.V[:, :, part], correlation)
        accepted += int(population.move(number, h, V, 1e9 if number % 2 else level).sum())
    assert accepted > 0
    fresh = SummedPopulation(margin, population.h, population.V, block)
    # each accepted move adds and subtracts numbers up to the trace: two roundings of 2^-53 each
    size = np.abs(fresh.total).max()
    np.testing.assert_allclose(population.total, fresh.total, rtol=0.0, atol=2.0 * moves * 2.0**-53 * size)
    np.testing.assert_array_equal(population.tops, fresh.tops)
    np.testing.assert_array_equal(population.sums, fresh.sums)
    refreshed = population.take(np.arange(rows))
    refreshed.refresh(block)
    np.testing.assert_array_equal(refreshed.total, fresh.total)


def test_a_move_is_taken_exactly_where_the_margin_stays_below() -> None:
    activation, law, k, rows = activations.get("sigmoid"), get_law("rademacher"), 30, 200
    margin, rng = LambdaMin(activation, 2, k, 0.1), rng_of(11)
    population = SummedPopulation(margin, rng.standard_normal((rows, k)), outputs([rng], law, rows, 2, k), 7)
    level = float(np.median(population.values()))
    h, V = population.h.copy(), population.V.copy()
    part = block_slice(2, k, 7)
    new_h, new_V = propose([rng], law, h[:, part], V[:, :, part], 0.0)
    stays = population.move(2, new_h, new_V, level)
    h[:, part], V[:, :, part] = new_h, new_V
    np.testing.assert_array_equal(stays, SummedPopulation(margin, h, V).values() <= level)
    assert 0 < stays.sum() < rows
    np.testing.assert_array_equal(population.V[stays], V[stays])
    assert not np.array_equal(population.V[~stays], V[~stays])
