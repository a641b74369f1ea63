"""Mixes a real image with a generated one (Eq. 6 to 8): draws the random numbers and applies them.

Owns the record of one draw, the two ways to mix, and the resizing of the generated image to the size of the real image.
Does not load images. Does not own the crops and flips that follow (training/data/framing.py).

Both images have the same class, so the label does not change. The images may have different sizes. The frame of a mix
has the size of the real image. The generated image is scaled and centre-cropped to cover it. Box and lambda refer to
this frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Box = tuple[int, int, int, int]
"""A box as top, left, height and width in pixels."""


@dataclass(frozen=True)
class MixDraw:
    """The random numbers of the mix of one sample (Eq. 8). They do not depend on the images."""

    pixel: bool
    """The number eta: true mixes pixel-wise, false patch-wise."""
    lam: float
    """The number lambda in [0, 1]. In a pixel-wise mix it is the weight of the real image. In a patch-wise mix the
    sides of the box are sqrt(1 - lambda) times the sides of the frame."""
    centre: tuple[float, float]
    """Centre of the box as shares of height and width, in [0, 1)."""
    generated_into_real: bool
    """Direction of the patch. True: a box of the generated image is put into the real one. False: the reverse."""


def draw_mix(random: np.random.Generator, *, pi: float = 0.5, alpha: float = 1.0, kind: str = "both") -> MixDraw:
    """Draws eta ~ Bernoulli(pi), lambda ~ Beta(alpha, alpha), a uniform centre and a direction with probability 1/2.

    The same numbers are drawn for every `kind`, so that all arms of a comparison use the same numbers.

    Args:
        random: the random stream of this sample.
        pi: probability of pixel-wise mixing, in [0, 1].
        alpha: parameter of the Beta distribution, above 0; 1 makes lambda uniform.
        kind: `both`, `pixel` or `patch`.
    """
    eta, row, column, direction = random.random(4)
    lam = random.beta(alpha, alpha)
    pixel = eta < pi if kind == "both" else kind == "pixel"
    return MixDraw(bool(pixel), float(lam), (float(row), float(column)), bool(direction < 0.5))


def patch_box(draw: MixDraw, height: int, width: int) -> Box:
    """Returns the box of a draw in a frame of `height` x `width` pixels (CutMix, Yun et al. 2019).

    Its sides are sqrt(1 - lambda) times the sides of the frame, rounded down. Its centre is uniform in the frame. The
    part of the box outside the frame is cut off.
    """
    side = math.sqrt(1 - draw.lam)
    box_height, box_width = int(height * side), int(width * side)
    row, column = int(draw.centre[0] * height), int(draw.centre[1] * width)
    top, bottom = max(row - box_height // 2, 0), min(row + box_height // 2, height)
    left, right = max(column - box_width // 2, 0), min(column + box_width // 2, width)
    return top, left, bottom - top, right - left


def real_share(draw: MixDraw, height: int, width: int) -> float:
    """Returns the share of the mixed image that is real, in [0, 1].

    For a pixel-wise mix it is lambda. For a patch-wise mix it is the share of pixels of the real image in a frame of
    `height` x `width` pixels.
    """
    if draw.pixel:
        return draw.lam
    _, _, box_height, box_width = patch_box(draw, height, width)
    box_share = box_height * box_width / (height * width)
    return 1 - box_share if draw.generated_into_real else box_share


def pixel_mix(real: Tensor, generated: Tensor, lam: float | Tensor) -> Tensor:
    """Returns M = lambda I + (1 - lambda) G (Eq. 6).

    Args:
        real: I, (..., C, H, W) uint8 or floating.
        generated: G, the same shape and dtype.
        lam: lambda in [0, 1]; one number, or (B,) one for each image of a batch.

    Returns:
        The mixed image, with the shape and dtype of `real`; uint8 values are rounded to the nearest.
    """
    if isinstance(lam, Tensor):
        lam = lam.reshape(-1, 1, 1, 1).to(torch.float32 if real.dtype == torch.uint8 else real.dtype)
    if real.dtype != torch.uint8:
        return generated + lam * (real - generated)
    mixed = generated.float()
    mixed = mixed.lerp_(real.float(), lam)
    # The conversion goes through int16, because torch converts float to uint8 without vector instructions. The direct
    # conversion takes five times as long.
    return mixed.round_().to(torch.int16).to(torch.uint8)


def patch_mix(real: Tensor, generated: Tensor, box: Box | Tensor, generated_into_real: bool | Tensor = True) -> Tensor:
    """Returns M = M_p * I + (1 - M_p) * G, where M_p is 1 at the pixels that show the real image (Eq. 7).

    Args:
        real: I, (..., C, H, W) uint8 or floating.
        generated: G, the same shape and dtype.
        box: top, left, height and width in pixels; or a (B, 4) tensor with one box for each image of a batch.
        generated_into_real: true if the box shows the generated image (M_p is 0 there), false if it shows the real one;
            or a (B,) tensor for a batch.

    Returns:
        The mixed image, with the shape and dtype of `real`. The inputs do not change.
    """
    if isinstance(box, Tensor):
        return _patch_mix_batch(real, generated, box, generated_into_real)
    base, patch = (real, generated) if generated_into_real else (generated, real)
    top, left, height, width = box
    mixed = base.clone()
    inside = (..., slice(top, top + height), slice(left, left + width))
    mixed[inside] = patch[inside]
    return mixed


def _patch_mix_batch(real: Tensor, generated: Tensor, box: Tensor, generated_into_real: bool | Tensor) -> Tensor:
    """Mixes (B, C, H, W) images like `patch_mix`. Each image has its own box, a row of `box`."""
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
    """Returns the pixel-wise or patch-wise mix of a draw (Eq. 8).

    The arguments can be crops of the two images. Then no pixel outside the crop is computed.

    Args:
        real: (C, H, W) uint8 or floating: the whole frame, or a crop of it.
        generated: the same crop of the generated image, scaled to the frame; same shape and dtype.
        draw: the random numbers; lambda and box refer to the whole frame.
        frame: height and width of the frame; None: the images are the whole frame.
        corner: top and left of the crop in the frame.
    """
    if draw.pixel:
        return pixel_mix(real, generated, draw.lam)
    box = patch_box(draw, *(frame or real.shape[-2:]))
    return patch_mix(real, generated, _within(box, *corner), draw.generated_into_real)


def _within(box: Box, top: int, left: int) -> Box:
    """Returns a box in the coordinates of a crop at (top, left), clipped at the top and left edges of the crop."""
    first_row, first_column = max(box[0] - top, 0), max(box[1] - left, 0)
    last_row, last_column = max(box[0] + box[2] - top, 0), max(box[1] + box[3] - left, 0)
    return first_row, first_column, last_row - first_row, last_column - first_column


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resizes a (C, h, w) uint8 image to (C, height, width), bilinear and antialiased. The memory format is kept."""
    # torch recognises a single image as channels-last only by these strides. Otherwise it makes a copy and uses a
    # slower kernel.
    batch = image.permute(1, 2, 0).unsqueeze(0).permute(0, 3, 1, 2)
    return functional.interpolate(batch, (height, width), mode="bilinear", antialias=True)[0]


