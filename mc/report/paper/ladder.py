"""The study "ladder": every rung from the explicit bound to convergence, and what each step between them costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.factors import Gap, Rung, gaps, rungs
from mc.estimate.cells.study import CellStudy
from mc.estimate.claims.run_findings import run_findings
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.support import at_least
from mc.estimate.widths.crossings import crossing_width
from mc.report.figures import Figure, Panel, ladder, mode_name
from mc.report.paper.section import (
    EMPTY,
    Limits,
    PaperClaim,
    Run,
    Runs,
    Section,
    Table,
    Texts,
    drawn,
    factor_words,
    together,
    within,
)
from mc.report.style import EVENT_LINES, INK, MUTED, ORANGE, Line, log_ticks
from mc.theory.codes import MODES

TEXTS = Texts("ladder")

WITHIN = (0.8, 1.25)
"""Measured over heuristic width of `exact`: what the hypothesis of the study allows."""

STEP = (6.0, 10.0)
"""Width of paper over that of trial, hidden layer trained, as it was expected at every size."""

PROMISE = 0.95
LARGE = 40
"""Sizes n from which paper was expected beyond the grid with both layers trained."""

LINES = EVENT_LINES | {"theory": Line(ORANGE, "v", (0, (1.5, 1.5)), "P_theory (paper form) reaches 1/2")}
LABELS = {"exact": "exact: zero loss is reached", "conserved": "conserved: every width"}
COSTS = {
    ("exact", "sharp"): "linearisation",
    ("conserved", "sharp"): "linearisation",
    ("sharp", "trial"): "ball, unobserved",
    ("trial", "paper"): "worst columns",
    ("paper", "theory"): "union bounds",
}
"""The steps in as few words as fit beside the first size (`mc.estimate.cells.factors.REASONS` in full)."""


@dataclass(frozen=True)
class Size:
    """One size of the problem, with the rungs of the ladder by mode."""

    run: Run
    study: CellStudy
    rungs: dict[str, tuple[Rung, ...]]

    @property
    def label(self) -> str:
        """The values of n and m."""
        problem = self.study.cell.problem
        return f"n = {problem['n']}, m = {problem['m']}"

    def gaps(self, mode: str) -> tuple[Gap, ...]:
        """Return the steps between neighbouring rungs of a mode."""
        return gaps(self.rungs.get(mode, ()))


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    # two intervals go into each factor: their joint confidence is that of the page
    level = 1.0 - (1.0 - runs.level) / 2.0
    sizes = tuple(
        Size(run, study, {mode: rungs(study, mode, level) for mode in study.cell.modes})
        for run in runs.by_name.values()
        for study in run.study.cells
        if study.trials
    )
    if not sizes:
        return EMPTY
    claims = (claim(sizes, runs.level) for claim in (_heuristic_claim, step_claim, _beyond_claim))
    return Section(
        verdict=_verdict(sizes),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=(medians_figure(sizes, level), *(_curves(size) for size in sizes)),
        tables=(
            _medians_table(sizes, level),
            TEXTS.table("gaps_table", sizes=sizes, modes=MODES, level=runs.level),
            _looseness_table(sizes, runs.level),
        ),
        meaning=_meaning(sizes),
    )


def _curves(size: Size) -> Figure:
    figure = ladder(size.study, size.run.study.level, size.run.study.simultaneous)
    panels = tuple(
        replace(panel, name=f"{size.run.name}-{mode}", alternative=f"{size.label}. {panel.alternative}")
        for panel, mode in zip(figure.panels, size.study.cell.modes, strict=False)
    )
    title = f"{size.label}: {figure.title[0].lower()}{figure.title[1:]}"
    return replace(figure, name=size.run.name, title=title, panels=panels)


def _medians_table(sizes: Sequence[Size], level: float) -> Table:
    rows = []
    for size in sizes:
        for mode, ladder_rungs in size.rungs.items():
            promised = {form: width for (trained, form), width in size.study.width_for.items() if trained == mode}
            bounds = [promised.get(form, math.nan) for form in ("trial", "paper")]
            rows += [(size, mode, rung, bounds) for rung in ladder_rungs]
    return TEXTS.table("medians_table", ladders=rows, level=level, promise=PROMISE)


def _looseness_table(sizes: Sequence[Size], level: float) -> Table:
    """Tabulate how much wider the network of the explicit bound is than what keeps the same promise."""
    rows = []
    for size in sizes:
        for (mode, form), promised in size.study.width_for.items():
            for event in dict.fromkeys((form, "exact" if mode == "hidden" else "conserved")):
                curve = size.study.curves.get((mode, event))
                if curve is None:
                    continue
                crossing = crossing_width(curve.widths, curve.counts, PROMISE, level, curve.method)
                on_grid = math.isfinite(crossing.estimate) and crossing.estimate > 0.0
                factor = promised / crossing.estimate if on_grid else math.nan
                rows.append((size, mode, form, promised, event, crossing, factor))
    return TEXTS.table("looseness_table", bounds=rows, promise=PROMISE)


def _heuristic_claim(sizes: Sequence[Size], level: float) -> PaperClaim | None:
    """Judge whether the median width of exact is near the heuristic (7.9) at every size."""
    measured = []
    for size in sizes:
        if ("hidden", "exact") in size.study.curves:
            # all sizes together (Bonferroni)
            study = replace(size.run.study, level=1.0 - (1.0 - level) / len(sizes))
            measured += [(size, row) for row in run_findings(study).findings if row.name == "half-width"]
    if not measured:
        return None
    worst, farthest = max(measured, key=lambda pair: max(pair[1].upper, 1.0 / max(pair[1].lower, 1e-9)))
    width = farthest.address[1] if farthest.address else int(worst.study.cell.widths[0])
    return TEXTS.claim(
        "heuristic_claim",
        verdict=within(((row.lower, row.upper), WITHIN) for _, row in measured),
        trials=sum(row.trials for _, row in measured),
        figure="ladder-medians",
        experiment=worst.run.name,
        address=(worst.study.cell.index, None, width),
        allowed=WITHIN,
        level=level,
        measured=[(size.label, row.lower, row.upper) for size, row in measured],
    )


def step_claim(sizes: Sequence[Size], level: float) -> PaperClaim | None:
    """Judge whether the step from trial to paper, hidden layer trained, is between 6 and 10 at every size."""
    steps = [
        (size, gap) for size in sizes for gap in size.gaps("hidden")
        if (gap.lower.name, gap.upper.name) == ("trial", "paper")
    ]  # fmt: skip
    if not steps:
        return None
    size, gap = max(steps, key=lambda step: abs(math.log(step[1].factor / 8.0)) if step[1].factor > 0.0 else 0.0)
    width = int(min(gap.lower.estimate if gap.lower.estimate > 0.0 else 1.0, float(gap.lower.top)))
    return TEXTS.claim(
        "step_claim",
        verdict=within((gap.interval, STEP) for _, gap in steps),
        trials=sum(size.study.trials for size, _ in steps),
        figure="ladder-medians",
        experiment=size.run.name,
        address=(size.study.cell.index, None, width),
        expected=STEP,
        level=level,
        steps=[(size.label, gap.interval) for size, gap in steps],
    )


def _beyond_claim(sizes: Sequence[Size], level: float) -> PaperClaim | None:
    """Judge whether paper with both layers is beyond the grid at the sizes from n = 40."""
    large = [
        (size, curve, Counts(curve.counts.fails[-1:], curve.counts.holds[-1:], curve.counts.undecided[-1:]))
        for size in sizes
        if (curve := size.study.curves.get(("both", "paper"))) is not None
        and size.study.cell.problem["n"] >= LARGE
        and curve.counts.trials[-1] > 0
    ]
    if not large:
        return None
    size, curve, _ = large[0]
    top = int(curve.widths[-1])
    return TEXTS.claim(
        "beyond_claim",
        verdict=together(str(at_least(last, [0.5], 1.0 - level, tests=len(large))[0]) for *_, last in large),
        trials=sum(int(last.trials[0]) for *_, last in large),
        figure="ladder-medians",
        experiment=size.run.name,
        address=(size.study.cell.index, None, top),
        n=LARGE,
        top=top,
        sizes=[(size.label, int(last.holds[0]), int(last.trials[0])) for size, _, last in large],
    )


@dataclass(frozen=True)
class Extremes:
    """The finest rung of one size and mode, the crudest one on the grid, and the rungs beyond the grid."""

    label: str
    finest: Rung
    crudest: Rung | None
    beyond: tuple[str, ...]

    @property
    def factor(self) -> float:
        """How many times wider the crudest rung is."""
        return math.nan if self.crudest is None else self.crudest.estimate / self.finest.estimate


def _extremes(size: Size, mode: str) -> Extremes | None:
    """Compare zero loss with the crudest rung on the grid; None where zero loss has no median width."""
    ladder_rungs = [rung for rung in size.rungs.get(mode, ()) if rung.name != "theory"]
    first = next(iter(size.rungs.get(mode, ())), None)
    if first is None or not math.isfinite(first.estimate) or first.estimate <= 0.0:
        return None
    seen = [rung for rung in ladder_rungs if math.isfinite(rung.estimate)]
    beyond = tuple(rung.name for rung in ladder_rungs if math.isinf(rung.estimate))
    return Extremes(size.label, first, seen[-1] if len(seen) > 1 else None, beyond)


def _verdict(sizes: Sequence[Size]) -> str:
    ends = sizes if len(sizes) == 1 else (sizes[0], sizes[-1])
    modes = [(mode, [e for size in ends if (e := _extremes(size, mode)) is not None]) for mode in MODES]
    return TEXTS.text("verdict", modes=[(mode, extremes) for mode, extremes in modes if extremes])


@dataclass(frozen=True)
class StepRange:
    """The factors of one step over the sizes: the ends of those on the grid, and lower limits beyond it by size."""

    ends: Limits | None
    beyond: tuple[tuple[str, float], ...]


def _step_range(sizes: Sequence[Size], mode: str, lower: str, upper: str) -> StepRange:
    gaps_of = [(size.label, gap) for size in sizes for gap in size.gaps(mode)]
    steps = [(label, gap) for label, gap in gaps_of if (gap.lower.name, gap.upper.name) == (lower, upper)]
    factors = [gap.factor for _, gap in steps if math.isfinite(gap.factor)]
    beyond = tuple(
        (label, gap.upper.top / gap.lower.estimate)
        for label, gap in steps
        if math.isinf(gap.upper.estimate) and 0.0 < gap.lower.estimate < math.inf
    )
    return StepRange((min(factors), max(factors)) if factors else None, beyond)


def _constants(sizes: Sequence[Size]) -> list[tuple[str, float]]:
    """Return by size what the Lipschitz constants alone explain of the step from trial to paper (from the margins)."""
    explained = []
    for size in sizes:
        trial, paper = (size.study.cell.data.get(f"margin_{name}") for name in ("trial", "paper"))
        if trial is None or paper is None or "hidden" not in size.study.cell.modes:
            continue
        mode = size.study.cell.modes.index("hidden")
        width = next((rung.estimate for rung in size.rungs["hidden"] if rung.name == "trial"), math.nan)
        if not (math.isfinite(width) and width > 0.0):
            continue
        column = int(np.argmin(np.abs(np.log(size.study.cell.widths / width))))
        ratio = np.nanmedian(trial[mode, :, column] / paper[mode, :, column])
        explained.append((size.label, float(ratio) ** 2))
    return explained


def _meaning(sizes: Sequence[Size]) -> tuple[str, ...]:
    steps = ("exact", "sharp"), ("sharp", "trial"), ("trial", "paper"), ("paper", "theory")
    ranges = {
        mode: {f"{lower}_{upper}": _step_range(sizes, mode, lower, upper) for lower, upper in steps} for mode in MODES
    }
    return TEXTS.paragraphs("meaning", **ranges, constants=_constants(sizes))


def _place(rung: Rung) -> float:
    """Return the width at which a rung is drawn: the end of the grid where it is beyond."""
    return float(rung.top) if math.isinf(rung.estimate) and rung.name != "theory" else rung.estimate


def _draw_rung(axes: Axes, name: str, line: Line, points: Sequence[tuple[int, Rung]]) -> None:
    axes.plot(
        [i for i, _ in points], [_place(rung) for _, rung in points], color=line.colour, linestyle=line.dash,
        linewidth=1.0, alpha=0.6,
    )  # fmt: skip
    for i, rung in points:
        if name != "theory":
            low, high = max(rung.interval[0], 1.0), min(rung.interval[1], float(rung.top))
            axes.vlines(i, low, high, color=line.colour, linewidth=3.0, alpha=0.35)
        beyond = math.isinf(rung.estimate)
        axes.plot(
            [i], [_place(rung)], color=line.colour, marker="$↑$" if beyond else line.marker,
            markersize=8.0 if beyond else 5.5, linestyle="none", markeredgewidth=0,
        )  # fmt: skip
    axes.plot([], [], color=line.colour, marker=line.marker, linestyle=line.dash, label=LABELS.get(name, line.label))


def _label_gaps(axes: Axes, column: int, steps: Sequence[Gap]) -> None:
    """Write the factor of each step beside a size, and what it costs beside the first one."""
    for gap in steps:
        low, high = _place(gap.lower), _place(gap.upper)
        if not (low > 0.0 and math.isfinite(high) and math.isfinite(gap.factor)):
            continue
        labels = [(factor_words(gap.factor), 5, "left", INK)]
        if column == 0:
            labels.insert(0, (COSTS.get((gap.lower.name, gap.upper.name), ""), -6, "right", MUTED))
        for label, offset, side, colour in labels:
            axes.annotate(
                label, (column, math.sqrt(low * high)), xytext=(offset, 0), textcoords="offset points", ha=side,
                va="center", fontsize=8.0, color=colour,
            )  # fmt: skip


def medians_figure(sizes: Sequence[Size], level: float) -> Figure:
    """Draw the median widths of all rungs at every size, one panel per mode; `level` is that of each width."""
    panels: list[Panel] = []
    for mode in dict.fromkeys(mode for size in sizes for mode in size.rungs):
        ladders = [(size.label, size.rungs[mode]) for size in sizes if mode in size.rungs]
        words = TEXTS.text("medians_panel", mode=mode, ladders=ladders)
        with drawn(
            panels, f"ladder-medians-{mode}", words, height=4.3, ncols=2, handlelength=2.4, columnspacing=1.2
        ) as axes:
            for name, line in LINES.items():
                points = [(i, r) for i, size in enumerate(sizes) for r in size.rungs.get(mode, ()) if r.name == name]
                points = [(i, rung) for i, rung in points if rung.estimate > 0.0 and math.isfinite(_place(rung))]
                if points:
                    _draw_rung(axes, name, line, points)
            for column, size in enumerate(sizes):
                _label_gaps(axes, column, size.gaps(mode))
            axes.set_yscale("log")
            log_ticks(axes, "y")
            axes.set_xlim(-1.25, len(sizes) - 1 + 0.55)
            axes.set_xticks(range(len(sizes)), [size.label.replace(", ", "\n") for size in sizes])
            axes.set_ylabel("median width (neurons, log scale)")
            axes.grid(axis="x", color=MUTED, alpha=0.15)
            axes.set_title(mode_name(mode).capitalize())
    rows = [
        (size.label, mode, rung.name, rung.estimate, *rung.interval, rung.top)
        for size in sizes
        for mode, ladder_rungs in size.rungs.items()
        for rung in ladder_rungs
    ]
    columns = ("size", "mode", "rung", "median_width", "low", "high", "grid_top")
    return TEXTS.figure("ladder-medians", "medians_figure", panels, columns, rows, level=level)
