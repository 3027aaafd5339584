"""The study "ladder": every rung from the explicit bound to convergence, and what each step between them costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mc.estimate.cells.factor_gaps import Gap, Rung, gaps, rungs
from mc.estimate.cells.study import CellStudy
from mc.estimate.claims.run_findings import run_findings
from mc.estimate.numbers import short, spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.support import at_least
from mc.estimate.widths.crossings import crossing_width
from mc.report.figures import Figure, ladder, mode_name
from mc.report.paper.ladder_figure import Column, medians_figure
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table
from mc.report.paper.widths import factor_limits, factor_words, limits_words, width_words

MODES = ("hidden", "both")
WITHIN = (0.8, 1.25)
"""Measured over heuristic width of `exact`: what the hypothesis of the study allows."""

PROMISE = 0.95
NAMES = {"theory": "P_theory, paper"}


@dataclass(frozen=True)
class Size:
    """One size of the study."""

    run: Run
    study: CellStudy
    rungs: dict[str, tuple[Rung, ...]]

    @property
    def label(self) -> str:
        """n and m."""
        problem = self.study.cell.problem
        return f"n = {problem['n']}, m = {problem['m']}"

    def gaps(self, mode: str) -> tuple[Gap, ...]:
        """The steps of a mode."""
        return gaps(self.rungs.get(mode, ()))


def _sizes(runs: Runs) -> tuple[Size, ...]:
    # two intervals go into each factor: their joint confidence is that of the page
    level = 1.0 - (1.0 - runs.level) / 2.0
    return tuple(
        Size(run, own, {mode: rungs(own, mode, level) for mode in own.cell.modes})
        for run in runs.by_name.values()
        for own in run.study.cells
        if own.trials
    )


def _curves(size: Size) -> Figure:
    study = size.run.study
    own = ladder(size.study, study.level, study.simultaneous)
    panels = tuple(
        replace(panel, name=f"{size.run.name}-{mode}", alternative=f"{size.label}. {panel.alternative}")
        for panel, mode in zip(own.panels, size.study.cell.modes, strict=False)
    )
    return replace(own, name=size.run.name, title=f"{size.label}: {own.title[0].lower()}{own.title[1:]}", panels=panels)


def _rung(name: str) -> str:
    return NAMES.get(name, name)


def _medians_table(sizes: Sequence[Size], level: float) -> Table:
    rows = []
    for size in sizes:
        for mode, found in size.rungs.items():
            promise = {c.form: c.width_for for c in size.study.claims if c.mode == mode}
            bound = " / ".join(
                width_words(promise[form], 0) if math.isfinite(promise.get(form, math.inf)) else "–"
                for form in ("trial", "paper")
            )
            for rung in found:
                by_bound = rung.name == "theory"
                limits = "computed" if by_bound else limits_words(rung.interval, rung.top)
                rows.append(
                    (size.label, mode, _rung(rung.name), width_words(rung.estimate, rung.top), limits,
                     bound if by_bound else "")
                )  # fmt: skip
    return Table(
        f"Widths at which half of the draws have each certificate, with {level:.4g} intervals, and from which P_theory "
        f"(trial / paper form) promises {PROMISE}",
        ("size", "mode", "rung", "median width", "interval", f"k_theory({1 - PROMISE:.2g})"),
        tuple(rows),
    )


def _gaps_table(sizes: Sequence[Size], level: float) -> Table:
    rows = tuple(
        (size.label, mode, f"{_rung(gap.lower.name)} to {_rung(gap.upper.name)}", gap.reason,
         factor_words(gap.factor) if math.isfinite(gap.factor) else "–", factor_limits(gap.interval))
        for mode in MODES for size in sizes for gap in size.gaps(mode)
    )  # fmt: skip
    return Table(
        f"What each step costs: factor between the median widths of neighbouring rungs, limits at {level:.3g}",
        ("size", "mode", "step", "what is given away", "factor", "limits"),
        rows,
    )


def _looseness_table(sizes: Sequence[Size], level: float) -> Table:
    """How much wider the network of the explicit bound is than what keeps the same promise."""
    rows = []
    for size in sizes:
        for mode in size.study.cell.modes:
            for claim in (c for c in size.study.claims if c.mode == mode):
                truth = "exact" if mode == "hidden" else "conserved"
                for event in dict.fromkeys((claim.form, truth)):
                    curve = size.study.curves.get((mode, event))
                    if curve is None:
                        continue
                    at = crossing_width(curve.widths, curve.counts, PROMISE, level, curve.method)
                    on_grid = math.isfinite(at.estimate) and at.estimate > 0.0
                    factor = claim.width_for / at.estimate if on_grid else math.nan
                    top = at.grid[1]
                    rows.append(
                        (size.label, mode, claim.form, width_words(claim.width_for, top), event,
                         width_words(at.estimate, top), limits_words(at.interval, top), factor_words(factor))
                    )  # fmt: skip
    return Table(
        f"How loose the explicit bounds are at their own promise, {PROMISE}",
        ("size", "mode", "form", f"k_theory({1 - PROMISE:.2g})", "event", f"width with P = {PROMISE}", "interval",
         "too wide by"),
        tuple(rows),
    )  # fmt: skip


def _heuristic_claim(sizes: Sequence[Size], level: float) -> PaperClaim | None:
    found = []
    for size in sizes:
        curve = size.study.curves.get(("hidden", "exact"))
        # all sizes together (Bonferroni)
        study = replace(size.run.study, level=1.0 - (1.0 - level) / len(sizes))
        rows = [f for f in run_findings(study).findings if f.name == "half-width"] if curve else []
        found += [(size, row) for row in rows]
    if not found:
        return None
    inside = [WITHIN[0] <= f.lower and f.upper <= WITHIN[1] for _, f in found]
    outside = [f.upper < WITHIN[0] or f.lower > WITHIN[1] for _, f in found]
    verdict = "contradicted" if any(outside) else "supported" if all(inside) else "undecided"
    words = "; ".join(f"{s.label}: {f.lower:.2f} to {f.upper:.2f}" for s, f in found)
    worst, far = max(found, key=lambda one: max(one[1].upper, 1.0 / max(one[1].lower, 1e-9)))
    width = far.address[1] if far.address else int(worst.study.cell.widths[0])
    return PaperClaim(
        claim=f"hidden: half of the draws reach zero loss at {WITHIN[0]:g} to {WITHIN[1]:g} times the heuristic width "
        "r + 2π(|A⁺y|² + r/4) (theory 7.9)",
        verdict=verdict,
        interval=f"measured over heuristic, together at {level:.3g}: {words}",
        trials=sum(f.trials for _, f in found),
        figure="ladder-medians",
        experiment=worst.run.name,
        address=(worst.study.cell.index, None, width),
        explanation="" if verdict != "contradicted" else "(7.9) is the sum of two separate infima, a heuristic from "
        "below; (7.10), which takes them together, is larger, and neither is a bound.",
    )  # fmt: skip


def _step_claim(sizes: Sequence[Size], level: float) -> PaperClaim | None:
    """The step from trial to paper with the hidden layer trained, expected between 6 and 10 at every size."""
    low, high = 6.0, 10.0
    found = [(s, g) for s in sizes for g in s.gaps("hidden") if (g.lower.name, g.upper.name) == ("trial", "paper")]
    if not found:
        return None
    limits = [gap.interval for _, gap in found]
    outside = any(b < low or a > high for a, b in limits)
    inside = all(low <= a and b <= high for a, b in limits)
    size, gap = max(found, key=lambda one: abs(math.log(one[1].factor / 8.0)) if one[1].factor > 0.0 else 0.0)
    at = int(min(gap.lower.estimate if gap.lower.estimate > 0.0 else 1.0, float(gap.lower.top)))
    return PaperClaim(
        claim=f"hidden: paper takes {low:g} to {high:g} times the width of trial, whatever the size",
        verdict="contradicted" if outside else "supported" if inside else "undecided",
        interval=f"factor at {level:.3g}: " + "; ".join(f"{s.label}: {factor_limits(g.interval)}" for s, g in found),
        trials=sum(s.study.trials for s, _ in found),
        figure="ladder-medians",
        experiment=size.run.name,
        address=(size.study.cell.index, None, at),
        explanation="" if not outside else "Both conditions have the same form and differ in their Lipschitz constants "
        "alone, by (B V_max √n) / (B₂ max|V_i|). The largest of many columns comes near V_max √n for small n and stays "
        "well below it for large n, so the factor grows with n instead of staying near 8.",
    )  # fmt: skip


def _beyond_claim(sizes: Sequence[Size], level: float) -> PaperClaim | None:
    """Whether paper with both layers is beyond the grid at the sizes from n = 40."""
    large = [
        (s, c)
        for s in sizes
        if (c := s.study.curves.get(("both", "paper"))) is not None and s.study.cell.problem["n"] >= 40
    ]
    large = [(s, c) for s, c in large if c.counts.trials[-1] > 0]
    if not large:
        return None
    names, words = [], []
    for size, curve in large:
        last = Counts(curve.counts.fails[-1:], curve.counts.holds[-1:], curve.counts.undecided[-1:])
        names.append(str(at_least(last, [0.5], 1.0 - level, tests=len(large))[0]))
        words.append(f"{size.label}: {spaced(int(last.holds[0]))} of {spaced(int(last.trials[0]))} draws not certified")
    verdict = next((v for v in ("contradicted", "undecided") if v in names), "supported")
    size, curve = large[0]
    top = spaced(int(curve.widths[-1]))
    return PaperClaim(
        claim=f"both: from n = 40 on, {top} neurons do not certify half of the draws by paper",
        verdict=verdict,
        interval="; ".join(words),
        trials=sum(int(c.counts.trials[-1]) for _, c in large),
        figure="ladder-medians",
        experiment=size.run.name,
        address=(size.study.cell.index, None, int(curve.widths[-1])),
        explanation=""
        if verdict != "contradicted"
        else "With both layers trained the condition of paper grows with "
        "ψ⁴ only where the ball outgrows the columns; before that it grows with ψ², so that the width is smaller than "
        "the fourth power extrapolates to.",
    )


def _product(size: Size, mode: str) -> str:
    """From zero loss to the crudest rung on the grid, in words."""
    found = size.rungs.get(mode, ())
    if not found or not math.isfinite(found[0].estimate) or found[0].estimate <= 0.0:
        return ""
    seen = [rung for rung in found if math.isfinite(rung.estimate) and rung.name != "theory"]
    words = f"{size.label}: {width_words(found[0].estimate, found[0].top)} ({found[0].name})"
    if len(seen) > 1:
        words += f" against {width_words(seen[-1].estimate, seen[-1].top)} ({seen[-1].name}), "
        words += factor_words(seen[-1].estimate / found[0].estimate)
    lost = [rung.name for rung in found if rung.name != "theory" and math.isinf(rung.estimate)]
    return words + (f"; {', '.join(lost)} beyond {spaced(found[0].top)}" if lost else "")


def _verdict(sizes: Sequence[Size]) -> str:
    parts = []
    for mode in MODES:
        words = [w for w in (_product(size, mode) for size in (sizes[0], sizes[-1])) if w]
        if words:
            parts.append(f"{mode_name(mode).capitalize()}, median widths: " + "; ".join(dict.fromkeys(words)))
    return ". ".join(parts) + "." if parts else "No median width is on the grid."


def _range_of(sizes: Sequence[Size], mode: str, step: tuple[str, str]) -> str:
    factors = [
        g.factor for s in sizes for g in s.gaps(mode)
        if (g.lower.name, g.upper.name) == step and math.isfinite(g.factor)
    ]  # fmt: skip
    beyond = [
        f"more than {factor_words(g.upper.top / g.lower.estimate)[1:]} at {s.label}"
        for s in sizes for g in s.gaps(mode)
        if (g.lower.name, g.upper.name) == step and math.isinf(g.upper.estimate) and 0.0 < g.lower.estimate < math.inf
    ]  # fmt: skip
    ends = " to ".join(dict.fromkeys(factor_words(f)[1:] for f in (min(factors), max(factors)))) if factors else ""
    return ", ".join(part for part in (ends, *beyond) if part) or "a factor that is not on the grid"


def _constants(sizes: Sequence[Size]) -> str:
    """What the Lipschitz constants alone explain of the step from trial to paper, from the margins of the draws."""
    parts = []
    for size in sizes:
        trial, paper = (size.study.cell.data.get(f"margin_{name}") for name in ("trial", "paper"))
        if trial is None or paper is None or "hidden" not in size.study.cell.modes:
            continue
        mode = size.study.cell.modes.index("hidden")
        at = size.rungs["hidden"]
        width = next((r.estimate for r in at if r.name == "trial"), math.nan)
        if not (math.isfinite(width) and width > 0.0):
            continue
        column = int(np.argmin(np.abs(np.log(size.study.cell.widths / width))))
        ratio = np.nanmedian(trial[mode, :, column] / paper[mode, :, column])
        parts.append(f"{size.label}: {short(float(ratio) ** 2, 2)}")
    return "; ".join(parts)


def _meaning(sizes: Sequence[Size]) -> tuple[str, ...]:
    hidden = {
        step: _range_of(sizes, "hidden", step)
        for step in (("exact", "sharp"), ("sharp", "trial"), ("trial", "paper"), ("paper", "theory"))
    }
    both = {
        step: _range_of(sizes, "both", step) for step in (("sharp", "trial"), ("trial", "paper"), ("paper", "theory"))
    }
    return (
        "What is proved: each rung is a sufficient condition for the drawn network at hand, so on no draw can a cruder "
        "one hold where a finer one fails, and the probability of each is below that of the next. P_theory bounds the "
        "probability of paper and of trial before anything is drawn. What is observed is where these probabilities "
        "pass one half, and that is orders of magnitude apart.",
        "Hidden layer trained. What training reaches is decided exactly: y has to lie inside a zonotope, which takes "
        "about as many neurons as r + 2π(|A⁺y|² + r/4), with no power of n in it. Linearisation, the price of every "
        "proof that the Jacobian stays near its start, multiplies the width by "
        f"{hidden['exact', 'sharp']} (exact to sharp): neurons do move far and training succeeds nevertheless. The "
        "ball in place of the path and all n directions instead of the r observed ones multiply it by "
        f"{hidden['sharp', 'trial']} (sharp to trial); the worst case of the columns of V, V_max √n in place of their "
        f"largest, by {hidden['trial', 'paper']} (trial to paper); union bounds "
        f"and concentration by {hidden['paper', 'theory']} (paper to P_theory at one half).",
        "The step from trial to paper is explained by the Lipschitz constants alone: the squares of their ratio on the "
        f"draws of this study, medians near the width of trial, are {_constants(sizes) or 'not on this grid'}.",
        "Both layers trained. A quantity conserved by each neuron proves convergence from a single neuron on, so every "
        f"other bound is loose by its own size. Sharp to trial is a factor of {both['sharp', 'trial']}, "
        f"trial to paper of {both['trial', 'paper']}, paper to P_theory of {both['paper', 'theory']}: the published "
        "constant pays √n for the columns and for the radius of the ball at once, and its condition goes with higher "
        "powers of ψ.",
        "The published width condition has this form with an unspecified constant: form as recalled, not transcribed. "
        "That the certificates need far more neurons than convergence does not contradict it; it says that a condition "
        "of this kind cannot explain why narrow networks converge.",
    )


def section(runs: Runs) -> Section:
    """The section of the study.

    Parameters
    ----------
    runs : Runs

    Returns
    -------
    Section
    """
    sizes = _sizes(runs)
    if not sizes:
        return Section("No trial is there yet.", (), ())
    columns = [Column(size.label, size.rungs, {m: size.gaps(m) for m in size.rungs}) for size in sizes]
    figures = (medians_figure(columns, runs.level), *(_curves(size) for size in sizes))
    claims = (claim(sizes, runs.level) for claim in (_heuristic_claim, _step_claim, _beyond_claim))
    level = 1.0 - (1.0 - runs.level) / 2.0
    return Section(
        verdict=_verdict(sizes),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=figures,
        tables=(_medians_table(sizes, level), _gaps_table(sizes, runs.level), _looseness_table(sizes, runs.level)),
        meaning=_meaning(sizes),
    )
