"""The first figure: the probability of each certificate against the width, with the explicit bounds beside."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable

from matplotlib.axes import Axes

from mc.estimate.cells.study import CellStudy
from mc.estimate.numbers import significant, spaced
from mc.report.panels import Figure, Panel, Row, cell_prefix, csv_text, mode_name, mode_phrase, trials_words
from mc.report.style import EVENT_LINES, MUTED, THEORY_LINES, log_width_axis, panel, to_svg

NO_BREAK = "\u00a0"
TITLE_CHARACTERS = 50
"""Characters of a bold title that fit the panel."""

LADDER_COLUMNS = (
    "curve", "event", "mode", "width", "trials", "holds", "fails", "undecided", "frequency", "lower", "upper",
    "simultaneous_level", "theory", "verdict",
)  # fmt: skip


def _ladder_rows(study: CellStudy) -> Iterable[Row]:
    for (mode, event), curve in study.curves.items():
        compared = next((c.curve for c in study.claims if (c.mode, c.form) == (mode, event)), curve)
        for estimate, frequency in zip(compared.estimates(), compared.frequency, strict=True):
            yield (
                "measured", event, mode, estimate.width, estimate.trials, estimate.holds, estimate.fails,
                estimate.undecided, float(frequency), *estimate.interval, estimate.simultaneous_level,
                estimate.theory, estimate.verdict,
            )  # fmt: skip
    for (mode, form), (widths, theory) in study.drawn.items():
        for width, p in zip(widths, theory.p, strict=True):
            yield ("theory", form, mode, int(width), *[None] * 8, float(p), None)


def ladder_message(study: CellStudy, mode: str) -> str:
    """Where each certificate holds for half of the draws, in words."""
    found = [(e, study.medians[mode, e]) for e in EVENT_LINES if (mode, e) in study.medians]
    # A no-break space, so that a wrapped title keeps a certificate and its width together.
    return ", ".join(f"{event}{NO_BREAK}{median.label.replace(' ', NO_BREAK)}" for event, median in found)


def ladder_title(study: CellStudy) -> str:
    """The message of the figure: from which width to which half of the draws are certified."""
    parts = []
    for mode in study.cell.modes:
        found = [(e, study.medians[mode, e]) for e in EVENT_LINES if (mode, e) in study.medians]
        if found:
            ends = [f"{median.label} ({event})" for event, median in (found[0], found[-1])]
            parts.append(f"{' to '.join(dict.fromkeys(ends))} with {mode_phrase(mode)}")
    return "Half of the draws are certified at width " + "; ".join(parts)


def _draw_ladder(axes: Axes, study: CellStudy, mode: str) -> None:
    for event, line in EVENT_LINES.items():
        curve = study.curves.get((mode, event))
        if curve is None:
            continue
        seen = curve.counts.trials > 0
        widths = curve.widths[seen]
        axes.fill_between(widths, curve.lower[seen], curve.upper[seen], color=line.colour, alpha=0.16, linewidth=0)
        axes.plot(
            widths, curve.frequency[seen], color=line.colour, linestyle=line.dash, marker=line.marker, markersize=4.0,
            linewidth=1.4, markeredgewidth=0, label=line.label,
        )  # fmt: skip
    for (of_mode, form), (widths, theory) in study.drawn.items():
        says = theory.p > 0.0
        if of_mode == mode and says.any():
            line = THEORY_LINES[form]
            axes.plot(widths[says], theory.p[says], color=line.colour, linestyle=line.dash, label=line.label)
    axes.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    log_width_axis(axes, study.cell.widths[0], study.cell.widths[-1])
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("probability")


def _theory_sentence(study: CellStudy) -> str:
    if not study.compared or (study.theory is not None and not study.claims):
        return ""
    if study.theory is None:
        return "No P_theory is compared: the activation, loss or output law has no explicit constants here."
    if study.theory.outside:
        return f"No explicit bound applies: {study.theory.outside}."
    parts = []
    top = study.cell.widths[-1]
    for claim in study.claims:
        width = claim.width_for
        where = "at no width" if math.isinf(width) else f"from k = {spaced(significant(width, 3))}"
        beyond = ", beyond the grid" if top < width < math.inf else ""
        parts.append(f"{claim.mode}, {claim.form}: {where}{beyond}")
    return "The explicit bounds promise a probability of 0.95: " + "; ".join(parts) + "."


def ladder(study: CellStudy, level: float, simultaneous: bool) -> Figure:
    """Probability of each certificate against the width, with exact bands and the explicit bounds.

    Parameters
    ----------
    study : CellStudy
    level : float
    simultaneous : bool

    Returns
    -------
    Figure
        One panel per mode.
    """
    panels = []
    for mode in study.cell.modes:
        drawn = [line for event, line in EVENT_LINES.items() if (mode, event) in study.curves]
        if not drawn:
            continue
        name = f"{cell_prefix(study)}-ladder-{mode}"
        message = ladder_message(study, mode)
        with panel() as (figure, axes):
            _draw_ladder(axes, study, mode)
            title = f"{mode_name(mode).capitalize()}: half of the draws are certified at {message}"
            axes.set_title(textwrap.fill(title, TITLE_CHARACTERS, break_on_hyphens=False))
            figure.legend(loc="outside lower left", ncols=2, handlelength=2.8, columnspacing=1.4)
            words = f"Probability of each certificate against the width, {mode_name(mode)}. "
            words += f"Widths at which half of the draws are certified: {message}."
            panels.append(Panel(name, to_svg(figure, words), words))
    kind = "at all widths together" if simultaneous else "at each width"
    uniform = any(curve.method == "beta-binomial" for curve in study.curves.values())
    limits = "time-uniform (beta-binomial)" if uniform else "exact (Clopper-Pearson)"
    caption = (
        f"Marks: share of the {trials_words(study)} random draws for which the certificate holds. Shaded: {limits} "
        f"limits with confidence {level:.3g} {kind}. Dashed: the explicit lower bounds, drawn "
        f"where they say something. {_theory_sentence(study)}"
    )
    return Figure(
        f"{cell_prefix(study)}-ladder", ladder_title(study), caption, tuple(panels),
        csv_text(LADDER_COLUMNS, _ladder_rows(study)),
    )  # fmt: skip
