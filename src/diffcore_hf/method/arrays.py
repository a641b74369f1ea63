"""Names for the array types that this package passes around; shapes stand in the docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.object_]
"""Strings as an object array, so that words of any length fit."""
Embeddings = NDArray[np.floating[Any]]
"""(N, d) of any float type: float16 as stored, float64 in computations."""
