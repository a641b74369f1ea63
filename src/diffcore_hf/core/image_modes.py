"""Modes: converts an image of any mode of Pillow to RGB with 8 bits per channel.

The conversion works on horizontal strips. So it needs the memory of the result and of one strip, not of several copies
of a large image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

GreyRange = Literal["dtype", "data"]
"""How grey with more than 8 bits becomes 8 bits: by the range of the type, or by the range of the image's values."""

STRIP_PIXELS = 2**18
"""Pixels that are converted at a time."""

DARK = 65_535 // 8
"""An image with 16-bit grey becomes nearly black if its largest value is at most this number.

Cameras with 12 bits write such files.
"""


def to_rgb(image: Image.Image, *, reduction: int = 1, grey_range: GreyRange = "dtype") -> Image.Image:
    """Convert an image of any mode to RGB: transparency on white, 16-bit and 32-bit grey scaled to 8 bits.

    Args:
        image: the image. An RGB image is returned unchanged, unless it is reduced.
        reduction: factor by which width and height are reduced; the mean of each square of pixels is taken.
        grey_range: `dtype` or `data`, see GreyRange.
    """
    if reduction == 1 and image.mode == "RGB" and "transparency" not in image.info:
        return image
    scale = _grey_scale(image, grey_range) if is_deep_grey(image) else None
    width, height = image.size
    rows = max(1, STRIP_PIXELS // max(width, 1) // reduction) * reduction
    if rows >= height and reduction == 1:
        return _strip_to_rgb(image, scale)
    result = Image.new("RGB", (math.ceil(width / reduction), math.ceil(height / reduction)))
    for top in range(0, height, rows):
        strip = _strip_to_rgb(image.crop((0, top, width, min(top + rows, height))), scale)
        result.paste(strip.reduce(reduction) if reduction > 1 else strip, (0, top // reduction))
    return result


def to_array(image: Image.Image) -> np.ndarray:
    """Return an RGB image as (H, W, 3) uint8, writable."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if (top, bottom) == (0, height) else image.crop((0, top, width, bottom))
        pixels[top:bottom] = np.asarray(strip, dtype=np.uint8)
    return pixels


def is_deep_grey(image: Image.Image) -> bool:
    """Return whether an image is grey with more than 8 bits per pixel."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def looks_underexposed(image: Image.Image) -> bool:
    """Return whether 16-bit grey becomes nearly black, because its values use less than an eighth of the range.

    Args:
        image: the image in the mode of its file, before it is converted.
    """
    if not is_deep_grey(image) or image.mode == "F":
        return False
    low, high = _range(image)
    divided = image.mode.startswith("I;16") or (low >= 0 and high > 255)
    return divided and low < high <= DARK


@dataclass(frozen=True)
class _GreyScale:
    """Map of grey values to 0 .. 255: (value - offset) * factor / divisor."""

    offset: float = 0.0
    factor: float = 1.0
    divisor: float = 1.0

    def apply(self, image: Image.Image) -> np.ndarray:
        values = (_values(image) - self.offset) * self.factor / self.divisor
        return values.round().clip(0, 255).astype(np.uint8)


def _grey_scale(image: Image.Image, grey_range: GreyRange) -> _GreyScale:
    """Return the scale of an image with deep grey.

    16-bit modes are divided by 257. For modes `I` and `F` the scale depends on the range of the values.
    """
    if image.mode.startswith("I;16") and grey_range == "dtype":
        return _GreyScale(divisor=257)
    low, high = _range(image)
    if grey_range == "data" and low < high:
        return _GreyScale(low, 255 / (high - low))
    if image.mode.startswith("I;16"):
        return _GreyScale(divisor=257)
    if image.mode == "F" and low >= 0 and high <= 1:
        return _GreyScale(factor=255)
    if low < 0 or high > 65535:
        return _GreyScale(low, 255 / (high - low) if high > low else 0.0)
    return _GreyScale(divisor=257) if high > 255 else _GreyScale()


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and the largest value of a grey image."""
    width, height = image.size
    rows = max(1, STRIP_PIXELS // max(width, 1))
    strips = (_values(image.crop((0, top, width, min(top + rows, height)))) for top in range(0, height, rows))
    ranges = [(float(values.min()), float(values.max())) for values in strips]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _values(image: Image.Image) -> np.ndarray:
    """Return the values of a grey image as float64; NaN becomes 0."""
    values: np.ndarray = np.nan_to_num(np.asarray(image).astype(np.float64))
    return values


def _strip_to_rgb(image: Image.Image, scale: _GreyScale | None) -> Image.Image:
    """Return a small image as RGB."""
    if scale is not None:
        return Image.fromarray(scale.apply(image)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        if image.mode == "La":  # Pillow converts premultiplied grey only to LA
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
