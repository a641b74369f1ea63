"""The loader: selects the samples of each step, and reads batches of uint8 images in worker processes.

Owns the order of samples and the batches. A training reads one endless stream of samples. The samples of epoch 0 come
first, in an order drawn from (seed, 0). The samples of epoch 1 follow, and so on. Step s with batch size B reads the
positions s B to (s + 1) B - 1. Each process reads its portion of them. Therefore every step has the same number of
samples, and no sample is read twice in an epoch. The samples of a step depend only on the number of the step. They do
not depend on workers, processes or interruptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from diffcore_hf.core import seeding, signals
from diffcore_hf.core.images import NO_FILES, ImageFiles, UnreadableImage
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.pairs import decoded
from diffcore_hf.training.data.row_mixer import IGNORED
from diffcore_hf.training.data.split import Split

Batch = dict[str, Any]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of the samples in an epoch, (count,) int64."""
    return seeding.generator("epoch", seed, epoch).permutation(count)


def positions(step: int, batch_size: int, portion: int, portions: int) -> range:
    """Return the positions that one portion of a step has in the stream of samples.

    Args:
        step: number of the step.
        batch_size: number of samples of the whole step.
        portion: index of the portion, from 0.
        portions: number of portions of a step: the number of processes times the number of accumulated batches.
    """
    each = batch_size // portions
    first = step * batch_size + portion * each
    return range(first, first + each)


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Yields the batches of this process as lists of (epoch, sample), `accumulate` batches for each step."""

    def __init__(
        self, count: int, batch_size: int, seed: int, start: int, stop: int, *, accumulate: int, rank: int, world: int
    ):
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._steps = range(start, stop)
        self._accumulate, self._rank, self._world = accumulate, rank, world

    def __len__(self) -> int:
        return len(self._steps) * self._accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self._steps:
            for batch in range(self._accumulate):
                portion = batch * self._world + self._rank
                read_positions = positions(step, self._batch_size, portion, self._accumulate * self._world)
                yield [self._sample(position) for position in read_positions]

    def _sample(self, position: int) -> tuple[int, int]:
        epoch, index = divmod(position, self._count)
        return epoch, int(epoch_order(self._seed, epoch, self._count)[index])


class ScoredRows(Dataset[Batch]):
    """Rows of a split for scoring: resized and cropped at the centre, without random numbers."""

    def __init__(self, split: Split, image: str, protocol: framing.Protocol, files: ImageFiles = NO_FILES):
        self._split, self._image, self._protocol, self._files = split, image, protocol, files

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return `images` (B, 3, S, S) uint8, `labels` (B,) int64 and `rows` (B,) int64.

        An unreadable image is black and has label -100.
        """
        cells = self._split.rows[list(indices)][self._image].to_pylist()
        images, labels = [], self._split.labels[list(indices)].copy()
        for position, cell in enumerate(cells):
            try:
                images.append(framing.evaluation_frame(decoded(cell, self._files), self._protocol))
            except UnreadableImage:
                images.append(torch.zeros(3, self._protocol.size, self._protocol.size, dtype=torch.uint8))
                labels[position] = IGNORED
        return {
            "images": framing.stacked(images),
            "labels": torch.from_numpy(labels),
            "rows": torch.tensor(list(indices)),
        }


def batches(rows: Dataset[Batch], sampler: Any, *, workers: int, pin: bool) -> DataLoader[Batch]:
    """Read batches in worker processes with one thread each. The dataset returns whole batches."""
    return DataLoader(
        rows,
        batch_sampler=sampler,
        collate_fn=_identity,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_init_worker,
    )


def scored_batches(count: int, batch_size: int, rank: int, world: int) -> list[list[int]]:
    """List the batches of a split that this process scores; all processes have the same number of batches.

    The row indices of a process are padded with row 0 to the length of the longest list. The key `rows` of a batch has
    the index of each row. With these indices, metrics.py scores each row only once.
    """
    own_rows = list(range(rank, count, world))
    longest = -(-count // world)
    own_rows += [0] * (longest - len(own_rows))
    return [own_rows[first : first + batch_size] for first in range(0, longest, batch_size)]


def _identity(batch: Any) -> Any:
    """Return the batch unchanged, because `ScoredRows` and similar datasets return whole batches."""
    return batch


def _init_worker(worker: int) -> None:
    """Limit the worker to one thread, and ignore signals: the main process handles them after the current step."""
    torch.set_num_threads(1)
    signals.ignore()
