"""Nearest images: the image that is closest to each attempt, among those with which it was compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from diffcore_hf.augmentation.material import Material
from diffcore_hf.method.checks import KEPT
from diffcore_hf.method.copies.closeness import BOUND, COPY, LEAK, MEMORISED

SPLIT, TRAINING, COUNTERPART = "split", "training", "counterpart"
"""Kinds of the nearest image, in this order: a real image of another split or a held-out one, a real image of the split
that is augmented, and an earlier counterpart."""


KIND_OF = {LEAK: SPLIT, MEMORISED: TRAINING, COPY: COUNTERPART}
"""Reason of a rejection -> kind of the image that gave the reason."""


class Nearest(NamedTuple):
    """The image that is closest to an attempt."""

    row_id: str
    """Row id of the real image, or of the unit whose counterpart it is."""
    kind: str
    score: float


def nearest_of(material: Material, attempt: int) -> Nearest | None:
    """Return the image that is closest to an attempt; None if it was not compared.

    For an image that was rejected as leak, memorised or copy, it is the closest image of the kind that gave the reason.
    """
    comparison = material.attempts.comparison(attempt)
    if comparison is None:
        return None
    found = [
        Nearest(near.row_id, kind, near.score)
        for kind, near in ((SPLIT, comparison.split), (TRAINING, comparison.training))
        if near is not None
    ]
    copied = material.decisions.copied.get(attempt)
    if copied is not None:
        row_id, _ = material.plan.key(int(material.attempts.units[copied.attempt]))
        found.append(Nearest(row_id, COUNTERPART, copied.score))
    own = [near for near in found if near.kind == KIND_OF.get(str(material.decisions.reason[attempt]))]
    return max(own or found, key=lambda near: near.score, default=None)


def shows_unpublished(material: Material, attempt: int) -> bool:
    """Return whether a rejected image shows the picture of an original that is not published."""
    if material.recipe.include_originals or material.decisions.reason[attempt] == KEPT:
        return False
    near = nearest_of(material, attempt)
    return near is not None and near.kind != COUNTERPART and near.score >= BOUND


def nearest_columns(material: Material, window: Sequence[int]) -> dict[str, list[Any]]:
    """Return the columns of the closest images of some attempts."""
    found = [nearest_of(material, attempt) for attempt in window]
    return {
        "nearest_row_id": [near and near.row_id for near in found],
        "nearest_kind": [near and near.kind for near in found],
        "nearest_score": [near and near.score for near in found],
    }
