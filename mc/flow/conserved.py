"""What the flow conserves, as a monitor of the integration (theory §3.3-3.4)."""

from __future__ import annotations

import numpy as np

from mc.flow.field import ReducedFlow
from mc.model.arrays import Array


def conserved_drift(flow: ReducedFlow, h: Array, state: Array) -> Array:
    """How far the conserved quantities have drifted, relative to what they are made of.

    `hidden`: the part of Phi(h(t)) - Phi(h(0)) outside the row space of Q, where the flow keeps it, in units of the
    whole. `both`: the largest change of |Q_i|^2/2 - Pi(h_i) over the neurons, in units of 1 + |Q_i|^2/2.

    Parameters
    ----------
    flow : ReducedFlow
    h : (T, k) array
        Pre-activations at time 0.
    state : (T, rows, k) array

    Returns
    -------
    (T,) array
        NaN where the state is not finite.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if flow.mode == "both":
            start, end = (0.5 * np.square(Q).sum(axis=1) for Q in (flow.Q_start, state[:, 1:]))
            ratio = flow.activation.ratio_primitive
            drift = (end - ratio(state[:, 0])) - (start - ratio(h))
            return np.asarray(np.abs(drift / (1.0 + start)).max(axis=1))
        moved = flow.activation.primitive(state[:, 0]) - flow.activation.primitive(h)
        gram = np.matmul(flow.Q_start, flow.Q_start.swapaxes(1, 2))
        ridge = 1e-14 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(gram.shape[1])
        image = np.matmul(flow.Q_start, moved[:, :, None])
        inside = np.matmul(np.linalg.solve(gram + ridge, image)[:, :, 0][:, None, :], flow.Q_start)[:, 0, :]
        size = np.linalg.norm(moved, axis=1)
        return np.where(size > 0.0, np.linalg.norm(moved - inside, axis=1) / size, 0.0)
