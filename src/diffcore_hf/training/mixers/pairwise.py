"""Mixing each image with one partner: who the partner is, what is drawn, and the label of the mix.

Owns all that such mixers share. A method says what it draws and how two images are mixed (mixup.py, cutmix.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, Mixed, Mixer, one_hot


@dataclass(frozen=True)
class Partners:
    """The second image of each mix."""

    images: Tensor
    """(B, 3, H, W)."""
    targets: Tensor
    """(B,) int64."""
    index: Tensor
    """(B,) int64: its place in the batch."""


class PairwiseMixer(Mixer):
    """Mixes each image with another image of the batch; the label weight is the share of the pixels.

    Draws are by image unless `per` is `batch`. By image, the partners form one random circle through the batch: each
    image is used exactly once as a partner, none is its own partner, and any number of images will do. All draws of an
    image, its position in the circle included, follow from its key, so a permuted batch gives the permuted result. By
    batch, one draw serves all images and the partners are a random permutation, as in the papers' code.
    """

    uses_network = False

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Returns the random numbers of one mix."""
        raise NotImplementedError

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mix every image with its partner.

        Args:
            context: the batch.
            partners: of each image.
            drawn: (B, n) float64, what `draw` returned for each image.

        Returns:
            The mixed images, and (B,) float32 the share of each image that is its own.
        """
        raise NotImplementedError

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch; images that chance leaves out stay as they are, bit for bit."""
        index, mixed, drawn = self._draws(context)
        if not mixed.any():
            return Mixed(context.images, context.targets)
        partner = torch.from_numpy(index).to(context.images.device)
        partners = Partners(context.images[partner], context.targets[partner], partner)
        images, share = self.mix(context, partners, drawn)
        if not mixed.all():
            chosen = torch.from_numpy(mixed).to(images.device)
            images = torch.where(chosen[:, None, None, None], images, context.images)
            share = torch.where(chosen, share, 1.0)
        share = share[:, None]
        own, other = (one_hot(targets, self.setup.classes) for targets in (context.targets, partners.targets))
        return Mixed(images, share * own + (1 - share) * other)

    def _draws(self, context: BatchContext) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(B,) int64 partners, (B,) bool whether an image is mixed, (B, n) float64 what was drawn for it."""
        count = len(context.images)
        if self.setup.per == "batch":
            random = context.generator
            index, batch_chance = random.permutation(count), random.random()
            one_draw = np.array(self.draw(random), np.float64)
            return index, np.full(count, batch_chance < self.setup.probability), np.tile(one_draw, (count, 1))
        streams = context.streams()
        circle = circle_partners(np.array([random.random() for random in streams]))
        chance = np.array([random.random() for random in streams])
        drawn = np.array([self.draw(random) for random in streams], np.float64)
        return circle, chance < self.setup.probability, drawn


def circle_partners(positions: np.ndarray) -> np.ndarray:
    """(N,) positions on a circle -> (N,) int64: the next one's index, for N of 2 or more never the own one."""
    order = np.argsort(positions, kind="stable")
    partners = np.empty(len(order), np.int64)
    partners[order] = np.roll(order, -1)
    return partners
