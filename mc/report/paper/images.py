"""The study of pictures: what early stopping and the certificates say of a recovered signal, and what they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mc.estimate.flows.recovery import Course, courses, truth_of
from mc.estimate.probability.counts import mode_index
from mc.estimate.probability.intervals import clopper_pearson
from mc.experiment.experiment import Experiment
from mc.model.arrays import Array
from mc.report.figures import Figure, mode_name
from mc.report.paper.images_figure import TEXTS, Shown, courses_figure, grouped, sheet_figure, signals_figure
from mc.report.paper.section import EMPTY, Address, PaperClaim, Run, Runs, Section, Table, within
from mc.store.results import CellResults

SIGNAL, PICTURES = "images-signal", ("images-blur", "images-phantom")
OPERATORS = {"blur": "Blur", "mask": "Half observed"}
RUNGS = ("paper", "trial", "sharp")

SHARE, CERTIFIED = 0.5, 0.1
"""Expected before the run: at least this share of the trials of a blur is stopped before its best moment, and the
probability of a certificate stays below this one."""


def _title(operator: str) -> str:
    """Return the name of an operator as a title begins."""
    return OPERATORS.get(operator, operator)


@dataclass(frozen=True)
class Case:
    """A cell of a run with its trajectories."""

    run: Run
    cell: CellResults
    spec: Mapping[str, Any]  # the resolved [problem] values, with the paths of its files
    words: tuple[int, int]  # of the cell's id
    seed: int
    courses: tuple[Course, ...]

    @property
    def operator(self) -> str:
        """Name of the operator."""
        return str(self.cell.problem["operator"])

    @property
    def title(self) -> str:
        """The operator as a title begins, and the norm of the noise relative to that of A xbar."""
        return f"{_title(self.operator)}, noise {float(self.cell.problem['noise']):g}"

    @property
    def name(self) -> str:
        """Part of a file name."""
        return f"{self.operator}-{float(self.cell.problem['noise']):g}".replace(".", "_")

    @property
    def figure(self) -> str:
        """The figure that shows the trajectories over time."""
        return "images-time" if self.run.name == SIGNAL else "images-pictures-time"

    @cached_property
    def widest(self) -> tuple[Course, ...]:
        """Trajectories of the largest width, with both layers trained where there are any: one for each trial."""
        mode = "both" if "both" in self.cell.modes else self.cell.modes[0]
        trained = [course for course in self.courses if course.mode == mode]
        top = max((course.width for course in trained), default=0)
        return tuple(course for course in trained if course.width == top)

    def shown(self, course: Course, name: str, title: str) -> Shown:
        """Return a trajectory with its signals and its truth."""
        width = int(np.searchsorted(self.cell.flow_widths, course.width))
        place = (mode_index(self.cell, course.mode), course.trial, width)
        truth = truth_of(self.spec, self.seed, self.words, course.trial)
        return Shown(name, title, course, truth, self.cell["signal"][place])

    def margin(self, rung: str, mode: str, k: int) -> float | None:
        """Return the largest margin of a rung at the k-th width over the trials; None where it was not computed."""
        name = f"margin_{rung}"
        return float(np.nanmax(self.cell[name][mode_index(self.cell, mode), :, k])) if name in self.cell else None

    def floor(self, mode: str, k: int) -> float | None:
        """Return the smallest conserved floor at the k-th width: positive by theory, stored as 0 below 1e-308."""
        return float(np.nanmin(self.cell["sigma_low"][:, k])) if mode == "both" and "sigma_low" in self.cell else None

    def address(self, course: Course) -> Address:
        """Return where a trajectory is computed again."""
        return self.cell.index, course.trial, course.width


def section(runs: Runs) -> Section:
    """Write the section of the study, from as many of its runs as exist."""
    by_run = {name: _cases(runs[name]) for name in (SIGNAL, *PICTURES) if name in runs.by_name}
    cases = [case for run_cases in by_run.values() for case in run_cases]
    if not cases:
        return EMPTY
    claims = _early_claim(cases, runs.level), _rungs_claim(cases, runs.level), _within_claim(cases), _falls_claim(cases)
    return Section(
        verdict=verdict(cases),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=tuple(_figures(by_run)),
        tables=(_moments_table(cases), TEXTS.table("certificates_table", cases=cases, rungs=RUNGS)),
        meaning=_meaning(cases),
    )


def _cases(run: Run) -> tuple[Case, ...]:
    """Return the cells of a run that have trajectories with signals."""
    results = run.results
    experiment = Experiment.from_text(results.experiment_text, str(results.path), reading=True)
    cases = []
    for cell in results.cells:
        drawn = experiment.cells()[cell.index]
        trajectories = courses(cell, drawn.problem, experiment.seed, drawn.id, str(experiment.document.loss.kind))
        if trajectories and "signal" in cell:
            cases.append(Case(run, cell, drawn.problem, drawn.id, experiment.seed, trajectories))
    return tuple(cases)


def _figures(by_run: Mapping[str, Sequence[Case]]) -> Iterator[Figure]:
    if signals := by_run.get(SIGNAL, ()):
        first, operators = signals[0].widest[0], dict.fromkeys(case.operator for case in signals)
        shown = [case.shown(case.widest[0], case.name, case.title) for case in signals]
        yield signals_figure("images-signals", shown, TEXTS.text("signals_title", mode=first.mode, width=first.width))
        yield courses_figure(
            "images-time",
            [(case.name, case.title, case.courses) for case in signals],
            TEXTS.text("time_title", losses=[(_title(name), _lost(signals, name)) for name in operators]),
        )
    pictures = [case for name in PICTURES for case in by_run.get(name, ())]
    for name in PICTURES:
        if cases := by_run.get(name, ()):
            side = round(float(cases[0].cell.problem["n"]) ** 0.5)
            sheets = [_sheet(case, width) for case in cases for width in sorted({c.width for c in case.courses})]
            best = [course.at(course.best) for case in cases for course in case.courses]
            ends = dict.fromkeys(f"{end:.1f}" for end in (min(best), max(best)))
            title = TEXTS.text("sheet_title", operator=_title(cases[0].operator), ends=ends)
            yield sheet_figure(name, sheets, side, title)
    if pictures:
        panels = [(f"picture-{case.name}", f"Picture: {case.title}", case.courses) for case in pictures]
        yield courses_figure("images-pictures-time", panels, TEXTS.text("pictures_title"))


def _lost(cases: Sequence[Case], operator: str) -> float:
    """Return the median of the decibels lost from the best moment to the end, of the widest networks."""
    return float(np.median([c.at(c.best) - c.at(c.last) for c in _widest(cases, operator)]))


def _sheet(case: Case, width: int) -> Shown:
    course = next(course for course in case.courses if course.width == width)
    return case.shown(course, f"{case.name}-{width}", f"{case.title}, {mode_name(course.mode)}, k = {width}")


def _exact_limits(holds: int, trials: int, level: float) -> tuple[float, float]:
    low, high = clopper_pearson(holds, trials, level)
    return float(low), float(high)


def _early_claim(cases: Sequence[Case], level: float) -> PaperClaim | None:
    """Judge whether the discrepancy principle stops before the best moment; one trajectory for each trial."""
    blurred = [case for case in cases if case.operator == "blur" and case.run.name == SIGNAL]
    followed = [(case, course) for case in blurred for course in case.widest]
    stopped = [(case, course) for case, course in followed if course.stop >= 0]
    if not stopped:
        return None
    early, never = sum(course.stop <= course.best for _, course in stopped), len(followed) - len(stopped)
    # a trajectory that never comes within the noise may count on either side
    limits = _exact_limits(early, len(followed), level)[0], _exact_limits(early + never, len(followed), level)[1]
    case, course = max(stopped, key=lambda pair: pair[1].at(pair[1].best) - pair[1].at(pair[1].stop))
    return TEXTS.claim(
        "early_claim",
        verdict=within([(limits, (SHARE, np.inf))]),
        trials=len(followed),
        figure="images-time",
        experiment=SIGNAL,
        address=case.address(course),
        share=SHARE,
        early=early,
        never=never,
        followed=len(followed),
        limits=limits,
        level=level,
    )


def _rungs_claim(cases: Sequence[Case], level: float) -> PaperClaim | None:
    """Judge how often any of the three certificates of a ball or a path holds, at the largest width."""
    margins = []
    for case in (case for case in cases if case.run.name == SIGNAL):
        of_rungs = [case.cell[f"margin_{name}"][:, :, -1] for name in RUNGS if f"margin_{name}" in case.cell]
        margins += [(float(m), case, trial) for trial, m in enumerate(np.fmax.reduce(of_rungs).max(axis=0))]
    if not margins:
        return None
    top, case, trial = max(margins, key=lambda margin: margin[0])
    holds = sum(margin > 1.0 for margin, *_ in margins)
    limits, width = _exact_limits(holds, len(margins), level), int(case.cell.widths[-1])
    return TEXTS.claim(
        "rungs_claim",
        verdict=within([(limits, (-np.inf, CERTIFIED))]),
        trials=len(margins),
        figure="images-time",
        experiment=SIGNAL,
        address=(case.cell.index, trial, width),
        certified=CERTIFIED,
        width=width,
        holds=holds,
        total=len(margins),
        top=top,
        limits=limits,
        level=level,
    )


def _never_violated(
    block: str, pairs: Sequence[tuple[Case, Course]], tightest: int, broken: int, **numbers: Any
) -> PaperClaim:
    """Make the claim of a statement that no trajectory may violate."""
    case, course = pairs[tightest]
    return TEXTS.claim(
        block,
        verdict="violated" if broken else f"not violated in {len(pairs)} trajectories",
        trials=len({(case.run.name, case.cell.index, course.trial) for case, course in pairs}),
        figure=case.figure,
        experiment=case.run.name,
        address=case.address(course),
        broken=broken,
        **numbers,
    )


def _within_claim(cases: Sequence[Case]) -> PaperClaim | None:
    """Judge |y(t) - ybar| <= 2 |eps| from the discrepancy principle on: the conclusion of theory §4 (ii)."""
    stopped = [(case, course) for case in cases for course in case.courses if course.stop >= 0]
    if not stopped:
        return None
    ratios = [float(np.nanmax(course.observation[course.stop :])) / (2.0 * course.noise) for _, course in stopped]
    # the loss is stored to the relative tolerance of its integration, and never grows
    broken = sum(ratio > 1.0 + 1e-4 for ratio in ratios)
    return _never_violated("within_claim", stopped, int(np.argmax(ratios)), broken, largest=max(ratios))


def _falls_claim(cases: Sequence[Case]) -> PaperClaim | None:
    """Judge that no loss ends above its start: zero loss in mode both demands it of the part that was followed."""
    pairs = [(case, c) for case in cases if "sigma_low" in case.cell for c in case.courses if c.mode == "both"]
    if not pairs:
        return None
    left = [float(c.residual[c.last] / c.residual[0]) for _, c in pairs]
    grew = sum(float(c.residual[c.last]) > float(c.residual[0]) for _, c in pairs)
    middle, most = float(np.median(left)), max(left)
    return _never_violated("falls_claim", pairs, int(np.argmax(left)), grew, median=middle, most=most)


def _moments_table(cases: Sequence[Case]) -> Table:
    """Tabulate the decibels at the moments of a trajectory, medians over the trials."""

    def middle(values: Sequence[float]) -> str:
        finite = [value for value in values if np.isfinite(value)]
        return f"{np.median(finite):.1f}" if finite else "–"

    rows = []
    for case in cases:
        for (mode, width), group in grouped(case.courses).items():
            moments = zip(*((0, c.stop_twice, c.stop, c.best, c.last) for c in group), strict=True)
            decibels = [middle([c.at(index) for c, index in zip(group, moment, strict=True)]) for moment in moments]
            bound = np.median([float(c.recovery_bound[c.last] / c.in_range[c.last]) for c in group])
            moved = [float(c.in_kernel[c.last] / c.in_kernel[0]) for c in group if c.in_kernel[0] > 1e-9]
            reached = f"{sum(c.stop >= 0 for c in group)} of {len(group)}"
            kernel = f"{np.median(moved):.2f}" if moved else "no kernel"
            rows.append((case.run.name, case.title, mode, str(width), reached, *decibels, f"{bound:.3g}", kernel))
    return TEXTS.table("moments_table", rows)


def _widest(cases: Sequence[Case], operator: str) -> list[Course]:
    return [course for case in cases if case.operator == operator for course in case.widest]


def verdict(cases: Sequence[Case]) -> str:
    """Write the answer in two or three sentences."""
    operators = []
    for operator, name in OPERATORS.items():
        if trajectories := _widest(cases, operator):
            stopped = [c.at(c.stop) for c in trajectories if c.stop >= 0]
            best, end = np.median([(c.at(c.best), c.at(c.last)) for c in trajectories], axis=0)
            operators.append((name, np.median(stopped) if stopped else None, best, end))
    blurred = [c for c in _widest(cases, "blur") if c.stop >= 0]
    early = sum(c.stop <= c.best for c in blurred)
    return TEXTS.text("verdict", operators=operators, stopped=len(blurred), early=early)


def _kernel(cases: Sequence[Case]) -> Mapping[str, float] | None:
    """Return by how much the kernel part of the error moved, and its share of the squared error at the end."""
    masked = [c for c in _widest(cases, "mask") if c.in_kernel[0] > 0.0]
    if not masked:
        return None
    share = [float(c.in_kernel[c.last] ** 2 / (c.in_kernel[c.last] ** 2 + c.in_range[c.last] ** 2)) for c in masked]
    moved = [abs(float(c.in_kernel[c.last] / c.in_kernel[0]) - 1.0) for c in masked]
    return {"moved": float(np.median(moved)), "share": float(np.median(share))}


def _range(cases: Sequence[Case]) -> Mapping[str, float] | None:
    """Return the largest factors of the noise that theory (6.2) allows, and the median one at the end of training."""
    blurred = _widest(cases, "blur")
    if not blurred:
        return None
    worst = [1.0 / c.sigma_A for c in blurred]
    gain = float(np.median([float(c.in_range[c.last] / c.noise) for c in blurred]))
    return {"least": min(worst), "most": max(worst), "gain": gain}


def _pooled(cases: Sequence[Case], values: Callable[[Case], Array]) -> Array:
    return np.concatenate([values(case).ravel() for case in cases] or [np.empty(0)])


def _conserved(cases: Sequence[Case]) -> Mapping[str, Any] | None:
    """Return the floors of the certificate conserved, and the time that they promise beside the measured one."""
    certified = [case for case in cases if "sigma_low" in case.cell and "both" in case.cell.modes]
    stops = [float(c.time[c.stop]) for case in certified for c in case.courses if c.mode == "both" and c.stop >= 0]
    floors = _pooled(certified, lambda case: case.cell["sigma_low"])
    sigma_A = _pooled(certified, lambda case: np.repeat(case.cell["sigma_A"], len(case.cell.widths)))
    if not (floors.size and stops):
        return None
    # logarithms: the square of a floor is often below the smallest positive number
    with np.errstate(divide="ignore"):
        promised = float(np.median(-2.0 * (np.log10(sigma_A) + np.log10(floors))))
    return {
        "floors": floors,
        "median": np.median(floors),
        "lost": int((floors == 0.0).sum()),
        "promised": promised if np.isfinite(promised) else None,
        "measured": float(np.median(stops)),
    }


def _meaning(cases: Sequence[Case]) -> tuple[str, ...]:
    margins = _pooled([case for case in cases if "margin_sharp" in case.cell], lambda case: case.cell["margin_sharp"])
    hidden = [c for case in cases for c in case.courses if c.mode == "hidden"]
    return TEXTS.paragraphs(
        "meaning",
        conserved=_conserved(cases),
        margins=margins[np.isfinite(margins)].tolist(),
        certified=int((margins > 1.0).sum()),
        hidden=len(hidden),
        never=sum(c.stop < 0 for c in hidden),
        range=_range(cases),
        kernel=_kernel(cases),
    )
