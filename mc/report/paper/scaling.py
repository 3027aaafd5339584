"""The study "scaling": with which powers of n, m, sigma_A and psi the needed width grows, beside the theorem's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mc.estimate.cells.factors import Point, law, points, power, residual_along, widest
from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import short
from mc.estimate.widths.scaling import NAMES, THEORY, Exponent, ScalingLaw
from mc.report.figures import Figure, mode_name
from mc.report.paper.scaling_panels import SYMBOLS, factor_figure
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table

FACTORS = {"scaling-n": "n", "scaling-m": "m", "scaling-sigma": "sigma_A", "scaling-psi": "psi"}
"""The factor that each experiment varies."""

RUNGS = {"hidden": ("exact", "sharp", "trial", "paper"), "both": ("sharp", "trial", "paper")}
TOGETHER = 4
"""Exponents of one claim at most: the level is shared by so many."""

Key = tuple[str, str, str]
"""Factor, mode and rung."""


@dataclass(frozen=True)
class Fits:
    """All that is fitted.

    Parameters
    ----------
    found : mapping of (factor, mode, rung) to the points of the experiment of that factor
    powers : mapping of the same to Exponent
        Where there are enough widths on the grid.
    laws : mapping of (mode, rung) to ScalingLaw
        Over the cells of all experiments.
    """

    found: Mapping[Key, tuple[Point, ...]]
    powers: Mapping[Key, Exponent]
    laws: Mapping[tuple[str, str], ScalingLaw]


def _fits(cells: Mapping[str, tuple[CellStudy, ...]], seed: int, level: float) -> Fits:
    found, powers, laws = {}, {}, {}
    for mode, events in RUNGS.items():
        for event in events:
            pooled: list[Point] = []
            for factor, own in cells.items():
                at = points(own, mode, event, level)
                if not at:
                    continue
                found[factor, mode, event] = at
                pooled += at
                fitted = power(at, factor, mode, event, seed, level)
                if fitted is not None:
                    powers[factor, mode, event] = fitted
            whole = law(pooled, mode, event, seed, level)
            if whole is not None:
                laws[mode, event] = whole
    return Fits(found, powers, laws)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "−∞" if value < 0 else "∞"


def _span(ends: tuple[float, float]) -> str:
    return f"{_signed(ends[0])} to {_signed(ends[1])}"


def _power_row(exponent: Exponent) -> tuple[str, str, str, str]:
    return (
        _signed(exponent.estimate), _span(exponent.bootstrap), _span(exponent.jackknife),
        f"{exponent.theory:g}".replace("-", "−"),
    )  # fmt: skip


def _powers_table(fits: Fits, level: float) -> Table:
    rows = []
    for (factor, mode, event), found in fits.found.items():
        on_grid = sum(point.on_grid for point in found)
        exponent = fits.powers.get((factor, mode, event))
        numbers = ("–", "too few on the grid", "–", "–") if exponent is None else _power_row(exponent)
        rows.append((SYMBOLS[factor], mode, event, f"{on_grid} of {len(found)}", *numbers))
    return Table(
        f"Powers of one factor at a time, whatever varies with it counted in; approximate intervals at {level:.4g}: "
        "over resampled trials, and over the choice of the cells",
        ("factor", "mode", "rung", "cells on the grid", "power", "trials", "cells", "theorem"),
        tuple(rows),
    )


def _laws_table(fits: Fits, level: float) -> Table:
    rows = []
    for (mode, event), fitted in fits.laws.items():
        by_name = {exponent.name: exponent for exponent in fitted.exponents}
        entries = [
            f"{_signed(e.estimate)} ({_span(widest(e))})" if (e := by_name.get(name)) is not None else "does not vary"
            for name in NAMES
        ]
        rows.append((mode, event, str(int(sum(map(math.isfinite, fitted.log_widths)))), *entries))
    rows += [
        (mode, "theorem", "–", *(f"{powers[name]:g}".replace("-", "−") for name in NAMES))
        for mode, powers in THEORY.items()
    ]
    return Table(
        "One law over the cells of all experiments: powers of all factors together (approximate intervals at "
        f"{level:.4g})",
        ("mode", "rung", "cells", *(SYMBOLS[name] for name in NAMES)),
        tuple(rows),
    )


def _residual_table(cells: Mapping[str, tuple[CellStudy, ...]]) -> Table:
    rows = []
    for factor, own in cells.items():
        for study in own:
            problem = study.cell.problem
            words = ", ".join(
                f"{name} = {problem[key]:g}"
                for key, name in (("n", "n"), ("m", "m"), ("condition", "condition"), ("noise_norm", "|noise|"))
                if problem.get(key) is not None
            )
            widths = [int(w) for w in (10, 1_000, study.cell.widths[-1])]
            at = residual_along(study.cell, widths)
            rows.append((SYMBOLS[factor], words, *(short(value) for value in at)))
    return Table(
        "The initial residual ψ, median over the draws, against the width",
        ("experiment varies", "cell", "k = 10", "k = 1\u202f000", "largest k"),
        tuple(rows),
    )


Bounds = Mapping[tuple[str, str, str], tuple[float, float]]


def _claim(
    words: str, bounds: Bounds, fits: Fits, runs: Mapping[str, Run], why: str, level: float
) -> PaperClaim | None:
    """Whether every power lies in its range; the interval that leaves most open decides."""
    known = {key: widest(fits.powers[key]) for key in bounds if key in fits.powers}
    if not known:
        return None
    out = [k for k, (a, b) in known.items() if b < bounds[k][0] or a > bounds[k][1]]
    inside = all(bounds[k][0] <= a and b <= bounds[k][1] for k, (a, b) in known.items())
    complete = len(known) == len(bounds)
    verdict = "contradicted" if out else "supported" if inside and complete else "undecided"
    key = (out or sorted(known, key=lambda k: known[k][0] - known[k][1]))[0]
    last = [point for point in fits.found[key] if point.on_grid][-1]
    cell = fits.found[key].index(last)
    words_of = [f"{SYMBOLS[k[0]]} ({k[1]}, {k[2]}) {_span(v)}" for k, v in known.items()]
    missing = "" if complete else "; not enough widths on the grid for the others"
    experiment = next(name for name, factor in FACTORS.items() if factor == key[0] and name in runs)
    return PaperClaim(
        claim=words,
        verdict=verdict,
        interval=f"approximate, together at {level:.3g}: {'; '.join(words_of)}{missing}",
        trials=sum(len(p.curve.decisions) for k in {k[0]: k for k in known}.values() for p in fits.found[k]),
        figure=f"scaling-{FACTORS_TO_NAME[key[0]]}",
        experiment=experiment,
        address=(cell, None, round(last.width.estimate)),
        explanation=why if out else "",
    )


FACTORS_TO_NAME = {factor: name.removeprefix("scaling-") for name, factor in FACTORS.items()}


def _near(value: float, reach: float) -> tuple[float, float]:
    return value - reach, value + reach


def _claims(fits: Fits, runs: Mapping[str, Run], level: float) -> tuple[PaperClaim, ...]:
    made = (
        _claim(
            "hidden, paper: the width grows like n ψ² / σ_A², each power within 0.2",
            {("n", "hidden", "paper"): _near(1, 0.2), ("psi", "hidden", "paper"): _near(2, 0.2),
             ("sigma_A", "hidden", "paper"): _near(-2, 0.2)},
            fits, runs,
            "The condition of paper is k > 16 B² V_max² n ψ² / (σ_A² σ_0⁴), and σ_0 is not a constant: below k of the "
            "order of n log n it is still growing with the width, and ψ differs between draws and falls with σ_A as "
            "the observation does.", level,
        ),
        _claim(
            "hidden, trial: the power of n is between 0.5 and 1",
            {("n", "hidden", "trial"): (0.5, 1.0)}, fits, runs,
            "In place of V_max² n this rung has the largest |V_i|² among the k columns, and σ_0 is that of all n "
            "directions.", level,
        ),
        _claim(
            "sharp: the width does not grow with n, power within 0.1 of 0",
            {("n", "hidden", "sharp"): _near(0, 0.1), ("n", "both", "sharp"): _near(0, 0.1)}, fits, runs,
            "Nothing but r × r data enters this rung, but its width goes with c_Z², the largest |Zᵀ V_i|² among the k "
            "columns, and the law of Zᵀ V_i does depend on n: the entries of V_i are bounded, so that |Zᵀ V_i|² is at "
            "most V_max² n, and near n = r this cuts the largest off. As n grows Zᵀ V_i becomes Gaussian and the "
            "largest reaches about 2 log k, where the growth ends: a transient of small n, not a power."
            "", level,
        ),
        _claim(
            "hidden, exact: no power of n (within 0.1), at most the square of ψ and of 1/σ_A",
            {("n", "hidden", "exact"): _near(0, 0.1), ("psi", "hidden", "exact"): (0.0, 2.0),
             ("sigma_A", "hidden", "exact"): (-2.0, 0.0)}, fits, runs,
            "The exact width depends on r and |A⁺y| alone (theory 7.9).", level,
        ),
        _claim(
            "both, trial and paper: powers of ψ and 1/σ_A between 2 and 4",
            {("psi", "both", event): (2.0, 4.0) for event in ("trial", "paper")}
            | {("sigma_A", "both", event): (-4.0, -2.0) for event in ("trial", "paper")}, fits, runs,
            "The power is 2 while the columns dominate the Lipschitz constant and 4 where the radius of the ball does; "
            "σ_A also lowers the observation, hence ψ, so that its own power is weaker than that of 1/σ_A alone."
            "", level,
        ),
    )  # fmt: skip
    return tuple(claim for claim in made if claim is not None)


def _words(fits: Fits, key: Key) -> str:
    exponent = fits.powers.get(key)
    return "–" if exponent is None else f"{_signed(exponent.estimate)} ({_span(widest(exponent))})"


def _verdict(fits: Fits) -> str:
    parts = []
    for mode, event in (("hidden", "exact"), ("hidden", "paper"), ("both", "sharp"), ("both", "paper")):
        own = [
            f"{SYMBOLS[f]}: {_signed(fits.powers[f, mode, event].estimate)}"
            for f in ("n", "psi", "sigma_A")
            if (f, mode, event) in fits.powers
        ]
        if own:
            parts.append(f"{event} ({mode_name(mode)}) {', '.join(own)}")
    return f"Powers of the median width: {'; '.join(parts)}." if parts else "Too few widths are on the grid."


def _meaning(fits: Fits) -> tuple[str, ...]:
    theorem = {m: ", ".join(f"{SYMBOLS[f]}: {THEORY[m][f]:g}".replace("-", "−") for f in NAMES) for m in THEORY}
    return (
        f"The theorem asks for a width with powers {theorem['hidden']} with the hidden layer trained and "
        f"{theorem['both']} with both; its constant is unspecified: form as recalled, not transcribed. Powers can be "
        "measured without the constant. An upper bound on what is needed may grow faster than what is needed, so a "
        "smaller power contradicts nothing; it says for which factor the bound gets worse and worse.",
        "What training needs with the hidden layer trained (exact) has the powers "
        f"{_words(fits, ('n', 'hidden', 'exact'))} of n, {_words(fits, ('psi', 'hidden', 'exact'))} of ψ and "
        f"{_words(fits, ('sigma_A', 'hidden', 'exact'))} of σ_A: the length of the signal does not matter, since "
        "directions that are not observed cost nothing. With both layers trained a single neuron is enough for this "
        "activation at every value of every factor: all powers are 0.",
        f"The powers of the theorem are those of its proof: paper has {_words(fits, ('n', 'hidden', 'paper'))} of n "
        f"and {_words(fits, ('psi', 'hidden', 'paper'))} of ψ with the hidden layer trained. The power of n comes from "
        "two places, the worst case of the columns, which trial avoids in part "
        f"({_words(fits, ('n', 'hidden', 'trial'))}), and the directions that are not observed, which sharp leaves out "
        f"({_words(fits, ('n', 'hidden', 'sharp'))}).",
        f"With both layers trained the power of ψ is {_words(fits, ('psi', 'both', 'trial'))} for trial and "
        f"{_words(fits, ('psi', 'both', 'sharp'))} for sharp: 2 where the columns dominate the Lipschitz constant, "
        "towards 4 where the ball does, as its radius grows with ψ too.",
        "ψ is not a free parameter: y(0) has the size C_φ |A|_F whatever the width, so that ψ does not depend on k or "
        "on n, but grows like √m with the number of observations (the table below). The power of m in the experiment "
        f"that varies it, {_words(fits, ('m', 'hidden', 'paper'))} for paper with the hidden layer trained, therefore "
        "counts ψ² in; the law over all cells takes the two apart.",
    )


def _by_factor(runs: Runs) -> dict[str, tuple[CellStudy, ...]]:
    found = {
        factor: tuple(own for own in runs.by_name[name].study.cells if own.trials)
        for name, factor in FACTORS.items()
        if name in runs.by_name
    }
    return {factor: cells for factor, cells in found.items() if cells}


def _seed(runs: Sequence[Run]) -> int:
    return int(runs[0].study.experiment.get("experiment", {}).get("seed", 0))


def _figure(factor: str, fits: Fits, level: float) -> Figure:
    found = {key[1:]: own for key, own in fits.found.items() if key[0] == factor}
    powers = {key[1:]: own for key, own in fits.powers.items() if key[0] == factor}
    return factor_figure(f"scaling-{FACTORS_TO_NAME[factor]}", factor, found, powers, level)


def section(runs: Runs) -> Section:
    """The section of the study.

    Parameters
    ----------
    runs : Runs

    Returns
    -------
    Section
    """
    cells = _by_factor(runs)
    if not cells:
        return Section("No trial is there yet.", (), ())
    level = 1.0 - (1.0 - runs.level) / TOGETHER
    fits = _fits(cells, _seed(list(runs.by_name.values())), level)
    figures = tuple(_figure(factor, fits, level) for factor in cells)
    return Section(
        verdict=_verdict(fits),
        claims=_claims(fits, runs.by_name, runs.level),
        figures=figures,
        tables=(_powers_table(fits, level), _laws_table(fits, level), _residual_table(cells)),
        meaning=_meaning(fits),
    )
