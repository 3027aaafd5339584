"""P-values of one-sided hypotheses on a probability, exact or valid at every number of trials (theory §8)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mc.estimate.probability.e_values import log_e_value
from mc.estimate.probability.methods import MethodClass, get_method
from mc.estimate.probability.tests import exact_p_value
from mc.model.arrays import Array


def p_value(
    holds: ArrayLike,
    trials: ArrayLike,
    p0: ArrayLike,
    alternative: Literal["greater", "less"],
    method: str = "clopper-pearson",
) -> Array:
    """P-value of P <= p0 ("greater") or P >= p0 ("less"), of the same class as the intervals of the run.

    Parameters
    ----------
    holds, trials, p0 : array_like, broadcast against each other
        p0 in [0, 1].
    alternative : {"greater", "less"}
    method : str
        A name of `methods.METHODS`: a time-uniform one gives one over the e-value, any other the exact
        binomial tail.

    Returns
    -------
    ndarray
        In [0, 1]; 1 where there is no trial, 0 where what happened has probability 0.
    """
    if get_method(method).method_class is not MethodClass.TIME_UNIFORM:
        return exact_p_value(holds, trials, p0, alternative)
    s, n, p = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (holds, trials, p0)))
    # below half an ulp of 1, 1 - p is 1: no evidence against P >= p can be had there
    inside = (p > 0.0) & (p < 1.0) & (1.0 - p < 1.0)
    log_e = log_e_value(s, n, np.where(inside, p, 0.5), alternative)
    # at an end of [0, 1] one trial against the hypothesis refutes it, and at the other none can
    impossible = (p <= 0.0) & (s > 0) if alternative == "greater" else (p >= 1.0) & (s < n)
    return np.where(inside, np.exp(-np.maximum(log_e, 0.0)), np.where(impossible, 0.0, 1.0))
