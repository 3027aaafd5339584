"""The Dormand-Prince pair 5(4), batched (Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, II.5)."""

from __future__ import annotations

import numpy as np

from mc.flow.field import ReducedFlow
from mc.flow.stepper import Attempt, crossed, norm
from mc.model.arrays import Array, Index, Mask

STAGES = 7
STABILITY = 2.5
"""dt times the fastest rate above which stability limits a step; the pair is stable up to 3.3."""
PATIENCE = 3
"""Consecutive steps that stability must limit before a trial counts as stiff."""

STAGE_WEIGHTS = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR_WEIGHTS = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
# Shampine's interpolant of order 4: weight of stage i at s is sum_j DENSE_WEIGHTS[i][j] s^(j+1)
DENSE_WEIGHTS = np.array(
    [
        [1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799],
        [0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072],
        [0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632],
        [0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844],
        [0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423],
    ]
)


class DormandPrince:
    """Explicit Runge-Kutta on the reduced state; the last stage of a step is the first of the next.

    `mc.flow.stepper.Stepper` describes the methods.
    """

    order = 5
    safety = 1.0
    opening = 0.1

    def __init__(self, flow: ReducedFlow, h: Array, state: Array | None = None) -> None:
        self.flow = flow
        self._start = flow.start(h)
        self._state = self._start.copy() if state is None else state.copy()
        self._limited = np.zeros(h.shape[0], dtype=np.intp)
        self._allocate()
        self.point = flow.derivative(self._state, self._stages[0])
        self._new, self._new_point, self._dt = self._state, self.point, np.zeros(h.shape[0])

    def _allocate(self) -> None:
        self._stages = np.empty((STAGES, *self._state.shape))
        self._work = np.empty_like(self._state)

    def _Q(self) -> Array:
        return self.flow.Q_start if self.flow.mode == "hidden" else self._state[:, 1:]

    def speed(self) -> Array:
        """Return |d theta/dt| at the current state, (T,)."""
        return norm(self._stages[0])

    def attempt(self, dt: Array) -> Attempt:
        """Try one step of size dt (T,)."""
        scale = dt[:, None, None]
        self._new, self._dt = np.empty_like(self._state), dt
        for stage, weights in enumerate(STAGE_WEIGHTS, start=1):
            target = self._new if stage == STAGES - 1 else self._work
            self._combine(weights, target)
            target *= scale
            target += self._state
            self._new_point = self.flow.derivative(target, self._stages[stage])
        # stages 6 and 7 are both at the end of the step: dt |f_7 - f_6|/|y_7 - y_6| is dt times the fastest rate
        reach = norm(self._new - self._work)
        self._fast = dt * norm(self._stages[6] - self._stages[5]) / np.maximum(reach, 1e-300)
        self._combine(ERROR_WEIGHTS, self._work)
        error = norm(self._work) * dt
        distance = norm(np.subtract(self._new, self._start, out=self._work))
        sound = np.isfinite(error) & np.isfinite(self._new_point.loss)
        return Attempt(error, distance, sound & ~crossed(self.flow, self._state[:, 0], self._new[:, 0]))

    def _combine(self, weights: tuple[float, ...], out: Array) -> None:
        np.dot(np.asarray(weights), self._stages[: len(weights)].reshape(len(weights), -1), out=out.reshape(-1))

    def accept(self, accepted: Mask) -> Array:
        """Advance the accepted trials; return ones, for no bound of the growth of errors is known."""
        self._limited = np.where(self._fast > STABILITY, self._limited + accepted, 0)
        if accepted.all():
            self._state, self.point = self._new, self._new_point
            self._stages[0] = self._stages[-1]
            return np.ones(accepted.size)
        self._state[accepted] = self._new[accepted]
        self._stages[0][accepted] = self._stages[-1][accepted]
        self.point = self.point.updated(accepted, self._new_point).with_Q(self._Q())
        return np.ones(accepted.size)

    def interpolate(self, rows: Index, fractions: Array) -> Array:
        """Return the states (N, rows, k) of given trials at fractions (N,) of the attempted step."""
        powers = fractions[:, None] ** np.arange(1, 5)[None, :]
        weights = self._dt[rows, None] * (powers @ DENSE_WEIGHTS.T)
        states = self._state[rows]
        for stage, weight in zip(self._stages, weights.T, strict=True):
            states += weight[:, None, None] * stage[rows]
        return states

    def stiff(self) -> Mask:
        """Return whether several consecutive steps ended near the boundary of stability, (T,)."""
        return self._limited >= PATIENCE

    def states(self) -> Array:
        """Return the current states, (T, rows, k)."""
        return self._state

    def keep(self, rows: Index) -> None:
        """Drop the finished trials."""
        self.flow, self._state, self._start = self.flow.take(rows), self._state[rows], self._start[rows]
        self._limited = self._limited[rows]
        slopes = self._stages[0][rows]
        self._allocate()
        self._stages[0] = slopes
        self.point = self.point.take(rows).with_Q(self._Q())
