"""Mixing a real image with a generated one (Eq. 6 to 8): draws, and their application.

Owns the random record of one mix, the two ways to mix and the frame in which they meet. Does not know where images
come from, nor the crops and flips that follow (training/framing.py).

Both images have the same class, so the label stays. They have different sizes, so they meet in the real image's frame:
the generated one covers it, centred; box and lambda live there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Box = tuple[int, int, int, int]
"""top, left, height, width in pixels."""


@dataclass(frozen=True)
class MixDraw:
    """What happens to one sample (Eq. 8), drawn before any image is looked at."""

    pixel: bool
    """eta: pixel-wise if true, patch-wise otherwise."""
    lam: float
    """lambda in [0, 1]. Pixel-wise it is the share of the real image; patch-wise the box has sides sqrt(1 - lambda)."""
    centre: tuple[float, float]
    """Centre of the box, in shares of height and width, in [0, 1)."""
    generated_into_real: bool
    """Direction of the patch: the generated image's box into the real one, or the other way round."""


def draw_mix(random: np.random.Generator, *, pi: float = 0.5, alpha: float = 1.0, kind: str = "both") -> MixDraw:
    """eta ~ Bernoulli(pi), lambda ~ Beta(alpha, alpha), a uniform centre, a direction with probability 1/2 each.

    The same numbers are drawn whatever `kind` is, so that arms of a comparison share them.

    Args:
        random: a stream of the sample's own.
        pi: probability of pixel-wise mixing, in [0, 1].
        alpha: above 0; 1 makes lambda uniform.
        kind: `both`, `pixel` or `patch`.
    """
    eta, row, column, direction = random.random(4)
    lam = random.beta(alpha, alpha)
    pixel = eta < pi if kind == "both" else kind == "pixel"
    return MixDraw(bool(pixel), float(lam), (float(row), float(column)), bool(direction < 0.5))


