"""The section of every study, by the study's name."""

from __future__ import annotations

from collections.abc import Mapping

from mc.report.figures import ladder, outcomes
from mc.report.paper import activations, descent, images, losses, maps, noise, rare, scaling
from mc.report.paper import ladder as rungs
from mc.report.paper.section import Runs, Section, SectionMaker

SECTIONS: Mapping[str, SectionMaker] = {
    "ladder": rungs.section,
    "maps": maps.section,
    "scaling": scaling.section,
    "noise": noise.section,
    "losses": losses.section,
    "activations": activations.section,
    "descent": descent.section,
    "rare": rare.section,
    "images": images.section,
}
"""Studies with words and figures of their own; any other study gets those of `plain_section`."""


def plain_section(runs: Runs) -> Section:
    """Write the section of a study without a module of its own: the curves of its runs."""
    figures = []
    for run in runs.by_name.values():
        for cell in run.study.cells:
            curves = (ladder(cell, run.study.level, run.study.simultaneous), outcomes(cell))
            figures += [figure.named(f"{run.name}-") for figure in curves if figure is not None and figure.panels]
    return Section("", figures=tuple(figures))


def section_of(name: str, runs: Runs) -> Section:
    """Write the section of the study of that name."""
    return SECTIONS.get(name, plain_section)(runs)
