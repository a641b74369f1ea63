"""References: the real images to which a filter policy is fitted.

Owns the record of their embeddings and the order in which these are summed. Does not draw the references
(augmentation/plan.py) or embed them (augmentation/stages/reference.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffcore_hf.method.arrays import Embeddings, Ints


@dataclass(frozen=True)
class ReferenceEmbeddings:
    """The embeddings of the drawn real images that could be read.

    Raises:
        ValueError: the arrays have different lengths, a label is outside [0, K), or an embedding is not finite.
    """

    row_ids: Sequence[str]
    labels: Ints
    """(N,) int64 in [0, K): class of each reference; N may be 0."""
    embeddings: Embeddings
    """(N, d) float16, d >= 1, finite: embedding of each reference."""
    classes: int
    """K, the number of classes of the source. It includes classes without references."""
    text: Embeddings | None = None
    """(K, d) float16: embedding of each class's caption; None: the filter's model has no text tower."""
    contexts: Embeddings | None = None
    """(C, d) float16: embeddings of captions that name a context and no class; None: there are none."""
    logit_scale: float | None = None
    """Factor by which the training of the filter's model multiplied the cosines between images and captions. None: the
    model does not record it."""

    def __post_init__(self) -> None:
        n = len(self.row_ids)
        if self.labels.shape != (n,) or self.embeddings.ndim != 2 or len(self.embeddings) != n:
            raise ValueError(f"{n} references with labels {self.labels.shape}, embeddings {self.embeddings.shape}")
        if n and not 0 <= self.labels.min() <= self.labels.max() < self.classes:
            raise ValueError(f"labels of references must be in [0, {self.classes}): leave out unlabelled rows")
        finite = np.isfinite(self.embeddings).all(axis=1)
        if not finite.all():
            raise ValueError(f"reference {self.row_ids[int(np.argmin(finite))]} has no finite embedding: leave it out")
        if self.text is not None and self.text.shape != (self.classes, self.embeddings.shape[1]):
            raise ValueError(f"text {self.text.shape} for {self.classes} classes of embeddings {self.embeddings.shape}")

    def ordered(self) -> ReferenceEmbeddings:
        """Returns the same references, sorted by class and row id, so that sums do not depend on the reading order."""
        order = np.lexsort((np.array(self.row_ids, dtype=str), self.labels))
        ids = [self.row_ids[i] for i in order]
        return dataclasses.replace(self, row_ids=ids, labels=self.labels[order], embeddings=self.embeddings[order])
