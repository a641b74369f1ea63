"""A split: rows that can be trained on or scored, with labels as integers.

Owns the reading of one split and the choice of the rows that are left out. Images stay undecoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffcore_hf.core.dataset_columns import column_values, image_mask, undecoded
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data.columns import Columns
from diffcore_hf.training.data.image_labels import ImageLabels, read_image_labels

if TYPE_CHECKING:
    from datasets import Dataset

UNKNOWN = -1
"""Label of a row whose class is unknown."""


@dataclass(frozen=True)
class Split:
    """Rows that can be trained on or scored."""

    name: str
    rows: Dataset
    """Dataset with only the image columns, undecoded, in arrow format."""
    labels: np.ndarray
    """(N,) int64, class index of each row."""
    row_ids: Sequence[str]
    derived: np.ndarray
    """(N,) bool: whether the image was computed from a real image (layouts `rows` and `mixed`). Such a row is never
    held out."""
    groups: Sequence[str] | None = None
    """N values of the column `data.group`; None if the recipe names no column, or the split does not have it."""
    image_labels: ImageLabels | None = None
    """Labels of the generated images: of the counterparts if the split has a column of counterparts, otherwise of the
    images of the rows. None: the images show the class of their row."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray, name: str | None = None) -> Split:
        """Return a split with the rows at the indices, in the order of the indices."""
        return Split(
            name or self.name,
            self.rows.select(indices),
            self.labels[indices],
            [self.row_ids[index] for index in indices],
            self.derived[indices],
            None if self.groups is None else [self.groups[index] for index in indices],
            None if self.image_labels is None else self.image_labels.select(indices),
        )


def read_split(
    rows: Dataset,
    name: str,
    names: Columns,
    codes: Mapping[Any, int],
    *,
    path: str,
    group: str | None,
    classes: Sequence[str] | None = None,
    others: Sequence[str] = (),
) -> tuple[Split, int]:
    """Read a split; rows without an image or without a known label are left out.

    Args:
        rows: dataset with all rows of the split.
        name: name of the split.
        names: names of its columns.
        codes: class index for each value of the label column.
        path: path or Hub id of the dataset, for error messages.
        group: column whose values divide the images into groups; None: no groups.
        classes: the class names, in the order of their indices; None: the order of the column of drawn classes.
        others: names of more image columns that are kept, such as a column of masks.

    Returns:
        The split, and the number of rows that were left out.

    Raises:
        UserError: the split has no usable row.
    """
    labels = np.array([codes.get(value, UNKNOWN) for value in column_values(rows, names.label)], np.int64).reshape(-1)
    has_real = image_mask(rows, names.image)
    if len(rows) and not has_real.any():
        raise UserError(
            f"split {name!r} of {path} was published without its original images. Put them back with join_originals, "
            "then train on the result"
        )
    columns = rows.column_names
    has_ids, status = names.row_id in columns, names.prefix + "status"
    usable = (labels != UNKNOWN) & has_real
    if has_ids and status in columns:
        usable &= np.array([value != "failed" for value in column_values(rows, status)], bool)
    if not usable.any():
        raise UserError(
            f"split {name!r} of {path} has no row with an image and a known label. "
            "Name another split, or use --data.label"
        )
    derived = np.zeros(len(rows), bool)
    for flag in ("is_generated", "is_mixed"):
        if flag in columns:
            derived |= np.array(column_values(rows, flag), bool)
    image_columns = [column for column in dict.fromkeys((names.image, names.generated, *others)) if column in columns]
    split = Split(
        name,
        undecoded(rows, *image_columns).select_columns(image_columns).with_format("arrow"),
        labels,
        column_values(rows, names.row_id) if has_ids else [f"{name}/{index}" for index in range(len(rows))],
        derived,
        [str(value) for value in column_values(rows, group)] if group is not None and group in columns else None,
        read_image_labels(rows, labels, classes, names.prefix),
    )
    return split.select(np.flatnonzero(usable)), int((~usable).sum())


def read_classes(rows: Dataset, label: str, path: str) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Read the class names, and the class index for each value of the label column.

    Raises:
        UserError: the column does not have one class for each row, or there are fewer than two classes.
    """
    from datasets import ClassLabel, Value

    feature = rows.features[label]
    if isinstance(feature, ClassLabel):
        classes, codes = tuple(feature.names), {index: index for index in range(len(feature.names))}
    elif isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "string", "large_string")):
        values = sorted({value for value in column_values(rows, label) if value not in (None, "", UNKNOWN)})
        classes, codes = tuple(map(str, values)), {value: index for index, value in enumerate(values)}
    else:
        raise UserError(f"column {label!r} of {path} has type {feature}, not one class for each row. Use --data.label")
    if len(classes) < 2:
        raise UserError(
            f"{path} has {len(classes)} class in column {label!r}, but a training needs two or more. Use --data.label"
        )
    return classes, codes
