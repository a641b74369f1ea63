"""Columns: the checks that a source is an image-classification dataset, and that its splits agree.

Owns the messages about columns. Reads features only, no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core import schema
from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, Features

RESERVED = ("row_id", "copy", "context", "similarity", "is_generated")
"""Columns that the dataset configuration `generated` and the layout `rows` have in addition to image and label."""


def check_columns(config: SourceConfig, features: Features, prefix: str) -> None:
    """Checks the image column, the label column and the names that the published dataset adds.

    Args:
        config: section `source` of the recipe; it names the two columns.
        features: features of the split that is augmented.
        prefix: prefix of the name of every added column.

    Raises:
        UserError: a column is missing or has a wrong type, or an added column has the name of an existing one.
    """
    for key, column in (("image", config.image), ("label", config.label)):
        if column not in features:
            raise UserError(
                f"source.{key} is {column!r}, which {config.path} does not have; its columns: {', '.join(features)}. "
                f"Use --source.{key}"
            )
    for column in (config.image, config.label):
        if column in RESERVED:
            raise UserError(
                f"the source's column {column!r} has a name that the dataset configuration `generated` uses "
                f"({', '.join(RESERVED)}). Rename it first (rename_column)"
            )
    _check_image(config.image, features)
    _check_label(config.label, features[config.label])
    check_free_names(config, features, prefix, schema.ADDED_COLUMNS)


def check_free_names(config: SourceConfig, features: Features, prefix: str, added: Sequence[str]) -> None:
    """Check that the source has no column with the name of an added column.

    Args:
        config: section `source` of the recipe.
        features: the columns of the source.
        prefix: prefix of the added columns.
        added: names of the added columns without prefix.

    Raises:
        UserError: the source has such a column.
    """
    # In the configuration `generated` and in the layouts `rows` and `mixed`, the added columns have no prefix.
    if labels := [column for column in (config.image, config.label) if column in schema.TARGET_COLUMNS]:
        raise UserError(
            f"the source's column {labels[0]!r} has a name that the dataset configuration `generated` uses. Rename it "
            "first (rename_column)"
        )
    taken = [prefix + name for name in added if prefix + name in features]
    if taken:
        raise UserError(
            f"the source already has a column {taken[0]!r}, but a run adds a column of this name. Nothing was written. "
            f"Use a prefix for the added columns: --columns.prefix {'dc_' if prefix != 'dc_' else 'diffcore_'}"
        )


def _check_image(column: str, features: Features) -> None:
    from datasets import Image

    feature = features[column]
    if _is_list(feature):
        raise UserError(
            f"source.image is {column!r}, which has several images in a row. A row must have one image. "
            "Choose another column with --source.image"
        )
    if not isinstance(feature, Image):
        images = [name for name, kind in features.items() if isinstance(kind, Image)]
        raise UserError(
            f"source.image is {column!r}, which contains {feature}, not images. Columns with images: "
            f"{', '.join(images) or 'none'}. Use --source.image"
        )


def _check_label(column: str, feature: Any) -> None:
    from datasets import ClassLabel, Value

    if _is_list(feature):
        raise UserError(
            f"source.label is {column!r}, which has several labels in a row. A row must have one class. "
            "Choose another column with --source.label"
        )
    integer = isinstance(feature, Value) and feature.dtype.startswith(("int", "uint"))
    text = isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    if not (isinstance(feature, ClassLabel) or integer or text):
        raise UserError(
            f"source.label is {column!r}, which contains {feature}, not a ClassLabel, string or integer. "
            "Choose another column with --source.label"
        )


def _is_list(feature: Any) -> bool:
    from datasets import List, Sequence

    return isinstance(feature, (List, Sequence, list))


def with_columns_of(features: Features, split: Dataset, name: str, config: SourceConfig) -> Dataset:
    """Returns a split with its columns in the order of `features`.

    Args:
        features: features of the split that is augmented.
        split: any split of the source.
        name: name of this split, for the message.
        config: section `source` of the recipe, for the message.

    Raises:
        UserError: the split has other columns, or a column of another type.
    """
    if set(split.features) != set(features):
        raise UserError(
            f"split {name!r} of {config.path} has other columns than {config.split!r} "
            f"({', '.join(sorted(set(split.features) ^ set(features)))}). Name files with --source.data_files"
        )
    split = split.select_columns(list(features))
    for column, feature in features.items():
        if split.features[column] != feature:
            raise UserError(
                f"column {column!r} holds {split.features[column]} in split {name!r} of {config.path}, but {feature} "
                f"in {config.split!r}. Cast it first (cast_column), or name files with --source.data_files"
            )
    return split
