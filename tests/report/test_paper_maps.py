"""The study of maps: its contours on laws that are known, and its section on runs of a few trials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mc.report.paper.maps import section
from mc.report.paper.section import Runs


@pytest.fixture(scope="module")
def runs(smoke_runs: Callable[[str], Runs]) -> Runs:
    return smoke_runs("maps")


def test_the_section_of_a_few_trials(runs: Runs, check_section: Callable[..., None]) -> None:
    found = section(runs)
    check_section(found, "maps", runs)
    assert [figure.name for figure in found.figures] == ["maps-plane", "maps-row", "maps-softplus"]
    assert [len(figure.panels) for figure in found.figures] == [2, 2, 1]
    assert len(found.claims) == 7
    # the law of softplus is a theorem; one trial in twenty of a test at 0.05 would reject, but the seed is fixed
    assert found.claims[-1].verdict == "not contradicted"
    assert [len(table.rows) for table in found.tables] == [3, 3]


def test_the_counts_of_the_map_are_those_of_the_run(runs: Runs) -> None:
    """Every cell of the CSV against the stored verdicts."""
    figure = section(runs).figures[0]
    lines = [line.split(",") for line in figure.table.replace('"map, exact"', "exact").splitlines()]
    seen = {(row[0], int(row[2]), int(row[3]), int(row[4])): int(row[6]) for row in lines if row[1] == "exact"}
    expected = {}
    for axis in ("n", "m"):
        for cell in runs[f"maps-exact-{axis}"].results.cells:
            for i, k in enumerate(cell.widths.tolist()):
                holds = int(np.sum(np.asarray(cell["exact"])[:, i] == 0))
                expected[axis, cell.problem["n"], cell.problem["m"], k] = holds
    assert seen == expected


def test_a_part_of_the_runs_is_enough(runs: Runs) -> None:
    for kept in (["maps-exact-n"], ["maps-descent-n"], ["maps-softplus"], ["maps-exact-m", "maps-descent-m-many"], []):
        found = section(Runs({name: runs[name] for name in kept}))
        assert found.verdict
        assert bool(found.figures) == (kept not in ([],))
