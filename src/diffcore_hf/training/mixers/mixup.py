"""Mixup (Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412): blends two images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.training.mixers.base import BatchContext, MixerSetup
from diffcore_hf.training.mixers.options import positive
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners


class Mixup(PairwiseMixer):
    """Blends images: x' = lambda x + (1 - lambda) x_partner with lambda ~ Beta(alpha, alpha). Labels are blended with
    the same lambda."""

    def __init__(self, setup: MixerSetup, *, alpha: float = 1.0):
        super().__init__(setup)
        self.alpha = positive("alpha", alpha)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return lambda, as a tuple of one number."""
        return (random.beta(self.alpha, self.alpha),)

    def mix(self, context: BatchContext, partners: Partners, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Blend every image with its partner."""
        share = torch.from_numpy(drawn[:, 0]).float().to(context.images.device)
        return blend(context.images, partners.images, share), share


def blend(images: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Return the weighted sum of two batches (B, ...); `share` (B,) in [0, 1] is the weight of `images`.

    The result is exact for equal images.
    """
    weight = (1 - share).to(images.dtype).reshape(-1, *(1 for _ in images.shape[1:]))
    return torch.lerp(images, partners, weight)
