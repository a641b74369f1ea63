"""Batch mixers: one call a step before the forward pass, (images, targets, model) -> (images, targets).

Owns the hook and timm's Mixup and CutMix behind it. Row-wise mixing happens in the transform: there the hook is the
identity. Targets are class indices (B,) int64 or probabilities (B, K) float; the loss takes both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from diffcore_hf.config.train import BatchMix
from diffcore_hf.core import seeding

if TYPE_CHECKING:
    from timm.data import Mixup

Mixer = Callable[[Tensor, Tensor, nn.Module], tuple[Tensor, Tensor]]


def identity(images: Tensor, targets: Tensor, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Nothing to do across the batch."""
    return images, targets


class TimmMixup:
    """Mixup (Zhang 2018) and CutMix (Yun 2019) as timm has them, without label smoothing of its own."""

    def __init__(self, config: BatchMix, classes: int):
        from timm.data import Mixup

        self._mix: Mixup = Mixup(
            mixup_alpha=config.mixup,
            cutmix_alpha=config.cutmix,
            correct_lam=config.correct_lam,
            label_smoothing=0.0,
            num_classes=classes,
        )

    def __call__(self, images: Tensor, targets: Tensor, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) float, targets (B,) -> mixed images, targets (B, K); an odd last image is left out."""
        even = len(images) // 2 * 2
        return self._mix(images[:even], targets[:even])


def make_mixer(config: BatchMix, classes: int) -> Mixer:
    """The mixer of a recipe."""
    return TimmMixup(config, classes) if config.mixup or config.cutmix else identity


def seed_step(seed: int, step: int, batch: int, rank: int) -> None:
    """What is random in a step (dropout, drop-path, batch mixers) follows from (seed, step): resuming needs no state.

    Sets the global generators of torch and numpy: mixers and layers draw from them.
    """
    import torch

    stream = seeding.generator("step", seed, step, batch, rank)
    torch.manual_seed(int(stream.integers(2**62)))
    np.random.seed(int(stream.integers(2**32)))
