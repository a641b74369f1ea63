"""Part sizes: how many due items the next part has.

Owns the sizes. The division into parts has no influence on the results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffcore_hf.augmentation.tasks import CommittedPart

PART_SECONDS = 60.0
PART_BYTES = 256_000_000
LARGEST_PART = 4096
GROWTH = 8
"""Largest ratio between the sizes of two successive parts. The time of the first part includes the loading of the
model, so the size grows in steps."""


class PartSizes:
    """Chooses the sizes of parts: `part_size` items, or sizes from measured times if `part_size` is None. In the second
    case, the first part is one device batch. Later sizes are chosen so that a part takes about PART_SECONDS.

    Args:
        batch: number of images in a device batch.
        part_size: number of items in each part; None: a multiple of the device batch that depends on measured times.
        stop_after: number of items after which a part has to end, rounded up to whole device batches, because the early
            stop is tested there. A fixed `part_size` is not changed.
    """

    def __init__(self, batch: int, part_size: int | None, stop_after: int = 0):
        self._batch, self._part_size = batch, part_size
        self._tested = 0 if part_size else math.ceil(max(stop_after, 0) / batch) * batch
        self._size = part_size or batch

    def take(self, due: int, sizes: Sequence[int] | None = None, share: int | None = None) -> int:
        """Return the number of items in the next part, which has the first items that are due.

        Args:
            due: number of items, at least 1.
            sizes: bytes of each item in memory. A part has at most PART_BYTES, unless a single item is larger.
            share: number of items after which a part should end, so that several workers end at the same time. It is
                rounded up to whole device batches. A fixed `part_size` is not changed.
        """
        count = min(self._size, due)
        if self._tested > 0:
            count = min(count, self._tested)
        if share is not None and self._part_size is None:
            count = min(count, math.ceil(share / self._batch) * self._batch)
        while sizes is not None and count > 1 and sum(sizes[:count]) > PART_BYTES:
            count //= 2
        self._tested -= count
        return count

    def measured(self, part: CommittedPart) -> None:
        """Adjust the size of the next parts to the time of a committed part."""
        if self._part_size is None and len(part.task):
            rate = len(part.task) / max(part.seconds, 1e-6)
            wanted = int(min(rate * PART_SECONDS, LARGEST_PART, GROWTH * len(part.task)))
            self._size = max(part.batch_size, wanted // part.batch_size * part.batch_size)
