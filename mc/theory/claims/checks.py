"""The checkers: a watched trajectory and a promise in, the two sides of a claim out; one function for each claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Array, Mask
from mc.model.losses import Loss
from mc.theory.claims.promises import Promise
from mc.theory.claims.sides import ROUNDING, Bounded, Sides
from mc.theory.codes import Exact

ALGEBRA = 1e-8
"""Relative; two sides of an identity that any computed state satisfies, to rounding of a sum over the neurons."""


@dataclass(frozen=True)
class Watched:
    """T trajectories of one width and mode, as far as claims speak of them.

    Attributes
    ----------
    loss : Loss
    sup_dphi : float
        B1.
    width : int
    time : (T, P) array
    values, errors : mappings of str to (T, P) arrays
        Observables and the errors of their integration (`mc.flow.observables`).
    loss_0 : (T,) array
    sigma_A, norm_A, norm_eps : (T,) arrays
    injective : (T,) bool array
        Whether ker(A) = 0.
    recovery_floor : (T,) array
        lambda of theory §6; 0 where the tangent cone meets ker(A).
    kernel_norm : (T,) array
        |P_ker V(0)|.
    end : (T,) array
        Last time.
    loss_end, loss_end_error : (T,) arrays
    converged : (T,) bool array
        Whether the loss fell to ``loss_tolerance``.
    loss_tolerance : float
    remainder : (T,) array
        Bound of |theta_inf - theta(end)|, integration error included.
    exact : (T,) int8 array
        `Exact`.
    limit_residual : (T,) array
        Proved lower bound of |y(t) - y|.
    recovery_offset : (T,) array
        Lower bound of dist(xbar, Sigma').
    signal_reach : (T,) array
        Up to this norm every signal is in Sigma'; 0 where nothing is known.
    signal_radius : (T,) array
        Distance |theta - theta_0| at which Theorem 1, for A = I, finds xbar; infinite where it does not apply.
    norm_signal : (T,) array
        |xbar|.
    rounding, psi_rounding : (T,) arrays
        Rounding of a computed Z^T x, and what it makes of psi(L) (taken with slope 1 where none is known).
    jacobian_rounding : (T,) array
        Largest singular value that rounding can hide in the Gram matrix of J.
    """

    loss: Loss
    sup_dphi: float
    width: int
    time: Array
    values: Mapping[str, Array]
    errors: Mapping[str, Array]
    loss_0: Array
    sigma_A: Array
    norm_A: Array
    norm_eps: Array
    injective: Mask
    recovery_floor: Array
    kernel_norm: Array
    end: Array
    loss_end: Array
    loss_end_error: Array
    converged: Mask
    loss_tolerance: float
    remainder: Array
    exact: NDArray[np.int8]
    limit_residual: Array
    recovery_offset: Array
    signal_reach: Array
    signal_radius: Array
    norm_signal: Array
    rounding: Array
    psi_rounding: Array
    jacobian_rounding: Array

    def losses(self) -> Bounded:
        """Loss with the errors of integration and of rounding, which psi(L) takes most simply, (T, P)."""
        loss, room = self.of("loss"), self.psi_rounding[:, None]
        psi, inverse = self.loss.psi, self.loss.psi_inverse
        return Bounded(loss.value, inverse(np.maximum(psi(loss.low) - room, 0.0)), inverse(psi(loss.high) + room))

    def of(self, name: str, extra: Array | float = 0.0) -> Bounded:
        """An observable with its error, and what else is open about it, (T, P)."""
        error = self.errors[name] + extra
        # every trajectory starts where it should
        return Bounded.within(self.values[name], np.where(self.time == 0.0, extra, error))


def ball(watched: Watched, promise: Promise) -> Sides:
    """|theta(t) - theta_0| <= R' (theory §4(i))."""
    return Sides(watched.of("distance"), Bounded.exact(promise.radius).column(), watched.time)


def jacobian(watched: Watched, promise: Promise) -> Sides:
    """sigma_min(J(t)) >= sigma_0/2, sharp: sigma_min(A J(t)) >= sigma_* (theory §4(i), §5.3).

    The observed singular value is a lower bound, lowered by what the Gram matrix may have lost to rounding.
    """
    seen = watched.of(promise.floor_of)
    norm_A = watched.norm_A if promise.floor_of == "observed_sigma_min" else np.ones_like(watched.norm_A)
    room = np.square(norm_A * watched.jacobian_rounding)[:, None]
    right = Bounded(seen.value, seen.low, np.sqrt(np.square(seen.high) + room))
    return Sides(Bounded.exact(promise.floor).column(), right, watched.time)


def rate(watched: Watched, promise: Promise) -> Sides:
    """L(t) <= Psi^-1(sigma^2 t + Psi(L_0)), as sigma^2 <= (Psi(L(t)) - Psi(L_0))/t (theory §4(i)).

    Psi is decreasing, so this is the same inequality; but its two sides do not meet at time 0, and their ratio says by
    how much time the bound is too long.
    """
    loss, begin = watched.losses(), watched.loss.Psi(watched.loss_0)[:, None]
    time = np.where(watched.time > 0.0, watched.time, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        gained, least, most = ((watched.loss.Psi(s) - begin) / time for s in (loss.value, loss.high, loss.low))
        room = ROUNDING * (1.0 + np.abs(begin)) / time
        right = Bounded(gained, np.maximum(least - room, 0.0), most + room)
    return Sides(Bounded.exact(np.square(promise.sigma)).column(), right, watched.time)


def limit(watched: Watched, promise: Promise) -> Sides:
    """|theta(t) - theta_inf| <= psi(Psi^-1(xi(t)))/sigma (theory §4(i))."""
    left = watched.of("limit_distance", watched.remainder[:, None])
    bound = watched.loss.psi(promise.loss_bound(watched.loss, watched.loss_0, watched.time))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Sides(left, Bounded.exact(bound / promise.sigma[:, None]), watched.time)


def early_stopping(watched: Watched, promise: Promise) -> Sides:
    """|y(t) - ybar| <= 2 |eps| once xi(t) >= Psi(psi^-1(|eps|)) (theory §4(ii)).

    From the end of the trajectory on, |eps| + psi(L(end)) bounds the left side: the loss does not increase.
    """
    loss, eps = watched.loss, watched.norm_eps
    with np.errstate(divide="ignore", invalid="ignore"):
        begin = (loss.Psi(loss.psi_inverse(eps)) - loss.Psi(watched.loss_0)) / np.square(promise.sigma)
    seen = watched.of("observation_error")
    late = np.where(watched.time >= begin[:, None], 1.0, np.nan)
    most = eps + loss.psi(watched.loss_end + np.nan_to_num(watched.loss_end_error, nan=np.inf))
    # where that does not suffice, nothing is known of what comes
    tail = Bounded(np.where(most <= 2.0 * eps, most, np.nan), np.zeros_like(eps), most).column()
    left = Bounded(*(np.hstack([a * late, b]) for a, b in zip(_parts(seen), _parts(tail), strict=True)))
    time = np.hstack([watched.time, np.fmax(begin, watched.end)[:, None]])
    return Sides(left, Bounded.exact(2.0 * eps).column(), time, vacuous=eps == 0.0)


def recovery(watched: Watched, promise: Promise) -> Sides:
    """|x(t) - xbar| <= (psi(Psi^-1(xi(t))) + |eps|)/lambda + (1 + |A|/lambda) dist(xbar, Sigma') (theory §4(iii), §6).

    The distance lies between a bound that is mostly 0 and the least |x(t) - xbar| inside the ball (0 where xbar is
    known to be in Sigma'): the claim holds where it does with the lower end, and is violated where the upper one does
    not save it.
    """
    lam, error, moved = watched.recovery_floor, watched.of("signal_error"), watched.of("distance")
    inside = np.where(moved.high <= promise.radius[:, None], error.high, np.inf)
    found = (watched.norm_signal <= watched.signal_reach) | (watched.signal_radius <= promise.radius)
    distance = np.where(found, 0.0, np.fmin.reduce(inside, axis=1))
    bound = watched.loss.psi(promise.loss_bound(watched.loss, watched.loss_0, watched.time))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1.0 + watched.norm_A / lam
        near = ((bound + watched.norm_eps[:, None]) / lam[:, None]) + (factor * watched.recovery_offset)[:, None]
        least, far = Bounded.exact(near), (factor * distance)[:, None]
    # at time 0 it is the triangle inequality, with equality in one dimension
    least = least.times(np.where(watched.time > 0.0, 1.0, np.nan))
    return Sides(error, Bounded(least.value, least.low, least.high + far), watched.time, vacuous=~(lam > 0.0))


def mirror(watched: Watched, promise: Promise) -> Sides:
    """L(t) <= L(w) + Breg(w, z(0))/t, for w the activations at every saved time (theory §7.4)."""
    loss, bregman, time = watched.losses(), watched.of("bregman"), watched.time
    right = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for L, breg in zip(_parts(loss), _parts(bregman), strict=True):
            every = L[:, None, :] + breg[:, None, :] / time[:, :, None]
            right.append(np.fmin.reduce(every, axis=2))
    vacuous = np.full(time.shape[0], not watched.loss.convex)
    return Sides(loss, Bounded(right[0], right[1], right[2]), time, vacuous=vacuous)


def zonotope(watched: Watched, promise: Promise) -> Sides:
    """The integrated verdict is the exact one: a loss below the tolerance, or never below its limit (theory §7.4).

    A trajectory that has not come to the tolerance by its last time decides nothing.
    """
    reaches, cannot = watched.exact == Exact.REACHES_ZERO, watched.exact == Exact.CANNOT
    left = np.where(reaches, watched.loss_end, np.where(cannot, watched.limit_residual, np.nan))
    low = np.where(reaches & ~watched.converged, 0.0, left)
    high = np.where(reaches, left + watched.loss_end_error, left)
    residual = watched.of("residual")
    fixed = [np.where(reaches[:, None], watched.loss_tolerance, part) for part in _parts(residual)]
    return Sides(Bounded(left, low, high).column(), Bounded(fixed[0], fixed[1], fixed[2]), watched.time)


def identity(watched: Watched, promise: Promise) -> Sides:
    """|Z^T (x - xbar)| <= (|y - y_obs| + |eps|)/sigma_A, which any state satisfies (theory §6)."""
    sigma_A, room = watched.sigma_A[:, None], watched.rounding[:, None]
    right = (watched.values["residual"] + watched.norm_eps[:, None]) / sigma_A
    # the residual, seen through A, carries the same rounding once more
    room = room * (1.0 + watched.norm_A[:, None] / sigma_A)
    return Sides(_plain(watched.values["signal_error_range"]), _plain(right * (1.0 + ALGEBRA) + room), watched.time)


def kernel_drift(watched: Watched, promise: Promise) -> Sides:
    """|P_ker (x(t) - x(0))| <= B1 |P_ker V(0)| |h(t) - h(0)|/sqrt k, which any state satisfies (theory §6)."""
    factor = watched.sup_dphi * watched.kernel_norm / np.sqrt(watched.width)
    right = factor[:, None] * watched.values["hidden_distance"] * (1.0 + ALGEBRA)
    return Sides(_plain(watched.values["kernel_drift"]), _plain(right), watched.time, vacuous=watched.injective)


def discretization(watched: Watched, promise: Promise) -> Sides:
    """Gradient descent stays in the ball of R'/kappa and keeps the rate at kappa gamma j (theory §9)."""
    near, fast = ball(watched, promise), rate(watched, promise)
    # iterates that have left the numbers have left every ball
    lost = np.isnan(watched.values["distance"]) & (watched.time <= watched.end[:, None])
    near = replace(near, left=Bounded(*(np.where(lost, np.inf, part) for part in _parts(near.left))))
    left, right = (
        Bounded(
            *(
                np.hstack(np.broadcast_arrays(a, b))
                for a, b in zip(_spread(one, watched.time), _spread(two, watched.time), strict=True)
            )
        )
        for one, two in ((near.left, fast.left), (near.right, fast.right))
    )
    return Sides(left, right, np.hstack([watched.time, watched.time]))


def _plain(value: Array) -> Bounded:
    return Bounded(value, value, value)


def _parts(bounded: Bounded) -> tuple[Array, Array, Array]:
    return bounded.value, bounded.low, bounded.high


def _spread(bounded: Bounded, time: Array) -> tuple[Array, ...]:
    return tuple(np.broadcast_to(part, time.shape) for part in _parts(bounded))


@dataclass(frozen=True)
class Checker:
    """How a claim is checked.

    Attributes
    ----------
    sides : callable
    observables : tuple of str
        What it looks at.
    rules : tuple of str
        ``flow``, ``descent``: what it speaks of.
    retry : bool
        Whether a tighter integration can decide what is open.
    """

    sides: Callable[[Watched, Promise], Sides]
    observables: tuple[str, ...]
    rules: tuple[str, ...] = ("flow",)
    retry: bool = True


CHECKERS: Mapping[str, Checker] = {
    "ball": Checker(ball, ("distance",)),
    "jacobian": Checker(jacobian, ("jacobian_sigma_min", "observed_sigma_min")),
    "rate": Checker(rate, ("loss",)),
    "limit": Checker(limit, ("limit_distance",)),
    "early-stopping": Checker(early_stopping, ("observation_error",)),
    "recovery": Checker(recovery, ("signal_error", "distance")),
    "conserved-rate": Checker(rate, ("loss",)),
    "mirror": Checker(mirror, ("loss", "bregman")),
    "zonotope": Checker(zonotope, ("residual",), retry=False),
    "identity": Checker(identity, ("signal_error_range", "residual"), ("flow", "descent"), retry=False),
    "kernel-drift": Checker(kernel_drift, ("kernel_drift", "hidden_distance"), ("flow", "descent"), retry=False),
    "discretization": Checker(discretization, ("distance", "loss"), ("descent",), retry=False),
}
"""By the name of the claim."""
