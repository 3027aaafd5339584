"""Importance sampling by exponential tilting, where the tilted law of a neuron is known in closed form.

A failure that makes a sum of independent terms f(neuron) too small is likely under the law with density
exp(-theta f - psi(theta)) of each neuron, psi(theta) = log E exp(-theta f), drawn by rejection. Of lambda_min the
failure is a small sum along *some* direction v, with f_v = phi'(h)^2 (v . V)^2: a mixture of the tilted laws over a net
of directions is sampled, and each network weighted by the density of the mixture. Any net gives an unbiased estimate;
a coarse one costs variance, which is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from mc.model.activations import Activation
from mc.model.arrays import Array, Index
from mc.model.draws import OutputLaw
from mc.trial.rare.margins import ActivationNorm, LambdaMin, Margin
from mc.trial.rare.proposals import ROOT_3

if TYPE_CHECKING:
    from numpy.random import Generator


DIRECTIONS = 512
NODES = np.arange(-36, 37) * 0.25
"""Trapezoidal rule for a standard normal: the error on a function analytic in |Im| < 1 is below 1e-10 of its size."""
WEIGHTS = np.exp(-0.5 * NODES**2) * (0.25 / np.sqrt(2.0 * np.pi))
FIRST_DIRECTIONS = 16
"""Directions for which a common tilt is found by bisection."""
LOG_LARGEST_TILT = 14.0
BATCH = 2_000_000
"""Random numbers drawn at once."""

CHARACTERISTIC: dict[str, Callable[[Array], Array]] = {
    "uniform": lambda t: np.sinc(t * (ROOT_3 / np.pi)),
    "rademacher": lambda t: np.cos(t),
    "gaussian": lambda t: np.exp(-0.5 * np.square(t)),
}
"""E exp(i t v) of an entry v."""


class GramTilt:
    """Tilted laws of a neuron with f_v = phi'(h)^2 (v . V)^2, for J unit vectors v (J, n)."""

    def __init__(self, margin: LambdaMin, law: OutputLaw, directions: Array) -> None:
        self.margin, self.law, self.directions, self.size = margin, law, directions, len(directions)

    def log_mean(self, theta: Array) -> Array:
        """Return psi(theta) of the first directions, of the shape of theta, from the characteristic function of V.

        exp(-t x^2) = E exp(i sqrt(2 t) xi x) with xi standard normal.
        """
        entry = CHARACTERISTIC[self.law.name]
        half = NODES >= 0.0
        xi, weights = NODES[half], np.where(NODES[half] > 0.0, 2.0, 1.0) * WEIGHTS[half]
        scale = np.sqrt(2.0 * theta)[:, None, None] * (self.margin.activation.dphi(NODES)[:, None] * xi)
        product = np.ones_like(scale)
        for component in self.directions[: theta.size].T:
            product *= entry(scale * component[:, None, None])
        return np.asarray(np.log(np.einsum("jhx,h,x->j", product, WEIGHTS, weights, optimize=True)))

    def acceptance(self, h: Array, V: Array, chosen: Index, theta: Array) -> Array:
        """Return exp(-theta f_v) of neurons h (b,), V (n, b) whose directions are ``chosen`` (b,)."""
        along = np.einsum("bn,nb->b", self.directions[chosen], V)
        return np.asarray(np.exp(-theta[chosen] * np.square(self.margin.activation.dphi(h) * along)))

    def means(self, sums: Array) -> Array:
        """Return v^T H v, the mean of f_v over the neurons of each network, (P, J), from the sums of the margin."""
        n = self.margin.n
        gram = sums.reshape(-1, n, n)
        along = np.einsum("jn,pnm,jm->pj", self.directions, gram, self.directions, optimize=True)
        return np.asarray(along / self.margin.k)


class NormTilt:
    """Tilted law of a neuron with f = phi(h)^2, or sup|phi|^2 - phi(h)^2 where the failure is a large norm.

    `GramTilt` describes the methods; there is one direction.
    """

    size = 1

    def __init__(self, margin: ActivationNorm) -> None:
        self.margin, self.activation = margin, margin.activation

    def _excess(self, square: Array) -> Array:
        return square if self.margin.sign > 0.0 else self.activation.sup_phi**2 - square

    def log_mean(self, theta: Array) -> Array:
        """Return psi(theta) by the trapezoidal rule."""
        f = self._excess(np.square(self.activation.phi(NODES)))
        return np.asarray(np.log(np.exp(-theta[:, None] * f) @ WEIGHTS))

    def acceptance(self, h: Array, V: Array, chosen: Index, theta: Array) -> Array:
        """Return exp(-theta f) of neurons."""
        return np.asarray(np.exp(-theta[chosen] * self._excess(np.square(self.activation.phi(h)))))

    def means(self, sums: Array) -> Array:
        """Mean of f over the neurons of each network."""
        return self._excess(sums / self.margin.k)


Tilt = GramTilt | NormTilt


def closed_form(margin: str, activation: Activation, law: OutputLaw) -> bool:
    """Return whether a tilted law is known for a margin."""
    if margin == "lambda_min":
        return law.name in CHARACTERISTIC
    return margin == "activation_norm_low" or (
        margin == "activation_norm_high" and bool(np.isfinite(activation.sup_phi))
    )


