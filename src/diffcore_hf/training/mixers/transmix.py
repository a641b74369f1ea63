"""TransMix (Chen et al. 2022, arXiv:2111.09833): CutMix whose labels follow the attention of a ViT."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext, Mixed, MixerSetup
from diffcore_hf.training.mixers.boxes import clipped_boxes, inside
from diffcore_hf.training.mixers.class_attention import ClassAttention, find_class_attention
from diffcore_hf.training.mixers.mixup import blend
from diffcore_hf.training.mixers.options import positive, share
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners
from diffcore_hf.training.mixers.unsupported import Unsupported


class TransMix(PairwiseMixer):
    """Pastes a box of the partner. The label weight is the mean of its pixel share and its attention share.

    The attention of the class token to the patches is averaged over the heads of the last attention module. It is read
    in the forward pass of the training itself. Images that do not get a box are mixed with Mixup, without attention.

    Args:
        setup: settings of all mixers.
        alpha: parameter of Beta for boxes, above 0; 1 in the paper.
        mixup_alpha: parameter of Beta for Mixup, above 0; 0.8 in the paper.
        switch: probability that a mixed image gets a box and not Mixup, from 0 to 1; 0.8 in the paper.
    """

    partners: ClassVar[tuple[str, ...]] = ("batch",)

    def __init__(self, setup: MixerSetup, *, alpha: float = 1.0, mixup_alpha: float = 0.8, switch: float = 0.8):
        super().__init__(setup)
        self.alpha, self.mixup_alpha = positive("alpha", alpha), positive("mixup_alpha", mixup_alpha)
        self.switch = share("switch", switch)
        self.attention: ClassAttention | None = None

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Find the attention of the class token.

        Raises:
            UserError: the network has no such attention, or recomputes it in the backward pass.
        """
        self.attention = find_class_attention(network, shape)
        if self.attention is None:
            raise Unsupported(
                "transmix",
                "this network does not classify by a class token whose attention can be read",
                "Use --mixer.name cutmix, or --model.name vit_small_patch16_224",
            )
        if getattr(network, "grad_checkpointing", False):
            raise Unsupported(
                "transmix",
                "the network recomputes its attention in the backward pass (grad_checkpointing)",
                "Use --mixer.name cutmix",
            )

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return whether a box is pasted, lambda, and row and column of the centre as shares of height and width."""
        box = random.random() < self.switch
        alpha = self.alpha if box else self.mixup_alpha
        return float(box), random.beta(alpha, alpha), random.random(), random.random()

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch. The labels are those of CutMix and Mixup until the attention is known."""
        index, mixed, drawn = self._draws(context)
        if not mixed.any():
            return Mixed(context.images, context.targets)
        assert self.attention is not None
        images, partners = context.images, self._partners(context, index)
        height, width = images.shape[-2:]
        boxed = mixed & (drawn[:, 0] == 1)
        boxes = clipped_boxes(drawn[:, 2:], np.sqrt(1 - drawn[:, 1]) * boxed, height, width)
        pasted = inside(torch.from_numpy(boxes).to(images.device), height, width)
        lambdas = torch.from_numpy(np.where(mixed & ~boxed, drawn[:, 1], 1.0)).float().to(images.device)
        blended = blend(images, partners.images, lambdas)
        own = lambdas - pasted.float().mean((1, 2, 3))
        after = partial(self._labels_after, context, partners, pasted, own)
        result = torch.where(pasted, partners.images, blended)
        during = partial(self.attention.recorded, context.model)
        return Mixed(result, self.label_mix(context, partners, own), during, after)

    def _labels_after(
        self, context: BatchContext, partners: Partners, pasted: Tensor, own: Tensor, recorded: list[Tensor]
    ) -> Tensor:
        """Return the labels of a batch after the forward pass that recorded the attention."""
        assert self.attention is not None
        (attention,) = recorded
        has_box = pasted.flatten(1).any(1)
        weight = torch.where(has_box, (own + 1 - attention_share(attention, pasted, self.attention.grid)) / 2, own)
        return self.label_mix(context, partners, weight)


def attention_share(attention: Tensor, pasted: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the share of the attention on the pasted patches.

    Args:
        attention: (B, patches) attention, not negative.
        pasted: (B, 1, H, W) bool, the pasted pixels; a patch takes the value of the nearest pixel.
        grid: rows and columns of patches.

    Returns:
        (B,) float32 in [0, 1].
    """
    mask = functional.interpolate(pasted.float(), grid, mode="nearest").flatten(1)
    return (attention * mask).sum(1) / attention.sum(1).clamp_min(torch.finfo(attention.dtype).tiny)
