"""The study of pictures in words: its verdict and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mc.estimate.flows.recovery import Course
from mc.store.results import CellResults

OPERATORS = {"blur": "Blur", "mask": "Half observed"}


class CaseLike(Protocol):
    """A cell with its trajectories."""

    @property
    def cell(self) -> CellResults:
        """The numbers of the cell."""

    @property
    def operator(self) -> str:
        """Name of the operator."""

    @property
    def courses(self) -> tuple[Course, ...]:
        """Its trajectories."""

    @property
    def widest(self) -> tuple[Course, ...]:
        """Those of the largest width, both layers trained."""


def operator_word(operator: str) -> str:
    """An operator in words, as a title begins."""
    return OPERATORS.get(operator, operator)


def _widest(cases: Sequence[CaseLike], operator: str) -> list[Course]:
    return [course for case in cases if case.operator == operator for course in case.widest]


def _fall(found: Sequence[Course]) -> str:
    """Decibels at early stopping, at best and at the end, in words."""
    stopped = [c.at(c.stop) for c in found if c.stop >= 0]
    stop = f"{np.median(stopped):.1f} dB" if stopped else "nowhere"
    best, end = (np.median([c.at(getattr(c, name)) for c in found]) for name in ("best", "last"))
    return f"{stop} at early stopping, {best:.1f} dB at the best moment, {end:.1f} dB at the end"


def verdict(cases: Sequence[CaseLike]) -> str:
    """The answer in two or three sentences.

    Parameters
    ----------
    cases : sequence of CaseLike
    """
    words = []
    for operator, name in OPERATORS.items():
        if found := _widest(cases, operator):
            words.append(f"{name} (widest networks, median): {_fall(found)}.")
    stopped = [c for c in _widest(cases, "blur") if c.stop >= 0]
    if stopped:
        early = sum(c.stop <= c.best for c in stopped)
        words.append(f"Of {len(stopped)} blurred signals {early} were stopped at or before their best moment.")
    words.append(
        "With both layers trained zero loss is proved at every width, and the signal is not recovered: the proof is "
        "about "
        "the observation alone."
    )
    return " ".join(words)


def _kernel(cases: Sequence[CaseLike]) -> str:
    found = [c for c in _widest(cases, "mask") if c.in_kernel[0] > 0.0]
    if not found:
        return ""
    share = [float(c.in_kernel[c.last] ** 2 / (c.in_kernel[c.last] ** 2 + c.in_range[c.last] ** 2)) for c in found]
    moved = [abs(float(c.in_kernel[c.last] / c.in_kernel[0]) - 1.0) for c in found]
    return (
        "Inpainting. What is not observed is not learned: in the kernel of A the error changes by "
        f"{np.median(moved):.1%} in the "
        f"median and is {np.median(share):.0%} of the squared error at the end. The kernel part of x(t) is P_ker "
        "V(0) z(t)/√k with the initial "
        "V(0): random static, which moves only as the activations z do (claim kernel-drift) and knows nothing of the "
        "picture. There is no structure "
        "in this network that would fill a hole; the bound (iii) of Theorem 1 is vacuous for m < n, and rightly so."
    )


def _range(cases: Sequence[CaseLike]) -> str:
    found = _widest(cases, "blur")
    if not found:
        return ""
    gain = [float(c.in_range[c.last] / c.noise) for c in found]
    worst = [1.0 / c.sigma_A for c in found]
    return (
        "Deblurring. In the range of Aᵀ the error is A⁺(y(t) - y + ε) (theory 6.2): at zero loss nothing but the "
        "noise, divided by the singular "
        f"values. The largest factor that allows is 1/σ_A = {min(worst):.3g} to {max(worst):.3g}; at the end of "
        "training the error is "
        f"{np.median(gain):.3g} |ε| in the median. The flow fits the large singular values first, where the signal "
        "is, and the small ones last, where "
        "the noise is: hence the best moment, and the reason why early stopping is a regularisation at all. Theorem "
        "1 (ii) does not know "
        "it: it bounds the observation, |y(t) - ȳ| ≤ 2|ε|, and is silent about x(t)."
    )


def _proof(cases: Sequence[CaseLike]) -> str:
    """What the certificates say, with their numbers."""
    parts = [
        "What is proved. With sigmoid and both layers trained, gradient flow reaches zero loss from every start and "
        "at every "
        "width (theory §7.5, certificate conserved)."
    ]
    own = [case for case in cases if "sigma_low" in case.cell and "both" in case.cell.modes]
    floors = np.concatenate([case.cell["sigma_low"].ravel() for case in own] or [np.empty(0)])
    sigma_A = np.concatenate([np.repeat(case.cell["sigma_A"], len(case.cell.widths)) for case in own] or [np.empty(0)])
    stops = [float(c.time[c.stop]) for case in own for c in case.courses if c.mode == "both" and c.stop >= 0]
    if floors.size and stops:
        # logarithms: the square of a floor is often below the smallest positive number
        with np.errstate(divide="ignore"):
            promised = float(np.median(-2.0 * (np.log10(sigma_A) + np.log10(floors))))
        time = f"10^{promised:.0f}" if np.isfinite(promised) else "more than 10^616"
        lost = int((floors == 0.0).sum())
        small = f", {lost} of them below 1e-308, where double precision ends" if lost else ""
        parts.append(
            f"Its rate is made of the floor σ_low, which falls exponentially with the number of observations: "
            f"{np.median(floors):.1e} in the median of {floors.size} networks, {floors.max():.1e} at most{small}. "
            "The residual "
            f"is promised to fall by a factor e within a time (σ_A σ_low)⁻² of {time} in the median; it falls below "
            "the noise "
            f"after {np.median(stops):.3g} in the median. Zero loss is certain, and its time is not known."
        )
    margins = np.concatenate(
        [case.cell["margin_sharp"].ravel() for case in cases if "margin_sharp" in case.cell] or [np.empty(0)]
    )
    if (margins := margins[np.isfinite(margins)]).size:
        parts.append(
            f"Sharp, the widest of the other three, certifies {int((margins > 1.0).sum())} of {margins.size} "
            "networks (largest "
            f"margin {margins.max():.3g}, where more than 1 is a proof)."
        )
    never = [c for case in cases for c in case.courses if c.mode == "hidden"]
    if never:
        short = sum(c.stop < 0 for c in never)
        parts.append(
            f"With the hidden layer alone {short} of {len(never)} trajectories never come within the noise of y."
        )
    return " ".join(parts)


def meaning(cases: Sequence[CaseLike]) -> tuple[str, ...]:
    """What the study means, for a reader of this section alone.

    Parameters
    ----------
    cases : sequence of CaseLike
    """
    choice = (
        "Early stopping. The discrepancy principle stops when |y(t) - y| ≤ |ε|, which needs the size of the noise "
        "and nothing of the truth. Peak "
        "signal-to-noise ratios are of the saved times, with the range of the truth as the peak; a stop between two "
        "saved times is "
        "counted at the later one. The blur has a tiny smallest singular value (that of the picture is cut off at a "
        "thousandth of the largest), so "
        "it is an ill-posed problem in the usual sense, and no certificate of this page changes that."
    )
    return tuple(text for text in (_proof(cases), _range(cases), _kernel(cases), choice) if text)
