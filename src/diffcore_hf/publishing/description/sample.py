"""Sample of a dataset for its card: a bounded number of images of each class, chosen by hash.

Owns the choice. Every export computes figures for its card. Their cost grows with the square of the number of images
of a class, so they are computed for a sample. The command `describe` uses all images, except in large classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diffcore_hf.core import seeding
from diffcore_hf.method.arrays import Ints
from diffcore_hf.publishing.description.embedded import EmbeddedImages

MOST, MOST_OF_CLASS, FEWEST_OF_CLASS = 20_000, 500, 5
"""Bounds that apply to real images and to kept images separately. MOST: for all classes together. MOST_OF_CLASS: for
one class. FEWEST_OF_CLASS: no class is reduced below this number, because coverage needs four real images."""


def sampled(images: EmbeddedImages) -> EmbeddedImages:
    """Return a sample of the images of a dataset; all images if there are few.

    The same bound applies to the number of real images and to the number of kept images of each class. An image is
    chosen by the hash of its key, so equal datasets have equal samples.
    """
    most = max(FEWEST_OF_CLASS, min(MOST_OF_CLASS, MOST // max(1, len(images.names))))
    real = chosen_rows(images.real_labels, [(row_id, -1) for row_id in images.real_ids], most)
    kept = chosen_rows(images.kept_labels, images.kept_keys, most)
    return replace(
        images,
        real_ids=[images.real_ids[row] for row in real.tolist()],
        real_labels=images.real_labels[real],
        real=images.real[real],
        real_sha256=[images.real_sha256[row] for row in real.tolist()],
        kept_keys=[images.kept_keys[row] for row in kept.tolist()],
        kept_labels=images.kept_labels[kept],
        kept=images.kept[kept],
        kept_sha256=[images.kept_sha256[row] for row in kept.tolist()],
    )


def chosen_rows(labels: Ints, keys: Sequence[tuple[str, int]], most: int) -> Ints:
    """Return the rows of a sample in ascending order: for each class, the `most` rows with the smallest hashes.

    Args:
        labels: (N,) int64: class of each row.
        keys: N keys, all different.
        most: largest number of rows of a class.
    """
    if not len(labels) or np.bincount(labels).max() <= most:
        return np.arange(len(labels))
    digests = b"".join(seeding.digest("described", *key)[:8] for key in keys)
    order = np.lexsort((np.frombuffer(digests, ">u8"), labels))
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(order[place < most])


def sample_note(images: EmbeddedImages, sample: EmbeddedImages) -> str:
    """Return a sentence about the sizes of a sample; "" if it contains all images."""
    if len(sample.real_ids) == len(images.real_ids) and len(sample.kept_keys) == len(images.kept_keys):
        return ""
    return (
        f"The figures use {len(sample.kept_keys):,} of {len(images.kept_keys):,} kept images and "
        f"{len(sample.real_ids):,} of {len(images.real_ids):,} real images, chosen by a hash."
    )
