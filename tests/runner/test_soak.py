"""The short form of benchmarks/soak.py: SIGKILL to the whole process group of one run, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_kills_lose_no_block_and_repeat_only_those_in_work(tmp_path: Path) -> None:
    # one kill while the run starts, four while it computes, one while it merges
    words = ["--kills", "6", "--blocks", "120", "--trials", "2", "--longest", "0.6"]
    command = [sys.executable, str(ROOT / "benchmarks" / "soak.py"), str(tmp_path), *words]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=500, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] + found["attempts that ended before the kill"] == 6
    assert found["of them while"]["computing"] == 4
    assert found["blocks lost"] == 0
    assert 0 <= found["most repeated by one kill"] <= 2  # the workers
    assert found["datasets compared"] > 40
    assert found["datasets that differ"] == []
    assert found["half-written files at the end"] == 0
