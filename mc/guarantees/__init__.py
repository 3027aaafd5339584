"""The claims of the theory: a registry by name, what each promises, and the checkers of those on trajectories."""

from __future__ import annotations

from mc.guarantees.registry import ALWAYS, CLAIMS, TRAJECTORY_CLAIMS, Claim, Kind

__all__ = ["ALWAYS", "CLAIMS", "TRAJECTORY_CLAIMS", "Claim", "Kind"]
