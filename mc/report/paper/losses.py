"""The study of losses: exponential and polynomial rates, measured and promised (theory §2, §4(i))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mc.estimate.flows.losses import (
    Median,
    Saved,
    Slopes,
    exponential_rate,
    loss_of,
    median_of,
    power_exponent,
    saved_of,
)
from mc.estimate.numbers import short
from mc.model.losses import Power
from mc.report.figures import Figure, mode_name
from mc.report.paper.losses_figures import exponents, over_time
from mc.report.paper.section import PaperClaim, Runs, Section, Table

EXPONENTIAL = {"losses-mse": "mse", "losses-logcosh": "logcosh"}
TOLERANCE, LOOSENESS = 0.02, 4.0
"""Expected before the run: exponents within 2 % of theirs, rates at least 4 times those of the bound."""


@dataclass(frozen=True)
class Measured:
    """Late rates of one mode: ``end`` and ``bound`` are the rate by the Jacobian at the end, and that of the bound."""

    experiment: str
    name: str
    p: float
    tracks: Saved
    slopes: Slopes

    @property
    def exponent(self) -> float:
        """p/(p - 2)."""
        return self.p / (self.p - 2.0)

    def median(self, level: float) -> Median:
        """Of the slopes."""
        return median_of(self.slopes.low, self.slopes.high, level)

    def over_end(self, level: float) -> Median:
        """Rate over 2 sigma_min(A J)^2 at the end: J is that of all n directions, and A orthogonal (m = n)."""
        sigma = self.tracks["sigma_A"] * _last(self.tracks["jacobian_sigma_min"])
        return median_of(self.slopes.low / (2.0 * sigma**2), self.slopes.high / (2.0 * sigma**2), level)

    def over_bound(self, level: float) -> Median:
        """Rate over 2 sigma^2 = sigma_A^2 sigma_0^2/2 of `trial`, where it holds or the draw failed."""
        sigma = self.tracks.promised("trial")
        some = np.isfinite(sigma) | self.tracks.failed
        rate = 2.0 * sigma[some] ** 2
        return median_of(self.slopes.low[some] / rate, self.slopes.high[some] / rate, level)


def _last(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Last number of each row, NaN where there is none."""
    last = np.where(np.isfinite(values), np.arange(values.shape[1]), -1).max(axis=1)
    return np.where(last < 0, np.nan, values[np.arange(values.shape[0]), np.maximum(last, 0)])


def _measured(runs: Runs) -> list[Measured]:
    found = []
    for experiment, run in runs.by_name.items():
        loss = loss_of(run.results.experiment_text)
        for cell in run.results.cells:
            for tracks in saved_of(cell):
                if not tracks.asked:
                    continue
                data = (tracks["t"], tracks["loss"], tracks["error_loss"])
                if isinstance(loss, Power):
                    found.append(Measured(experiment, f"power p = {loss.p:g}", loss.p, tracks, power_exponent(*data)))
                else:
                    name = EXPONENTIAL.get(experiment, loss.name)
                    found.append(Measured(experiment, name, 2.0, tracks, exponential_rate(*data)))
    return found


def _within(median: Median, low: float, high: float) -> str:
    """Whether a median lies in an interval."""
    if low <= median.low and median.high <= high:
        return "supported"
    return "contradicted" if median.high < low or median.low > high else "undecided"


def _claim(
    m: Measured, statement: str, median: Median, ends: tuple[float, float], level: float, why: str
) -> PaperClaim:
    verdict = _within(median, *ends)
    return PaperClaim(
        f"{m.name}, {mode_name(m.tracks.mode)}: {statement}",
        verdict,
        f"[{short(median.low, 4)}, {short(median.high, 4)}] at {level:.4g}",
        median.trials,
        "losses-exponents" if m.p > 2.0 else "losses-time",
        m.experiment,
        (m.tracks.cell.index, None, m.tracks.width),
        why if verdict == "contradicted" else "",
    )


