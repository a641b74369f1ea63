"""Builds Arrow tables of a fixed schema from columns of Python values, one window of rows at a time.

Owns the size of a window and the storage types. Does not own the values of the columns (tables.py, layouts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Features

WINDOW = 256
"""Number of rows that are built at a time. So the memory of an export does not grow with the number of rows."""

WINDOW_BYTES = 64_000_000
"""Bytes of the images of a window; a larger image has a window of its own."""


def windows(
    rows: Sequence[int] | NDArray[np.int64], size: int | None = None, sizes: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Yields the rows in lists of `size` rows, or of WINDOW rows if `size` is None.

    Args:
        rows: indices of rows.
        size: largest number of rows of a list.
        sizes: bytes of the image of each index; a list then has at most WINDOW_BYTES bytes, or one row.
    """
    window: list[int] = []
    stored = 0
    for row in map(int, rows):
        count = sizes[row] if sizes is not None else 0
        if window and (len(window) == (size or WINDOW) or stored + count > WINDOW_BYTES):
            yield window
            window, stored = [], 0
        window.append(row)
        stored += count
    if window:
        yield window


def arrow_table(columns: Mapping[str, Sequence[Any] | pa.Array], features: Features) -> pa.Table:
    """Returns a table of the columns, each converted to the storage type of its Feature."""
    schema = features.arrow_schema
    return pa.table({name: _array(values, schema.field(name).type) for name, values in columns.items()})


def _array(values: Sequence[Any] | pa.Array, kind: pa.DataType) -> pa.Array:
    """Returns one column as an Arrow array. Embeddings are converted as whole arrays, which is fast."""
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_list(kind):
        rows = [None if row is None else np.asarray(row, np.float16) for row in values]
        return pa.array(rows, pa.list_(pa.float16())).cast(kind)
    return pa.array(values, kind)


def image_cell(content: bytes | None) -> dict[str, Any] | None:
    """Returns an encoded image as `datasets` stores it; None if there is no image."""
    return {"bytes": content, "path": None} if content else None


def number_or_none(value: float) -> float | None:
    """Returns a number as a Python float; None for NaN."""
    return None if np.isnan(value) else float(value)


def finite_or_none(value: float) -> float | None:
    """Returns a number as a Python float; None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None
