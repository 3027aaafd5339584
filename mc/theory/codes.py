"""The names of modes, rungs and forms, and the enumerated outcomes of a trial (stored as int8 beside their labels)."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, get_args

Mode = Literal["hidden", "both"]
MODES: tuple[str, ...] = get_args(Mode)
"""The layers that are trained."""

Rung = Literal["paper", "trial", "sharp", "exact", "conserved"]
LADDER: tuple[str, ...] = get_args(Rung)
"""The certificates, the weakest first."""
MARGIN_RUNGS = LADDER[:3]
"""The certificates that hold where their margin exceeds one."""
ONE_MODE = {"exact": "hidden", "conserved": "both"}
"""The certificates that exist in one mode only, and that mode."""

FORMS = ("trial", "paper")
"""The certificates that P_theory bounds (theory §7.1-3)."""

NOT_COMPUTED = -1


class Labelled(IntEnum):
    """An enumeration whose members have labels for the file format."""

    @property
    def label(self) -> str:
        """Return the label, e.g. ``reaches-zero``."""
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
    """The certificate that proved the outcome of a trajectory."""

    INITIAL_SHARP = 0
    RESTART = 1
    CONSERVED = 2
    EXACT = 3


class Verdict(Labelled):
    """Whether a claim holds along one trajectory."""

    HOLDS = 0
    VIOLATED = 1
    UNDECIDED = 2
    HYPOTHESIS_FALSE = 3
    VACUOUS = 4
