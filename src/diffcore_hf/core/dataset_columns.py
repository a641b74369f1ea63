"""Reads single columns of a `datasets.Dataset` without decoding images or reading other columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

_WINDOW = 1024
"""Number of rows that `image_mask` reads at a time. A whole column of images may not fit into memory."""


def column_values(rows: Dataset, name: str) -> list[Any]:
    """Return a whole column as plain Python values."""
    values: list[Any] = rows.select_columns([name]).with_format("arrow")[:][name].to_pylist()
    return values


def undecoded(rows: Dataset, *names: str) -> Dataset:
    """Return the dataset with the named image columns undecoded. Their values are then mappings of bytes and path."""
    from datasets import Image

    for name in names:
        feature = rows.features.get(name)
        if isinstance(feature, Image) and feature.decode:
            rows = rows.cast_column(name, Image(decode=False))
    return rows


def image_mask(rows: Dataset, name: str) -> np.ndarray:
    """Return (N,) bool: whether each row has an image in the column. No image is decoded."""
    cells = undecoded(rows, name).select_columns([name]).with_format("arrow")
    starts = range(0, len(rows), _WINDOW)
    masks = [cells[start : start + _WINDOW][name].is_valid().to_numpy().astype(bool) for start in starts]
    return np.concatenate([*masks, np.zeros(0, bool)])
