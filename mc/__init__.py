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
from typing import TYPE_CHECKING

from mc.errors import InputError
from mc.execute import run
from mc.experiment import Experiment
from mc.store import load
from mc.version import __version__

if TYPE_CHECKING:
    from types import ModuleType

    from mc import estimate

__all__ = ["Experiment", "InputError", "__version__", "estimate", "load", "run"]


def __getattr__(name: str) -> ModuleType:
    """Load `mc.estimate` when it is asked for: its statistics take longer to import than all the rest."""
    if name == "estimate":
        return import_module("mc.estimate")
    raise AttributeError(f"module 'mc' has no attribute {name!r}")
