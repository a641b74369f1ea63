"""Nearest images: checks the columns of the closest image that an attempt was compared with.

The decision is compared with the score. The score itself is not recomputed, because it follows from the pixels of two
images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffcore_hf.method.copies.closeness import BOUND, COPY, LEAK, MEMORISED
from diffcore_hf.method.copies.registration import DIGITS
from diffcore_hf.publishing.audit.references import ReferenceTable

NEAREST = ("nearest_row_id", "nearest_kind", "nearest_score")
"""Columns of configuration `attempts`; only a dataset whose images were compared has them."""
_OWN_SPLIT = ("training", "counterpart")
KIND_OF = {LEAK: "split", MEMORISED: "training", COPY: "counterpart"}
"""Reason of a rejection -> kind of the image that gave the reason."""


def nearest_faults(
    row: Mapping[str, Any], references: ReferenceTable, split: str, recipe: Mapping[str, Any], *, heldout: bool
) -> list[str]:
    """Return the faults in the closest image of an attempt.

    Args:
        row: the attempt, with the columns NEAREST.
        references: the real images.
        split: the split of the source that has counterparts.
        recipe: the recorded recipe.
        heldout: whether some rows of this split are held out. Held-out rows count as another split.
    """
    row_id, kind, score = (row[name] for name in NEAREST)
    if row_id is None or kind is None or score is None:
        faults = [] if row_id is kind is score else ["the closest image has no row, kind or score"]
        return (
            [*faults, "the reason needs a closest image, but the row has none"] if row["reason"] in KIND_OF else faults
        )
    if row_id not in references.hashes:
        return ["the closest image is not in configuration references"]
    own = row_id.rpartition("/")[0] == split
    fits = own if kind in _OWN_SPLIT else kind == "split" and (heldout or not own)
    faults = [] if fits else ["the kind of the closest image does not fit its split"]
    if not -1 <= score <= 1:
        faults.append("the score of the closest image is not in [-1, 1]")
    return [*faults, *_decision_faults(row["reason"], kind, score, recipe)]


def _decision_faults(reason: str, kind: str, score: float, recipe: Mapping[str, Any]) -> list[str]:
    """Return the faults in the decision that follows from the closest image."""
    if reason in KIND_OF:
        follows = KIND_OF[reason] == kind and _is_same(score)
        return [] if follows else ["the reason does not follow from the kind and the score of the closest image"]
    rejects = _is_same(score) and kind in {KIND_OF[each] for each in recipe["filter"].get("compare", ())}
    if reason == "kept" and rejects and not recipe.get("review"):
        return ["the attempt is kept, although the score of its closest image rejects it"]
    return []


def shows_original(row: Mapping[str, Any]) -> bool:
    """Return whether an image shows the picture of an original.

    A rejected image that does so is published only if the originals are published.
    """
    score = row.get("nearest_score")
    return score is not None and _is_same(score) and row["nearest_kind"] != KIND_OF[COPY]


def _is_same(score: float) -> bool:
    """Return whether a published score, which is a float32, reaches the bound."""
    return round(score, DIGITS) >= BOUND
