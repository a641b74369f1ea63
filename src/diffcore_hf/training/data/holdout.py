"""The holdout: rows of each class that are scored and not trained on, for a dataset that has only a training split."""

from __future__ import annotations

import numpy as np

from diffcore_hf.core import seeding
from diffcore_hf.training.data.split import Split


def holdout(split: Split, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the rows to train on and of the rows that are held out.

    The rows of each class are ordered by a hash, and the first `share` of them is held out. At least one row of a class
    with two or more rows is held out, and never all of them. The order does not depend on the seed of a training.
    Images that were computed from a held-out row are neither trained on nor scored.
    """
    held_out: list[int] = []
    for label in np.unique(split.labels):
        members: list[int] = np.flatnonzero((split.labels == label) & ~split.derived).tolist()
        count = min(max(1, round(share * len(members))), len(members) - 1) if share > 0 else 0
        held_out += sorted(members, key=lambda index: seeding.uniform("holdout", split.row_ids[index]))[:count]
    held_ids = {split.row_ids[index] for index in held_out}
    kept = [index for index, row_id in enumerate(split.row_ids) if row_id not in held_ids]
    return np.array(kept, np.int64), np.array(sorted(held_out), np.int64)