def _claims(measured: Sequence[Measured], level: float) -> list[PaperClaim]:
    claims = []
    for m in measured:
        if m.p > 2.0:
            q = m.exponent
            said = f"the loss falls like t^-{q:g} in the last decade of time (median exponent within {TOLERANCE:.0%})"
            why = (
                "The exponent is that of late times: the start, or a faster direction, is still seen at those reached."
            )
            claims.append(_claim(m, said, m.median(level), (q * (1.0 - TOLERANCE), q * (1.0 + TOLERANCE)), level, why))
            continue
        said = "the late exponential rate is at least 2 σ_min(A J)² at the end (median, less 2 %)"
        why = "The loss can fall more slowly than its last Jacobian allows only where the Jacobian was smaller before."
        claims.append(_claim(m, said, m.over_end(level), (1.0 - TOLERANCE, np.inf), level, why))
        over = m.over_bound(level)
        said = f"the late rate is at least {LOOSENESS:g} times that of the bound, σ_A²σ_0²/2 (median where trial holds)"
        if over.trials:
            why = "sigma_min(J) has fallen below its value at the start on the way, and the factor 4 with it."
            claims.append(_claim(m, said, over, (LOOSENESS, np.inf), level, why))
    return claims


def _table(measured: Sequence[Measured], level: float) -> Table:
    rows = []
    for m in measured:
        median, over = m.median(level), m.over_bound(level)
        ends = f"{short(m.exponent)}" if m.p > 2.0 else "–"
        relative = m.over_end(level) if m.p == 2.0 else None
        rows.append(
            (
                m.name,
                mode_name(m.tracks.mode),
                str(median.trials),
                ends,
                f"{short(median.value, 4)} [{short(median.low, 4)}, {short(median.high, 4)}]",
                f"{short(relative.value)} [{short(relative.low)}, {short(relative.high)}]" if relative else "–",
                f"{short(over.value)} [{short(over.low)}, {short(over.high)}]" if relative and over.trials else "–",
                f"{int(np.isfinite(m.tracks.promised('trial')).sum())} of {median.trials}",
            )
        )
    header = (
        "loss",
        "trained",
        "trials",
        "p/(p − 2)",
        "measured exponent, or exponential rate",
        "rate over 2σ_min(AJ)²",
        "rate over that of the bound",
        "trial holds",
    )
    return Table(f"Late rates: medians over the draws, intervals at {level:.3g} each", header, tuple(rows))


def _meaning(measured: Sequence[Measured], level: float) -> tuple[str, ...]:
    powers = "; ".join(
        f"{short(m.median(level).value, 4)} for {short(m.exponent, 4)} (p = {m.p:g}, {mode_name(m.tracks.mode)})"
        for m in measured
        if m.p > 2.0
    )
    loose = "; ".join(
        f"{short(m.over_bound(level).value)} ({m.name}, {mode_name(m.tracks.mode)})"
        for m in measured
        if m.p == 2.0 and m.over_bound(level).trials
    )
    return (
        "Proved: where a certificate holds, L(t) stays under Ψ⁻¹(σ²t + Ψ(L_0)) with σ = σ_A σ_0/2 (theory §4(i)). The "
        "loss alone decides whether that is an exponential (mse, log cosh) or a power of the time (p > 2); the network "
        "and the operator only set the constant.",
        f"Observed: the exponents of the last decade of time are {powers or 'not measured yet'}. A power of the time "
        "has its exponent in the limit alone: before it, the local slope is p/(p − 2) times t/(t + t_0), which is why "
        "they may lie a little below. Errors of the integration are in the intervals.",
        f"How loose: the exponential rates exceed those of the bound by the factors {loose or 'not measured'}. The "
        "bound halves σ_0, which costs a factor 4, and takes the smallest singular value of the start; the late rate "
        "is set by that of the limit, and is larger as long as faster directions still contribute. For powers the same "
        "constant multiplies the time: the bound has the right exponent and a time that is too long by that factor.",
    )


def section(runs: Runs) -> Section:
    """Words, claims and figures of the study of losses."""
    asked = _measured(runs)
    measured = [m for m in asked if m.tracks.seen]
    if not measured:
        return Section("No trajectory has been followed yet.", (), ())
    level = runs.level
    claims = _claims(asked, level)
    first = measured[0].tracks.mode
    curves = [(m.name, m.p == 2.0, m.tracks) for m in measured if m.tracks.mode == first]
    figures: list[Figure] = [over_time(curves)]
    powers = [(m.p, m.tracks, m.slopes, m.median(level)) for m in measured if m.p > 2.0]
    if powers:
        figures.append(exponents(powers))
    good = sum(claim.verdict == "supported" for claim in claims)
    said = ", ".join(f"{short(m.median(level).value, 4)} against {short(m.exponent, 4)}" for m in measured if m.p > 2.0)
    verdict = f"{good} of {len(claims)} expectations of the rates are supported. Exponents: {said}." if said else ""
    verdict = verdict or f"{good} of {len(claims)} expectations of the rates are supported."
    return Section(verdict, tuple(claims), tuple(figures), (_table(measured, level),), _meaning(measured, level))
