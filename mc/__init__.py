"""Monte Carlo validation of the theory of neural networks on inverse problems.

Examples
--------
>>> import mc
>>> experiment = mc.Experiment.from_toml("experiments/quickstart.toml")
>>> mc.run(experiment, "data/quickstart", jobs=2)  # doctest: +SKIP
>>> results = mc.load("data/quickstart")  # doctest: +SKIP
"""

from mc import estimate
from mc.errors import InputError
from mc.execute import run
from mc.experiment import Experiment
from mc.store import load
from mc.version import __version__

__all__ = ["Experiment", "InputError", "__version__", "estimate", "load", "run"]
