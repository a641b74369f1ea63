"""The loader: which samples a step reads, and batches of uint8 images from worker processes.

Owns the order of samples and the batches. A training reads one endless stream: the samples of epoch 0 in the order of
(seed, epoch 0), then those of epoch 1, and so on. Step s of a batch of B takes positions s B to (s + 1) B - 1, and each
process reads its part of them. So every step has equally many samples, and no sample is read twice in an epoch. What a
step reads depends on its number alone, whatever the workers, processes and interruptions.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from diffcore_hf.core import seeding
from diffcore_hf.core.images import UnreadableImage
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.pairs import decoded
from diffcore_hf.training.data.row_mixer import IGNORED
from diffcore_hf.training.data.split import Split

Batch = dict[str, Any]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return (count,) the order of the samples in an epoch."""
    return seeding.generator("epoch", seed, epoch).permutation(count)


def positions(step: int, batch_size: int, part: int, parts: int) -> range:
    """Return the positions in the stream that part `part` of `parts` of a step reads."""
    each = batch_size // parts
    first = step * batch_size + part * each
    return range(first, first + each)


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Yields the (epoch, sample) pairs of this process's batches, `accumulate` for each step from `start` to `stop`."""

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
                part = batch * self._world + self._rank
                read = positions(step, self._batch_size, part, self._accumulate * self._world)
                yield [self._sample(position) for position in read]

    def _sample(self, position: int) -> tuple[int, int]:
        epoch, index = divmod(position, self._count)
        return epoch, int(epoch_order(self._seed, epoch, self._count)[index])


class ScoredRows(Dataset[Batch]):
    """Rows as they are scored: resized, cut from the centre, nothing random."""

    def __init__(self, split: Split, image: str, protocol: framing.Protocol):
        self._split, self._image, self._protocol = split, image, protocol

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return `images` (B, 3, S, S) uint8, `labels` (B,) int64 (-100 if unreadable), `places` (B,) int64."""
        cells = self._split.rows[list(indices)][self._image].to_pylist()
        images, labels = [], self._split.labels[list(indices)].copy()
        for position, cell in enumerate(cells):
            try:
                images.append(framing.evaluation_frame(decoded(cell), self._protocol))
            except UnreadableImage:
                images.append(torch.zeros(3, self._protocol.size, self._protocol.size, dtype=torch.uint8))
                labels[position] = IGNORED
        return {
            "images": framing.stacked(images),
            "labels": torch.from_numpy(labels),
            "places": torch.tensor(list(indices)),
        }


def batches(rows: Dataset[Batch], sampler: Any, *, workers: int, pin: bool) -> DataLoader[Batch]:
    """Read batches in worker processes of one thread each; the dataset returns whole batches itself."""
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
    """List this process's batches of a split; every process has equally many, padded by repeating row 0.

    `places` of a batch holds the rows, so the receiver drops the padding: each row counts once (metrics.py).
    """
    mine = list(range(rank, count, world))
    longest = -(-count // world)
    mine += [0] * (longest - len(mine))
    return [mine[first : first + batch_size] for first in range(0, longest, batch_size)]


def _identity(batch: Any) -> Any:
    """Return the batch: the dataset has collated it."""
    return batch


def _init_worker(worker: int) -> None:
    """Limit the worker to one thread, and leave Ctrl-C to the main process, which finishes its step first."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
