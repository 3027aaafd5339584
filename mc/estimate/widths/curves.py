"""Probability curves: one event, one cell, one mode, all widths, with exact simultaneous limits (design §7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mc.errors import InputError
from mc.estimate.probability.counts import CellLike, Counts, decisions, event_widths
from mc.estimate.probability.methods import get_method
from mc.estimate.probability.support import Support, at_least
from mc.estimate.probability.undecided import Policy, reading
from mc.estimate.widths.predicted import TheoryCurve
from mc.model.arrays import Array, IntArray

THEORY_ERRORS = 3.0
"""Standard errors of a mean P_theory that a verdict allows for."""


@dataclass(frozen=True)
class Estimate:
    """One estimated probability with everything needed to judge it (design §7).

    Parameters
    ----------
    event, cell, mode, width
        What was counted, and where; `cell` is the index of the cell.
    trials, holds, fails, undecided : int
        Counts.
    method, method_class : str
        How the interval was made and of which class it is (exact, approximate, time-uniform).
    level : float
        Confidence level of the whole curve.
    simultaneous_level : float
        Level of this interval alone: 1 - (1 - level)/K for K widths, or `level` when not simultaneous.
    interval : tuple of float
        Lower limit with every undecided trial a failure, upper limit with every one a success.
    bracket : tuple of float
        Observed frequency with all undecided failing, and all holding.
    theory : float or None
        P_theory at this width; 0 is vacuous, None means that no bound is compared.
    theory_source : str or None
        Which bound, and over how many problems.
    verdict : Support or None
        On "P >= theory".
    policy : str
        What undecided trials count as (`mc.estimate.probability.undecided.POLICIES`).
    undecided_share : float
        Undecided out of all trials, whatever the policy; 0 without trials.
    """

    event: str
    cell: int
    mode: str
    width: int
    trials: int
    holds: int
    fails: int
    undecided: int
    method: str
    method_class: str
    level: float
    simultaneous_level: float
    interval: tuple[float, float]
    bracket: tuple[float, float]
    theory: float | None = None
    theory_source: str | None = None
    verdict: Support | None = None
    policy: Policy = "bracket"
    undecided_share: float = 0.0


@dataclass(frozen=True)
class Curve:
    """The probability of one event as a function of the width.

    Parameters
    ----------
    event, mode : str
    cell : int
        Index of the cell.
    widths : ndarray of int64, shape (K,)
    counts : Counts
    lower, upper : ndarray, shape (K,)
        The band: exact limits at `simultaneous_level`, undecided trials against both.
    level, simultaneous_level : float
        Of the band and of one interval of it.
    theory : TheoryCurve or None
        The bound to compare with, at the same widths.
    method, policy : str
        How the limits were made, and what undecided trials count as.
    """

    event: str
    mode: str
    cell: int
    widths: IntArray
    counts: Counts
    lower: Array
    upper: Array
    level: float
    simultaneous_level: float
    theory: TheoryCurve | None = None
    method: str = "clopper-pearson"
    policy: Policy = "bracket"

    @property
    def frequency(self) -> Array:
        """Observed frequency, an undecided trial counted half under "bracket"; NaN where nothing was computed."""
        read = reading(self.counts, self.policy)
        with np.errstate(invalid="ignore"):
            return (read.least + 0.5 * (read.most - read.least)) / read.trials

    @property
    def verdicts(self) -> tuple[Support, ...] | None:
        """Verdict on "P >= P_theory" per width, None without a theory."""
        if self.theory is None:
            return None
        # Vacuous widths claim nothing and are known before the data: they need no share of alpha.
        tests = int(np.sum((self.theory.p > 0.0) & (self.counts.trials > 0)))
        error = THEORY_ERRORS * self.theory.standard_error
        return at_least(self.counts, self.theory.p, 1.0 - self.level, tests, error, self.method, self.policy)

    def against(self, theory: TheoryCurve | None) -> Curve:
        """The same curve compared with a bound."""
        return replace(self, theory=theory)

    def estimates(self) -> tuple[Estimate, ...]:
        """One `Estimate` per width."""
        verdicts = self.verdicts or (None,) * len(self.widths)
        trials, method = self.counts.trials, get_method(self.method)
        return tuple(
            Estimate(
                event=self.event,
                cell=self.cell,
                mode=self.mode,
                width=int(width),
                trials=int(trials[i]),
                holds=int(self.counts.holds[i]),
                fails=int(self.counts.fails[i]),
                undecided=int(self.counts.undecided[i]),
                method=method.name,
                method_class=method.method_class,
                level=self.level,
                simultaneous_level=self.simultaneous_level,
                interval=(float(self.lower[i]), float(self.upper[i])),
                bracket=_bracket(self.counts, i),
                theory=None if self.theory is None else float(self.theory.p[i]),
                theory_source=None if self.theory is None else self.theory.source,
                verdict=verdicts[i],
                policy=self.policy,
                undecided_share=float(self.counts.undecided[i] / max(trials[i], 1)),
            )
            for i, width in enumerate(self.widths)
        )


def _bracket(counts: Counts, i: int) -> tuple[float, float]:
    trials = int(counts.trials[i])
    if trials == 0:
        return (0.0, 1.0)
    return (float(counts.holds[i] / trials), float((counts.holds[i] + counts.undecided[i]) / trials))


def curve_of_counts(
    event: str,
    mode: str,
    cell: int,
    widths: IntArray,
    counts: Counts,
    level: float = 0.95,
    simultaneous: bool = True,
    method: str = "clopper-pearson",
    policy: Policy = "bracket",
) -> Curve:
    """The curve of given counts.

    Parameters
    ----------
    level : float
        Confidence that the band covers the probability at every width together (`simultaneous`) or at each one.
    simultaneous : bool
        Bonferroni over the widths that have trials.
    method : str
        A name of `methods.METHODS`; "beta-binomial" where the number of trials followed the data.
    policy : {"bracket", "fail", "hold", "drop"}
        What undecided trials count as.

    Returns
    -------
    Curve
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"[estimate] level = {level!r}: give a confidence level strictly between 0 and 1, e.g. 0.95")
    read = reading(counts, policy)
    observed = max(int(np.sum(counts.trials > 0)), 1) if simultaneous else 1
    tail = (1.0 - level) / observed
    lower, upper = get_method(method).two_sided(read.least, read.most, read.trials, tail)
    return Curve(event, mode, cell, widths, counts, lower, upper, level, 1.0 - tail, method=method, policy=policy)


def curve(
    cell: CellLike,
    event: str,
    mode: str,
    level: float = 0.95,
    simultaneous: bool = True,
    method: str = "clopper-pearson",
    policy: Policy = "bracket",
) -> Curve | None:
    """The probability curve of an event in a cell.

    Parameters
    ----------
    cell : CellLike
    event : str
        A name of `mc.estimate.probability.counts.EVENTS`.
    mode : {"hidden", "both"}
    level, simultaneous, method, policy
        As in `curve_of_counts`.

    Returns
    -------
    Curve or None
        None where the event does not apply or was not computed.
    """
    decided = decisions(cell, event, mode)
    if decided is None:
        return None
    widths, counts = event_widths(cell, event), Counts.of(decided)
    return curve_of_counts(event, mode, cell.index, widths, counts, level, simultaneous, method, policy)
