"""The study "descent": gradient descent with several steps, on the draws of the flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mc.estimate.flows.protocol import Protocol, protocol, step_pairs, stepped
from mc.estimate.probability.counts import Counts, Decision, mode_index
from mc.estimate.probability.support import at_least
from mc.report.figures import Figure
from mc.report.flow_figures import protocols_figure, steps_table
from mc.report.paper.section import EMPTY, PaperClaim, Run, Runs, Section, Table, Texts, together
from mc.theory.codes import Outcome

TEXTS = Texts("descent")

AGREE = 0.95
"""Share of the draws on which a protocol was expected to agree with the flow."""

NEAR = 1e-7
"""The loss below which the published protocol calls a trial converged."""


@dataclass(frozen=True)
class Step:
    """Gradient descent with one step size beside the exact verdict, in one mode of one run."""

    run: Run
    protocol: Protocol

    @property
    def late(self) -> int:
        """Trials called not converged although the flow reaches zero loss."""
        return int(self.protocol.too_late.sum())

    @property
    def soon(self) -> int:
        """Trials called converged that cannot reach zero loss."""
        return int(self.protocol.too_soon.sum())

    @property
    def overflowed(self) -> int:
        """Trials whose numbers overflowed because the step was too long."""
        cell = next(study.cell for study in self.run.study.cells if study.cell.index == self.protocol.cell)
        return int((cell.data["outcome"][mode_index(cell, self.protocol.mode)] == Outcome.NON_FINITE).sum())

    @property
    def trials(self) -> int:
        """Pairs of a trial and a width."""
        return int(self.protocol.counts.trials.sum())

    def agreement(self) -> Counts:
        """Count the trials where protocol and flow give the same answer, by width; undecided where one of them is."""
        said, truth = self.protocol.answer, self.protocol.truth
        known = np.isin(said, (Decision.HOLDS, Decision.FAILS)) & np.isin(truth, (Decision.HOLDS, Decision.FAILS))
        same, differ = ((known & equal).sum(axis=0, dtype=np.int64) for equal in (said == truth, said != truth))
        return Counts(same, differ, ((said >= 0) & (truth >= 0)).sum(axis=0, dtype=np.int64) - same - differ)

    def first_error(self) -> tuple[int, int] | None:
        """Return the first trial and width where the protocol errs, for a replay; None where it never does."""
        said, truth = self.protocol.answer, self.protocol.truth
        wrong = ((said == Decision.HOLDS) & (truth == Decision.FAILS)) | (
            (said == Decision.FAILS) & (truth == Decision.HOLDS)
        )
        if not wrong.any():
            return None
        column = int(np.argmax(wrong.any(axis=0)))
        return int(np.argmax(wrong[:, column])), int(self.protocol.widths[column])


def section(runs: Runs) -> Section:
    """Write the section of the study."""
    steps = _steps(runs)
    figure = _figure(steps, runs.level)
    if figure is None:
        return EMPTY
    return Section(
        verdict=_verdict(steps),
        claims=tuple(agreement_claim(step, runs.level) for step in steps if step.trials),
        figures=(figure,),
        tables=(
            TEXTS.table("errors_table", protocols=[step.protocol for step in steps]),
            _pairs_table(runs.by_name, runs.level),
        ),
        meaning=_meaning(steps),
    )


def _steps(runs: Runs) -> tuple[Step, ...]:
    return tuple(
        Step(run, compared)
        for run in runs.by_name.values()
        for study in run.study.cells if study.trials
        for mode in study.cell.modes
        if (compared := protocol(study.cell, mode, run.study.experiment, runs.level)) is not None
    )  # fmt: skip


def _figure(steps: Sequence[Step], level: float) -> Figure | None:
    figure = protocols_figure([("", "problem", step.protocol) for step in steps], level)
    if figure is None:
        return None
    modes = dict.fromkeys(step.protocol.mode for step in steps)
    panels = tuple(
        replace(panel, name=f"descent-steps-{mode}") for panel, mode in zip(figure.panels, modes, strict=True)
    )
    return replace(figure, name="descent-steps", title=TEXTS.text("figure_title"), panels=panels)


def _pairs_table(runs: Mapping[str, Run], level: float) -> Table:
    compared = [
        stepped(name.removeprefix("descent-"), run.study.experiment, [study.cell for study in run.study.cells])
        for name, run in runs.items()
    ]
    columns = ("first", "second", "mode", "pairs", "only_first", "only_second", "verdict")
    pairs = steps_table(tuple(step_pairs(compared, level)), level)
    return TEXTS.table("pairs_table", [[row[column] for column in columns] for row in pairs], level=level)


def agreement_claim(step: Step, level: float) -> PaperClaim:
    """Judge whether a step agrees with the flow on 95 of a hundred draws, at every width."""
    counts = step.agreement()
    seen = counts.trials > 0
    counts = Counts(counts.holds[seen], counts.fails[seen], counts.undecided[seen])
    widths = step.protocol.widths[seen]
    worst = int(np.argmax((counts.fails + counts.undecided) / counts.trials))
    trial, width = step.first_error() or (None, int(widths[worst]))
    return TEXTS.claim(
        "agreement_claim",
        verdict=together(map(str, at_least(counts, [AGREE] * len(widths), 1.0 - level, tests=len(widths)))),
        trials=counts.trials.max(initial=0),
        figure="descent-steps",
        experiment=step.run.name,
        address=(step.protocol.cell, trial, width),
        gamma=step.protocol.gamma,
        mode=step.protocol.mode,
        agree=AGREE,
        level=level,
        tests=len(widths),
        worst=widths[worst],
        agreeing=counts.holds[worst],
        of=counts.trials[worst],
        late=step.late,
        soon=step.soon,
    )


def _meaning(steps: Sequence[Step]) -> tuple[str, ...]:
    by_mode = {
        mode: [(step.protocol.gamma, step.late, step.soon, step.trials) for step in steps if step.protocol.mode == mode]
        for mode in ("hidden", "both")
    }
    late, overflowed = sum(step.late for step in steps), sum(step.overflowed for step in steps)
    return TEXTS.paragraphs("meaning", **by_mode, tolerance=NEAR, late=late, overflowed=overflowed)


def _verdict(steps: Sequence[Step]) -> str:
    sizes = dict.fromkeys(step.protocol.gamma for step in steps)
    wrong = {size: sum(step.late + step.soon for step in steps if step.protocol.gamma == size) for size in sizes}
    total = {size: sum(step.trials for step in steps if step.protocol.gamma == size) for size in sizes}
    return TEXTS.text("verdict", steps=[(size, wrong[size], total[size]) for size in sizes])
