"""How to step: the Dormand-Prince pair 5(4), batched, each trial with its own step (Hairer, Nørsett, Wanner, II.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mc.flow.fields import Observation, ReducedFlow

Array = NDArray[np.float64]

ORDER = 5
STAGES = 7

_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
# Shampine's interpolant of order 4: weight of stage i at s is sum_j _DENSE[i][j] s^(j+1)
_DENSE = np.array(
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
    """One batch of trials being stepped; the last stage of a step is the first of the next.

    Attributes
    ----------
    state : (T, rows, k) array
    seen : Observation
        Of ``state``.
    stages : (7, T, rows, k) array
        Derivatives at the stages of the last attempt.
    """

    def __init__(self, flow: ReducedFlow, state: Array) -> None:
        self.flow, self.state = flow, state
        self.stages = np.empty((STAGES, *state.shape))
        self._work = np.empty_like(state)
        self.seen = flow.derivative(state, self.stages[0])

    def attempt(self, dt: Array) -> tuple[Array, Observation, Array]:
        """Try one step.

        Parameters
        ----------
        dt : (T,) array

        Returns
        -------
        new : (T, rows, k) array
            State after the step.
        seen : Observation
        error : (T,) array
            Norm of the difference of the two formulas, in theta.
        """
        scale = dt[:, None, None]
        new = np.empty_like(self.state)
        for stage, weights in enumerate(_A, start=1):
            target = new if stage == STAGES - 1 else self._work
            self._combine(weights, target)
            target *= scale
            target += self.state
            seen = self.flow.derivative(target, self.stages[stage])
        self._combine(_ERROR, self._work)
        error = np.sqrt(np.einsum("tik,tik->t", self._work, self._work)) * dt
        return new, seen, error

    def _combine(self, weights: tuple[float, ...], out: Array) -> None:
        np.dot(np.asarray(weights), self.stages[: len(weights)].reshape(len(weights), -1), out=out.reshape(-1))

    def accept(self, accepted: NDArray[np.bool_], new: Array, seen: Observation) -> None:
        """Move the accepted trials on."""
        if accepted.all():
            self.state, self.seen = new, seen
            self.stages[0] = self.stages[-1]
            return
        self.state[accepted] = new[accepted]
        self.stages[0][accepted] = self.stages[-1][accepted]
        self.seen = Observation(
            self.flow.Q_start if self.flow.mode == "hidden" else self.state[:, 1:],
            *(
                np.where(accepted.reshape(-1, *(1,) * (old.ndim - 1)), fresh, old)
                for old, fresh in (
                    (self.seen.z, seen.z),
                    (self.seen.dphi, seen.dphi),
                    (self.seen.residual, seen.residual),
                    (self.seen.loss, seen.loss),
                )
            ),
        )

    def interpolate(self, row: int, old: Array, dt: float, fraction: Array) -> Array:
        """States within the last step of one trial.

        Parameters
        ----------
        row : int
        old : (rows, k) array
            State before the step.
        dt : float
        fraction : (times,) array
            In [0, 1].

        Returns
        -------
        (times, rows, k) array
        """
        powers = fraction[:, None] ** np.arange(1, 5)[None, :]
        weights = dt * powers @ _DENSE.T
        return old[None] + np.tensordot(weights, self.stages[:, row], axes=(1, 0))

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Drop the finished trials."""
        self.flow, self.state = self.flow.take(rows), self.state[rows]
        self.stages = self.stages[:, rows].copy()
        self._work = np.empty_like(self.state)
        seen = self.seen
        Q = self.flow.Q_start if self.flow.mode == "hidden" else self.state[:, 1:]
        self.seen = Observation(Q, seen.z[rows], seen.dphi[rows], seen.residual[rows], seen.loss[rows])
