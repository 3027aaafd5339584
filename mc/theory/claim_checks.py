"""Check claims along trajectories: the two sides of an inequality, what a hypothesis promises, and the checkers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mc.model.arrays import Array, Mask
from mc.model.losses import Loss
from mc.theory.codes import Exact, Verdict

ROUNDING = 1e-13
"""Relative rounding error of one quantity computed in a few thousand operations."""

ALGEBRA = 1e-8
"""Relative difference that rounding makes between two sides of an identity, which are sums over the neurons."""

ALWAYS = "always"
"""Name of the hypothesis of a claim that has none."""


@dataclass(frozen=True)
class Bounded:
    """A computed number and an interval that contains the true one.

    Parameters
    ----------
    value, low, high : arrays of one shape
        The computed number and the ends of its interval; NaN where nothing was computed.
    """

    value: Array
    low: Array
    high: Array

    @classmethod
    def within(cls, value: Array, error: Array | float) -> Bounded:
        """Return a nonnegative number with an error; the interval of a NaN error is [0, inf)."""
        value = np.asarray(value, dtype=float)
        room = np.where(np.isnan(error), np.inf, error) + ROUNDING * np.abs(value)
        with np.errstate(invalid="ignore"):
            # a value that has overflowed has the interval [0, inf]
            return cls(value, np.where(np.isnan(value), np.nan, np.fmax(value - room, 0.0)), value + room)

    @classmethod
    def exact(cls, value: Array) -> Bounded:
        """Return a nonnegative number whose only error is rounding."""
        return cls.within(value, 0.0)

    def times(self, factor: Array | float) -> Bounded:
        """Multiply by a factor >= 0."""
        return self.apply(lambda part: part * factor)

    def column(self) -> Bounded:
        """Reshape (T,) to (T, 1): the same number at all times."""
        return self.apply(lambda part: part[:, None])

    def apply(self, function: Callable[..., Array], *others: Bounded) -> Bounded:
        """Apply a nondecreasing function to this number and others: to their values, and to the ends."""
        numbers = (self, *others)
        value, low, high = ([getattr(one, name) for one in numbers] for name in ("value", "low", "high"))
        return Bounded(function(*value), function(*low), function(*high))


@dataclass(frozen=True)
class Sides:
    """The inequality ``left <= right`` at every checked time of T trials.

    Parameters
    ----------
    left, right : Bounded
        Arrays that broadcast to (T, P). Where value, low and high are NaN, the time is not checked; where only the
        value is NaN, the interval alone is checked.
    time : (T, P) array
    vacuous : (T,) bool array or None
        Trials about which the claim says nothing.
    """

    left: Bounded
    right: Bounded
    time: Array
    vacuous: Mask | None = None


@dataclass(frozen=True)
class Slack:
    """The smallest slack of T trials.

    Parameters
    ----------
    value : (T,) array
        Minimum over time of log(right/left); NaN where no time was checked.
    error : (T,) array
        Upper bound of the amount by which the errors of both sides may lower `value`.
    time : (T,) array
        Time at which the slack is smallest.
    verdict : (T,) int8 array
        `Verdict`: holds, violated, undecided or vacuous.
    """

    value: Array
    error: Array
    time: Array
    verdict: NDArray[np.int8]


def _log_ratio(right: Array, left: Array) -> Array:
    """Return log(right/left): infinite where left is 0, NaN where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(right) - np.log(left))


