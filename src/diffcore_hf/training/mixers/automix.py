"""AutoMix (Liu et al. 2022, arXiv:2103.13027): masks by a small network that is trained with the classifier."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.core import seeding
from diffcore_hf.training.mixers.base import BatchContext, Mixed, MixerSetup
from diffcore_hf.training.mixers.hooks import forward_hook, outputs_of, stage_names
from diffcore_hf.training.mixers.mixup import blend
from diffcore_hf.training.mixers.options import not_negative, positive, share, switch
from diffcore_hf.training.mixers.pairwise import PairwiseMixer, Partners, circle_partners
from diffcore_hf.training.mixers.unsupported import Unsupported

MOMENTA = (0.999, 0.99999)
"""Momentum of the averaged network at the first and at the last step."""
MASK_TOLERANCE = 0.1
"""Largest difference between the mean of a mask and lambda that has no penalty."""


class MaskGenerator(nn.Module):
    """Computes the mask of the partner from the features of two images by attention between their positions."""

    def __init__(self, channels: int):
        super().__init__()
        self.query = nn.Conv2d(channels + 1, max(1, channels // 2), 1)
        self.value = nn.Conv2d(channels + 1, 1, 1)

    def forward(self, features: Tensor, partners: Tensor, lam: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the weight of the partner in each pixel.

        Args:
            features: (B, C, h, w) features of the images.
            partners: (B, C, h, w) features of the partners.
            lam: (B,) label weight of the image.
            size: height and width of the mask.

        Returns:
            (B, H, W) in [0, 1].
        """
        own, other = (_with_channel(*pair) for pair in ((features, lam), (partners, 1 - lam)))
        query, key = self.query(own).flatten(2), self.query(other).flatten(2)
        attention = (query.transpose(1, 2) @ key / math.sqrt(query.shape[1])).softmax(-1)
        value = attention @ self.value(other).flatten(2).transpose(1, 2)
        logits = value.transpose(1, 2).reshape(-1, 1, *features.shape[-2:])
        return functional.interpolate(logits, size, mode="nearest").sigmoid()[:, 0]


