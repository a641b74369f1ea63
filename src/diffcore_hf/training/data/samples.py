"""Samples: batches of training images of an epoch.

Owns the computation of a batch from indices in the layout of an epoch. The layout is in epoch_layout.py, the order in
which samples are read is in loader.py, and one sample is computed in transform.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffcore_hf.config.train import TrainRecipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.cache import FrameCache
from diffcore_hf.training.data.image_labels import probabilities
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.data.loader import Batch
from diffcore_hf.training.data.pairs import Pair, StoredPair
from diffcore_hf.training.data.training_data import TrainingData
from diffcore_hf.training.data.transform import BothLabels, MixTransform, RowDraw, partner_cells

TensorsOfImage = Callable[[Tensor, SampleKey], Mapping[str, Tensor]]
"""Function of an image, (3, S, S) uint8, and its key. Returns named tensors of the image, each of a fixed shape."""


class TrainSamples(Dataset[Batch]):
    """The training samples of an epoch, computed in whole batches."""

    def __init__(
        self,
        data: TrainingData,
        transform: MixTransform,
        cache: FrameCache | None = None,
        *,
        with_pairs: bool = False,
        loader_tensors: TensorsOfImage | None = None,
    ):
        """Store data and transform; nothing is read yet.

        Args:
            data: rows, layout and pool.
            transform: computes a sample from a row.
            cache: decoded images; None: images are decoded for every sample.
            with_pairs: add each row's own generated image to a batch.
            loader_tensors: computes more tensors from each finished image; None: a batch has no such tensors.
        """
        self._data, self._transform, self._cache = data, transform, cache
        self._with_pairs, self._loader_tensors = with_pairs, loader_tensors

    def __len__(self) -> int:
        return len(self._data.layout)

    def __getitems__(self, requested: Sequence[tuple[int, int]]) -> Batch:
        """Compute one batch.

        Args:
            requested: (epoch, index in the layout) of each sample.

        Returns:
            `images`: (B, 3, S, S) uint8. `labels`: (B,) int64, class of each row; -100 if its image cannot be read.
            `targets`, only if a label may have several classes: (B, K) float32 probabilities. `keys`: key of each
            sample. `views`: (B, 5) float32, the part of its image that each sample shows (framing.View).
            `mixed`: number of samples with pixels of a generated image. `seconds`: time spent on second images and
            mixing. `pairs`, only if `with_pairs`: the generated image of each row, or its real image if it has none.
            `pair_targets`, with `pairs` and `targets`: their labels, (B, K) float32. `loader_tensors`, only if
            they are computed: (B, ...) for each name.
        """
        data, transform = self._data, self._transform
        rows = [int(data.layout.rows[index]) for _, index in requested]
        labels = data.train.labels[rows].tolist()
        draws = [
            transform.draw(data.train.row_ids[row], 0, data.layout.mixed[index], label, epoch)
            for (epoch, index), row, label in zip(requested, rows, labels, strict=True)
        ]
        if data.pool is None:
            has_partner = [bool(data.has_counterpart[row]) for row in rows]
        else:
            has_partner = [draw.pool_index is not None for draw in draws]
        both_labels = self._labels(rows, draws)
        samples = [
            transform.sample(*arguments, with_pair=self._with_pairs)
            for arguments in zip(self._pairs(rows, draws), draws, has_partner, labels, both_labels, strict=True)
        ]
        keys = [
            SampleKey(data.train.row_ids[row], epoch, index)
            for (epoch, index), row in zip(requested, rows, strict=True)
        ]
        extras: Batch = {}
        if data.has_soft_labels:
            extras["targets"] = probabilities([sample.weights for sample in samples], len(data.classes))
        if data.has_soft_labels and self._with_pairs:
            # If a sample has no generated image beside it, its own image and label replace it in `pairs`.
            second = [
                sample.weights if sample.pair is None or both is None else both[1]
                for sample, both in zip(samples, both_labels, strict=True)
            ]
            extras["pair_targets"] = probabilities(second, len(data.classes))
        if self._with_pairs:
            extras["pairs"] = framing.stacked(
                [sample.pixels if sample.pair is None else sample.pair for sample in samples]
            )
        if self._loader_tensors is not None:
            by_image = [self._loader_tensors(sample.pixels, key) for sample, key in zip(samples, keys, strict=True)]
            extras["loader_tensors"] = {name: torch.stack([named[name] for named in by_image]) for name in by_image[0]}
        return extras | {
            "images": framing.stacked([sample.pixels for sample in samples]),
            "labels": torch.tensor([sample.label for sample in samples]),
            "keys": keys,
            "views": torch.tensor([sample.view for sample in samples]),
            "mixed": sum(sample.share < 1 for sample in samples),
            "seconds": sum(sample.seconds for sample in samples),
        }

    def _labels(self, rows: Sequence[int], draws: Sequence[RowDraw]) -> Sequence[BothLabels | None]:
        """Return the labels of both images of each row; None for each row if every label is the class of its row."""
        data = self._data
        if not data.has_soft_labels:
            return [None] * len(rows)
        return [
            (data.label_of_row(row), data.label_of_partner(row, draw.pool_index))
            for row, draw in zip(rows, draws, strict=True)
        ]

    def _pairs(self, rows: Sequence[int], draws: Sequence[RowDraw]) -> Sequence[Pair]:
        """Return both images of each row, from the cache if there is one."""
        if self._cache is not None:
            return [self._cache.pair(row, draw.pool_index) for row, draw in zip(rows, draws, strict=True)]
        data, names = self._data, self._data.columns
        table = data.train.rows[list(rows)]
        real = table[names.image].to_pylist()
        if data.pool is not None:
            partners = partner_cells(data.pool, draws)
        elif names.generated in table.column_names:
            partners = table[names.generated].to_pylist()
        else:
            partners = [None] * len(rows)
        protocol = self._transform.protocol
        return [StoredPair(cell, partner, protocol, data.files) for cell, partner in zip(real, partners, strict=True)]


def train_samples(
    recipe: TrainRecipe,
    data: TrainingData,
    seed: int,
    *,
    with_pairs: bool = False,
    loader_tensors: TensorsOfImage | None = None,
) -> TrainSamples:
    """Build the training samples of a recipe.

    Args:
        recipe: recipe of the training.
        data: data that was loaded for the recipe.
        seed: seed of the training.
        with_pairs: add each row's own generated image to a batch.
        loader_tensors: computes more tensors from each finished image; None: a batch has no such tensors.

    Raises:
        UserError: `with_pairs` is true, but the recipe reads no generated images of rows.
        ValueError: `data` was loaded for another mode.
    """
    if with_pairs:
        check_pairs(recipe, data)
    mix = recipe.mix
    if data.layout.mode != mix.mode:
        raise ValueError(f"the data was loaded for mode {data.layout.mode!r}, but the recipe has mode {mix.mode!r}")
    transform = MixTransform(
        probability=mix.probability if mix.mode == "replace" else 0.0,
        partner=mix.partner if data.pool else "own",
        kind=mix.kind,
        pi=mix.pi,
        alpha=mix.alpha,
        pool=data.pool,
        seed=seed,
        transform=recipe.transform,
    )
    cache = FrameCache(data, transform.protocol, alone=mix.kind == "none") if recipe.cache == "memory" else None
    return TrainSamples(data, transform, cache, with_pairs=with_pairs, loader_tensors=loader_tensors)


def check_pairs(recipe: TrainRecipe, data: TrainingData) -> None:
    """Check that the data has generated images of rows for a mixer that asks for them.

    Raises:
        UserError: the recipe reads no generated images of rows.
    """
    if not data.has_counterpart.any():
        raise UserError(
            f"mixer.name is {recipe.mixer.name!r}, which mixes each row with its own generated image, but the recipe "
            "loads none. Use --mix.mode replace --mix.probability 0 --mix.partner own"
        )
