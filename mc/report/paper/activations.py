"""The study "activations": the ladder for other activations and output laws, and where training gets stuck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mc.estimate.cells.factor_gaps import Rung, rungs
from mc.estimate.flows.stuck import Stuck, exact_counts, stuck
from mc.estimate.numbers import spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.support import at_least
from mc.report.figures import Figure
from mc.report.paper.activations_figure import Ensemble, medians_figure, stuck_figure
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table
from mc.report.paper.widths import factor_limits, limits_words, width_words

RARE = 0.05
"""Share of stuck draws below which a width counts as safe."""

FEWER = (3.0, 5.0)
"""How many times fewer neurons tanh and arctan were expected to need than sigmoid."""


def _network(run: Run) -> tuple[str, str]:
    network = run.study.experiment["network"]
    return str(network.get("activation", "sigmoid")), str(network.get("output_law", "uniform"))


def _ensembles(runs: Mapping[str, Run], level: float) -> dict[str, Ensemble]:
    found = {}
    for name, run in runs.items():
        cells = [own for own in run.study.cells if own.trials]
        if cells:
            by_mode = {
                mode: tuple(rung for rung in rungs(cells[0], mode, level) if rung.name != "theory")
                for mode in cells[0].cell.modes
            }
            found[name] = Ensemble(*_network(run), by_mode)
    return found


def _medians_table(ensembles: Mapping[str, Ensemble], level: float) -> Table:
    names = ("exact", "conserved", "sharp", "trial", "paper")
    rows = []
    for own in ensembles.values():
        for mode, found in own.rungs.items():
            by_name = {rung.name: rung for rung in found}
            entries = [
                f"{width_words(r.estimate, r.top)} ({limits_words(r.interval, r.top)})"
                if (r := by_name.get(n))
                else "–"
                for n in names
            ]
            rows.append((own.activation, own.law, mode, *entries))
    return Table(
        f"Width at which half of the draws have each certificate, with {level:.4g} limits; – where it does not apply",
        ("activation", "law", "mode", *names),
        tuple(rows),
    )


def _stuck_table(found: Mapping[str, Sequence[Stuck]]) -> Table:
    rows = [
        (name.removeprefix("activations-stuck-"), own.mode, spaced(int(k)), spaced(int(own.trials[i])),
         spaced(int(own.arrived[i])), spaced(int(own.cannot[i])), spaced(int(own.left_open[i])),
         f"{spaced(int(own.broken[i]))} of {spaced(int(own.checked[i]))}" if own.checked[i] else "–")
        for name, modes in found.items() for own in modes for i, k in enumerate(own.widths)
    ]  # fmt: skip
    return Table(
        "How the trajectories ended: at zero loss, proved not to get there, or neither before the horizon; and how "
        "many contradict the exact verdict",
        ("activation", "mode", "width", "trajectories", "arrived", "cannot", "left open", "against the verdict"),
        tuple(rows),
    )


def _examples_table(found: Mapping[str, Sequence[Stuck]]) -> Table:
    rows = [
        (name.removeprefix("activations-stuck-"), f"trial {trial}", spaced(width),
         f"dipmc replay RUN --trial {trial} --width {width} (RUN: the run {name})")
        for name, modes in found.items() for own in modes for trial, width in own.examples[:3]
    ]  # fmt: skip
    return Table(
        "Draws that get stuck, the widest networks first: to be computed again",
        ("activation", "draw", "width", "command"),
        tuple(rows),
    )


def _rung(own: Ensemble, mode: str, name: str) -> Rung | None:
    return next((rung for rung in own.rungs.get(mode, ()) if rung.name == name), None)


def _ratio_claim(ensembles: Mapping[str, Ensemble], trials: Mapping[str, int], level: float) -> PaperClaim | None:
    """How many times fewer neurons tanh and arctan need than sigmoid, exact widths, law by law."""
    exact = {(own.activation, own.law): (name, _rung(own, "hidden", "exact")) for name, own in ensembles.items()}
    found = []
    for (activation, law), (name, rung) in exact.items():
        base = exact.get(("sigmoid", law), ("", None))[1]
        if activation not in ("tanh", "arctan") or rung is None or base is None or not rung.estimate > 0.0:
            continue
        low = base.interval[0] / rung.interval[1] if math.isfinite(rung.interval[1]) else 0.0
        found.append((name, activation, law, rung, (low, base.interval[1] / max(rung.interval[0], 1.0))))
    if not found:
        return None
    outside = [one for one in found if one[4][1] < FEWER[0] or one[4][0] > FEWER[1]]
    inside = all(FEWER[0] <= low and high <= FEWER[1] for *_, (low, high) in found)
    name, _, _, rung, _ = (outside or found)[0]
    words = "; ".join(f"{activation}, {law}: {factor_limits(ends)}" for _, activation, law, _, ends in found)
    return PaperClaim(
        claim=f"exact: tanh and arctan need {FEWER[0]:g} to {FEWER[1]:g} times fewer neurons than sigmoid, each law",
        verdict="contradicted" if outside else "supported" if inside else "undecided",
        interval=f"factor, each at {level:.3g}: {words}",
        trials=sum(trials[name] for name, own in ensembles.items() if own.activation in ("sigmoid", "tanh", "arctan")),
        figure="activations-medians",
        experiment=name,
        address=(0, None, round(rung.estimate) if math.isfinite(rung.estimate) else rung.top),
        explanation="" if not outside else "The width is about r + 2π(|A⁺y|² + r(a + b)²/4)/(b − a)² (theory 7.9): the "
        "box of tanh is twice as long as that of sigmoid and centred at 0, that of arctan π times as long, and what is "
        "left of it is the r that no box can lower; the factor depends on |A⁺y|.",
    )  # fmt: skip


def _gaussian_claim(ensembles: Mapping[str, Ensemble], trials: Mapping[str, int], level: float) -> PaperClaim | None:
    found = [
        (name, own.activation, mode, rung)
        for name, own in ensembles.items() if own.law == "gaussian"
        for mode in own.rungs if (rung := _rung(own, mode, "trial")) is not None
    ]  # fmt: skip
    if not found:
        return None
    # open at both ends is no information; beyond the grid for certain is a contradiction
    beyond = [one for one in found if one[3].interval[0] >= one[3].top]
    reached = all(math.isfinite(rung.interval[1]) for *_, rung in found)
    name, _, _, rung = (beyond or found)[0]
    words = "; ".join(f"{act} ({mode}): {limits_words(r.interval, r.top)}" for _, act, mode, r in found)
    return PaperClaim(
        claim="Gaussian output weights, outside the theorem: trial certifies half of the draws on the grid",
        verdict="contradicted" if beyond else "supported" if reached else "undecided",
        interval=f"median width, each at {level:.3g}: {words}",
        trials=sum({name: trials[name] for name, *_ in found}.values()),
        figure="activations-medians",
        experiment=name,
        address=(0, None, rung.top if math.isinf(rung.estimate) else round(max(rung.estimate, 1.0))),
        explanation=""
        if not beyond
        else "The largest of k Gaussian columns is about √n + √(2 log k) long: it grows with the width, and the "
        "Lipschitz constant of the draw with it.",
    )


def _safe_claim(exact: Mapping[str, tuple[Run, Counts]], level: float) -> PaperClaim | None:
    found = {name: (run, counts) for name, (run, counts) in exact.items() if counts.trials[-1] > 0}
    if not found:
        return None
    verdicts, words = {}, []
    for name, (_, counts) in found.items():
        last = Counts(counts.holds[-1:], counts.fails[-1:], counts.undecided[-1:])
        verdicts[name] = str(at_least(last, [1.0 - RARE], 1.0 - level, tests=len(found))[0])
        stuck_draws, trials = int(last.fails[0]), int(last.trials[0])
        words.append(f"{name.removeprefix('activations-stuck-')}: {stuck_draws} of {spaced(trials)} draws")
    verdict = next((v for v in ("contradicted", "undecided") if v in verdicts.values()), "supported")
    name = next(n for n, v in verdicts.items() if v == verdict)
    run = found[name][0]
    width = int(run.study.cells[0].cell.widths[-1])
    return PaperClaim(
        claim=f"sin, silu, gelu, hidden: at k = {spaced(width)} at most {RARE:.0%} of the draws get stuck",
        verdict=verdict,
        interval=f"exact limits together at {level:.3g}; stuck: {'; '.join(words)}",
        trials=sum(int(counts.trials[-1]) for _, counts in found.values()),
        figure="activations-stuck",
        experiment=name,
        address=(0, None, width),
        explanation=""
        if verdict != "contradicted"
        else "Neurons that start left of the minimum of the activation can "
        "only move within a narrow box, so more of them are needed than the number of observations suggests.",
    )


def _meaning(ensembles: Mapping[str, Ensemble], found: Mapping[str, Sequence[Stuck]]) -> tuple[str, ...]:
    widths = []
    for own in ensembles.values():
        rung = _rung(own, "hidden", "exact")
        if own.law == "uniform" and rung is not None:
            widths.append(f"{own.activation} {width_words(rung.estimate, rung.top)}")
    hidden = [own for modes in found.values() for own in modes if own.mode == "hidden"]
    both = [own for modes in found.values() for own in modes if own.mode == "both"]
    broken, checked = (sum(int(getattr(own, key).sum()) for own in hidden) for key in ("broken", "checked"))
    free, total = (sum(int(getattr(own, key).sum()) for own in both) for key in ("arrived", "trials"))
    widest = [
        f"{name.removeprefix('activations-stuck-')} k = {spaced(own.examples[0][1])} (trial {own.examples[0][0]})"
        for name, modes in found.items() for own in modes if own.examples
    ]  # fmt: skip
    made = [
        "What is proved: each rung is a proof for the drawn network, whatever drew it, so the order of the rungs "
        "cannot depend on the activation or the law. What the constants B, C_φ, C_φ′ and V_max do depend on is the "
        "activation and the law, and with them the widths.",
        "Hidden layer trained, uniform weights: half of the draws reach zero loss at "
        f"{', '.join(widths) or 'no width'} neurons. What counts is the range of the activation, (b − a)² in (theory "
        "7.9), and its centre: an off-centre range puts r(a + b)²/4 on top of the observation. Softplus, which is "
        "unbounded on one side, follows a law that is exact: 2r − 1. Each law was given a problem of its own: widths "
        "compare between activations of one law, not between laws.",
        "Gaussian weights are outside the theorem, as their entries have no bound: neither paper nor P_theory says "
        "anything about them. trial and sharp use the columns that were drawn, and hold as they stand.",
    ]
    if hidden:
        made.append(
            "Where φ′ has zeros no neuron crosses one with the hidden layer trained: the derivative of its input "
            "vanishes there. Each neuron is kept in the box it starts in, and y may lie outside what these boxes can "
            f"produce. The widest networks that got stuck: {'; '.join(widest) or 'none'}. Of {spaced(checked)} "
            f"trajectories that the exact verdict was compared with, {spaced(broken)} contradict it. "
            + (
                f"With both layers trained {spaced(free)} of {spaced(total)} trajectories arrived: the output weights "
                "can move y where the boxes of the neurons cannot."
                if total
                else ""
            )
        )
    return tuple(made)


def _ordered(found: Sequence[Rung]) -> bool:
    """Whether no rung comes before one that it implies, as far as the grid goes."""
    widths = [rung.estimate for rung in found if not math.isnan(rung.estimate)]
    return widths == sorted(widths)


def _verdict(ensembles: Mapping[str, Ensemble], exact: Mapping[str, tuple[Run, Counts]]) -> str:
    parts = []
    for mode in ("hidden", "both"):
        known = [
            r.estimate for own in ensembles.values() if (r := _rung(own, mode, "sharp")) and 0 < r.estimate < math.inf
        ]
        if known:
            low, high = (width_words(f(known), 0) for f in (min, max))
            parts.append(f"{mode}: the median width of sharp runs from {low} to {high}")
    for name, (run, counts) in exact.items():
        at = [int(k) for k, n in zip(run.study.cells[0].cell.widths, counts.fails, strict=True) if n > 0]
        where = f"up to k = {spaced(at[-1])}" if at else "at no width"
        parts.append(f"{name.removeprefix('activations-stuck-')} gets stuck {where}")
    ladders = [found for own in ensembles.values() for found in own.rungs.values()]
    kept = (
        f"The median widths stand in the order of the ladder in {sum(map(_ordered, ladders))} of {len(ladders)} cases"
    )
    return f"{kept}; {'; '.join(parts)}." if parts else "Nothing is there."


def section(runs: Runs) -> Section:
    """The section of the study.

    Parameters
    ----------
    runs : Runs

    Returns
    -------
    Section
    """
    level = 1.0 - (1.0 - runs.level) / 2.0
    boxed = {n: r for n, r in runs.by_name.items() if n.startswith("activations-stuck-") and r.study.cells}
    ensembles = _ensembles({n: r for n, r in runs.by_name.items() if n not in boxed}, level)
    cells = {name: run.study.cells[0].cell for name, run in boxed.items()}
    ends = {n: tuple(own for mode in c.modes if (own := stuck(c, mode)) is not None) for n, c in cells.items()}
    exact = {n: (boxed[n], counts) for n, c in cells.items() if (counts := exact_counts(c)) is not None}
    if not ensembles and not exact:
        return Section("No trial is there yet.", (), ())
    figures: list[Figure] = []
    tables: list[Table] = []
    if ensembles:
        figures.append(medians_figure(list(ensembles.values()), level))
        tables.append(_medians_table(ensembles, level))
    if exact:
        curves = {n.removeprefix("activations-stuck-"): (cells[n].widths, c) for n, (_, c) in exact.items()}
        figures.append(stuck_figure(curves, runs.level))
        tables += [_stuck_table(ends), _examples_table(ends)]
    trials = {name: runs[name].study.cells[0].trials for name in ensembles}
    claims = (
        _ratio_claim(ensembles, trials, runs.level),
        _gaussian_claim(ensembles, trials, level),
        _safe_claim(exact, runs.level),
    )
    return Section(
        verdict=_verdict(ensembles, exact),
        claims=tuple(claim for claim in claims if claim is not None),
        figures=tuple(figures),
        tables=tuple(tables),
        meaning=_meaning(ensembles, ends),
    )
