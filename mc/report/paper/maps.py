"""The study of maps: where zero loss sets in over (k, n) and (k, m), exactly and by the published protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mc.estimate.cells.planes import MapRow, Plane, ProtocolRow, map_rows, protocol_rows
from mc.estimate.claims.orthant import orthant_law
from mc.estimate.claims.points import Judgement, Points, Side, judge, stacked
from mc.estimate.numbers import short, spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.intervals import clopper_pearson
from mc.estimate.widths.contour import Crossing
from mc.report.figures import Figure
from mc.report.paper.map_words import (
    ANCHORS,
    LEAST_M,
    heuristic_slope,
    late_share,
    meaning,
    plane_title,
    shape_reason,
    signed,
    slope,
    verdict,
)
from mc.report.paper.maps_figure import contour_words, planes_figure, rows_figure, softplus_figure
from mc.report.paper.section import PaperClaim, Run, Runs, Section, Table

EXACT = {"n": "maps-exact-n", "m": "maps-exact-m"}
DESCENT = {"n": ("maps-descent-n",), "m": ("maps-descent-m-few", "maps-descent-m-many")}
SOFTPLUS = "maps-softplus"

FLAT = (80.0, 92.0)
LINEAR = (8.85, -4.0)
WITHIN = 0.1
"""What was expected before the runs: the contour between these widths at every n, and near this line in m."""

LEAST_N = 30


def section(runs: Runs) -> Section:
    """Claims, figures and words of the study; of what is there.

    Parameters
    ----------
    runs : Runs
    """
    planes = {axis: _plane(axis, runs) for axis in EXACT}
    soft = _softplus(runs)
    figures = _figures(planes, soft, runs.level)
    claims = _claims(planes, soft, runs.level) if figures else ()
    return Section(
        verdict=verdict(planes, runs.level) if figures else "Nothing has been run yet.",
        claims=claims,
        figures=figures,
        tables=tuple(_table(plane, runs.level) for plane in planes.values() if plane.rows),
        meaning=meaning(planes, runs.level) if figures else (),
    )


def _experiment(run: Run) -> Mapping[str, Any]:
    return run.study.experiment


def _plane(axis: str, runs: Runs) -> Plane:
    exact = runs.by_name.get(EXACT[axis])
    rows = map_rows(axis, exact.results.cells, _experiment(exact), runs.level) if exact is not None else ()
    descents = [runs[name] for name in DESCENT[axis] if name in runs.by_name]
    own = [(_experiment(run), run.results.cells) for run in descents]
    return Plane(axis, rows, protocol_rows(axis, own, runs.level))


def _softplus(runs: Runs) -> tuple[tuple[MapRow, ...], Judgement] | None:
    """The map of softplus, and its law tested at all cells of the map together."""
    run = runs.by_name.get(SOFTPLUS)
    rows = map_rows("m", run.results.cells, _experiment(run), runs.level) if run is not None else ()
    if not rows:
        return None
    points = [
        Points(
            Side.EQUAL, (f"m = {row.m}",) * len(row.widths), row.widths, np.full(len(row.widths), float(row.m)),
            row.counts, orthant_law(row.widths, min(row.m, row.n)),
        )
        for row in rows
    ]  # fmt: skip
    return rows, judge(stacked(points), 1.0 - runs.level)


def _figures(
    planes: Mapping[str, Plane], soft: tuple[tuple[MapRow, ...], Judgement] | None, level: float
) -> tuple[Figure, ...]:
    figures = []
    if any(plane.rows for plane in planes.values()):
        titles = {axis: plane_title(plane) for axis, plane in planes.items()}
        figures.append(planes_figure(tuple(planes.values()), ANCHORS, titles, level))
    if rows := planes["n"].protocols:
        anchor = min(rows, key=lambda row: abs(row.value - ANCHORS["n"]))
        figures.append(rows_figure(planes["n"], rows[:1] if anchor is rows[0] else (rows[0], anchor), level))
    if soft is not None:
        figures.append(softplus_figure(soft[0], level, soft[1].p_against))
    return tuple(figures)


def _inside(rows: Sequence[tuple[Crossing, float, float]]) -> tuple[str, tuple[float, float]]:
    """Verdict on "every crossing is between its two ends", and the span of all limits over the middle of them."""
    if not rows:
        return "vacuous", (math.nan, math.nan)
    ratios = [(c.interval[0] / math.sqrt(a * b), c.interval[1] / math.sqrt(a * b)) for c, a, b in rows]
    span = (min(low for low, _ in ratios), max(high for _, high in ratios))
    if any(c.interval[1] < a or c.interval[0] > b for c, a, b in rows):
        return "contradicted", span
    return ("supported" if all(a <= c.interval[0] and c.interval[1] <= b for c, a, b in rows) else "undecided"), span


def _trials(counts: Sequence[Counts]) -> int:
    """Distinct trials: those of a row are the same at all its widths."""
    return sum(int(one.trials.max(initial=0)) for one in counts)


def _claims(
    planes: Mapping[str, Plane], soft: tuple[tuple[MapRow, ...], Judgement] | None, level: float
) -> tuple[PaperClaim, ...]:
    claims = [_shape_claim(plane, level) for plane in planes.values() if plane.rows]
    claims += [_slope_claim(plane, level) for plane in planes.values() if len(plane.rows) > 1]
    rows = [(axis, row) for axis, plane in planes.items() for row in plane.protocols]
    if rows:
        claims.append(_deceived_claim([row for _, row in rows], level))
    if planes["n"].protocols:
        claims.append(_shift_claim([row for row in planes["n"].protocols if row.value >= LEAST_N], level))
    if soft is not None:
        claims.append(_law_claim(*soft, level))
    return tuple(claims)


def _shape_claim(plane: Plane, level: float) -> PaperClaim:
    """What was expected of the exact contour, in numbers."""
    if plane.axis == "n":
        ends = [(row, *FLAT) for row in plane.rows]
        words = f"m = 10: the exact 50 % width is between {FLAT[0]:g} and {FLAT[1]:g} at every n"
    else:
        lines = [(row, LINEAR[0] * row.value + LINEAR[1]) for row in plane.rows if row.value >= LEAST_M]
        ends = [(row, line / (1.0 + WITHIN), line * (1.0 + WITHIN)) for row, line in lines]
        words = (
            f"n = 60: the exact 50 % width is within {WITHIN:.0%} of {LINEAR[0]:g} m − {-LINEAR[1]:g}, m >= {LEAST_M}"
        )
    found, (low, high) = _inside([(row.crossing, a, b) for row, a, b in ends])
    return PaperClaim(
        claim=words,
        verdict=found,
        interval=f"measured/expected between {short(low)} and {short(high)}, {level:.0%} for all rows together",
        trials=_trials([row.counts for row in plane.rows]),
        figure="maps-plane",
        experiment=EXACT[plane.axis],
        explanation=shape_reason(plane) if found == "contradicted" else "",
    )


def _slope_claim(plane: Plane, level: float) -> PaperClaim:
    """Whether the exact contour grows as the heuristic does: not in n, a little faster than linearly in m."""
    claimed, found = heuristic_slope(plane), slope(plane, level)
    low, high = found.interval
    known = not math.isnan(found.estimate + claimed)
    agrees = low <= claimed <= high
    reason = ""
    if known and not agrees:
        ends = [row.crossing.estimate / row.heuristic for row in plane.rows if row.value >= LEAST_M]
        reason = (
            "The exponent is of the heuristic (7.9), which is no bound: it takes Z^T V as Gaussian, the median of "
            "|A⁺y|² for its law, and the sum of two infima for the infimum of their sum (7.10). Measured over "
            f"heuristic goes from {ends[0]:.2f} to {ends[-1]:.2f} along the rows."
        )
    limits = f"exponent {signed(found.estimate, 3)}, {signed(low, 3)} to {signed(high, 3)} ({level:.0%}, approximate)"
    start = f" from m = {LEAST_M} on" if plane.axis == "m" else ""
    return PaperClaim(
        claim=f"the exact 50 % width grows as the heuristic, like {plane.axis}^{signed(claimed)}{start}",
        verdict="undecided" if not known else ("not contradicted" if agrees else "contradicted"),
        interval=limits if known else "",
        trials=_trials([row.counts for row in plane.rows]),
        figure="maps-plane",
        experiment=EXACT[plane.axis],
        explanation=reason,
    )


def _deceived_claim(rows: Sequence[ProtocolRow], level: float) -> PaperClaim:
    """No draw is called converged where zero loss is out of reach."""
    hopeless, deceived, tried = (sum(getattr(row, name) for row in rows) for name in ("hopeless", "deceived", "tried"))
    undecided, possible = (sum(getattr(row, name) for row in rows) for name in ("undecided", "possible"))
    high = float(clopper_pearson(deceived + undecided, possible, level, "upper")[1])
    left = f" (and {spaced(undecided)} undecided)" if undecided else ""
    reason = ""
    if deceived:
        reason = (
            f"{deceived} draws come nearer than the tolerance to a limit that is not zero: the loss passes 1e-7 on "
            "its way to a smaller positive number. No theorem is broken; a tolerance is not a proof."
        )
    return PaperClaim(
        claim="no draw that cannot reach zero loss is called converged by the protocol (0 of all trials)",
        verdict=f"not violated in {spaced(hopeless)}" if not deceived else "violated",
        interval=(
            f"{deceived} of {spaced(hopeless)} trials{left}; probability at most {high:.2g} ({level:.0%}). For all but "
            f"{spaced(tried)} of the networks the distance of y from the zonotope proves it without a step"
        ),
        trials=hopeless,
        figure="maps-row",
        experiment=DESCENT["n"][0],
        explanation=reason,
    )


def _shift_claim(rows: Sequence[ProtocolRow], level: float) -> PaperClaim:
    """What was expected of the protocol's contour: at most 5 % above the exact one from n = 30 on."""
    ends = [row.shift.interval for row in rows if not math.isnan(row.shift.ratio)]
    answer, words, reason = "undecided", "no row of these grids", ""
    if ends:
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        words = f"protocol/exact between {low:.3f} and {high:.3f}, {level:.0%} for all rows together (jackknife)"
        answer = "supported" if high <= 1.05 and len(ends) == len(rows) else "undecided"
        if any(a > 1.05 for a, _ in ends):
            answer = "contradicted"
            reason = (
                "Expected was too little. The steps end before the draws near the contour have converged, however "
                "well A is conditioned: their limit is near the border of the zonotope, where phi' and with it the "
                "kernel tend to 0."
            )
    return PaperClaim(
        claim=f"m = 10, n >= {LEAST_N}: the protocol's 50 % width is at most 5 % above the exact one of the same draws",
        verdict=answer,
        interval=words,
        trials=_trials([row.said for row in rows]),
        figure="maps-plane",
        experiment=DESCENT["n"][0],
        explanation=reason,
    )


