"""Share: the units and rows that one of several workers of a run computes first.

Owns the division of the work. It depends on positions in the plan alone, so each worker can compute all shares without
messages. Workers with the same folder also compute items of other shares, so a share is only the order of their work.
Machines without a shared disk cannot do this, so the units of each machine are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """The share of worker `index` of `count` workers that use the same folder."""

    index: int = 0
    """0, 1, ..., count - 1."""
    count: int = 1
    machine: int = 0
    """Index of the folder among the folders of machines without a shared disk: 0, 1, ..., machines - 1."""
    machines: int = 1
    """Number of these folders."""

    @property
    def only(self) -> bool:
        """Whether some units are computed only in other folders."""
        return self.machines > 1

    def may_compute(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N,) bool: whether a worker of this folder computes each position in the plan."""
        return positions % self.machines == self.machine

    def owns(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N,) bool: whether this worker computes each position in the plan before it takes items of other
        shares."""
        return self.may_compute(positions) & (positions // self.machines % self.count == self.index)

    def divided(self, count: int) -> list[Share]:
        """Return the shares of `count` processes that together do the work of this worker."""
        return [
            Share(self.index * count + index, self.count * count, self.machine, self.machines) for index in range(count)
        ]

    def __str__(self) -> str:
        """Return the share in the form of the option --worker."""
        return f"{self.index}/{self.count}"
