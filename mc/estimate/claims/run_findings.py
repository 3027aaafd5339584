"""Everything a run says of the claims of the theory, cell by cell, with the verdicts of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mc.estimate.cells.study import CellStudy, Study, TheoryClaim, asked, method_for
from mc.estimate.cells.verdicts import CHAIN
from mc.estimate.claims.findings import Finding, adjudicate, of_implication, words_of_points
from mc.estimate.claims.half_width import half_width
from mc.estimate.claims.orthant import orthant
from mc.estimate.claims.published import Constant, published
from mc.estimate.claims.tails import ingredients
from mc.estimate.flows.protocol import Protocol, protocol
from mc.estimate.probability.tests import p_value
from mc.estimate.widths.curves import THEORY_ERRORS

LADDER = frozenset(f"{weak}-{strong}" for weak, strong in CHAIN)


@dataclass(frozen=True)
class RunFindings:
    """What a run says of the claims.

    Parameters
    ----------
    findings : tuple of Finding
        Cell by cell, then those over several cells; verdicts adjusted over all of them.
    raw : tuple of Finding
        The same before the adjustment, for a page of several runs.
    constants : tuple of Constant
        C' of the published form, by cell, mode and event.
    protocols : tuple of Protocol
        Gradient descent's protocol beside the exact verdict.
    """

    findings: tuple[Finding, ...]
    raw: tuple[Finding, ...]
    constants: tuple[Constant, ...]
    protocols: tuple[Protocol, ...]

    def of_cell(self, cell: int) -> tuple[Finding, ...]:
        """The findings of one cell."""
        return tuple(found for found in self.findings if found.cell == cell)

    @property
    def across(self) -> tuple[Finding, ...]:
        """Those over several cells."""
        return self.of_cell(-1)


def of_theory(claim: TheoryClaim, cell: int, level: float, method: str) -> Finding:
    """The finding of "P(certificate) >= P_theory" over all widths of a cell.

    The widths are Bonferroni's, and a mean P_theory may be off by `THEORY_ERRORS` standard errors, as in the verdicts
    of the curve.
    """
    curve, at = claim.curve, claim.tightest
    against = support = float("nan")
    points = (0, 0, 0)
    if curve.theory is not None and claim.widths:
        says = (curve.theory.p > 0.0) & (curve.counts.trials > 0)
        counts, error = curve.counts, THEORY_ERRORS * curve.theory.standard_error
        low, high = (np.clip(curve.theory.p + sign * error, 0.0, 1.0) for sign in (-1.0, 1.0))
        refuted = p_value(counts.most_holds, counts.trials, low, "less", method)[says]
        shown = p_value(counts.holds, counts.trials, high, "greater", method)[says]
        against, support = (min(claim.widths * float(p), 1.0) for p in (refuted.min(), shown.max()))
        open_ = shown > (1.0 - level) / claim.widths
        beyond = np.power(high, counts.trials)[says] > (1.0 - level) / claim.widths
        points = (int((~open_).sum()), claim.widths, int((open_ & beyond).sum()))
    return Finding(
        name=claim.name,
        mode=claim.mode,
        hypothesis="P_theory > 0",
        cell=cell,
        trials=claim.trials,
        hypothesis_true=0 if at is None else int(curve.counts.trials[at]),
        verdict=claim.verdict.value,
        lower=claim.lower,
        upper=claim.upper,
        slack_min=claim.slack,
        address=None if at is None else (None, int(curve.widths[at])),
        p_against=against,
        p_support=support,
        detail=words_of_points(points),
        points=points,
        figure="ladder",
    )


def _of_cell(study: Study, cell: CellStudy, method: str) -> Iterator[Finding]:
    index, alpha = cell.cell.index, 1.0 - study.level
    for claim in cell.claims:
        yield of_theory(claim, index, study.level, method)
    for found in cell.implications:
        yield of_implication(found, index, "margins" if found.name in LADDER else "slacks")
    yield from ingredients(cell.cell, study.experiment, alpha, method)
    yield from orthant(cell.cell, study.experiment, alpha, method)
    yield from half_width(cell.cell, study.experiment, alpha, method)


def run_findings(study: Study) -> RunFindings:
    """What a run says of every claim it was asked about.

    Parameters
    ----------
    study : Study

    Returns
    -------
    RunFindings
        Verdicts on probabilities at the level of the study, by Holm's procedure over the whole run.
    """
    method = method_for(study.experiment)
    cells = [cell.cell for cell in study.cells]
    found = [one for cell in study.cells for one in _of_cell(study, cell, method)]
    constants: list[Constant] = []
    for finding, own in published(cells, study.experiment, 1.0 - study.level, method):
        found.append(finding)
        constants += own
    wanted = tuple(one for one in found if asked(one.name, study.experiment))
    protocols = [protocol(cell, mode, study.experiment, study.level) for cell in cells for mode in cell.modes]
    return RunFindings(
        adjudicate(wanted, study.level),
        wanted,
        tuple(constants) if asked("published", study.experiment) else (),
        tuple(one for one in protocols if one is not None),
    )
