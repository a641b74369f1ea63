"""AugMix (Hendrycks et al. 2020, arXiv:1912.02781): mixes an image with chains of its own augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext, Loss, Mixed, MixerSetup
from diffcore_hf.training.mixers.operations import Operation, applied, draw_operation
from diffcore_hf.training.mixers.options import positive, switch, whole
from diffcore_hf.training.mixers.row_wise import RowWiseMixer

_LONGEST_CHAIN = 3


@dataclass(frozen=True)
class AugMixDraw:
    """Random numbers of the mix of one image."""

    chains: tuple[tuple[Operation, ...], ...]
    weights: tuple[float, ...]
    """Weight of each chain; the sum is 1."""
    share: float
    """Share of the chains in the result, in [0, 1]; the rest is the image itself."""


class AugMix(RowWiseMixer):
    """Mixes an image with chains of operations: x' = (1 - m) x + m sum_k w_k chain_k(x).

    w ~ Dirichlet(alpha, ..., alpha) and m ~ Beta(alpha, alpha). A chain has 1 to 3 of nine operations. The label stays
    as it is. The loader computes the result before normalisation and rounds it to uint8.

    Args:
        setup: settings of all mixers.
        severity: largest level of an operation, from 1 to 10; 3 in the paper for CIFAR, 1 for ImageNet.
        width: number of chains, from 1 to 10; 3 in the paper.
        alpha: above 0; 1 in the paper.
        jsd: add the Jensen-Shannon divergence between the predictions for the image and for two views. The network
            then computes three images for each image.
        jsd_weight: weight of the divergence, above 0; 12 in the paper.
    """

    def __init__(
        self,
        setup: MixerSetup,
        *,
        severity: int = 3,
        width: int = 3,
        alpha: float = 1.0,
        jsd: bool = False,
        jsd_weight: float = 12.0,
    ):
        super().__init__(setup)
        self.severity, self.width = whole("severity", severity, 1, 10), whole("width", width, 1, 10)
        self.alpha = positive("alpha", alpha)
        self.jsd, self.jsd_weight = switch("jsd", jsd), positive("jsd_weight", jsd_weight)

    @property
    def view_names(self) -> Sequence[str]:
        """The names of the views: two for the divergence, otherwise one."""
        return ("view", "second view") if self.jsd else ("view",)

    def view(self, image: Tensor, random: np.random.Generator) -> Tensor:
        """Compute one view of an image."""
        return augmix(image, draw_augmix(random, self.severity, self.width, self.alpha))

    def forward(self, context: BatchContext) -> Mixed:
        """Return the views, or images and views with the loss of the divergence."""
        views = self.views(context)
        if not self.jsd:
            return Mixed(views[0], context.targets)
        loss = partial(divergence_loss, context.loss, self.jsd_weight)
        return Mixed(torch.cat([context.images, *views]), context.targets, loss=loss)


def draw_augmix(random: np.random.Generator, severity: int, width: int, alpha: float) -> AugMixDraw:
    """Draw weights, share and chains of one view."""
    weights = tuple(random.dirichlet([alpha] * width).tolist())
    share = float(random.beta(alpha, alpha))
    lengths = random.integers(1, _LONGEST_CHAIN + 1, width)
    chains = tuple(tuple(draw_operation(random, severity) for _ in range(length)) for length in lengths)
    return AugMixDraw(chains, weights, share)


def augmix(image: Tensor, draw: AugMixDraw) -> Tensor:
    """Apply a draw: (3, H, W) uint8 -> (3, H, W) uint8."""
    result = (1 - draw.share) * image.float()
    for weight, chain in zip(draw.weights, draw.chains, strict=True):
        result += draw.share * weight * reduce(lambda pixels, operation: applied(operation, pixels), chain, image)
    return result.round().clamp(0, 255).to(torch.uint8)


def divergence_loss(loss: Loss, weight: float, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of the images plus the weighted divergence between the images and their views.

    Args:
        loss: loss of the recipe.
        weight: weight of the divergence.
        logits: (V B, K): the logits of the images, followed by the logits of each view.
        targets: (B,) class indices.
    """
    views = logits.reshape(-1, len(targets), logits.shape[1])
    return loss(views[0], targets) + weight * jensen_shannon(views)


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of V predictions, averaged over images: (V, B, K) -> scalar.

    It is 0 for equal predictions, and ln V for V certain predictions of different classes.
    """
    log_probabilities = logits.log_softmax(2)
    probabilities = log_probabilities.exp()
    mean = probabilities.mean(0).clamp(1e-7, 1.0).log().expand_as(probabilities)
    divergence = functional.kl_div(mean, probabilities, reduction="none").sum(2)
    return divergence.mean()
