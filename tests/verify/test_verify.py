"""`dipmc verify` finds what is wrong with a run and nothing else; `dipmc replay` sets the numbers side by side."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from block_stub import datasets
from command_line import Invoke, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mc.cli.main import main
from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.runner.execute import merge, run
from mc.store.blocks import BlockHeader, read_block, write_block
from mc.store.checksums import array_digest, attributes_digest
from mc.store.hdf5 import attributes
from mc.store.layout import range_problems
from mc.store.results import digest_axis, load
from mc.verify import folder as verify
from mc.verify.folder import Status, verify_run
from mc.verify.replay import difference, replay_trial

TABLES: dict[str, dict[str, Any]] = {
    "experiment": {"name": "checked", "seed": 3, "trials": 5, "block_size": 2},
    "problem": {"n": 3, "m": 2, "operator": "gaussian", "noise": 0.1},
    "network": {"mode": ["hidden", "both"], "d": 20},
    "widths": {"values": [3, 64]},
    "flow": {"widths": [64], "save": {"trials": 1, "times": 3}},
}
CHECKS = ("files", "layout", "identity", "complete", "ranges", "results")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(Experiment.from_dict(TABLES), folder).failures == ()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(whole, tmp_path / "run")


def blocks(folder: Path) -> list[Path]:
    return sorted((folder / "blocks").iterdir())


def rewrite(path: Path, arrays: Mapping[str, NDArray[Any]], **header: Any) -> None:
    """Another block file under the same name, with a right checksum."""
    old = read_block(path)
    path.unlink()
    write_block(path.parent, replace(old.header, **header), {**old.arrays, **arrays})


def outcome(folder: Path, number: int = 0) -> dict[str, Status]:
    return {check.name: check.status for check in verify_run(folder, number)}


def spoiled(folder: Path, number: int = 0) -> set[str]:
    return {name for name, status in outcome(folder, number).items() if status is Status.FAILED}


def words(folder: Path, name: str, number: int = 0) -> str:
    (check,) = (check for check in verify_run(folder, number) if check.name == name)
    return "\n".join(check.lines())


def test_a_good_run_passes_every_check(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(whole), "--replay", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in (*CHECKS, "replay")]
    assert "3 block file(s)" in lines[0]
    assert "10 trials x widths equal" in lines[5]
    assert "2 of 3 block(s) computed again: 2 equal to the last bit" in lines[6]


def test_a_damaged_block_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(blocks(folder)[1], "r+") as file:
        file["psi_0"][0, 0] += 1e-15
    assert main(["verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert re.search(rf"FAILED files .*\n +.*{blocks(folder)[1].name}: damaged \(checksum", out)
    # its trials lack a block, which is said and no error of results.h5
    assert "4 trials x widths have no block file" in out
    assert spoiled(folder) == {"files"}


def test_impossible_numbers_under_a_right_checksum_are_found(folder: Path) -> None:
    arrays = read_block(blocks(folder)[0]).arrays
    margin = arrays["margin_paper"].copy()
    margin[1, 0, 1] = -0.5
    rewrite(blocks(folder)[0], {"margin_paper": margin})
    assert spoiled(folder, 3) == {"ranges", "results", "replay"}
    assert "margin_paper[1, 0, 1] is negative (1 of 8 values)" in words(folder, "ranges")
    assert "c000: margin_paper of trials 0 to 1 is not as in the blocks" in words(folder, "results")
    assert "margin_paper: relative difference" in words(folder, "replay", 3)


def seal(path: Path) -> None:
    """Make the checksums of results.h5 right again, as by one who changes it on purpose."""
    with h5py.File(path, "r+") as file:
        for group in file.values():
            found = {name: array_digest(item[()], digest_axis(name)) for name, item in group.items()}
            group.attrs["checksums"] = json.dumps(found)
        del file.attrs["checksum"]
        places = {"/": attributes(file), **{name: attributes(group) for name, group in file.items()}}
        file.attrs["checksum"] = attributes_digest(places)


@pytest.mark.parametrize("name", ["rank", "sigma_star", "t", "steps", "computed", "trials_present"])
def test_a_changed_number_of_the_results_is_found(folder: Path, name: str) -> None:
    with h5py.File(folder / "results.h5", "r+") as file:
        dataset = file["c000"][name]
        dataset[...] = dataset[...] + 1
    assert spoiled(folder) == {"results"}
    assert f"checksum of {name} differs" in words(folder, "results")
    with pytest.raises(InputError, match=f"checksum of {name} differs"):
        load(folder).cells[0][name]
    seal(folder / "results.h5")
    assert spoiled(folder) == {"results"}
    if name not in ("computed", "trials_present"):
        assert f"c000: {name} of trials" in words(folder, "results")


def test_a_changed_attribute_or_axis_of_the_results_is_found(folder: Path) -> None:
    whole = (folder / "results.h5").read_bytes()

    def change(place: str, name: str, value: object) -> None:
        with h5py.File(folder / "results.h5", "r+") as file:
            file[place].attrs[name] = value

    for place, name, value in (("/", "seed", 4), ("/c000", "stream_digest", "00"), ("/c000", "n", 4)):
        (folder / "results.h5").write_bytes(whole)
        change(place, name, value)
        assert spoiled(folder) == {"results"}
        with pytest.raises(InputError, match="checksum of the attributes differs"):
            load(folder)
    (folder / "results.h5").write_bytes(whole)
    with h5py.File(folder / "results.h5", "r+") as file:
        file["c000/width"][0] = 4
    with pytest.raises(InputError, match="checksum of width differs"):
        load(folder)
    seal(folder / "results.h5")
    assert spoiled(folder) == {"results"}


def test_an_unknown_or_misshapen_dataset_of_the_results_is_found(folder: Path) -> None:
    with h5py.File(folder / "results.h5", "r+") as file:
        file["c000"].move("psi_0", "psy_0")
        del file["c000/margin_paper"]
        file["c000/margin_paper"] = np.zeros((2, 5))
    with pytest.raises(InputError, match="datasets came or went"):
        load(folder)
    seal(folder / "results.h5")
    assert spoiled(folder) == {"results"}
    found = words(folder, "results")
    assert "holds 'psy_0', which the layout does not have" in found
    assert "margin_paper is float64 of shape (2, 5)" in found


def test_a_damaged_results_file_is_one_failed_check(folder: Path) -> None:
    content = (folder / "results.h5").read_bytes()
    (folder / "results.h5").write_bytes(content[: len(content) // 2])
    assert spoiled(folder) == {"results"}
    assert "damaged" in words(folder, "results")


def test_what_is_missing_is_said_and_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = blocks(folder)[2].read_bytes()
    lost = blocks(folder)[2]
    lost.unlink()
    assert main(["verify", str(folder)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"note +complete +missing: 1 block\(s\) of c000 width 3 and 2 more", out)
    assert "2 trials x widths have no block file any more" in out  # the last block has one trial of the five
    merge(folder)
    assert outcome(folder)["results"] is Status.OK
    lost.write_bytes(kept)
    assert outcome(folder)["results"] is Status.NOTE
    assert "lacks blocks that are there" in words(folder, "results")
    (folder / "results.h5").unlink()
    assert "none yet: `dipmc merge" in words(folder, "results")
    assert outcome(folder)["results"] is Status.NOTE


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ({"seed_field": 4}, "seed is 4 there and 3 here"),
        ({"identity": "0" * 64}, "the identity is not the digest of its settings"),
        ({"first_trial": 4}, "2 trials from 4 are no block of 2"),
        ({"stream_digest": "0" * 64}, "blocks of different generators"),
        ({"cell": "{}"}, "the cell is not that of the experiment"),
    ],
)
def test_a_block_of_something_else_is_found(folder: Path, header: dict[str, Any], complaint: str) -> None:
    path = blocks(folder)[0]
    if "seed_field" in header:
        fields = {**read_block(path).header.identity_fields, "seed": header["seed_field"]}
        header = {"identity_fields": fields}
    rewrite(path, {}, **header)
    assert "identity" in spoiled(folder)
    assert complaint in words(folder, "identity")


def test_another_numerics_version_is_noted_and_not_replayed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mc.experiment.experiment.NUMERICS_VERSION", 10**6)
    monkeypatch.setattr(verify, "NUMERICS_VERSION", 10**6)
    found = outcome(folder, 1)
    assert {name for name, status in found.items() if status is Status.NOTE} == {"identity", "replay"}
    assert Status.FAILED not in found.values()


@pytest.mark.parametrize(("change", "failed"), [(1e-14, set()), (1e-9, {"replay"})])
def test_numbers_of_another_numpy_are_compared_to_a_tolerance(folder: Path, change: float, failed: set[str]) -> None:
    for path in blocks(folder):
        old = read_block(path)
        rewrite(path, {"psi_0": old.arrays["psi_0"] * (1.0 + change)}, facts={**old.header.facts, "numpy": "2.0.0"})
    merge(folder)
    assert spoiled(folder, 3) == failed
    if not failed:
        assert "3 made by another NumPy or BLAS equal to 1e-12" in words(folder, "replay", 3)


def test_bits_are_compared_where_the_maker_is_the_same(folder: Path) -> None:
    old = read_block(blocks(folder)[0])
    rewrite(blocks(folder)[0], {"psi_0": np.nextafter(old.arrays["psi_0"], np.inf)})
    merge(folder)
    assert spoiled(folder, 3) == {"replay"}


def test_the_sample_is_a_function_of_the_seed(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def remember(_: object, __: object, header: BlockHeader) -> Mapping[str, NDArray[Any]]:
        seen.append(header.block)
        return {}

    monkeypatch.setattr(verify, "recompute", remember)
    for _ in range(2):
        assert spoiled(whole, 2) == {"replay"}  # nothing computed is not what is stored
    assert len(seen) == 4
    assert seen[:2] == seen[2:]
    assert seen[0] < seen[1]


def test_mistakes_have_status_2(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert main(["verify", str(whole), "--replay", "-1"]) == 2
    for wrong in (
        ["--trial", "5"],
        ["--trial", "-1"],
        ["--trial", "0", "--cell", "1"],
        ["--trial", "0", "--width", "4"],
    ):
        assert main(["replay", str(whole), *wrong]) == 2
    err = capsys.readouterr().err
    assert "not a run folder" in err
    assert "not a width of the run; use one of 3, 64" in err


def test_a_suite_is_verified_run_by_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder, folder.parent / "two")
    assert main(["verify", str(folder.parent)]) == 0
    out = capsys.readouterr().out
    assert f"{folder}:" in out
    assert f"{folder.parent / 'two'}:" in out


PROBLEM = {"n": 3, "m": 2}


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("psi_0", [[np.inf]], "psi_0[0, 0] is not finite"),
        ("sigma_A", [1.0, np.nan], "sigma_A[1] is not finite"),
        ("sigma_A", [3.0], "sigma_A[0] exceeds norm_A"),
        ("margin_trial", [[[np.nan]]], "is NaN"),
        ("loss", [[[[-1e-9]]]], "is negative"),
        ("slack_time_rate_trial", [[[-1.0]]], "is negative"),
        ("margin_trial", [[[np.inf]]], None),
        ("slack_rate_trial", [[[-1.0]]], None),
        ("signal", [[[[[-1.0, np.nan]]]]], None),
        ("sigma_star", [[[np.nan]]], None),
        ("sigma_A", [2.0], None),
    ],
)
def test_ranges(name: str, array: list[Any], complaint: str | None) -> None:
    found = list(range_problems(name, {"norm_A": np.array([2.0]), name: np.array(array)}, PROBLEM))
    assert (complaint in found[0]) if complaint else not found


def test_ranges_of_integers() -> None:
    assert list(range_problems("rank", {"rank": np.array([0, 3, 2])}, PROBLEM)) == [
        "rank[0] is not in 1 to min(n, m) (2 of 3 values)"
    ]
    assert not list(range_problems("steps", {"steps": np.full((1, 1, 1), -1)}, PROBLEM))
    assert list(range_problems("steps", {"steps": np.full((1, 1, 1), -2)}, PROBLEM))


def test_difference() -> None:
    one = np.array([1.0, np.nan, 4.0, np.inf])
    assert difference(one, one.copy(), exact=True) == 0.0
    assert difference(one, one + np.array([0.0, 0.0, 2.0, 0.0]), exact=True) == 0.5
    assert difference(one, np.array([1.0, 2.0, 4.0, np.inf]), exact=False) == np.inf
    assert difference(one, np.array([1.0, np.nan, np.nan, np.inf]), exact=False) == np.inf
    assert difference(one, np.array([1.0, np.nan, 4.0, -np.inf]), exact=False) == np.inf
    assert difference(np.array([1]), np.array([2]), exact=False) == np.inf
    assert difference(np.array([0.0]), np.array([-0.0]), exact=False) == 0.0
    assert difference(np.array([0.0]), np.array([-0.0]), exact=True) > 0.0


# replay


def test_replay_prints_the_stored_numbers(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(whole), "--trial", "1", "--width", "64"]) == 0
    out = capsys.readouterr().out
    (cell,) = load(whole).cells
    for mode in range(2):
        value = f"{cell['margin_sharp'][mode, 1, 1]:.12g}"
        assert re.search(rf"margin_sharp +{re.escape(value)} +stored {re.escape(value)} +=", out)
    assert "agrees to the last bit" in out
    assert "width 64 both" in out
    assert "width 3" not in out
    assert "trajectory" not in out  # that of trial 0 alone is saved
    numbers = [line for line in out.splitlines() if " stored " in line]
    assert all(line.endswith(" =") for line in numbers)
    # 7 of the problem, 7 of the width, 9 certificates and 7 of the flow a mode
    assert len(numbers) == 7 + 7 + 2 * (9 + 7)


def test_replay_prints_both_sides_of_a_claim(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(whole), "--trial", "0", "--width", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("    claim mirror_always, width 64 hidden:")
    rows = []
    for line in lines[start + 2 :]:
        if "claim" in line:
            break
        rows.append([float(word) for word in line.split()])
    (cell,) = load(whole).cells
    at = (0, 0, list(cell.flow_widths).index(64))
    smallest = min(rows, key=lambda row: row[2] / row[1])
    assert smallest[0] == pytest.approx(cell["slack_time_mirror_always"][at], rel=1e-9)
    assert np.log(smallest[2] / smallest[1]) == pytest.approx(cell["slack_mirror_always"][at], abs=1e-8)


def test_replay_prints_the_trajectory(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(whole), "--trial", "0"]) == 0
    out = capsys.readouterr().out
    assert out.count("trajectory of loss:") == 2
    (cell,) = load(whole).cells
    for row in range(3):
        t, loss = (f"{cell[name][1, 0, 0, row]:.12g}" for name in ("t", "loss"))
        assert re.search(rf" {re.escape(t)} +{re.escape(loss)} ", out)


def test_replay_plots_the_two_sides_of_the_claims(whole: Path, tmp_path: Path, invoke: Invoke) -> None:
    figure = tmp_path / "a" / "trial.svg"
    status, out, _ = invoke("replay", whole, "--trial", 0, "--plot", figure)
    assert (status, out[-1]) == (0, str(figure))
    svg = figure.read_text()
    assert svg.startswith("<?xml")
    assert "computed, with its estimated error" in svg
    drawn = set(re.findall(r"promised: ([a-z]+)", svg))
    (cell,) = load(whole).cells
    # trial 0 at width 64, of either mode: what certifies it is what is drawn
    expected = {rung for rung in ("paper", "trial", "sharp") if (cell[f"margin_{rung}"][:, 0, 1] > 1.0).any()}
    expected |= {"conserved"} if cell["sigma_low"][0, 1] > 0.0 else set()
    assert drawn == expected
    assert invoke("replay", whole, "--trial", 0, "--plot", tmp_path / "again.svg")[0] == 0
    assert (tmp_path / "again.svg").read_bytes() == figure.read_bytes()
    # width 3 has no flow
    refused(invoke("replay", whole, "--trial", 0, "--width", 3, "--plot", tmp_path / "none.svg"), "choose a flow width")
    assert not (tmp_path / "none.svg").exists()


def test_a_trial_that_was_not_saved_is_followed_when_it_is_drawn(whole: Path, tmp_path: Path, invoke: Invoke) -> None:
    tables = {**TABLES, "flow": {"widths": [64], "save": {"trials": 4, "times": 3}}}
    saved = run(Experiment.from_dict(tables), tmp_path / "saved").run
    (cell,) = load(saved).cells
    followed = replay_trial(whole, 0, 3, follow=True)
    assert followed.agrees
    assert [(trace.width, trace.mode) for trace in followed.trajectories] == [(64, "hidden"), (64, "both")]
    for mode, trace in enumerate(followed.trajectories):
        assert trace.columns.keys() >= {"t", "loss", "error_loss"}
        for name in set(trace.columns) & set(cell.data):
            assert trace.columns[name].tobytes() == cell[name][mode, 3, 0].tobytes(), name
        for rung in ("paper", "trial", "sharp"):
            assert (f"bound_ball_{rung}" in trace.columns) == (cell[f"margin_{rung}"][mode, 3, 1] > 1.0)
        if "bound_ball_trial" in trace.columns:
            assert (trace.columns["bound_ball_trial"] == cell["radius_needed"][mode, 3, 1]).all()
            assert (trace.columns["bound_jacobian_trial"] == cell["sigma_0"][mode, 3, 1] / 2.0).all()
    assert replay_trial(whole, 0, 3).trajectories == ()
    status, out, _ = invoke("replay", whole, "--trial", 3, "--plot", tmp_path / "trial.svg")
    assert status == 0
    assert sum("trajectory of loss:" in line for line in out) == 2


def test_a_replay_without_a_figure_does_not_import_matplotlib(whole: Path) -> None:
    code = f"import sys; from mc.cli.main import main; main(['replay', {str(whole)!r}, '--trial', '1']); "
    code += "sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, timeout=120).returncode == 0


def test_every_bound_of_the_layout_has_its_side_in_the_figure() -> None:
    from mc.report.replay_figure import NAMES
    from mc.theory.claims import CLAIMS
    from mc.trial.curves import RATES, SIDES

    assert NAMES.keys() == SIDES.keys()
    bounded = [claim for claims in SIDES.values() for claim in claims]
    assert len(bounded) == len(set(bounded))
    assert set(bounded) <= set(CLAIMS)
    assert {name.removeprefix("bound_").split("_")[0] for name in RATES} <= set(bounded)


def test_replay_says_what_differs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = read_block(blocks(folder)[0])
    rewrite(blocks(folder)[0], {"psi_0": old.arrays["psi_0"] + 0.5})
    assert main(["replay", str(folder), "--trial", "1", "--width", "3"]) == 1
    out = capsys.readouterr().out
    assert "differs: psi_0: relative difference" in out
    assert re.search(r"psi_0 .*off by 0.5", out)


def test_replay_without_a_block_computes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = f"{load(folder).cells[0]['margin_paper'][0, 4, 0]:.12g}"
    blocks(folder)[2].unlink()
    assert main(["replay", str(folder), "--trial", "4", "--width", "3"]) == 0
    out = capsys.readouterr().out
    assert "no block file has it" in out
    assert "stored" not in out
    assert re.search(rf"margin_paper +{re.escape(value)}\n", out)


# flipped bytes


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_in_a_block_give_an_error_or_the_right_numbers(
    data: st.DataObject, whole: Path, tmp_path: Path
) -> None:
    path = blocks(whole)[0]
    good, bad = read_block(path), bytearray(path.read_bytes())
    places = st.tuples(st.integers(0, len(bad) - 1), st.integers(1, 255))
    for place, mask in data.draw(st.lists(places, min_size=1, max_size=4)):
        bad[place] ^= mask
    spoilt = tmp_path / path.name
    spoilt.write_bytes(bad)
    try:
        found = read_block(spoilt)
    except InputError:
        return
    assert replace(found.header, facts={}) == replace(good.header, facts={})
    assert all(found.arrays[name].tobytes() == array.tobytes() for name, array in good.arrays.items())


def read_all(folder: Path) -> dict[tuple[int, str], bytes]:
    """All that `load` gives: attributes, axes and datasets."""
    results = load(folder)
    found = {(-1, name): str(value).encode() for name, value in results.attrs.items()}
    for cell in results.cells:
        axes = (cell.widths, cell.flow_widths, cell.saved_trials)
        found[cell.index, ""] = str((cell.modes, cell.trials, [axis.tolist() for axis in axes], cell.attrs)).encode()
        found |= {(cell.index, name): cell[name].tobytes() for name in cell.data}
    return found


@pytest.fixture(scope="module")
def spoilt(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose results.h5 a test may spoil."""
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("spoilt") / "run")
    shutil.copy(folder / "results.h5", folder / "whole.h5")
    return folder


