"""The findings of a run, cell by cell, with the verdicts of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mc.estimate.cells.study import CellStudy, Study, claimed_trials, in_claims, method_for
from mc.estimate.claims.finding import Finding, adjudicate, probability_finding
from mc.estimate.claims.implications import flow_implications, ladder_implications
from mc.estimate.claims.points import Points, Side, judge
from mc.estimate.claims.published import Constant, published
from mc.estimate.claims.tails import ingredients
from mc.estimate.claims.zero_loss import half_width, orthant
from mc.estimate.flows.protocol import Protocol, protocol
from mc.estimate.widths.curves import THEORY_ERRORS, Curve


@dataclass(frozen=True)
class RunFindings:
    """The findings of a run."""

    findings: tuple[Finding, ...]  # cell by cell, then those over several cells; verdicts adjusted over all of them
    raw: tuple[Finding, ...]  # the same before the adjustment, for a page of several runs
    constants: tuple[Constant, ...]  # C' of the published form, by cell, mode and event
    protocols: tuple[Protocol, ...]  # the protocol of gradient descent beside the exact verdict

    def of_cell(self, cell: int) -> tuple[Finding, ...]:
        """Return the findings of one cell; -1: those over several cells."""
        return tuple(finding for finding in self.findings if finding.cell == cell)


def theory_finding(curve: Curve, alpha: float, method: str) -> Finding:
    """Return the finding of "P(certificate) >= P_theory" over all widths of a curve with a theory.

    A mean P_theory may be off by `THEORY_ERRORS` standard errors. The tightest width is where the lower limit exceeds
    P_theory by least.
    """
    theory, widths = curve.theory, curve.widths
    assert theory is not None
    nothing, error = np.full(len(widths), math.nan), THEORY_ERRORS * theory.standard_error
    points = Points(Side.AT_LEAST, (curve.event,) * len(widths), widths, nothing, curve.counts, theory.p, error)
    judged = judge(points, alpha, method)
    judged = replace(judged, slack=np.where(judged.says, judged.lower - theory.p, math.nan))
    finding = probability_finding(f"theory-{theory.form}", curve.mode, "P_theory > 0", curve.cell, judged)
    tightest = judged.tightest
    return replace(
        finding,
        hypothesis_true=0 if tightest is None else int(curve.counts.trials[tightest]),
        # a difference of probabilities is not a factor: no distribution of it is shown
        slack_median=math.nan,
        slacks=np.empty(0),
        judgement=None,
    )


def _of_cell(study: Study, study_of_cell: CellStudy, method: str) -> Iterator[Finding]:
    cell, alpha = study_of_cell.cell, 1.0 - study.level
    for key in study_of_cell.width_for:
        yield theory_finding(study_of_cell.curves[key], alpha, method)
    for mode in cell.modes:
        yield from ladder_implications(cell, mode, alpha, method)
    for mode in cell.modes:
        yield from flow_implications(cell, mode, alpha, method, claimed_trials(study.experiment))
    for check in (ingredients, orthant, half_width):
        yield from check(cell, study.experiment, alpha, method)


def run_findings(study: Study) -> RunFindings:
    """Return the findings of a run on every claim that [claims] names, verdicts adjusted by Holm over the whole run."""
    method, alpha = method_for(study.experiment), 1.0 - study.level
    cells = [study_of_cell.cell for study_of_cell in study.cells]
    findings = [finding for study_of_cell in study.cells for finding in _of_cell(study, study_of_cell, method)]
    over_cells = list(published(cells, study.experiment, alpha, method))
    findings += [finding for finding, _ in over_cells]
    raw = tuple(finding for finding in findings if in_claims(finding.name, study.experiment))
    protocols = [protocol(cell, mode, study.experiment, study.level) for cell in cells for mode in cell.modes]
    return RunFindings(
        adjudicate(raw, study.level),
        raw,
        tuple(one for _, constants in over_cells for one in constants)
        if in_claims("published", study.experiment)
        else (),
        tuple(one for one in protocols if one is not None),
    )
