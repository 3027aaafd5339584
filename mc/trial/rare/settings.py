"""The settings of a study of rare failures, and the forecast of its cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen, doc

from mc.flow.settings import Width
from mc.theory.codes import MARGIN_RUNGS, Mode

RELATIVE = {
    "lambda_min": "C_dphi^2",
    "activation_norm_low": "C_phi",
    "activation_norm_high": "C_phi",
    "output_norm": "C_phi |A|_F",
}
"""Margins whose threshold is a multiple of a moment, and which (theory §7.1-3)."""

MARGINS = (*RELATIVE, *MARGIN_RUNGS, "exact")

PROBLEM_MARGINS = ("output_norm", *MARGIN_RUNGS, "exact")
"""Margins that depend on the inverse problem: their probability is of one problem."""

GROUP_BYTES = 64_000_000
"""Largest size of the networks that are moved side by side."""

LEVELS = 15
"""Levels of a forecast: those of a probability of 1e-9 at a survival of one quarter."""
SECONDS_PER_MOVE = 1e-5
"""Per particle and move, whatever the width; three times as much for a rung of the ladder."""
SECONDS_PER_ENTRY = 2e-8
"""Per particle, move and entry of the r x k matrix of `exact`."""
SECONDS_PER_TILTED = 2e-8
"""Per number of a tilted network."""
SECONDS_PER_NET = 4.0
"""For the net of directions of the tilted laws."""


def carriers(block: range, per_block: int, repetitions: int) -> range:
    """Return the trials of a block that carry one of the repetitions, at most `per_block` of them."""
    most = min(per_block, len(block))
    before = most * (block.start // len(block))
    return block[: max(0, min(most, repetitions - before))]


@dataclass(frozen=True)
class RareSettings:
    """The table [rare]: a failure, and how its probability is estimated.

    Each field holds its constraint and the text that a message about a wrong value ends with.
    The failure of `threshold` t is, by margin: ``lambda_min``: lambda_min(V Dphi^2 V^T/k) <= t C_dphi^2;
    ``activation_norm_low``, ``_high``: |z|/sqrt k at most, at least t C_phi; ``output_norm``: |y(0)| >= t C_phi |A|_F;
    a rung of the ladder: its margin at most t; ``exact``: the flow of the hidden layer cannot reach zero loss.
    """

    margin: Annotated[
        Literal[
            "lambda_min", "activation_norm_low", "activation_norm_high", "output_norm", "paper", "trial", "sharp",
            "exact",
        ],
        doc("one of " + ", ".join(MARGINS)),
    ]  # fmt: skip
    widths: Annotated[tuple[Width, ...], MinLen(1), doc("an increasing list of widths among those of [widths]")] = ()
    mode: Annotated[Mode | None, doc("'hidden' or 'both' (a rung of the ladder only)")] = None
    threshold: Annotated[float | None, Gt(0), doc("a number above 0")] = None  # None with the margin `exact` alone
    particles: Annotated[int, Ge(50), Le(10**6), doc("a whole number from 50 to 10^6")] = 400  # of one repetition
    repetitions: Annotated[int, Ge(1), Le(10**6), doc("a whole number from 1 to 10^6, in all")] = 16
    # the first trials of a block carry them, in the first blocks of a cell until there are enough
    per_block: Annotated[int, Ge(1), Le(128), doc("a whole number from 1 to 128 (repetitions of a block)")] = 4
    # share of the particles that survives a level
    survival: Annotated[float, Ge(0.05), Le(0.9), doc("a number from 0.05 to 0.9")] = 0.25
    moves: Annotated[int, Ge(4), Le(10**5), doc("a whole number from 4 to 10^5")] = 32  # proposals between two levels
    max_levels: Annotated[int, Ge(2), Le(10**4), doc("a whole number from 2 to 10^4")] = 100  # of the pilot
    # networks of the importance sampler in each repetition
    tilted: Annotated[int, Ge(0), Le(10**7), doc("a whole number from 0 to 10^7 (0: no importance sampling)")] = 0

    def trials(self, block: range) -> range:
        """Return the trials of a block that carry a repetition; each repetition has the address of its trial."""
        return carriers(block, self.per_block, self.repetitions)

    def blocks(self, block_size: int) -> int:
        """Return the number of blocks that carry a repetition."""
        return -(-self.repetitions // min(self.per_block, block_size))

    def seconds(self, repetitions: int, n: int, rank: int, k: int) -> float:
        """Forecast the time of repetitions in a block at width k, their pilot included, for a failure of about 1e-9."""
        move = SECONDS_PER_MOVE * (3.0 if self.margin in MARGIN_RUNGS else 1.0)
        if self.margin == "exact":
            move += SECONDS_PER_ENTRY * rank * k
        networks = (repetitions + 1) * self.particles
        splitting = networks * LEVELS * (self.moves * move + 2.0 * k * (n + 1) * SECONDS_PER_TILTED)
        if not self.tilted:
            return splitting
        return splitting + SECONDS_PER_NET + repetitions * self.tilted * k * (n + 1) * SECONDS_PER_TILTED

    def bytes(self, n: int, k: int) -> float:
        """Return the memory of the networks of a group, their copies and their sums."""
        return 3.0 * max(8.0 * self.particles * k * (n + 1), GROUP_BYTES)
