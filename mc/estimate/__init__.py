"""Estimation: intervals, sequences, curves, thresholds, fits, times, verdicts, plans (design §7, theory §8)."""

from __future__ import annotations

from mc.estimate.cells.detail import CellDetail, cell_detail
from mc.estimate.cells.study import CellStudy, Study, TheoryClaim, study_run
from mc.estimate.cells.verdicts import (
    Implication,
    flow_implications,
    implication,
    ladder_implications,
)
from mc.estimate.claims.findings import Finding, adjudicate
from mc.estimate.claims.points import Judgement, Points, Side, judge
from mc.estimate.claims.pooled import ClaimRow, Source, claim_rows
from mc.estimate.claims.published import Constant, constants
from mc.estimate.claims.run_findings import RunFindings, run_findings
from mc.estimate.flows.protocol import Protocol, protocol
from mc.estimate.flows.survival import ConvergenceTimes, cell_convergence_times, convergence_times
from mc.estimate.probability.counts import EVENTS, Counts, Decision, decisions, event_widths
from mc.estimate.probability.e_values import RunningLimits, log_e_value, running_curve, running_limits, running_maximum
from mc.estimate.probability.intervals import clopper_pearson, lower_limit, upper_limit
from mc.estimate.probability.methods import METHODS, Interval, Method, MethodClass, interval
from mc.estimate.probability.p_values import p_value
from mc.estimate.probability.paired import Comparison, compare
from mc.estimate.probability.sequences import Prior, confidence_sequence, sequence_lower, sequence_upper, tuned_prior
from mc.estimate.probability.support import Support, at_least
from mc.estimate.probability.tests import Tests, bonferroni, exact_p_value, exact_tests, holm
from mc.estimate.probability.undecided import POLICIES, Policy, reading
from mc.estimate.sampling.adaptive import AdaptivePlan, Progress, Request, Track, replay, unsettled
from mc.estimate.sampling.allocation import first_counts, observer, status_lines
from mc.estimate.sampling.planning import (
    TrialsNeeded,
    best_limit,
    sequential_power,
    trials_for_power,
    trials_needed,
    undecidable,
)
from mc.estimate.selftest.coverage import (
    Coverage,
    coverage_table,
    exact_coverage,
    peeking_error,
    sequence_error,
    worst_coverage,
)
from mc.estimate.selftest.selftest import Check, SelfTest, run_selftest
from mc.estimate.widths.crossings import CROSSINGS, CrossingWidth, crossing_width
from mc.estimate.widths.curves import Curve, Estimate, curve, curve_of_counts
from mc.estimate.widths.first_widths import FirstWidths, first_widths_of
from mc.estimate.widths.fit_tests import FitTest, fit_test
from mc.estimate.widths.median_width import MedianWidth, median_width
from mc.estimate.widths.predicted import CellTheory, TheoryCurve, cell_theory
from mc.estimate.widths.profiles import FittedWidth, fitted_width, profile_limits
from mc.estimate.widths.regression import Fit, design_effect, fit_curve
from mc.estimate.widths.scaling import CellCurve, Exponent, ScalingLaw, cell_curve, scaling_law

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
