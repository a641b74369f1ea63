"""Reference embeddings: the embeddings of real images and captions to which the policy is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diffcore_hf.augmentation.facts import Facts
from diffcore_hf.augmentation.plan import Plan
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.method.references import ReferenceEmbeddings


def reference_embeddings(
    source: LoadedSource, plan: Plan, facts: Facts, width: int, captions: np.ndarray | None, contexts: np.ndarray | None
) -> ReferenceEmbeddings:
    """Return the embeddings of the drawn real images that could be read.

    Args:
        source: the source of the run.
        plan: its plan.
        facts: the facts of round `ref`.
        width: length of an embedding.
        captions: (K, d) embeddings of the captions of classes; None: there are none.
        contexts: (C, d) embeddings of the captions of contexts; None: there are none.
    """
    drawn = plan.references
    indices = np.array([facts.keys.get((plan.source_ids[row], 0, 0), -1) for row in drawn.tolist()], np.int64)
    read = facts.embeddings.exist(indices)
    rows = drawn[read]
    return ReferenceEmbeddings(
        row_ids=[plan.source_ids[row] for row in rows.tolist()],
        labels=source.labels[source.config.split][rows],
        embeddings=facts.matrix(indices[read], width),
        classes=len(source.names),
        text=captions,
        contexts=contexts,
    )


def captions_of(texts: Sequence[str], known: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return (N, d) float16, the embeddings of N captions; None if at least one embedding is missing."""
    return np.stack([known[text] for text in texts]) if texts and all(text in known for text in texts) else None
