"""Merging: chunks taken over as they are, virtual results, compressors, checksums, many blocks."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from block_stub import FLOW_WIDTHS, WIDTHS, cell_plan, datasets, make_block, run_plan, write
from command_line import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mc.cli.main import main
from mc.cli.plan import PACKED
from mc.errors import InputError
from mc.store import hdf5
from mc.store import writer as results_group
from mc.store.blocks import load, read_block
from mc.store.checksums import RowDigest, array_digest
from mc.store.hdf5 import LEAST_COPIED, LEAST_ROWS, Filters, chunk_rows, chunk_shape, storage
from mc.store.merge import merge
from mc.store.records import RunPlan

LARGE = 512


def large_plan(**changes: Any) -> RunPlan:
    """Blocks large enough for their chunks to be taken over."""
    return replace(run_plan(trials=3 * LARGE - 100, block_size=LARGE, save_trials=6), **changes)


def fill(run: Path, plan: RunPlan, left_out: tuple[tuple[int, int], ...] = ()) -> None:
    for cell, number in itertools.product(plan.cells, range(plan.n_blocks)):
        if (cell.index, number) not in left_out:
            write(run, plan, cell, number)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was asked to be taken over, and whether it was."""
    found: list[tuple[str, bool]] = []
    take_over = results_group.RowWriter.take_over

    def told(writer: results_group.RowWriter, *rest: Any) -> bool:
        found.append((writer.dataset.name, take_over(writer, *rest)))
        return found[-1][1]

    monkeypatch.setattr(results_group.RowWriter, "take_over", told)
    return found


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


def test_chunks_are_taken_over_and_give_what_the_plain_path_gives(
    tmp_path: Path, taken: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = large_plan()
    fill(tmp_path, plan, left_out=((1, 1),))
    fast = datasets(merge(tmp_path, plan, {}))
    over = {name.split("/")[-1] for name, was in taken if was}
    # (mode, trial, width) of 4 widths has 2048 values a block; of one width axis less, too few to be worth it
    assert {"margin_paper", "radius_needed", "psi_0", "exact", "verdict_rate_paper"} <= over
    assert not over & {"sigma_A", "rank", "loss", "computed"}
    # of the first block nothing is known yet: it goes the plain way
    assert sum(was for name, was in taken if name == "/c000/margin_paper") == 2
    monkeypatch.setattr(results_group.RowWriter, "take_over", lambda *_: False)
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
        assert one.fletcher32
        assert one.shuffle


@pytest.mark.parametrize("division", [(((10, 30), (10,)), ((100, 300), (100,))), ((WIDTHS, ()), (FLOW_WIDTHS,) * 2)])
def test_parts_go_the_plain_way(
    tmp_path: Path, taken: list[tuple[str, bool]], division: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
) -> None:
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path / "whole", plan)
    for number in range(plan.n_blocks):
        for widths, flow_widths in division if number == 1 else ((WIDTHS, FLOW_WIDTHS),):
            write(tmp_path / "parts", plan, plan.cells[0], number, widths, flow_widths)
    assert datasets(merge(tmp_path / "parts", plan, {})) == datasets(merge(tmp_path / "whole", plan, {}))
    assert any(was for _, was in taken)


def test_blocks_without_the_filters_of_today_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path / "new", plan)
    old = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    with monkeypatch.context() as patch:
        patch.setattr(Filters, "keywords", lambda _: old)
        fill(tmp_path / "old", plan)
    assert datasets(merge(tmp_path / "old", plan, {})) == datasets(merge(tmp_path / "new", plan, {}))


def test_what_the_plan_says_of_compression(tmp_path: Path, rng: np.random.Generator) -> None:
    numbers = rng.lognormal(size=(256, 128))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("a", data=numbers, **storage(numbers.shape, 0, Filters()))
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


# virtual results


