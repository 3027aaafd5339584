"""The array types of annotations."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]


def as_float(x: ArrayLike) -> Array:
    """Return x as float64, without a copy where it is float64 already."""
    return np.asarray(x, dtype=np.float64)
