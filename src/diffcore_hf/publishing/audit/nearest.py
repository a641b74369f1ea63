"""Nearest images: checks the columns of the closest image that an attempt was compared with.

The score itself is not recomputed, because it follows from the pixels of two images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcore_hf.publishing.audit.references import ReferenceTable

NEAREST = ("nearest_row_id", "nearest_kind", "nearest_score")
"""Columns of configuration `attempts`; only a dataset whose images were compared has them."""
_OWN_SPLIT = ("training", "counterpart")
_REASONS = ("leak", "memorised", "copy")
"""Reasons of attempts whose image is too close to another one."""


def nearest_faults(row: Mapping[str, Any], references: ReferenceTable, split: str, *, heldout: bool) -> list[str]:
    """Return the faults in the closest image of an attempt.

    Args:
        row: the attempt, with the columns NEAREST.
        references: the real images.
        split: the split of the source that has counterparts.
        heldout: whether rows of this split are held out, which count as another split.
    """
    row_id, kind, score = (row[name] for name in NEAREST)
    if row_id is None or kind is None or score is None:
        faults = [] if row_id is kind is score else ["the closest image has no row, kind or score"]
        return [*faults, "the reason names a closest image, but there is none"] if row["reason"] in _REASONS else faults
    if row_id not in references.hashes:
        return ["the closest image is not in configuration references"]
    own = row_id.rpartition("/")[0] == split
    fits = own if kind in _OWN_SPLIT else kind == "split" and (heldout or not own)
    faults = [] if fits else ["the kind of the closest image does not fit its split"]
    return faults if -1 <= score <= 1 else [*faults, "the score of the closest image is not in [-1, 1]"]
