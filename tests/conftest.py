"""What all tests share: one BLAS thread, no window, reproducible hypothesis examples, a generator, the command line."""

from __future__ import annotations

import os
from pathlib import Path

# Before numpy is imported anywhere: its BLAS reads the number of threads once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import numpy as np
import pytest
from command_line import Finished, Invoke

from mc.cli.main import main

# The examples of "ci" are functions of the test alone, so a failure is one for everybody; "explore" looks for new ones.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of one fixed seed, new for every test, so tests do not depend on their order."""
    return np.random.Generator(np.random.PCG64DXSM(20231))


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str]) -> Invoke:
    """Run a command in this process: status, lines of stdout, lines of stderr."""

    def run(*arguments: object) -> Finished:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


@pytest.fixture(scope="session")
def studies_folder() -> Path:
    """Two studies of three small experiments, one of which integrates nothing; read only."""
    return Path(__file__).parent / "data/studies"


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the paper's studies at the scale of a test: each is computed once a session."""
    return tmp_path_factory.mktemp("smoke")
