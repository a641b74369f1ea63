"""CutMix (Yun et al. 2019, arXiv:1905.04899): pastes a box of one image into another at the same position."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.boxes import clipped_boxes, inside
from diffcore_hf.training.mixers.options import positive, switch
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners


class CutMix(PairwiseMixer):
    """Pastes a box of the partner with sides sqrt(1 - lambda) and a uniform centre, lambda ~ Beta(alpha, alpha).

    The label weight is the share of pixels that each image has in the mix. If `corrected` is false, the weight is
    lambda, even if the border of the image clips the box.
    """

    def __init__(self, setup: MixerSetup, *, alpha: float = 1.0, corrected: bool = True):
        super().__init__(setup)
        self.alpha = positive("alpha", alpha)
        self.corrected = switch("corrected", corrected)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return lambda, and row and column of the centre as shares of height and width."""
        return random.beta(self.alpha, self.alpha), random.random(), random.random()

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Paste a box of the partner into each image."""
        height, width = context.images.shape[-2:]
        boxes = clipped_boxes(drawn[:, 1:], np.sqrt(1 - drawn[:, 0]), height, width)
        pasted = inside(torch.from_numpy(boxes).to(context.images.device), height, width)
        images = torch.where(pasted, partners.images, context.images)
        share = 1 - boxes[:, 2] * boxes[:, 3] / (height * width) if self.corrected else drawn[:, 0]
        return images, torch.from_numpy(share).float().to(images.device)
