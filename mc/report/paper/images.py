"""The study of pictures: what early stopping and the certificates say of a recovered signal, and what they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mc.estimate.flows.recovery import Course, courses, truth_of
from mc.estimate.probability.counts import mode_index
from mc.estimate.probability.intervals import clopper_pearson
from mc.experiment.experiment import Experiment
from mc.report.figures import Figure, mode_name
from mc.report.paper.image_words import meaning, operator_word, verdict
from mc.report.paper.images_figure import Shown, courses_figure, grouped, sheet_figure, signals_figure
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table
from mc.store.results import CellResults

SIGNAL, PICTURES = "images-signal", ("images-blur", "images-phantom")
RUNGS = ("margin_paper", "margin_trial", "margin_sharp")
SHARE = 0.5
"""The share of the trials of a blur that is expected to be stopped before its best moment, at least."""
CERTIFIED = 0.1
"""The probability of a certificate that these widths are expected to stay below."""


@dataclass(frozen=True)
class Case:
    """A cell of a run with its trajectories.

    Parameters
    ----------
    run : Run
    cell : CellResults
    spec : mapping
        Resolved [problem] values, with the paths of its files.
    words : (int, int)
        The two words of the cell's id.
    seed : int
    courses : tuple of Course
    """

    run: Run
    cell: CellResults
    spec: Mapping[str, Any]
    words: tuple[int, int]
    seed: int
    courses: tuple[Course, ...]

    @property
    def operator(self) -> str:
        """Name of the operator."""
        return str(self.cell.problem["operator"])

    @property
    def noise(self) -> float:
        """Norm of the noise relative to that of A xbar."""
        return float(self.cell.problem["noise"])

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{operator_word(self.operator)}, noise {self.noise:g}"

    @property
    def name(self) -> str:
        """Part of a file name."""
        return f"{self.operator}-{self.noise:g}".replace(".", "_")

    @cached_property
    def widest(self) -> tuple[Course, ...]:
        """Trajectories of the largest width, with both layers trained where there are any: one for each trial."""
        mode = "both" if "both" in self.cell.modes else self.cell.modes[0]
        found = [course for course in self.courses if course.mode == mode]
        top = max((course.width for course in found), default=0)
        return tuple(course for course in found if course.width == top)

    def shown(self, course: Course, name: str, title: str) -> Shown:
        """A trajectory with its signals and its truth."""
        width = int(np.searchsorted(self.cell.flow_widths, course.width))
        place = (mode_index(self.cell, course.mode), course.trial, width)
        truth = truth_of(self.spec, self.seed, self.words, course.trial)
        return Shown(name, title, course, truth, self.cell["signal"][place])


def section(runs: Runs) -> Section:
    """Claims, figures and words of the study; of what is there.

    Parameters
    ----------
    runs : Runs
    """
    cases = {name: _cases(runs.by_name[name]) for name in (SIGNAL, *PICTURES) if name in runs.by_name}
    every = [case for found in cases.values() for case in found]
    if not every:
        return Section("Nothing has been run yet.", (), ())
    return Section(
        verdict=verdict(every),
        claims=_claims(every, runs.level),
        figures=_figures(cases),
        tables=(_table(every), _certificates(every)),
        meaning=meaning(every),
    )


def _cases(run: Run) -> tuple[Case, ...]:
    """The cells of a run whose trajectories are there."""
    results = run.results
    experiment = Experiment.from_text(results.experiment_text, str(results.path), reading=True)
    found = []
    for cell in results.cells:
        drawn = experiment.cells()[cell.index]
        own = courses(cell, drawn.problem, experiment.seed, drawn.id, str(experiment.loss.kind))
        if own and "signal" in cell:
            found.append(Case(run, cell, drawn.problem, drawn.id, experiment.seed, own))
    return tuple(found)


def _figures(cases: dict[str, tuple[Case, ...]]) -> tuple[Figure, ...]:
    figures = []
    if lines := cases.get(SIGNAL, ()):
        shown = [case.shown(case.widest[0], case.name, case.title) for case in lines]
        width, mode = shown[0].course.width, mode_name(shown[0].course.mode)
        title = f"One signal, {mode}, k = {width}: early stopping keeps the shape, zero loss fits the noise"
        figures.append(signals_figure("images-signals", shown, title))
        panels = [(case.name, case.title, case.courses) for case in lines]
        figures.append(courses_figure("images-time", panels, _time_title(lines)))
    for name in PICTURES:
        found = cases.get(name, ())
        if found:
            side = round(float(found[0].cell.problem["n"]) ** 0.5)
            sheets = [_sheet(case, width) for case in found for width in sorted({c.width for c in case.courses})]
            figures.append(sheet_figure(name, sheets, side, _sheet_title(found)))
    rest = [case for name in PICTURES for case in cases.get(name, ())]
    if rest:
        panels = [(f"picture-{case.name}", f"Picture: {case.title}", case.courses) for case in rest]
        figures.append(courses_figure("images-pictures-time", panels, "Decibels of the pictures over time"))
    return tuple(figures)


def _sheet(case: Case, width: int) -> Shown:
    course = next(one for one in case.courses if one.width == width)
    return case.shown(course, f"{case.name}-{width}", f"{case.title}, {mode_name(course.mode)}, k = {width}")


def _losses(found: Sequence[Case]) -> list[float]:
    """Decibels lost from the best moment to the end, of the widest networks."""
    return [c.at(c.best) - c.at(c.last) for case in found for c in case.widest]


def _time_title(found: Sequence[Case]) -> str:
    parts = [
        f"{operator_word(kind).lower()} {np.median(_losses([case for case in found if case.operator == kind])):.1f} dB"
        for kind in dict.fromkeys(case.operator for case in found)
    ]
    return "From the best moment to zero loss the median trial loses: " + ", ".join(parts)


def _sheet_title(found: Sequence[Case]) -> str:
    best = [course.at(course.best) for case in found for course in case.courses]
    operator = operator_word(found[0].operator).lower()
    ends = dict.fromkeys(f"{value:.1f}" for value in (min(best), max(best)))
    return f"A picture, {operator}: {' to '.join(ends)} dB at the best moment"


def _share(holds: int, trials: int, level: float) -> str:
    low, high = (float(limit) for limit in clopper_pearson(holds, trials, level))
    return f"[{low:.2f}, {high:.2f}] at {level:.0%}"


def _early(cases: Sequence[Case], level: float) -> PaperClaim | None:
    """Whether the discrepancy principle stops before the best moment; one trajectory for each trial."""
    own = [case for case in cases if case.operator == "blur" and case.run.name == SIGNAL]
    followed = [(case, course) for case in own for course in case.widest]
    stopped = [(case, course) for case, course in followed if course.stop >= 0]
    if not stopped:
        return None
    holds = sum(course.stop <= course.best for _, course in stopped)
    # one that never comes within the noise may count on either side
    low = float(clopper_pearson(holds, len(followed), level)[0])
    high = float(clopper_pearson(holds + len(followed) - len(stopped), len(followed), level)[1])
    word = "supported" if low >= SHARE else "contradicted" if high < SHARE else "undecided"
    case, course = max(stopped, key=lambda one: one[1].at(one[1].best) - one[1].at(one[1].stop))
    late = "The noise is amplified so much that the error grows again before |y(t) - y| has fallen to |eps|."
    return PaperClaim(
        f"blur: the discrepancy principle stops at or before the best moment with probability at least {SHARE:g}; "
        f"{holds} of {len(followed)} did, {len(followed) - len(stopped)} never came within |eps|",
        word, f"[{low:.2f}, {high:.2f}] at {level:.0%}", len(followed), "images-time", SIGNAL,
        (case.cell.index, course.trial, course.width), late if word == "contradicted" else "",
    )  # fmt: skip


def _rungs(cases: Sequence[Case], level: float) -> PaperClaim | None:
    """How often any of the three certificates of a ball or a path holds, at the largest width."""
    own = [case for case in cases if case.run.name == SIGNAL]
    if not own:
        return None
    margins = [np.fmax.reduce([case.cell[name][:, :, -1] for name in RUNGS if name in case.cell]) for case in own]
    each = [
        (float(m), case, int(t))
        for case, margin in zip(own, margins, strict=True)
        for t, m in enumerate(margin.max(axis=0))
    ]
    top, case, trial = max(each, key=lambda one: one[0])
    holds, trials = sum(value > 1.0 for value, _, _ in each), len(each)
    low, high = (float(limit) for limit in clopper_pearson(holds, trials, level))
    word = "supported" if high <= CERTIFIED else "contradicted" if low > CERTIFIED else "undecided"
    width = int(case.cell.widths[-1])
    return PaperClaim(
        f"paper, trial or sharp certifies less than {CERTIFIED:g} of the signals at k = {width}, in either mode; "
        f"{holds} of {trials}, largest margin {top:.2g}",
        word, _share(holds, trials, level), trials, "images-time", SIGNAL, (case.cell.index, trial, width),
        "The observations are nearer to what networks generate than was expected." if word == "contradicted" else "",
    )  # fmt: skip


def _within(cases: Sequence[Case]) -> PaperClaim | None:
    """|y(t) - ybar| <= 2 |eps| from the discrepancy principle on: what theory §4 (ii) concludes, without its time."""
    seen = [(case, course) for case in cases for course in case.courses if course.stop >= 0]
    if not seen:
        return None
    ratios = [float(np.nanmax(course.observation[course.stop :])) / (2.0 * course.noise) for _, course in seen]
    at = int(np.argmax(ratios))
    case, course = seen[at]
    trials = len({(one.run.name, one.cell.index, other.trial) for one, other in seen})
    # the loss is stored to the relative tolerance of its integration, and never grows
    figure = "images-time" if case.run.name == SIGNAL else "images-pictures-time"
    broken = sum(ratio > 1.0 + 1e-4 for ratio in ratios)
    return PaperClaim(
        "|y(t) - ybar| <= 2 |eps| from the moment on at which |y(t) - y| <= |eps| (theory §4 ii, by the triangle "
        "inequality); "
        f"largest ratio of the two sides {ratios[at]:.2f}",
        "violated" if broken else f"not violated in {len(ratios)} trajectories", "", trials, figure, case.run.name,
        (case.cell.index, course.trial, course.width),
        f"{broken} trajectories are above by more than their integration allows: to be replayed." if broken else "",
    )  # fmt: skip


def _conserved(cases: Sequence[Case]) -> PaperClaim | None:
    """What zero loss in mode both demands of the part that was followed: no loss ends above its start."""
    own = [(case, c) for case in cases if "sigma_low" in case.cell for c in case.courses if c.mode == "both"]
    if not own:
        return None
    grew = sum(float(c.residual[c.last]) > float(c.residual[0]) for _, c in own)
    left = [float(c.residual[c.last] / c.residual[0]) for _, c in own]
    trials = len({(case.run.name, case.cell.index, c.trial) for case, c in own})
    case, course = own[int(np.argmax(left))]
    figure = "images-time" if case.run.name == SIGNAL else "images-pictures-time"
    return PaperClaim(
        "sigmoid, both layers: no loss ends above its start (necessary for zero loss from each start, theory §7.5, not "
        "sufficient); of |y(0) - y| there is left at the last saved time "
        f"{np.median(left):.1e} in the median, {max(left):.1e} at most (gradient descent of a picture ends with its "
        "budget)",
        "violated" if grew else f"not violated in {len(own)} trajectories", "", trials, figure,
        case.run.name, (case.cell.index, course.trial, course.width),
        f"The loss of {grew} trajectories grew: to be replayed." if grew else "",
    )  # fmt: skip


def _claims(cases: Sequence[Case], level: float) -> tuple[PaperClaim, ...]:
    found = (_early(cases, level), _rungs(cases, level), _within(cases), _conserved(cases))
    return tuple(claim for claim in found if claim is not None)


def _middle(values: Sequence[float]) -> str:
    there = [value for value in values if np.isfinite(value)]
    return f"{np.median(there):.1f}" if there else "–"


def _table(cases: Sequence[Case]) -> Table:
    """Decibels at the moments, medians over the trials."""
    rows = []
    for case in cases:
        for (mode, width), group in grouped(case.courses).items():
            stopped = [c for c in group if c.stop >= 0]
            factor = [float(c.recovery_bound[c.last] / c.in_range[c.last]) for c in group]
            moved = [float(c.in_kernel[c.last] / c.in_kernel[0]) for c in group if c.in_kernel[0] > 1e-9]
            rows.append((
                case.run.name, case.title, mode, str(width), f"{len(stopped)} of {len(group)}",
                _middle([c.at(0) for c in group]), _middle([c.at(c.stop_twice) for c in group]),
                _middle([c.at(c.stop) for c in group]), _middle([c.at(c.best) for c in group]),
                _middle([c.at(c.last) for c in group]), f"{np.median(factor):.3g}",
                f"{np.median(moved):.2f}" if moved else "no kernel",
            ))  # fmt: skip
    header = (
        "experiment", "problem", "mode", "width", "|ε| reached", "start (dB)", "2|ε| reached (dB)", "|ε| reached (dB)",
        "best (dB)", "end (dB)", "bound over error at the end", "kernel part, end over start",
    )  # fmt: skip
    return Table(
        "Peak signal-to-noise ratio at the moments of a trajectory: medians over the trials", header, tuple(rows)
    )


def _certificates(cases: Sequence[Case]) -> Table:
    """Margins as they were computed."""
    rows = []
    for case in cases:
        for mode in case.cell.modes:
            m = mode_index(case.cell, mode)
            for k, width in enumerate(case.cell.widths):
                margins = [f"{np.nanmax(case.cell[name][m, :, k]):.2g}" if name in case.cell else "–" for name in RUNGS]
                rows.append((case.run.name, case.title, mode, str(width), *margins, _floor(case, mode, k)))
    header = ("experiment", "problem", "mode", "width", "paper", "trial", "sharp", "conserved: smallest floor σ_low")
    return Table("Largest margin of each certificate over the trials; one that holds is above 1", header, tuple(rows))


def _floor(case: Case, mode: str, k: int) -> str:
    """The conserved floor in words: positive by theory, and below the smallest double where it is stored as 0."""
    if mode != "both" or "sigma_low" not in case.cell:
        return "–"
    low = float(np.nanmin(case.cell["sigma_low"][:, k]))
    return f"{low:.1e}" if low > 0.0 else "positive, below 1e-308"
