"""Merging: chunks copied as they are, checksums, results of earlier versions, many blocks."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from block_stub import FLOW_WIDTHS, WIDTHS, cell_plan, datasets, make_block, run_plan, write
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mc.cli.plan import PACKED
from mc.errors import InputError
from mc.store import hdf5
from mc.store.blocks import read_block
from mc.store.checksums import RowDigest, array_digest, attributes_digest
from mc.store.hdf5 import LEAST_COPIED, LEAST_ROWS, chunk_rows, chunk_shape, storage
from mc.store.merge import CellWriter, DatasetWriter, merge
from mc.store.plan import RunPlan
from mc.store.results import load

LARGE = 512


def large_plan(**changes: Any) -> RunPlan:
    """Blocks large enough for their chunks to be copied."""
    return replace(run_plan(trials=3 * LARGE - 100, block_size=LARGE, save_trials=6), **changes)


def fill(run: Path, plan: RunPlan, left_out: tuple[tuple[int, int], ...] = ()) -> None:
    for cell, number in itertools.product(plan.cells, range(plan.n_blocks)):
        if (cell.index, number) not in left_out:
            write(run, plan, cell, number)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Each write of a dataset, and whether it copied the chunks of a block."""
    writes: list[tuple[str, bool]] = []
    write = DatasetWriter.write

    def recorded(writer: DatasetWriter, *rest: Any) -> bool:
        writes.append((writer.dataset.name, write(writer, *rest)))
        return writes[-1][1]

    monkeypatch.setattr(DatasetWriter, "write", recorded)
    return writes


# chunks


@given(rows=st.integers(1, 10**6), row=st.integers(1, 10**5))
def test_chunks_of_a_block_are_equal_and_neither_short_nor_long(rows: int, row: int) -> None:
    found = chunk_rows(rows, row)
    assert 1 <= found <= rows
    assert found * row <= hdf5.CHUNK_VALUES + row or found < 2 * LEAST_ROWS
    assert found >= min(rows, LEAST_ROWS)
    # equal but for the last, which is short by less than there are chunks
    pieces = -(-rows // found)
    assert 0 <= pieces * found - rows < pieces


@given(block=st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, 100]), row=st.integers(1, 5000), blocks=st.integers(1, 50))
def test_chunks_of_results_are_those_of_the_blocks_or_large(block: int, row: int, blocks: int) -> None:
    trials = block * blocks
    (_, rows, _) = chunk_shape((2, trials, row), 1, block)
    own = chunk_rows(block, row)
    assert rows >= min(trials, LEAST_ROWS)
    if block % own == 0 and own >= LEAST_ROWS and own * row >= LEAST_COPIED:
        assert rows == own  # the block writes the same: its chunks line up
    elif trials > block:
        assert rows == min(trials, max(LEAST_ROWS, hdf5.CHUNK_VALUES // row))


def test_chunks_are_copied_and_give_what_the_plain_path_gives(
    tmp_path: Path, copied: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = large_plan()
    fill(tmp_path, plan, left_out=((1, 1),))
    fast = datasets(merge(tmp_path, plan, {}))
    over = {name.split("/")[-1] for name, was in copied if was}
    # (mode, trial, width) of 4 widths has 2048 values a block; of one width axis less, too few to be worth it
    assert {"margin_paper", "radius_needed", "psi_0", "exact", "verdict_rate_paper"} <= over
    assert not over & {"sigma_A", "rank", "loss", "computed"}
    # of the first block nothing is known yet: it goes the plain way
    assert sum(was for name, was in copied if name == "/c000/margin_paper") == 2
    monkeypatch.setattr(CellWriter, "copied", lambda _: frozenset())
    assert datasets(merge(tmp_path, plan, {})) == fast
    # and the numbers are those that the blocks were made of, also beyond the last whole block
    _, arrays = make_block(plan, plan.cells[0], 2)
    rest = plan.trials - 2 * LARGE
    cell = load(tmp_path).cells[0]
    assert cell["margin_paper"][:, 2 * LARGE :].tobytes() == arrays["margin_paper"][:, :rest].tobytes()
    # a block that is not there is at its fill value
    assert np.isnan(load(tmp_path).cells[1]["margin_paper"][:, LARGE : 2 * LARGE]).all()


def test_a_copied_chunk_is_the_chunk_of_the_block(tmp_path: Path) -> None:
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path, plan)
    last = sorted((tmp_path / "blocks").iterdir())[1]
    with h5py.File(merge(tmp_path, plan, {})) as made, h5py.File(last) as block:
        one, two = made["c000/margin_paper"], block["margin_paper"]
        assert one.chunks == two.chunks == (1, LARGE, 4)
        for mode in range(2):
            assert one.id.read_direct_chunk((mode, LARGE, 0)) == two.id.read_direct_chunk((mode, 0, 0))
        assert one.shuffle


@pytest.mark.parametrize("division", [(((10, 30), (10,)), ((100, 300), (100,))), ((WIDTHS, ()), (FLOW_WIDTHS,) * 2)])
def test_parts_go_the_plain_way(
    tmp_path: Path, copied: list[tuple[str, bool]], division: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
) -> None:
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path / "whole", plan)
    for number in range(plan.n_blocks):
        for widths, flow_widths in division if number == 1 else ((WIDTHS, FLOW_WIDTHS),):
            write(tmp_path / "parts", plan, plan.cells[0], number, widths, flow_widths)
    assert datasets(merge(tmp_path / "parts", plan, {})) == datasets(merge(tmp_path / "whole", plan, {}))
    assert any(was for _, was in copied)


def test_blocks_with_the_filters_of_earlier_versions_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path / "new", plan)
    with monkeypatch.context() as patch:
        patch.setattr(hdf5, "FILTERS", {**hdf5.FILTERS, "fletcher32": True})
        fill(tmp_path / "old", plan)
    assert datasets(merge(tmp_path / "old", plan, {})) == datasets(merge(tmp_path / "new", plan, {}))


