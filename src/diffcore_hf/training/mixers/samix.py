"""SAMix (Li et al. 2021, arXiv:2111.15454): AutoMix with a generator that reads both images together."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.training.mixers.automix import AutoMix, near_end

VARIANCE_WEIGHT = 2.0
"""Weight of the variance of a mask, which is subtracted from the cost of the mask."""


class JointMaskGenerator(nn.Module):
    """Computes the mask of the partner. Query and key read the features of both images."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 2)
        self.query = nn.Conv2d(2 * channels, inner, 1)
        self.key = nn.Conv2d(2 * channels, inner, 1)
        self.value = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, 1, 1))

    def forward(self, features: Tensor, partners: Tensor, lam: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the weight of the partner in each pixel.

        Args:
            features: (B, C, h, w) features of the images; they are multiplied by 1 + lambda.
            partners: (B, C, h, w) features of the partners; they are multiplied by 2 - lambda.
            lam: (B,) label weight of the image.
            size: height and width of the mask.

        Returns:
            (B, H, W) in [0, 1].
        """
        scale = lam.to(features.dtype).reshape(-1, 1, 1, 1)
        own, other = features * (1 + scale), partners * (2 - scale)
        both = torch.cat([own, other], 1)
        query, key = self.query(both).flatten(2), self.key(both).flatten(2)
        attention = (query.transpose(1, 2) @ key / math.sqrt(query.shape[1])).softmax(-1)
        value = attention @ self.value(other).flatten(2).transpose(1, 2)
        logits = value.transpose(1, 2).reshape(-1, 1, *features.shape[-2:])
        return functional.interpolate(logits, size, mode="bilinear", align_corners=False).sigmoid()[:, 0]


class SAMix(AutoMix):
    """Mixes like AutoMix, but with another generator, and prefers masks whose pixels differ.

    The cost of a mask is its cost in AutoMix minus twice the variance of its pixels. Both terms have the weight
    `mask_weight`. The options are the options of AutoMix.
    """

    name: ClassVar[str] = "samix"

    def make_generator(self, channels: int) -> nn.Module:
        """Return the generator for features with `channels` channels."""
        return JointMaskGenerator(channels)

    def mask_cost(self, masks: Tensor, lam: Tensor) -> Tensor:
        """Return the cost of masks (B, H, W) before it is multiplied by its weight."""
        used = ~near_end(lam, self.margin)
        variance = masks.var((1, 2), correction=0)
        return super().mask_cost(masks, lam) - VARIANCE_WEIGHT * (variance * used).sum() / used.sum().clamp_min(1)
