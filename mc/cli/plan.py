"""Print `dipmc plan`: cells, the trials that the claims take, memory, cost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.methods import METHODS
from mc.estimate.sampling.adaptive import AdaptivePlan
from mc.estimate.sampling.goals import most_trials
from mc.estimate.sampling.planning import MOST_TRIALS, trials_needed, undecidable
from mc.estimate.widths.predicted import cell_theory
from mc.experiment.experiment import Experiment
from mc.runner.adaptive import sampling_plan, unseen_cell
from mc.runner.cost import estimate_cost, peak_memory
from mc.store.results import RESULTS
from mc.theory.codes import FORMS

PACKED = 0.1
"""Share that gzip saves of random float64; repeated values, labels and fill values shrink to nothing."""
DELTAS = (0.1, 0.01, 0.001)
MOST_CELLS = 4
"""Cells whose own claims are computed: each takes a tenth of a second."""
PROBLEMS = 3
"""Problems that stand for all of a cell that draws a fresh one for every trial."""


def plan_lines(experiment: Experiment, tasks: int | None = None) -> Iterator[str]:
    """Lines of the plan of one experiment, if asked with what each of some tasks of a job array would take.

    Raises
    ------
    InputError
        When [sampling] asks for what cannot be known; see `mc.runner.adaptive.sampling_plan`.
    """
    plan = None if experiment.document.sampling is None else sampling_plan(experiment)
    trials = experiment.trials if plan is None else most_trials(plan)
    cells, widths, flows = experiment.cells(), experiment.widths, experiment.flow_widths
    cost = estimate_cost(experiment, trials=trials)
    blocks = -(-(trials or 0) // experiment.block_size)
    at_most = "" if plan is None else "at most "
    yield f"{experiment.name}: {len(cells)} cell(s), {at_most}{blocks} block(s) of {experiment.block_size} trials each"
    yield (
        f"  {'trials' if plan is None else 'trials as the goal takes, at most'} {trials}, modes "
        f"{', '.join(experiment.modes)}, ladder {', '.join(experiment.ladder)}"
    )
    yield f"  {len(widths)} widths from {widths[0]} to {widths[-1]}; flow at {list(flows) or 'none'}"
    yield from _rare_line(experiment, blocks)
    for cell in cells:
        values = ", ".join(f"{key} = {value}" for key, value in cell.attributes.items())
        yield f"  c{cell.index:03d} {cell.key}: {values}"
    if plan is not None:
        yield f"  sampling: {experiment.sampling_rule}; {plan.tests(0)} sequences share its error in cell 0"
    yield from _trials_needed(experiment)
    yield from _own_claims(experiment, plan, trials or 0)
    yield f"  memory: about {peak_memory(experiment) / 1e9:.2g} GB in each worker process"
    each = cost.bytes_on_disk / max(cost.trials, 1)
    yield (
        f"  storage: about {each:.3g} bytes a trial before compression, block files and {RESULTS} together; gzip takes "
        f"{PACKED:.0%} off numbers with all their digits"
    )
    yield f"  cost: {at_most}{cost} ({cost.trials} trials with whole blocks)"
    if tasks is not None:
        most = -(-cost.blocks // tasks)
        hours = cost.seconds / max(cost.blocks, 1) * most / 3600
        yield f"  as {tasks} tasks: {at_most}{most} block(s) and about {hours:.3g} core-hours each"


def _rare_line(experiment: Experiment, blocks: int) -> Iterator[str]:
    if experiment.document.rare is None:
        return
    rare = experiment.document.rare
    size = experiment.block_size
    carriers = min(blocks, rare.blocks(size))
    own = sum(len(rare.trials(range(block * size, (block + 1) * size))) for block in range(carriers))
    fewer = f" ({rare.repetitions} asked for: more trials are needed)" if own < rare.repetitions else ""
    yield (
        f"  rare failure of {rare.margin} at {len(rare.widths)} width(s): {own} repetitions{fewer} of {rare.particles} "
        f"particles in the first {carriers} block(s); the cost below supposes probabilities near 1e-9"
    )


def _count(p: float, share: float, method: str) -> str:
    found = trials_needed(p, share, 0, method).trials
    return f"> {MOST_TRIALS:.0e}".replace("+0", "") if found is None else str(found)


def _trials_needed(experiment: Experiment) -> Iterator[str]:
    estimate = experiment.document.estimate
    alpha, tests = 1.0 - estimate.level, len(experiment.widths) if estimate.simultaneous else 1
    over = f"over {tests} widths (Bonferroni)" if tests > 1 else "at one width"
    yield f"  trials that support P >= 1 - delta if all of them hold, at error {alpha:.3g} {over}:"
    yield "    delta  " + "".join(f"{name:>17}" for name in METHODS)
    for delta in DELTAS:
        counts = "".join(f"{_count(1.0 - delta, alpha / tests, name):>17}" for name in METHODS)
        yield f"    {delta:<7g}{counts}"


def _own_claims(experiment: Experiment, plan: AdaptivePlan | None, trials: int) -> Iterator[str]:
    """P >= P_theory where it says something: how many trials that takes, and whether there are so many."""
    settings, cells = experiment.frozen_tables(), experiment.cells()
    alpha = 1.0 - experiment.document.estimate.level if plan is None else plan.goal.alpha
    method = "clopper-pearson" if plan is None else "beta-binomial"
    said, warned = False, []
    for cell in cells[:MOST_CELLS]:
        own = cell.problem.get("resample", "trial") == "cell"
        try:
            unseen = unseen_cell(experiment, cell, 1 if own else PROBLEMS)
        except InputError:
            # a file of the problem that is not there is the run's to refuse
            continue
        theory = cell_theory(unseen, settings)
        if theory is None or theory.outside:
            continue
        for mode in experiment.modes:
            for form in (name for name in FORMS if name in experiment.ladder):
                p = theory.curve(mode, form, unseen.widths).p
                says = np.flatnonzero(p > 0.0)
                if not len(says):
                    continue
                tests = plan.tests(cell.index) if plan is not None else len(says)
                can = [undecidable(float(p[i]), trials, alpha, tests, method) for i in says]
                place = f"c{cell.index:03d} {mode} {form}"
                first = f"{len(says)} width{'s' if len(says) > 1 else ''} from {unseen.widths[says[0]]}"
                yield from () if said else (f"  claims P >= P_theory, and trials that support them ({method}):",)
                said = True
                low, high = (
                    _count(float(p[i]), alpha / tests, method) if p[i] < 1.0 else "none" for i in says[[0, -1]]
                )
                about = "" if own else f" (mean of {PROBLEMS} problems)"
                yield (
                    f"    {place}: {first}{about}, {low} trials at the first, {high} at the "
                    f"last; decidable at {can.count(None)} of {len(says)} with {trials} trials"
                )
                hopeless = [sentence for sentence in can if sentence is not None]
                if hopeless:
                    warned.append(f"  warning: {place}, k = {unseen.widths[says[-len(hopeless)]]}: {hopeless[0]}")
    if len(cells) > MOST_CELLS and said:
        yield f"    (the first {MOST_CELLS} of {len(cells)} cells)"
    yield from warned
