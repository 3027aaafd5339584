"""Probability curves: one event, one cell, one mode, all widths, with exact simultaneous limits (design §7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import Counts, decisions, event_widths
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support, at_least
from mc.estimate.widths.predicted import TheoryCurve
from mc.model.arrays import Array, IntArray
from mc.store.results import CellResults

THEORY_ERRORS = 3.0
"""Standard errors of a mean P_theory that a verdict allows for."""


@dataclass(frozen=True)
class Estimate:
    """One estimated probability with everything needed to judge it: an entry of summary.json (design §7)."""

    event: str
    cell: int  # index of the cell
    mode: str
    width: int
    trials: int
    holds: int
    fails: int
    undecided: int
    method: str
    method_class: str
    level: float  # of the whole curve
    simultaneous_level: float
    """Level of this interval alone: 1 - (1 - level)/K for K widths, or `level` when not simultaneous."""
    interval: tuple[float, float]
    """Lower limit with every undecided trial a failure, upper limit with every one a success."""
    bracket: tuple[float, float]
    """Observed frequency with all undecided failing, and all holding."""
    theory: float | None  # P_theory at this width; 0 is vacuous, None means that no bound is compared
    theory_source: str | None
    verdict: Support | None  # on "P >= theory"
    policy: str = "bracket"  # undecided trials stand against both ends; a column of summary.json
    undecided_share: float = 0.0  # undecided out of all trials; 0 without trials


@dataclass(frozen=True)
class Curve:
    """The probability of one event as a function of the width, with a band; arrays of shape (K,).

    Undecided trials stand against both limits of the band.
    """

    event: str
    mode: str
    cell: int  # index of the cell
    widths: IntArray
    counts: Counts
    lower: Array
    upper: Array
    level: float  # of the band
    simultaneous_level: float  # of one interval of the band
    theory: TheoryCurve | None = None  # the bound to compare with, at the same widths
    method: str = "clopper-pearson"

    @property
    def frequency(self) -> Array:
        """Observed frequency, an undecided trial counted half; NaN where nothing was computed."""
        with np.errstate(invalid="ignore"):
            return (self.counts.holds + 0.5 * self.counts.undecided) / self.counts.trials

    @property
    def verdicts(self) -> tuple[Support, ...] | None:
        """Verdict on "P >= P_theory" per width, None without a theory."""
        if self.theory is None:
            return None
        # Vacuous widths claim nothing and are known before the data: they need no share of alpha.
        tests = int(np.sum((self.theory.p > 0.0) & (self.counts.trials > 0)))
        error = THEORY_ERRORS * self.theory.standard_error
        return at_least(self.counts, self.theory.p, 1.0 - self.level, tests, error, self.method)

    def against(self, theory: TheoryCurve | None) -> Curve:
        """Return the same curve compared with a bound."""
        return replace(self, theory=theory)

    def estimates(self) -> tuple[Estimate, ...]:
        """Return one `Estimate` per width."""
        verdicts = self.verdicts or (None,) * len(self.widths)
        counts, method = self.counts, get_method(self.method)
        trials = counts.trials
        shares = np.maximum(trials, 1)
        least, most = counts.holds / shares, np.where(trials > 0, counts.most_holds / shares, 1.0)
        return tuple(
            Estimate(
                event=self.event,
                cell=self.cell,
                mode=self.mode,
                width=int(width),
                trials=int(trials[i]),
                holds=int(counts.holds[i]),
                fails=int(counts.fails[i]),
                undecided=int(counts.undecided[i]),
                method=method.name,
                method_class=method.method_class,
                level=self.level,
                simultaneous_level=self.simultaneous_level,
                interval=(float(self.lower[i]), float(self.upper[i])),
                bracket=(float(least[i]), float(most[i])),
                theory=None if self.theory is None else float(self.theory.p[i]),
                theory_source=None if self.theory is None else self.theory.source,
                verdict=verdicts[i],
                undecided_share=float(counts.undecided[i] / shares[i]),
            )
            for i, width in enumerate(self.widths)
        )


def curve_of_counts(
    event: str,
    mode: str,
    cell: int,
    widths: IntArray,
    counts: Counts,
    level: float = 0.95,
    simultaneous: bool = True,
    method: str = "clopper-pearson",
) -> Curve:
    """Return the curve of given counts; see `curve`."""
    if not 0.0 < level < 1.0:
        raise InputError(f"[estimate] level = {level!r}: give a confidence level strictly between 0 and 1, e.g. 0.95")
    observed = max(int(np.sum(counts.trials > 0)), 1) if simultaneous else 1
    tail = (1.0 - level) / observed
    lower, upper = get_method(method).two_sided(counts.holds, counts.most_holds, counts.trials, tail)
    return Curve(event, mode, cell, widths, counts, lower, upper, level, 1.0 - tail, method=method)


def curve(
    cell: CellResults,
    event: str,
    mode: str,
    level: float = 0.95,
    simultaneous: bool = True,
    method: str = "clopper-pearson",
) -> Curve | None:
    """Estimate the probability curve of an event in a cell (theory §8).

    Parameters
    ----------
    cell : CellResults
        A cell of the results that `mc.load` returns.
    event : {"paper", "trial", "sharp", "conserved", "exact", "converged"}
        A certificate of the ladder (theory §5), or the outcome of the flow.
    mode : {"hidden", "both"}
    level : float
        Confidence that the band covers the probability at every width together (`simultaneous`) or at each one.
    simultaneous : bool
        Bonferroni over the widths that have trials.
    method : {"clopper-pearson", "beta-binomial"}
        "beta-binomial" where the number of trials followed the data.

    Returns
    -------
    Curve or None
        With `widths`, `counts`, `frequency`, `lower` and `upper` of shape (K,). None where the event does not apply or
        was not computed.

    Raises
    ------
    InputError
        If the event, the method or the level is impossible, or the run does not have the mode.
    """
    decided = decisions(cell, event, mode)
    if decided is None:
        return None
    widths, counts = event_widths(cell, event), Counts.of(decided)
    return curve_of_counts(event, mode, cell.index, widths, counts, level, simultaneous, method)
