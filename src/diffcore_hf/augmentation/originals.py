"""Originals: rows of the source as they are published, with the bytes of their images or without any image.

Owns how a row of the source is copied. Which rows are copied, and the columns beside them, is decided in tables.py.
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
    """Returns rows of a split with every column unchanged; image files beside the dataset are read in as bytes.

    Args:
        source: the split.
        rows: indices of the rows.
        images: false empties every column that holds images, not only the augmented one.
    """
    table = source.with_format("arrow")[list(rows)]
    for index, (name, feature) in enumerate(source.features.items()):
        if _has_images(feature):
            cells = table[name].to_pylist() if images else [None] * len(table)
            stored = pa.array([_whole(cell, feature) for cell in cells], table.schema.field(name).type)
            table = table.set_column(index, name, stored)
    return table


def stored_image(cell: dict[str, Any]) -> dict[str, Any] | None:
    """Returns an image cell with its bytes and only the last part of its path; None where the file cannot be read."""
    try:
        content = read_bytes(cell)
    except UnreadableImage:  # The row stays; config references holds the reason.
        return None
    return {"bytes": content, "path": Path(cell["path"]).name if cell["path"] else None}


def _has_images(feature: Any) -> bool:
    """Returns whether a feature is an image or contains one."""
    from datasets import Image

    if isinstance(feature, Image):
        return True
    parts = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return any(_has_images(part) for part in parts if part is not None)


def _whole(value: Any, feature: Any) -> Any:
    """Returns a value with the bytes of every image in it."""
    from datasets import Image

    if value is None or not _has_images(feature):
        return value
    if isinstance(feature, Image):
        return stored_image(value)
    if isinstance(feature, dict):
        return {name: _whole(value[name], part) for name, part in feature.items()}
    return [_whole(item, feature.feature) for item in value]
