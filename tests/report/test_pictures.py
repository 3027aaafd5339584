"""The pictures of the report are those that their formulas draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import UNIT, phantom, write_picture

from mc.model.problem import load_array

PAPER = Path(__file__).parents[2] / "experiments/paper"


@pytest.mark.parametrize("side", [16, 32, 64])
def test_committed_pictures_are_the_formulas(side: int) -> None:
    np.testing.assert_array_equal(load_array(PAPER / f"phantom-{side}.npz", ndim=1), phantom(side).ravel())


def test_levels_are_bytes_of_variance_about_one() -> None:
    levels = phantom(64) * UNIT
    np.testing.assert_array_equal(levels, np.clip(np.round(levels), 0, 255))
    assert 0.5 < phantom(64).var() < 2.0
    # flat parts, and the slope of the ramp, whose 32 columns have a level each
    assert 35 < np.unique(levels).size < 45


def test_a_picture_is_written_row_by_row_and_the_same_each_time(tmp_path: Path) -> None:
    picture = np.arange(6.0).reshape(2, 3)
    for name in ("a.npz", "b.npz"):
        write_picture(tmp_path / name, picture)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    np.testing.assert_array_equal(load_array(tmp_path / "a.npz", ndim=1), np.arange(6.0))
