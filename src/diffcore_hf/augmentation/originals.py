"""Originals: rows of the source as they came, with their images whole, or without any.

Owns what of a source goes into a published dataset. Which rows, and what stands beside them, is tables.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.core.images import UnreadableImage, read_bytes

if TYPE_CHECKING:
    from datasets import Dataset


def original_rows(source: Dataset, rows: Sequence[int], *, images: bool) -> pa.Table:
    """Rows of a split: every column untouched, the bytes of image files that lay beside it read in.

    Args:
        source: the split.
        rows: their places in it.
        images: false leaves every column that holds images empty, not only the one that is augmented.
    """
    table = source.with_format("arrow")[list(rows)]
    for place, (name, feature) in enumerate(source.features.items()):
        if _has_images(feature):
            cells = table[name].to_pylist() if images else [None] * len(table)
            stored = pa.array([_whole(cell, feature) for cell in cells], table.schema.field(name).type)
            table = table.set_column(place, name, stored)
    return table


def stored_image(cell: dict[str, Any]) -> dict[str, Any] | None:
    """An image cell with its bytes; of a path only the file's name stays. None where the file is gone."""
    try:
        content = read_bytes(cell)
    except UnreadableImage:  # the row stays, its reason stands in config references
        return None
    return {"bytes": content, "path": Path(cell["path"]).name if cell["path"] else None}


def _has_images(feature: Any) -> bool:
    """Whether a feature is an image, or holds some."""
    from datasets import Image

    if isinstance(feature, Image):
        return True
    parts = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return any(_has_images(part) for part in parts if part is not None)


def _whole(value: Any, feature: Any) -> Any:
    """A value with the bytes of every image in it."""
    from datasets import Image

    if value is None or not _has_images(feature):
        return value
    if isinstance(feature, Image):
        return stored_image(value)
    if isinstance(feature, dict):
        return {name: _whole(value[name], part) for name, part in feature.items()}
    return [_whole(one, feature.feature) for one in value]
