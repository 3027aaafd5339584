"""Exponential-integrator functions phi_j(z) = (phi_{j-1}(z) - 1/(j-1)!)/z, phi_0 = exp, for z <= 0."""

from __future__ import annotations

from math import factorial

import numpy as np

from mc.model.arrays import Array

_TERMS = 16
"""Degree of the series: at |z| <= 1 what is left out is below 1/17! of the value."""

_RECIPROCALS = np.array([1.0 / factorial(j) for j in range(_TERMS + 7)])


def phi_functions(z: Array, highest: int) -> list[Array]:
    """phi_0(z), ..., phi_highest(z).

    Parameters
    ----------
    z : array
        Not positive.
    highest : int
        Last index, at most 6; accurate to some ulp up to 5.

    Returns
    -------
    list of arrays
        One for each index, of the shape of z.
    """
    is_near = z > -1.0
    if not is_near.any():
        return _far(z, highest)
    # near zero: a series for the last one, the others by the recursion downwards, which is stable there
    near = np.maximum(z, -1.0)
    powers = np.vander(near.reshape(-1), _TERMS + 1, increasing=True)
    series = [np.dot(powers, _RECIPROCALS[highest : highest + _TERMS + 1]).reshape(z.shape)]
    for j in range(highest - 1, -1, -1):
        series.append(near * series[-1] + _RECIPROCALS[j])
    series.reverse()
    if is_near.all():
        return series
    return [np.where(is_near, one, two) for one, two in zip(series, _far(np.minimum(z, -1.0), highest), strict=True)]


def _far(z: Array, highest: int) -> list[Array]:
    """Recursion upwards, for z <= -1."""
    values = [np.exp(z)]
    for j in range(highest):
        values.append((values[-1] - _RECIPROCALS[j]) / z)
    return values
