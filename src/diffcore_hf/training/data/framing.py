"""Framing: resizing, cropping and classical augmentation of decoded images, in the protocols of published papers.

Owns the presets, the crop of a sample, and the classical augmentation after the crop. A crop is drawn before it is
applied. Both images of a pair get the same crop. If the protocol resizes first, the crop is made in the frame of the
real image. If the protocol crops first, each image is cropped at its stored size. The mixing itself is in
method/mixing.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from diffcore_hf.config.train import TransformConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.method.mixing import resized

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, on the scale [0, 1]."""

# Normalisations that the protocols use; IDENTITY leaves pixels on [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IDENTITY = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


@dataclass(frozen=True)
class Protocol:
    """Resizing and cropping of training and evaluation images. All resizing is bilinear and antialiased."""

    size: int
    """Side of the network's square input in pixels."""
    resize: int | None
    """Shorter side of the frame before the random crop; None: random resized crop without a resize before it."""
    square: bool = False
    """Resize both sides to `resize`, which changes the aspect ratio."""
    padding: int = 0
    """Width in pixels of the black border around the frame before the crop."""
    evaluation: int | None = None
    """Shorter side (both sides if `square`) before the central crop of an evaluation; None: same as `resize`."""
    jitter: float = 0.0
    """Strength of the colour jitter of brightness, contrast and saturation; 0: none."""
    normalisation: Normalisation = IMAGENET
    """Normalisation of a training from scratch. Pretrained weights have their own."""


# The protocols of the paper's tables; docs/training.md names the source of each.
PROTOCOLS: dict[str, Protocol] = {
    "fgvc_scratch_224": Protocol(224, 256),
    "finetune_224": Protocol(224, 256),
    "cifar_preact_1200": Protocol(32, 32, padding=2, normalisation=CIFAR),
    "tiny_preact_1200": Protocol(64, 64, padding=4, normalisation=HALF),
    "imagenet_fast100": Protocol(224, None, evaluation=256),
    "imagenet_300": Protocol(224, None, evaluation=256, jitter=0.4),
    "cars448_author": Protocol(448, 512, square=True, padding=8, evaluation=448, normalisation=IDENTITY),
}


