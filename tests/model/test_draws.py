"""The random-number contract: every draw has an address and nothing else matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.errors import InputError
from mc.model.draws import (
    CHUNK,
    OUTPUT_LAWS,
    SHARED_TRIAL,
    What,
    draw_chunk,
    draw_network,
    draw_problem,
    generator,
    get_law,
    stream_digest,
)

CELL = (2**32 - 1, 5)


def by_contract(seed: int, cell: tuple[int, int], trial: int, chunk: int, n: int, law: str):
    """One chunk, drawn as the contract words it."""
    bits = np.random.PCG64DXSM(np.random.SeedSequence(seed, spawn_key=(*cell, trial, 3, chunk)))
    rng = np.random.Generator(bits)
    h = rng.standard_normal(1024)
    if law == "uniform":
        return h, rng.uniform(-np.sqrt(3), np.sqrt(3), (n, 1024))
    if law == "rademacher":
        return h, 2 * rng.integers(0, 2, (n, 1024)) - 1
    return h, rng.standard_normal((n, 1024))


@given(
    seed=st.integers(0, 2**70),
    trial=st.integers(0, 2**32 - 2),
    chunk=st.integers(0, 2**20),
    n=st.integers(1, 9),
    law=st.sampled_from(OUTPUT_LAWS),
)
def test_a_chunk_is_what_the_contract_says(seed: int, trial: int, chunk: int, n: int, law: str) -> None:
    h, V = np.empty(CHUNK), np.empty((n, CHUNK))
    draw_chunk(seed, CELL, trial, chunk, get_law(law), h, V)
    expected_h, expected_V = by_contract(seed, CELL, trial, chunk, n, law)
    np.testing.assert_array_equal(h, expected_h)
    np.testing.assert_array_equal(V, expected_V)


@given(width=st.integers(1, 3000), more=st.integers(0, 2000))
def test_a_network_is_a_prefix_of_a_wider_one(width: int, more: int) -> None:
    law = get_law("uniform")
    h, V = draw_network(1, CELL, 4, width, law, 2)
    wide_h, wide_V = draw_network(1, CELL, 4, width + more, law, 2)
    np.testing.assert_array_equal(h, wide_h[:width])
    np.testing.assert_array_equal(V, wide_V[:, :width])


def test_streams_differ_by_every_part_of_the_address() -> None:
    base = (1, CELL, 0, What.NEURONS, 0)
    others = [(2, *base[1:]), (1, (CELL[0], 6), *base[2:]), (1, CELL, 1, *base[3:]), (1, CELL, 0, What.NOISE, 0)]
    others.append((1, CELL, 0, What.NEURONS, 1))
    first = generator(*base).standard_normal(4)
    for other in others:
        assert not np.array_equal(first, generator(*other).standard_normal(4))


def test_problem_addresses() -> None:
    spec = {"operator": "gaussian", "n": 3, "m": 2, "signal": "gaussian", "noise": 0.1}
    for resample, trial in (("trial", 5), ("cell", SHARED_TRIAL)):
        problem = draw_problem({**spec, "resample": resample}, 9, CELL, 5)
        rngs = [
            np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(9, spawn_key=(*CELL, trial, what, 0))))
            for what in range(2)
        ]
        np.testing.assert_array_equal(problem.A, rngs[0].standard_normal((2, 3)) / np.sqrt(3))
        np.testing.assert_array_equal(problem.xbar, rngs[1].standard_normal(3))


@pytest.mark.parametrize("name", OUTPUT_LAWS)
def test_laws_are_centred_with_unit_variance(name: str) -> None:
    law = get_law(name)
    _, V = draw_network(0, CELL, 0, 50 * CHUNK, law, 4)
    # four standard errors of a mean, and of a mean square (fourth moment at most 3)
    assert abs(V.mean()) < 4.0 / np.sqrt(V.size)
    assert abs(np.square(V).mean() - 1.0) < 4.0 * np.sqrt(2.0 / V.size)
    if law.in_theorem:
        assert np.abs(V).max() <= law.entry_bound
    else:
        assert law.entry_bound == np.inf


def test_digest_tells_streams_apart() -> None:
    digest = stream_digest(1, CELL, 3, "uniform")
    assert digest == stream_digest(1, CELL, 3, "uniform")
    assert len({digest, stream_digest(2, CELL, 3, "uniform"), stream_digest(1, CELL, 3, "rademacher")}) == 3


def test_unknown_law() -> None:
    with pytest.raises(InputError, match="uniform, rademacher, gaussian"):
        get_law("cauchy")
