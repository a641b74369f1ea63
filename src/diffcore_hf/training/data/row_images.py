"""The whole images of training rows, read once before the first step, for mixers that compute something for each row.

Owns the images, scaled to squares, and the rows that a training reads. The part of an image that a sample shows is
`framing.View`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.images import UnreadableImage
from diffcore_hf.method.mixing import resized
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.data.loader import Batch, batches, epoch_order
from diffcore_hf.training.data.pairs import decoded
from diffcore_hf.training.data.training_data import TrainingData

BATCH = 32
"""Number of images that are read together. It is fixed, because results can depend on it in the last bit."""


@dataclass(frozen=True)
class RowImages:
    """The training rows that a training reads, and their images."""

    data: TrainingData
    rows: np.ndarray
    """(R,) int64, ascending: the rows that the steps of the training read."""
    device: torch.device
    reason: str = ""
    """Why a sample does not always show a part of its row's image, with a remedy. Empty if it always does."""
    normalisation: framing.Normalisation = framing.IDENTITY
    """Normalisation of the training images."""
    workers: int = 0
    """Number of loader processes."""
    rank: int = 0
    world: int = 1
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def count(self) -> int:
        """Return the number of rows of the training split."""
        return len(self.data.train)

    def rows_of(self, keys: Sequence[SampleKey]) -> np.ndarray:
        """Return the row of each sample, (B,) int64."""
        return self.data.layout.rows[[key.layout_index for key in keys]]

    def squares(self, side: int) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield the rows of this process and their images, in batches of a fixed size.

        Args:
            side: side in pixels to which both sides of an image are scaled.

        Yields:
            (B,) int64 rows, and (B, 3, side, side) float32 images on the device, normalised. An unreadable image is
            black.
        """
        own = self.rows[self.rank :: self.world].tolist()
        lists = [own[first : first + BATCH] for first in range(0, len(own), BATCH)]
        pin = self.device.type == "cuda"
        for batch in batches(_Squares(self.data, side), lists, workers=self.workers, pin=pin):
            images = batch["images"].to(self.device, non_blocking=True)
            yield batch["rows"], framing.normalised(images, self.normalisation)

    def joined(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over all processes. Each process has zeros in the rows that are not its own."""
        if self.world > 1:
            values = values.to(self.device)
            torch.distributed.all_reduce(values)
        return values


class _Squares(Dataset[Batch]):
    """Images of training rows, scaled to squares."""

    def __init__(self, data: TrainingData, side: int):
        self._data, self._side = data, side

    def __getitems__(self, rows: list[int]) -> Batch:
        cells = self._data.train.rows[rows][self._data.columns.image].to_pylist()
        return {"rows": np.array(rows, np.int64), "images": framing.stacked([self._square(cell) for cell in cells])}

    def _square(self, cell: Any) -> Tensor:
        try:
            return resized(decoded(cell, self._data.files), self._side, self._side)
        except UnreadableImage:
            return torch.zeros(3, self._side, self._side, dtype=torch.uint8)


def rows_read(data: TrainingData, seed: int, steps: int, batch_size: int) -> np.ndarray:
    """Return the training rows that the first `steps` steps read, (R,) int64, ascending.

    Args:
        data: data of the training.
        seed: seed of the training.
        steps: number of steps.
        batch_size: number of samples of a step over all processes.
    """
    count = len(data.layout)
    if steps * batch_size >= count:
        return np.unique(data.layout.rows)
    return np.unique(data.layout.rows[epoch_order(seed, 0, count)[: steps * batch_size]])


def why_not_whole(recipe: TrainRecipe, data: TrainingData) -> str:
    """Return why a sample does not always show a part of its row's image, with a remedy; empty if it always does."""
    mix, transform = recipe.mix, recipe.transform
    drawn = mix.mode == "replace" and mix.probability > 0
    if (drawn or mix.mode == "append") and data.layout.has_partner.any():
        return "section mix replaces or adds images of samples. Use --mix.mode off"
    if transform.randaugment is not None:
        return "transform.randaugment moves the pixels of an image. Use --transform.randaugment null"
    if transform.augmix:
        return "transform.augmix moves the pixels of an image. Use --transform.augmix false"
    return ""
