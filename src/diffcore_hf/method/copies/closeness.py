"""Closeness: what a comparison of two images means for the decision about a generated image.

Owns the version of the method, the reasons, and the bound, which follows from trials on photographs
(benchmarks/leaks.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from diffcore_hf.method.copies.nomination import Hashes

METHOD = "print-1"
"""Name of the method, which is stored with each score. Raise the number if scores change."""
BOUND = 0.9
"""Two images with at least this score show the same picture."""

LEAK, MEMORISED, COPY = "leak", "memorised", "copy"
CLOSE_REASONS = LEAK, MEMORISED, COPY
"""The reasons that a recipe can name in `filter.compare`."""


class Neighbour(NamedTuple):
    """The real image that is closest to a generated one."""

    row_id: str
    score: float


@dataclass(frozen=True)
class Comparison:
    """The facts about one generated image and the real images."""

    split: Neighbour | None
    """The closest image of another split or of the held-out rows; None: there is none."""
    training: Neighbour | None
    """The closest image of the rows that are augmented; None: there is none."""
    hash: Hashes
    """(WIDTH,) int8: hash of the generated image, with which copies are nominated."""

    def reasons(self) -> frozenset[str]:
        """Return the reasons that the scores give: LEAK, MEMORISED, both or none."""
        found = {LEAK: self.split, MEMORISED: self.training}
        return frozenset(reason for reason, near in found.items() if near is not None and near.score >= BOUND)
