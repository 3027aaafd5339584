"""Trials of one width and mode with the settings of their integration."""

from __future__ import annotations

from dataclasses import dataclass

from mc.flow.descent import descend
from mc.flow.field import ReducedFlow
from mc.flow.integrate import Ending, integrate_checked
from mc.flow.settings import FlowSettings
from mc.flow.stopping import RestartRule, ToleranceRule
from mc.model.arrays import Array, Index

BATCH_BYTES = 6_000_000
"""Size of the trials that are integrated together: small enough for the caches, large enough to hide the calls."""


@dataclass(frozen=True)
class Case:
    """Trials of one width and mode, ready to be integrated.

    Attributes
    ----------
    settings : FlowSettings
    flow : ReducedFlow
        Of T trials.
    h : (T, k) array
        Pre-activations at time 0.
    """

    settings: FlowSettings
    flow: ReducedFlow
    h: Array

    def end(self) -> Ending:
        """Integrate every trial until the rule of the settings stops it."""
        settings = self.settings
        if settings.rule == "gd":
            return descend(self.flow, self.h, settings)
        if settings.rule == "restart":
            return integrate_checked(self.flow, self.h, settings, RestartRule)
        return integrate_checked(self.flow, self.h, settings, lambda _: ToleranceRule(settings.loss_tolerance))

    def take(self, rows: Index) -> Case:
        """Select trials."""
        return Case(self.settings, self.flow.take(rows), self.h[rows])

    def batches(self, rows: Index) -> list[Index]:
        """Split trials into batches: Q, its successor and about ten vectors of stages a trial."""
        size = max(1, BATCH_BYTES // (8 * self.flow.width * (10 + 2 * (1 + self.flow.problems.rank))))
        return [rows[first : first + size] for first in range(0, rows.size, size)]
