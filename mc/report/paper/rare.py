"""The study "rare": failures that no count can show, and how fast their probability falls with the width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import short, significant, spaced
from mc.estimate.rare.study import RareStudy, rare_study
from mc.report.figures import Figure
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table
from mc.report.rare_figures import failure_words, rare_failures, rare_table

NAMES = {"rare-conditioning": "conditioning", "rare-softplus": "softplus", "rare-sigmoid": "sigmoid"}
TEN = 5.0
"""How many times too small the rate of delta_1 was expected to be, at least."""


@dataclass(frozen=True)
class Failure:
    """A rare failure and the run it is from."""

    run: Run
    cell: CellStudy
    study: RareStudy

    @property
    def words(self) -> str:
        """What fails, for which activation."""
        activation = self.run.study.experiment.get("network", {}).get("activation", "sigmoid")
        return f"{failure_words(self.study)} ({activation})"


def _failures(runs: Runs) -> tuple[Failure, ...]:
    found = []
    for run in runs.by_name.values():
        for own in run.study.cells:
            made = rare_study(own.cell, run.study.experiment, runs.level, own.theory)
            if made is not None and made.widths:
                found.append(Failure(run, own, made))
    return tuple(found)


def _figure(failure: Failure) -> Figure | None:
    made = rare_failures(failure.cell, failure.study)
    if made is None:
        return None
    name = f"rare-{NAMES.get(failure.run.name, failure.run.name.removeprefix('rare-'))}"
    return replace(made, name=name, panels=tuple(replace(one, name=name) for one in made.panels))


def _table(failure: Failure) -> Table:
    keys = ("width", "counted", "limit", "splitting", "interval", "tilting", "tilting_interval", "theory", "trust")
    return Table(
        failure.words,
        ("width", "counted", "exact upper limit", "splitting", "its interval", "tilting", "its interval", "theory",
         "diagnostics"),
        tuple(tuple(row[key] for key in keys) for row in rare_table(failure.study)),
    )  # fmt: skip


def _rate_claim(failure: Failure, level: float) -> PaperClaim | None:
    """Whether the rate of delta_1 is at least five times too small."""
    study = failure.study
    if study.table["margin"] != "lambda_min" or study.theory is None:
        return None
    rate, bound = study.rate, study.theory.rate
    if rate is None or not math.isfinite(rate.standard_error):
        return None
    low, high = (end / bound for end in rate.interval)
    last = study.widths[-1]
    return PaperClaim(
        claim=f"−log P of a badly conditioned Jacobian grows at least {TEN:g} times as fast as δ₁ promises",
        verdict="supported" if low >= TEN else "contradicted" if high < TEN else "undecided",
        interval=f"approximate, {level:.3g}, {len(rate.widths)} trusted widths: {rate.rate:.3g} a "
        f"neuron, {rate.interval[0]:.3g} to {rate.interval[1]:.3g}, against {bound:.3g}, "
        f"{significant(low, 3):g} to {significant(high, 3):g} times",
        trials=sum(w.repetitions for w in study.widths),
        figure="rare-conditioning",
        experiment=failure.run.name,
        address=(failure.cell.cell.index, None, last.width),
        explanation=""
        if high >= TEN
        else "Matrix Chernoff pays for |V_i|² ≤ n V_max², so that its rate goes like 1/n; "
        "at a small n the two are closer.",
    )


def _law_claim(failure: Failure, level: float) -> PaperClaim | None:
    """The control: how many intervals hold the exact law."""
    if failure.study.theory is None or not failure.study.theory.exact:
        return None
    # all widths together (Bonferroni)
    apart = 1.0 - (1.0 - level) / len(failure.study.widths)
    study = rare_study(failure.cell.cell, failure.run.study.experiment, apart, failure.cell.theory)
    if study is None or study.theory is None:
        return None
    pairs = [(w, float(p)) for w, p in zip(study.widths, study.theory.failure, strict=True)]
    inside = [w for w, p in pairs if w.interval[0] <= p <= w.interval[1]]
    known = [(w, p) for w, p in pairs if w.repetitions] or pairs
    worst, p = max(known, key=lambda one: abs(math.log(max(one[0].probability, 1e-300) / one[1])))
    return PaperClaim(
        claim="softplus: splitting estimates P(zero loss out of reach) = P(Bin(k, 1/2) < r), the exact law",
        verdict="not contradicted" if len(inside) == len(pairs) else "contradicted",
        interval=f"approximate, together at {level:.3g}: the law lies in {len(inside)} of {len(pairs)} intervals; "
        f"farthest at k = {spaced(worst.width)}: {worst.probability:.2g} against {p:.2g}",
        trials=sum(w.repetitions for w in study.widths),
        figure="rare-softplus",
        experiment=failure.run.name,
        address=(failure.cell.cell.index, None, worst.width),
        explanation=""
        if len(inside) == len(pairs)
        else "The law is proved, so it is the method that misses it: few particles or few moves between the levels, "
        "which the diagnostics of the table show.",
    )


def _small_claim(failure: Failure, level: float) -> PaperClaim | None:
    """Whether the failure of sigmoid falls below 1e-6 at the largest width."""
    study = failure.study
    if study.table["margin"] != "exact" or (study.theory is not None and study.theory.exact):
        return None
    last = study.widths[-1]
    low, high = last.interval
    trusted = "" if last.trusted else "; the diagnostics forbid trust"
    bound = "" if study.theory is None else f"; 1 − P_theory is {study.theory.failure[-1]:.3g}"
    certain = "supported" if high < 1e-6 else "contradicted" if low > 1e-6 else "undecided"
    return PaperClaim(
        claim=f"sigmoid: zero loss is out of reach with probability below 1e-6 at k = {spaced(last.width)}",
        verdict=certain if last.trusted else "undecided",
        interval=f"approximate, {level:.3g}: {last.probability:.2g} ({low:.2g} to {high:.2g}){bound}{trusted}",
        trials=last.repetitions,
        figure="rare-sigmoid",
        experiment=failure.run.name,
        address=(failure.cell.cell.index, None, last.width),
        explanation="" if not (last.trusted and low > 1e-6) else "The largest width of this scale is too small.",
    )


def _slopes(study: RareStudy) -> list[str]:
    """Growth of -log P a neuron between neighbouring widths."""
    return [
        short(math.log(a.probability / b.probability) / (b.width - a.width), 2)
        for a, b in pairwise(study.widths)
        if min(a.probability, b.probability) > 0.0
    ]


def _bound_words(study: RareStudy) -> str:
    if study.theory is None:
        return ""
    least = float(study.theory.failure.min())
    return f", while 1 − P_theory is {'1, vacuous, at all' if least >= 1.0 else f'{least:.2g} at best'} of these widths"


def _meaning(failures: Mapping[str, Failure]) -> tuple[str, ...]:
    made = [
        "What is proved: upper bounds of the probability of failure, which are 1 or close to 1 at widths where "
        "failures are already too rare to be counted. No count of trials that all succeed shows more than 3/N; the "
        "probabilities of this section are estimates by multilevel splitting, and where the tilted law is known by "
        "importance sampling as well. They are unbiased; their intervals rest on the spread of independent repetitions "
        "and are called approximate. All of them were run for this page; longer runs of the same kind are described in "
        "docs/rare.md.",
    ]
    first = failures.get("rare-conditioning")
    if first is not None and math.isfinite(first.study.pessimism) and first.study.theory is not None:
        rate = first.study.rate
        made.append(
            f"Conditioning: −log P grows by {short(rate.rate if rate else math.nan)} a neuron, δ₁ promises "
            f"{short(first.study.theory.rate)}: a bound that is {significant(first.study.pessimism, 2):g} times too "
            "pessimistic in the exponent asks for that many times more neurons for the same certainty. The reason is "
            "in the proof: matrix Chernoff pays for the longest possible column, |V_i|² ≤ n V_max², in every direction "
            "at once, while a single direction meets about one entry of it."
        )
    control = failures.get("rare-softplus")
    if control is not None:
        last = control.study.widths[-1]
        made.append(
            "Zero loss out of reach: for softplus the law is known and is the control of the method. It falls to "
            f"{last.probability:.1g} at k = {spaced(last.width)}."
        )
    sigmoid = failures.get("rare-sigmoid")
    if sigmoid is not None:
        ends = [f"{w.probability:.2g} at k = {spaced(w.width)}" for w in sigmoid.study.widths]
        made.append(
            f"For sigmoid nothing is known but the bound. The probability is {', '.join(ends)}. Between neighbouring "
            f"widths −log P grows by {', '.join(_slopes(sigmoid.study))} a neuron{_bound_words(sigmoid.study)}."
        )
    return tuple(made)


def section(runs: Runs) -> Section:
    """The section of the study.

    Parameters
    ----------
    runs : Runs

    Returns
    -------
    Section
    """
    found = _failures(runs)
    figures = {own.run.name: made for own in found if (made := _figure(own)) is not None}
    if not figures:
        return Section("No estimate is there yet.", (), ())
    claims = [claim for own in found for make in (_rate_claim, _law_claim, _small_claim)
              if own.run.name in figures and (claim := make(own, runs.level)) is not None]  # fmt: skip
    trusted = [(own, next((w for w in reversed(own.study.widths) if w.trusted), None)) for own in found]
    parts = [f"P({own.words}) falls to {w.probability:.1g} at k = {spaced(w.width)}" for own, w in trusted if w]
    return Section(
        verdict="; ".join(parts) + "." if parts else "No estimate is to be trusted.",
        claims=tuple(claims),
        figures=tuple(figures.values()),
        tables=tuple(_table(own) for own in found),
        meaning=_meaning({own.run.name: own for own in found}),
    )
