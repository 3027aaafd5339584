"""Integration whose error is compared with what it decides: a re-run at a tighter tolerance, then undecided.

In mode `hidden` the growth of errors along the way is bounded (theory §3.5), and the local errors so propagated are the
global one. Elsewhere a companion takes the same trajectory at a looser tolerance: its distance at the end is the global
error of the looser run, and bounds that of the tighter one, growth of errors along the way included, which the sum of
local estimates does not see. The larger of the two is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mc.flow.field import ReducedFlow
from mc.flow.integrate import Controls, Ending, grows_known, integrate, methods_of
from mc.flow.stepper import norm
from mc.flow.stopping import Never, Rule
from mc.model.arrays import Array
from mc.theory.codes import Outcome

LOOSER = 8.0
MUCH_LOOSER, SHARE = 64.0, 1.0 / 8.0
"""Companion of a run by `lowrank` alone, and what part of its distance the error of the run may be: measured, 1/13."""
TIGHTER = 1e-2


def scaled(controls: Controls, factor: float) -> Controls:
    """Controls with other tolerances."""
    if factor == 1.0:
        return controls
    return replace(controls, rtol=min(factor * controls.rtol, 0.5), atol=factor * controls.atol)


def loosened(controls: Controls) -> Controls:
    """Controls of a companion, and of the second pass that tells the errors of a recorded trajectory."""
    return scaled(controls, LOOSER)


def integrate_checked(flow: ReducedFlow, h: Array, controls: Controls, rule_for: Callable[[int], Rule]) -> Ending:
    """Integrate T trajectories; one that its error leaves undecided is integrated once more at a tighter tolerance.

    Where the rule tests its verdict against the error itself a looser tolerance is tried before that of the controls:
    what survives the larger error is decided.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
        Pre-activations at time 0.
    controls : Controls
    rule_for : callable
        Stopping rule for a number of trials.

    Returns
    -------
    Ending
        ``error`` is the global estimate; ``outcome`` is undecided where the rule's event does not survive it.
    """
    loosest = rule_for(0).loosest if grows_known(flow, controls) else 0.0
    first = scaled(controls, max(loosest / controls.rtol, 1.0))
    ending = _with_error(flow, h, first, rule_for)
    for following in (controls, scaled(controls, TIGHTER)) if first is not controls else (scaled(controls, TIGHTER),):
        again = np.flatnonzero(ending.outcome == Outcome.UNDECIDED)
        if not again.size:
            break
        ending.replace(again, _with_error(flow.take(again), h[again], following, rule_for))
    return ending


def _with_error(flow: ReducedFlow, h: Array, controls: Controls, rule_for: Callable[[int], Rule]) -> Ending:
    rule = rule_for(h.shape[0])
    ending = integrate(flow, h, controls, rule)
    rows = np.flatnonzero((ending.time > 0.0) & np.isfinite(ending.loss))
    known = grows_known(flow, controls)
    if not rows.size or (known and rule.loosest > 0.0):
        # the rule has seen the error that is stored
        return ending
    some = flow.take(rows)
    if not known:
        apart, share = (MUCH_LOOSER, SHARE) if methods_of(flow, controls) == ("lowrank",) else (LOOSER, 1.0)
        companion = integrate(some, h[rows], scaled(controls, apart), Never(), until=ending.time[rows])
        distance = share * norm(companion.state - ending.state[rows])
        # a companion that did not arrive tells nothing but that the error is not known
        arrived = (companion.outcome == Outcome.HORIZON) & np.isfinite(distance)
        ending.error[rows] = np.maximum(ending.error[rows], np.where(arrived, distance, np.inf))
    confirmed = rule_for(rows.size).confirms(some, some.observe(ending.state[rows]), ending.error[rows])
    by_rule = np.isin(ending.outcome[rows], (Outcome.CONVERGED_CERTIFIED, Outcome.CONVERGED_TOLERANCE))
    ending.outcome[rows[by_rule & ~confirmed]] = Outcome.UNDECIDED
    return ending
