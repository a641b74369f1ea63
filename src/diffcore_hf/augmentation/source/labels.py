"""Labels: the values of the label column as class indices.

Owns the order of the classes and the value for a row without a label. Does not change the label column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from datasets import DatasetDict

UNLABELLED = -1
"""The label of a row without a class."""


def encode_labels(splits: DatasetDict, column: str, split: str) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Encodes the label column of every split as indices into one list of class names.

    A ClassLabel keeps its names and indices. Strings and integers become classes in ascending order. The values None,
    "" and -1 mean that a row has no label.

    Args:
        splits: all splits, with the same features.
        column: name of the label column.
        split: name of the split that is augmented; at least one of its rows must have a label.

    Returns:
        The K class names; and for each split (N,) int64 in [0, K), or UNLABELLED.

    Raises:
        UserError: no row of `split` has a label, or a class name cannot be written to a file.
    """
    from datasets import ClassLabel

    values = {name: rows.with_format(None)[column][:] for name, rows in splits.items()}
    feature = splits[split].features[column]
    if isinstance(feature, ClassLabel):
        names = tuple(feature.names)
        index_of: dict[Any, int] = {index: index for index in range(len(names))}
    else:
        classes = _distinct(values)
        names = tuple(str(value) for value in classes)
        index_of = {value: index for index, value in enumerate(classes)}
    _check_written(names)
    labels = {
        name: np.array([index_of.get(value, UNLABELLED) for value in listed], np.int64).reshape(-1)
        for name, listed in values.items()
    }
    if not (labels[split] >= 0).any():
        raise UserError(f"no row of split {split!r} has a label in {column!r}. Use --source.label")
    return names, labels


def _check_written(names: tuple[str, ...]) -> None:
    """Raises UserError for a class name that no file can hold, such as one from a folder name that is not UTF-8."""
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"the name of class {name!a} is not valid Unicode text, so no dataset can hold it. "
                "Rename the class or its folder"
            ) from None


def _distinct(values: Mapping[str, list[Any]]) -> list[Any]:
    """Returns the different labels of all splits in ascending order."""
    distinct: set[Any] = set()
    for listed in values.values():
        distinct.update(listed)
    return sorted(distinct - {None, "", UNLABELLED})
