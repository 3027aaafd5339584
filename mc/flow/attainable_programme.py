"""The linear programme behind the exact limit: the judge where neither proof fires, and in tests (theory §7.4)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack, vstack

from mc.model.arrays import Array


def box_margin(Q: Array, level: Array, lower: Array, upper: Array, cap: float = 1.0) -> float:
    """Largest t such that Q w = level for some w with lower + t <= w <= upper - t, by linear programming.

    Parameters
    ----------
    Q : (r, k) array
    level : (r,) array
    lower, upper : (k,) arrays
        An infinite side is no constraint.
    cap : float
        Upper limit of t.

    Returns
    -------
    float
        -inf where no t fits; NaN where the solver gave up.
    """
    r, k = Q.shape
    rows, limits = [], []
    for side, bound in ((-1.0, -lower), (1.0, upper)):
        finite = np.isfinite(bound)
        rows.append(
            hstack(
                [side * eye_array(k, format="csr")[np.flatnonzero(finite)], csr_array(np.ones((int(finite.sum()), 1)))]
            )
        )
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
