"""The study of noise: early stopping against its bound, the signal error, and what is not observed (theory §4, §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from mc.estimate.flows.error_bands import Settled, Stops, band, common_times, settled, stopping_bound, stops
from mc.estimate.flows.losses import Median, Saved, loss_of, median_of, saved_of
from mc.estimate.numbers import spaced
from mc.model.arrays import Array
from mc.model.losses import Loss
from mc.report.figures import Figure, Panel, mode_name
from mc.report.paper.section import EMPTY, Address, PaperClaim, Runs, Section, Table, Texts, drawn, together, within
from mc.report.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, VERMILLION, log_ticks

TEXTS = Texts("noise")
LEVELS, BOUND, KERNEL = "noise-levels", "noise-bound", "noise-kernel"
RULES = {"last": "at the end", "stopped": "stopped at |y(t) − y| ≤ |ε|", "best": "least on the way"}
QUANTILES = (0.05, 0.5, 0.95)

LOOSENESS, GAIN, KEPT = 4.0, 2.0, 0.9
"""Expected before the run: bound over measured time, last over best error, kernel part at the end over start."""

LOOKS = ((BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"), (ORANGE, (0, (6, 2)), "v"))
LEGEND = {"handlelength": 2.8, "columnspacing": 1.4}
GRID = 60


@dataclass(frozen=True)
class Ended:
    """The signal errors of the trajectories of one mode and width, where three rules stop."""

    tracks: Saved
    stops: Stops

    @property
    def condition(self) -> float:
        """Condition number of the operator."""
        return float(self.tracks.cell.problem["condition"])

    @property
    def noise(self) -> float:
        """Norm of the noise relative to that of the observation."""
        return float(self.tracks.cell.problem["noise"])

    @property
    def over_least_squares(self) -> float:
        """Median of the last error over |eps|/sigma_A."""
        return float(np.nanmedian(self.stops.last * self.tracks["sigma_A"] / self.tracks["norm_eps"]))

    @property
    def certified(self) -> int:
        """Number of draws for which sharp holds."""
        return int(np.isfinite(self.tracks.promised("sharp")).sum())

    def over(self, rule: str, level: float) -> Median:
        """Return the median of the last error over that of another rule."""
        ratio = self.stops.last / getattr(self.stops, rule)
        return median_of(ratio, ratio, level)

    @property
    def seen(self) -> bool:
        """Whether one trajectory has a signal error at its end."""
        return bool(np.isfinite(self.stops.last).any())


@dataclass(frozen=True)
class Stopped:
    """Early stopping of the trajectories of one mode and width: measured, and by the bounds of two hypotheses."""

    tracks: Saved
    measured: Settled
    bounds: Mapping[str, Array]

    def ratio(self, hypothesis: str) -> tuple[Array, Array]:
        """Return intervals (N,) of bound over measured time, where the bound is after the start; NaN if failed."""
        bound = self.bounds[hypothesis]
        kept = (bound > 0.0) | self.tracks.failed
        with np.errstate(divide="ignore"):
            return bound[kept] / self.measured.high[kept], bound[kept] / self.measured.low[kept]

    def median(self, hypothesis: str, level: float) -> Median:
        """Return the median of `ratio`."""
        return median_of(*self.ratio(hypothesis), level)

    def certified(self, hypothesis: str) -> int:
        """Count the draws that the bound of a hypothesis speaks of."""
        return int(np.isfinite(self.bounds[hypothesis]).sum())

    def tightest(self, hypothesis: str) -> tuple[float, int]:
        """Return the least of the lower ends of `ratio`, and its trial."""
        bound = self.bounds[hypothesis]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(bound > 0.0, bound / self.measured.high, np.inf)
        row = int(np.argmin(np.nan_to_num(ratio, nan=np.inf)))
        return float(ratio[row]), int(self.tracks.cell.saved_trials[row])


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    level = runs.level
    levels, bound, kernel = (
        [tracks for cell in runs[name].results.cells for tracks in saved_of(cell)] for name in (LEVELS, BOUND, KERNEL)
    )
    loss = loss_of(runs[LEVELS].results.experiment_text)
    # claims count what was requested and failed as well; figures and tables show the trajectories that exist
    ended = [Ended(s, stops(s["t"], s["signal_error"], s.psi(loss), s["norm_eps"])) for s in levels]
    ended = [e for e in ended if e.seen or e.tracks.failed.any()]
    shown_ended = [e for e in ended if e.seen]
    stopped = [stopped_of(tracks, loss) for tracks in bound if tracks.requested]
    shown_stopped = [s for s in stopped if s.tracks.seen]
    shown_kernel = [tracks for tracks in kernel if tracks.seen]
    figures: list[Figure] = []
    claims: list[PaperClaim] = []
    tables: list[Table] = []
    if shown_ended:
        figures += [bands_figure(shown_ended), final_figure(shown_ended)]
        claims += [_final_claim(shown_ended, loss), *_gain_claims(ended, level)]
        tables.append(TEXTS.table("error_table", ended=shown_ended, level=level))
    if shown_stopped:
        figures.append(stopping_figure(shown_stopped))
        claims += stopping_claims(stopped, level)
        tables.append(TEXTS.table("stopping_table", stopped=shown_stopped, level=level))
    if shown_kernel:
        figures.append(parts_figure(shown_kernel))
        claims += kernel_claims([tracks for tracks in kernel if tracks.requested], level)
    numbers = {
        "middle": _middles(shown_stopped, level),
        "gains": _gains(shown_ended),
        "raised": sum(bool(np.nanmedian(e.stops.last / e.stops.stopped) < 1.0) for e in shown_ended),
        "ended": len(shown_ended),
        "shares": _shares(shown_kernel),
    }
    final = next((claim.verdict for claim in claims if claim.figure == "noise-final"), None)
    verdict = TEXTS.text("verdict", **numbers, stopped=len(shown_stopped), final=final) or EMPTY.verdict
    return Section(verdict, tuple(claims), tuple(figures), tuple(tables), TEXTS.paragraphs("meaning", **numbers))


def stopped_of(tracks: Saved, loss: Loss) -> Stopped:
    """Measure early stopping, and compute its bounds."""
    eps = tracks["norm_eps"]
    measured = settled(tracks["t"], tracks["observation_error"], tracks["error_observation_error"], 2.0 * eps)
    bounds = {name: stopping_bound(loss, tracks["psi_0"], eps, tracks.promised(name)) for name in ("trial", "sharp")}
    return Stopped(tracks, measured, bounds)


def kept(tracks: Saved) -> Array:
    """Return the kernel part of the signal error at the end over that at the start, (T,)."""
    kernel, rows = tracks["signal_error_kernel"], np.arange(tracks["t"].shape[0])
    last = np.maximum(np.isfinite(kernel).sum(axis=1) - 1, 0)
    return np.asarray(kernel[rows, last] / kernel[:, 0])


def _at_least(median: Median, least: float) -> str:
    return within([((median.low, median.high), (least, np.inf))])


def _address(tracks: Saved, trial: int | None = None) -> Address:
    return tracks.cell.index, trial, tracks.width


def stopping_claims(stopped: Sequence[Stopped], level: float) -> list[PaperClaim]:
    """Judge whether the bound of `trial` is at least 4 times the measured time: medians of all cells, Bonferroni."""
    claims = []
    for mode in dict.fromkeys(s.tracks.mode for s in stopped):
        cells = [s for s in stopped if s.tracks.mode == mode and s.ratio("trial")[0].size]
        numbers: dict[str, Any] = {"mode": mode, "looseness": LOOSENESS, "problems": len(cells)}
        if not cells:
            claims.append(TEXTS.claim("stopping_claim", "vacuous", 0, "noise-stopping", BOUND, **numbers))
            continue
        shared = 1.0 - (1.0 - level) / len(cells)
        medians = [s.median("trial", shared) for s in cells]
        tight = min(range(len(cells)), key=lambda i: medians[i].low)
        least, trial = cells[tight].tightest("trial")
        claims.append(
            TEXTS.claim(
                "stopping_claim",
                verdict=together(_at_least(median, LOOSENESS) for median in medians),
                trials=sum(median.trials for median in medians),
                figure="noise-stopping",
                experiment=BOUND,
                address=_address(cells[tight].tracks, trial),
                **numbers,
                median=medians[tight],
                level=shared,
                least=least,
            )
        )
    return claims


def _final_claim(ended: Sequence[Ended], loss: Loss) -> PaperClaim:
    """Judge |eps|/|A| <= |x - xbar| <= |eps|/sigma_A at the end, up to the part of the loss that remains there."""
    broken, decided, tight = 0, 0, (np.inf, 0, 0)
    for number, (s, last) in enumerate((e.tracks, e.stops.last) for e in ended):
        # the smallest psi(L) is the last; an unknown error leaves everything open
        remaining = np.fmin.reduce(loss.psi(s["loss"] + s["error_loss"]), axis=1)
        end = np.where(np.isfinite(s["loss"]), s["t"], 0.0).max(axis=1)
        at_end = s["t"] == end[:, None]
        room = np.where(at_end, np.nan_to_num(s["error_signal_error"], nan=np.inf), 0.0).max(axis=1)
        low = (s["norm_eps"] - remaining) / s["norm_A"] - room
        high = (s["norm_eps"] + remaining) / s["sigma_A"] + room
        broken += int(((last < low * (1.0 - 1e-8)) | (last > high * (1.0 + 1e-8))).sum())
        decided += int((np.isfinite(last) & np.isfinite(high)).sum())
        slack = np.nan_to_num(np.log(high / last), nan=np.inf)
        row = int(np.argmin(slack))
        tight = min(tight, (float(slack[row]), number, int(s.cell.saved_trials[row])))
    return TEXTS.claim(
        "final_claim",
        verdict=f"violated in {broken} trajectories" if broken else f"not violated in {decided} trajectories",
        trials=sum({e.tracks.cell.index: len(e.tracks.cell.saved_trials) for e in ended}.values()),
        figure="noise-final",
        experiment=LEVELS,
        address=_address(ended[tight[1]].tracks, tight[2]),
    )


def _gain_claims(ended: Sequence[Ended], level: float) -> list[PaperClaim]:
    """Judge whether the best error on the way is half the last or less, at the worst condition and largest noise."""
    top = max(ended, key=lambda e: (e.condition, e.noise))
    claims = []
    for e in (e for e in ended if e.tracks.cell.index == top.tracks.cell.index):
        median = e.over("best", level)
        claims.append(
            TEXTS.claim(
                "gain_claim",
                verdict=_at_least(median, GAIN),
                trials=median.trials,
                figure="noise-final",
                experiment=LEVELS,
                address=_address(e.tracks),
                mode=e.tracks.mode,
                condition=e.condition,
                noise=e.noise,
                gain=GAIN,
                median=median,
                level=level,
            )
        )
    return claims


def kernel_claims(tracks: Sequence[Saved], level: float) -> list[PaperClaim]:
    """Judge whether training leaves at least 0.9 of the kernel part of the signal error."""
    medians = [(s, median_of(kept(s), kept(s), level)) for s in tracks]
    return [
        TEXTS.claim(
            "kernel_claim",
            verdict=_at_least(median, KEPT),
            trials=median.trials,
            figure="noise-parts",
            experiment=KERNEL,
            address=_address(s),
            mode=s.mode,
            width=s.width,
            kept=KEPT,
            median=median,
            level=level,
        )
        for s, median in medians
    ]


def _middles(stopped: Sequence[Stopped], level: float) -> dict[str, Median]:
    """Return the median of bound over measured time by hypothesis, over the trials whose bound is after the start."""
    medians = {}
    for name in ("trial", "sharp"):
        ends = [s.ratio(name) for s in stopped]
        low, high = (np.concatenate([end[i] for end in ends] or [np.empty(0)]) for i in (0, 1))
        medians[name] = median_of(low, high, level)
    return medians


def _gains(ended: Sequence[Ended]) -> list[tuple[float, float]]:
    """Return by condition the largest median of last over best error."""
    gains: dict[float, list[float]] = {}
    for e in ended:
        gains.setdefault(e.condition, []).append(float(np.nanmedian(e.stops.last / e.stops.best)))
    return [(condition, max(medians)) for condition, medians in sorted(gains.items())]


def _shares(kernel: Sequence[Saved]) -> tuple[float, float] | None:
    """Return the range in which `kept` lies for 90 % of the trials of every mode and width."""
    shares = [np.nanquantile(kept(s), (0.05, 0.95)) for s in kernel]
    return (min(float(low) for low, _ in shares), max(float(high) for _, high in shares)) if shares else None


def _log_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    log_ticks(axes, "x")
    log_ticks(axes, "y")


@dataclass(frozen=True)
class Curve:
    """A band over time: its label, trajectories and dataset, and a level to mark, or NaN."""

    label: str
    tracks: Saved
    dataset: str
    level: float = np.nan


BAND_COLUMNS = ("cell", "mode", "width", "observable", "t", "quantile_05", "median", "quantile_95")


def _bands(panels: list[Panel], name: str, title: str, y: str, curves: Sequence[Curve]) -> list[Sequence[object]]:
    """Append a panel of bands over time; return its numbers."""
    rows: list[Sequence[object]] = []
    with drawn(panels, name, TEXTS.text("band_panel", y=y, title=title), ncols=3, **LEGEND) as axes:
        for curve, (colour, dash, _) in zip(curves, LOOKS, strict=False):
            tracks = curve.tracks
            times = common_times(tracks["t"], GRID)
            low, middle, high = band(tracks["t"], tracks[curve.dataset], times)
            axes.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(times, middle, color=colour, linestyle=dash, linewidth=1.4, label=curve.label)
            if np.isfinite(curve.level):
                axes.axhline(curve.level, color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
            key = (tracks.cell.index, tracks.mode, tracks.width, curve.dataset)
            rows += [(*key, *point) for point in zip(times, low, middle, high, strict=True)]
        _log_axes(axes, "time t of the gradient flow (log scale)", y)
        axes.set_title(title)
    return rows


def bands_figure(ended: Sequence[Ended]) -> Figure:
    """Draw bands of both errors over time at the best and the worst condition, one curve for each noise level."""
    panels: list[Panel] = []
    rows: list[Sequence[object]] = []
    conditions = sorted({e.condition for e in ended})
    for number, condition in enumerate(dict.fromkeys((conditions[0], conditions[-1]))):
        group = [e for e in ended if e.condition == condition and e.tracks.mode == ended[0].tracks.mode]
        problem = group[0].tracks.cell.problem
        title = f"n = {problem['n']}, m = {problem['m']}, condition {condition:g}"
        for short_name, y, factor in (
            ("observation", "|y(t) − ȳ| (log scale)", 2.0),
            ("signal", "|x(t) − x̄| (log scale)", np.nan),
        ):
            curves = [
                Curve(f"noise {e.noise:g}", e.tracks, f"{short_name}_error",
                      factor * float(np.median(e.tracks["norm_eps"])))
                for e in group
            ]  # fmt: skip
            rows += _bands(panels, f"noise-bands-{number}-{short_name}", title, y, curves)
    return TEXTS.figure("noise-bands", "bands_figure", panels, BAND_COLUMNS, rows)


def _quantiles(stop: Stops, rule: str) -> Array:
    return np.asarray(np.nanquantile(getattr(stop, rule), QUANTILES))


def final_figure(ended: Sequence[Ended]) -> Figure:
    """Draw the signal error at the end, at its best and at the discrepancy principle, a panel for each condition."""
    panels: list[Panel] = []
    mode = ended[0].tracks.mode
    for condition in sorted({e.condition for e in ended}):
        group = [e for e in ended if e.condition == condition and e.tracks.mode == mode]
        name = f"noise-final-condition-{condition:g}"
        with drawn(panels, name, TEXTS.text("final_panel", condition=condition), ncols=2, **LEGEND) as axes:
            levels = np.array([e.noise for e in group])
            for shift, (rule, label), (colour, dash, marker) in zip(
                (0.93, 1.0, 1.075), RULES.items(), LOOKS, strict=False
            ):
                low, middle, high = np.transpose([_quantiles(e.stops, rule) for e in group])
                axes.errorbar(
                    levels * shift, middle, yerr=[middle - low, high - middle], color=colour, linestyle=dash,
                    marker=marker, markersize=4.5, linewidth=1.2, label=label,
                )  # fmt: skip
            for divisor, label, dash in (("sigma_A", "|ε|/σ_A", (0, (5, 2))), ("norm_A", "|ε|/|A|", (0, (1, 2)))):
                line = [float(np.median(e.tracks["norm_eps"] / e.tracks[divisor])) for e in group]
                axes.plot(levels, line, color=MUTED, linewidth=1.0, linestyle=dash, label=label)
            _log_axes(axes, "noise |ε| before projection, relative to |ȳ| (log scale)", "|x − x̄| (log scale)")
            # three levels: the ticks are the levels
            axes.set_xticks(levels, [f"{level:g}" for level in levels])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_title(f"Condition {condition:g}, {mode_name(mode)}")
    rows = [
        (e.tracks.cell.index, e.tracks.mode, e.tracks.width, e.condition, e.noise, rule, *_quantiles(e.stops, rule))
        for e in ended
        for rule in RULES
    ]
    columns = ("cell", "mode", "width", "condition", "noise", "rule", "quantile_05", "median", "quantile_95")
    return TEXTS.figure("noise-final", "final_figure", panels, columns, rows)


def _draw_stopping(axes: Axes, stopped: Sequence[Stopped]) -> None:
    measured: list[float] = []
    for hypothesis, (colour, _, marker) in zip(("trial", "sharp"), LOOKS, strict=False):
        x, y = [], []
        for s in stopped:
            with np.errstate(invalid="ignore"):
                middle = np.sqrt(s.measured.low * s.measured.high)
            shown = (s.bounds[hypothesis] > 0.0) & (middle > 0.0) & np.isfinite(middle)
            x.append(middle[shown])
            y.append(s.bounds[hypothesis][shown])
        axes.plot(
            np.concatenate(x), np.concatenate(y), linestyle="", marker=marker, markersize=3.0, markeredgewidth=0,
            alpha=0.5, color=colour, label=f"bound of {hypothesis}", rasterized=True,
        )  # fmt: skip
        measured += [*np.concatenate(x)]
    if measured:
        line = np.array([min(measured), max(measured)])
        axes.plot(line, line, color=MUTED, linewidth=1.0, label="bound = measured")
        axes.plot(line, 4.0 * line, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), label="bound = 4 × measured")
    _log_axes(axes, "measured time of early stopping (log scale)", "time of the bound (log scale)")


def stopping_figure(stopped: Sequence[Stopped]) -> Figure:
    """Draw the time after which |y(t) - ybar| <= 2|eps| is promised against the time after which it holds."""
    panels: list[Panel] = []
    for mode in dict.fromkeys(s.tracks.mode for s in stopped):
        words = TEXTS.text("stopping_panel", mode=mode)
        legend = {"ncols": 2, "handlelength": 2.4, "columnspacing": 1.4}
        with drawn(panels, f"noise-stopping-{mode}", words, **legend) as axes:
            _draw_stopping(axes, [s for s in stopped if s.tracks.mode == mode])
            axes.set_title(mode_name(mode).capitalize())
    rows = [
        (s.tracks.cell.index, s.tracks.mode, s.tracks.width, s.tracks.cell.problem["noise"], int(trial), *times)
        for s in stopped
        for trial, *times in zip(
            s.tracks.cell.saved_trials, s.measured.low, s.measured.high, s.bounds["trial"], s.bounds["sharp"],
            strict=True,
        )
    ]  # fmt: skip
    columns = ("cell", "mode", "width", "noise", "trial", "measured_after", "measured_by", "bound_trial", "bound_sharp")
    return TEXTS.figure("noise-stopping", "stopping_figure", panels, columns, rows)


def parts_figure(kernel: Sequence[Saved]) -> Figure:
    """Draw the parts of the signal error in the range of A^T and in ker(A) over time, for m < n."""
    panels: list[Panel] = []
    rows: list[Sequence[object]] = []
    for s in kernel:
        curves = [
            Curve("in the range of Aᵀ", s, "signal_error_range", float(np.median(s["norm_eps"] / s["sigma_A"]))),
            Curve("in the kernel of A", s, "signal_error_kernel"),
        ]
        title = f"k = {spaced(s.width)}, {mode_name(s.mode)}"
        rows += _bands(panels, f"noise-parts-{s.mode}-{s.width}", title, "part of |x(t) − x̄| (log scale)", curves)
    first = kernel[0]
    bound = float(np.median(first["norm_eps"] / first["sigma_A"]))
    problem = first.cell.problem
    return TEXTS.figure("noise-parts", "parts_figure", panels, BAND_COLUMNS, rows, problem=problem, bound=bound)
