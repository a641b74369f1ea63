"""Share: the units and rows that one of several workers of a run computes first.

Owns the division of the work. It depends on positions in the plan alone, so all workers know all shares without a
message. A share is only an order of the work: every worker can compute every part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """Worker `index` of `count` workers of a run."""

    index: int = 0
    """0, 1, ..., count - 1."""
    count: int = 1
    only: bool = False
    """Whether the worker computes only its own units. It is false where workers see the same folder."""

    def owns(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N,) bool: whether each position in the plan belongs to this share."""
        return positions % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
