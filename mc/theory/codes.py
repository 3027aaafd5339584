"""Enumerated outcomes: what can be said of a trial, stored as int8 with the labels beside."""

from __future__ import annotations

from enum import IntEnum

NOT_COMPUTED = -1


class Labelled(IntEnum):
    """An enumeration whose members print as the words of the file format."""

    @property
    def label(self) -> str:
        """The member's name in the words of the file format, e.g. ``reaches-zero``."""
        return self.name.lower().replace("_", "-")


class Exact(Labelled):
    """Whether gradient flow of the hidden layer reaches zero loss (theory §7.4)."""

    REACHES_ZERO = 0
    CANNOT = 1
    UNDECIDED = 2
    NOT_APPLICABLE = 3


class ExactBy(Labelled):
    """The argument that decided `Exact`."""

    SHARP = 0
    SUBSET = 1
    NEWTON = 2
    HYPERPLANE = 3
    LP = 4


class Outcome(Labelled):
    """How the integration of one trajectory ended."""

    CONVERGED_CERTIFIED = 0
    CONVERGED_TOLERANCE = 1
    CONVERGED_GD = 2
    NOT_CONVERGED_CERTIFIED = 3
    UNDECIDED = 4
    HORIZON = 5
    STEP_BUDGET = 6
    NON_FINITE = 7
    NOT_ATTEMPTED = 8
    ERROR = 9


class CertifiedBy(Labelled):
    """What proved the outcome of a trajectory."""

    INITIAL_SHARP = 0
    RESTART = 1
    CONSERVED = 2
    EXACT = 3


class Verdict(Labelled):
    """What one trajectory says of one claim."""

    HOLDS = 0
    VIOLATED = 1
    UNDECIDED = 2
    HYPOTHESIS_FALSE = 3
    VACUOUS = 4
