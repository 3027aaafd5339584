"""Estimation: counts, exact intervals, probability curves, median widths and verdicts (design §7, theory §8)."""

from __future__ import annotations

from mc.estimate.counts import EVENTS, Counts, Decision, decisions, event_widths
from mc.estimate.curves import Curve, Estimate, curve, curve_of_counts
from mc.estimate.intervals import clopper_pearson, lower_limit, upper_limit
from mc.estimate.study import CellStudy, Study, TheoryClaim, study_run
from mc.estimate.theory import CellTheory, TheoryCurve, cell_theory
from mc.estimate.thresholds import MedianWidth, median_width
from mc.estimate.verdicts import Implication, Support, at_least, flow_implications, implication, ladder_implications

__all__ = [
    "EVENTS",
    "CellStudy",
    "CellTheory",
    "Counts",
    "Curve",
    "Decision",
    "Estimate",
    "Implication",
    "MedianWidth",
    "Study",
    "Support",
    "TheoryClaim",
    "TheoryCurve",
    "at_least",
    "cell_theory",
    "clopper_pearson",
    "curve",
    "curve_of_counts",
    "decisions",
    "event_widths",
    "flow_implications",
    "implication",
    "ladder_implications",
    "lower_limit",
    "median_width",
    "study_run",
    "upper_limit",
]
