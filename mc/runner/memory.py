"""How much memory a worker needs for one block: a simple model of the largest arrays that live together."""

from __future__ import annotations

from mc.experiment.experiment import Experiment
from mc.flow.case import BATCH_BYTES
from mc.model.draws import CHUNK
from mc.store.layout import BLOCK_LAYOUT
from mc.trial.neuron_sums import STREAM_BYTES

START_BYTES = 1.2e8
"""A process with Python, NumPy and SciPy loaded."""
STREAM_ARRAYS = 6
"""Arrays of that size that live together: the draw, two products with it, and what is summed."""
STAGES = 16
"""Copies of a flow's state that the integrator and its companion hold."""
SUBSET = 16
"""Neurons per dimension that are kept to decide the limit (theory §7.4)."""


def peak_memory(experiment: Experiment) -> float:
    """Bytes that one worker process needs at most, right to a factor of two.

    The model: the interpreter; the results of a block of T trials; the buffers of the neuron stream; the first neurons
    of each trial, h and Z^T V, kept for the exact limit and for the flow; a batch of trajectories with their stages;
    the particles of a rare failure.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    float
        The largest over the cells.
    """
    trials, widths, flows = experiment.block_size, experiment.widths, experiment.flow_widths
    sizes = {"mode": len(experiment.modes), "trial": trials, "width": len(widths), "flow_width": len(flows)}
    save = None if experiment.flow is None else experiment.flow.save
    sizes |= {"saved_trial": min(trials, 0 if save is None else save.trials), "time": 0 if save is None else save.count}
    longest = max(int(cell.problem["n"]) for cell in experiment.cells())
    sizes["entry"] = longest if save is not None and save.signal else 0
    block = 0.0
    for field in BLOCK_LAYOUT:
        entries = 1.0
        for dim in field.dims:
            entries *= sizes[dim]
        block += entries * (1 if field.dtype == "int8" else 8)
    most = 0.0
    for cell in experiment.cells():
        n, rank = float(cell.problem["n"]), float(min(cell.problem["n"], cell.problem["m"]))
        decides = "hidden" in experiment.modes and ("exact" in experiment.ladder or flows)
        subset = min(CHUNK * -(-SUBSET * rank // CHUNK), widths[-1]) if decides else 0
        kept = 8.0 * trials * (1.0 + rank) * max(subset, *flows, 0)
        stream = STREAM_ARRAYS * max(STREAM_BYTES, 8.0 * n * CHUNK) + 8.0 * trials * len(widths) * n
        flow = max(STAGES * 8.0 * max(flows) * (1.0 + rank), 2.0 * BATCH_BYTES) if flows else 0.0
        # a neuron that the subset leaves open is drawn again whole, one trial at a time
        whole = 8.0 * widths[-1] * (n + 2.0 * rank + 2.0) if decides else 0.0
        rare = 0.0
        if experiment.rare is not None:
            rare = experiment.rare.bytes(int(n), experiment.rare.widths[-1])
        most = max(most, kept + stream + max(flow, whole), rare)
    return START_BYTES + block + most
