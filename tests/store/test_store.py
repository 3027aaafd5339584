"""Block files and results.h5: atomic, checked, independent of the order and the parts in which blocks came."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from block_stub import (
    FAMILY_MEMBERS,
    FIELDS,
    FLOW_WIDTHS,
    LADDER,
    MODES,
    SAVED,
    TIMES,
    TRIALS,
    WIDTHS,
    cell_plan,
    datasets,
    make_block,
    run_plan,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mc.errors import InputError
from mc.store import files
from mc.store.blocks import part_digest, parts, read_block, read_header, scan, write_block
from mc.store.layout import BLOCK_LAYOUT, COORDINATES, FAMILIES, LAYOUT, MERGE_LAYOUT, check_arrays, field_of
from mc.store.merge import merge
from mc.store.plan import differences
from mc.store.results import load
from mc.theory.codes import NOT_COMPUTED, Exact

# the layout


def test_layout_declares_each_dataset_once_with_units_and_words() -> None:
    names = [field.name for field in (*LAYOUT, *FAMILIES, *COORDINATES)]
    assert len(names) == len(set(names))
    for field in (*LAYOUT, *FAMILIES):
        assert field.units
        assert field.long_name
        assert field.dtype in ("float64", "int64", "int8")
        assert (field.enum is not None) == (field.dtype == "int8")


@pytest.mark.parametrize(
    ("name", "dims", "dtype"),
    [
        ("margin_paper", ("mode", "trial", "width"), "float64"),
        ("slack_rate_trial", ("mode", "trial", "flow_width"), "float64"),
        ("slack_time_rate_trial", ("mode", "trial", "flow_width"), "float64"),
        ("verdict_rate_trial", ("mode", "trial", "flow_width"), "int8"),
        ("bound_rate", ("mode", "saved_trial", "flow_width", "time"), "float64"),
        ("steps", ("mode", "trial", "flow_width"), "int64"),
    ],
)
def test_field_of(name: str, dims: tuple[str, ...], dtype: str) -> None:
    field = field_of(name)
    assert (field.name, field.dims, field.dtype) == (name, dims, dtype)


@pytest.mark.parametrize("name", ["slack_", "verdict_", "margin", "", "slackrate"])
def test_field_of_refuses_what_is_not_declared(name: str) -> None:
    with pytest.raises(KeyError):
        field_of(name)


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("margin_papr", np.zeros((2, 4, 4)), "no dataset 'margin_papr'"),
        ("psi_0", np.zeros((4, 4), dtype=np.float32), "float32"),
        ("psi_0", np.zeros((4, 3)), r"shape \(4, 3\)"),
        ("psi_0", np.zeros(4), "1 axes"),
        ("exact", np.full((4, 4), 9, dtype=np.int8), "Exact does not name"),
        ("computed", np.zeros((4, 4), dtype=np.int8), "written by the merge"),
        ("bound_rate", np.zeros((2, 4, 2, TIMES + 1)), "shape"),
    ],
)
def test_check_arrays_names_what_is_wrong(name: str, array: NDArray[Any], complaint: str) -> None:
    _, arrays = make_block(run_plan(), cell_plan(), 0)
    sizes = {"mode": 2, "trial": 4, "width": 4, "flow_width": 2}
    assert check_arrays(arrays, sizes)["time"] == TIMES
    with pytest.raises(ValueError, match=complaint):
        check_arrays({**arrays, name: array}, sizes)


# block files


def test_block_comes_back_as_it_was_written(tmp_path: Path) -> None:
    header, arrays = make_block(run_plan(), cell_plan(), 1)
    path = write_block(tmp_path, header, arrays)
    assert path.name == f"{header.key}-000001-{part_digest(WIDTHS, FLOW_WIDTHS, LADDER)}.h5"
    block = read_block(path)
    assert block.header == header == read_header(path)
    assert block.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert block.arrays[name].dtype == array.dtype
        assert block.arrays[name].tobytes() == array.tobytes(), name
    with h5py.File(path) as handle:
        assert handle["margin_paper"].compression == "gzip"
        assert handle["margin_paper"].attrs["units"] == "1"
    assert [file.path for file in scan(tmp_path.parent / tmp_path.name)] == []  # blocks lie in RUN/blocks only


def test_a_part_is_never_overwritten(tmp_path: Path) -> None:
    header, arrays = make_block(run_plan(), cell_plan(), 0)
    path = write_block(tmp_path, header, arrays)
    before = path.read_bytes()
    write_block(tmp_path, replace(header, facts={"seconds": 9.0}), arrays)
    assert path.read_bytes() == before


def test_an_array_that_breaks_the_layout_leaves_no_file(tmp_path: Path) -> None:
    header, arrays = make_block(run_plan(), cell_plan(), 0)
    with pytest.raises(ValueError, match="psi_0"):
        write_block(tmp_path, header, {**arrays, "psi_0": arrays["psi_0"][:, 0]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "cannot be written to"), (errno.EIO, "writing failed")],
)
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_nothing_and_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, call: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    def half(path: Path, content: bytes) -> None:
        with path.open("wb") as handle:
            handle.write(content[: len(content) // 2])
        fail()

    monkeypatch.setattr(
        *{"write": (Path, "write_bytes", half), "fsync": (os, "fsync", fail)}.get(call, (os, call, fail))
    )
    header, arrays = make_block(run_plan(), cell_plan(), 0)
    with pytest.raises(InputError, match=f"{tmp_path}.*{words}"):
        write_block(tmp_path, header, arrays)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_merge_keeps_the_old_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0)
    before = merge(tmp_path, plan, {}).read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="no space left"):
        merge(tmp_path, plan, {})
    assert (tmp_path / "results.h5").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocks", "results.h5"]


@pytest.mark.parametrize("room", [0, 1_000, 30_000])
def test_a_disk_that_refuses_during_the_merge_says_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], room: int
) -> None:
    plan = run_plan()
    for number in range(3):
        write(tmp_path, plan, plan.cells[0], number)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # the kernel itself refuses, with EFBIG
    try:
        with pytest.raises(InputError, match=f"{tmp_path}: .*File too large.*results.h5 was not written"):
            merge(tmp_path, plan, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr().err == ""  # the HDF5 library is not heard
    assert [path.name for path in tmp_path.iterdir()] == ["blocks"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "blocks").write_text("in the way")
    with pytest.raises(InputError, match="choose another one with -o"):
        write(tmp_path, run_plan(), cell_plan(), 0)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_block_is_refused(tmp_path: Path, part: float) -> None:
    path = write(tmp_path, run_plan(), cell_plan(), 0)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=rf"{path.name}: damaged .*delete it and run again"):
        read_block(path)


def test_a_changed_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, run_plan(), cell_plan(), 0)
    with h5py.File(path, "r+") as handle:
        handle["psi_0"][0, 0] += 1e-15
    with pytest.raises(InputError, match="checksum"):
        read_block(path)


def test_foreign_absent_renamed_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, run_plan(), cell_plan(), 0)
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as handle:
        handle["x"] = 1
    with pytest.raises(InputError, match="not written by dipmc"):
        read_block(foreign)
    with pytest.raises(InputError, match="no such file"):
        read_block(tmp_path / "absent.h5")
    moved = path.with_name(path.name.replace("-000000-", "-000001-"))
    moved.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="renamed"):
        read_block(moved)
    with h5py.File(path, "r+") as handle:
        handle.attrs["schema_version"] = 99
    with pytest.raises(InputError, match="schema version 99"):
        read_header(path)


def test_stale_temporaries_go_and_living_ones_stay(tmp_path: Path) -> None:
    def temporary(host: str, pid: int, age: float) -> Path:
        path = tmp_path / f".a.h5~{host}~{pid}~0123abcd.tmp"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
        return path

    here = files.host_name()
    dead, old = temporary(here, 11, 0), temporary("elsewhere", 11, 2 * files.STALE_AFTER)
    # a living process of this machine keeps its own, however old the clocks make it
    alive, fresh = temporary(here, os.getpid(), 2 * files.STALE_AFTER), temporary("elsewhere", 12, 60)
    other = tmp_path / "notes.tmp"
    other.touch()
    removed = files.delete_stale(tmp_path, alive=lambda pid: pid == os.getpid())
    assert set(removed) == {dead, old}
    assert set(tmp_path.iterdir()) == {alive, fresh, other}
    assert files.temporary_name(tmp_path / "b.h5").name.startswith(f".b.h5~{here}~{os.getpid()}~")


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """The clock of this machine is wrong; that of the file server, which stamps the files, is not asked for."""
    monkeypatch.setattr(time, "time", lambda: jump)
    monkeypatch.setattr(time, "time_ns", lambda: int(jump * 1e9))
    path = tmp_path / ".a.h5~elsewhere~12~0123abcd.tmp"
    path.touch()
    assert files.delete_stale(tmp_path) == ()
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_whose_temporary_is_deleted_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, sync = [], files.sync

    def deleting(path: Path) -> None:
        calls.append(path)
        if len(calls) == 1:
            path.unlink()
        sync(path)

    monkeypatch.setattr(files, "sync", deleting)
    header, arrays = make_block(run_plan(), cell_plan(), 0)
    path = write_block(tmp_path, header, arrays)
    assert list(tmp_path.iterdir()) == [path]
    assert read_block(path).header == header
    # a folder that is gone is not made again behind the user's back
    monkeypatch.setattr(files, "sync", lambda path: shutil.rmtree(path.parent))
    with pytest.raises(InputError, match="was not written"):
        files.write_bytes(tmp_path / "gone" / "a", b"a")


# identities


def test_a_block_of_another_identity_names_the_field(tmp_path: Path) -> None:
    plan = run_plan()
    fields = {**plan.cells[0].identity_fields, "loss": {"kind": "power", "p": 4.0}}
    write(tmp_path, plan, plan.cells[0], 0, identity="f" * 64, identity_fields=fields)
    for use in (lambda: parts(tmp_path, plan), lambda: merge(tmp_path, plan, {})):
        with pytest.raises(InputError, match=r"loss\.p is 4\.0 there and 2\.0 here; use another run folder"):
            use()


def test_differences_are_dotted_and_sorted() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == (
        "a.c is 2 there and 3 here",
        "d is absent there and 4 here",
    )
    assert differences(FIELDS, FIELDS) == ()


def test_another_block_size_or_mode_or_stream_is_refused(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0)
    with pytest.raises(InputError, match="not block 0 of 5 trials"):
        parts(tmp_path, replace(plan, block_size=5))
    with pytest.raises(InputError, match="holds the modes hidden, both"):
        parts(tmp_path, replace(plan, modes=("both",)))
    with pytest.raises(InputError, match=r"NumPy 2\.0\.0 there"):
        parts(tmp_path, plan, {plan.cells[0].key: "cd" * 32})
    assert len(parts(tmp_path, plan, {plan.cells[0].key: "ab" * 32})) == 1


def test_a_part_counts_only_when_its_ladder_covers(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, replace(plan, ladder=("paper",)), plan.cells[0], 0)
    assert parts(tmp_path, plan) == {}
    assert len(parts(tmp_path, replace(plan, ladder=("paper",)))) == 1


# merging


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The datasets of a run whose blocks were computed whole and in order."""
    run = tmp_path_factory.mktemp("direct")
    plan = run_plan()
    for cell, number in itertools.product(plan.cells, range(plan.n_blocks)):
        write(run, plan, cell, number)
    return datasets(merge(run, plan, {}))