@pytest.fixture
def virtual(tmp_path: Path) -> tuple[Path, RunPlan]:
    plan = run_plan()
    run = tmp_path / "run"
    fill(run, plan, left_out=((0, 0), (1, 2)))
    # parts, in an order of widths that is not that of the axis; one width twice
    write(run, plan, plan.cells[0], 0, (10, 100), (10,))
    write(run, plan, plan.cells[0], 0, (10, 30, 300), ())
    write(run, plan, plan.cells[0], 0, (100,), (100,))
    return run, plan


def test_virtual_results_are_the_results(virtual: tuple[Path, RunPlan], tmp_path: Path) -> None:
    run, plan = virtual
    stored = datasets(merge(run, plan, {}))
    assert datasets(merge(run, plan, {}, virtual=True)) == stored
    assert load(run).attrs["virtual"] == 1
    with h5py.File(run / "results.h5") as file:
        assert file["c000/margin_paper"].is_virtual
        assert not file["c000/computed"].is_virtual
        assert all(name.file_name.startswith("blocks/") for name in file["c000/psi_0"].virtual_sources())
    # the folder may move, and the reader stand anywhere
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert datasets(moved / "results.h5") == stored
    found = {f"{cell.group}/{name}": cell[name].tobytes() for cell in load(moved).cells for name in cell.data}
    assert found.items() <= {name: raw for name, (_, _, raw) in stored.items()}.items()


def test_virtual_results_of_the_first_trials_alone(virtual: tuple[Path, RunPlan]) -> None:
    run, plan = virtual
    few = replace(plan, trials=5)
    assert datasets(merge(run, few, {}, virtual=True)) == datasets(merge(run, few, {}))