def _law_claim(rows: Sequence[MapRow], judged: Judgement, level: float) -> PaperClaim:
    """Softplus: the law at all cells of the map."""
    against = judged.p_against < 1.0 - level
    at = judged.tightest
    place = None
    if at is not None:
        ranks = [int(m) for m in judged.points.parameters]
        place = (next(i for i, row in enumerate(rows) if row.m == ranks[at]), None, int(judged.points.widths[at]))
    return PaperClaim(
        claim=f"softplus: P(zero loss) = P(Bin(k, 1/2) >= m) at all {spaced(judged.tests)} cells of the map",
        verdict="contradicted" if against else "not contradicted",
        interval=f"exact binomial tests, Bonferroni over the cells: p = {judged.p_against:.2g}",
        trials=_trials([row.counts for row in rows]),
        figure="maps-softplus",
        experiment=SOFTPLUS,
        address=place,
        explanation="The law is a theorem (theory §7.4): a rejection means that a verdict or the draw of V is wrong."
        if against
        else "",
    )


def _table(plane: Plane, level: float) -> Table:
    """Contours row by row."""
    own = {row.value: row for row in plane.protocols}
    _, theorem = plane.scaling(ANCHORS[plane.axis])
    rows = []
    for row, scaled in zip(plane.rows, theorem, strict=True):
        seen = own.get(row.value)
        ratio = "–"
        if seen is not None and not math.isnan(seen.shift.ratio):
            ratio = f"{seen.shift.ratio:.3f} ({seen.shift.interval[0]:.3f} to {seen.shift.interval[1]:.3f})"
        rows.append(
            (
                str(row.value),
                contour_words(row.crossing),
                short(row.heuristic),
                short(scaled),
                contour_words(seen.crossing) if seen is not None else "–",
                ratio,
                f"{late_share(seen.near)} at k = {spaced(seen.near.width)}" if seen is not None else "–",
            )
        )
    return Table(
        f"50 % widths over {plane.axis}; limits {level:.0%} for all rows of a column together, the last two columns "
        "row by row",
        (
            plane.axis,
            "exact",
            "heuristic (7.9)",
            f"n ψ²/σ_A², through {plane.axis} = {ANCHORS[plane.axis]}",
            "protocol",
            "protocol/exact, same draws",
            "reach zero loss, called not converged",
        ),
        tuple(rows),
    )
