"""Saliency maps of images, computed on their device.

Owns three maps: fine-grained and spectral saliency, which need no network, and the gradient of the loss with respect to
the input. The mixers use these maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from diffcore_hf.training.mixers.base import BatchContext

SURROUNDS = (12, 24, 28, 48, 56, 112)
"""Half sides of the surroundings of fine-grained saliency, in pixels (Montabone and Soto 2010, section 3)."""
_EPSILON = 1e-12


def grey(pixels: Tensor) -> Tensor:
    """Return the luma of RGB images with the weights of ITU-R BT.601: (B, 3, H, W) -> (B, H, W) float32."""
    weights = torch.tensor((0.299, 0.587, 0.114), device=pixels.device)
    return (pixels.float() * weights.reshape(3, 1, 1)).sum(1)


def fine_grained(images: Tensor, surrounds: Sequence[int] = SURROUNDS) -> Tensor:
    """Return fine-grained saliency (Montabone and Soto 2010): differences between pixels and their surroundings.

    For each surrounding, a square without its centre, the mean is subtracted from the pixel. The absolute differences
    are averaged: a bright pixel on a dark ground and a dark pixel on a bright ground count the same.

    Args:
        images: (B, H, W) float grey images.
        surrounds: half sides of the squares in pixels; a square is clipped at the border of the image.

    Returns:
        (B, H, W) float32; in [0, 1] for images in [0, 1].
    """
    images = images.float()
    # Slices of a padded table replace index tensors: they copy nothing and start fewer kernels on a GPU. A square that
    # the border clips reads the repeated sums at the border.
    reach = max(surrounds)
    table = functional.pad(images.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    table = functional.pad(table[:, None], (0, 0, reach, reach), mode="replicate")[:, 0]
    total = torch.zeros_like(images)
    for surround in surrounds:
        total += (images - _surrounding_mean(images, table, surround, reach)).abs()
    return total / len(surrounds)


def _surrounding_mean(images: Tensor, table: Tensor, surround: int, reach: int) -> Tensor:
    """Return the mean of the square around each pixel, without the pixel.

    Args:
        images: (B, H, W).
        table: (B, H + 1 + 2 reach, W + 1): sums of all pixels above and to the left, with `reach` rows repeated at both
            borders.
        surround: half side of the square.
        reach: number of repeated rows, at least `surround`.
    """
    height, width = images.shape[1:]
    rows = table.narrow(1, reach + surround + 1, height) - table.narrow(1, reach - surround, height)
    rows = functional.pad(rows, (surround, surround), mode="replicate")
    total = rows.narrow(2, 2 * surround + 1, width) - rows.narrow(2, 0, width)
    down, right = (_clipped_lengths(length, surround, images.device) for length in (height, width))
    count = down[:, None] * right - 1
    return ((total - images) / count.clamp(min=1)).float()


def _clipped_lengths(length: int, surround: int, device: torch.device) -> Tensor:
    """Return the side of the square around each position of an axis, clipped at its ends: (length,) int64."""
    position = torch.arange(length, device=device)
    return (position + surround + 1).clamp(max=length) - (position - surround).clamp(min=0)


def spectral_residual(images: Tensor, side: int = 128) -> Tensor:
    """Return the spectral residual (Hou and Zhang 2007) with the modulus of the inverse transform, as in GuidedMixup.

    Larger images are reduced to `side` pixels, and the map is enlarged again. The local mean of the log spectrum uses
    3 x 3 frequencies; the spectrum is periodic, so its border needs no padding.

    Args:
        images: (B, H, W) float grey images.
        side: longest side in pixels at which the map is computed.

    Returns:
        (B, H, W) float32, not negative.
    """
    height, width = images.shape[1:]
    images = _resized(images.float(), *(min(length, side) for length in (height, width)))
    spectrum = torch.fft.fft2(images)
    modulus = spectrum.abs()
    # The spectrum of a constant image is 0 at all frequencies but one. The lower bound keeps its logarithm finite.
    log_modulus = modulus.clamp(min=1e-6 * images.shape[1] * images.shape[2]).log()
    padded = functional.pad(log_modulus[:, None], (1, 1, 1, 1), mode="circular")
    residual = log_modulus - functional.avg_pool2d(padded, 3, stride=1)[:, 0]
    phase = spectrum / modulus.clamp(min=_EPSILON)
    saliency = torch.fft.ifft2(residual.exp() * phase).abs()
    return _resized(blurred(saliency), height, width)


def input_gradient(context: BatchContext, images: Tensor) -> Tensor:
    """Return the root of the mean squared gradient of the loss over the channels of each pixel.

    The parameters get no gradients. The network must be in evaluation mode, as it is for a mixer that uses it.

    Args:
        context: the batch, with network, targets and loss.
        images: (B, 3, H, W): the images of the batch, or others with the same targets.

    Returns:
        (B, H, W) float32, not negative.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        with context.autocast():
            logits = context.model(images)
        loss = context.loss(logits.float(), context.targets)
        # The loss is a mean over the batch. The number of images restores the scale of a single image, before the
        # backward pass, because small gradients would become 0 in float16.
        (gradient,) = torch.autograd.grad(loss * len(images), images)
    return gradient.float().square().mean(1).sqrt()


def blurred(maps: Tensor, size: int = 7, sigma: float = 3.0) -> Tensor:
    """Return maps (B, H, W) after a Gaussian filter; the border is reflected."""
    reach = size // 2
    weights = torch.exp(-(torch.arange(-reach, reach + 1, device=maps.device) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(maps.dtype)
    small = min(maps.shape[1:]) <= reach
    padded = functional.pad(maps[:, None], (reach,) * 4, mode="replicate" if small else "reflect")
    rows = functional.conv2d(padded, weights.reshape(1, 1, -1, 1))
    return functional.conv2d(rows, weights.reshape(1, 1, 1, -1))[:, 0]


def distribution(maps: Tensor) -> Tensor:
    """Return maps (B, H, W) divided by their sum; a map without any saliency becomes uniform."""
    total = maps.sum((1, 2), keepdim=True)
    uniform = torch.full_like(maps, 1 / (maps.shape[1] * maps.shape[2]))
    return torch.where(total > 0, maps / total.clamp(min=torch.finfo(maps.dtype).tiny), uniform)


def _resized(maps: Tensor, height: int, width: int) -> Tensor:
    """Return maps (B, h, w) at another size, bilinear; unchanged if they already have this size."""
    if maps.shape[1:] == (height, width):
        return maps
    return functional.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
