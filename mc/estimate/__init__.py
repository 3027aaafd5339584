"""Estimation: stored numbers become probabilities, widths and verdicts (design §7, theory §8).

These are the names that docs/ documents; everything else is imported from its module.
"""

from __future__ import annotations

from mc.estimate.cells.study import study_run
from mc.estimate.claims.implications import implication
from mc.estimate.probability.counts import Counts, decisions
from mc.estimate.probability.intervals import clopper_pearson
from mc.estimate.probability.methods import interval
from mc.estimate.probability.paired import compare
from mc.estimate.probability.sequences import confidence_sequence
from mc.estimate.probability.support import at_least
from mc.estimate.probability.tests import holm
from mc.estimate.sampling.planning import trials_for_power, trials_needed
from mc.estimate.widths.crossings import crossing_width
from mc.estimate.widths.curves import curve

__all__ = [
    "Counts",
    "at_least",
    "clopper_pearson",
    "compare",
    "confidence_sequence",
    "crossing_width",
    "curve",
    "decisions",
    "holm",
    "implication",
    "interval",
    "study_run",
    "trials_for_power",
    "trials_needed",
]
