"""Mixers that mix each image with one other image of the batch, its partner.

Owns the choice of partners and the labels of the mix. A method such as mixup.py or cutmix.py defines the random draws
and how two images are mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer, MixerSetup, one_hot


@dataclass(frozen=True)
class Partners:
    """The second image of each mix."""

    images: Tensor
    """(B, 3, H, W): the partner of each image."""
    targets: Tensor
    """(B,) int64: class of each partner."""
    index: Tensor
    """(B,) int64: index of each partner in the batch. If the partner is the row's own generated image, it is the index
    of the image itself."""
    maps: Tensor | None = None
    """(B, h, w): saliency map of each partner, if the mixer computes maps."""
    own_maps: Tensor | None = None
    """(B, h, w): saliency map of each image itself, if the mixer computes maps."""


class PairwiseMixer(Mixer):
    """Mixes each image with another image of the batch; the label weight is the share of the pixels.

    If `per` is `image`, the images are put in a random order. The partner of each image is the next image in this
    order. The partner of the last image is the first. Each image is used exactly once as a partner, and no image is its
    own partner in a batch of two or more. All draws of an image, including its position in the order, depend only
    on its key. Therefore a permuted batch gives the permuted result.

    If `per` is `batch`, all images share one draw and the partners are a random permutation, as in the papers' code.

    If `partner` is `own`, each image is mixed with its row's own generated image. If both images have the same label,
    this label does not change.
    """

    uses_network = False
    partners: ClassVar[tuple[str, ...]] = ("batch", "own")

    def __init__(self, setup: MixerSetup):
        super().__init__(setup)
        self.asks_for_pairs = setup.partner == "own"

    def maps(self, context: BatchContext, images: Tensor) -> Tensor | None:
        """Return the saliency map of each image, (B, h, w), for `partner_index` and `mix`; None if none is needed.

        Args:
            context: the batch.
            images: (B, 3, H, W): the images of the batch, or the generated images of their rows.
        """
        return None

    def partner_index(self, index: np.ndarray, maps: Tensor | None) -> np.ndarray:
        """Return the index of each partner in the batch; by default the index of the random partner.

        Args:
            index: (B,) int64: random partners.
            maps: result of `maps`.
        """
        return index

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return the random numbers of one mix."""
        raise NotImplementedError

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mix every image with its partner.

        Args:
            context: the batch.
            partners: partner of each image.
            drawn: (B, n) float64: result of `draw` for each image.

        Returns:
            The mixed images, and the share (B,) float32 of each mix that comes from the image itself.
        """
        raise NotImplementedError

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch. Images that are not drawn for mixing stay bit-identical."""
        index, mixed, drawn = self._draws(context)
        if not mixed.any():
            return Mixed(context.images, context.targets)
        maps = self.maps(context, context.images)
        partners = self._partners(context, index, maps)
        images, share = self.mix(context, partners, drawn)
        if not mixed.all():
            is_mixed = torch.from_numpy(mixed).to(images.device)
            images = torch.where(is_mixed[:, None, None, None], images, context.images)
            share = torch.where(is_mixed, share, 1.0)
        return Mixed(images, self.label_mix(context, partners, share))

    def label_mix(self, context: BatchContext, partners: Partners, share: Tensor) -> Tensor:
        """Return the labels (B, K) whose weight for the image itself is `share` (B,) in [0, 1]."""
        own, other = (one_hot(targets, self.setup.classes) for targets in (context.targets, partners.targets))
        return share[:, None] * own + (1 - share[:, None]) * other

    def _partners(self, context: BatchContext, index: np.ndarray, maps: Tensor | None = None) -> Partners:
        if self.setup.partner == "own":
            if context.pairs is None:
                raise ValueError("the loader added no generated images of rows")
            own = torch.arange(len(context.images), device=context.images.device)
            targets = context.targets if context.pair_targets is None else context.pair_targets
            return Partners(context.pairs, targets, own, self.maps(context, context.pairs), maps)
        partner = torch.from_numpy(self.partner_index(index, maps)).to(context.images.device)
        partner_maps = None if maps is None else maps[partner]
        return Partners(context.images[partner], context.targets[partner], partner, partner_maps, maps)

    def _draws(self, context: BatchContext) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return partners (B,) int64, whether each image is mixed (B,) bool, and its random draws (B, n) float64."""
        count = len(context.images)
        if self.setup.per == "batch":
            random = context.generator
            index, batch_chance = random.permutation(count), random.random()
            one_draw = np.array(self.draw(random), np.float64)
            return index, np.full(count, batch_chance < self.setup.probability), np.tile(one_draw, (count, 1))
        streams = context.streams()
        partners = circle_partners(np.array([random.random() for random in streams]))
        chance = np.array([random.random() for random in streams])
        drawn = np.array([self.draw(random) for random in streams], np.float64)
        return partners, chance < self.setup.probability, drawn


def circle_partners(positions: np.ndarray) -> np.ndarray:
    """Return the index of the next image on a circle for each image: positions (N,) -> (N,) int64.

    No image is its own partner if N is 2 or more.
    """
    order = np.argsort(positions, kind="stable")
    partners = np.empty(len(order), np.int64)
    partners[order] = np.roll(order, -1)
    return partners
