"""Batch size: the number of images in a device batch, which depends on the memory that is free.

Owns the rule. When memory runs out, the batch is halved. Other programs may free memory later, so the batch grows again
after some batches without a fault. If the larger batch fails, the number of batches before the next growth doubles.
"""

from __future__ import annotations

FIRST_WAIT = 8
"""Number of full batches without a fault before the batch grows for the first time."""
LONGEST_WAIT = 1024


class BatchSize:
    """Number of images in a device batch.

    Args:
        largest: number of images in the first batch. The batch never becomes larger.
    """

    def __init__(self, largest: int):
        self.value = self.largest = largest
        self._without_fault = 0
        self._wait = FIRST_WAIT
        self._has_grown = False

    def failed(self, count: int) -> None:
        """Record that memory ran out with a batch of `count` images. The next batch has half of them."""
        self.value = max(1, count // 2)
        self._without_fault = 0
        if self._has_grown:
            self._wait = min(LONGEST_WAIT, 2 * self._wait)
        self._has_grown = False

    def succeeded(self, count: int) -> None:
        """Record that a batch of `count` images was computed. The batch may grow by half."""
        if count < self.value or self.value >= self.largest:
            return
        self._without_fault += 1
        if self._without_fault >= self._wait:
            self.value = min(self.largest, self.value + max(1, self.value // 2))
            self._has_grown = True
            self._without_fault = 0
