"""The settings of an integration, and the trials that they are applied to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen, doc

from mc.flow.checked import integrate_checked
from mc.flow.descent import Descent, descend
from mc.flow.field import ReducedFlow
from mc.flow.integrate import Controls, Ending
from mc.flow.stopping import RestartRule, ToleranceRule
from mc.model.arrays import Array, Index

BATCH_BYTES = 6_000_000
"""Size of a batch that is integrated together: small enough for the caches, large enough to hide the calls."""


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
        """Number of times of a trajectory."""
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
    rtol, atol, loss_tolerance, horizon : float
    max_steps : int
    method : {"auto", "explicit", "dual", "lowrank"}
    gamma : float or None
        Step of gradient descent; None takes a stable one for each trial.
    gamma_scale : float or None
        Factor of the stable step; None is 1.
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

    @property
    def controls(self) -> Controls:
        """Tolerances and budgets of an integration."""
        return Controls(self.rtol, self.atol, self.horizon, self.max_steps, self.method)

    @property
    def descent(self) -> Descent:
        """Protocol of the rule gd."""
        return Descent(self.gamma, self.loss_tolerance, self.max_steps, self.gamma_scale or 1.0)


@dataclass(frozen=True)
class Case:
    """Some trials of one width and mode, with their pre-activations h (T, k) at time 0."""

    settings: FlowSettings
    flow: ReducedFlow
    h: Array

    def end(self, rule: str) -> Ending:
        """Integrate to the end by a rule of the settings."""
        if rule == "gd":
            return descend(self.flow, self.h, self.settings.descent)
        if rule == "restart":
            return integrate_checked(self.flow, self.h, self.settings.controls, RestartRule)
        tolerance = self.settings.loss_tolerance
        return integrate_checked(self.flow, self.h, self.settings.controls, lambda _: ToleranceRule(tolerance))

    def take(self, rows: Index) -> Case:
        """Some of the trials."""
        return Case(self.settings, self.flow.take(rows), self.h[rows])

    def batches(self, rows: Index) -> list[Index]:
        """Split trials into batches: Q, its successor and about ten vectors of stages a trial."""
        size = max(1, BATCH_BYTES // (8 * self.flow.width * (10 + 2 * (1 + self.flow.problems.rank))))
        return [rows[first : first + size] for first in range(0, rows.size, size)]
