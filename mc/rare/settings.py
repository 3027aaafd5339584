"""What a study of rare failures asks for."""

from __future__ import annotations

from dataclasses import dataclass

RELATIVE = {
    "lambda_min": "C_dphi^2",
    "activation_norm_low": "C_phi",
    "activation_norm_high": "C_phi",
    "output_norm": "C_phi |A|_F",
}
"""Margins whose threshold is a multiple of a moment, and which (theory §7.1-3)."""

LADDER_MARGINS = ("paper", "trial", "sharp")
"""Rungs of the ladder: the failure is a margin at most the threshold, 1 where nothing else is said."""

MARGINS = (*RELATIVE, *LADDER_MARGINS, "exact")

PROBLEM_MARGINS = ("output_norm", *LADDER_MARGINS, "exact")
"""Margins that look at the inverse problem: their probability is of one problem."""


@dataclass(frozen=True)
class RareSettings:
    """A failure, and how its probability is estimated.

    Attributes
    ----------
    margin : str
        One of `MARGINS`.
    mode : str
        Which layers are trained; only the rungs of the ladder look at it.
    threshold : float
        ``lambda_min``: lambda_min(V Dphi^2 V^T/k) <= threshold C_dphi^2. ``activation_norm_low``, ``_high``:
        |z|/sqrt k at most, at least threshold C_phi. ``output_norm``: |y(0)| >= threshold C_phi |A|_F. A rung: its
        margin at most threshold. ``exact``: the flow of the hidden layer cannot reach zero loss, without a threshold.
    particles : int
        Networks of one repetition.
    repetitions : int
        Independent repetitions in all.
    per_block : int
        Repetitions of a block: its first trials, in the first blocks of a cell until there are enough.
    survival : float
        Share of the particles that survives a level.
    moves : int
        Proposals between two levels.
    max_levels : int
        Levels after which the pilot gives up.
    tilted : int
        Networks of the importance sampler in each repetition; 0: none.
    """

    margin: str
    mode: str
    threshold: float
    particles: int
    repetitions: int
    per_block: int
    survival: float
    moves: int
    max_levels: int
    tilted: int

    def trials(self, block: range) -> range:
        """The trials of a block that carry a repetition; each repetition has the address of its trial."""
        own = min(self.per_block, len(block))
        before = own * (block.start // len(block))
        return block[: max(0, min(own, self.repetitions - before))]