def smallest_slack(sides: Sides) -> Slack:
    """Compute the smallest slack of every trial, and its verdict.

    A trial holds where the inequality is true whatever the two sides are within their intervals, and violates the
    claim where it is false at some time whatever they are; otherwise it is undecided.

    Parameters
    ----------
    sides : Sides
        (T, P) intervals of both sides.

    Returns
    -------
    Slack
        Arrays of shape (T,).
    """
    slack, sure, possible = np.broadcast_arrays(
        _log_ratio(sides.right.value, sides.left.value),
        _log_ratio(sides.right.low, sides.left.high),
        _log_ratio(sides.right.high, sides.left.low),
    )
    checked = ~np.isnan(slack)
    none, rows = ~checked.any(axis=1), np.arange(slack.shape[0])
    smallest = np.argmin(np.where(checked, slack, np.inf), axis=1)
    # a value without an interval cannot decide the trial
    least_sure = np.where(np.isnan(sure), np.where(checked, -np.inf, np.inf), sure).min(axis=1, initial=np.inf)
    violated = (possible < 0.0).any(axis=1)
    verdict = np.where(violated, Verdict.VIOLATED, np.where(least_sure >= 0.0, Verdict.HOLDS, Verdict.UNDECIDED))
    verdict[none & ~violated] = Verdict.UNDECIDED
    value = np.where(none, np.nan, slack[rows, smallest])
    with np.errstate(invalid="ignore"):
        error = np.where(np.isinf(value), 0.0, np.maximum(value - least_sure, 0.0))
    time = np.where(none, np.nan, np.broadcast_to(sides.time, slack.shape)[rows, smallest])
    if sides.vacuous is not None:
        verdict[sides.vacuous] = Verdict.VACUOUS
        value, error, time = (np.where(sides.vacuous, np.nan, each) for each in (value, error, time))
    return Slack(value, error, time, verdict.astype(np.int8))


@dataclass(frozen=True)
class Promise:
    """A hypothesis, and the constants that follow from it, for T trials (theory §4, §5.3, §9)."""

    holds: Mask  # whether the hypothesis is true
    radius: Array  # bound of |theta(t) - theta_0|
    sigma: Array  # L(t) <= Psi^-1(sigma^2 t + Psi(L_0))
    floor: Array  # lower bound of the singular value named by floor_of
    floor_of: str = "jacobian_sigma_min"  # observable: the smallest singular value of J, or of A J

    def loss_bound(self, loss: Loss, loss_0: Array, t: Array) -> Array:
        """Return Psi^-1(sigma^2 t + Psi(L_0)), (T, P)."""
        return loss_bound(loss, loss_0[:, None], self.sigma[:, None], t)


def loss_bound(loss: Loss, loss_0: Array, sigma: Array, t: Array) -> Array:
    """Return Psi^-1(sigma^2 t + Psi(L_0)), the bound of the loss while the observed singular value is >= sigma.

    Source: theory §4. loss_0 and sigma have shape (T, 1), t and the result (T, times).
    The result is NaN where sigma is.
    """
    with np.errstate(invalid="ignore"):
        # where the product overflows or loss_0 is 0, Psi^-1(inf) = 0 is the bound
        return np.asarray(loss.Psi_inverse(np.square(sigma) * t + loss.Psi(loss_0)))


def flow_promises(facts: Mapping[str, Array], mode: str) -> dict[str, Promise]:
    """Return by hypothesis what the certificates of T trials promise of their gradient flows.

    `facts` are (T,) datasets of the block by name. Keys: ``paper``, ``trial``, ``sharp``, ``conserved``, ``always``.
    """
    sigma_A, sigma_0 = facts["sigma_A"], facts["sigma_0"]
    half = 0.5 * sigma_0
    promises = {
        rung: Promise(facts[f"margin_{rung}"] > 1.0, facts["radius_needed"], sigma_A * half, half)
        for rung in ("paper", "trial")
    }
    star = facts["sigma_star"]
    promises["sharp"] = Promise(facts["margin_sharp"] > 1.0, facts["radius_sharp"], star, star, "observed_sigma_min")
    low = facts["sigma_low"] if mode == "both" else np.full_like(sigma_A, np.nan)
    rate = sigma_A * low
    with np.errstate(divide="ignore", invalid="ignore"):
        promises["conserved"] = Promise(rate > 0.0, facts["psi_0"] / rate, rate, rate, "observed_sigma_min")
    nothing = np.full_like(sigma_A, np.nan)
    promises[ALWAYS] = Promise(np.ones(sigma_A.shape, dtype=bool), nothing, nothing, nothing)
    return promises


