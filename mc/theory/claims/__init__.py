"""The claims of the theory: a registry by name, what each promises, and the checkers of those on trajectories."""

from __future__ import annotations

from mc.theory.claims.registry import ALWAYS, CLAIMS, TRAJECTORY_CLAIMS, Claim, Kind
from mc.theory.claims.sides import Bounded, Sides, Slack, smallest_slack

__all__ = ["ALWAYS", "CLAIMS", "TRAJECTORY_CLAIMS", "Bounded", "Claim", "Kind", "Sides", "Slack", "smallest_slack"]
