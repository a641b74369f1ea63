"""Identical images: groups the rows of a source whose image files are equal, byte for byte.

Owns the groups and the two rules that follow from them: a row whose image is also in another split is never planned,
and equal images of a class are one reference. Compares hashes only; images that look alike are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """One row of the source."""

    split: str
    row: int
    """Index of the row in the split."""
    label: int
    """Index of its class; -1 without a class."""


Group = tuple[Place, ...]
"""All rows of one image, at least two, in the order of splits and rows."""


class IdenticalImages(NamedTuple):
    """The groups of rows with equal images, by what the rows have in common. A group can be in several lists."""

    within_class: tuple[Group, ...]
    """Groups with two or more rows of one class in one split."""
    across_classes: tuple[Group, ...]
    """Groups with two or more classes: at least one of the labels is wrong."""
    across_splits: tuple[Group, ...]
    """Groups with rows in two or more splits."""


def find_identical(
    sha256: Mapping[str, Sequence[str | None]], labels: Mapping[str, NDArray[np.int64]]
) -> IdenticalImages:
    """Returns the groups of rows with equal image files, in the order of their first rows.

    Args:
        sha256: hex digests of the image bytes for each split; None for a row without an image.
        labels: (N,) class indices for each split; -1 for a row without a class.
    """
    first: dict[str, Place] = {}
    groups: dict[str, list[Place]] = {}
    for split, digests in sha256.items():
        for row, (digest, label) in enumerate(zip(digests, labels[split].tolist(), strict=True)):
            if digest is None:
                continue
            place = Place(split, row, label)
            earlier = first.setdefault(digest, place)
            if earlier is not place:
                groups.setdefault(digest, [earlier]).append(place)
    order = {split: index for index, split in enumerate(sha256)}
    listed = sorted(map(tuple, groups.values()), key=lambda group: (order[group[0].split], group[0].row))
    return IdenticalImages(
        within_class=tuple(group for group in listed if _repeats_class(group)),
        across_classes=tuple(group for group in listed if len({place.label for place in group} - {-1}) > 1),
        across_splits=tuple(group for group in listed if len({place.split for place in group}) > 1),
    )


def _repeats_class(group: Group) -> bool:
    labelled = [(place.split, place.label) for place in group if place.label >= 0]
    return len(set(labelled)) < len(labelled)


def in_other_splits(
    sha256: Mapping[str, Sequence[str | None]], split: str, heldout: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Returns (N,) bool over a split: true for a row whose image is also in another published split.

    The held-out rows are published as another split. So the result is true for the other rows with their images, and
    false for the held-out rows themselves.

    Args:
        sha256: hex digests of the image bytes for each split; None for a row without an image.
        split: name of the split that is augmented.
        heldout: (N,) bool over this split.
    """
    others: set[str | None] = set()
    for name, digests in sha256.items():
        if name != split:
            others.update(digests)
    held = {digest for digest, is_held in zip(sha256[split], heldout.tolist(), strict=True) if is_held}
    others = (others | held) - {None}
    found = np.array([digest in others for digest in sha256[split]], bool).reshape(-1)
    return found & ~heldout


def first_of_class(sha256: Sequence[str | None], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns (N,) bool: false for a row whose image is that of an earlier row of the same class.

    Rows without an image are all true, because they are not compared.

    Args:
        sha256: N hex digests in the order in which the first one is chosen; None for a row without an image.
        labels: (N,) class indices.
    """
    seen: set[tuple[str, int]] = set()
    first = np.ones(len(sha256), bool)
    for row, (digest, label) in enumerate(zip(sha256, labels.tolist(), strict=True)):
        if digest is None:
            continue
        first[row] = (digest, label) not in seen
        seen.add((digest, label))
    return first
