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


GROUP_BYTES = 64_000_000
"""Networks that are moved side by side fill no more than this."""

LEVELS = 15
"""Levels of a forecast: those of a probability of 1e-9 at a survival of one quarter."""
SECONDS_PER_MOVE = 1e-5
"""Per particle and move, whatever the width; three times as much for a rung of the ladder."""
SECONDS_PER_ENTRY = 2e-8
"""Per particle, move and entry of the r x k matrix that `exact` looks at."""
SECONDS_PER_TILTED = 2e-8
"""Per number of a tilted network."""
SECONDS_PER_NET = 4.0
"""For the net of directions of the tilted laws."""


def carriers(block: range, per_block: int, repetitions: int) -> range:
    """The trials of a block that carry one of so many repetitions, at most `per_block` of them."""
    own = min(per_block, len(block))
    before = own * (block.start // len(block))
    return block[: max(0, min(own, repetitions - before))]


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
        return carriers(block, self.per_block, self.repetitions)

    def blocks(self, block_size: int) -> int:
        """Blocks that carry a repetition."""
        return -(-self.repetitions // min(self.per_block, block_size))

    def seconds(self, repetitions: int, n: int, rank: int, k: int) -> float:
        """Forecast of some repetitions of a block at width k, their pilot included, for a failure of about 1e-9."""
        move = SECONDS_PER_MOVE * (3.0 if self.margin in LADDER_MARGINS else 1.0)
        if self.margin == "exact":
            move += SECONDS_PER_ENTRY * rank * k
        networks = (repetitions + 1) * self.particles
        splitting = networks * LEVELS * (self.moves * move + 2.0 * k * (n + 1) * SECONDS_PER_TILTED)
        if not self.tilted:
            return splitting
        return splitting + SECONDS_PER_NET + repetitions * self.tilted * k * (n + 1) * SECONDS_PER_TILTED

    def bytes(self, n: int, k: int) -> float:
        """Memory of the networks of a group, their copies and what is kept of them."""
        return 3.0 * max(8.0 * self.particles * k * (n + 1), GROUP_BYTES)
