"""One experiment or several: what a file names, and the run folders of a suite."""

from __future__ import annotations

from pathlib import Path

from mc.experiment.experiment import Experiment, load_file
from mc.runner.plan import FROZEN, load_frozen
from mc.store.results import RESULTS


def experiments_of(path: Path) -> tuple[tuple[Experiment, Path], ...]:
    """Experiments of a file, each with its folder below the run: one, or those of a suite."""
    found = load_file(path)
    if isinstance(found, Experiment):
        return ((found, Path()),)
    return tuple((experiment, Path(experiment.name)) for experiment in found.experiments)


def runs_of(run: Path) -> tuple[tuple[Path, Path], ...]:
    """Run folders below a folder, each with its place: the folder itself, or the runs of a suite."""
    if not (run / FROZEN).is_file() and run.is_dir():
        inner = tuple((copy.parent, Path(copy.parent.name)) for copy in sorted(run.glob(f"*/{FROZEN}")))
        if inner:
            return inner
    if not (run / RESULTS).is_file():
        load_frozen(run)  # refuses what is no run folder
    return ((run, Path()),)


def default_run(path: Path) -> Path:
    """The run folder of a file where none is given."""
    return Path("data") / load_file(path).name


def default_report(run: Path) -> Path:
    """The report folder of a run: named after the experiment, wherever it ran; a suite's name is that of its folder."""
    name = load_frozen(run).name if (run / FROZEN).is_file() else run.resolve().name
    return Path("reports") / name
