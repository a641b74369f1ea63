"""SnapMix (Huang et al. 2021, arXiv:2012.04846): boxes of different sizes, weighted by class activation maps."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from diffcore_hf.training.mixers.activation_maps import activation_maps, has_linear_head
from diffcore_hf.training.mixers.base import BatchContext, Loss, Mixed, MixerSetup, one_hot
from diffcore_hf.training.mixers.boxes import clipped_boxes, inside, resized_boxes
from diffcore_hf.training.mixers.options import positive, switch
from diffcore_hf.training.mixers.pairwise import PairwiseMixer
from diffcore_hf.training.mixers.unsupported import Unsupported


class SnapMix(PairwiseMixer):
    """Resizes a box of the partner into another box of the image; label weights are shares of activation maps.

    Each of the two boxes has its own lambda ~ Beta(beta, beta), sides sqrt(1 - lambda) and its own uniform centre.
    The weight of the image's own class is 1 minus the share of its map inside its box. The weight of the partner's
    class is the share of the partner's map inside the partner's box. The two weights need not sum to 1. If a map is
    constant, shares of the area replace the shares of the map. The maps need one forward pass without gradient.

    Options:
        beta: above 0; 5 in the paper. The paper has probability 1 with pretrained weights, and 0.5 from scratch.
        reference: true doubles the sum of the weights where both images have the same class, as the published code
            does. The paper's text has no such factor.
    """

    uses_network = True
    partners: ClassVar[tuple[str, ...]] = ("batch",)

    def __init__(self, setup: MixerSetup, *, beta: float = 5.0, reference: bool = False):
        super().__init__(setup)
        self.beta = positive("beta", beta)
        self.reference = switch("reference", reference)

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Check that class activation maps are defined for the network.

        Raises:
            UserError: the logits are not a linear layer of the averaged last feature map.
        """
        if not has_linear_head(network, shape):
            raise Unsupported(
                "snapmix",
                "the logits of this network are not a linear layer of its averaged last feature map, so it has no "
                "class activation maps",
                "Use --mixer.name cutmix, or --model.name resnet50",
            )

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return lambda, and row and column of the centre, for the box in the image and the box in the partner."""
        boxes = [(random.beta(self.beta, self.beta), random.random(), random.random()) for _ in range(2)]
        return boxes[0] + boxes[1]

    def forward(self, context: BatchContext) -> Mixed:
        """Mix a batch. Images that are not drawn for mixing stay bit-identical."""
        index, mixed, drawn = self._draws(context)
        if not mixed.any():
            return Mixed(context.images, context.targets)
        images, partners = context.images, self._partners(context, index)
        height, width = images.shape[-2:]
        both = [clipped_boxes(part[:, 1:], np.sqrt(1 - part[:, 0]), height, width) for part in np.hsplit(drawn, 2)]
        used = mixed & np.all([box[:, 2:].all(1) for box in both], axis=0)
        target, source = (torch.from_numpy(np.where(used[:, None], box, 0)).to(images.device) for box in both)
        pasted = inside(target, height, width)
        result = torch.where(pasted, resized_boxes(partners.images, source, target), images)
        classes = [one_hot(targets, self.setup.classes) for targets in (context.targets, partners.targets)]
        maps = activation_maps(context, images, classes[0].argmax(1))
        own, other = label_weights(maps, maps[partners.index], pasted[:, 0], inside(source, height, width)[:, 0])
        if self.reference:
            same = (classes[0] == classes[1]).all(1) & torch.from_numpy(used).to(images.device)
            own, other = (torch.where(same, own + other, weight) for weight in (own, other))
        targets = own[:, None] * classes[0] + other[:, None] * classes[1]
        loss = partial(_weighted_loss, context.loss, classes, (own, other))
        return Mixed(result.contiguous(memory_format=context.memory_format), targets, loss=loss)


def label_weights(own_map: Tensor, other_map: Tensor, pasted: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of the two classes of each mix.

    Args:
        own_map: (B, H, W) activation map of the image.
        other_map: (B, H, W) activation map of the partner.
        pasted: (B, H, W) bool, the pixels that are replaced.
        source: (B, H, W) bool, the pixels of the partner that replace them.

    Returns:
        The weight (B,) of the own class: 1 minus the share of `own_map` in `pasted`. The weight (B,) of the partner's
        class: the share of `other_map` in `source`. A constant map gives the area of `pasted` as share.
    """
    area = pasted.float().mean((1, 2))
    own_share, other_share = (_share(maps, mask, area) for maps, mask in ((own_map, pasted), (other_map, source)))
    return 1 - own_share, other_share


def _share(maps: Tensor, mask: Tensor, area: Tensor) -> Tensor:
    """Return the share of each map, after its minimum is subtracted, inside a mask; `area` for constant maps."""
    positive_maps = maps - maps.amin((1, 2), keepdim=True)
    total = positive_maps.sum((1, 2))
    constant = total <= 1e-6 * maps.abs().sum((1, 2))
    return torch.where(constant, area, (positive_maps * mask).sum((1, 2)) / total.clamp_min(1e-30))


def _weighted_loss(
    loss: Loss, classes: list[Tensor], weights: tuple[Tensor, Tensor], logits: Tensor, targets: Tensor
) -> Tensor:
    """Return the mean over images of weight times loss, summed over the two classes of each image."""
    by_image = torch.vmap(loss)
    terms = [weight * by_image(logits[:, None], one[:, None]) for weight, one in zip(weights, classes, strict=True)]
    return (terms[0] + terms[1]).mean()
