"""Layers: finds the layer of a network whose output Grad-CAM reads, and returns this output as a map.

Owns the order in which layers are tried. In a convolutional or hierarchical network, these are the stages that timm
lists, from the last to the first. In a ViT, the first one to try is the norm before the last attention. Later layers do
not fit a network that classifies by its class token: their tokens of patches do not change its logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.base import evaluation_mode
from diffcore_hf.training.mixers.hooks import black_images, forward_hook, stage_names

LEAST_SIDE = 4
"""Number of positions in each direction that a map should have. A coarser map does not show a place in the image."""


@dataclass(frozen=True)
class MapLayer:
    """A layer, and how its output is arranged."""

    name: str
    """Name of the module in the network."""
    rows: int
    columns: int
    prefix: int = 0
    """Number of tokens before those of the patches."""
    tokens: bool = False
    """True if the output is (B, prefix + rows * columns, C)."""
    channels_last: bool = False
    """True if the output is (B, rows, columns, C)."""

    def as_map(self, output: Tensor) -> Tensor:
        """Return an output of the layer, or its gradient, as (B, C, rows, columns)."""
        if self.tokens:
            patches = output[:, self.prefix :].transpose(1, 2)
            return patches.reshape(*patches.shape[:2], self.rows, self.columns)
        return output.permute(0, 3, 1, 2) if self.channels_last else output

    @property
    def is_fine(self) -> bool:
        """Whether the map has enough positions to show a place in the image."""
        return min(self.rows, self.columns) >= LEAST_SIDE


def find_layer(model: nn.Module, shape: tuple[int, int, int], name: str | None = None) -> MapLayer:
    """Return the layer for Grad-CAM: the last one with a gradient whose map has 4 x 4 positions or more.

    If all maps are coarser, the layer is the last one with a gradient. Each layer is tried on two noise images.

    Args:
        model: any network.
        shape: (channels, height, width) of its images.
        name: name of the module to use; None: the layers are tried in the order that the module docstring describes.

    Raises:
        UserError: `name` is not a module of the network, or no layer returns a map that changes the logits.
    """
    if name is not None and name not in dict(model.named_modules()):
        near = ", ".join(stage_names(model)[-4:])
        raise UserError(f"layer is {name!r}, which is not a module of this network. Its last stages are {near}")
    coarse: MapLayer | None = None
    for candidate, channels in [(name, None)] if name is not None else _candidates(model):
        layer = _tried(model, candidate, channels, shape)
        if layer is not None and (layer.is_fine or name is not None):
            return layer
        coarse = coarse or layer
    if coarse is not None:
        return coarse
    if name is not None:
        raise UserError(f"layer is {name!r}, whose output is not a map that changes the logits. Leave --layer out")
    raise UserError(
        "no stage of this network returns a map that changes its logits, so Grad-CAM is not defined. Name a module "
        "that returns one with --layer"
    )


@contextmanager
def detached_outputs(model: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Collect the outputs of a module in the context, as leaves of the graph that the logits depend on.

    So `torch.autograd.grad(logits.sum(), outputs)` computes the gradient back to the module, not further. The network
    is in evaluation mode inside the context.
    """
    outputs: list[Tensor] = []

    def detach(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        outputs.append(output.detach().requires_grad_())
        # The next layer may change the copy in place, as an activation does.
        return outputs[-1].clone()

    module = model.get_submodule(name)
    with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(model), forward_hook(module, detach):
        yield outputs


def _candidates(model: nn.Module) -> Iterator[tuple[str, int | None]]:
    """Yield the name of each layer to try, and its number of channels if timm states it."""
    blocks = getattr(model, "blocks", None)
    if hasattr(model, "num_prefix_tokens") and isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks):
        name = f"blocks.{len(blocks) - 1}.norm1"
        if name in dict(model.named_modules()):
            yield name, None
    listed: Any = getattr(model, "feature_info", None)
    channels = {info["module"]: info.get("num_chs") for info in getattr(listed, "info", listed) or []}
    for name in reversed(stage_names(model)):
        yield name, channels.get(name)


def _tried(model: nn.Module, name: str, channels: int | None, shape: tuple[int, int, int]) -> MapLayer | None:
    """Return the arrangement of a layer's output; None if the output is not a map, or does not change the logits."""
    with detached_outputs(model, name) as outputs:
        images = black_images(model, 2, shape)
        images += torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
        logits = model(images)
        if len(outputs) != 1 or not logits.requires_grad:
            return None
        # The second logit is subtracted, because a sum over all classes may be constant.
        difference = (logits[:, 0] - logits[:, 1:].sum(1)).sum()
        [gradient] = torch.autograd.grad(difference, outputs, allow_unused=True)
    layer = _arranged(model, name, outputs[0], channels, shape)
    if layer is None or gradient is None or not layer.as_map(gradient).any():
        return None
    return layer


def _arranged(
    model: nn.Module, name: str, output: Tensor, channels: int | None, shape: tuple[int, int, int]
) -> MapLayer | None:
    if output.ndim == 4:
        last = _has_channels_last(model, output, channels)
        rows, columns = output.shape[1:3] if last else output.shape[2:]
        return MapLayer(name, rows, columns, channels_last=last)
    if output.ndim != 3:
        return None
    for prefix in dict.fromkeys((int(getattr(model, "num_prefix_tokens", 0)), 0)):
        patches = output.shape[1] - prefix
        rows = round((max(patches, 0) * shape[1] / shape[2]) ** 0.5)
        if rows and patches % rows == 0:
            return MapLayer(name, rows, patches // rows, prefix, tokens=True)
    return None


def _has_channels_last(model: nn.Module, output: Tensor, channels: int | None) -> bool:
    """Return whether the output is (B, rows, columns, C): by the number of channels, else by timm's `output_fmt`."""
    first, last = output.shape[1] == channels, output.shape[3] == channels
    if first != last:
        return last
    return str(getattr(model, "output_fmt", "NCHW")) == "NHWC"
