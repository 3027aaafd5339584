"""A small folder of studies, as `dipmc reproduce --studies` takes it."""

from __future__ import annotations

from pathlib import Path

INDEX = """
[[study]]
name = "rungs"
title = "Rungs of a small problem"
question = "Where do the certificates set in?"
hypothesis = "Each implies the next."
expected = "Later for the stronger."
experiments = ["alpha", "beta"]
smoke.all.experiment.trials = 3
smoke.all.widths.values = [4, 60]
smoke.all.flow.widths = [60]
smoke.beta.problem.noise = 0.5
cluster.all.experiment.trials = 12

[[study]]
name = "alone"
title = "A study of one run"
question = "And here?"
hypothesis = "The same."
expected = "The same."
experiments = ["gamma"]
smoke.all.experiment.trials = 3
cluster.all.experiment.trials = 12
"""

EXPERIMENT = """
[experiment]
name = "{name}"
seed = 5
trials = 6

[problem]
n = 3
m = 2
operator = "orthonormal"
resample = "cell"

[network]
mode = ["hidden", "both"]

[widths]
from = 4
to = 400
per_decade = 1
"""

FLOW = """
[flow]
widths = [100]
save = { trials = 2, times = 8 }
"""


def write_studies(folder: Path) -> Path:
    """Two studies of three small experiments, one of which integrates nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "studies.toml").write_text(INDEX)
    for name in ("alpha", "beta", "gamma"):
        (folder / f"{name}.toml").write_text(EXPERIMENT.format(name=name) + (FLOW if name != "gamma" else ""))
    return folder
