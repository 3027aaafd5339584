"""The study of maps: where zero loss sets in over (k, n) and (k, m), exactly and by the published protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc.estimate.cells.planes import Late, MapRow, Plane, ProtocolRow, map_rows, protocol_rows
from mc.estimate.claims.points import Points, Side, judge, stacked
from mc.estimate.claims.zero_loss import orthant_law
from mc.estimate.numbers import significant, spaced
from mc.estimate.probability.counts import Counts
from mc.estimate.probability.intervals import clopper_pearson
from mc.estimate.widths.contour import Exponent, exponent
from mc.estimate.widths.crossings import CrossingWidth
from mc.report.figures import Figure
from mc.report.paper.maps_figure import TEXTS, planes_figure, rows_figure, softplus_figure
from mc.report.paper.section import EMPTY, Limits, PaperClaim, Runs, Section, Table, within

EXACT = {"n": "maps-exact-n", "m": "maps-exact-m"}
DESCENT = {"n": ("maps-descent-n",), "m": ("maps-descent-m-few", "maps-descent-m-many")}
SOFTPLUS = "maps-softplus"

ANCHORS = {"n": 60, "m": 10}
"""Where both planes meet: the theorem's scaling is drawn through this row."""

LEAST_M = 4
"""The contour is nearly straight in m from here on: below, the median of chi-square bends it."""

FLAT, LINE, WITHIN = (80.0, 92.0), (8.85, -4.0), 0.1
"""Expected before the runs: the contour between these widths at every n, and so near to this line in m."""

LEAST_N, LATER = 30, 1.05
"""Expected before the runs: from this n on the protocol's contour is at most so many times the exact one."""

Softplus = tuple[tuple[MapRow, ...], Points]
"""The map of softplus, and its law tested at all cells of the map together."""


def section(runs: Runs) -> Section:
    """Write the section of the study, from as many of its runs as exist."""
    planes = {axis: _plane(axis, runs) for axis in EXACT}
    softplus = _softplus(runs)
    figures = _figures(planes, softplus, runs.level)
    if not figures:
        return EMPTY
    return Section(
        verdict=_verdict(planes, runs.level),
        claims=_claims(planes, softplus, runs.level),
        figures=figures,
        tables=tuple(_table(plane, runs.level) for plane in planes.values() if plane.rows),
        meaning=_meaning(planes["n"], planes["m"], runs.level),
    )


def _plane(axis: str, runs: Runs) -> Plane:
    exact = runs.by_name.get(EXACT[axis])
    rows = map_rows(axis, exact.results.cells, exact.study.experiment, runs.level) if exact is not None else ()
    descents = [runs[name] for name in DESCENT[axis] if name in runs.by_name]
    protocols = protocol_rows(axis, [(run.study.experiment, run.results.cells) for run in descents], runs.level)
    return Plane(axis, rows, protocols)


def _softplus(runs: Runs) -> Softplus | None:
    run = runs.by_name.get(SOFTPLUS)
    rows = map_rows("m", run.results.cells, run.study.experiment, runs.level) if run is not None else ()
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


def _figures(planes: Mapping[str, Plane], softplus: Softplus | None, level: float) -> tuple[Figure, ...]:
    figures = []
    if any(plane.rows for plane in planes.values()):
        contours = [_contour(plane, level) for plane in planes.values()]
        titles = {
            contour.axis: TEXTS.text(
                "plane_title", axis=contour.axis, power=contour.slope.estimate if contour.known else None
            )
            for contour in contours
        }
        figures.append(planes_figure([plane for plane in planes.values() if plane.rows], ANCHORS, titles, level))
    if rows := planes["n"].protocols:
        anchor = min(rows, key=lambda row: abs(row.value - ANCHORS["n"]))
        figures.append(rows_figure(planes["n"], rows[:1] if anchor is rows[0] else (rows[0], anchor), level))
    if softplus is not None:
        figures.append(softplus_figure(softplus[0], level, softplus[1].p_against))
    return tuple(figures)


def _straight(plane: Plane) -> list[MapRow]:
    """Return the rows where the contour is nearly straight in logarithms."""
    return [row for row in plane.rows if plane.axis == "n" or row.value >= LEAST_M]


def slope(plane: Plane, level: float) -> Exponent:
    """Fit the slope of the exact contour in logarithms."""
    rows = _straight(plane)
    return exponent([row.value for row in rows], [row.crossing for row in rows], level)


def _heuristic_slope(plane: Plane) -> float:
    """Fit the slope of the heuristic, rows of equal weight; NaN without two rows."""
    rows = [row for row in _straight(plane) if math.isfinite(row.heuristic)]
    if len(rows) < 2:
        return math.nan
    return float(np.polyfit(np.log([row.value for row in rows]), np.log([row.heuristic for row in rows]), 1)[0])


