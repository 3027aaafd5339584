"""The three ingredients of the probability bounds against measured tails (theory §7.1-3).

Each ingredient says that a bad event has at most a given probability; the event is counted over a grid of widths and of
the free parameter of the bound, from numbers that every run stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mc.estimate.claims.finding import Finding, probability_finding
from mc.estimate.claims.points import Points, Side, judge, stacked
from mc.estimate.probability.counts import Counts, Decision, Decisions, dataset
from mc.estimate.widths.predicted import Ensemble, named
from mc.model.arrays import Array, Mask
from mc.model.draws import CHUNK
from mc.store.results import CellResults
from mc.theory import constants

Bound = Callable[..., Array]

ETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Relative deviations at which the Chernoff bound is tested."""
DELTAS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Failure probabilities at which the other two bounds are tested."""

ROUNDING = 1e-12
"""Relative distance from a threshold that rounding can make: s and |y(0)| are sums of squares of at most 10^7 terms in
blocks, wrong by less than (block + blocks) 2^-53 < 1e-12 of themselves."""


def below(values: Array, threshold: Array | float, error: Array | float, computed: Mask) -> Decisions:
    """Decide the event "value <= threshold", undecided within the error of the value and where a trial has none.

    Arrays have shape (trial, width) or broadcast to it; `computed` is true where a trial is present, or failed.
    """
    decided = np.full(values.shape, Decision.UNDECIDED, dtype=np.int8)
    with np.errstate(invalid="ignore"):
        decided[values + error <= threshold] = Decision.HOLDS
        decided[values - error > threshold] = Decision.FAILS
    decided[~computed] = Decision.NOT_COUNTED
    return decided


def _points(label: str, cell: CellResults, parameter: float, event: Decisions, bound: ArrayLike) -> Points:
    widths = np.asarray(cell.widths, dtype=np.int64)
    return Points(
        Side.AT_MOST,
        (label,) * len(widths),
        widths,
        np.full(len(widths), parameter),
        Counts.of(event),
        np.broadcast_to(np.asarray(bound, dtype=np.float64), widths.shape),
    )


def _computed(cell: CellResults, values: Array) -> Mask:
    stored = dataset(cell, "computed")
    return ~np.isnan(values) if stored is None else np.asarray(stored > 0)


def smallest_eigenvalue(cell: CellResults, ensemble: Ensemble) -> tuple[str, Array, Array] | None:
    """Return the mode, lambda_min(V Dphi^2 V^T/k) and its error, (trial, width), from the Jacobian's singular value.

    In mode `hidden` the eigenvalue is its square, in mode `both` its square less s^2 (theory §4); None where neither is
    stored. The error is that of a Gram matrix summed in blocks (theory §5), twice over: of the sum, and of the amount
    that was subtracted to round it down.
    """
    sigma, scale = dataset(cell, "sigma_0"), dataset(cell, "activation_scale")
    if sigma is None or not cell.modes or ("hidden" not in cell.modes and scale is None):
        return None
    n, k = int(cell.problem["n"]), np.asarray(cell.widths, dtype=np.float64)
    trace = n * (ensemble.activation.sup_dphi * ensemble.law.entry_bound) ** 2
    terms = 2.0 * (n + CHUNK + k / CHUNK) * 2.0**-53
    if "hidden" in cell.modes:
        values = np.square(sigma[cell.modes.index("hidden")])
        return "hidden", values, np.broadcast_to(terms * trace, values.shape)
    assert scale is not None
    square = np.square(scale)
    return "both", np.square(sigma[0]) - square, np.asarray(terms * (trace + n * square))


def chernoff(
    cell: CellResults,
    ensemble: Ensemble,
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    bound: Bound = constants.chernoff_failure,
) -> Iterator[Finding]:
    """Test P(lambda_min(H) <= (1 - eta) C_dphi^2) <= delta_1(k) over `ETAS` and the widths (theory §7.1).

    Needs sigma_0; in mode both also activation_scale. `bound` is delta_1, with the arguments of
    `mc.theory.constants.chernoff_failure`.
    """
    activation, law = ensemble.activation, ensemble.law
    eigenvalue = smallest_eigenvalue(cell, ensemble) if law.in_theorem else None
    if eigenvalue is None:
        return
    mode, values, error = eigenvalue
    computed = _computed(cell, values)
    parts = []
    for eta in ETAS:
        delta = bound(
            cell.widths, eta, n=int(cell.problem["n"]), moment_dphi=activation.moment_dphi,
            sup_dphi=activation.sup_dphi, entry_bound=law.entry_bound,
        )  # fmt: skip
        event = below(values, (1.0 - eta) * activation.moment_dphi**2, error, computed)
        parts.append(_points("delta_1", cell, eta, event, delta))
    yield probability_finding("chernoff", mode, "none", cell.index, judge(stacked(parts), alpha, method))


def concentration(
    cell: CellResults,
    ensemble: Ensemble,
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    upper: Bound = constants.activation_norm_upper,
    lower: Bound = constants.activation_norm_lower,
) -> Iterator[Finding]:
    """Test P(s > upper end) <= delta_2 and P(s < lower end) <= delta_4 over `DELTAS` and the widths (theory §7.2).

    An end that no s can pass (sup|phi|, or 0) claims nothing. Needs activation_scale.
    """
    scale = dataset(cell, "activation_scale")
    if scale is None or not cell.modes:
        return
    activation, computed = ensemble.activation, _computed(cell, scale)
    moments = {"moment_phi": activation.moment_phi, "sup_dphi": activation.sup_dphi}
    parts = []
    for delta in DELTAS:
        end = upper(cell.widths, delta, sup_phi=activation.sup_phi, **moments)
        above = below(-scale, -end, ROUNDING * scale, computed)
        parts.append(_points("s > upper end", cell, delta, above, np.where(end < activation.sup_phi, delta, 1.0)))
        end = lower(cell.widths, delta, **moments)
        under = below(scale, end, ROUNDING * scale, computed)
        parts.append(_points("s < lower end", cell, delta, under, np.where(end > 0.0, delta, 1.0)))
    yield probability_finding("concentration", cell.modes[0], "none", cell.index, judge(stacked(parts), alpha, method))


def initial_error(
    cell: CellResults,
    ensemble: Ensemble,
    alpha: float = 0.05,
    method: str = "clopper-pearson",
    bound: Bound = constants.initial_output_upper,
) -> Iterator[Finding]:
    """Test P(|y(0)| > s (...)) <= delta_3, with the s and the norms of A of each trial (theory §7.3).

    A law that is both sub-Gaussian and bounded is tested in both forms. Needs norm_y0 and activation_scale.
    """
    scale, size = dataset(cell, "activation_scale"), dataset(cell, "norm_y0")
    norms = {name: dataset(cell, name) for name in ("norm_A", "frobenius_A", "frobenius_AAT")}
    columns = {name: np.asarray(values)[:, None] for name, values in norms.items() if values is not None}
    if scale is None or size is None or not cell.modes or len(columns) < len(norms):
        return
    law, computed = ensemble.law, _computed(cell, size)
    forms = [("sub-Gaussian entries", True)] * law.subgaussian + [("bounded entries", False)] * law.in_theorem
    for hypothesis, subgaussian in forms:
        parts = []
        for delta in DELTAS:
            end = bound(scale, delta, entry_bound=law.entry_bound, subgaussian=subgaussian, **columns)
            parts.append(_points("|y(0)| > end", cell, delta, below(-size, -end, ROUNDING * size, computed), delta))
        judged = judge(stacked(parts), alpha, method)
        yield probability_finding("initial-error", cell.modes[0], hypothesis, cell.index, judged)


def ingredients(
    cell: CellResults, experiment: Mapping[str, Any], alpha: float = 0.05, method: str = "clopper-pearson"
) -> Iterator[Finding]:
    """Test all three in one cell; yield nothing where the activation or the law is the user's own object."""
    ensemble = named(experiment)
    if ensemble is None:
        return
    for check in (chernoff, concentration, initial_error):
        yield from check(cell, ensemble, alpha, method)
