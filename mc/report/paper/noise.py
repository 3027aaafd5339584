"""The study of noise: early stopping against its bound, the signal error, and what is not observed (theory §4, §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mc.estimate.flows.error_bands import Settled, Stops, settled, stopping_bound, stops
from mc.estimate.flows.losses import Median, Saved, loss_of, median_of, saved_of
from mc.estimate.numbers import short, spaced
from mc.model.arrays import Array
from mc.model.losses import Loss
from mc.report.figures import Figure, mode_name
from mc.report.paper.noise_figures import against_bound, against_noise, over_time, parts
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table

LEVELS, BOUND, KERNEL = "noise-levels", "noise-bound", "noise-kernel"
LOOSENESS, GAIN, KEPT = 4.0, 2.0, 0.9
"""Expected before the run: bound over measured time, last over best error, kernel part at the end over start."""


@dataclass(frozen=True)
class Stopped:
    """Early stopping of the trajectories of one mode and width: measured, and by the bounds of two hypotheses."""

    tracks: Saved
    measured: Settled
    bounds: Mapping[str, Array]

    def ratio(self, hypothesis: str) -> tuple[Array, Array]:
        """Interval of bound over measured time, (N,) each, where the bound is a time after the start; NaN if failed."""
        bound = self.bounds[hypothesis]
        some = (bound > 0.0) | self.tracks.failed
        with np.errstate(divide="ignore"):
            return bound[some] / self.measured.high[some], bound[some] / self.measured.low[some]

    def middle(self, hypothesis: str) -> Array:
        """Geometric middle of `ratio`."""
        low, high = self.ratio(hypothesis)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(low * high))

    def tightest(self, hypothesis: str) -> tuple[float, int]:
        """The least of the lower ends of `ratio`, and its trial."""
        bound = self.bounds[hypothesis]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(bound > 0.0, bound / self.measured.high, np.inf)
        at = int(np.argmin(np.nan_to_num(ratio, nan=np.inf)))
        return float(ratio[at]), int(self.tracks.cell.saved_trials[at])


def _tracks(run: Run) -> list[Saved]:
    return [tracks for cell in run.results.cells for tracks in saved_of(cell)]


def _stopped(tracks: Saved, loss: Loss) -> Stopped:
    eps = tracks["norm_eps"]
    measured = settled(tracks["t"], tracks["observation_error"], tracks["error_observation_error"], 2.0 * eps)
    bounds = {name: stopping_bound(loss, tracks["psi_0"], eps, tracks.promised(name)) for name in ("trial", "sharp")}
    return Stopped(tracks, measured, bounds)


def _verdict(median: Median, least: float) -> str:
    """Of the claim that a median is at least a number."""
    if median.low >= least:
        return "supported"
    return "contradicted" if median.high < least else "undecided"


def _interval(median: Median, level: float) -> str:
    return f"[{short(median.low)}, {short(median.high)}] at {level:.4g}"


def _address(tracks: Saved, trial: int | None = None) -> tuple[int, int | None, int]:
    return tracks.cell.index, trial, tracks.width


def _stopping_claims(found: Sequence[Stopped], level: float) -> list[PaperClaim]:
    """The bound of `trial` is at least 4 times the measured time: for the median of every cell, Bonferroni."""
    claims = []
    for mode in dict.fromkeys(s.tracks.mode for s in found):
        mine = [s for s in found if s.tracks.mode == mode and s.ratio("trial")[0].size]
        statement = f"{mode_name(mode)}: the bound of early stopping is at least {LOOSENESS:g} times the measured time"
        if not mine:
            claims.append(PaperClaim(statement, "vacuous", "", 0, "noise-stopping", BOUND))
            continue
        shared = 1.0 - (1.0 - level) / len(mine)
        medians = [median_of(*s.ratio("trial"), shared) for s in mine]
        verdicts = {_verdict(median, LOOSENESS) for median in medians}
        verdict = next(v for v in ("contradicted", "undecided", "supported") if v in verdicts)
        tight = min(range(len(mine)), key=lambda i: medians[i].low)
        least, trial = mine[tight].tightest("trial")
        explanation = (
            f"The lowest median is {short(medians[tight].value)}; the smallest ratio of one trial is {short(least)}. "
            "Where the noise is as large as the initial error, both times are short and little is left to gain."
            if verdict == "contradicted"
            else ""
        )
        claims.append(
            PaperClaim(
                f"{statement} (median of each of {len(mine)} problems)",
                verdict,
                "lowest: " + _interval(medians[tight], shared),
                sum(m.trials for m in medians),
                "noise-stopping",
                BOUND,
                _address(mine[tight].tracks, trial),
                explanation,
            )
        )
    return claims


def _final_claim(found: Sequence[tuple[Saved, Stops]], loss: Loss) -> PaperClaim:
    """|eps|/|A| <= |x - xbar| <= |eps|/sigma_A at the end, up to what of the loss is left there."""
    broken, decided, tight = 0, 0, (np.inf, 0, 0)
    for number, (s, stop) in enumerate(found):
        # the smallest psi(L) is the last; an error that is not known leaves everything open
        left = np.fmin.reduce(loss.psi(s["loss"] + s["error_loss"]), axis=1)
        at_end = s["t"] == stop_end(s)[:, None]
        room = np.where(at_end, np.nan_to_num(s["error_signal_error"], nan=np.inf), 0.0).max(axis=1)
        low = (s["norm_eps"] - left) / s["norm_A"] - room
        high = (s["norm_eps"] + left) / s["sigma_A"] + room
        bad = (stop.last < low * (1.0 - 1e-8)) | (stop.last > high * (1.0 + 1e-8))
        broken += int(bad.sum())
        decided += int((np.isfinite(stop.last) & np.isfinite(high)).sum())
        slack = np.nan_to_num(np.log(high / stop.last), nan=np.inf)
        at = int(np.argmin(slack))
        tight = min(tight, (float(slack[at]), number, int(s.cell.saved_trials[at])))
    return PaperClaim(
        "Trained to the end, m >= n: |ε|/|A| <= |x − x̄| <= |ε|/σ_A, up to the residual that is left",
        f"violated in {broken} trajectories" if broken else f"not violated in {decided} trajectories",
        "",
        sum({s.cell.index: len(s.cell.saved_trials) for s, _ in found}.values()),
        "noise-final",
        LEVELS,
        _address(found[tight[1]][0], tight[2]),
        "The error of the integration at the end is an estimate; the trials are to be replayed." if broken else "",
    )


def stop_end(tracks: Saved) -> Array:
    """Last saved time of each trajectory, (T,)."""
    return np.asarray(np.where(np.isfinite(tracks["loss"]), tracks["t"], 0.0).max(axis=1))


def _gain_claims(found: Sequence[tuple[Saved, Stops]], level: float) -> list[PaperClaim]:
    """Where A is worst conditioned and the noise largest, the best error on the way is half the last or less."""
    claims = []
    top = max(found, key=lambda each: (each[0].cell.problem["condition"], each[0].cell.problem["noise"]))[0].cell
    for s, stop in found:
        if s.cell.index == top.index:
            ratio = stop.last / stop.best
            median = median_of(ratio, ratio, level)
            verdict = _verdict(median, GAIN)
            claims.append(
                PaperClaim(
                    f"{mode_name(s.mode)}, condition {top.problem['condition']:g}, noise {top.problem['noise']:g}: the "
                    f"last signal error is at least {GAIN:g} times the least on the way (median)",
                    verdict,
                    _interval(median, level),
                    median.trials,
                    "noise-final",
                    LEVELS,
                    _address(s),
                    "Expected before the run, not proved: how much of the signal and of the noise lies along the "
                    "small singular values differs between problems."
                    if verdict == "contradicted"
                    else "",
                )
            )
    return claims


def kept(tracks: Saved) -> Array:
    """The kernel part of the signal error at the end over that at the start, (T,)."""
    kernel, rows = tracks["signal_error_kernel"], np.arange(tracks["t"].shape[0])
    last = np.maximum(np.isfinite(kernel).sum(axis=1) - 1, 0)
    return np.asarray(kernel[rows, last] / kernel[:, 0])


def _kernel_claims(tracks: Sequence[Saved], level: float) -> list[PaperClaim]:
    claims = []
    for s in tracks:
        ratio = kept(s)
        median = median_of(ratio, ratio, level)
        verdict = _verdict(median, KEPT)
        claims.append(
            PaperClaim(
                f"m < n, {mode_name(s.mode)}, k = {spaced(s.width)}: training leaves at least {KEPT:g} of the kernel "
                "part of the signal error (median)",
                verdict,
                _interval(median, level),
                median.trials,
                "noise-parts",
                KERNEL,
                _address(s),
                "The activations move far in a narrow network and drag the kernel part along, towards the signal or "
                "away from it: theory §6 bounds the drift and does not forbid it."
                if verdict == "contradicted"
                else "",
            )
        )
    return claims


def _error_table(found: Sequence[tuple[Saved, Stops]], level: float) -> Table:
    rows = []
    for s, stop in found:
        problem = s.cell.problem
        ratios = [median_of(r, r, level) for r in (stop.last / stop.best, stop.last / stop.stopped)]
        final = float(np.nanmedian(stop.last * s["sigma_A"] / s["norm_eps"]))
        early = int(np.sum(stop.best_time < stop.stop_time))
        late = int(np.sum(stop.best_time > stop.stop_time))
        certified = int(np.isfinite(s.promised("sharp")).sum())
        rows.append(
            (
                f"{problem['condition']:g}",
                f"{problem['noise']:g}",
                mode_name(s.mode),
                short(final),
                *(f"{short(m.value)} [{short(m.low)}, {short(m.high)}]" for m in ratios),
                f"{early} / {late}",
                f"{certified} of {stop.last.size}",
            )
        )
    header = (
        "condition",
        "noise",
        "trained",
        "last error over |ε|/σ_A",
        "last over least error",
        "last over stopped error",
        "least error before / after the discrepancy time",
        "certified (sharp)",
    )
    return Table(f"Signal error: medians over the initialisations, intervals at {level:.3g} each", header, tuple(rows))


def _stopping_table(found: Sequence[Stopped], level: float) -> Table:
    rows = []
    for s in found:
        problem, cells = s.tracks.cell.problem, []
        for name in ("trial", "sharp"):
            median = median_of(*s.ratio(name), level)
            says = int(np.isfinite(s.bounds[name]).sum())
            cells += [f"{says} of {s.bounds[name].size}"]
            cells += [f"{short(median.value)} [{short(median.low)}, {short(median.high)}]" if median.trials else "–"]
        at_once = int(np.sum(s.measured.high == 0.0))
        rows.append((str(problem["m"]), f"{problem['noise']:g}", mode_name(s.tracks.mode), *cells, str(at_once)))
    header = (
        "m",
        "noise",
        "trained",
        "trial holds",
        "bound over measured time",
        "sharp holds",
        "bound over measured time",
        "below 2|ε| from the start",
    )
    return Table(f"Early stopping: medians, intervals at {level:.3g} each", header, tuple(rows))


def _middles(stopped: Sequence[Stopped], level: float) -> dict[str, str]:
    """Median of bound over measured time over the trials whose bound is a time after the start, in words."""
    words = {}
    for name in ("trial", "sharp"):
        ends = [s.ratio(name) for s in stopped]
        low, high = (np.concatenate([end[i] for end in ends] or [np.empty(0)]) for i in (0, 1))
        median = median_of(low, high, level)
        words[name] = f"{short(median.low)} to {short(median.high)}" if median.trials else "unknown"
    return words


def _shares(kernel: Sequence[Saved]) -> tuple[str, str]:
    """Between what `kept` lies for 90 % of the trials of every mode and width, in words."""
    shares = [np.nanquantile(kept(s), (0.05, 0.95)) for s in kernel]
    return short(min(float(low) for low, _ in shares)), short(max(float(high) for _, high in shares))


def _raised(ends: Sequence[tuple[Saved, Stops]]) -> str:
    """In how many problems and modes the median error is larger where the discrepancy principle stops."""
    return f"{sum(bool(np.nanmedian(stop.last / stop.stopped) < 1.0) for _, stop in ends)} of {len(ends)}"


def _meaning(
    stopped: Sequence[Stopped], ends: Sequence[tuple[Saved, Stops]], kernel: Sequence[Saved], level: float
) -> list[str]:
    """What it means, with the numbers of the runs."""
    middle = _middles(stopped, level)
    said = [
        "Proved: where a certificate holds, the observation stays within 2|ε| of the noiseless one from a time that is "
        "known before training (theory §4(ii)). Observed: it does so much earlier. The bound is late by a median "
        f"factor of {middle['trial']} with the certificate trial and {middle['sharp']} with sharp (limits of the "
        "median over the draws whose bound is a time after the start). A factor 4 of trial "
        "comes from the halved σ_0 alone; the rest from adding |y(t) − y| and |ε| as lengths whatever the angle "
        "between them, and from counting every direction as the slowest one.",
        "The saved times are discrete: the measured time is known to an interval between two of them, and the "
        "intervals of all medians contain every value in these. Trials whose certificate is false are in no ratio: the "
        "bound says nothing of them. The last column of the table of signal errors counts the certified draws at the "
        "width that is trained a thousand times: with an ill-conditioned A the bound is silent there.",
    ]
    if ends:
        gains: dict[float, list[float]] = {}
        for s, stop in ends:
            gains.setdefault(float(s.cell.problem["condition"]), []).append(float(np.nanmedian(stop.last / stop.best)))
        words = "; ".join(f"condition {c:g}: up to {short(max(g))}" for c, g in sorted(gains.items()))
        said.append(
            "Trained to the end, an injective A gives x = x̄ + A⁺ε whatever the network (theory §6): recovery is "
            "least squares, and its error grows with the condition of A. What stopping early can gain, last over least "
            f"error, is in the median {words}. The discrepancy principle, which stops where |y(t) − y| has come down "
            f"to |ε|, raises the median error in {_raised(ends)} of the problems and modes: it stops too early "
            "there.",
        )
    if kernel:
        low, high = _shares(kernel)
        said.append(
            "With fewer observations than unknowns the bound of recovery is vacuous: its cone meets ker(A). The part "
            f"of the error in the kernel ends at {low} to {high} times its start for 90 % of the draws: training "
            "moves it by way of the activations, without knowing where the signal is. The range part ends at the noise."
        )
    return said


def _answer(
    stopped: Sequence[Stopped],
    ends: Sequence[tuple[Saved, Stops]],
    kernel: Sequence[Saved],
    claims: Sequence[PaperClaim],
    level: float,
) -> str:
    said = []
    if stopped:
        middle = _middles(stopped, level)
        said.append(
            f"The bound of early stopping comes a factor of {middle['trial']} (trial) and {middle['sharp']} (sharp) "
            "after the measured time, in the median of the certified draws."
        )
    if ends:
        final = next(claim.verdict for claim in claims if claim.figure == "noise-final")
        said.append(f"The last signal error lies between |ε|/|A| and |ε|/σ_A: {final}.")
    if kernel:
        low, high = _shares(kernel)
        said.append(
            f"Of the error in ker(A), training leaves {low} to {high} times what it was, for 90 % of the draws."
        )
    return " ".join(said) or "No trajectory has been followed yet."


def section(runs: Runs) -> Section:
    """Words, claims and figures of the study of noise."""
    level, claims, tables = runs.level, [], []
    figures: list[Figure] = []
    levels, bound, kernel = ([*_tracks(runs[name])] for name in (LEVELS, BOUND, KERNEL))
    loss = loss_of(runs[LEVELS].results.experiment_text)
    ends = [(s, stops(s["t"], s["signal_error"], s.psi(loss), s["norm_eps"])) for s in levels]
    # claims count what was asked for and failed as well; figures and tables show what is there
    asked_ends = [(s, stop) for s, stop in ends if np.isfinite(stop.last).any() or s.failed.any()]
    ends = [(s, stop) for s, stop in ends if np.isfinite(stop.last).any()]
    asked_stopped = [_stopped(s, loss) for s in bound if s.asked]
    stopped = [one for one in asked_stopped if one.tracks.seen]
    asked_kernel = [s for s in kernel if s.asked]
    kernel = [s for s in kernel if s.seen]
    if ends:
        mode = ends[0][0].mode
        conditions = sorted({float(s.cell.problem["condition"]) for s, _ in ends})
        groups = [
            [s for s, _ in ends if s.mode == mode and float(s.cell.problem["condition"]) == condition]
            for condition in dict.fromkeys((conditions[0], conditions[-1]))
        ]
        figures += [over_time(groups), against_noise(ends)]
        claims += [_final_claim(ends, loss), *_gain_claims(asked_ends, level)]
        tables.append(_error_table(ends, level))
    if stopped:
        figures.append(against_bound([(s.tracks, s.measured, s.bounds) for s in stopped]))
        claims += _stopping_claims(asked_stopped, level)
        tables.append(_stopping_table(stopped, level))
    if kernel:
        figures.append(parts(kernel))
        claims += _kernel_claims(asked_kernel, level)
    meaning = _meaning(stopped, ends, kernel, level)
    verdict = _answer(stopped, ends, kernel, claims, level)
    return Section(verdict, tuple(claims), tuple(figures), tuple(tables), tuple(meaning))
