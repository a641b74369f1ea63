"""Hooks that a mixer registers on a module of the network for one forward pass, and the names of these modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffcore_hf.training.mixers.base import evaluation_mode

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]
"""Forward hook of torch: (module, inputs, output) -> another output, or None to keep the output."""


@contextmanager
def forward_hook(module: nn.Module, hook: Hook) -> Iterator[None]:
    """Register a forward hook inside the context.

    A network that is compiled with torch.compile runs uncompiled inside the context, because a compiled network ignores
    hooks that are registered after its compilation.
    """
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # if it is not imported, no network is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.callback(module.register_forward_hook(hook).remove)
        yield


def stage_names(network: nn.Module) -> list[str]:
    """Return the names of the modules that compute the stages of a network, without its stem, in their order.

    These are the modules that timm lists in `feature_info`: the stages of a convolutional network, and the blocks of a
    ViT. For another network they are its direct submodules. A norm, an activation or a single layer belongs to the stem
    and is left out, unless no other module is listed (VGG).
    """
    modules = dict(network.named_modules())
    listed: Any = getattr(network, "feature_info", None)
    infos = getattr(listed, "info", listed) or []
    names = [info["module"] for info in infos] or [name for name, _ in network.named_children()]
    names = [name for name in names if name in modules and not name.startswith("stem")]
    return [name for name in names if _has_layers(modules[name])] or names


def _has_layers(module: nn.Module) -> bool:
    """Return whether a module contains layers with a weight matrix or kernel."""
    weights = [weight for name, weight in module.named_parameters() if "." in name]
    return any(weight.ndim >= 2 for weight in weights)


def outputs_of(network: nn.Module, names: list[str], shape: tuple[int, int, int]) -> dict[str, list[Any]]:
    """Return the outputs of modules in one forward pass of two black images.

    A module has one output for each of its calls. The network is in evaluation mode, and no gradient is computed.
    """
    outputs: dict[str, list[Any]] = {name: [] for name in names}

    def record(name: str) -> Hook:
        return lambda module, inputs, output: outputs[name].append(output)

    with ExitStack() as stack, torch.no_grad(), evaluation_mode(network):
        for name in names:
            stack.enter_context(forward_hook(network.get_submodule(name), record(name)))
        network(black_images(network, 2, shape))
    return outputs


def black_images(network: nn.Module, count: int, shape: tuple[int, int, int]) -> Tensor:
    """Return images of zeros (count, C, H, W) with device and dtype of the network."""
    weight = next(network.parameters())
    return torch.zeros(count, *shape, device=weight.device, dtype=weight.dtype)
