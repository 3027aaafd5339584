"""The settings of an integration, and the trials that they are applied to."""

from __future__ import annotations

from dataclasses import dataclass

from mc.flow.checked import integrate_checked
from mc.flow.descent import Descent, descend
from mc.flow.field import ReducedFlow
from mc.flow.integrate import Controls, Ending
from mc.flow.stopping import RestartRule, ToleranceRule
from mc.model.arrays import Array, Index

BATCH_BYTES = 6_000_000
"""Size of a batch that is integrated together: small enough for the caches, large enough to hide the calls."""


@dataclass(frozen=True)
class FlowSettings:
    """The [flow] table without its widths.

    Attributes
    ----------
    rule : {"restart", "tolerance", "gd"}
    rtol, atol, loss_tolerance, horizon : float
    max_steps : int
    method : str
    gamma : float or None
        Step of gradient descent; None takes a stable one for each trial.
    gamma_scale : float
        Factor of the stable step.
    save_trials : int
        The first trials of a cell whose trajectories are saved.
    save_times : int or tuple of float
        Number of log-spaced times up to the end, or the times themselves.
    save_signal : bool
        Whether x(t) itself is saved at these times.
    """

    rule: str = "restart"
    rtol: float = 1e-5
    atol: float = 1e-8
    loss_tolerance: float = 1e-7
    horizon: float = 1e6
    max_steps: int = 100_000
    method: str = "auto"
    gamma: float | None = None
    gamma_scale: float = 1.0
    save_trials: int = 0
    save_times: int | tuple[float, ...] = 64
    save_signal: bool = False

    @property
    def times(self) -> int:
        """Number of saved times."""
        return self.save_times if isinstance(self.save_times, int) else len(self.save_times)

    @property
    def controls(self) -> Controls:
        """Tolerances and budgets of an integration."""
        return Controls(self.rtol, self.atol, self.horizon, self.max_steps, self.method)

    @property
    def descent(self) -> Descent:
        """Protocol of the rule gd."""
        return Descent(self.gamma, self.loss_tolerance, self.max_steps, self.gamma_scale)


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
