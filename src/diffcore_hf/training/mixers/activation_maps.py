"""Class activation maps (Zhou et al. 2016) of a network with a linear head: the share of each position in a logit.

Owns the check that the logits of a network are a linear layer of its averaged last feature map, and the maps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext, evaluation_mode
from diffcore_hf.training.mixers.hooks import black_images


def has_linear_head(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Return whether the logits are a linear layer of the mean of `forward_features`, measured on two noise images.

    Args:
        network: any network. It is in evaluation mode during the measurement.
        shape: (channels, height, width) of its images.
    """
    timm_network: Any = network
    if not hasattr(network, "forward_features") or not hasattr(network, "get_classifier"):
        return False
    head = timm_network.get_classifier()
    if not isinstance(head, (nn.Linear, nn.Conv2d)):
        return False
    images = black_images(network, 2, shape)
    images += torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    with torch.no_grad(), evaluation_mode(network):
        features = timm_network.forward_features(images)
        if not isinstance(features, Tensor) or features.ndim != 4:
            return False
        features = channels_first(network, features)
        weight = head.weight.flatten(1)
        if weight.shape[1] != features.shape[1]:
            return False
        logits = functional.linear(features.mean((2, 3)), weight, head.bias)
        return torch.allclose(logits, network(images), rtol=1e-3, atol=1e-4)


def channels_first(network: nn.Module, features: Tensor) -> Tensor:
    """Return the features of `forward_features` as (B, C, H, W)."""
    return features.permute(0, 3, 1, 2) if str(getattr(network, "output_fmt", "NCHW")) == "NHWC" else features


def activation_maps(context: BatchContext, images: Tensor, classes: Tensor) -> Tensor:
    """Return the map of one class for each image, without the bias of the head and without normalisation.

    Args:
        context: batch with a network that `has_linear_head`.
        images: (B, 3, H, W).
        classes: (B,) int64.

    Returns:
        (B, H, W) float32, bilinear from the size of the last feature map.
    """
    network: Any = context.model
    with torch.no_grad(), context.autocast():
        features = channels_first(network, network.forward_features(images)).float()
    with torch.no_grad():
        weights = network.get_classifier().weight.flatten(1).float()[classes]
        maps = torch.einsum("bchw,bc->bhw", features, weights)
        return functional.interpolate(maps[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