@dataclass(frozen=True)
class Contour:
    """The exact contour of one plane in numbers."""

    axis: str
    slope: Exponent
    widths: Limits | None  # its least and its largest width on the grid
    over_heuristic: Limits | None  # the least and the largest ratio to the heuristic

    @property
    def known(self) -> bool:
        """Whether the slope could be fitted."""
        return not math.isnan(self.slope.estimate)


def _contour(plane: Plane, level: float) -> Contour:
    on_grid = [row for row in plane.rows if 0.0 < row.crossing.estimate < math.inf]
    widths = [row.crossing.estimate for row in on_grid]
    ratios = [row.crossing.estimate / row.heuristic for row in on_grid]
    ends = (None, None) if not on_grid else ((min(widths), max(widths)), (min(ratios), max(ratios)))
    return Contour(plane.axis, slope(plane, level), *ends)


def _verdict(planes: Mapping[str, Plane], level: float) -> str:
    contours = [_contour(plane, level) for plane in planes.values()]
    reaching = [(axis, row) for axis, plane in planes.items() for row in plane.protocols if row.near.reaching]
    # the row at which the protocol misses the largest share of the draws
    axis, worst = max(reaching, key=lambda one: one[1].near.late / one[1].near.reaching, default=(None, None))
    return TEXTS.text(
        "verdict",
        contours=[contour for contour in contours if contour.known],
        axis=axis,
        worst=worst,
        share=late_share(worst.near) if worst else None,
    )


def late_share(near: Late) -> str:
    """Format the share of the draws that reach zero loss and are called not converged, with its limits."""
    low, high = near.interval
    return f"{near.late / near.reaching:.1%} ({low:.1%} to {high:.1%})" if near.reaching else "–"


def _meaning(n: Plane, m: Plane, level: float) -> tuple[str, ...]:
    _, theorem = n.scaling(ANCHORS["n"])
    spread = [width for width in theorem if math.isfinite(width)]
    return TEXTS.paragraphs(
        "meaning",
        contours=[_contour(plane, level) for plane in (n, m) if plane.rows],
        decisions=sum(int(row.counts.trials.sum()) for plane in (n, m) for row in plane.rows),
        spread=max(spread) / min(spread) if spread else None,
        protocol=_protocol(n.protocols[0], [*n.protocols, *m.protocols]) if n.protocols else None,
        m=ANCHORS["m"],
    )


