"""Settings of an integration: the table [flow] of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen, doc

Width = Annotated[int, Ge(1), Le(10**9)]
Switch = Annotated[bool, doc("true or false, without quotes")]


@dataclass(frozen=True)
class Save:
    """The table [flow.save]: which trajectories are kept, and at which times."""

    trials: Annotated[int, Ge(0), Le(10**5), doc("a whole number from 0 to 100000")] = 0  # the first of each cell
    times: Annotated[
        int | tuple[float, ...],
        doc("a whole number from 2 to 10000 (log-spaced times) or an increasing list of positive times"),
    ] = 64  # a number of log-spaced times up to the end, or the times themselves
    signal: Switch = False  # whether x(t) itself is kept

    @property
    def count(self) -> int:
        """Return the number of times of a trajectory."""
        return self.times if isinstance(self.times, int) else len(self.times)


@dataclass(frozen=True)
class FlowSettings:
    """The table [flow]: at which widths trajectories are integrated, and how.

    Each field holds its constraint and the text that a message about a wrong value ends with.

    Attributes
    ----------
    widths : tuple of int
        Widths that are integrated.
    rule : {"restart", "tolerance", "gd"}
        Stop by the certificate of theory §5.4 or at ``loss_tolerance``; "gd" runs gradient descent (theory §9).
    rtol, atol : float
        A step's error in theta is kept below ``atol + rtol (|theta(t) - theta(0)| + psi(L_0)/|A J(0)|)``, the distance
        moved and the least that fitting the data takes: a norm independent of the width and of the other trials.
    loss_tolerance : float
        Loss at which a trajectory counts as converged (rules "tolerance" and "gd").
    horizon : float
        Last time.
    max_steps : int
        Budget of attempted steps of a trial.
    method : {"auto", "explicit", "dual", "lowrank"}
        "dual" integrates the hidden layer only. "auto" takes the exponential methods, "dual" or "lowrank", which are
        the most accurate at equal cost; but where Phi has no cheap inverse, a trial of the hidden layer starts with the
        explicit pair and continues with "lowrank" once stability limits its steps.
    gamma : float or None
        Step size of gradient descent; None takes `mc.flow.descent.stable_step` of each trial.
    gamma_scale : float or None
        Factor of that stable step; None is 1.
    save : Save
    """

    widths: Annotated[tuple[Width, ...], MinLen(1), doc("an increasing list of widths among those of [widths]")] = ()
    rule: Annotated[Literal["restart", "tolerance", "gd"], doc("one of restart, tolerance, gd")] = "restart"
    rtol: Annotated[float, Gt(0), Le(0.1), doc("a number above 0 and at most 0.1")] = 1e-5
    atol: Annotated[float, Gt(0), doc("a number above 0")] = 1e-8
    loss_tolerance: Annotated[float, Gt(0), doc("a number above 0")] = 1e-7
    horizon: Annotated[float, Gt(0), doc("a number above 0 (a time)")] = 1e6
    max_steps: Annotated[int, Ge(1), Le(10**12), doc("a whole number from 1 to 10^12")] = 100_000
    method: Annotated[Literal["auto", "explicit", "dual", "lowrank"], doc("one of auto, explicit, dual, lowrank")] = (
        "auto"
    )
    gamma: Annotated[
        float | None,
        Gt(0),
        doc("a number above 0 (rule 'gd' only), or 'auto' for half the largest step estimated stable"),
    ] = None
    gamma_scale: Annotated[
        float | None, Gt(0), doc("a number above 0 (gamma 'auto' only): the part of that step to take")
    ] = None
    save: Annotated[Save, doc("a table { trials = 16, times = 64 }")] = field(default_factory=Save)