def descent_promises(facts: Mapping[str, Array], kappa: Array) -> dict[str, Promise]:
    """Return the promises for gradient descent with a fixed step, as functions of the time gamma j (theory §9).

    `kappa` is 1 - gamma beta/2 with beta over the ball of radius R'/kappa, (T,); NaN where no kappa > 0 exists.
    """
    sigma_A, half = facts["sigma_A"], 0.5 * facts["sigma_0"]
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = facts["radius_needed"] / kappa
        rate = sigma_A * half * np.sqrt(kappa)
        promises = {rung: Promise(radius < facts[f"radius_{rung}"], radius, rate, half) for rung in ("paper", "trial")}
    nothing = np.full_like(sigma_A, np.nan)
    promises[ALWAYS] = Promise(np.ones(sigma_A.shape, dtype=bool), nothing, nothing, nothing)
    return promises


@dataclass(frozen=True)
class Observables:
    """T trajectories of one width and mode: their observables at P times, and facts about their trials."""

    loss: Loss
    sup_dphi: float  # B1
    width: int
    time: Array  # (T, P)
    values: Mapping[str, Array]  # observables, (T, P) each (mc.flow.observables)
    errors: Mapping[str, Array]  # errors of their integration, (T, P)
    # every further array has shape (T,)
    loss_0: Array
    sigma_A: Array
    norm_A: Array
    norm_eps: Array
    injective: Mask  # whether ker(A) = 0
    recovery_floor: Array  # lambda of theory §6; 0 where the tangent cone meets ker(A)
    kernel_norm: Array  # |P_ker V(0)|
    end: Array  # last time
    loss_end: Array
    loss_end_error: Array
    converged: Mask  # whether the loss fell to loss_tolerance
    loss_tolerance: float
    remainder: Array  # bound of |theta_inf - theta(end)|, integration error included
    exact: NDArray[np.int8]  # values of Exact
    limit_residual: Array  # proved lower bound of |y(t) - y|
    recovery_offset: Array  # lower bound of dist(xbar, Sigma')
    signal_reach: Array  # every signal up to this norm is in Sigma'; 0 where no such norm is known
    signal_radius: Array
    """Distance |theta - theta_0| at which Theorem 1, for A = I, finds xbar; infinite where it does not apply."""
    norm_signal: Array  # |xbar|
    rounding: Array  # rounding error of a computed Z^T x
    psi_rounding: Array  # the resulting error of psi(L), taken with slope 1 where no slope is known
    jacobian_rounding: Array  # largest singular value that rounding can hide in the Gram matrix of J

    def losses(self) -> Bounded:
        """Return the loss with its errors of integration and of rounding (an error of psi(L)), (T, P)."""
        loss, room = self.of("loss"), self.psi_rounding[:, None]
        psi, inverse = self.loss.psi, self.loss.psi_inverse
        return Bounded(loss.value, inverse(np.maximum(psi(loss.low) - room, 0.0)), inverse(psi(loss.high) + room))

    def of(self, name: str, extra: Array | float = 0.0) -> Bounded:
        """Return an observable with its integration error and a further error, (T, P)."""
        error = self.errors[name] + extra
        # at time 0 nothing has been integrated yet
        return Bounded.within(self.values[name], np.where(self.time == 0.0, extra, error))


def ball(observables: Observables, promise: Promise) -> Sides:
    """Check |theta(t) - theta_0| <= R' (theory §4(i))."""
    return Sides(observables.of("distance"), Bounded.exact(promise.radius).column(), observables.time)


def jacobian(observables: Observables, promise: Promise) -> Sides:
    """Check sigma_min(J(t)) >= sigma_0/2, sharp: sigma_min(A J(t)) >= sigma_* (theory §4(i), §5.3).

    The observed singular value is a lower bound; rounding in the Gram matrix may have lowered it.
    """
    observed = observables.of(promise.floor_of)
    norm_A = observables.norm_A if promise.floor_of == "observed_sigma_min" else np.ones_like(observables.norm_A)
    room = np.square(norm_A * observables.jacobian_rounding)[:, None]
    right = Bounded(observed.value, observed.low, np.sqrt(np.square(observed.high) + room))
    return Sides(Bounded.exact(promise.floor).column(), right, observables.time)