def protocol_of(config: TransformConfig) -> Protocol:
    """Return the protocol of the preset, scaled to the size of the configuration.

    Raises:
        UserError: the preset does not exist.
    """
    if config.preset not in PROTOCOLS:
        raise UserError(f"transform.preset is {config.preset!r}, not one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[config.preset]
    if config.size and config.size != protocol.size:
        scale = config.size / protocol.size
        protocol = replace(
            protocol,
            size=config.size,
            resize=_scaled(protocol.resize, scale),
            evaluation=_scaled(protocol.evaluation, scale),
        )
    return protocol if config.jitter is None else replace(protocol, jitter=config.jitter)


def _scaled(side: int | None, scale: float) -> int | None:
    return None if side is None else round(side * scale)


@dataclass(frozen=True)
class Crop:
    """The part of the frame that a sample shows, and whether it is flipped. It is drawn before pixels are computed."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


View = tuple[float, float, float, float, bool]
"""The part of an image that a sample shows: top, left, height and width as shares of the image, and whether the part is
flipped. With padding, a part can reach beyond the image."""
WHOLE: View = (0.0, 0.0, 1.0, 1.0, False)


def view_of(crop: Crop, height: int, width: int) -> View:
    """Return the part of an image that a crop of its frame shows; the frame has `height` x `width` pixels."""
    return (crop.top / height, crop.left / width, crop.height / height, crop.width / width, crop.flip)


def framed(image: Tensor, protocol: Protocol) -> Tensor:
    """Return the frame of an image, (C, h, w) uint8: resized, or unchanged if the protocol crops first."""
    return image if protocol.resize is None else _resized(image, protocol.resize, protocol.square)


def draw_crop(random: np.random.Generator, protocol: Protocol, height: int, width: int) -> Crop:
    """Draw a crop of a frame, and a flip with probability 1/2.

    If the protocol resizes first, the crop has the training size and a uniform position. Otherwise it is an Inception
    crop: 8 to 100 % of the area with an aspect ratio from 3:4 to 4:3.

    Args:
        random: random numbers of the sample; five numbers are drawn in every case.
        protocol: protocol of the training.
        height: height of the frame in pixels.
        width: width of the frame in pixels.
    """
    top_share, left_share, area_share, ratio_share, flip_chance = random.random(5)
    if protocol.resize is not None:
        padding, size = protocol.padding, protocol.size
        top = int(top_share * (height + 2 * padding - size + 1)) - padding
        left = int(left_share * (width + 2 * padding - size + 1)) - padding
        return Crop(top, left, size, size, bool(flip_chance < 0.5))
    crop_area = (0.08 + 0.92 * area_share) * height * width
    ratio = math.exp((2 * ratio_share - 1) * math.log(4 / 3))
    crop_width = min(max(round(math.sqrt(crop_area * ratio)), 1), width)
    crop_height = min(max(round(math.sqrt(crop_area / ratio)), 1), height)
    top = int(top_share * (height - crop_height + 1))
    left = int(left_share * (width - crop_width + 1))
    return Crop(top, left, crop_height, crop_width, bool(flip_chance < 0.5))


def cropped(image: Tensor, crop: Crop, protocol: Protocol) -> Tensor:
    """Return the crop of a frame, (C, size, size) uint8, not flipped. Pixels outside the frame are black."""
    image = functional.crop(image, crop.top, crop.left, crop.height, crop.width)
    size = protocol.size
    return image if image.shape[-2:] == (size, size) else resized(image, size, size)


def cropped_through(image: Tensor, crop: Crop, protocol: Protocol, height: int, width: int) -> Tensor:
    """Return the crop of a generated image as if the image covered a frame of `height` x `width`.

    The frame is not computed, which saves time. The crop is scaled to the size of the generated image.
    """
    image_height, image_width = image.shape[-2:]
    scale = max(height / image_height, width / image_width)
    top = (crop.top + (image_height * scale - height) / 2) / scale
    left = (crop.left + (image_width * scale - width) / 2) / scale
    crop_height, crop_width = max(1, round(crop.height / scale)), max(1, round(crop.width / scale))
    top, left = min(round(top), image_height - crop_height), min(round(left), image_width - crop_width)
    return cropped(image, Crop(max(top, 0), max(left, 0), crop_height, crop_width, crop.flip), protocol)


def flipped(image: Tensor, crop: Crop) -> Tensor:
    """Flip the image if `crop.flip` is true; this is the last geometric step."""
    return image.flip(-1) if crop.flip else image


def evaluation_frame(image: Tensor, protocol: Protocol) -> Tensor:
    """Resize an image and crop its centre, without random numbers: (C, h, w) uint8 -> (C, size, size) uint8."""
    side = protocol.evaluation or protocol.resize or protocol.size
    return functional.center_crop(_resized(image, side, protocol.square), [protocol.size, protocol.size])


def classical(config: TransformConfig, protocol: Protocol) -> Callable[[Tensor], Tensor] | None:
    """Build the classical augmentation that is applied to a uint8 image after its crop; None if the recipe has none.

    The augmentation draws from torch's global generator.
    """
    grey = [255 * mean for mean in protocol.normalisation[0]]
    steps: list[Any] = []
    if protocol.jitter:
        steps.append(v2.ColorJitter(protocol.jitter, protocol.jitter, protocol.jitter))
    if config.randaugment is not None:
        steps.append(v2.RandAugment(num_ops=2, magnitude=config.randaugment, fill=[round(value) for value in grey]))
    if config.augmix:
        steps.append(v2.AugMix())
    if config.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(_odd(protocol.size / 16), (0.1, 2.0))], p=config.blur))
    if config.erasing:
        steps.append(v2.RandomErasing(p=config.erasing, value=grey))
    return v2.Compose(steps) if steps else None


def normalised(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalise images on their device: uint8 (..., C, H, W) -> float32, (x / 255 - mean) / std."""
    # Each value is repeated for a whole row, because broadcasting three numbers over channels-last memory is slow.
    mean, std = (
        torch.tensor(values, device=images.device).repeat(images.shape[-1], 1).T.unsqueeze(1)
        for values in normalisation
    )
    # Computed in place, because allocating memory for a batch takes longer than the arithmetic.
    return images.float().sub_(255 * mean).div_(255 * std)


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Stack (C, H, W) images to (B, C, H, W) in channels-last memory, the order of decoders and fast convolutions."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _resized(image: Tensor, side: int, square: bool) -> Tensor:
    height, width = image.shape[-2:]
    shorter = min(height, width)
    size = (side, side) if square else (round(height * side / shorter), round(width * side / shorter))
    return image if size == (height, width) else resized(image, *size)


def _odd(value: float) -> int:
    """Round to an odd number of at least 3."""
    return max(3, 2 * int(value / 2) + 1)
