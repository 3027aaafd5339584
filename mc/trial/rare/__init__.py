"""Rare failures: probabilities far below one over the number of trials, by splitting and by tilted sampling.

A failure is the event that a continuous margin of the network falls to a threshold. Splitting walks there through
levels that were fixed by a pilot, so every repetition is an unbiased estimate; tilting is a second estimator where the
tilted law is known in closed form. `docs/rare.md` has the proofs and what was measured.
"""

from __future__ import annotations

from mc.trial.rare.attainable import common_box
from mc.trial.rare.repetitions import rare_arrays
from mc.trial.rare.settings import MARGINS, PROBLEM_MARGINS, RELATIVE, RareSettings
from mc.trial.rare.tilting import closed_form

__all__ = [
    "MARGINS",
    "PROBLEM_MARGINS",
    "RELATIVE",
    "RareSettings",
    "closed_form",
    "common_box",
    "rare_arrays",
]
