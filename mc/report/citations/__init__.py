"""What to cite: every method with its publications, and those that an experiment uses."""

from __future__ import annotations

from mc.report.citations.entry import Citation, Reference
from mc.report.citations.methods import CITATIONS, for_experiment, named

__all__ = ["CITATIONS", "Citation", "Reference", "for_experiment", "named"]
