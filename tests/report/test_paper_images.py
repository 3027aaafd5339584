"""The study of pictures: its estimates on trajectories that are known, and its section on a tiny run."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import phantom

import mc
from mc.errors import InputError
from mc.estimate.flows.recovery import Course, courses, first_within, psnr, true_span, truth_of
from mc.experiment.studies import load_studies
from mc.model.draws import draw_problem
from mc.report.paper.images import section, verdict
from mc.report.paper.section import Run, Runs, Section

ROOT = Path(__file__).parents[2]
NAMES = ("images-signal", "images-blur", "images-phantom")


def test_psnr_of_errors_that_are_known() -> None:
    # an error of a tenth of the range in every entry: 20 dB; ten times less: 40
    np.testing.assert_allclose(psnr(np.array([0.4, 0.04]) * 5.0, 25, 4.0), [20.0, 40.0], rtol=1e-12)
    assert psnr(np.array([0.0]), 3, 1.0)[0] == np.inf


def test_the_discrepancy_principle_stops_at_the_first_time_within_the_noise() -> None:
    residual = np.array([9.0, 3.0, 1.0, 0.5, np.nan])
    assert [first_within(residual, level) for level in (10.0, 3.0, 0.9, 0.4)] == [0, 1, 3, -1]


@pytest.mark.parametrize("resample", ["trial", "cell"])
@pytest.mark.parametrize("operator", ["mask", "blur"])
def test_the_truth_is_that_of_the_problem(operator: str, resample: str) -> None:
    spec = {"operator": operator, "n": 12, "signal": "piecewise", "pieces": 3, "noise": 0.2, "resample": resample}
    spec |= {"keep": 0.5, "m": 6} if operator == "mask" else {"blur_width": 1.0}
    problem, truth = draw_problem(spec, 5, (1, 2), 3), truth_of(spec, 5, (1, 2), 3)
    np.testing.assert_array_equal(truth.signal, problem.xbar)
    np.testing.assert_allclose(truth.back, problem.y if operator == "blur" else problem.A.T @ problem.y, atol=1e-14)
    assert truth.seen.sum() == (6 if operator == "mask" else 12)
    assert truth.span == true_span(spec, 5, (1, 2), 3) == np.ptp(problem.xbar)


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
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    (study,) = load_studies(ROOT / "experiments/paper", "smoke", ["images"])
    folder = tmp_path_factory.mktemp("images")
    assert tuple(experiment.name for experiment in study.experiments) == NAMES
    for experiment in study.experiments:
        mc.run(experiment, folder / experiment.name, jobs=1)
    return Runs({name: Run(name, folder / name) for name in NAMES})


@pytest.fixture(scope="module")
def whole(runs: Runs) -> Section:
    return section(runs)


def test_the_section_has_its_claims_figures_and_tables(whole: Section) -> None:
    assert "signal is not recovered" in whole.verdict
    assert len(whole.claims) == 4
    names = {figure.name for figure in whole.figures}
    assert names == {"images-signals", "images-time", "images-blur", "images-phantom", "images-pictures-time"}
    for claim in whole.claims:
        assert claim.figure in names
        assert claim.experiment in NAMES
        assert not re.match("violated|contradicted", claim.verdict), claim
    # three runs: two signals in two modes at two widths, and two pictures
    assert len(whole.tables[0].rows) == 2 * 2 * 2 + 2
    assert len(whole.meaning) == 4
    assert all(len(panel.svg) < 300_000 for figure in whole.figures for panel in figure.panels)


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
    assert section(Runs({})).claims == ()


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
