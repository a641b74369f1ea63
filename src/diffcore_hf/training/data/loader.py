"""The loader: which rows a step reads, and batches of uint8 images from worker processes.

Owns the order of samples and the batches. A training reads one endless stream: the rows of epoch 0 in the order of
(seed, epoch 0), then those of epoch 1, and so on; step s of a batch of B takes positions s B to (s + 1) B - 1, and each
process its part of them. So every step has equally many samples, none is read twice in an epoch, no last batch is odd,
and what a step reads depends on its number alone: on no worker, process or interruption.
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
from diffcore_hf.training.data.splits import Split
from diffcore_hf.training.data.transform import IGNORED, pixels

Batch = dict[str, Any]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) the order of the samples in an epoch."""
    return seeding.generator("epoch", seed, epoch).permutation(count)


def positions(step: int, batch_size: int, part: int, parts: int) -> range:
    """Positions in the stream that part `part` of `parts` of a step reads."""
    each = batch_size // parts
    first = step * batch_size + part * each
    return range(first, first + each)


class StepBatches(Sampler):
    """For each step from `start` to `stop` the (epoch, sample) of this process's batches, `accumulate` a step."""

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
        epoch, place = divmod(position, self._count)
        return epoch, int(epoch_order(self._seed, epoch, self._count)[place])


class ScoredRows(Dataset):
    """Rows as they are scored: resized, cut from the centre, nothing random."""

    def __init__(self, split: Split, image: str, protocol: framing.Protocol):
        self._split, self._image, self._protocol = split, image, protocol

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, places: Sequence[int]) -> Batch:
        """`images` (B, 3, S, S) uint8, `labels` (B,) int64 (-100 where unreadable), `places` (B,) int64."""
        cells = self._split.rows[list(places)][self._image].to_pylist()
        made, labels = [], self._split.labels[list(places)].copy()
        for number, cell in enumerate(cells):
            try:
                made.append(framing.evaluation_frame(pixels(cell), self._protocol))
            except UnreadableImage:
                made.append(torch.zeros(3, self._protocol.size, self._protocol.size, dtype=torch.uint8))
                labels[number] = IGNORED
        return {
            "images": framing.stacked(made),
            "labels": torch.from_numpy(labels),
            "places": torch.tensor(list(places)),
        }


def batches(rows: Dataset, sampler: Any, *, workers: int, pin: bool) -> DataLoader:
    """Batches from worker processes of one thread each; a dataset hands out whole batches itself."""
    return DataLoader(
        rows,
        batch_sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin,
    )


def scored_batches(count: int, batch_size: int, rank: int, world: int) -> list[list[int]]:
    """This process's batches of a split; every process has equally many, the last ones padded by repeating place 0.

    Padding is told by the receiver from `places`: each place counts once (metrics.py).
    """
    mine = list(range(rank, count, world))
    longest = -(-count // world)
    mine += [0] * (longest - len(mine))
    return [mine[first : first + batch_size] for first in range(0, longest, batch_size)]


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _begin(worker: int) -> None:
    """One thread each; Ctrl-C is the main process's to answer, which finishes its step first."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
