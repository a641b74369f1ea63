"""Manifold Mixup (Verma et al. 2019, arXiv:1806.05236): blends the hidden features of two images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import BatchContext, Mixed, MixerSetup
from diffcore_hf.training.mixers.hooks import forward_hook, outputs_of, stage_names
from diffcore_hf.training.mixers.mixup import blend
from diffcore_hf.training.mixers.options import indices, positive
from diffcore_hf.training.mixers.pairwise import PairwiseMixer
from diffcore_hf.training.mixers.unsupported import Unsupported

DEFAULT_LAYERS = (0, 1, 2)


class ManifoldMixup(PairwiseMixer):
    """Blends features behind one layer: h' = lambda h + (1 - lambda) h_partner, lambda ~ Beta(alpha, alpha).

    Labels are blended with the same lambda. Layer 0 is the input, so that it equals Mixup. Layer n is the n-th stage of
    a convolutional network, or the n-th block of a ViT. One layer is drawn for each batch with equal probability.
    Images of one batch cannot have different layers, because the features of a partner would already be mixed.

    Options:
        alpha: above 0. The paper has 2 for CIFAR-10 and CIFAR-100.
        layers: the layers to draw from. The default is 0, 1 and 2, as in the paper, without those that do not exist.
    """

    partners = ("batch",)

    def __init__(self, setup: MixerSetup, *, alpha: float = 2.0, layers: Sequence[int] | None = None):
        super().__init__(setup)
        self.alpha = positive("alpha", alpha)
        self.layers = None if layers is None else indices("layers", layers, example="[0, 1, 2]")
        self.names: tuple[str, ...] = ()
        """Name of the module of each layer to draw from; empty for the input."""

    def prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Find the modules of the layers, and check that each returns one tensor for one call.

        Raises:
            UserError: the network has no such layer, or its features cannot be mixed there.
        """
        names = ["", *stage_names(network)]
        layers = self.layers or tuple(layer for layer in DEFAULT_LAYERS if layer < len(names))
        if max(layers) >= len(names):
            raise UserError(
                f"mixer.options.layers has {max(layers)}, but the network has the layers 0 to {len(names) - 1}. "
                f"Use e.g. --mixer.options '{{layers: [0, {len(names) - 1}]}}'"
            )
        if getattr(network, "grad_checkpointing", False) and max(layers) > 0:
            raise Unsupported(
                "manifold_mixup",
                "the network recomputes features in the backward pass (grad_checkpointing), without the mixing",
                "Use --mixer.name mixup",
            )
        outputs = outputs_of(network, names[1:], shape)
        able = [layer for layer, name in enumerate(names) if not name or _can_be_mixed(outputs[name])]
        if wrong := sorted(set(layers) - set(able)):
            raise Unsupported(
                "manifold_mixup",
                f"features behind layer {wrong[0]} ({names[wrong[0]]}) of this network are not one tensor for each "
                "image",
                f"Use --mixer.options '{{layers: {able}}}'",
            )
        self.names = tuple(names[layer] for layer in layers)

    def draw(self, random: np.random.Generator) -> tuple[float, ...]:
        """Return lambda, as a tuple of one number."""
        return (random.beta(self.alpha, self.alpha),)

    def forward(self, context: BatchContext) -> Mixed:
        """Mix the images, or return the images with a hook that mixes the features of one layer."""
        index, mixed, drawn = self._draws(context)
        name = self.names[int(context.generator.integers(len(self.names)))]
        if not mixed.any():
            return Mixed(context.images, context.targets)
        partners = self._partners(context, index)
        share = torch.from_numpy(np.where(mixed, drawn[:, 0], 1.0)).float().to(context.images.device)
        targets = self.label_mix(context, partners, share)
        if not name:
            return Mixed(blend(context.images, partners.images, share), targets)
        during = partial(_mixing, context.model.get_submodule(name), partners.index, share)
        return Mixed(context.images, targets, during)


def _mixing(module: nn.Module, index: Tensor, share: Tensor) -> AbstractContextManager[None]:
    """Return the context manager around the forward pass in which the output of a module is mixed."""

    def mix(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return blend(output, output[index], share)

    return forward_hook(module, mix)


def _can_be_mixed(outputs: list[Any]) -> bool:
    """Return whether a module returned one tensor with a row for each of the two images, in a single call."""
    return len(outputs) == 1 and isinstance(outputs[0], Tensor) and len(outputs[0]) == 2
