"""docs/format.md says what the code does; the golden run of each schema version is still read, with its numbers."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from block_stub import datasets
from layout_doc import HEADER_WORDS, format_page

from mc.runner.plan import load_frozen, run_plan
from mc.store.blocks import BlockHeader, read_block, scan
from mc.store.layout import BLOCK_LAYOUT, COORDINATES, FAMILIES, MERGE_LAYOUT
from mc.store.merge import merge
from mc.store.plan import RunPlan
from mc.store.results import load
from mc.version import SCHEMA_VERSION

HERE = Path(__file__).parents[1]
PAGE = HERE.parent / "docs" / "format.md"
GOLDEN = sorted((HERE / "data").glob("golden-schema-*"))


def unpack(golden: Path, run: Path) -> Path:
    """The run folder that a golden folder holds compressed."""
    for path in golden.rglob("*.h5.gz"):
        target = run / path.relative_to(golden).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress(path.read_bytes()))
    shutil.copy(golden / "experiment.toml", run)
    return run


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    expected = json.loads((request.param / "numbers.json").read_text(encoding="utf-8"))
    return unpack(request.param, tmp_path_factory.mktemp("golden")), expected


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", HERE / "data" / "make_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plan_of(run: Path) -> RunPlan:
    """The plan of a golden run; its identities are those of the code that made it, whatever numerics came since."""
    plan = run_plan(load_frozen(run))
    made = {file.key: read_block(file.path).header for file in scan(run)}
    cells = (
        replace(cell, identity=made[cell.key].identity, identity_fields=made[cell.key].identity_fields)
        for cell in plan.cells
    )
    return replace(plan, cells=tuple(cells))


def test_there_is_a_golden_run_of_this_schema() -> None:
    assert f"golden-schema-{SCHEMA_VERSION}" in {path.name for path in GOLDEN}
    for path in GOLDEN:
        assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 300_000


def test_golden_numbers_are_loaded(golden: tuple[Path, dict[str, Any]]) -> None:
    run, expected = golden
    assert load(run).attrs["complete"] == 1
    found = maker().numbers(run)
    # the first values are for the reader of a failure
    assert {name: found[name]["first"] for name in found} == {name: expected[name]["first"] for name in expected}
    assert found == expected
    assert {"c000/margin_sharp", "c001/t", "c000/bound_rate_sharp", "c000/outcome"} <= found.keys()


def test_golden_numbers_are_those_of_xarray(golden: tuple[Path, dict[str, Any]]) -> None:
    xarray = pytest.importorskip("xarray")
    run, expected = golden
    seen = 0
    for cell in load(run).cells:
        mine = cell.to_xarray()
        with xarray.open_dataset(run / "results.h5", group=cell.group, engine="h5netcdf") as made:
            xarray.testing.assert_equal(made, mine)
            for name in made.data_vars:
                raw = np.ascontiguousarray(made[name].values)
                assert hashlib.sha256(raw.tobytes()).hexdigest() == expected[f"{cell.group}/{name}"]["sha256"], name
                seen += 1
    assert seen == len(expected)


def test_golden_blocks_merge_to_the_golden_results(tmp_path: Path) -> None:
    """Blocks of an older layout are only read: a run goes on in the layout that it began with."""
    (tmp_path / "golden").mkdir()
    run = unpack(HERE / "data" / f"golden-schema-{SCHEMA_VERSION}", tmp_path / "golden")
    again = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("results.h5"))
    merge(again, plan_of(again), {})
    assert datasets(again / "results.h5") == datasets(run / "results.h5")


# docs/format.md


def test_the_page_is_what_the_declarations_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == format_page(), "run: python docs/site/layout_doc.py > docs/format.md"


def test_the_page_is_written_by_the_command_that_it_names() -> None:
    command = [sys.executable, "docs/site/layout_doc.py"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent, encoding="utf-8")
    assert made.stdout == format_page()


def test_the_page_names_every_dataset_and_attribute(golden: tuple[Path, dict[str, Any]]) -> None:
    page = format_page()
    for declared in (*BLOCK_LAYOUT, *MERGE_LAYOUT, *COORDINATES):
        assert f"| `{declared.name}` |" in page
    assert all(f"| `{family.name}...` |" in page for family in FAMILIES)
    with h5py.File(next(golden[0].glob("blocks/*.h5"))) as file:
        later = {"claims"} if file.attrs["schema_version"] == 1 else set()
        assert set(file.attrs) == HEADER_WORDS.keys() - later
    assert {*BlockHeader.__dataclass_fields__, "checksum"} == HEADER_WORDS.keys()


def test_a_checksum_by_the_words_of_the_page(golden: tuple[Path, dict[str, Any]]) -> None:
    for path in golden[0].glob("blocks/*.h5"):
        with h5py.File(path) as file:
            header = {
                name: json.loads(value) if isinstance(value, str) and value[0] in "[{" and name != "cell" else value
                for name, value in file.attrs.items()
                if name not in ("facts", "checksum")
            }
            plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in header.items()}
            digest = hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
            for name in sorted(file):
                array = file[name][()]
                array = array.astype(array.dtype.newbyteorder("<"))
                digest.update(f"\n{name}\n{array.dtype.str}\n{list(array.shape)}\n".encode() + array.tobytes("C"))
            assert digest.hexdigest() == file.attrs["checksum"]


def test_the_examples_of_the_page_run(
    golden: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xarray")
    (tmp_path / "data").mkdir()
    shutil.copytree(golden[0], tmp_path / "data" / "quickstart")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```", format_page(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 4
    found: list[dict[str, Any]] = []
    for example in examples:
        names: dict[str, Any] = {}
        exec(compile(example, str(PAGE), "exec"), names)
        found.append(names)
    (cell, _) = load(golden[0]).cells
    expected = (cell["margin_sharp"][0] > 1.0).mean(axis=0)
    assert list(found[0]["share"].values()) == expected.tolist()
    assert found[1]["share"].tolist() == expected.tolist()
    assert found[1]["reached"].values.tolist() == (cell["exact"] == 0).sum(axis=0).tolist()
    assert len(found[2]["table"]) == 2 * 2 * 3 * 3  # cells, modes, trials, widths
    assert found[3]["widths"] == cell.widths.tolist()
    assert found[3]["dims"]["margin_sharp"] == ["mode", "trial", "width"]
