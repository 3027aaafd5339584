"""Decide without integration whether gradient flow of the hidden layer reaches zero loss, and where (theory §7.4).

The flow is a mirror flow of a convex function, so its limit is decided by Newton's method in r dimensions. Both answers
come with a proof: a point of the open box that fits the data, or a hyperplane that separates the data from the box.
Working with Q = Z^T V and A^+ y instead of G and U^T y takes sigma_A out of the conditioning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack, vstack

from mc.flow.field import slice_of
from mc.model.activations import Activation
from mc.model.arrays import Array, Index, Mask
from mc.theory.codes import Exact, ExactBy

NEWTON_STEPS = 60
BATCH_BYTES = 1_500_000
LP_NEURONS = 20_000
LP_TOLERANCE = 1e-6
UNIT = 2.0**-53


@dataclass(frozen=True)
class Target:
    """The linear equation Q w = sqrt(k) a on the given neurons of T trials."""

    h: Array  # pre-activations at the start, (T, k)
    Q: Array  # Z^T V at the start, (T, r, k)
    a: Array  # S^-1 U^T y, less the contribution of frozen neurons, (T, r)
    S: Array  # singular values of A, (T or 1, r), to measure distances in the observation
    width: int  # k of the scaling 1/sqrt(k); more than the given neurons where others are frozen

    def take(self, rows: Index) -> Target:
        """Select trials."""
        if np.array_equal(rows, np.arange(self.h.shape[0])):
            return self
        S = self.S if self.S.shape[0] == 1 else self.S[rows]
        # consecutive rows are not copied
        part = slice_of(rows)
        return Target(self.h[part], self.Q[part], self.a[part], S, self.width)


@dataclass
class Decision:
    """Answers for T trials; arrays (T,)."""

    exact: NDArray[np.int8]  # `Exact`
    by: NDArray[np.int8]  # `ExactBy`; -1 where undecided
    residual: Array  # proved lower bound of |y(t) - y| for all t: 0 where zero loss is reached, NaN where none is known

    @classmethod
    def undecided(cls, trials: int) -> Decision:
        """Return the decision without answers."""
        return cls(
            np.full(trials, Exact.UNDECIDED, np.int8), np.full(trials, -1, np.int8), np.full(trials, np.nan, float)
        )

    def settle(self, rows: Index, answer: Exact, by: ExactBy, residual: Array | float) -> None:
        """Write the same answer for given trials."""
        self.exact[rows], self.by[rows], self.residual[rows] = answer, by, residual

    def merge(self, rows: Index, part: Decision) -> None:
        """Write the answers of given trials."""
        self.exact[rows], self.by[rows], self.residual[rows] = part.exact, part.by, part.residual


class _Iterate:
    """State of Newton's method on the dual function for the undecided trials."""

    def __init__(self, target: Target, activation: Activation) -> None:
        self.rows = np.arange(target.h.shape[0])
        self.target, self.activation = target, activation
        self.start = activation.primitive(target.h)
        # an increasing activation has one box for all neurons
        self.box = activation.box(target.h[:, :1] if activation.increasing else target.h)
        self.dual = np.zeros_like(target.a)
        self.norms = np.sqrt(np.einsum("trk,trk->tk", target.Q, target.Q))
        self.h = target.h
        self.iterations = -1
        self.evaluate()

    def evaluate(self) -> None:
        """Compute activations, residual, dual Hessian and Newton step at the current dual variable."""
        t = self.target
        self.iterations += 1
        self.z, dphi = self.activation.phi_dphi(self.h)
        self.residual = t.a - _apply(t.Q, self.z) / np.sqrt(t.width)
        self.weighted = t.Q * np.square(dphi)[:, None, :]
        K = np.matmul(self.weighted, t.Q.swapaxes(1, 2)) / t.width
        # larger than the rounding error of a singular matrix, so that no pivot vanishes
        ridge = np.trace(K, axis1=1, axis2=2) * (4.0 * (K.shape[1] + 1) * UNIT) + 1e-290
        K = K + ridge[:, None, None] * np.eye(K.shape[1])
        self.step = -np.linalg.solve(K, self.residual[:, :, None])[:, :, 0]

    def evaluate_at(self, dual: Array, rows: Index) -> tuple[Array, Array]:
        """Return the pre-activations and residual at a dual variable, for given rows of the undecided trials."""
        t = self.target.take(rows)
        h = self.activation.primitive_inverse(self.start[rows] - _apply_t(t.Q, dual) / np.sqrt(t.width), self.h[rows])
        return h, t.a - _apply(t.Q, self.activation.phi(h)) / np.sqrt(t.width)

    def keep(self, mask: Mask) -> None:
        """Drop the decided trials."""
        if mask.all():
            return
        rows = np.flatnonzero(mask)
        self.target, self.box = self.target.take(rows), (self.box[0][rows], self.box[1][rows])
        for name in ("rows", "start", "norms", "dual", "h", "z", "residual", "weighted", "step"):
            setattr(self, name, getattr(self, name)[rows])

    def advance(self) -> None:
        """Take a Newton step, scaled per trial until the slope along it has fallen by a tenth (theory §7.4).

        The slope is monotone along the step, so a bracket closes on an acceptable length where the data are inside.
        Outside there may be no such length: then the last one that was too short, where the dual function has fallen.
        """
        slope = np.einsum("tr,tr->t", self.residual, self.step)
        trials = self.rows.size
        length, low, high = np.ones(trials), np.zeros(trials), np.full(trials, np.inf)
        dual, h = self.dual.copy(), self.h.copy()
        searching = np.arange(trials)
        for _ in range(60):
            moved = self.dual[searching] + length[searching, None] * self.step[searching]
            new_h, residual = self.evaluate_at(moved, searching)
            ratio = np.einsum("tr,tr->t", residual, self.step[searching]) / np.where(
                slope[searching] == 0.0, 1.0, slope[searching]
            )
            # an overflow counts as too far
            ratio = np.where(np.isfinite(ratio) & np.isfinite(new_h).all(axis=1), ratio, -np.inf)
            good = np.abs(ratio) <= 0.9
            dual[searching[good]], h[searching[good]] = moved[good], new_h[good]
            searching, ratio = searching[~good], ratio[~good]
            if not searching.size:
                break
            short = ratio > 0.0
            dual[searching[short]], h[searching[short]] = moved[~good][short], new_h[~good][short]
            low[searching[short]], high[searching[~short]] = length[searching[short]], length[searching[~short]]
            length[searching] = np.where(
                np.isinf(high[searching]), 4.0 * length[searching], 0.5 * (low[searching] + high[searching])
            )
        self.dual, self.h = dual, h
        self.evaluate()

    def inside(self) -> Mask:
        """Return whether a point of the open box fits the data, rounding included, (T,).

        The candidates are the next point of Newton's method and, where a neuron equals its bound to all digits, points
        at a distance from the bounds.
        """
        candidate = self.z - _apply_t(self.weighted, self.step) / np.sqrt(self.target.width)
        proved = self._fits(candidate, np.arange(self.rows.size))
        for delta in (1e-3, 1e-6, 1e-10) if self.iterations >= 3 else ():
            rows = np.flatnonzero(~proved)
            if rows.size:
                proved[rows] = self._fits(self._inner(rows, delta), rows)
        return proved

    def _inner(self, rows: Index, delta: float) -> Array:
        """Return the solution nearest to z clipped ``delta`` inside the bounds, in units of the slack."""
        t, lower, upper = self.target.take(rows), self.box[0][rows], self.box[1][rows]
        inset = delta * np.fmin(upper - lower, 1.0)
        z = np.clip(self.z[rows], lower + inset, upper - inset)
        square = np.square(np.fmin(_slack(z, lower, upper), 1.0))
        weighted = t.Q * square[:, None, :]
        gram = np.matmul(weighted, t.Q.swapaxes(1, 2))
        ridge = np.trace(gram, axis1=1, axis2=2) * (4.0 * (gram.shape[1] + 1) * UNIT) + 1e-290
        gram += ridge[:, None, None] * np.eye(gram.shape[1])
        missing = np.sqrt(t.width) * t.a - _apply(t.Q, z)
        return z + _apply_t(weighted, np.linalg.solve(gram, missing[:, :, None])[:, :, 0])

    def _fits(self, w: Array, rows: Index) -> Mask:
        """Return whether points that solve the equation up to rounding can be corrected inside the open box."""
        t, lower, upper = self.target, self.box[0][rows], self.box[1][rows]
        proved = np.asarray((_slack(w, lower, upper) > 0.0).all(axis=1))
        if not proved.any():
            return proved
        part = np.flatnonzero(proved)
        chosen = t.take(rows[part])
        w, Q, a, norms = w[part], chosen.Q, chosen.a, self.norms[rows[part]]
        slack = _slack(w, lower[part], upper[part])
        # the residual as computed, plus the rounding of a sum of k products
        missing = np.linalg.norm(np.sqrt(t.width) * a - _apply(Q, w), axis=1)
        missing += 4.0 * (t.h.shape[1] + 8) * UNIT * np.einsum("tk,tk->t", norms, np.abs(w))
        missing += 4.0 * UNIT * np.sqrt(t.width) * np.linalg.norm(a, axis=1)
        square = np.square(np.fmin(slack, 1.0))
        smallest = np.linalg.eigvalsh(np.matmul(Q * square[:, None, :], Q.swapaxes(1, 2)))[:, 0]
        # the rank counts as full only above the rounding error of a deficient one
        least = 4.0 * sum(Q.shape[1:]) * UNIT * np.einsum("tk,tk->t", square, np.square(norms))
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = square * norms * (missing / smallest)[:, None]
        proved[part] = (smallest > least) & (slack > 2.0 * moved + 4.0 * UNIT * np.abs(w)).all(axis=1)
        return proved

    def outside(self) -> tuple[Mask, Array]:
        """Return whether a hyperplane separates data and box, and its lower bound of |A g - y| over the box, (T,)."""
        best = np.zeros(self.rows.size)
        for normal in (-self.dual, self.residual):
            best = np.maximum(best, self._separation(normal))
        return best > 0.0, best

    def _separation(self, normal: Array) -> Array:
        """Return the distance between the data and the closed box along a normal, (T,); 0 if none is proved."""
        t, (lower, upper) = self.target, self.box
        g = _apply_t(t.Q, normal)
        # a product smaller than its rounding may have the wrong sign
        doubt = 2.0 * (t.Q.shape[1] + 2) * UNIT * _apply_t(np.abs(t.Q), np.abs(normal))
        up, down = (g > -doubt) & np.isposinf(upper), (g < doubt) & np.isneginf(lower)
        if up.any() or down.any():
            normal = _tilt(normal, t.Q, g, up.astype(float) - down)
            g = _apply_t(t.Q, normal)
        with np.errstate(invalid="ignore"):
            terms = np.where(g > 0.0, upper * g, lower * g)
        terms = np.where(g == 0.0, 0.0, terms)
        level = np.sqrt(t.width) * np.einsum("tr,tr->t", normal, t.a)
        with np.errstate(invalid="ignore", divide="ignore"):
            rounding = 4.0 * (t.h.shape[1] + 8) * UNIT * (np.abs(terms).sum(axis=1) + np.abs(level))
            rounding += _product_rounding(normal, t.Q, lower, upper)
            gap = level - terms.sum(axis=1) - rounding
            distance = gap / (np.sqrt(t.width) * np.linalg.norm(normal / t.S, axis=1))
        return np.where(np.isfinite(distance) & (gap > 0.0), distance, 0.0)


