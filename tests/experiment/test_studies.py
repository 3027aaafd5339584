"""The file of studies: what changes with the scale, and what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.cli.reproduce import write_suite
from mc.errors import InputError
from mc.experiment.experiment import Suite
from mc.experiment.studies import changed, load_studies

PAPER = Path(__file__).parents[2] / "experiments/paper"


@pytest.fixture
def folder(studies_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(studies_folder, tmp_path / "studies"))


def test_the_files_are_the_scale_of_a_laptop(folder: Path) -> None:
    rungs, alone = load_studies(folder, "laptop")
    assert (rungs.name, alone.name) == ("rungs", "alone")
    assert [e.name for e in rungs.experiments] == ["alpha", "beta"]
    assert [e.trials for e in rungs.experiments] == [6, 6]
    assert rungs.experiments[0].widths == (4, 10, 100, 400)


def test_a_scale_replaces_keys_for_all_then_for_one_and_skips_tables_that_are_not_there(folder: Path) -> None:
    rungs, alone = load_studies(folder, "smoke")
    assert [e.trials for e in (*rungs.experiments, *alone.experiments)] == [3, 3, 3]
    assert [e.widths for e in rungs.experiments] == [(4, 60)] * 2  # from, to and per_decade are gone
    assert [e.flow_widths for e in rungs.experiments] == [(60,)] * 2
    assert [e.cells()[0].problem["noise"] for e in rungs.experiments] == [0.0, 0.5]
    assert alone.experiments[0].document.flow is None
    assert [e.trials for e in load_studies(folder, "cluster")[0].experiments] == [12, 12]


def test_the_suite_that_is_written_holds_the_same_experiments(folder: Path, tmp_path: Path) -> None:
    studies = load_studies(folder, "smoke")
    path = write_suite(studies, "paper-smoke", tmp_path / "out" / "experiments")
    suite = Suite.from_toml(path)
    assert suite.name == "paper-smoke"
    assert suite.experiments == tuple(e for study in studies for e in study.experiments)


def test_one_study_can_be_asked_for(folder: Path) -> None:
    (study,) = load_studies(folder, "smoke", ["alone"])
    assert study.name == "alone"
    with pytest.raises(InputError, match=re.escape("'alonne' is not a study of") + ".*; use one of rungs, alone"):
        load_studies(folder, "smoke", ["alonne"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A study of one run"', "", "studies.toml: [study] title: is missing; write title = text, in quotes"),
        ('name = "alone"', 'name = "Alone!"', "study] name: 'Alone!' is not valid; use small letters, digits and -"),
        ('name = "alone"', 'name = "rungs"', "two of them are named 'rungs'; use distinct names"),
        ('["gamma"]', '["alpha"]', "'alpha' is listed twice; list it once"),
        ('["gamma"]', '["delta"]', "delta.toml: no such file; give the path of an experiment file"),
        ("smoke.beta.", "smoke.delta.", "[study.smoke] 'delta' is no experiment of 'rungs'; use all or one of alpha"),
        ("smoke.all.experiment.trials = 3", "smoke.all.experiment.trials = 0", "[experiment] trials: 0 is out of rang"),
        ("smoke.all.", "smoek.all.", "unknown key"),
    ],
)
def test_mistakes_are_named(folder: Path, old: str, new: str, message: str) -> None:
    index = folder / "studies.toml"
    assert old in index.read_text()
    index.write_text(index.read_text().replace(old, new))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_studies(folder, "smoke")
    assert "\n" not in str(caught.value)


def test_an_experiment_has_the_name_of_its_file(folder: Path) -> None:
    path = folder / "gamma.toml"
    path.write_text(path.read_text().replace('"gamma"', '"delta"'))
    with pytest.raises(InputError, match=re.escape("gamma.toml: [experiment] name 'delta': use 'gamma'")):
        load_studies(folder, "laptop")


def test_what_is_no_table_is_named_as_such(folder: Path) -> None:
    (folder / "gamma.toml").write_text('experiment = "gamma"\n')
    with pytest.raises(InputError, match=re.escape("[experiment] 'gamma' is not a table")):
        load_studies(folder, "smoke")


@pytest.mark.parametrize("name", ["all", "suite"])
def test_names_with_a_meaning_of_their_own_are_refused(folder: Path, name: str) -> None:
    text = (folder / "gamma.toml").read_text()
    (folder / f"{name}.toml").write_text(text.replace('"gamma"', f'"{name}"'))
    index = folder / "studies.toml"
    index.write_text(index.read_text().replace('["gamma"]', f'["{name}"]'))
    with pytest.raises(InputError, match=f"'{name}' has a meaning of its own"):
        load_studies(folder, "smoke")


def test_a_folder_without_studies(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"studies\.toml: no such file; run this from a checkout"):
        load_studies(tmp_path, "laptop")


TABLES = st.dictionaries(
    st.sampled_from(["a", "b", "widths"]), st.dictionaries(st.text("xyz", max_size=1), st.integers())
)


@given(TABLES, TABLES)
def test_changes_touch_the_keys_they_name_and_nothing_else(data: dict, changes: dict) -> None:
    found = changed(data, changes)
    assert found.keys() == data.keys()
    for table, keys in found.items():
        if table not in changes:
            assert keys == data[table]
        elif table == "widths":
            assert keys == changes[table]
        else:
            assert keys == {**data[table], **changes[table]}
    assert changed(found, changes) == found


@pytest.mark.parametrize("scale", ["smoke", "laptop", "cluster"])
def test_the_studies_of_the_repository_are_valid_and_its_suite_lists_them(scale: str) -> None:
    studies = load_studies(PAPER, scale)
    names = [e.name for study in studies for e in study.experiments]
    assert [e.name for e in Suite.from_toml(PAPER / "all.toml").experiments] == names
