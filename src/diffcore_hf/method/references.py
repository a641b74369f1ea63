"""References: the real images that every policy learns from.

Owns what they are and the one order they are read in. Does not own how they are drawn or embedded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReferenceEmbeddings:
    """Real images that statistics and thresholds are taken from: the seeded draw, unreadable ones left out."""

    row_ids: Sequence[str]
    labels: np.ndarray
    """(N,) int64 in [0, classes); N may be 0."""
    embeddings: np.ndarray
    """(N, d) float16, d >= 1, finite."""
    classes: int
    """K: all classes of the source, with references or without."""
    text: np.ndarray | None = None
    """(K, d) float16: embedding of each class's caption, where the scorer has a text tower."""
    contexts: np.ndarray | None = None
    """(C, d) float16: embedding of the caption of each context, no class named; None without a text tower."""

    def __post_init__(self):
        n = len(self.row_ids)
        if self.labels.shape != (n,) or self.embeddings.ndim != 2 or len(self.embeddings) != n:
            raise ValueError(f"{n} references with labels {self.labels.shape}, embeddings {self.embeddings.shape}")
        if n and not 0 <= self.labels.min() <= self.labels.max() < self.classes:
            raise ValueError(f"labels of references must be in [0, {self.classes}): leave unlabelled rows out")
        finite = np.isfinite(self.embeddings).all(axis=1)
        if not finite.all():
            raise ValueError(f"reference {self.row_ids[int(np.argmin(finite))]} has no finite embedding: leave it out")
        if self.text is not None and self.text.shape != (self.classes, self.embeddings.shape[1]):
            raise ValueError(f"text {self.text.shape} for {self.classes} classes of embeddings {self.embeddings.shape}")

    def ordered(self) -> ReferenceEmbeddings:
        """By class, then row id: every sum comes out the same, whatever order they were read in."""
        order = np.lexsort((np.array(self.row_ids, dtype=str), self.labels))
        ids = [self.row_ids[i] for i in order]
        return dataclasses.replace(self, row_ids=ids, labels=self.labels[order], embeddings=self.embeddings[order])