def test_a_missing_or_replaced_block_of_virtual_results_is_noticed(virtual: tuple[Path, RunPlan]) -> None:
    run, plan = virtual
    merge(run, plan, {}, virtual=True)
    loaded = load(run)
    kept = loaded.cells[0]["psi_0"]
    path = max(path for path in (run / "blocks").iterdir() if path.name.startswith(plan.cells[0].key))
    content = path.read_bytes()
    path.unlink()
    # HDF5 itself would say NaN
    with h5py.File(run / "results.h5") as file:
        assert np.isnan(file["c000/psi_0"][-1]).all()
    assert not np.isnan(kept[-1]).all()
    for use in (lambda: load(run), lambda: loaded.cells[0]["margin_paper"]):
        with pytest.raises(InputError, match=rf"refers to blocks/{path.name}, which is not there; put it back"):
            use()
    path.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="which is not what it was"):
        load(run)
    path.write_bytes(content)
    assert load(run).cells[0]["psi_0"].tobytes() == kept.tobytes()
    # a file of the right name and size whose numbers are not right
    with h5py.File(path) as file:
        chunk = file["psi_0"].id.get_chunk_info(0)
    bad = bytearray(content)
    bad[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(bad)
    with pytest.raises(InputError, match="damaged"):
        load(run).cells[0]["psi_0"]
    # without it the run can be merged again, and says that it is not complete
    path.unlink()
    merge(run, plan, {}, virtual=True)
    assert load(run).cells[0]["trials_present"].tolist() == [8, 8, 8, 8]


def test_a_changed_byte_of_virtual_results_is_refused_before_the_library_sees_it(
    virtual: tuple[Path, RunPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, plan = virtual
    path = merge(run, plan, {}, virtual=True)
    content = path.read_bytes()
    assert content[13:77].decode() == hashlib.sha256(content[512:]).hexdigest()
    opened: list[object] = []
    monkeypatch.setattr(hdf5.h5py, "File", lambda *a, **_: opened.append(a))
    for place in [*range(0, 78, 7), *range(512, len(content), 997), len(content) - 1]:
        bad = bytearray(content)
        bad[place] ^= 0x04
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"results\.h5: damaged .*(checksum of the file|signature)"):
            load(run)
    assert opened == []


@pytest.mark.parametrize("locking", [True, False, None, "best-effort"])
def test_results_that_are_open_elsewhere_in_the_process_are_loaded(
    virtual: tuple[Path, RunPlan], locking: bool | str | None
) -> None:
    run, plan = virtual
    merge(run, plan, {})
    with h5py.File(run / "results.h5", locking=locking):
        assert load(run).cells[0]["psi_0"].shape == (plan.trials, len(WIDTHS))


def test_xarray_opens_virtual_results(virtual: tuple[Path, RunPlan]) -> None:
    xarray = pytest.importorskip("xarray")
    run, plan = virtual
    merge(run, plan, {}, virtual=True)
    for cell in load(run).cells:
        with xarray.open_dataset(run / "results.h5", group=cell.group, engine="h5netcdf") as found:
            xarray.testing.assert_equal(found, cell.to_xarray())


# compressors


def test_an_unknown_compressor_and_one_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = run_plan()
    fill(tmp_path, plan)
    with pytest.raises(InputError, match="--compression lzma: unknown; use one of gzip, zstd, blosc2"):
        merge(tmp_path, plan, {}, compression="lzma")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    for name in ("zstd", "blosc2"):
        with pytest.raises(InputError, match=rf"--compression {name} needs hdf5plugin.*dipmc\[compression\]"):
            merge(tmp_path, plan, {}, compression=name)
    assert not (tmp_path / "results.h5").exists()


def stand_in() -> types.ModuleType:
    """Something of hdf5plugin's form whose filters h5py has itself."""
    module = types.ModuleType("hdf5plugin")

    class Lzf(dict[str, Any]):
        SHUFFLE = 1

        def __init__(self, **_: Any) -> None:
            super().__init__(compression="lzf")

    module.Zstd = module.Blosc2 = Lzf  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("name", ["zstd", "blosc2"])
def test_a_compressor_of_the_option_changes_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path, plan)
    plain = datasets(merge(tmp_path, plan, {}))
    monkeypatch.setitem(sys.modules, "hdf5plugin", stand_in())
    assert datasets(merge(tmp_path, plan, {}, compression=name)) == plain
    with h5py.File(tmp_path / "results.h5") as file:
        assert file["c000/margin_paper"].compression == "lzf"
        assert file["c000/margin_paper"].fletcher32
        assert file.attrs["compression"] == name
    assert load(tmp_path).cells[0]["psi_0"].tobytes() == plain["c000/psi_0"][2]
    # who reads it needs the plugin too, and is told
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(InputError, match=r"needs hdf5plugin.*dipmc\[compression\]"):
        load(tmp_path)


def test_the_option_of_run_and_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    # said before anything is computed
    assert main(["run", "small.toml", "-o", "run", "--quiet", "--compression", "zstd"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("run").exists()
    monkeypatch.setitem(sys.modules, "hdf5plugin", stand_in())
    assert main(["run", "small.toml", "-o", "run", "--quiet", "--compression", "zstd"]) == 0
    assert load("run").attrs["compression"] == "zstd"
    assert main(["merge", "run", "--compression", "blosc2"]) == 0
    assert load("run").attrs["compression"] == "blosc2"
    assert main(["merge", "run", "--virtual"]) == 0
    assert load("run").attrs["virtual"] == 1


REGISTERED = {"zstd": 32015, "blosc2": 32026}
"""Numbers of the filters in the registry of HDF5."""


@pytest.mark.parametrize("name", REGISTERED)
def test_the_true_compressors(tmp_path: Path, name: str) -> None:
    pytest.importorskip("hdf5plugin")
    plan = large_plan(cells=(cell_plan(0),))
    fill(tmp_path, plan)
    plain = datasets(merge(tmp_path, plan, {}))
    assert datasets(merge(tmp_path, plan, {}, compression=name)) == plain
    with h5py.File(tmp_path / "results.h5") as file:
        filters = file["c000/margin_paper"].id.get_create_plist()
        used = {filters.get_filter(i)[0] for i in range(filters.get_nfilters())}
        assert REGISTERED[name] in used
        assert file["c000/margin_paper"].id.get_create_plist().get_nfilters() >= 2


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
