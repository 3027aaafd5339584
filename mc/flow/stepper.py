"""The contract between the loop and a method: try a step, accept it for some trials, interpolate within it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mc.flow.field import Observation, ReducedFlow
from mc.model.arrays import Array, Index, Mask


@dataclass(frozen=True)
class Attempt:
    """What a tried step would do, for T trials.

    Attributes
    ----------
    error : (T,) array
        Estimate of the local error, in theta.
    distance : (T,) array
        |theta - theta(0)| after the step.
    sound : (T,) bool array
        Whether every number is finite and no neuron has crossed a zero of phi' (theory §3.3).
    """

    error: Array
    distance: Array
    sound: Mask


class Stepper(Protocol):
    """One batch of trials being stepped, each with its own step.

    Attributes
    ----------
    order : int
        The error estimate of a step falls like dt^order.
    safety : float
        How far the error of a step may lie above its estimate: the sum of the estimates is raised by it.
    opening : float
        First step at rtol 1e-5, in units of the time in which the loss would fall to nothing at its first rate.
    flow : ReducedFlow
    seen : Observation
        Of the current state.
    """

    order: int
    safety: float
    opening: float
    flow: ReducedFlow
    seen: Observation

    def speed(self) -> Array:
        """|d theta/dt| now, (T,)."""

    def attempt(self, dt: Array) -> Attempt:
        """Try one step of size dt (T,)."""

    def accept(self, accepted: Mask) -> Array:
        """Move the accepted trials on; returns by what an error before the step has been multiplied at most, (T,).

        One where that is not known: then the sum of local errors needs the company of a second run.
        """

    def stiff(self) -> Mask:
        """Whether stability rather than accuracy holds a trial's steps back, (T,)."""

    def interpolate(self, rows: Index, fractions: Array) -> Array:
        """States (N, rows, k) of some trials at fractions (N,) of the step just tried, before it is accepted."""

    def states(self) -> Array:
        """Current states, (T, rows, k)."""

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""


def crossed(flow: ReducedFlow, old: Array, new: Array) -> Mask:
    """Whether a neuron has crossed a zero of phi' between two pre-activations (T, k), shape (T,)."""
    zeros = flow.activation.critical_points
    if not zeros.size:
        return np.zeros(old.shape[0], dtype=bool)
    return np.asarray((np.searchsorted(zeros, old) != np.searchsorted(zeros, new)).any(axis=1))


def norm(array: Array) -> Array:
    """Euclidean norm over all axes but the first."""
    flat = array.reshape(array.shape[0], -1)
    return np.asarray(np.sqrt(np.einsum("ti,ti->t", flat, flat)))