def test_what_the_plan_says_of_compression(tmp_path: Path, rng: np.random.Generator) -> None:
    numbers = rng.lognormal(size=(256, 128))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=numbers, **storage(numbers.shape, 0))
        saved = 1.0 - dataset.id.get_storage_size() / numbers.nbytes
    assert PACKED / 2 < saved < 2 * PACKED


# checksums


@settings(max_examples=50)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    data=st.data(),
)
def test_a_digest_of_rows_is_that_of_the_whole(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    missing = data.draw(st.sets(st.integers(0, shape[axis] - 1)))
    before = (slice(None),) * axis
    array[(*before, sorted(missing))] = -1.0
    digest = RowDigest(array.dtype, shape, axis, -1.0)
    for row in range(shape[axis]):
        if row not in missing:
            digest.add(row, array[(*before, slice(row, row + 1))])
    assert digest.finish() == array_digest(array, axis)


def test_a_digest_sees_type_shape_place_and_sign() -> None:
    zeros = np.zeros((2, 3))
    others = [zeros.T, zeros.ravel(), zeros.astype(np.int64), -zeros, np.full((2, 3), np.nan)]
    assert len({array_digest(array) for array in [zeros, *others]}) == len(others) + 1
    assert array_digest(zeros) == array_digest(zeros.astype(">f8"))


def test_every_dataset_has_a_right_checksum(tmp_path: Path) -> None:
    plan = run_plan()
    fill(tmp_path, plan, left_out=((0, 1), (1, 2)))
    with h5py.File(merge(tmp_path, plan, {})) as file:
        for group in file.values():
            stored = json.loads(group.attrs["checksums"])
            assert stored.keys() == set(group)
            for name, item in group.items():
                # by the words of docs/format.md: the modes come before the rows, where there are any
                raw = item.asstr()[()] if name == "mode" else item[()]
                if name == "mode":
                    digest = hashlib.sha256(b"str [2]\nhidden\nboth\n")
                else:
                    digest = hashlib.sha256(f"{raw.dtype.str} {list(raw.shape)}\n".encode())
                    for part in raw if raw.ndim > 2 else [raw]:
                        digest.update(hashlib.sha256(part.tobytes()).digest())
                assert stored[name] == digest.hexdigest(), name


# reading


@pytest.mark.parametrize("locking", [True, False, None, "best-effort"])
def test_results_that_are_open_elsewhere_in_the_process_are_loaded(tmp_path: Path, locking: bool | str | None) -> None:
    plan = run_plan()
    fill(tmp_path, plan)
    with h5py.File(merge(tmp_path, plan, {}), locking=locking):
        assert load(tmp_path).cells[0]["psi_0"].shape == (plan.trials, len(WIDTHS))


@pytest.mark.parametrize("option", ["virtual", "zstd"])
def test_results_of_an_option_of_earlier_versions_are_refused_in_one_line(tmp_path: Path, option: str) -> None:
    plan = run_plan()
    fill(tmp_path, plan)
    path = merge(tmp_path, plan, {})
    if option == "virtual":  # such a file begins with 512 bytes that HDF5 leaves to others
        path.write_bytes(b"dipmc sha256 ".ljust(512, b"0") + path.read_bytes())
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["compression"] = option
            del file.attrs["checksum"]
            places = {"/": hdf5.attributes(file), **{name: hdf5.attributes(group) for name, group in file.items()}}
            file.attrs["checksum"] = attributes_digest(places)
    with pytest.raises(InputError, match=rf"{option}.*earlier version: run `dipmc merge {tmp_path}`"):
        load(tmp_path)
    merge(tmp_path, plan, {})
    assert load(tmp_path).attrs["complete"] == 1


# untrusted files


def claim(path: Path, name: str, shape: tuple[int, ...], chunks: tuple[int, ...] | None, dtype: str = "f8") -> None:
    """Put a dataset into a file that claims more than it holds."""
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip" if chunks else None)


@pytest.mark.parametrize(
    ("shape", "chunks", "dtype"),
    [((10**12, 4), (16, 4), "f8"), ((16, 4), (16, 4), h5py.string_dtype()), ((2**40,), (2**20,), "i1")],
)
def test_a_block_that_claims_more_than_it_can_hold_is_refused_before_memory_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
) -> None:
    plan = run_plan()
    path = write(tmp_path, plan, plan.cells[0], 0)
    claim(path, "psi_0", shape, chunks, dtype)
    asked: list[int] = []
    empty = np.empty

    def counted(shape: Any, *rest: Any, **more: Any) -> NDArray[Any]:
        made = empty(shape, *rest, **more) if np.prod(shape) < 10**6 else pytest.fail(f"asked for {shape}")
        asked.append(made.nbytes)
        return made

    monkeypatch.setattr(np, "empty", counted)
    with pytest.raises(InputError, match=rf"{path.name}: damaged .*psi_0 claims"):
        read_block(path)


def test_results_that_claim_more_than_the_memory_are_refused(tmp_path: Path) -> None:
    plan = run_plan(cells=(cell_plan(0),))
    fill(tmp_path, plan)
    merge(tmp_path, plan, {})
    cell = load(tmp_path).cells[0]
    claim(tmp_path / "results.h5", "c000/psi_0", (10**12, 4), (16, 4))
    with pytest.raises(InputError, match="psi_0 claims float64 of shape"):
        cell["psi_0"]