def rate(observables: Observables, promise: Promise) -> Sides:
    """Check L(t) <= Psi^-1(sigma^2 t + Psi(L_0)) as sigma^2 <= (Psi(L(t)) - Psi(L_0))/t (theory §4(i)).

    Psi is decreasing, so both inequalities are equivalent; but the two sides of the second do not meet at time 0, and
    their ratio is the factor by which the time of the bound is too long.
    """
    loss, begin = observables.losses(), observables.loss.Psi(observables.loss_0)[:, None]
    time = np.where(observables.time > 0.0, observables.time, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        gained, least, most = ((observables.loss.Psi(s) - begin) / time for s in (loss.value, loss.high, loss.low))
        room = ROUNDING * (1.0 + np.abs(begin)) / time
        right = Bounded(gained, np.maximum(least - room, 0.0), most + room)
    return Sides(Bounded.exact(np.square(promise.sigma)).column(), right, observables.time)


def limit(observables: Observables, promise: Promise) -> Sides:
    """Check |theta(t) - theta_inf| <= psi(Psi^-1(xi(t)))/sigma (theory §4(i))."""
    left = observables.of("limit_distance", observables.remainder[:, None])
    bound = observables.loss.psi(promise.loss_bound(observables.loss, observables.loss_0, observables.time))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Sides(left, Bounded.exact(bound / promise.sigma[:, None]), observables.time)


def early_stopping(observables: Observables, promise: Promise) -> Sides:
    """Check |y(t) - ybar| <= 2 |eps| once xi(t) >= Psi(psi^-1(|eps|)) (theory §4(ii)).

    After the end of the trajectory |eps| + psi(L(end)) bounds the left side, because the loss does not increase.
    """
    loss, eps = observables.loss, observables.norm_eps
    with np.errstate(divide="ignore", invalid="ignore"):
        begin = (loss.Psi(loss.psi_inverse(eps)) - loss.Psi(observables.loss_0)) / np.square(promise.sigma)
    observed = observables.of("observation_error")
    late = np.where(observables.time >= begin[:, None], 1.0, np.nan)
    most = eps + loss.psi(observables.loss_end + np.nan_to_num(observables.loss_end_error, nan=np.inf))
    # a bound above 2 |eps| does not decide the times after the end
    tail = Bounded(np.where(most <= 2.0 * eps, most, np.nan), np.zeros_like(eps), most).column()
    left = observed.apply(lambda before, after: np.hstack([before * late, after]), tail)
    time = np.hstack([observables.time, np.fmax(begin, observables.end)[:, None]])
    return Sides(left, Bounded.exact(2.0 * eps).column(), time, vacuous=eps == 0.0)


def recovery(observables: Observables, promise: Promise) -> Sides:
    """Check |x(t) - xbar| <= (psi(Psi^-1(xi(t))) + |eps|)/lambda + (1 + |A|/lambda) dist(xbar, Sigma').

    Source: theory §4(iii), §6. The distance is at least `recovery_offset` and at most the least |x(t) - xbar| inside
    the ball (0 where xbar is known to be in Sigma'). The claim holds where it is true with the lower end, and is
    violated where it is false with the upper end.
    """
    lam, error, moved = observables.recovery_floor, observables.of("signal_error"), observables.of("distance")
    inside = np.where(moved.high <= promise.radius[:, None], error.high, np.inf)
    in_image = (observables.norm_signal <= observables.signal_reach) | (observables.signal_radius <= promise.radius)
    distance = np.where(in_image, 0.0, np.fmin.reduce(inside, axis=1))
    bound = observables.loss.psi(promise.loss_bound(observables.loss, observables.loss_0, observables.time))
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1.0 + observables.norm_A / lam
        near = ((bound + observables.norm_eps[:, None]) / lam[:, None]) + (factor * observables.recovery_offset)[
            :, None
        ]
        least, far = Bounded.exact(near), (factor * distance)[:, None]
    # at time 0 this is the triangle inequality, an equality in one dimension: rounding would decide it
    least = least.times(np.where(observables.time > 0.0, 1.0, np.nan))
    return Sides(error, Bounded(least.value, least.low, least.high + far), observables.time, vacuous=~(lam > 0.0))


def mirror(observables: Observables, promise: Promise) -> Sides:
    """Check L(t) <= L(w) + Breg(w, z(0))/t, for w the activations at every saved time (theory §7.4)."""
    loss, bregman, time = observables.losses(), observables.of("bregman"), observables.time

    def smallest_bound(L: Array, breg: Array) -> Array:
        return np.asarray(np.fmin.reduce(L[:, None, :] + breg[:, None, :] / time[:, :, None], axis=2))

    with np.errstate(divide="ignore", invalid="ignore"):
        right = loss.apply(smallest_bound, bregman)
    return Sides(loss, right, time, vacuous=np.full(time.shape[0], not observables.loss.convex))


def zonotope(observables: Observables, promise: Promise) -> Sides:
    """Check that the integration agrees with the exact verdict (theory §7.4).

    Where zero loss is reached, the loss must fall below the tolerance; a trajectory that has not done so by its last
    time is undecided. Where it is not, the residual must stay above its proved lower bound.
    """
    reaches, cannot = observables.exact == Exact.REACHES_ZERO, observables.exact == Exact.CANNOT
    left = np.where(reaches, observables.loss_end, np.where(cannot, observables.limit_residual, np.nan))
    low = np.where(reaches & ~observables.converged, 0.0, left)
    high = np.where(reaches, left + observables.loss_end_error, left)
    tolerance = observables.loss_tolerance
    right = observables.of("residual").apply(lambda part: np.where(reaches[:, None], tolerance, part))
    return Sides(Bounded(left, low, high).column(), right, observables.time)


def identity(observables: Observables, promise: Promise) -> Sides:
    """Check |Z^T (x - xbar)| <= (|y - y_obs| + |eps|)/sigma_A, which any state satisfies (theory §6)."""
    sigma_A, room = observables.sigma_A[:, None], observables.rounding[:, None]
    right = (observables.values["residual"] + observables.norm_eps[:, None]) / sigma_A
    # the residual carries the same rounding once more, multiplied by |A|/sigma_A
    room = room * (1.0 + observables.norm_A[:, None] / sigma_A)
    return Sides(
        _plain(observables.values["signal_error_range"]), _plain(right * (1.0 + ALGEBRA) + room), observables.time
    )


def kernel_drift(observables: Observables, promise: Promise) -> Sides:
    """Check |P_ker (x(t) - x(0))| <= B1 |P_ker V(0)| |h(t) - h(0)|/sqrt k, which any state satisfies (theory §6)."""
    factor = observables.sup_dphi * observables.kernel_norm / np.sqrt(observables.width)
    right = factor[:, None] * observables.values["hidden_distance"] * (1.0 + ALGEBRA)
    return Sides(
        _plain(observables.values["kernel_drift"]), _plain(right), observables.time, vacuous=observables.injective
    )


def discretization(observables: Observables, promise: Promise) -> Sides:
    """Check that gradient descent stays in the ball of R'/kappa, and its rate at time kappa gamma j (theory §9)."""
    near, fast = ball(observables, promise), rate(observables, promise)
    # an iterate that has overflowed is outside every ball
    lost = np.isnan(observables.values["distance"]) & (observables.time <= observables.end[:, None])
    distance = near.left.apply(lambda part: np.where(lost, np.inf, part))

    def side_by_side(one: Array, two: Array) -> Array:
        return np.hstack([np.broadcast_to(part, observables.time.shape) for part in (one, two)])

    left, right = distance.apply(side_by_side, fast.left), near.right.apply(side_by_side, fast.right)
    return Sides(left, right, np.hstack([observables.time, observables.time]))


def _plain(value: Array) -> Bounded:
    return Bounded(value, value, value)
