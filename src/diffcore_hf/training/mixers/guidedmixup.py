"""GuidedMixup (Kang and Kim 2023, arXiv:2306.16612): blends two images by the saliency of each pixel.

Owns the pairing and the blending. The saliency is defined by a subclass: the spectral residual in guidedmixup_sr.py.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.options import choice
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners
from diffcore_hf.training.mixers.saliency import blurred, distribution

PAIRINGS = ("random", "greedy")


class GuidedMixup(PairwiseMixer):
    """Blends with the mask M = S / (S + S_partner) of each pixel: x' = M x + (1 - M) x_partner.

    S is the saliency after a Gaussian filter, with sum 1. The label weight is the mean of M.

    Args:
        setup: settings of all mixers.
        pairing: `random`, or `greedy`: images with very different saliency become partners (see `greedy_partners`).
            These partners depend on all images of the batch.
    """

    def __init__(self, setup: MixerSetup, *, pairing: str = "random"):
        super().__init__(setup)
        self.pairing = choice("pairing", pairing, PAIRINGS)

    def saliency(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the saliency of each pixel, (B, H, W), not negative."""
        raise NotImplementedError

    def maps(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the saliency maps of the images after the Gaussian filter. Each map has the sum 1."""
        return distribution(blurred(self.saliency(context, images).float()))

    def partner_index(self, index: np.ndarray, maps: Tensor | None) -> np.ndarray:
        """Return the index of the partner of each image, which the option `pairing` selects."""
        if self.pairing == "random" or len(index) < 3:
            return index
        assert maps is not None
        return greedy_partners(distances(maps).cpu().numpy())

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return no random numbers, because the mask depends only on the images."""
        return ()

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Blend every image with its partner by their saliency."""
        assert partners.maps is not None and partners.own_maps is not None
        mask = own_weight(partners.own_maps, partners.maps)
        images = torch.lerp(context.images, partners.images, (1 - mask)[:, None].to(context.images.dtype))
        return images, mask.mean((1, 2))


def own_weight(maps: Tensor, partner_maps: Tensor) -> Tensor:
    """Return the weight S / (S + S_partner) of each pixel. The weight is 1/2 where both values are 0.

    Both arguments have shape (B, H, W). The result has the same shape, with values in [0, 1].
    """
    total = maps + partner_maps
    return torch.where(total > 0, maps / total.clamp(min=torch.finfo(total.dtype).tiny), 0.5)


def distances(maps: Tensor) -> Tensor:
    """Return the Euclidean distances of all pairs of maps: (B, H, W) -> (B, B)."""
    flat = maps.flatten(1)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")


def greedy_partners(distance: np.ndarray) -> np.ndarray:
    """Return partners that form one cycle with large distances (Algorithm 1 of the paper).

    One pair of images has the largest distance. The cycle begins with the image of this pair whose mean distance to all
    images is larger. So the result does not depend on the order of the batch. The next image is always the unused image
    that is farthest from the current image. The partner of the last image is the first image.

    Args:
        distance: (B, B) symmetric distances; B >= 1.

    Returns:
        (B,) int64: the partner of each image is the next image of the cycle.
    """
    count = len(distance)
    ends = np.unravel_index(int(distance.argmax()), distance.shape)
    current = int(max(ends, key=lambda end: distance[end].mean()))
    start = current
    unused = np.ones(count, bool)
    unused[start] = False
    partners = np.empty(count, np.int64)
    for _ in range(count - 1):
        following = int(np.where(unused, distance[current], -1).argmax())
        partners[current] = following
        unused[following] = False
        current = following
    partners[current] = start
    return partners
