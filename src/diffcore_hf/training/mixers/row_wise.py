"""Mixers that change each image without the other images of the batch, such as AugMix and PixMix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.core import seeding
from diffcore_hf.training.data.keys import SampleKey
from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer


class RowWiseMixer(Mixer):
    """Replaces each image by a view that the loader computes before normalisation; the label stays as it is.

    All random numbers of a view depend only on the seed and the key of its image. If `per` is `batch`, only the
    decision whether to mix is made for the whole batch.
    """

    uses_network = False
    mixes_batch = False

    @property
    def view_names(self) -> Sequence[str]:
        """The names of the views of an image."""
        return ("view",)

    def view(self, image: Tensor, random: np.random.Generator) -> Tensor:
        """Compute one view: (3, H, W) uint8 -> (3, H, W) uint8."""
        raise NotImplementedError

    def loader_tensors(self, image: Tensor, key: SampleKey) -> Mapping[str, Tensor]:
        """Compute the views of an image; an image that is not drawn for mixing is its own view."""
        random = seeding.generator("mixer", self.setup.seed, *key)
        chance = random.random()
        if self.setup.per == "image" and not chance < self.setup.probability:
            return dict.fromkeys(self.view_names, image)
        return {name: self.view(image, random) for name in self.view_names}

    def forward(self, context: BatchContext) -> Mixed:
        """Return the first view of each image. Images that are not drawn for mixing stay bit-identical."""
        return Mixed(self.views(context)[0], context.targets)

    def views(self, context: BatchContext) -> list[Tensor]:
        """Return the views of all images, (B, 3, H, W) each, normalised."""
        images = context.images
        if self.setup.per == "batch":
            mixed = np.full(len(images), context.generator.random() < self.setup.probability)
        else:
            mixed = np.array([stream.random() < self.setup.probability for stream in context.streams()])
        is_mixed = torch.from_numpy(mixed).to(images.device)[:, None, None, None]
        views = [context.normalised(context.loader_tensors[name]) for name in self.view_names]
        return [torch.where(is_mixed, view, images).contiguous(memory_format=context.memory_format) for view in views]
