"""Monte Carlo validation of the theory of neural networks on inverse problems.

Examples
--------
>>> import mc
>>> experiment = mc.Experiment.from_toml("experiments/quickstart.toml")
>>> mc.run(experiment, "data/quickstart", jobs=2)  # doctest: +SKIP
>>> results = mc.load("data/quickstart")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mc.errors import InputError
from mc.experiment.experiment import Experiment
from mc.store.results import load
from mc.version import __version__

if TYPE_CHECKING:
    from mc import estimate
    from mc.report import citations
    from mc.runner.execute import run

__all__ = ["Experiment", "InputError", "__version__", "citations", "estimate", "load", "run"]


def __getattr__(name: str) -> Any:
    """Load `estimate`, `citations` and `run` at first use: they take longer to import than the rest."""
    if name == "estimate":
        return import_module("mc.estimate")
    if name == "citations":
        return import_module("mc.report.citations")
    if name == "run":
        return import_module("mc.runner.execute").run
    raise AttributeError(f"module 'mc' has no attribute {name!r}")
