"""Probability bounds with explicit constants: P_theory(k), k_theory(delta), and the published form (theory §7.1-3)."""

from __future__ import annotations

from mc.theory.bounds.ingredients import (
    FORMS,
    MODES,
    PublishedForm,
    Setting,
    activation_norm_lower,
    activation_norm_upper,
    chernoff_failure,
    chernoff_rate,
    initial_output_upper,
    initial_psi_upper,
    largest_psi,
    lipschitz,
)
from mc.theory.bounds.search import TheoryPoint, describe, failure, k_theory, p_theory

__all__ = [
    "FORMS",
    "MODES",
    "PublishedForm",
    "Setting",
    "TheoryPoint",
    "activation_norm_lower",
    "activation_norm_upper",
    "chernoff_failure",
    "chernoff_rate",
    "describe",
    "failure",
    "initial_output_upper",
    "initial_psi_upper",
    "k_theory",
    "largest_psi",
    "lipschitz",
    "p_theory",
]
