"""The study of maps in words: its answer and what it means, with the numbers of the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mc.estimate.cells.planes import Late, Plane, ProtocolRow
from mc.estimate.numbers import significant, spaced
from mc.estimate.widths.contour import Crossing, Exponent, exponent
from mc.report.paper.maps_figure import contour_words

ANCHORS = {"n": 60, "m": 10}
"""Where both planes meet: the theorem's scaling is drawn through this row."""

LEAST_M = 4
"""The contour is nearly straight in m from here on: below, the median of chi-square bends it."""

M = 10
"""Observations in the plane over n."""


def plane_title(plane: Plane) -> str:
    """The message of a plane's panel."""
    power = slope(plane).estimate
    if math.isnan(power):
        return f"Zero loss over {plane.axis} and the width"
    if plane.axis == "n":
        return f"The exact contour does not see n: k ~ n^{signed(power)}"
    return f"The exact contour is close to linear: k ~ m^{signed(power)}"


def signed(x: float, digits: int = 2) -> str:
    """A number with so many digits after the point and a minus sign; never minus zero."""
    return f"{round(x, digits) + 0.0:.{digits}f}".replace("-", "−")


def slope(plane: Plane, level: float = 0.95) -> Exponent:
    """Slope of the exact contour in logarithms."""
    rows = [row for row in plane.rows if plane.axis == "n" or row.value >= LEAST_M]
    return exponent([row.value for row in rows], [row.crossing for row in rows], level)


def heuristic_slope(plane: Plane) -> float:
    """The same of the heuristic, rows of equal weight; NaN without two rows."""
    rows = [row for row in plane.rows if (plane.axis == "n" or row.value >= LEAST_M) and math.isfinite(row.heuristic)]
    if len(rows) < 2:
        return math.nan
    return float(np.polyfit(np.log([row.value for row in rows]), np.log([row.heuristic for row in rows]), 1)[0])


def _estimates(crossings: Sequence[Crossing]) -> list[float]:
    return [c.estimate for c in crossings if 0.0 < c.estimate < math.inf]


def _span(crossings: Sequence[Crossing]) -> str:
    """From the least to the largest width of a contour, in words."""
    found = _estimates(crossings)
    if not found:
        return "off the grid"
    ends = dict.fromkeys(spaced(significant(k, 3)) for k in (min(found), max(found)))
    return " to ".join(ends)


def verdict(planes: Mapping[str, Plane], level: float) -> str:
    """The answer of the study, in one or two sentences."""
    parts = []
    for axis, plane in planes.items():
        found = slope(plane, level)
        if math.isnan(found.estimate):
            continue
        low, high = (signed(end) for end in found.interval)
        span = _span([row.crossing for row in plane.rows])
        parts.append(
            f"over {axis} half of the draws reach zero loss from k = {span}, k ~ {axis}^{signed(found.estimate)} "
            f"({low} to {high})"
        )
    answer = ("Exactly: " + "; ".join(parts) + ". ") if parts else "The exact contour lies outside these grids. "
    worst = _worst(planes)
    return answer + (f"The protocol misses most at {worst}." if worst else "")


def _worst(planes: Mapping[str, Plane]) -> str:
    """The row at which the protocol loses the largest share of the draws, in words; empty without one."""
    seen = [(axis, row) for axis, plane in planes.items() for row in plane.protocols if row.near.reaching]
    if not seen:
        return ""
    axis, row = max(seen, key=lambda one: one[1].near.late / one[1].near.reaching)
    return (
        f"{axis} = {row.value}: at k = {spaced(row.near.width)}, near the contour, {late_share(row.near)} of the "
        "draws that reach zero loss are called not converged"
    )


def late_share(near: Late) -> str:
    """Share of the draws that reach zero loss and are called not converged, with its limits."""
    low, high = near.interval
    return f"{near.late / near.reaching:.1%} ({low:.1%} to {high:.1%})" if near.reaching else "–"


def shape_reason(plane: Plane) -> str:
    """Why the contour is not where it was expected."""
    ratios = [row.crossing.estimate / row.heuristic for row in plane.rows if 0.0 < row.crossing.estimate < math.inf]
    span = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "unknown"
    return (
        "The expectation is the heuristic (7.9) of theory §7.4 at the median of |A⁺y|², not a bound: it adds the "
        "separate infima of two terms and treats Z^T V as Gaussian, and the median over draws of a width is not the "
        f"width of the median draw. Measured over heuristic: {span}."
    )


