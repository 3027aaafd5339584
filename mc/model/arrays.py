"""Names for the array types of annotations."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
