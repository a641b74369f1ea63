"""The holdout: rows of each class that are scored instead of trained on, for a dataset without a split to score."""

from __future__ import annotations

import numpy as np

from diffcore_hf.core import seeding
from diffcore_hf.training.data.split import Split


def holdout(split: Split, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the rows that stay and of the rows that are held out.

    Of each class the first `share` in the order of their hashes is held out: at least one row of a class with two or
    more, never all. The order does not depend on the seed of a training. Images that were computed from a row that is
    held out are neither trained on nor scored.
    """
    held_out: list[int] = []
    for label in np.unique(split.labels):
        members: list[int] = np.flatnonzero((split.labels == label) & ~split.derived).tolist()
        count = min(max(1, round(share * len(members))), len(members) - 1) if share > 0 else 0
        held_out += sorted(members, key=lambda index: seeding.uniform("holdout", split.row_ids[index]))[:count]
    held_ids = {split.row_ids[index] for index in held_out}
    kept = [index for index, row_id in enumerate(split.row_ids) if row_id not in held_ids]
    return np.array(kept, np.int64), np.array(sorted(held_out), np.int64)
