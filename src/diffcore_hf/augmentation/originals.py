"""Originals: rows of the source as they are published, with the bytes of their images or without images.

Owns the copying of rows of the source. Does not choose the rows or the columns beside them (tables.py, layouts.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.core.image_archives import file_name
from diffcore_hf.core.images import NO_FILES, ImageFiles, UnreadableImage, read_bytes

if TYPE_CHECKING:
    from datasets import Dataset


def original_rows(source: Dataset, rows: Sequence[int], *, images: bool, files: ImageFiles) -> pa.Table:
    """Returns rows of a split with all their columns. Images that are files beside the dataset are stored as bytes.

    Args:
        source: the split.
        rows: indices of the rows.
        images: whether images are included. If not, the cells of every column that contains images become null.
        files: the files that an image cell may name.
    """
    table = source.with_format("arrow")[list(rows)]
    for index, (name, feature) in enumerate(source.features.items()):
        if _has_images(feature):
            cells = table[name].to_pylist() if images else [None] * len(table)
            stored = pa.array([_with_bytes(cell, feature, files) for cell in cells], table.schema.field(name).type)
            table = table.set_column(index, name, stored)
    return table


def stored_image(cell: dict[str, Any], files: ImageFiles = NO_FILES) -> dict[str, Any] | None:
    """Returns an image cell with its bytes and the file name of its path; None if it may not be read."""
    try:
        content = read_bytes(cell, files)
    except UnreadableImage:
        # The row stays in the export. The dataset configuration `references` states why its image cannot be read.
        return None
    return {"bytes": content, "path": file_name(cell["path"]) if cell["path"] else None}


def _has_images(feature: Any) -> bool:
    """Returns whether a feature is an image or contains one."""
    from datasets import Image

    if isinstance(feature, Image):
        return True
    parts = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return any(_has_images(part) for part in parts if part is not None)


def _with_bytes(value: Any, feature: Any, files: ImageFiles) -> Any:
    """Returns a value in which every image cell has its bytes."""
    from datasets import Image

    if value is None or not _has_images(feature):
        return value
    if isinstance(feature, Image):
        return stored_image(value, files)
    if isinstance(feature, dict):
        return {name: _with_bytes(value[name], part, files) for name, part in feature.items()}
    return [_with_bytes(item, feature.feature, files) for item in value]
