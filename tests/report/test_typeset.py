"""Formulas in the words of a page."""

from __future__ import annotations

import pytest

from mc.report.paper.section import typeset


@pytest.mark.parametrize(
    ("plain", "wanted"),
    [
        ("psi^2 <= 2 |eps|", "ψ² ≤ 2 |ε|"),
        ("n psi^2 sigma_A^-2, n psi^4 / sigma_A^4", "n ψ² σ_A⁻², n ψ⁴ / σ_A⁴"),
        ("m^1.05 and n^0.00 and t^2.5 and t^24", "m^1.05 and n^0.00 and t^2.5 and t^24"),
        ("t^(-p/(p-2))", "t^(-p/(p-2))"),
        ("P(lambda_min(H) <= (1 - eta) C_dphi^2) <= delta_1(k)", "P(λ_min(H) ≤ (1 - η) C_φ′²) ≤ δ_1(k)"),
        ("|theta(t) - theta_inf| <= psi(Psi^-1(xi(t)))", "|θ(t) - θ_∞| ≤ ψ(Ψ⁻¹(ξ(t)))"),
        ("|A^+ y|^2", "|A⁺ y|²"),
        ("the steps of epsilon, a pipe and petals", "the steps of epsilon, a pipe and petals"),
        ("the range of A^T: `conserved`, U^Tx", "the range of Aᵀ: conserved, U^Tx"),
        ("", ""),
    ],
)
def test_symbols_stand_for_their_names_and_words_stay(plain: str, wanted: str) -> None:
    assert typeset(plain) == wanted
    assert typeset(wanted) == wanted