def _protocol(first: ProtocolRow, rows: Sequence[ProtocolRow]) -> Mapping[str, object]:
    """Return what the protocol answered over all rows and widths, and by how much its contour is late."""
    late, reaching = sum(int(row.too_late.sum()) for row in rows), sum(int(row.truth.holds.sum()) for row in rows)
    shifts = sorted((row.shift for row in rows if not math.isnan(row.shift.ratio)), key=lambda shift: shift.ratio)
    return {
        "first": first,
        "soon": sum(int(row.too_soon.sum()) for row in rows),
        "late": late,
        "reaching": reaching,
        "share": late / max(reaching, 1),
        "median_shift": shifts[len(shifts) // 2].ratio if shifts else None,
        "shifts": len(shifts),
        "certain": sum(shift.interval[0] > 1.0 for shift in shifts),
        "width": contour_words(first.crossing),
        "missed": late_share(first.near),
    }


def _trials(counts: Iterable[Counts]) -> int:
    """Count distinct trials: those of a row are the same at all its widths."""
    return sum(int(one.trials.max(initial=0)) for one in counts)


def _claims(planes: Mapping[str, Plane], softplus: Softplus | None, level: float) -> tuple[PaperClaim, ...]:
    claims = [_shape_claim(plane, level) for plane in planes.values() if plane.rows]
    claims += [_slope_claim(plane, level) for plane in planes.values() if len(plane.rows) > 1]
    protocols = [row for plane in planes.values() for row in plane.protocols]
    if protocols:
        claims.append(_deceived_claim(protocols, level))
    if planes["n"].protocols:
        claims.append(_shift_claim([row for row in planes["n"].protocols if row.value >= LEAST_N], level))
    if softplus is not None:
        claims.append(_law_claim(*softplus, level))
    return tuple(claims)


def _shape_claim(plane: Plane, level: float) -> PaperClaim:
    """Judge the exact contour against its expected widths."""
    if plane.axis == "n":
        ranges = [(row.crossing, *FLAT) for row in plane.rows]
    else:
        lines = [(row.crossing, LINE[0] * row.value + LINE[1]) for row in plane.rows if row.value >= LEAST_M]
        ranges = [(crossing, line / (1.0 + WITHIN), line * (1.0 + WITHIN)) for crossing, line in lines]
    ratios = [np.asarray(crossing.interval) / math.sqrt(a * b) for crossing, a, b in ranges]
    reason = TEXTS.text("shape_reason", over_heuristic=_contour(plane, level).over_heuristic)
    return TEXTS.claim(
        f"shape_claim_{plane.axis}",
        verdict=within((crossing.interval, (a, b)) for crossing, a, b in ranges) if ranges else "vacuous",
        trials=_trials(row.counts for row in plane.rows),
        figure="maps-plane",
        experiment=EXACT[plane.axis],
        flat=FLAT,
        line=LINE,
        within=WITHIN,
        least=LEAST_M,
        level=level,
        low=min((low for low, _ in ratios), default=math.nan),
        high=max((high for _, high in ratios), default=math.nan),
        reason=reason,
    )


def _slope_claim(plane: Plane, level: float) -> PaperClaim:
    """Judge whether the exact contour grows as the heuristic does: not in n, a little faster than linearly in m."""
    claimed, fitted = _heuristic_slope(plane), slope(plane, level)
    low, high = fitted.interval
    known = not math.isnan(fitted.estimate + claimed)
    agrees = "not contradicted" if low <= claimed <= high else "contradicted"
    return TEXTS.claim(
        "slope_claim",
        verdict=agrees if known else "undecided",
        trials=_trials(row.counts for row in plane.rows),
        figure="maps-plane",
        experiment=EXACT[plane.axis],
        axis=plane.axis,
        claimed=claimed,
        least=LEAST_M,
        known=known,
        fitted=fitted,
        level=level,
        ratios=[row.crossing.estimate / row.heuristic for row in plane.rows if row.value >= LEAST_M],
    )


def _deceived_claim(rows: Sequence[ProtocolRow], level: float) -> PaperClaim:
    """Judge whether no draw is called converged where zero loss is out of reach."""
    names = ("hopeless", "deceived", "tried", "undecided", "possible")
    total = {name: sum(getattr(row, name) for row in rows) for name in names}
    deceived, undecided = total["deceived"], total["undecided"]
    return TEXTS.claim(
        "deceived_claim",
        verdict="violated" if deceived else f"not violated in {spaced(total['hopeless'])}",
        trials=total["hopeless"],
        figure="maps-row",
        experiment=DESCENT["n"][0],
        **total,
        high=float(clopper_pearson(deceived + undecided, total["possible"], level, "upper")[1]),
        level=level,
    )


def _shift_claim(rows: Sequence[ProtocolRow], level: float) -> PaperClaim:
    """Judge whether the protocol's contour is at most 5 % above the exact one from n = 30 on."""
    ends = [row.shift.interval for row in rows if not math.isnan(row.shift.ratio)]
    verdict = within((limits, (-math.inf, LATER)) for limits in ends)
    if len(ends) < len(rows) or not ends:
        verdict = "contradicted" if verdict == "contradicted" else "undecided"
    return TEXTS.claim(
        "shift_claim",
        verdict=verdict,
        trials=_trials(row.converged for row in rows),
        figure="maps-plane",
        experiment=DESCENT["n"][0],
        n=LEAST_N,
        m=ANCHORS["m"],
        later=LATER - 1.0,
        ends=(min(low for low, _ in ends), max(high for _, high in ends)) if ends else None,
        level=level,
    )


def _law_claim(rows: Sequence[MapRow], judged: Points, level: float) -> PaperClaim:
    """Judge the exact law of softplus at all cells of the map."""
    tightest, address = judged.tightest, None
    if tightest is not None:
        m, width = int(judged.parameters[tightest]), int(judged.widths[tightest])
        address = (next(i for i, row in enumerate(rows) if row.m == m), None, width)
    return TEXTS.claim(
        "law_claim",
        verdict="contradicted" if judged.p_against < 1.0 - level else "not contradicted",
        trials=_trials(row.counts for row in rows),
        figure="maps-softplus",
        experiment=SOFTPLUS,
        address=address,
        cells=judged.tests,
        p=judged.p_against,
    )


def contour_words(crossing: CrossingWidth) -> str:
    """Format the width and the interval of a contour for a table."""
    if math.isnan(crossing.estimate):
        return "–"
    if crossing.estimate == 0.0:
        return f"< {spaced(crossing.grid[0])}"
    if math.isinf(crossing.estimate):
        return f"> {spaced(crossing.grid[1])}"
    low, high = (
        "..." if open_end in (0.0, math.inf) else spaced(significant(open_end, 3)) for open_end in crossing.interval
    )
    return f"{spaced(significant(crossing.estimate, 3))} ({low} to {high})"


def _table(plane: Plane, level: float) -> Table:
    """Tabulate the contours row by row."""
    protocols = {row.value: row for row in plane.protocols}
    _, theorem = plane.scaling(ANCHORS[plane.axis])
    rows = [(row, scaled, protocols.get(row.value)) for row, scaled in zip(plane.rows, theorem, strict=True)]
    words: dict[str, Any] = {"contour": contour_words, "late_share": late_share}
    return TEXTS.table("table", contours=rows, axis=plane.axis, anchor=ANCHORS[plane.axis], level=level, **words)
