"""Integration whose error is compared with what it decides: a looser companion, one re-run, then undecided.

The companion takes the same trajectory at eight times the tolerance. Its distance at the end estimates the global
error of the looser run, and so bounds that of the tighter one, growth of errors along the way included, which the sum
of local estimates does not see. The larger of the two is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mc.flow.driver import Controls, Ending, integrate
from mc.flow.fields import ReducedFlow
from mc.flow.stepper import norm
from mc.flow.stopping import Never, Rule
from mc.outcomes import Outcome

Array = NDArray[np.float64]

LOOSER = 8.0
TIGHTER = 1e-2


def loosened(controls: Controls) -> Controls:
    """Controls of a companion."""
    return replace(controls, rtol=min(LOOSER * controls.rtol, 0.5), atol=LOOSER * controls.atol)


def integrate_checked(flow: ReducedFlow, h: Array, controls: Controls, rule_for: Callable[[int], Rule]) -> Ending:
    """Integrate T trajectories; one that its error leaves undecided is integrated once more at a tighter tolerance.

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
    ending = _with_companion(flow, h, controls, rule_for)
    again = np.flatnonzero(ending.outcome == Outcome.UNDECIDED)
    if again.size:
        tight = replace(controls, rtol=TIGHTER * controls.rtol, atol=TIGHTER * controls.atol)
        ending.replace(again, _with_companion(flow.take(again), h[again], tight, rule_for))
    return ending


def _with_companion(flow: ReducedFlow, h: Array, controls: Controls, rule_for: Callable[[int], Rule]) -> Ending:
    ending = integrate(flow, h, controls, rule_for(h.shape[0]))
    rows = np.flatnonzero((ending.time > 0.0) & np.isfinite(ending.loss))
    if not rows.size:
        return ending
    some = flow.take(rows)
    companion = integrate(some, h[rows], loosened(controls), Never(), until=ending.time[rows])
    distance = norm(companion.state - ending.state[rows])
    # a companion that did not arrive tells nothing but that the error is not known
    arrived = (companion.outcome == Outcome.HORIZON) & np.isfinite(distance)
    ending.error[rows] = np.maximum(ending.error[rows], np.where(arrived, distance, np.inf))
    confirmed = rule_for(rows.size).confirms(some, some.observe(ending.state[rows]), ending.error[rows])
    by_rule = np.isin(ending.outcome[rows], (Outcome.CONVERGED_CERTIFIED, Outcome.CONVERGED_TOLERANCE))
    ending.outcome[rows[by_rule & ~confirmed]] = Outcome.UNDECIDED
    return ending
