"""SaliencyMix (Uddin et al. 2021, arXiv:2006.01791): pastes the box around the most salient pixel of the partner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.boxes import inside
from diffcore_hf.training.mixers.options import choice, positive, switch
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners
from diffcore_hf.training.mixers.saliency import fine_grained, grey, spectral_residual

MAPS: dict[str, Callable[[Tensor], Tensor]] = {"fine_grained": fine_grained, "spectral_residual": spectral_residual}


class SaliencyMix(PairwiseMixer):
    """Pastes a box of the partner with sides sqrt(1 - lambda), centred at its most salient pixel.

    lambda ~ Beta(alpha, alpha). The border of the image clips the box, and the label weight is the share of the pixels.
    Of several pixels with the same saliency, the first in reading order is the centre. The centre for an image of one
    colour is therefore its first pixel.

    Args:
        setup: settings of all mixers.
        alpha: parameter of the distribution of lambda, above 0; 1 in the paper.
        saliency: `fine_grained` (Montabone and Soto 2010, as in the paper) or `spectral_residual`.
        reference: use one box for the whole batch, as the published code does. It is computed from the first partner
            after normalisation, and all draws are per batch.
    """

    def __init__(
        self,
        setup: MixerSetup,
        *,
        alpha: float = 1.0,
        saliency: str = "fine_grained",
        reference: bool = False,
    ):
        self.reference = switch("reference", reference)
        super().__init__(replace(setup, per="batch") if reference else setup)
        self.alpha = positive("alpha", alpha)
        self.saliency = choice("saliency", saliency, tuple(MAPS))

    def maps(self, context: BatchContext, images: Tensor) -> Tensor:
        """Return the saliency map of each image."""
        pixels = images if self.reference else context.pixels_of(images)
        return MAPS[self.saliency](grey(pixels))

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return lambda, as a tuple of one number."""
        return (random.beta(self.alpha, self.alpha),)

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Paste the salient box of the partner into each image."""
        assert partners.maps is not None
        height, width = context.images.shape[-2:]
        maps = partners.maps[:1].expand_as(partners.maps) if self.reference else partners.maps
        sides = torch.from_numpy(np.sqrt(1 - drawn[:, 0])).to(maps.device)
        boxes = boxes_around(maps.flatten(1).argmax(1), sides, height, width)
        images = torch.where(inside(boxes, height, width), partners.images, context.images)
        return images, (1 - boxes[:, 2] * boxes[:, 3] / (height * width)).float()


def boxes_around(pixels: Tensor, sides: Tensor, height: int, width: int) -> Tensor:
    """Return boxes around pixels, clipped at the border of the image. Nothing is copied to the CPU.

    Args:
        pixels: (B,) int64: index of the central pixel, row by row.
        sides: (B,) float64: side as a share of height and width, in [0, 1].
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        (B, 4) int64: top, left, height and width, inside the image.
    """
    ends = []
    for centre, length in ((pixels // width + 0.5, height), (pixels % width + 0.5, width)):
        half = sides * length / 2
        ends.append([(centre - half).round().clamp(0, length), (centre + half).round().clamp(0, length)])
    (top, bottom), (left, right) = ends
    return torch.stack([top, left, bottom - top, right - left], 1).long()
