"""A finished run of the command line, to read or to work in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import OTHER, SMALL, SUITE

from mc.cli.main import main


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with experiment files and a finished run; read only."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "small.toml").write_text(SMALL)
    (folder / "other.toml").write_text(OTHER)
    (folder / "suite.toml").write_text(SUITE)
    assert main(["run", str(folder / "small.toml"), "-o", str(folder / "run"), "--quiet"]) == 0
    return folder


@pytest.fixture
def here(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, and the working directory."""
    folder = tmp_path / "here"
    shutil.copytree(done, folder)
    monkeypatch.chdir(folder)
    return folder
