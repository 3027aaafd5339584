"""The study "activations": the ladder for other activations and output laws, and where training gets stuck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mc.estimate.cells.factors import Rung, rungs
from mc.estimate.flows.stuck import Stuck, exact_counts, stuck
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import at_least
from mc.report.figures import Figure, Panel, mode_name
from mc.report.paper.section import (
    EMPTY,
    PaperClaim,
    Run,
    Runs,
    Section,
    Table,
    Texts,
    drawn,
    together,
    within,
)
from mc.report.style import BLUE, EVENT_LINES, GREEN, MUTED, VERMILLION, log_ticks, log_width_axis

TEXTS = Texts("activations")
STUCK = "activations-stuck-"
RUNGS = ("exact", "conserved", "sharp", "trial", "paper")
COLOURS = (BLUE, VERMILLION, GREEN)
MARKERS = "os^"

RARE = 0.05
"""Share of stuck draws below which a width counts as safe."""

FEWER = (3.0, 5.0)
"""How many times fewer neurons tanh and arctan were expected to need than sigmoid."""


@dataclass(frozen=True)
class Ensemble:
    """An activation and a law of the output weights, with the rungs of the ladder by mode."""

    activation: str
    law: str
    trials: int
    rungs: Mapping[str, tuple[Rung, ...]]

    @property
    def label(self) -> str:
        """Both names."""
        return f"{self.activation}, {self.law}"

    def rung(self, mode: str, name: str) -> Rung | None:
        """Return one rung of the ladder."""
        return next((rung for rung in self.rungs.get(mode, ()) if rung.name == name), None)


@dataclass(frozen=True)
class Boxed:
    """A run of an activation whose neurons cannot cross a zero of the derivative."""

    run: Run
    endings: tuple[Stuck, ...]  # how the trajectories ended, by mode
    counts: Counts | None  # draws that can reach zero loss, by width, hidden layer trained

    @property
    def name(self) -> str:
        """The activation."""
        return self.run.name.removeprefix(STUCK)

    @property
    def widths(self) -> np.ndarray:
        """The widths of the counts."""
        return np.asarray(self.run.study.cells[0].cell.widths)


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    level = 1.0 - (1.0 - runs.level) / 2.0
    present = {name: run for name, run in runs.by_name.items() if run.study.cells}
    ensembles = {
        name: ensemble
        for name, run in present.items()
        if not name.startswith(STUCK) and (ensemble := _ensemble(run, level)) is not None
    }
    boxed = [_boxed(run) for name, run in present.items() if name.startswith(STUCK)]
    counted = [(one, one.counts) for one in boxed if one.counts is not None]
    if not ensembles and not counted:
        return EMPTY
    figures: list[Figure] = []
    tables: list[Table] = []
    if ensembles:
        figures.append(medians_figure(list(ensembles.values()), level))
        ladders = list(ensembles.values())
        tables.append(TEXTS.table("medians_table", ensembles=ladders, rungs=RUNGS, level=level))
    if counted:
        figures.append(stuck_figure(counted, runs.level))
        tables += [TEXTS.table("stuck_table", boxed=boxed), TEXTS.table("examples_table", boxed=boxed)]
    claims = (
        _ratio_claim(ensembles, runs.level), _gaussian_claim(ensembles, level), _safe_claim(counted, runs.level)
    )  # fmt: skip
    return Section(
        verdict=_verdict(list(ensembles.values()), counted),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=tuple(figures),
        tables=tuple(tables),
        meaning=_meaning(list(ensembles.values()), boxed),
    )


def _ensemble(run: Run, level: float) -> Ensemble | None:
    cell = next((cell for cell in run.study.cells if cell.trials), None)
    if cell is None:
        return None
    network = run.study.experiment["network"]
    by_mode = {
        mode: tuple(rung for rung in rungs(cell, mode, level) if rung.name != "theory") for mode in cell.cell.modes
    }
    trials = run.study.cells[0].trials
    return Ensemble(network.get("activation", "sigmoid"), network.get("output_law", "uniform"), trials, by_mode)


def _boxed(run: Run) -> Boxed:
    cell = run.study.cells[0].cell
    endings = (stuck(cell, mode) for mode in cell.modes)
    return Boxed(run, tuple(ending for ending in endings if ending is not None), exact_counts(cell))


def _ratio_claim(ensembles: Mapping[str, Ensemble], level: float) -> PaperClaim | None:
    """Judge how many times fewer neurons tanh and arctan need than sigmoid: exact widths, law by law."""
    sigmoid = {e.law: e.rung("hidden", "exact") for e in ensembles.values() if e.activation == "sigmoid"}
    factors = []
    for name, ensemble in ensembles.items():
        rung, base = ensemble.rung("hidden", "exact"), sigmoid.get(ensemble.law)
        if ensemble.activation not in ("tanh", "arctan") or rung is None or base is None or not rung.estimate > 0.0:
            continue
        low = base.interval[0] / rung.interval[1] if math.isfinite(rung.interval[1]) else 0.0
        factors.append((name, ensemble, rung, (low, base.interval[1] / max(rung.interval[0], 1.0))))
    if not factors:
        return None
    outside = [factor for factor in factors if factor[-1][1] < FEWER[0] or factor[-1][0] > FEWER[1]]
    name, _, rung, _ = (outside or factors)[0]
    compared = ("sigmoid", "tanh", "arctan")
    return TEXTS.claim(
        "ratio_claim",
        verdict=within((limits, FEWER) for *_, limits in factors),
        trials=sum(ensemble.trials for ensemble in ensembles.values() if ensemble.activation in compared),
        figure="activations-medians",
        experiment=name,
        address=(0, None, round(rung.estimate) if math.isfinite(rung.estimate) else rung.top),
        fewer=FEWER,
        level=level,
        factors=[(ensemble.label, limits) for _, ensemble, _, limits in factors],
    )


def _gaussian_claim(ensembles: Mapping[str, Ensemble], level: float) -> PaperClaim | None:
    """Judge whether trial certifies half of the draws on the grid although the weights are Gaussian."""
    medians = [
        (name, ensemble, mode, rung)
        for name, ensemble in ensembles.items() if ensemble.law == "gaussian"
        for mode in ensemble.rungs if (rung := ensemble.rung(mode, "trial")) is not None
    ]  # fmt: skip
    if not medians:
        return None
    # open at both ends is no information; beyond the grid for certain is a contradiction
    beyond = [median for median in medians if median[-1].interval[0] >= median[-1].top]
    reached = all(math.isfinite(rung.interval[1]) for *_, rung in medians)
    name, _, _, rung = (beyond or medians)[0]
    return TEXTS.claim(
        "gaussian_claim",
        verdict="contradicted" if beyond else "supported" if reached else "undecided",
        trials=sum({name: ensemble.trials for name, ensemble, *_ in medians}.values()),
        figure="activations-medians",
        experiment=name,
        address=(0, None, rung.top if math.isinf(rung.estimate) else round(max(rung.estimate, 1.0))),
        level=level,
        medians=[(ensemble.activation, mode, rung.interval) for _, ensemble, mode, rung in medians],
    )


def _safe_claim(counted: Sequence[tuple[Boxed, Counts]], level: float) -> PaperClaim | None:
    """Judge whether at most 5 % of the draws get stuck at the largest width."""
    tested = [(one, counts) for one, counts in counted if counts.trials[-1] > 0]
    if not tested:
        return None
    last = [Counts(counts.holds[-1:], counts.fails[-1:], counts.undecided[-1:]) for _, counts in tested]
    verdicts = [str(at_least(counts, [1.0 - RARE], 1.0 - level, tests=len(tested))[0]) for counts in last]
    verdict = together(verdicts)
    run = tested[verdicts.index(verdict)][0].run
    width = int(run.study.cells[0].cell.widths[-1])
    return TEXTS.claim(
        "safe_claim",
        verdict=verdict,
        trials=sum(int(counts.trials[0]) for counts in last),
        figure="activations-stuck",
        experiment=run.name,
        address=(0, None, width),
        width=width,
        rare=RARE,
        level=level,
        stuck=[(one.name, counts.fails[0], counts.trials[0]) for (one, _), counts in zip(tested, last, strict=True)],
    )


def _meaning(ensembles: Sequence[Ensemble], boxed: Sequence[Boxed]) -> tuple[str, ...]:
    uniform = [ensemble for ensemble in ensembles if ensemble.law == "uniform"]
    endings = [(one, ending) for one in boxed for ending in one.endings]

    def total(mode: str, key: str) -> int:
        return sum(int(getattr(ending, key).sum()) for _, ending in endings if ending.mode == mode)

    return TEXTS.paragraphs(
        "meaning",
        exact=[(e.activation, rung.estimate, rung.top) for e in uniform if (rung := e.rung("hidden", "exact"))],
        hidden=any(ending.mode == "hidden" for _, ending in endings),
        widest=[(one.name, *ending.examples[0]) for one, ending in endings if ending.examples],
        broken=total("hidden", "broken"),
        checked=total("hidden", "checked"),
        arrived=total("both", "arrived"),
        trained=total("both", "trials"),
    )


def _ordered(ladder: Sequence[Rung]) -> bool:
    """Return whether no rung comes before one that it implies, as far as the grid goes."""
    widths = [rung.estimate for rung in ladder if not math.isnan(rung.estimate)]
    return widths == sorted(widths)


def _verdict(ensembles: Sequence[Ensemble], counted: Sequence[tuple[Boxed, Counts]]) -> str:
    sharp = []
    for mode in ("hidden", "both"):
        medians = [rung.estimate for ensemble in ensembles if (rung := ensemble.rung(mode, "sharp"))]
        if on_grid := [median for median in medians if 0 < median < math.inf]:
            sharp.append((mode, min(on_grid), max(on_grid)))
    if not sharp and not counted:
        return EMPTY.verdict
    ladders = [ladder for ensemble in ensembles for ladder in ensemble.rungs.values()]
    last = [(one.name, max((int(k) for k in one.widths[counts.fails > 0]), default=None)) for one, counts in counted]
    return TEXTS.text("verdict", ordered=sum(map(_ordered, ladders)), ladders=len(ladders), sharp=sharp, last=last)


def _draw(axes: Axes, ensembles: Sequence[Ensemble], mode: str) -> None:
    for name, line in EVENT_LINES.items():
        labelled = False
        for i, ensemble in enumerate(ensembles):
            rung = ensemble.rung(mode, name)
            if rung is None or math.isnan(rung.estimate):
                continue
            beyond = math.isinf(rung.estimate)
            x = float(rung.top) if beyond else max(rung.estimate, 1.0)
            if not beyond:
                ends = (max(rung.interval[0], 1.0), min(rung.interval[1], float(rung.top)))
                axes.hlines(i, *ends, color=line.colour, linewidth=3.0, alpha=0.35)
            axes.plot(
                [x], [i], color=line.colour, marker="$→$" if beyond else line.marker,
                markersize=8.0 if beyond else 5.0, linestyle="none", markeredgewidth=0,
                label=None if labelled or beyond else line.label,
            )  # fmt: skip
            labelled = labelled or not beyond
    for i in range(1, len(ensembles)):
        if ensembles[i].activation != ensembles[i - 1].activation:
            axes.axhline(i - 0.5, color=MUTED, linewidth=0.6)
    axes.set_xscale("log")
    log_ticks(axes, "x")
    axes.set_yticks(range(len(ensembles)), [ensemble.label for ensemble in ensembles])
    axes.invert_yaxis()
    axes.set_xlabel("median width (neurons, log scale)")


def medians_figure(ensembles: Sequence[Ensemble], level: float) -> Figure:
    """Draw the median width of every rung: one row for each activation and law, one panel per mode."""
    panels: list[Panel] = []
    rows: list[Sequence[object]] = []
    for mode in dict.fromkeys(mode for ensemble in ensembles for mode in ensemble.rungs):
        words = TEXTS.text("medians_panel", mode=mode, ladders=[(e.label, e.rungs.get(mode, ())) for e in ensembles])
        with drawn(panels, f"activations-medians-{mode}", words, height=4.6, ncols=2, handlelength=1.2) as axes:
            _draw(axes, ensembles, mode)
            axes.set_title(mode_name(mode).capitalize())
        rows += [
            (ensemble.activation, ensemble.law, mode, rung.name, rung.estimate, *rung.interval, rung.top)
            for ensemble in ensembles
            for rung in ensemble.rungs.get(mode, ())
        ]
    columns = ("activation", "law", "mode", "rung", "median_width", "low", "high", "grid_top")
    return TEXTS.figure("activations-medians", "medians_figure", panels, columns, rows, level=level)


def stuck_figure(counted: Sequence[tuple[Boxed, Counts]], level: float) -> Figure:
    """Draw the share of the draws that cannot reach zero loss, hidden layer trained, against the width.

    The limits hold at the given level over all widths of a curve together.
    """
    panels: list[Panel] = []
    rows: list[Sequence[object]] = []
    words = TEXTS.text("stuck_panel", activations=[one.name for one, _ in counted])
    with drawn(panels, "activations-stuck-hidden", words, height=3.9, ncols=3) as axes:
        for i, (one, counts) in enumerate(counted):
            k, fails, either, trials = (
                np.asarray(values)[counts.trials > 0]
                for values in (one.widths, counts.fails, counts.fails + counts.undecided, counts.trials)
            )
            low, high = get_method("clopper-pearson").two_sided(fails, either, trials, (1.0 - level) / max(len(k), 1))
            axes.fill_between(k, low, high, color=COLOURS[i % 3], alpha=0.14, linewidth=0)
            axes.plot(
                k, fails / trials, color=COLOURS[i % 3], marker=MARKERS[i % 3], markersize=4.5, linewidth=1.3,
                markeredgewidth=0, label=one.name,
            )  # fmt: skip
            rows += zip([one.name] * len(k), k, trials, fails, either - fails, low, high, strict=True)
        widths = counted[0][0].widths
        log_width_axis(axes, widths[0], widths[-1])
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("share of the draws that get stuck")
        axes.set_title("Hidden layer trained: zero loss is out of reach")
    columns = ("activation", "width", "trials", "stuck", "undecided", "lower", "upper")
    return TEXTS.figure("activations-stuck", "stuck_figure", panels, columns, rows)