def meaning(planes: Mapping[str, Plane], level: float) -> tuple[str, ...]:
    """What the study means, for a reader of nothing else."""
    n, m = planes["n"], planes["m"]
    out = [
        "Proved: with the hidden layer trained, gradient flow reaches zero loss if and only if y lies inside the "
        "zonotope that the network's activations can span (theory §7.4). This criterion sees A through its row "
        "space and A⁺y only: no singular value enters. For a Gaussian signal without noise A⁺y is the projection of "
        "the signal on a random space of r dimensions, so |A⁺y|² is chi-square with r = m degrees of freedom: n "
        "drops out, up to the law of Z^T V, which is near a Gaussian one. Had the signal been scaled to norm 1, "
        "|A⁺y|² would be about m/n, and the contour would fall with n towards r(1 + π/2), which no signal lowers. "
        "The width that is needed is set by m: r + 2π(|A⁺y|² + r/4) by the heuristic (7.9)."
    ]
    if n.rows or m.rows:
        out.append(_observed(n, m, level))
    if n.protocols:
        out.append(_protocol_words(n, m))
    out.append(
        "The theorem's width condition k >= C' n ψ(L₀)²/σ_A² (form as recalled, not transcribed; its constant is "
        "not stated) is sufficient, and its shape is that of the proof: n, because all n singular values of the "
        "Jacobian are kept away from 0, though only r of them are seen by A; 1/σ_A², because the ball that the "
        "proof needs grows as the slowest direction slows down. Neither is needed for convergence of the flow. So "
        "the two have different shapes, which no constant mends: the condition is of a proof, the contour is of "
        "training itself."
    )
    return tuple(out)


def _observed(n: Plane, m: Plane, level: float) -> str:
    parts = []
    for plane in (n, m):
        if plane.rows:
            ratios = [r.crossing.estimate / r.heuristic for r in plane.rows if 0.0 < r.crossing.estimate < math.inf]
            span = f", {min(ratios):.2f} to {max(ratios):.2f} times the heuristic" if ratios else ""
            found = slope(plane, level)
            power = "" if math.isnan(found.estimate) else f", exponent {signed(found.estimate)}"
            parts.append(f"over {plane.axis} the 50 % width is {_span([r.crossing for r in plane.rows])}{power}{span}")
    _, theorem = n.scaling(ANCHORS["n"])
    good = [t for t in theorem if math.isfinite(t)]
    spread = f" The theorem's scaling varies by a factor {max(good) / min(good):.3g} over the same n." if good else ""
    decisions = spaced(sum(int(row.counts.trials.sum()) for plane in (n, m) for row in plane.rows))
    return f"Observed, from {decisions} exact verdicts: " + "; ".join(parts) + "." + spread


def _protocol_words(n: Plane, m: Plane) -> str:
    rows = [*n.protocols, *m.protocols]
    late, reaching = sum(int(row.too_late.sum()) for row in rows), sum(int(row.truth.holds.sum()) for row in rows)
    soon = sum(int(row.too_soon.sum()) for row in rows)
    first, share = n.protocols[0], late / max(reaching, 1)
    return (
        f"The protocol (step 1, at most {spaced(first.max_steps)} steps, converged when the loss is below 1e-7) "
        f"answers another question: whether zero loss is near within a budget. It called {spaced(soon)} networks "
        f"converged that cannot reach zero loss, and missed {spaced(late)} of the {spaced(reaching)} that do "
        f"({share:.1%}), all widths together. Two things slow it down that the exact criterion does not see. Near "
        "the contour the limit is near the border of the zonotope, where phi' and with it the kernel tend to 0."
        f"{_least_shift(rows)} And every rate carries σ_A², which for "
        f"Gaussian entries is near 0 at n = m, here {M}: at n = {first.value} the 50 % width is "
        f"{contour_words(first.crossing)}, and near the exact contour it misses {late_share(first.near)} of the "
        "draws that reach zero loss. A dependence on n that such a protocol sees between n = m and a few times m is "
        "that of σ_A, not of n."
    )


def _least_shift(rows: Sequence[ProtocolRow]) -> str:
    """By how much the protocol's contour is later in the middle of the rows, and in how many for certain."""
    ratios = sorted(row.shift.ratio for row in rows if not math.isnan(row.shift.ratio))
    if not ratios:
        return ""
    sure = sum(row.shift.interval[0] > 1.0 for row in rows)
    return (
        f" that moves the 50 % width, by {ratios[len(ratios) // 2] - 1.0:.0%} in the middle of the {len(ratios)} rows "
        f"that have one, and beyond its limits in {sure} of them."
    )