def _slack(w: Array, lower: Array, upper: Array) -> Array:
    """Return the distance to the nearer bound."""
    return np.minimum(w - lower, upper - w)


def _product_rounding(normal: Array, Q: Array, lower: Array, upper: Array) -> Array:
    """Return the largest change of the support function by rounding in g = Q^T v, (T,)."""
    size = np.where(np.isfinite(lower), np.abs(lower), 0.0) + np.where(np.isfinite(upper), np.abs(upper), 0.0)
    products = _apply_t(np.abs(Q), np.abs(normal))
    return np.asarray(2.0 * (Q.shape[1] + 2) * UNIT * (products * size).sum(axis=1))


def _tilt(normal: Array, Q: Array, g: Array, side: Array) -> Array:
    """Tilt the normal until its product with each neuron that makes the support infinite changes sign (theory §7.4).

    At the optimum these products vanish; this is the smallest change of the normal that makes them -delta on the
    unbounded ``side`` (+1 above, -1 below, 0 for the other neurons).
    """
    unbounded = side != 0.0
    masked = Q * unbounded[:, None, :]
    inverse = np.linalg.pinv(np.matmul(masked, masked.swapaxes(1, 2)), hermitian=True)
    delta = 1e-9 * np.linalg.norm(normal, axis=1)[:, None] * side
    change = _apply(masked, (g + delta) * unbounded)
    return np.asarray(normal - np.matmul(inverse, change[:, :, None])[:, :, 0])


