"""Attention of the class token of a ViT to its patches, read during a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcore_hf.training.mixers.base import evaluation_mode
from diffcore_hf.training.mixers.hooks import black_images, forward_hook


@dataclass(frozen=True)
class ClassAttention:
    """Position of the attention in a network."""

    name: str
    """Name of the last attention module."""
    prefix: int
    """Number of tokens before the patches; the class token is the first."""
    grid: tuple[int, int]
    """Rows and columns of patches."""

    @contextmanager
    def recorded(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """Record the attention of each forward pass inside the context, (B, patches) float32 without gradient.

        The last attention module then computes its attention explicitly, because the fused kernel does not return the
        attention.
        """
        module: Any = network.get_submodule(self.name)
        recorded: list[Tensor] = []

        def record(dropout: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            recorded.append(inputs[0].detach()[:, :, 0, self.prefix :].float().mean(1))

        fused = module.fused_attn
        module.fused_attn = False
        try:
            with forward_hook(module.attn_drop, record):
                yield recorded
        finally:
            module.fused_attn = fused


def find_class_attention(network: nn.Module, shape: tuple[int, int, int]) -> ClassAttention | None:
    """Return the attention of the class token in the last attention module, tried on two black images.

    Args:
        network: any network. It is in evaluation mode during the test.
        shape: (channels, height, width) of its images.

    Returns:
        None if the classifier does not read a class token, or the attention cannot be read.
    """
    names = [name for name, module in network.named_modules() if _is_attention(module)]
    prefix = getattr(network, "num_prefix_tokens", 0)
    if not names or not prefix or getattr(network, "global_pool", None) != "token":
        return None
    found = ClassAttention(names[-1], prefix, (1, 1))
    with torch.no_grad(), evaluation_mode(network), found.recorded(network) as recorded:
        network(black_images(network, 2, shape))
    if len(recorded) != 1:
        return None
    patches, (height, width) = recorded[0].shape[1], shape[1:]
    rows = round((patches * height / width) ** 0.5)
    if rows == 0 or patches % rows:
        return None
    return ClassAttention(names[-1], prefix, (rows, patches // rows))


def _is_attention(module: nn.Module) -> bool:
    """Return whether a module is an attention of timm that can compute its attention explicitly."""
    return hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module)