def patch_box(draw: MixDraw, height: int, width: int) -> Box:
    """The box of a draw in a frame: sides sqrt(1 - lambda) of it, uniform centre, clipped (CutMix, Yun 2019)."""
    side = math.sqrt(1 - draw.lam)
    tall, wide = int(height * side), int(width * side)
    row, column = int(draw.centre[0] * height), int(draw.centre[1] * width)
    top, bottom = max(row - tall // 2, 0), min(row + tall // 2, height)
    left, right = max(column - wide // 2, 0), min(column + wide // 2, width)
    return top, left, bottom - top, right - left


def real_share(draw: MixDraw, height: int, width: int) -> float:
    """Share of the mixed image that is real, in [0, 1]: lambda, or what the clipped box leaves or brings."""
    if draw.pixel:
        return draw.lam
    _, _, tall, wide = patch_box(draw, height, width)
    box = tall * wide / (height * width)
    return 1 - box if draw.generated_into_real else box


def pixel_mix(real: Tensor, generated: Tensor, lam: float | Tensor) -> Tensor:
    """M = lambda I + (1 - lambda) G (Eq. 6).

    Args:
        real: (..., C, H, W) uint8 or floating.
        generated: the same shape and dtype.
        lam: in [0, 1]; one number, or one for each image of a batch, (B,).

    Returns:
        The shape and dtype of `real`; uint8 is rounded to the nearest.
    """
    if isinstance(lam, Tensor):
        lam = lam.reshape(-1, 1, 1, 1).to(torch.float32 if real.dtype == torch.uint8 else real.dtype)
    if real.dtype != torch.uint8:
        return generated + lam * (real - generated)
    mixed = generated.float()
    mixed = mixed.lerp_(real.float(), lam)
    # By way of int16: from float to uint8 torch goes number by number, five times as long.
    return mixed.round_().to(torch.int16).to(torch.uint8)


def patch_mix(real: Tensor, generated: Tensor, box: Box | Tensor, generated_into_real: bool | Tensor = True) -> Tensor:
    """M = M_p * I + (1 - M_p) * G, M_p being 1 where the real image shows (Eq. 7).

    Args:
        real: (..., C, H, W) uint8 or floating.
        generated: the same shape and dtype.
        box: top, left, height, width; for a batch also (B, 4).
        generated_into_real: the box shows the generated image (M_p is 0 there), or the real one; for a batch also (B,).

    Returns:
        The shape and dtype of `real`; neither input is changed.
    """
    if not isinstance(box, Tensor):
        base, patch = (real, generated) if generated_into_real else (generated, real)
        top, left, height, width = box
        mixed = base.clone()
        inside = (..., slice(top, top + height), slice(left, left + width))
        mixed[inside] = patch[inside]
        return mixed
    top, left, height, width = (side.reshape(-1, 1, 1, 1) for side in box.unbind(-1))
    rows = torch.arange(real.shape[-2], device=real.device).reshape(-1, 1)
    columns = torch.arange(real.shape[-1], device=real.device)
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    shows_real = inside ^ torch.as_tensor(generated_into_real, device=real.device).reshape(-1, 1, 1, 1)
    return torch.where(shows_real, real, generated)


def apply_mix(
    real: Tensor,
    generated: Tensor,
    draw: MixDraw,
    frame: tuple[int, int] | None = None,
    corner: tuple[int, int] = (0, 0),
) -> Tensor:
    """Eq. 8: the pixel- or patch-wise mix of a draw, in the real image's frame.

    Args:
        real: (C, H, W), the frame or what was cut from it: mixing what is cut away would be for nothing.
        generated: the same part of the generated image's frame.
        draw: lambda and box are those of the whole frame.
        frame: its height and width; None: the images are the frame.
        corner: top and left of the part in it.
    """
    if draw.pixel:
        return pixel_mix(real, generated, draw.lam)
    box = patch_box(draw, *(frame or real.shape[-2:]))
    return patch_mix(real, generated, _within(box, *corner), draw.generated_into_real)


def _within(box: Box, top: int, left: int) -> Box:
    """A box in the coordinates of a part that begins at (top, left); what lies before it is cut off."""
    first_row, first_column = max(box[0] - top, 0), max(box[1] - left, 0)
    last_row, last_column = max(box[0] + box[2] - top, 0), max(box[1] + box[3] - left, 0)
    return first_row, first_column, last_row - first_row, last_column - first_column


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """(C, h, w) uint8 -> (C, height, width), bilinear and antialiased; channels last in memory stays so."""
    # Only by these strides does torch see one image as channels last; otherwise it copies, and takes a slower kernel.
    batch = image.permute(1, 2, 0).unsqueeze(0).permute(0, 3, 1, 2)
    return functional.interpolate(batch, (height, width), mode="bilinear", antialias=True)[0]


def cover(image: Tensor, height: int, width: int) -> Tensor:
    """The image scaled to cover a frame and cut to it from the centre: how a generated image enters the real's frame.

    Args:
        image: (C, h, w) uint8.
        height: of the frame.
        width: of the frame.

    Returns:
        (C, height, width) uint8; the input itself where it fits already. Bilinear, antialiased.
    """
    old_height, old_width = image.shape[-2:]
    scale = max(height / old_height, width / old_width)
    # What would be cut away need not be scaled: a first cut by whole pixels, the second one to the frame.
    image = _centre(image, *(math.ceil(side / scale) for side in (height, width)), even=True)
    tall, wide = (max(side, round(old * scale)) for side, old in zip((height, width), image.shape[-2:], strict=True))
    if (tall, wide) != tuple(image.shape[-2:]):
        image = resized(image, tall, wide)
    return _centre(image, height, width)


def _centre(image: Tensor, height: int, width: int, even: bool = False) -> Tensor:
    """The middle of an image; `even`: by as much on both sides, so that a row or column more may stay."""
    old_height, old_width = image.shape[-2:]
    top, left = max(old_height - height, 0) // 2, max(old_width - width, 0) // 2
    if even:
        height, width = old_height - 2 * top, old_width - 2 * left
    return image if (height, width) == (old_height, old_width) else image[..., top : top + height, left : left + width]
