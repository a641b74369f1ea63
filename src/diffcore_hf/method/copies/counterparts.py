"""Counterparts: finds the earlier counterpart that a generated image copies.

Only counterparts of the same class are compared. Those with the closest hashes are registered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffcore_hf.method.copies.closeness import BOUND
from diffcore_hf.method.copies.nomination import CELLS, SCALE, Hashes

NOMINATED = 4
"""Largest number of counterparts that are registered with an image."""
LEAST_LIKENESS = 0.7
"""Two images are registered only if the product of their hashes has at least this value (1 for equal hashes)."""

PairScore = Callable[[int, int], float | None]
"""Function that returns the score of two attempts, given by their indices; None: the score is not known."""


class Copied(NamedTuple):
    """The closest earlier counterpart of an image."""

    attempt: int
    """Index of the attempt."""
    score: float


class Counterparts:
    """The counterparts so far.

    Args:
        score: function that returns the score of two attempts.
    """

    def __init__(self, score: PairScore):
        self._score = score
        self._attempts: dict[int, list[int]] = {}
        self._hashes: dict[int, list[Hashes]] = {}

    def add(self, attempt: int, label: int, own: Hashes) -> None:
        """Add a counterpart.

        Args:
            attempt: index of the attempt.
            label: class that its image shows.
            own: hash of its image.
        """
        self._attempts.setdefault(label, []).append(attempt)
        self._hashes.setdefault(label, []).append(own)

    def closest(self, attempt: int, label: int, own: Hashes) -> Copied | None:
        """Return the closest counterpart of a class; None if none is close enough to be registered.

        Args: see `add`.
        """
        if label not in self._attempts:
            return None
        either = np.stack([own, mirrored_hash(own)], axis=1).astype(np.float32)
        products = (np.stack(self._hashes[label]).astype(np.float32) @ either).max(axis=1)
        order = np.argsort(-products, kind="stable")[:NOMINATED].tolist()
        found: list[Copied] = []
        for position in order:
            if products[position] < LEAST_LIKENESS * 2 * SCALE**2:
                break
            other = self._attempts[label][position]
            if (score := self._score(attempt, other)) is not None:
                found.append(Copied(other, score))
                if score >= BOUND:
                    break
        return max(found, key=lambda copied: copied.score, default=None)


def mirrored_hash(own: Hashes) -> Hashes:
    """Return the hash of the mirrored image."""
    return own.reshape(2, CELLS, CELLS)[:, :, ::-1].ravel()