def make_tilt(margin: Margin, law: OutputLaw, rng: Generator) -> tuple[Tilt, float]:
    """Return the tilted laws of a margin, and the mean of f at which it fails."""
    if isinstance(margin, LambdaMin):
        directions = rng.standard_normal((DIRECTIONS if margin.n > 1 else 1, margin.n))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return GramTilt(margin, law, directions), margin.threshold * margin.activation.moment_dphi**2
    if not isinstance(margin, ActivationNorm):
        raise TypeError(f"no tilted law is known for {type(margin).__name__}")
    tilt = NormTilt(margin)
    square = (margin.threshold * margin.activation.moment_phi) ** 2
    return tilt, float(tilt._excess(np.array([square]))[0])


@dataclass(frozen=True)
class TiltedLaw:
    """A mixture of tilted laws of k neurons over J directions."""

    margin: Margin
    law: OutputLaw
    tilt: Tilt
    theta: Array  # (J,)
    log_mean: Array  # psi(theta), (J,)
    log_share: Array  # logarithm of the share of the mixture, (J,)

    @classmethod
    def of(cls, margin: Margin, law: OutputLaw, rng: Generator) -> TiltedLaw:
        """Tilt each direction until the failure is typical; shares in proportion to exp(-k rate)."""
        tilt, mean = make_tilt(margin, law, rng)
        theta = tilts(tilt, mean)
        log_mean = tilt.log_mean(theta)
        exponent = margin.k * (log_mean + theta * mean)
        return cls(margin, law, tilt, theta, log_mean, exponent - logsumexp(exponent))

    def rate(self, mean: float) -> float:
        """Return the least large-deviation rate over the directions of the net (Cramér): -log P/k for large k."""
        return float(-(self.log_mean + self.theta * mean).max())

    def weights(self, rng: Generator, networks: int, n: int) -> Array:
        """Return the weights of tilted networks, (networks,), 0 where there is no failure; their mean estimates P."""
        k, share = self.margin.k, np.exp(self.log_share)
        chosen = rng.choice(self.tilt.size, networks, p=share / share.sum())
        out = np.empty(networks)
        batch = max(1, BATCH // (k * (n + 1)))
        for first in range(0, networks, batch):
            rows = chosen[first : first + batch]
            h, V = self._draw(rng, np.repeat(rows, k), n)
            h, V = h.reshape(-1, k), np.ascontiguousarray(V.reshape(n, rows.size, k).swapaxes(0, 1))
            sums, tops = self.margin.sums(h, V), self.margin.tops(h, V)
            log_density = self.log_share - k * (self.theta * self.tilt.means(sums) + self.log_mean)
            fails = self.margin.below(sums, tops, self.margin.threshold)
            out[first : first + batch] = np.where(fails, np.exp(-logsumexp(log_density, axis=1)), 0.0)
        return out

    def _draw(self, rng: Generator, chosen: Index, n: int) -> tuple[Array, Array]:
        """Draw neurons of the tilted laws by rejection: h (b,), V (n, b)."""
        h, V, missing = np.empty(chosen.size), np.empty((n, chosen.size)), np.arange(chosen.size)
        while missing.size:
            fresh_h, fresh_V = rng.standard_normal(missing.size), np.empty((n, missing.size))
            self.law.draw(rng, fresh_V)
            kept = rng.random(missing.size) < self.tilt.acceptance(fresh_h, fresh_V, chosen[missing], self.theta)
            h[missing[kept]], V[:, missing[kept]] = fresh_h[kept], fresh_V[:, kept]
            missing = missing[~kept]
        return h, V


def tilts(tilt: Tilt, mean: float) -> Array:
    """Tilt by direction, (J,), with ``mean`` nearly the mean of f; 0 where the mean is already smaller.

    Any tilt is unbiased, so bisection finds a common tilt for the first directions, and two steps of Newton's method
    correct it for each direction.
    """
    low, high = -10.0, LOG_LARGEST_TILT
    while high - low > 0.01:
        middle = 0.5 * (low + high)
        slope = float(np.mean(_mean_and_variance(tilt, np.full(min(FIRST_DIRECTIONS, tilt.size), np.exp(middle)))[0]))
        low, high = (middle, high) if slope > mean else (low, middle)
    if low == -10.0:
        return np.zeros(tilt.size)
    common = np.full(tilt.size, np.exp(low))
    theta = common
    for _ in range(2):
        current, variance = _mean_and_variance(tilt, theta)
        theta = np.clip(theta + (current - mean) / variance, 0.25 * common, 4.0 * common)
    return theta


def _mean_and_variance(tilt: Tilt, theta: Array) -> tuple[Array, Array]:
    """Mean and variance of f under the tilt, -psi' and psi'', by differences, (J,) each."""
    step = 0.02 * theta
    less, same, more = (tilt.log_mean(theta + side * step) for side in (-1.0, 0.0, 1.0))
    return (less - more) / (2.0 * step), np.maximum((less - 2.0 * same + more) / step**2, 1e-300)
