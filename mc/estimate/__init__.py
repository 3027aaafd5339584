"""Estimation: intervals, sequences, curves, thresholds, fits, times, verdicts, plans (design §7, theory §8)."""

from __future__ import annotations

from mc.estimate.adaptive import AdaptivePlan, Progress, Request, Track, replay, unsettled
from mc.estimate.allocation import first_counts, observer, status_lines
from mc.estimate.claims import RunFindings, run_findings
from mc.estimate.counts import EVENTS, Counts, Decision, decisions, event_widths
from mc.estimate.coverage import Coverage, coverage_table, exact_coverage, peeking_error, sequence_error, worst_coverage
from mc.estimate.crossings import CROSSINGS, CrossingWidth, crossing_width
from mc.estimate.curves import Curve, Estimate, curve, curve_of_counts
from mc.estimate.detail import CellDetail, cell_detail
from mc.estimate.evidence import RunningLimits, log_e_value, running_curve, running_limits, running_maximum
from mc.estimate.findings import Finding, adjudicate
from mc.estimate.first_widths import FirstWidths, first_widths_of
from mc.estimate.fit_tests import FitTest, fit_test
from mc.estimate.intervals import clopper_pearson, lower_limit, upper_limit
from mc.estimate.methods import METHODS, Interval, Method, MethodClass, interval
from mc.estimate.multiple import Tests, bonferroni, exact_p_value, exact_tests, holm
from mc.estimate.p_values import p_value
from mc.estimate.paired import Comparison, compare
from mc.estimate.planning import (
    TrialsNeeded,
    best_limit,
    sequential_power,
    trials_for_power,
    trials_needed,
    undecidable,
)
from mc.estimate.points import Judgement, Points, Side, judge
from mc.estimate.pooled import ClaimRow, Source, claim_rows
from mc.estimate.profiles import FittedWidth, fitted_width, profile_limits
from mc.estimate.protocol import Protocol, protocol
from mc.estimate.published import Constant, constants
from mc.estimate.regression import Fit, design_effect, fit_curve
from mc.estimate.scaling import CellCurve, Exponent, ScalingLaw, cell_curve, scaling_law
from mc.estimate.selftest import Check, SelfTest, run_selftest
from mc.estimate.sequences import Prior, confidence_sequence, sequence_lower, sequence_upper, tuned_prior
from mc.estimate.study import CellStudy, Study, TheoryClaim, study_run
from mc.estimate.survival import ConvergenceTimes, cell_convergence_times, convergence_times
from mc.estimate.theory import CellTheory, TheoryCurve, cell_theory
from mc.estimate.thresholds import MedianWidth, median_width
from mc.estimate.undecided import POLICIES, Policy, reading
from mc.estimate.verdicts import Implication, Support, at_least, flow_implications, implication, ladder_implications

__all__ = [
    "CROSSINGS",
    "EVENTS",
    "METHODS",
    "POLICIES",
    "AdaptivePlan",
    "CellCurve",
    "CellDetail",
    "CellStudy",
    "CellTheory",
    "Check",
    "ClaimRow",
    "Comparison",
    "Constant",
    "ConvergenceTimes",
    "Counts",
    "Coverage",
    "CrossingWidth",
    "Curve",
    "Decision",
    "Estimate",
    "Exponent",
    "Finding",
    "FirstWidths",
    "Fit",
    "FitTest",
    "FittedWidth",
    "Implication",
    "Interval",
    "Judgement",
    "MedianWidth",
    "Method",
    "MethodClass",
    "Points",
    "Policy",
    "Prior",
    "Progress",
    "Protocol",
    "Request",
    "RunFindings",
    "RunningLimits",
    "ScalingLaw",
    "SelfTest",
    "Side",
    "Source",
    "Study",
    "Support",
    "Tests",
    "TheoryClaim",
    "TheoryCurve",
    "Track",
    "TrialsNeeded",
    "adjudicate",
    "at_least",
    "best_limit",
    "bonferroni",
    "cell_convergence_times",
    "cell_curve",
    "cell_detail",
    "cell_theory",
    "claim_rows",
    "clopper_pearson",
    "compare",
    "confidence_sequence",
    "constants",
    "convergence_times",
    "coverage_table",
    "crossing_width",
    "curve",
    "curve_of_counts",
    "decisions",
    "design_effect",
    "event_widths",
    "exact_coverage",
    "exact_p_value",
    "exact_tests",
    "first_counts",
    "first_widths_of",
    "fit_curve",
    "fit_test",
    "fitted_width",
    "flow_implications",
    "holm",
    "implication",
    "interval",
    "judge",
    "ladder_implications",
    "log_e_value",
    "lower_limit",
    "median_width",
    "observer",
    "p_value",
    "peeking_error",
    "profile_limits",
    "protocol",
    "reading",
    "replay",
    "run_findings",
    "run_selftest",
    "running_curve",
    "running_limits",
    "running_maximum",
    "scaling_law",
    "sequence_error",
    "sequence_lower",
    "sequence_upper",
    "sequential_power",
    "status_lines",
    "study_run",
    "trials_for_power",
    "trials_needed",
    "tuned_prior",
    "undecidable",
    "unsettled",
    "upper_limit",
    "worst_coverage",
]
