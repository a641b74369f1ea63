"""Identity: the id of each row, and the identity of the whole source.

Owns both kinds of row ids. The rows of a Hub dataset are numbered, because its commit fixes their order. The row ids of
any other source are computed from the content of its images and labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.core import seeding


def row_ids_by_commit(sizes: Mapping[str, int]) -> dict[str, list[str]]:
    """Returns `<split>/<index>` for every row of each split.

    Args:
        sizes: number of rows of each split.
    """
    return {name: seeding.hub_row_ids(name, size) for name, size in sizes.items()}


def row_ids_by_content(
    sha256: Mapping[str, Sequence[str | None]], labels: Mapping[str, NDArray[np.int64]], names: Sequence[str]
) -> dict[str, list[str]]:
    """Returns `<split>/<16 hex of sha256(image, label)>[~n]` for every row of each split.

    If several rows have the same image and label, all of them but the first get `~n` at the end, n = 1, 2, ...

    Args:
        sha256: hex digests of the image bytes for each split; None for a row without an image.
        labels: (N,) int64 for each split; -1 for a row without a label.
        names: the class names.
    """
    row_ids = {}
    for split, digests in sha256.items():
        texts = [names[label] if label >= 0 else "" for label in labels[split].tolist()]
        contents = [(bytes.fromhex(digest or ""), text) for digest, text in zip(digests, texts, strict=True)]
        row_ids[split] = seeding.content_row_ids(split, contents)
    return row_ids


def identity_of(row_ids: Mapping[str, Sequence[str]]) -> str:
    """Returns `local:<16 hex>`, a digest of all row ids. The order of rows and splits does not change it."""
    listed: list[str] = []
    for split in sorted(row_ids):
        listed += sorted(row_ids[split])
    return f"local:{seeding.digest('source', *listed).hex()[:16]}"
