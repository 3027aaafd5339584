"""Which blocks are asked for, and at which widths: all of a plan, or the requests of a round of adaptive sampling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mc.store.plan import CellPlan, RunPlan


class RequestLike(Protocol):
    """Blocks `first_block` to `last_block` - 1 of a cell at some widths."""

    @property
    def cell(self) -> int:
        """Index of the cell."""

    @property
    def first_block(self) -> int:
        """The first block."""

    @property
    def last_block(self) -> int:
        """The block after the last."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the certificates."""

    @property
    def flow_widths(self) -> tuple[int, ...]:
        """Widths of the flow."""


Asked = tuple[CellPlan, int, tuple[int, ...], tuple[int, ...]]
"""A cell, the number of a block, its widths and its flow widths."""


def asked_blocks(plan: RunPlan, requests: Sequence[RequestLike] | None = None) -> Iterator[Asked]:
    """The blocks that are asked for; first block 0 of every cell, then block 1 and so on.

    Parameters
    ----------
    plan : RunPlan
    requests : sequence of RequestLike, optional
        Within the plan, no block twice; every block at every width by default.
    """
    wanted: dict[int, list[RequestLike]] = {cell.index: [] for cell in plan.cells}
    for request in requests or ():
        wanted[request.cell].append(request)
    for block in range(plan.n_blocks):
        for cell in plan.cells:
            if requests is None:
                yield cell, block, plan.widths, plan.flow_widths
            for request in wanted[cell.index]:
                if request.first_block <= block < request.last_block:
                    yield cell, block, request.widths, request.flow_widths