@settings(max_examples=100)
@given(data=st.data())
def test_flipped_bytes_in_the_results_give_an_error_or_the_right_numbers(data: st.DataObject, spoilt: Path) -> None:
    bad = bytearray((spoilt / "whole.h5").read_bytes())
    places = st.tuples(st.integers(0, len(bad) - 1), st.integers(1, 255))
    for place, mask in data.draw(st.lists(places, min_size=1, max_size=4)):
        bad[place] ^= mask
    (spoilt / "results.h5").write_bytes(bad)
    try:
        found = read_all(spoilt)
    except InputError:
        assert spoiled(spoilt) == {"results"}  # and nothing else, however it fails
        return
    assert found == read_all(spoilt / "whole.h5")


@settings(max_examples=30)
@given(part=st.floats(0.0, 1.0, exclude_max=True))
def test_truncated_results_give_an_error(part: float, spoilt: Path) -> None:
    whole = (spoilt / "whole.h5").read_bytes()
    (spoilt / "results.h5").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=r"results\.h5: damaged"):
        read_all(spoilt)


def test_merging_changes_nothing_that_verify_compares(folder: Path) -> None:
    before = datasets(folder / "results.h5")
    merge(folder)
    assert datasets(folder / "results.h5") == before
    assert spoiled(folder) == set()


def test_a_run_whose_trials_follow_the_data_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = {key: value for key, value in TABLES["experiment"].items() if key != "trials"}
    sampling = {"target_half_width": 0.4, "min_trials": 20, "max_trials": 40}
    run(Experiment.from_dict({**TABLES, "experiment": experiment, "sampling": sampling}), tmp_path)
    assert main(["verify", str(tmp_path), "--replay", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "equal to the blocks" in lines[5]
    assert [line.split()[1] for line in lines] == [*CHECKS, "replay"]
    last = load(tmp_path).cells[0].trials - 1
    assert main(["replay", str(tmp_path), "--trial", str(last), "--width", "3"]) == 0
    assert main(["replay", str(tmp_path), "--trial", str(last + 1), "--width", "3"]) == 2