def cover(image: Tensor, height: int, width: int) -> Tensor:
    """Scales an image so that it covers a frame, and crops the frame from its centre.

    Args:
        image: (C, h, w) uint8.
        height: height of the frame in pixels.
        width: width of the frame in pixels.

    Returns:
        (C, height, width) uint8, scaled bilinearly with antialiasing; the input itself if it already has this size.
    """
    old_height, old_width = image.shape[-2:]
    scale = max(height / old_height, width / old_width)
    # The first crop removes pixels that the frame does not show, so that fewer pixels are scaled. The second crop is
    # exact.
    image = _centre(image, math.ceil(height / scale), math.ceil(width / scale), even=True)
    new_height, new_width = max(height, round(image.shape[-2] * scale)), max(width, round(image.shape[-1] * scale))
    if (new_height, new_width) != tuple(image.shape[-2:]):
        image = resized(image, new_height, new_width)
    return _centre(image, height, width)


def _centre(image: Tensor, height: int, width: int, even: bool = False) -> Tensor:
    """Returns the centre of an image. If `even` is true, the same number of pixels is cut from opposite sides.

    The result is then one row or column larger than requested if an exact crop would be uneven.
    """
    old_height, old_width = image.shape[-2:]
    top, left = max(old_height - height, 0) // 2, max(old_width - width, 0) // 2
    if even:
        height, width = old_height - 2 * top, old_width - 2 * left
    return image if (height, width) == (old_height, old_width) else image[..., top : top + height, left : left + width]
