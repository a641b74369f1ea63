"""Labels of images as weights of classes, for images that show a drawn class (Diff-Mix) and for mixes of classes.

Owns the label of a generated image, the label of a mix, and the probabilities of a batch. A label is a list of classes
with weights that sum to 1. Does not own the weight of a drawn class (method/soft_labels.py) or the mixing of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.core.dataset_columns import column_values
from diffcore_hf.core.schema import TARGET_COLUMNS

if TYPE_CHECKING:
    from datasets import Dataset

Weights = tuple[tuple[Any, float], ...]
"""Classes of a label with their weights, which sum to 1. A class may occur several times."""


def soft_label(label: Any, target: int | None, weight: float | None) -> Weights:
    """Return the label L = (1 - w) e_A + w e_B of a generated image.

    Args:
        label: A, the class of its row.
        target: B, the class that was drawn; None: the image shows class A.
        weight: w in [0, 1]; None: 0.
    """
    if target is None or weight is None:
        return ((label, 1.0),)
    return ((label, 1.0 - weight), (target, float(weight)))


def mixed_label(real: Weights, generated: Weights, share: float) -> Weights:
    """Return the label of a mix.

    Args:
        real: label of the first image.
        generated: label of the second image.
        share: share of the pixels of the first image, in [0, 1].
    """
    if share in (0, 1):
        return real if share else generated
    first = tuple((label, share * weight) for label, weight in real)
    return first + tuple((label, (1 - share) * weight) for label, weight in generated)


def probabilities(labels: Sequence[Weights], classes: int) -> Tensor:
    """Return the labels as probabilities, (B, K) float32. Each row sums to 1; the row of an empty label is zero."""
    result = np.zeros((len(labels), classes))
    for row, weights in enumerate(labels):
        for label, weight in weights:
            result[row, label] += weight
    return torch.from_numpy(result).float()


@dataclass(frozen=True)
class ImageLabels:
    """The labels of N generated images."""

    labels: np.ndarray
    """(N,) int64: class of the row of each image."""
    targets: np.ndarray
    """(N,) int64: class that was drawn for each image; -1 if it shows the class of its row."""
    weights: np.ndarray
    """(N,) float64: weight of the drawn class; 0 if there is none."""

    @classmethod
    def hard(cls, labels: np.ndarray) -> ImageLabels:
        """Return the labels of images that show the class of their row."""
        return cls(labels, np.full(len(labels), -1, np.int64), np.zeros(len(labels)))

    @property
    def shown(self) -> np.ndarray:
        """(N,) int64: class that each image shows."""
        return np.where(self.targets >= 0, self.targets, self.labels)

    def __getitem__(self, index: int) -> Weights:
        target = int(self.targets[index])
        return soft_label(int(self.labels[index]), None if target < 0 else target, float(self.weights[index]))

    def select(self, indices: np.ndarray) -> ImageLabels:
        """Return the labels at the indices, in the order of the indices."""
        return ImageLabels(self.labels[indices], self.targets[indices], self.weights[indices])


def read_image_labels(
    rows: Dataset, labels: np.ndarray, classes: Sequence[str] | None, prefix: str = ""
) -> ImageLabels | None:
    """Read the labels of generated images from the columns TARGET_COLUMNS.

    Args:
        rows: a table of images.
        labels: (N,) class of each row.
        classes: the class names; None: the numbers in the column are the class indices.
        prefix: prefix of the two columns.

    Returns:
        None if the table does not have both columns, or they have other types, so that they have another meaning.
    """
    from datasets import ClassLabel, Value

    target, weight = (prefix + name for name in TARGET_COLUMNS)
    features: Mapping[str, Any] = rows.features or {}
    kind, number = features.get(target), features.get(weight)
    if not isinstance(kind, ClassLabel) or not isinstance(number, Value) or number.dtype != "float32":
        return None
    codes = range(len(kind.names)) if classes is None else [classes.index(name) for name in kind.names]
    targets = [-1 if value is None else codes[value] for value in column_values(rows, target)]
    weights = [0.0 if value is None else value for value in column_values(rows, weight)]
    return ImageLabels(np.asarray(labels), np.array(targets, np.int64), np.array(weights, np.float64))
