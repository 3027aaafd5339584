"""The study "descent": gradient descent with several steps, on the draws of the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mc.estimate.flows.protocol import Protocol, StepPair, protocol, step_pairs, stepped
from mc.estimate.numbers import short, spaced
from mc.estimate.probability.counts import Counts, mode_index
from mc.estimate.probability.support import at_least
from mc.report.figures import Figure
from mc.report.flow_figures import protocols_figure, steps_table
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table
from mc.theory.codes import Outcome

AGREE = 0.95
"""Share of the draws on which a protocol was expected to agree with the flow."""

NEAR = 1e-7
"""The loss below which the published protocol calls a trial converged."""


@dataclass(frozen=True)
class Step:
    """A protocol beside the truth, in one mode of one run."""

    run: Run
    own: Protocol

    @property
    def late(self) -> int:
        """Trials called not converged though the flow reaches zero loss."""
        return int(self.own.too_late.sum())

    @property
    def soon(self) -> int:
        """Trials called converged that cannot reach zero loss."""
        return int(self.own.too_soon.sum())

    @property
    def burst(self) -> int:
        """Trials that left the range of the numbers: the step was too long."""
        cell = next(own.cell for own in self.run.study.cells if own.cell.index == self.own.cell)
        return int((cell.data["outcome"][mode_index(cell, self.own.mode)] == Outcome.NON_FINITE).sum())

    @property
    def trials(self) -> int:
        """Pairs of a trial and a width."""
        return int(self.own.counts.trials.sum())


def _steps(runs: Runs) -> tuple[Step, ...]:
    found = []
    for run in runs.by_name.values():
        for own in run.study.cells:
            for mode in own.cell.modes if own.trials else ():
                made = protocol(own.cell, mode, run.study.experiment, runs.level)
                if made is not None:
                    found.append(Step(run, made))
    return tuple(found)


def _figure(steps: Sequence[Step], level: float) -> Figure | None:
    named = [("", "problem", step.own) for step in steps]
    made = protocols_figure(named, level)
    if made is None:
        return None
    panels = tuple(
        replace(one, name=f"descent-steps-{mode}")
        for one, mode in zip(made.panels, dict.fromkeys(step.own.mode for step in steps), strict=True)
    )
    title = "How often gradient descent is called converged, beside how often the flow reaches zero loss"
    return replace(made, name="descent-steps", title=title, panels=panels)


def _errors_table(steps: Sequence[Step]) -> Table:
    rows = [
        (step.own.gamma, step.own.mode, spaced(int(k)), spaced(int(step.own.counts.trials[i])),
         spaced(int((step.own.truth == 1).sum(axis=0)[i])), spaced(int(step.own.counts.holds[i])),
         spaced(int(step.own.too_soon[i])), spaced(int(step.own.too_late[i])), short(float(step.own.steps[i])))
        for step in steps for i, k in enumerate(step.own.widths)
    ]  # fmt: skip
    return Table(
        "Each step against the flow, width by width: converged before it could (too soon), not converged though the "
        "flow does (too late), and the median number of steps of those that converged",
        ("step", "mode", "width", "trials", "flow reaches zero", "called converged", "too soon", "too late", "steps"),
        tuple(rows),
    )


def _pairs_table(pairs: Sequence[StepPair], level: float) -> Table:
    return Table(
        f"Steps compared on the draws they share (exact McNemar tests, Holm over the widths, at {level:.3g})",
        ("first", "second", "mode", "pairs", "only first", "only second", "verdict"),
        tuple(
            (row["first"], row["second"], row["mode"], row["pairs"], row["only_first"], row["only_second"],
             row["verdict"])
            for row in steps_table(pairs, level)
        ),
    )  # fmt: skip


def _ending(step: Step) -> tuple[int, int] | None:
    """The first trial and width where the protocol errs, for a replay; None where it never does."""
    own = step.own
    wrong = ((own.said == 1) & (own.truth == 0)) | ((own.said == 0) & (own.truth == 1))
    if not wrong.any():
        return None
    at = int(np.argmax(wrong.any(axis=0)))
    return int(np.argmax(wrong[:, at])), int(own.widths[at])


def _agreement(step: Step) -> Counts:
    """Trials where protocol and flow give the same answer, by width; open where one of them is."""
    own = step.own
    known = np.isin(own.said, (0, 1)) & np.isin(own.truth, (0, 1))
    counted = (own.said >= 0) & (own.truth >= 0)
    same = np.asarray((known & (own.said == own.truth)).sum(axis=0), dtype=np.int64)
    differ = np.asarray((known & (own.said != own.truth)).sum(axis=0), dtype=np.int64)
    return Counts(same, differ, np.asarray(counted.sum(axis=0), dtype=np.int64) - same - differ)


def _claim(step: Step, level: float) -> PaperClaim:
    """Whether a step agrees with the flow on 95 of a hundred draws, at every width."""
    counts = _agreement(step)
    seen = counts.trials > 0
    kept = Counts(counts.holds[seen], counts.fails[seen], counts.undecided[seen])
    tests = int(seen.sum())
    verdicts = [str(v) for v in at_least(kept, [AGREE] * tests, 1.0 - level, tests=tests)]
    verdict = next((v for v in ("contradicted", "undecided") if v in verdicts), "supported")
    widths = np.asarray(step.own.widths)[seen]
    worst = int(np.argmax((kept.fails + kept.undecided) / kept.trials))
    place = _ending(step)
    late, soon = step.late, step.soon
    return PaperClaim(
        claim=f"{step.own.gamma}, {step.own.mode}: agrees with the flow on {AGREE:.0%} of the draws at every width",
        verdict=verdict,
        interval=f"exact limits at {level:.3g} over {tests} widths; worst at k = {spaced(int(widths[worst]))}: "
        f"{spaced(int(kept.holds[worst]))} of {spaced(int(kept.trials[worst]))} agree",
        trials=int(kept.trials.max(initial=0)),
        figure="descent-steps",
        experiment=step.run.name,
        address=(step.own.cell, place[0], place[1]) if place else (step.own.cell, None, int(widths[worst])),
        explanation=""
        if verdict != "contradicted"
        else f"{spaced(late)} trials are called too late and {spaced(soon)} "
        "too soon, over all widths: "
        + (
            "the steps run out, or the step is too long for the curvature met on the way, although the flow converges."
            if late >= soon
            else "the loss passes below the tolerance on the way to a small positive limit."
        ),
    )


def _words(steps: Sequence[Step], mode: str) -> str:
    parts = [
        f"{step.own.gamma}: {spaced(step.late)} too late and {spaced(step.soon)} too soon of {spaced(step.trials)}"
        for step in steps
        if step.own.mode == mode
    ]
    return "; ".join(parts) or "nothing was run"


def _late_words(steps: Sequence[Step]) -> str:
    """Why the late ones are late: steps that run out, or that were too long."""
    burst, late = sum(step.burst for step in steps), sum(step.late for step in steps)
    if not late:
        return "None is late."
    if not burst:
        return (
            f"None of the {spaced(late)} late ones left the range of the numbers; whether they were slow or oscillated "
            "when their steps ended is not stored."
        )
    return f"{spaced(burst)} of all trajectories left the range of the numbers, for a step that was too long."


def _meaning(steps: Sequence[Step]) -> tuple[str, ...]:
    return (
        "What is proved is for the flow: with the hidden layer trained it reaches zero loss if and only if y is inside "
        "the zonotope (theory 7.4), with both layers trained and this activation always (theory 7.5). For gradient "
        "descent there is a theorem with a step bounded by the curvature in a ball (theory 9); the steps here are far "
        "longer than it allows. What remains of the exact criterion for any step: no finite network outside the "
        "zonotope has zero loss, as the activation is increasing.",
        f"Hidden layer trained. Of the pairs of a draw and a width: {_words(steps, 'hidden')}. A trial that is too "
        "late converges under the flow and is not done, or not stable, within the steps; one that is too soon meets "
        f"the tolerance {NEAR:g} with its observation just outside the zonotope. Near its boundary the limit has "
        "neurons far out, where the activation is flat, and convergence is slow for the flow as "
        f"well. {_late_words(steps)}",
        f"Both layers trained. {_words(steps, 'both')}.",
        "A step that is stable at the start is not so for ever: the kernel grows where neurons move to steeper parts "
        "of the activation or the output weights grow. Half of the largest stable step leaves room for a factor of "
        "two. The published protocol takes step 1 for every problem: what share of the largest stable step that is "
        "depends on the scale of A and on the activation.",
    )


def _verdict(steps: Sequence[Step]) -> str:
    wrong = {step.own.gamma: 0 for step in steps}
    total = dict(wrong)
    for step in steps:
        wrong[step.own.gamma] += step.late + step.soon
        total[step.own.gamma] += step.trials
    parts = [f"{gamma}: {spaced(wrong[gamma])} of {spaced(total[gamma])}" for gamma in wrong]
    return f"Draws, over all widths and both modes, on which descent and flow disagree: {'; '.join(parts)}."


def _pairs(runs: Mapping[str, Run], level: float) -> tuple[StepPair, ...]:
    known = [
        stepped(name.removeprefix("descent-"), run.study.experiment, [own.cell for own in run.study.cells])
        for name, run in runs.items()
    ]
    return tuple(step_pairs(known, level))


def section(runs: Runs) -> Section:
    """The section of the study.

    Parameters
    ----------
    runs : Runs

    Returns
    -------
    Section
    """
    steps = _steps(runs)
    figure = _figure(steps, runs.level) if steps else None
    if figure is None:
        return Section("No trial is there yet.", (), ())
    return Section(
        verdict=_verdict(steps),
        claims=tuple(_claim(step, runs.level) for step in steps if step.trials),
        figures=(figure,),
        tables=(_errors_table(steps), _pairs_table(_pairs(runs.by_name, runs.level), runs.level)),
        meaning=_meaning(steps),
    )
