"""The interface between the integration loop and a method: attempt a step, accept it for some trials, interpolate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mc.flow.field import Point, ReducedFlow
from mc.model.arrays import Array, Index, Mask


@dataclass(frozen=True)
class Attempt:
    """Result of an attempted step; arrays (T,)."""

    error: Array  # estimate of the local error, in theta
    distance: Array  # |theta - theta(0)| after the step
    sound: Mask  # every number is finite and no neuron crosses a zero of phi' (theory §3.3)


class Stepper(Protocol):
    """A batch of T trials, each with its own step size."""

    order: int  # the error estimate of a step falls like dt^order
    safety: float  # largest expected ratio of the error of a step to its estimate; multiplies the sum of estimates
    opening: float  # first step at rtol 1e-5, in units of the time in which the loss would vanish at its first rate
    flow: ReducedFlow
    point: Point  # current state

    def speed(self) -> Array:
        """Return |d theta/dt| at the current state, (T,)."""

    def attempt(self, dt: Array) -> Attempt:
        """Try one step of size dt (T,)."""

    def accept(self, accepted: Mask) -> Array:
        """Advance the accepted trials; return the largest factor by which the step multiplies an earlier error, (T,).

        The factor is one where no bound is known: then a second run must measure the growth of errors.
        """

    def stiff(self) -> Mask:
        """Return whether stability rather than accuracy limits the step size, (T,)."""

    def interpolate(self, rows: Index, fractions: Array) -> Array:
        """Return the states (N, rows, k) of given trials at fractions (N,) of the attempted step, not yet accepted."""

    def states(self) -> Array:
        """Return the current states, (T, rows, k)."""

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""


def crossed(flow: ReducedFlow, old: Array, new: Array) -> Mask:
    """Return whether a neuron has crossed a zero of phi' between two pre-activations (T, k), shape (T,)."""
    zeros = flow.activation.critical_points
    if not zeros.size:
        return np.zeros(old.shape[0], dtype=bool)
    return np.asarray((np.searchsorted(zeros, old) != np.searchsorted(zeros, new)).any(axis=1))


def norm(array: Array) -> Array:
    """Return the Euclidean norm over all axes but the first."""
    flat = array.reshape(array.shape[0], -1)
    return np.asarray(np.sqrt(np.einsum("ti,ti->t", flat, flat)))