class AutoMix(PairwiseMixer):
    """Mixes with the masks of a mask generator, which is trained to make the mixes easy for an averaged network.

    The averaged network k gives the features for the masks. The loss is the sum of four terms: the loss of the clean
    images, the loss of the mixed images without a gradient for the mask, the loss of other mixed images in k with a
    gradient for the mask only, and `mask_weight` max(|mean own mask - lambda| - 0.1, 0). Labels are mixed with lambda ~
    Beta(alpha, alpha). The mixes that train the generator have other partners and another lambda than the mixes that
    train the network. Where lambda is close to 0 or 1, the images are mixed as in Mixup. The averaged network is in
    evaluation mode, and is used only for the masks: the trained network is scored.

    Args:
        setup: settings of all mixers.
        alpha: parameter of Beta, above 0; 2 in the paper.
        lr: learning rate of the generator, above 0. The code has 0.01 for fine-grained data and 0.05 for CIFAR.
        mask_weight: weight of the last term of the loss at the first step, not negative; 0.1 in the code. It falls to
            0 as a cosine.
        margin: distance of lambda from 0 and 1 below which Mixup is used, from 0 to 1; 0.08 in the code.
        clean_loss: whether the loss of the clean images is a term. It doubles the images of a step.
    """

    partners: ClassVar[tuple[str, ...]] = ("batch",)
    name: ClassVar[str] = "automix"
    progress: Tensor

    def __init__(
        self,
        setup: MixerSetup,
        *,
        alpha: float = 2.0,
        lr: float = 0.01,
        mask_weight: float = 0.1,
        margin: float = 0.08,
        clean_loss: bool = True,
    ):
        super().__init__(setup)
        self.alpha, self.lr = positive("alpha", alpha), positive("lr", lr)
        self.mask_weight, self.margin = not_negative("mask_weight", mask_weight), share("margin", margin)
        self.clean_loss = switch("clean_loss", clean_loss)
        self.register_buffer("progress", torch.zeros(()))

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Copy the network, and build the generator for the features of its third stage, or of its last stage.

        Raises:
            UserError: the features of the stage have no rows and columns.
        """
        names = stage_names(network)[:3]
        outputs = outputs_of(network, names[-1:], shape)[names[-1]] if names else []
        map_like = len(outputs) == 1 and isinstance(outputs[0], Tensor) and outputs[0].ndim == 4
        if not map_like or str(getattr(network, "output_fmt", "NCHW")) == "NHWC":
            raise Unsupported(
                self.name,
                "the features of this network have no form of channels, rows and columns",
                "Use --mixer.name cutmix, or --model.name resnet50",
            )
        self.stage = names[-1]
        self.averaged = copy.deepcopy(network).requires_grad_(False).eval()
        with torch.random.fork_rng(devices=[]):
            # Every process begins with the same generator, which depends only on the seed.
            torch.manual_seed(int(seeding.generator(self.name, self.setup.seed).integers(2**63)))
            self.generator = self.make_generator(outputs[0].shape[1])

    def make_generator(self, channels: int) -> nn.Module:
        """Return the generator for features with a number of channels."""
        return MaskGenerator(channels)

    def mask_cost(self, masks: Tensor, lam: Tensor) -> Tensor:
        """Return the cost of masks (B, H, W) before it is multiplied by its weight."""
        return mask_loss(masks, lam, self.margin)

    def train(self, mode: bool = True) -> AutoMix:
        """Set the training flag of the generator. The averaged network stays in evaluation mode."""
        super().train(mode)
        if hasattr(self, "averaged"):
            self.averaged.eval()
        return self

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return lambda of the mix for the network; position (for the partner) and lambda of the generator's mix."""
        return random.beta(self.alpha, self.alpha), random.random(), random.beta(self.alpha, self.alpha)

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch for the network, and compute the loss of the generator on another mix."""
        index, mixed, drawn = self._draws(context)
        if not mixed.any():
            return Mixed(context.images, context.targets)
        count, device = len(context.images), context.images.device
        second = context.generator.permutation(count) if self.setup.per == "batch" else circle_partners(drawn[:, 1])
        lambdas = np.where(mixed[:, None], drawn[:, [0, 2]], 1.0)
        own, other = (torch.from_numpy(each).float().to(device) for each in lambdas.T)
        with context.autocast():
            features = self._features(context.images)
            with torch.no_grad():
                images, targets, _ = self._mixed(context, features, self._partners(context, index), own)
            hard, hard_targets, masks = self._mixed(context, features, self._partners(context, second), other)
            logits = self.averaged(hard.float())
        weight = self.mask_weight * (1 + math.cos(math.pi * float(self.progress))) / 2
        extra = context.loss(logits.float(), hard_targets) + weight * self.mask_cost(masks, other)
        images = images.contiguous(memory_format=context.memory_format)
        if self.clean_loss:
            images = torch.cat([context.images, images])
        return Mixed(images, targets, loss=partial(_sum_of_losses, context, extra, self.clean_loss))

    def _features(self, images: Tensor) -> Tensor:
        """Return the features of the averaged network, without gradient."""
        found: list[Tensor] = []
        hook = forward_hook(
            self.averaged.get_submodule(self.stage), lambda module, inputs, output: found.append(output)
        )
        with torch.no_grad(), hook:
            self.averaged(images.float())
        return found[0].float()

    def _mixed(
        self, context: BatchContext, features: Tensor, partners: Partners, lam: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mixed images, their labels, and the masks of the partners (B, H, W)."""
        images = context.images
        masks = self.generator(features, features[partners.index], lam, images.shape[-2:]).float()
        masked = torch.lerp(images, partners.images, masks[:, None].to(images.dtype))
        plain = blend(images, partners.images, lam)
        result = torch.where(near_end(lam, self.margin)[:, None, None, None], plain, masked)
        return result, self.label_mix(context, partners, lam), masks

    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """Return the parameters of the generator with their learning rate."""
        return [{"params": list(self.generator.parameters()), "lr": self.lr}]

    @torch.no_grad()
    def after_step(self, network: nn.Module, progress: float) -> None:
        """Move the weights of the averaged network towards the weights of the network, and copy the buffers."""
        self.progress.fill_(progress)
        first, last = MOMENTA
        momentum = last - (last - first) * (1 + math.cos(math.pi * progress)) / 2
        for averaged, weight in zip(self.averaged.parameters(), network.parameters(), strict=True):
            averaged.lerp_(weight.to(averaged.dtype), 1 - momentum)
        for copied, buffer in zip(self.averaged.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)


def near_end(lam: Tensor, margin: float) -> Tensor:
    """Return whether each lambda is at most `margin` from 0 or 1: (B,) -> (B,) bool."""
    return (lam <= margin) | (lam >= 1 - margin)


def mask_loss(masks: Tensor, lam: Tensor, margin: float) -> Tensor:
    """Return the mean of max(|1 - mean mask - lambda| - 0.1, 0) over the images that are mixed with a mask."""
    cost = ((1 - masks.mean((1, 2)) - lam).abs() - MASK_TOLERANCE).clamp_min(0)
    used = ~near_end(lam, margin)
    return (cost * used).sum() / used.sum().clamp_min(1)


def _sum_of_losses(context: BatchContext, extra: Tensor, clean: bool, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of clean and mixed images and of the generator."""
    if not clean:
        return context.loss(logits, targets) + extra
    count = len(targets)
    return context.loss(logits[:count], context.targets) + context.loss(logits[count:], targets) + extra


def _with_channel(features: Tensor, value: Tensor) -> Tensor:
    """Append one channel with a value for each image: (B, C, h, w), (B,) -> (B, C + 1, h, w)."""
    channel = value.to(features.dtype).reshape(-1, 1, 1, 1).expand(-1, 1, *features.shape[-2:])
    return torch.cat([features, channel], 1)
