"""Samples: what an epoch of training consists of, and whole batches of it.

Owns the layout of an epoch (each row clean, mixed, or mixed by chance) and the way from places in it to images. The
order in which they are read is loader.py's, how one is made transform.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.cache import FrameCache
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.data.loader import Batch
from diffcore_hf.training.data.splits import TrainingData
from diffcore_hf.training.data.transform import MixTransform, Stored


class TrainSamples(Dataset):
    """The samples of an epoch: rows, each clean, mixed, or mixed by chance."""

    def __init__(self, data: TrainingData, transform: MixTransform, cache: FrameCache | None = None):
        """Store what makes the samples of `data.layout`; nothing is read.

        Args:
            data: rows, layout and pool.
            transform: makes a sample of a row.
            cache: decoded images.
        """
        self._data, self._transform, self._cache = data, transform, cache

    def __len__(self) -> int:
        return len(self._data.layout)

    def __getitems__(self, wanted: Sequence[tuple[int, int]]) -> Batch:
        """A whole batch: `images` (B, 3, S, S) uint8, `labels` (B,) int64, `keys`, and what it took."""
        data, names = self._data, self._data.columns
        rows = [int(data.layout.rows[sample]) for _, sample in wanted]
        labels = data.train.labels[rows].tolist()
        draws = [
            self._transform.draw(data.train.row_ids[row], 0, data.layout.mixed[sample], label, epoch)
            for (epoch, sample), row, label in zip(wanted, rows, labels, strict=True)
        ]
        has = [data.has_counterpart[row] if data.pool is None else draw.place is not None
               for row, draw in zip(rows, draws, strict=True)]  # fmt: skip
        if self._cache is not None:
            pairs: list[Any] = [self._cache.pair(row, draw.place) for row, draw in zip(rows, draws, strict=True)]
        else:
            real = data.train.rows[rows]
            cells = real[names.image].to_pylist()
            if data.pool is not None:
                found = iter(data.pool.cells([draw.place for draw in draws if draw.place is not None]))
                partners = [next(found) if draw.place is not None else None for draw in draws]
            else:
                there = names.generated in real.column_names
                partners = real[names.generated].to_pylist() if there else [None] * len(rows)
            protocol = self._transform.protocol
            pairs = [Stored(cell, partner, protocol) for cell, partner in zip(cells, partners, strict=True)]
        made = [self._transform.sample(*each) for each in zip(pairs, draws, has, labels, strict=True)]
        return {
            "images": framing.stacked([sample.pixels for sample in made]),
            "labels": torch.tensor([sample.label for sample in made]),
            "keys": [
                SampleKey(data.train.row_ids[row], epoch, sample)
                for (epoch, sample), row in zip(wanted, rows, strict=True)
            ],
            "mixed": sum(sample.share < 1 for sample in made),
            "seconds": sum(sample.seconds for sample in made),
        }


def train_samples(recipe: TrainRecipe, data: TrainingData, seed: int) -> TrainSamples:
    """Build the training samples of a recipe.

    Raises:
        ValueError: `data` was loaded for another mode than the recipe's.
    """
    if data.layout.mode != recipe.mix.mode:
        raise ValueError(f"the data was loaded for mode {data.layout.mode!r}, but the recipe's is {recipe.mix.mode!r}")
    mix, protocol = recipe.mix, framing.protocol_of(recipe.transform)
    transform = MixTransform(
        probability=mix.probability if mix.mode == "replace" else 0.0, partner=mix.partner if data.pool else "own",
        kind=mix.kind, pi=mix.pi, alpha=mix.alpha, pool=data.pool, seed=seed, transform=recipe.transform,
    )  # fmt: skip
    alone = mix.kind == "none"
    cache = FrameCache(data, protocol, alone=alone) if recipe.cache == "memory" else None
    return TrainSamples(data, transform, cache)