def divisions(draw: Callable[..., Any]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """A division of the widths into parts, as successive runs with more widths make them."""
    labels = draw(st.lists(st.integers(0, 2), min_size=len(WIDTHS), max_size=len(WIDTHS)))
    late = draw(st.booleans())  # the flow is asked for only after its width: the part repeats the width
    for label in sorted(set(labels)):
        mine = tuple(width for width, at in zip(WIDTHS, labels, strict=True) if at == label)
        yield mine, () if late else tuple(width for width in mine if width in FLOW_WIDTHS)
    if late:
        yield FLOW_WIDTHS, FLOW_WIDTHS


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_parts_in_any_order_and_division_merge_to_the_same(
    data: st.DataObject,
    direct: dict[str, tuple[str, tuple[int, ...], bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    plan, run = run_plan(), tmp_path_factory.mktemp("parts")
    pieces = [
        (cell, number, *piece)
        for cell, number in itertools.product(plan.cells, range(plan.n_blocks))
        for piece in divisions(data.draw)
    ]
    for cell, number, widths, flow_widths in data.draw(st.permutations(pieces)):
        write(run, plan, cell, number, widths, flow_widths)
    # a part of a smaller ladder and one of a width not asked for lie about and must not matter
    write(run, replace(plan, ladder=("paper",)), plan.cells[0], 0)
    write(run, plan, plan.cells[0], 0, (10, 77), ())
    assert datasets(merge(run, plan, {})) == direct


def test_a_larger_ladder_merges_to_the_datasets_of_the_smaller(tmp_path: Path) -> None:
    plan = run_plan()
    small = replace(plan, ladder=("paper", "trial"))
    for name, made in (("a", plan), ("b", small)):
        for cell, number in itertools.product(plan.cells, range(plan.n_blocks)):
            write(tmp_path / name, made, cell, number)
    found = [datasets(merge(tmp_path / name, small, {})) for name in "ab"]
    assert found[0] == found[1]
    assert "c000/margin_sharp" not in found[0]


def test_an_incomplete_run_says_what_is_missing(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0, (10, 300), (10,))
    write(tmp_path, plan, plan.cells[0], 2)
    cell, empty = load(merge(tmp_path, plan, {})).cells
    rows = np.array([1, 1, 1, 1, 0, 0, 0, 0, 1, 1])
    last = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    assert np.array_equal(cell["computed"], np.stack([rows, last, last, rows], axis=1))
    assert cell["trials_present"].tolist() == [6, 2, 2, 6]
    assert cell["flow_trials_present"].tolist() == [6, 2]
    assert np.isnan(cell["margin_paper"][:, 4:8]).all()
    assert (cell["outcome"][:, :8, 1] == NOT_COMPUTED).all()
    assert (cell["rank"][4:8] == NOT_COMPUTED).all()
    assert np.isnan(cell["loss"][:, 4:, :, :]).all()  # block 1 held saved trials 4 and 5
    assert not np.isnan(cell["loss"][:, :4, 0, :]).all()
    assert cell["loss"].shape == (2, SAVED, 2, TIMES)
    assert empty["trials_present"].tolist() == [0, 0, 0, 0]
    assert "margin_paper" not in empty


def test_merge_keeps_the_first_trials_alone(tmp_path: Path) -> None:
    few, everything = run_plan(trials=3), run_plan()
    for run, plan in (("few", few), ("all", everything)):
        for number in range(3):
            write(tmp_path / run, everything, everything.cells[0], number)
        merge(tmp_path / run, plan, {})
    short, long = (load(tmp_path / run).cells[0] for run in ("few", "all"))
    assert short["margin_paper"].shape == (2, 3, 4)
    assert np.array_equal(short["margin_paper"], long["margin_paper"][:, :3], equal_nan=True)
    assert np.array_equal(short["loss"], long["loss"][:, :3], equal_nan=True)
    assert short.saved_trials.tolist() == [0, 1, 2]


def test_a_damaged_block_stops_the_merge_and_is_named(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0)
    path = write(tmp_path, plan, plan.cells[0], 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=path.name):
        merge(tmp_path, plan, {})
    assert not (tmp_path / "results.h5").exists()


def test_blocks_of_two_generators_do_not_merge(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0)
    write(tmp_path, plan, plan.cells[0], 1, stream_digest="cd" * 32)
    with pytest.raises(InputError, match="different generators"):
        merge(tmp_path, plan, {})


# reading results


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two cells, the last block of the second missing."""
    run = tmp_path_factory.mktemp("merged")
    plan = run_plan()
    for cell, number in itertools.product(plan.cells, range(plan.n_blocks)):
        if (cell.index, number) != (1, 2):
            write(run, plan, cell, number)
    merge(run, plan, {"versions": "{}", "git_commit": "unknown"})
    return run


def test_load_gives_every_dataset_of_the_layout(merged: Path) -> None:
    results = load(merged)
    assert results.experiment_text == run_plan().text
    assert results.attrs["seed"] == 7
    assert results.attrs["complete"] == 0
    assert len(results.cells) == 2
    cell = results.cells[1]
    assert (cell.index, cell.group, cell.key, cell.modes) == (1, "c001", cell_plan(1).key, MODES)
    assert cell.problem == cell_plan(1).problem
    assert cell.attrs["n"] == 5
    assert cell.attrs["seconds"] == 1.0  # two blocks of half a second
    assert cell.widths.tolist() == list(WIDTHS)
    assert cell.flow_widths.tolist() == list(FLOW_WIDTHS)
    assert set(cell.data) == {field.name for field in (*BLOCK_LAYOUT, *MERGE_LAYOUT)} | set(FAMILY_MEMBERS)
    sizes = {"mode": 2, "trial": TRIALS, "width": 4, "flow_width": 2, "saved_trial": SAVED, "time": TIMES}
    sizes["entry"] = cell["signal"].shape[-1]
    for name in cell.data:
        assert cell[name].shape == tuple(sizes[dim] for dim in field_of(name).dims), name
        assert cell[name].dtype == field_of(name).dtype, name
        assert not cell[name].flags.writeable


def test_load_takes_the_file_and_refuses_what_is_not_there(merged: Path, tmp_path: Path) -> None:
    assert load(merged / "results.h5").attrs == load(merged).attrs
    with pytest.raises(InputError, match="dipmc merge"):
        load(tmp_path)
    (tmp_path / "results.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match="damaged or not written by dipmc"):
        load(tmp_path)
    with pytest.raises(KeyError, match="margin_wrong"):
        load(merged).cells[0]["margin_wrong"]


@pytest.mark.parametrize("name", ["experiment", "merge_id", "schema_version"])
def test_results_that_lost_an_attribute_are_refused(tmp_path: Path, name: str) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0)
    with h5py.File(merge(tmp_path, plan, {}), "r+") as handle:
        del handle.attrs[name]
    with pytest.raises(InputError, match="damaged or not written by dipmc"):
        load(tmp_path)


def test_results_merged_anew_under_a_reader_are_refused_where_they_differ(tmp_path: Path) -> None:
    plan = run_plan()
    write(tmp_path, plan, plan.cells[0], 0)
    merge(tmp_path, plan, {})
    cell = load(tmp_path).cells[0]
    kept = cell["psi_0"]
    write(tmp_path, plan, plan.cells[1], 0)
    merge(tmp_path, plan, {})
    # of this cell nothing changed
    assert cell["margin_trial"].tobytes() == load(tmp_path).cells[0]["margin_trial"].tobytes()
    write(tmp_path, plan, plan.cells[0], 1)
    merge(tmp_path, plan, {})
    assert cell["psi_0"] is kept
    with pytest.raises(InputError, match="load it again"):
        cell["margin_paper"]
    # nor is a file of fewer cells that of before
    merge(tmp_path, replace(plan, cells=plan.cells[1:]), {})
    with pytest.raises(InputError, match="load it again"):
        cell["sigma_0"]


def test_xarray_opens_every_group_with_coordinates(merged: Path) -> None:
    xarray = pytest.importorskip("xarray")
    for group in ("c000", "c001"):
        with xarray.open_dataset(merged / "results.h5", group=group, engine="h5netcdf") as found:
            assert found["width"].values.tolist() == list(WIDTHS)
            assert found["mode"].values.tolist() == list(MODES)
            assert found["trial"].values.tolist() == list(range(TRIALS))
            assert set(found.dims) == {"mode", "trial", "width", "flow_width", "saved_trial", "time", "entry"}
            for field in BLOCK_LAYOUT:
                assert found[field.name].dims == field.dims
                assert found[field.name].attrs["units"] == field.units
                assert found[field.name].attrs["long_name"] == field.long_name
            assert found["exact"].dtype == np.int8  # a mask would have made it a float
            assert found["exact"].attrs["flag_values"].tolist() == [0, 1, 2, 3]
            assert found["exact"].attrs["flag_meanings"].split() == [member.label for member in Exact]
            assert found.attrs["operator"] == "gaussian"


def test_to_xarray_is_what_the_file_says(merged: Path) -> None:
    xarray = pytest.importorskip("xarray")
    made = load(merged).to_xarray()
    assert list(made) == ["c000", "c001"]
    with xarray.open_dataset(merged / "results.h5", group="c001", engine="h5netcdf") as found:
        xarray.testing.assert_equal(made["c001"], found)
    assert float(made["c000"]["psi_0"].sel(trial=2, width=30)) == load(merged).cells[0]["psi_0"][2, 1]


def test_to_pandas_has_one_row_per_mode_trial_and_width_that_is_there(merged: Path) -> None:
    results = load(merged)
    table = results.to_pandas()
    assert len(table) == 2 * len(WIDTHS) * (TRIALS + 8)
    assert not table.duplicated(["cell", "mode", "trial", "width"]).any()
    cell = results.cells[1]
    row = table.query("cell == 1 and mode == 'both' and trial == 5 and width == 100").iloc[0]
    assert row["margin_paper"] == cell["margin_paper"][1, 5, 2]
    assert row["psi_0"] == cell["psi_0"][5, 2]
    assert row["stop_time"] == cell["stop_time"][1, 5, 1]
    assert row["n"] == 5
    code = int(cell["exact"][5, 2])
    assert (row["exact"] == Exact(code).label) if code >= 0 else np.isnan(row["exact"])
    # no flow at width 30: fill values, never another width's numbers
    none = table.query("width == 30")
    assert none["stop_time"].isna().all()
    assert none["outcome"].isna().all()
    assert (none["steps"] == NOT_COMPUTED).all()


def test_a_run_without_flow_has_no_axes_of_it(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    plan = run_plan(flow_widths=(), save_trials=0)
    write(tmp_path, plan, plan.cells[0], 0, WIDTHS, ())
    merge(tmp_path, plan, {})
    with xarray.open_dataset(tmp_path / "results.h5", group="c000", engine="h5netcdf") as found:
        assert set(found.dims) == {"mode", "trial", "width"}
    assert load(tmp_path).cells[0].flow_widths.size == 0
    assert "steps" not in load(tmp_path).to_pandas()
