"""Formulas of plain text as a reader of a page expects them: Greek letters, exponents, signs."""

from __future__ import annotations

import re

_GREEK = {
    "theta": "θ", "sigma": "σ", "Sigma": "Σ", "lambda": "λ", "delta": "δ", "gamma": "γ", "kappa": "κ", "eta": "η",
    "eps": "ε", "phi": "φ", "psi": "ψ", "Psi": "Ψ", "pi": "π", "xi": "ξ",
}  # fmt: skip
_WORDS = {"xbar": "x̄", "ybar": "ȳ", "theta_inf": "θ_∞", "C_dphi": "C_φ′", "dphi": "φ′", "sqrt": "√"}
_SIGNS = {">=": "≥", "<=": "≤", "^-1": "⁻¹", "^-2": "⁻²", "^-4": "⁻⁴", "^2": "²", "^4": "⁴", "^+": "⁺", "^T": "ᵀ"}

_NAMES = re.compile(
    r"(?<![A-Za-z])(?:" + "|".join(sorted((*_WORDS, *_GREEK), key=len, reverse=True)) + r")(?![A-Za-z])"
)
_MARKS = re.compile(r">=|<=|\^(?:-[124]|[24]|\+|T(?![A-Za-z]))(?!\d|\.\d)")


def typeset(text: str) -> str:
    """The text with the names of symbols replaced by the symbols: ``psi^2 <= 2 |eps|`` is ψ² ≤ 2 |ε|.

    Only whole names are; an exponent that is no small whole number stays as it is; backquotes go.
    """
    found = _NAMES.sub(lambda name: _WORDS.get(name.group()) or _GREEK[name.group()], text.replace("`", ""))
    return _MARKS.sub(lambda mark: _SIGNS[mark.group()], found)