def _apply(Q: Array, z: Array) -> Array:
    return np.asarray(np.matmul(Q, z[:, :, None])[:, :, 0])


def _apply_t(Q: Array, v: Array) -> Array:
    return np.asarray(np.matmul(v[:, None, :], Q)[:, 0, :])


def decide(target: Target, activation: Activation) -> Decision:
    """Decide for each trial whether the open box fits the data, with a proof by newton, hyperplane or lp."""
    decision = Decision.undecided(target.h.shape[0])
    # in parts, so that passes over Q stay in a cache
    size = max(1, BATCH_BYTES // (8 * max(target.h.shape[1], 1) * (target.Q.shape[1] + 4)))
    for first in range(0, target.h.shape[0], size):
        rows = np.arange(first, min(first + size, target.h.shape[0]))
        decision.merge(rows, _decide_batch(target.take(rows), activation))
    return decision


def _decide_batch(target: Target, activation: Activation) -> Decision:
    decision = Decision.undecided(target.h.shape[0])
    if target.h.shape[1] == 0:
        return decision
    iterate = _Iterate(target, activation)
    for _ in range(NEWTON_STEPS):
        inside = iterate.inside()
        decision.settle(iterate.rows[inside], Exact.REACHES_ZERO, ExactBy.NEWTON, 0.0)
        iterate.keep(~inside)
        if not iterate.rows.size:
            return decision
        # at the start the dual variable is zero, which is no normal of a hyperplane
        if iterate.iterations:
            outside, distance = iterate.outside()
            decision.settle(iterate.rows[outside], Exact.CANNOT, ExactBy.HYPERPLANE, distance[outside])
            iterate.keep(~outside)
            if not iterate.rows.size:
                return decision
        iterate.advance()
    for row in iterate.rows:
        _decide_by_programme(decision, int(row), target, activation)
    return decision


def _decide_by_programme(decision: Decision, row: int, target: Target, activation: Activation) -> None:
    if target.h.shape[1] > LP_NEURONS:
        return
    rows = np.array([row])
    margin = box_margin(target.Q[row], np.sqrt(target.width) * target.a[row], *activation.box(target.h[row]))
    if margin > LP_TOLERANCE:
        decision.settle(rows, Exact.REACHES_ZERO, ExactBy.LP, 0.0)
    elif margin < -LP_TOLERANCE:
        decision.settle(rows, Exact.CANNOT, ExactBy.LP, np.nan)


def box_margin(Q: Array, level: Array, lower: Array, upper: Array, cap: float = 1.0) -> float:
    """Return the largest t <= cap with Q w = level for a w in [lower + t, upper - t], by linear programming.

    Q is (r, k), ``level`` (r,), the bounds (k,), possibly infinite. -inf if no t fits, NaN if the solver fails.
    """
    r, k = Q.shape
    rows, limits = [], []
    for side, bound in ((-1.0, -lower), (1.0, upper)):
        finite = np.isfinite(bound)
        ones = csr_array(np.ones((int(finite.sum()), 1)))
        rows.append(hstack([side * eye_array(k, format="csr")[np.flatnonzero(finite)], ones]))
        limits.append(bound[finite])
    answer = linprog(
        np.append(np.zeros(k), -1.0),
        A_ub=vstack(rows),
        b_ub=np.concatenate(limits),
        A_eq=np.column_stack([Q, np.zeros(r)]),
        b_eq=level,
        bounds=[(None, None)] * k + [(None, cap)],
        method="highs",
    )
    if answer.status == 2:
        return -np.inf
    return float(-answer.fun) if answer.status == 0 else np.nan


def limit_point(target: Target, activation: Activation, steps: int = NEWTON_STEPS) -> tuple[Array, Array, Array]:
    """Return theta_inf of trials that reach zero loss: the Bregman projection of z(0) (theory §7.4).

    Returns the pre-activations h at the limit (T, k), the dual variable (T, r) with Phi(h) = Phi(h(0)) - Q^T
    dual/sqrt(k), and the remaining norm of a - Q z/sqrt(k), (T,).
    """
    iterate = _Iterate(target, activation)
    h, dual = target.h.copy(), np.zeros_like(target.a)
    best = np.linalg.norm(iterate.residual, axis=1)
    idle = np.zeros(best.size, dtype=np.intp)
    for _ in range(steps):
        iterate.advance()
        norm = np.linalg.norm(iterate.residual, axis=1)
        better = norm < best[iterate.rows]
        rows = iterate.rows[better]
        h[rows], dual[rows], best[rows] = iterate.h[better], iterate.dual[better], norm[better]
        # the residual need not fall at every step, but after five steps without progress it is at rounding
        idle[iterate.rows] = np.where(better, 0, idle[iterate.rows] + 1)
        iterate.keep(idle[iterate.rows] < 5)
        if not iterate.rows.size:
            break
    return h, dual, best
