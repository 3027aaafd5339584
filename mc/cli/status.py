"""Print `dipmc status`: the present blocks and trials, intervals now, and the forecast to the goal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mc.estimate.probability.counts import Counts, event_widths
from mc.estimate.sampling.adaptive import AdaptivePlan, Progress, Track, limits, observer, reached, replay
from mc.estimate.sampling.goals import cell_decisions, forecast
from mc.estimate.widths.curves import curve_of_counts
from mc.experiment.experiment import Experiment
from mc.experiment.reading import one_line
from mc.model.arrays import Array, IntArray
from mc.runner.adaptive import decided, sampling_plan
from mc.runner.cost import estimate_cost
from mc.runner.plan import Gap, load_frozen, status
from mc.runner.progress import ObservedCell, observed, trials_of_folder
from mc.store.assembly import standing
from mc.store.blocks import parts
from mc.store.failures import failed_blocks
from mc.store.plan import RunPlan

MOST_FAILURES = 5
"""Failed blocks that are named."""


def run_lines(folder: Path) -> Iterator[str]:
    """Yield the lines on one run folder; InputError when it is no run folder, or holds a foreign file."""
    experiment = load_frozen(folder)
    plan, cells = status(folder, trials_of_folder(experiment, folder))
    yield f"{folder}: {plan.trials} trials in {plan.n_blocks} block(s) of {plan.block_size}"
    for cell in cells:
        least, most = min(cell.trials_present), max(cell.trials_present)
        trials = f"{least}" if least == most else f"{least} to {most}"
        yield (
            f"  {cell.cell.group} {cell.cell.key}: {cell.complete_blocks}/{cell.blocks} blocks complete, "
            f"{trials} trials at every width"
        )
    # a process that ends between a block and the removal of its note leaves one that says nothing
    failed = list(standing(plan, parts(folder, plan), failed_blocks(folder)).values())
    for failure in failed[:MOST_FAILURES]:
        yield one_line(f"  failed: {failure.place}: {failure.error} ({failure.host}, {failure.at})")
    if failed:
        more = f"{len(failed) - MOST_FAILURES} more failed; " if len(failed) > MOST_FAILURES else ""
        yield f"  {more}`dipmc run` computes failed blocks again"
    seen = observed(folder, plan)
    if experiment.document.sampling is None:
        yield from _fixed_lines(experiment, seen)
    else:
        yield from _adaptive_lines(experiment, plan, seen)


def _counted(counts: Counts) -> str:
    trials = counts.trials
    least, most = int(trials.min(initial=0) if not len(trials) else trials.min()), int(trials.max(initial=0))
    return f"{most} trials" if least == most else f"{least} to {most} trials"


def _row(group: str, mode: str, event: str, counts: Counts, words: str) -> str:
    return f"    {group} {mode:<6} {event:<9} {_counted(counts):<20} {words}"


def _widest(widths: IntArray, half: Array, trials: IntArray) -> str:
    if not (trials > 0).any():
        return "no interval yet"
    at = int(np.argmax(np.where(trials > 0, half, -1.0)))
    return f"half-width at most {half[at]:.3g} (k = {widths[at]})"


def _fixed_lines(experiment: Experiment, seen: Mapping[int, ObservedCell]) -> Iterator[str]:
    estimate = experiment.document.estimate
    level, together = estimate.level, estimate.simultaneous
    kind = "at all widths together" if together else "at each width"
    yield f"  intervals now (clopper-pearson, {level:g} {kind}):"
    for own in seen.values():
        for (index, mode, event), (made, _) in cell_decisions(own.cell, experiment.ladder).items():
            counts, widths = Counts.of(made), event_widths(own.cell, event)
            if counts.trials.any():
                band = curve_of_counts(event, mode, index, widths, counts, level, together)
                words = _widest(widths, (band.upper - band.lower) / 2.0, counts.trials)
                yield _row(own.cell.group, mode, event, counts, words)


def _adaptive_lines(experiment: Experiment, plan: RunPlan, seen: Mapping[int, ObservedCell]) -> Iterator[str]:
    rule = sampling_plan(experiment)
    state = replay(rule, observer(decided(experiment, seen.values())))
    yield f"  sampling {experiment.sampling_rule}"
    next_round = "finished" if state.finished else f"round {state.rounds + 1} is next"
    yield (
        f"  {state.rounds} complete rounds, {next_round}; intervals of the complete rounds (beta-binomial, error "
        f"{rule.goal.alpha:g} in all of a cell):"
    )
    for i, track in enumerate(rule.tracks):
        counts = state.counts[i]
        done, wanted = int(reached(rule, track, counts).sum()), int(rule.wanted(track).sum())
        if not wanted:
            continue
        goal = f"decided {done} of {wanted}" if rule.goal.decide else f"at target {done} of {wanted}"
        lower, upper = limits(rule, track, counts)
        words = _widest(track.widths, (upper - lower) / 2.0, counts.trials)
        yield _row(f"c{track.cell:03d}", track.mode, track.event, counts, f"{goal} widths; {words}")
    if not state.finished:
        yield _projection(experiment, plan, rule, state, seen)


def _projected(rule: AdaptivePlan, tracks: Sequence[tuple[Track, IntArray]]) -> Mapping[int, int]:
    """Return the trials at which each width of a cell is done, at the shares so far."""
    found: dict[int, int] = {}
    for track, trials in tracks:
        for width, n in zip(track.widths.tolist(), trials.tolist(), strict=True):
            found[width] = max(found.get(width, 0), n)
    return found


def _projection(
    experiment: Experiment, plan: RunPlan, rule: AdaptivePlan, state: Progress, seen: Mapping[int, ObservedCell]
) -> str:
    """Forecast trials and core-hours to the goal by the cost model, scaled by the time of the blocks so far."""
    trials = [forecast(rule, track, counts) for track, counts in zip(rule.tracks, state.counts, strict=True)]
    left: list[Gap] = []
    most = 0
    for cell in plan.cells:
        own = [(t, n) for t, n in zip(rule.tracks, trials, strict=True) if t.cell == cell.index]
        wide = _projected(rule, [(t, n) for t, n in own if not t.flow])
        flow = _projected(rule, [(t, n) for t, n in own if t.flow])
        present = {(gap.block, k) for gap in seen[cell.index].pieces for k in gap.widths}
        last = max([*wide.values(), *flow.values(), 0])
        most = max(most, last)
        for block in range(-(-last // plan.block_size)):
            first = block * plan.block_size
            widths = tuple(k for k, n in wide.items() if n > first and (block, k) not in present)
            flows = tuple(k for k, n in flow.items() if n > first and (block, k) not in present)
            if widths or flows:
                left.append(Gap(cell, block, widths, flows))
    pieces = [gap for own in seen.values() for gap in own.pieces]
    modelled, spent = estimate_cost(experiment, pieces, plan.trials).seconds, sum(own.seconds for own in seen.values())
    speed = spent / modelled if modelled > 0.0 and spent > 0.0 else 1.0
    hours = estimate_cost(experiment, left, most or 1).seconds * speed / 3600.0
    limit = " (max_trials at some width)" if most >= rule.goal.max_trials else ""
    return (
        f"  to the goal, if shares stay as they are: {most} trials at the slowest width{limit}, {hours:.3g} core-hours"
    )
