"""Planted leaks: changes that a person might make to an image of a test split, to present it as a generated image."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from random import Random

from PIL import Image, ImageEnhance, ImageOps

Change = Callable[[Image.Image, Random], Image.Image]

SIDE = 0.75
"""Side of a crop, as a share of the side of the image."""


def reencoded(image: Image.Image, random: Random) -> Image.Image:
    """Stores the image as JPEG with a low quality."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=random.choice((30, 50, 70)))
    return Image.open(buffer).convert("RGB")


def cropped(image: Image.Image, random: Random) -> Image.Image:
    """Cuts a random part of 75 % of the width and height."""
    return _part(image, round(SIDE * image.width), round(SIDE * image.height), random)


def cropped_square(image: Image.Image, random: Random) -> Image.Image:
    """Cuts a random square of 75 % of the shorter side."""
    side = round(SIDE * min(image.size))
    return _part(image, side, side, random)


def mirrored(image: Image.Image, random: Random) -> Image.Image:
    """Mirrors the image."""
    return ImageOps.mirror(image)


def recoloured(image: Image.Image, random: Random) -> Image.Image:
    """Changes the colours, the contrast and the brightness."""
    image = random.choice((_other_hue, _other_channels, _other_saturation, _other_curves))(image, random)
    image = ImageEnhance.Contrast(image).enhance(random.uniform(0.7, 1.3))
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2))


def scaled(image: Image.Image, random: Random) -> Image.Image:
    """Changes the size to between 40 % and 200 %."""
    factor = random.uniform(0.4, 2)
    size = max(16, round(factor * image.width)), max(16, round(factor * image.height))
    return image.resize(size, Image.Resampling.BICUBIC)


def squeezed(image: Image.Image, random: Random) -> Image.Image:
    """Scales the image to a square, as many training pipelines do."""
    side = random.choice((64, 128, 256))
    return image.resize((side, side), Image.Resampling.BICUBIC)


def everything(image: Image.Image, random: Random) -> Image.Image:
    """Crops, mirrors, recolours, scales and encodes the image."""
    for change in (random.choice((cropped, cropped_square)), mirrored, recoloured, squeezed, reencoded):
        image = change(image, random)
    return image


CHANGES: Mapping[str, Change] = {
    "re-encoded": reencoded,
    "cropped to 75 % of the sides": cropped,
    "cropped to a square of 75 % of the shorter side": cropped_square,
    "mirrored": mirrored,
    "recoloured": recoloured,
    "scaled": scaled,
    "squeezed to a square": squeezed,
    "all of these": everything,
}
"""Name of each change in the table -> its function."""


def _part(image: Image.Image, width: int, height: int, random: Random) -> Image.Image:
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _other_hue(image: Image.Image, random: Random) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turn = random.randint(20, 235)
    return Image.merge("HSV", (hue.point(lambda v: (v + turn) % 256), saturation, value)).convert("RGB")


def _other_channels(image: Image.Image, random: Random) -> Image.Image:
    return Image.merge("RGB", random.sample(image.split(), 3))


def _other_saturation(image: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Color(image).enhance(random.choice((0.0, 0.3, 2.0)))


def _other_curves(image: Image.Image, random: Random) -> Image.Image:
    table: list[int] = []
    for _ in range(3):
        power = random.uniform(0.6, 1.6)
        table += [round(255 * (value / 255) ** power) for value in range(256)]
    return image.point(table)
