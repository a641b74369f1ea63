"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): which places of an image raise the logit of a class.

Owns the equations and the capture of a layer in one pass. map_layers.py finds the layer, and agreement.py compares a
map with a mask.

Maps are not normalised. A map that is scaled to [0, 1] by its own minimum and maximum cannot be compared with the map
of another network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffcore_hf.training.saliency.map_layers import MapLayer, detached_outputs, find_layer


def gradcam(model: nn.Module, images: Tensor, classes: Tensor, *, layer: MapLayer | None = None) -> Tensor:
    """Return the Grad-CAM map of one class for each image, not normalised.

    The weights, gradients, buffers and training flags of the network stay as they are. The network is in evaluation
    mode during the pass.

    Args:
        model: any network of timm: (B, 3, H, W) -> (B, K) logits.
        images: (B, 3, H, W), normalised, on the device of the network.
        classes: (B,) int64.
        layer: layer whose output is read; None: the result of `find_layer`, which needs more passes.

    Returns:
        (B, H, W) float32, at least 0; bilinear from the size of the layer's output.

    Raises:
        UserError: no layer of the network returns a map.
    """
    channels, height, width = images.shape[1:]
    layer = layer or find_layer(model, (channels, height, width))
    features, gradients, _ = layer_gradients(model, images, classes, layer)
    maps = weighted_map(features, gradients)
    return functional.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def weighted_map(features: Tensor, gradients: Tensor) -> Tensor:
    """Return ReLU(sum_c a_c A_c), where a_c is the mean of dz/dA_c over all positions (Eq. 1 and 2).

    Args:
        features: (B, C, h, w): A, the output of a layer.
        gradients: (B, C, h, w): dz/dA, where z is the logit of the class.

    Returns:
        (B, h, w) float32.
    """
    weights = gradients.float().mean((2, 3))
    return torch.einsum("bchw,bc->bhw", features.float(), weights).relu()


def layer_gradients(
    model: nn.Module, images: Tensor, classes: Tensor, layer: MapLayer
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output of a layer (B, C, h, w), the gradient of the logits of `classes` to it, and all logits (B, K).

    The gradient is computed from the logits back to the layer, not further. It is not added to `.grad` of any weight.
    """
    with detached_outputs(model, layer.name) as outputs:
        # A tensor of inference mode cannot be part of a graph, but a copy of it can.
        images, classes = (tensor.clone() if tensor.is_inference() else tensor for tensor in (images, classes))
        logits = model(images)
        selected = logits.gather(1, classes[:, None]).sum()
        [gradient] = torch.autograd.grad(selected, outputs)
    return layer.as_map(outputs[0].detach()), layer.as_map(gradient), logits.detach()
