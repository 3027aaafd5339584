"""Numbers and formulas in the words of a page, and the form that all sections share."""

from __future__ import annotations

import math

import pytest

from mc.report.paper.section import (
    EMPTY,
    Runs,
    Texts,
    factor_limits,
    factor_words,
    limits_words,
    typeset,
    width_words,
    within,
)
from mc.report.paper.sections import SECTIONS


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


def test_words() -> None:
    assert width_words(math.inf, 3_000_000) == "> 3\u202f000\u202f000"
    assert width_words(1234.0, 10_000) == "1\u202f230"
    assert limits_words((10.0, 46.0)) == "10 to 46"
    assert limits_words((0.0, 46.0)) == "1 to 46"
    assert limits_words((10.0, math.inf)) == "> 10"
    assert factor_words(12.34) == "×12"
    assert factor_limits((2.0, math.inf)) == "at least ×2"


@pytest.mark.parametrize("study", sorted(set(SECTIONS) - {"noise"}))
def test_a_study_without_a_trial_has_the_empty_section(study: str) -> None:
    assert SECTIONS[study](Runs({})) == EMPTY


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ([(1.0, 2.0), (1.5, 3.0)], "supported"),
        ([(1.0, 2.0), (0.5, 3.0)], "undecided"),
        ([(-math.inf, math.inf)], "undecided"),
        ([(0.5, 3.0), (3.5, 4.0)], "contradicted"),
        ([(math.nan, math.nan)], "undecided"),
    ],
)
def test_numbers_are_judged_by_their_limits(limits: list[tuple[float, float]], verdict: str) -> None:
    assert within((each, (1.0, 3.0)) for each in limits) == verdict


def test_a_claim_explains_itself_only_where_it_fails() -> None:
    numbers = {"m": {"name": "mse", "mode": "both"}, "median": {"low": 0.5, "high": 2.0}, "level": 0.95}
    where = {"trials": 7, "figure": "losses-time", "experiment": "losses-mse", "looseness": 4.0}
    failed, open_end = (
        Texts("losses").claim("bound_claim", verdict, **where, **numbers) for verdict in ("contradicted", "undecided")
    )
    assert failed.claim == open_end.claim
    assert failed.claim.startswith("mse, both: the late rate is at least 4 times")
    assert failed.interval == "[0.5, 2] at 0.95"
    assert failed.explanation.startswith("sigma_min(J) has fallen")
    assert open_end.explanation == ""
