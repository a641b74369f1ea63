"""Column types: checks the types of columns in the configurations that this package writes.

The author of a dataset may be unknown, so a column may have another type or no value. Columns of the source have any
type and any name, so the caller names them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGERS = ("copy", "attempt", "seed", "class_rank", "target_label", "images", "planned", "kept", "attempts")
_NUMBERS = (
    "similarity",
    "score",
    "bound",
    "target_weight",
    "strength",
    "lambda",
    "real_share",
    "nearest_score",
    "rejected_generated",
    "rejected_real",
)
_TEXTS = (
    "row_id",
    "name",
    "prompt_name",
    "reason",
    "source_sha256",
    "image_sha256",
    "context",
    "prompt",
    "negative_prompt",
    "nearest_row_id",
    "nearest_kind",
    "status",
    "kind",
)
_FLAGS = ("given_up", "is_generated", "is_mixed")
_VECTORS = ("embedding", "text_embedding")
_LONGEST_VECTOR = 2**14
"""Largest number of dimensions of an embedding. The filter needs a square matrix of this size."""
_OWN = ("attempts", "references", "classes")
"""Configurations without a column of the source."""
_NEVER_NULL = (
    "row_id",
    "copy",
    "attempt",
    "images",
    "planned",
    "kept",
    "attempts",
    "name",
    "prompt_name",
    *_FLAGS,
)
_NEVER_NULL_ATTEMPTS = ("context", "prompt", "seed", "reason")
"""Columns that have a value in configuration `attempts`, and may have none in other configurations."""


def check_column_types(table: pa.Table, config: str, of_source: Collection[str] = ()) -> None:
    """Check the columns of a table of a configuration.

    Args:
        table: the table.
        config: name of the configuration.
        of_source: names of the columns of the source. They may have any type.

    Raises:
        UserError: a column has another type, or a value that must exist is null.
    """
    for name in table.column_names:
        if name in of_source:
            continue
        own_label = name == "label" and config in _OWN
        noun, fits = ("integers", _is_integer) if own_label else _kind(name)
        column = table[name]
        if fits is not None and not fits(column.type):
            raise UserError(
                f"column {name!r} of configuration {config!r} has the type {_short(column.type)}, which are not "
                f"{noun}. Export the dataset again"
            )
        never_null = name in _NEVER_NULL or own_label or (config == "attempts" and name in _NEVER_NULL_ATTEMPTS)
        if never_null and column.null_count:
            raise UserError(
                f"column {name!r} of configuration {config!r} has {column.null_count:,} rows without a value. Export "
                "the dataset again"
            )
        if name in _VECTORS and (longest := _longest(column)) > _LONGEST_VECTOR:
            raise UserError(
                f"column {name!r} of configuration {config!r} has lists of {longest:,} numbers, more than "
                f"{_LONGEST_VECTOR:,}. Export the dataset again"
            )


def _longest(column: pa.ChunkedArray) -> int:
    """Return the length of the longest list of a column."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    return 0 if pt.is_null(column.type) else pc.max(pc.list_value_length(column)).as_py() or 0


def check_image_type(column: pa.ChunkedArray, name: str) -> None:
    """Check that a column contains encoded images.

    Raises:
        UserError: the column does not contain encoded images.
    """
    import pyarrow.types as pt

    kind = column.type
    fits = pt.is_null(kind) or (
        pt.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    )
    if not fits:
        raise UserError(
            f"column {name!r} has the type {_short(kind)}, which is not that of images. Export the dataset again"
        )


def _kind(name: str) -> tuple[str, Callable[[pa.DataType], bool] | None]:
    """Return what a column of this name contains and the test of its type; None if every type is accepted."""
    for names, noun, fits in (
        (_INTEGERS, "integers", _is_integer),
        (_NUMBERS, "numbers", _is_number),
        (_TEXTS, "texts", _is_text),
        (_VECTORS, "lists of numbers", _is_list_of_numbers),
        (_FLAGS, "flags", _is_flag),
    ):
        if name in names:
            return noun, fits
    return "", None


def _is_integer(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_integer(kind) or pt.is_null(kind))


def _is_flag(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_boolean(kind) or pt.is_null(kind))


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_null(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_null(kind))


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_null(kind))


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    if pt.is_null(kind):
        return True
    is_list = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return bool(is_list and pt.is_floating(kind.value_type))


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 80 else f"{text[:77]}..."
