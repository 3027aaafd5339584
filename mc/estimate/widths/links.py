"""Binomial links: what a regression of probabilities on log k needs of logit, probit and complementary log-log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit, log_ndtr, ndtri

from mc.errors import InputError
from mc.model.arrays import Array


@dataclass(frozen=True)
class Curvature:
    """A link at eta = g(mu), with d = dmu/deta.

    Parameters
    ----------
    log_mean, log_rest : ndarray
        log mu and log(1 - mu).
    up, down : ndarray
        d/mu and d/(1 - mu).
    turn : ndarray
        d'/d, the logarithmic derivative of d.
    """

    log_mean: Array
    log_rest: Array
    up: Array
    down: Array
    turn: Array

    @property
    def weight(self) -> Array:
        """w = d^2/(mu (1 - mu)): the information on eta in one trial."""
        return self.up * self.down

    @property
    def weight_turn(self) -> Array:
        """w'/w."""
        return 2.0 * self.turn - self.up + self.down


@dataclass(frozen=True)
class Link:
    """A link by name: `at` its curvature at eta, `of` the eta of a probability."""

    name: str
    at: Callable[[Array], Curvature]
    of: Callable[[float], float]


def _logit(eta: Array) -> Curvature:
    mean, rest = expit(eta), expit(-eta)
    return Curvature(log_expit(eta), log_expit(-eta), rest, mean, rest - mean)


def _probit(eta: Array) -> Curvature:
    log_mean, log_rest = log_ndtr(eta), log_ndtr(-eta)
    log_density = -0.5 * np.square(eta) - 0.5 * math.log(2.0 * math.pi)
    return Curvature(log_mean, log_rest, np.exp(log_density - log_mean), np.exp(log_density - log_rest), -eta)


def _cloglog(eta: Array) -> Curvature:
    hazard = np.exp(np.minimum(eta, 700.0))
    with np.errstate(divide="ignore", over="ignore"):
        log_mean = np.log(-np.expm1(-hazard))
        up = np.where(hazard > 0.0, hazard / np.maximum(np.expm1(hazard), np.finfo(float).tiny), 1.0)
    return Curvature(log_mean, -hazard, up, hazard, 1.0 - hazard)


LINKS: Mapping[str, Link] = {
    link.name: link
    for link in (
        Link("logit", _logit, lambda p: math.log(p) - math.log1p(-p)),
        Link("probit", _probit, lambda p: float(ndtri(p))),
        Link("cloglog", _cloglog, lambda p: math.log(-math.log1p(-p))),
    )
}


def get_link(name: str) -> Link:
    """Look a link up by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in LINKS:
        raise InputError(f"link {name!r} is not known: choose one of {', '.join(LINKS)}")
    return LINKS[name]
