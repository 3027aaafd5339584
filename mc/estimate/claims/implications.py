"""Implications trial by trial: the ladder of certificates (theory §5), and the claims checked along trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mc.estimate.claims.finding import Finding, implication_finding
from mc.estimate.probability.counts import Decision, Decisions, dataset, decisions, mode_index
from mc.model.arrays import Array, IntArray, Mask
from mc.store.results import CellResults
from mc.theory.codes import NOT_COMPUTED, Outcome, Verdict

CHAIN = (("paper", "trial"), ("trial", "sharp"), ("sharp", "exact"))
"""The ladder: each certificate implies the next, trial by trial (theory §5)."""


def implication(
    name: str,
    hypothesis: str,
    mode: str,
    widths: IntArray,
    verdict: NDArray[np.int8],
    slack: Array | None = None,
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    error: Array | None = None,
    cell: int = -1,
) -> Finding:
    """Count violations of "hypothesis implies conclusion" over trials and widths.

    The widths of a trial share their draws, so everything is counted in trials: a trial violates the claim when it
    does so at some width, and is undecided when it does not but some width is without a conclusion. Trials can refute
    an implication and never prove it.

    Parameters
    ----------
    name, hypothesis : str
        The claim, and the hypothesis it is checked under.
    mode : {"hidden", "both"}
    widths : ndarray of int64, shape (width,)
    verdict : ndarray of int8, shape (trial, width)
        Values of `mc.theory.codes.Verdict`, -1 where nothing was computed.
    slack : ndarray, shape (trial, width), optional
        Distance of the conclusion from failing; NaN where unknown.
    alpha : float
        Error probability of each one-sided limit of the violation rate.
    method : str
        Method of these limits: "clopper-pearson", or "beta-binomial" where the number of trials followed the data.
    error : ndarray, shape (trial, width), optional
        Amount by which the integration error may lower the slack.
    cell : int
        Index of the cell.

    Returns
    -------
    Finding
        Its `address` is (trial, width) of the first violation, else of the smallest slack.
    """
    violated, undecided = verdict == Verdict.VIOLATED, verdict == Verdict.UNDECIDED
    true = violated | undecided | (verdict == Verdict.HOLDS)
    draws = {
        "checked": np.asarray((verdict >= 0).any(axis=1)),
        "true": true.any(axis=1),
        "violated": violated.any(axis=1),
        "undecided": ~violated.any(axis=1) & undecided.any(axis=1),
        "vacuous": (verdict == Verdict.VACUOUS).any(axis=1) & ~true.any(axis=1),
    }
    # the slack of an undecided pair says nothing about how loose the claim is
    known = np.zeros_like(true) if slack is None else true & ~undecided & ~np.isnan(slack)
    slacks = np.empty(0) if slack is None else slack[known]
    finding = implication_finding(name, (mode,), hypothesis, cell, draws, slacks, alpha, method)
    address = _first(violated, widths)
    if slack is None or not known.any():
        return replace(finding, address=address)
    row, column = divmod(int(np.argmin(np.where(known, slack, np.inf))), verdict.shape[1])
    return replace(
        finding,
        slack_min=float(slack[row, column]),
        slack_error=math.nan if error is None else float(error[row, column]),
        address=address or (row, int(widths[column])),
    )


def _first(mask: Mask, widths: IntArray) -> tuple[int, int] | None:
    where = np.argwhere(mask)
    return (int(where[0, 0]), int(widths[where[0, 1]])) if len(where) else None


def ladder_implications(
    cell: CellResults, mode: str, alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Finding]:
    """Yield the implications between the certificates of a cell; the slack is the logarithm of the stronger margin."""
    for weak, strong in CHAIN:
        premise, conclusion = decisions(cell, weak, mode), decisions(cell, strong, mode)
        if premise is None or conclusion is None:
            continue
        margin = dataset(cell, f"margin_{strong}")
        with np.errstate(divide="ignore"):
            slack = None if margin is None else np.log(margin[mode_index(cell, mode)])
        verdict = implied(premise, conclusion)
        yield implication(f"{weak}-{strong}", weak, mode, cell.widths, verdict, slack, alpha, method, cell=cell.index)


def implied(premise: Decisions, conclusion: Decisions) -> NDArray[np.int8]:
    """Return the verdict of "premise implies conclusion" per trial and width.

    Under an undecided premise the claim is undecided, except where the conclusion holds: there nothing is claimed.
    """
    verdict = np.full(premise.shape, -1, dtype=np.int8)
    known = (premise != Decision.NOT_COUNTED) & (conclusion != Decision.NOT_COUNTED)
    true = known & (premise == Decision.HOLDS)
    verdict[known] = Verdict.HYPOTHESIS_FALSE
    verdict[true & (conclusion == Decision.HOLDS)] = Verdict.HOLDS
    verdict[true & (conclusion == Decision.FAILS)] = Verdict.VIOLATED
    verdict[true & (conclusion == Decision.UNDECIDED)] = Verdict.UNDECIDED
    verdict[known & (premise == Decision.UNDECIDED) & (conclusion != Decision.HOLDS)] = Verdict.UNDECIDED
    return verdict


def flow_implications(
    cell: CellResults, mode: str, alpha: float = 0.05, method: str = "clopper-pearson", claimed: int | None = None
) -> Iterator[Finding]:
    """Yield the claims checked along trajectories, one per dataset ``verdict_<claim>_<hypothesis>``.

    The first `claimed` trials were to be checked (all by default); those of them that failed are undecided.
    """
    outcome = dataset(cell, "outcome")
    for stored in sorted(name for name in cell.data if name.startswith("verdict_")):
        claim, _, hypothesis = stored.removeprefix("verdict_").rpartition("_")
        arrays = [dataset(cell, f"{family}_{claim}_{hypothesis}") for family in ("verdict", "slack", "slack_error")]
        if arrays[0] is None or arrays[0].size == 0:
            continue
        row = mode_index(cell, mode)
        verdict, slack, error, outcomes = (None if a is None else a[row] for a in (*arrays, outcome))
        assert verdict is not None
        verdict = _with_failed(verdict, outcomes, claimed)
        finding = implication(
            claim, hypothesis, mode, cell.flow_widths, verdict, slack, alpha, method, error, cell.index
        )
        if finding.trials:
            yield finding


def _with_failed(verdict: NDArray[np.int8], outcome: NDArray[np.int8] | None, claimed: int | None) -> NDArray[np.int8]:
    """Set failed trajectories to undecided, except at widths where the claim applies to no computed trajectory."""
    if outcome is None:
        return verdict
    in_claim = np.arange(len(outcome))[:, np.newaxis] < (len(outcome) if claimed is None else claimed)
    failed = in_claim & (outcome == Outcome.ERROR)
    if not failed.any():
        return verdict
    followed = in_claim & ~np.isin(outcome, (NOT_COMPUTED, Outcome.ERROR))
    checked = verdict != NOT_COMPUTED
    applies = checked.any(axis=0) | (~followed.any(axis=0) & (checked.any() or not followed.any()))
    return np.where(failed & applies, Verdict.UNDECIDED, verdict).astype(np.int8)
