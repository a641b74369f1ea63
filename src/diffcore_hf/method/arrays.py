"""Names of the array types that this package uses. The shapes are in the docstrings of the functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.object_]
"""Array of strings. Its type is object, so that strings of any length fit."""
Embeddings = NDArray[np.floating[Any]]
"""(N, d) embeddings of any float type: float16 as stored, float64 in computations."""
