"""The study of pictures: its estimates on trajectories that are known, and its section on a tiny run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pictures import phantom

from mc.errors import InputError
from mc.estimate.flows.recovery import Course, courses, first_within, psnr
from mc.report.paper.images import section, verdict
from mc.report.paper.section import Runs, Section


def course(values: list[float], stop: int) -> Course:
    nothing = np.ones(len(values))
    return Course(
        "both", 10, 0, np.arange(1.0, 1.0 + len(values)), np.array(values), nothing, nothing, nothing, nothing,
        0.5, 0.25, stop, stop,
    )  # fmt: skip


def test_moments_of_a_trajectory() -> None:
    one = course([8.0, 12.0, 10.0, np.nan], 1)
    assert (one.best, one.last, one.at(one.stop), one.at(one.last)) == (1, 2, 12.0, 10.0)
    np.testing.assert_allclose(one.recovery_bound, (1.0 + 0.5) / 0.25)
    assert np.isnan(replace(one, stop=-1).at(-1))


@pytest.fixture(scope="module")
def runs(smoke_runs: Callable[[str], Runs]) -> Runs:
    return smoke_runs("images")


@pytest.fixture(scope="module")
def whole(runs: Runs) -> Section:
    return section(runs)


def test_the_section_has_its_claims_figures_and_tables(
    whole: Section, runs: Runs, check_section: Callable[..., None]
) -> None:
    check_section(whole, "images", runs)
    assert "signal is not recovered" in whole.verdict
    assert len(whole.claims) == 4
    names = {figure.name for figure in whole.figures}
    assert names == {"images-signals", "images-time", "images-blur", "images-phantom", "images-pictures-time"}
    assert not any(re.match("violated|contradicted", claim.verdict) for claim in whole.claims)
    # three runs: two signals in two modes at two widths, and two pictures
    assert len(whole.tables[0].rows) == 2 * 2 * 2 + 2
    assert len(whole.meaning) == 4


def test_tables_of_figures_are_the_stored_numbers(runs: Runs, whole: Section) -> None:
    cell = runs["images-phantom"].results.cells[0]
    figure = next(figure for figure in whole.figures if figure.name == "images-phantom")
    rows = list(csv.DictReader(io.StringIO(figure.table)))
    error = cell["signal_error"][0, 0, 0]
    span = np.ptp(phantom(16))
    np.testing.assert_allclose([float(row["psnr"]) for row in rows], psnr(error, 256, span), rtol=5e-7)  # seven digits
    residual = np.sqrt(2.0 * cell["loss"][0, 0, 0])
    assert next(i for i, row in enumerate(rows) if "|eps|" in row["moments"].split()) == first_within(
        residual, float(cell["norm_eps"][0])
    )
    # a picture for truth, observation and each moment, and nothing that a reader would have to fetch
    svg = figure.panels[0].svg
    assert svg.count("data:image/png;base64") >= 5
    assert "http" not in re.sub(
        r'"http://(www\.w3\.org|purl\.org|creativecommons\.org)[^"]*"', "", svg.split("<svg")[1]
    )


def test_half_of_the_study_is_reported_as_far_as_it_goes(runs: Runs) -> None:
    part = section(Runs({"images-blur": runs["images-blur"]}))
    assert {figure.name for figure in part.figures} == {"images-blur", "images-pictures-time"}
    assert {claim.figure for claim in part.claims} == {"images-pictures-time"}


def test_the_words_are_of_the_numbers() -> None:
    class Blur:
        operator = "blur"
        widest = courses_ = courses = (course([5.0, 20.0, 15.0], 0), course([5.0, 20.0, 15.0], 2))

    words = verdict([Blur()])  # type: ignore[list-item]
    assert "10.0 dB at early stopping, 20.0 dB at the best moment, 15.0 dB at the end" in words
    assert "Of 2 blurred signals 1 were stopped" in words


def test_another_loss_is_refused(runs: Runs) -> None:
    cell = runs["images-signal"].results.cells[0]
    with pytest.raises(InputError, match="use mse"):
        courses(cell, cell.problem, 91, (0, 0), "logcosh")
