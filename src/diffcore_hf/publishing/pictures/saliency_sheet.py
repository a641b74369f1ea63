"""The sheet of saliency maps: one row for each image, one column for each arm of a comparison.

Owns the colours of the maps and the text under them. Does not compute maps: pixels, maps and masks are arguments. Fonts
and colours of the page are in card_sheet.py.

All maps of a sheet have one scale: the value of a pixel divided by the mean of its map. So maps of different networks
can be compared, and no map is stretched to its own minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from diffcore_hf.publishing.pictures.card_sheet import (
    BLANK,
    INK,
    MARGIN,
    MUTED,
    PAPER,
    draw_title,
    fitted,
    rounded_mask,
    sheet_font,
)
from diffcore_hf.publishing.pictures.contact_sheet import KEPT, REJECTED

HIGHEST = 4.0
"""Highest value of the colour scale: the value of a pixel divided by the mean of its map. Higher values have the same
colour."""
OUTLINE = (70, 235, 255)
"""Colour of the outline of a mask."""
_WIDTH, _LARGEST, _SMALLEST, _GAP, _HEADER, _CAPTION, _TEXT, _LEGEND = 1200, 230, 104, 14, 82, 30, 48, 64


@dataclass(frozen=True)
class SaliencyTile:
    """One image, and its map by one network."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3): the image."""
    map: npt.NDArray[np.float32]
    """(H, W), at least 0."""
    mask: npt.NDArray[np.bool_] | None
    """(H, W); None if there is no mask."""
    label: str
    predicted: str
    confidence: float
    """Probability of the predicted class."""
    energy: float | None
    """Share of the map inside the mask; None if there is no mask."""


def saliency_sheet(
    arms: Sequence[str], rows: Sequence[Sequence[SaliencyTile]], *, title: str, legend: str
) -> Image.Image:
    """Draw the images and their maps.

    Args:
        arms: name of each column of maps.
        rows: for each image one tile per arm, in the order of `arms`.
        title: title in one line.
        legend: one line that explains the maps.

    Returns:
        An RGB image; equal arguments give equal pixels. It is 1200 pixels wide, more if there are many arms, and less
        if there are few.
    """
    columns = len(arms) + 1
    side = min(_LARGEST, max(_SMALLEST, (_WIDTH - 2 * MARGIN - (columns - 1) * _GAP) // columns))
    width = max(2 * MARGIN + columns * side + (columns - 1) * _GAP, 760)
    step = side + _TEXT
    top = MARGIN + _HEADER + _CAPTION
    page = Image.new("RGB", (width, top + len(rows) * step + _LEGEND + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw_title(draw, width, title, legend)
    for column, caption in enumerate(("image", *arms)):
        middle = MARGIN + column * (side + _GAP) + side / 2
        font = sheet_font(14, bold=column > 0)
        draw.text((middle, top - 14), fitted(caption, font, side), font=font, fill=INK, anchor="mm")
    for index, tiles in enumerate(rows):
        corner = (MARGIN, top + index * step)
        _draw_image(page, draw, tiles[0], corner, side)
        for column, tile in enumerate(tiles, 1):
            _draw_map(page, draw, tile, (MARGIN + column * (side + _GAP), corner[1]), side)
    has_mask = any(tile.mask is not None for tiles in rows for tile in tiles)
    _draw_scale(page, draw, top + len(rows) * step + 14, has_mask)
    return page


def heat(pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return a map in colours over the grey image: (H, W, 3) and (H, W) -> (H, W, 3)."""
    mean = float(values.mean())
    shares = np.clip(values / mean / HIGHEST, 0, 1) if mean > 0 else np.zeros_like(values)
    grey = pixels.astype(np.float64) @ [0.299, 0.587, 0.114]
    opacity = (0.85 * np.sqrt(shares))[..., None]
    colours = _colours()[(shares * 255).round().astype(int)]
    mixed = (1 - opacity) * (0.25 * 255 + 0.75 * grey)[..., None] + opacity * colours
    return mixed.round().clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _colours() -> npt.NDArray[np.float64]:
    """Return the colours of 256 values from 0 to HIGHEST, (256, 3)."""
    import matplotlib

    table = matplotlib.colormaps["inferno"](np.linspace(0.2, 1, 256))
    colours: npt.NDArray[np.float64] = table[:, :3] * 255
    return colours


def _draw_image(
    page: Image.Image, draw: ImageDraw.ImageDraw, tile: SaliencyTile, corner: tuple[int, int], side: int
) -> None:
    page.paste(_scaled(tile.pixels, tile.mask, side), corner, rounded_mask(side, side, 6))
    font = sheet_font(13, bold=True)
    draw.text((corner[0] + 2, corner[1] + side + 14), fitted(tile.label, font, side), font=font, fill=INK, anchor="lm")
    if tile.mask is not None:
        text = f"object: {100 * tile.mask.mean():.0f} % of the area"
        small = sheet_font(12)
        draw.text(
            (corner[0] + 2, corner[1] + side + 32), fitted(text, small, side), font=small, fill=MUTED, anchor="lm"
        )


def _draw_map(
    page: Image.Image, draw: ImageDraw.ImageDraw, tile: SaliencyTile, corner: tuple[int, int], side: int
) -> None:
    page.paste(_scaled(heat(tile.pixels, tile.map), tile.mask, side), corner, rounded_mask(side, side, 6))
    right = tile.predicted == tile.label
    name = "✓" if right else f"✗ {tile.predicted}"
    share = f"{100 * tile.confidence:.0f} %"
    font = sheet_font(13)
    name = fitted(name, font, side - font.getlength(share) - 10)
    height = corner[1] + side + 14
    draw.text((corner[0] + 2, height), name, font=font, fill=KEPT if right else REJECTED, anchor="lm")
    draw.text((corner[0] + side - 2, height), share, font=font, fill=KEPT if right else REJECTED, anchor="rm")
    if tile.energy is not None:
        text = f"{100 * tile.energy:.0f} % of the map on the object"
        small = sheet_font(12)
        text = text if small.getlength(text) <= side else f"{100 * tile.energy:.0f} % on it"
        draw.text((corner[0] + 2, height + 18), fitted(text, small, side), font=small, fill=MUTED, anchor="lm")


def _scaled(pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None, side: int) -> Image.Image:
    """Return pixels in a square, with the outline of the mask if there is one."""
    image = Image.fromarray(pixels)
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    size = (width, height)
    image = image.resize(size, Image.Resampling.LANCZOS)
    if mask is not None:
        shape = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BICUBIC)
        shape = shape.filter(ImageFilter.GaussianBlur(1)).point(lambda value: 255 if value > 127 else 0)
        inner = np.asarray(shape.filter(ImageFilter.MinFilter(3)))
        edge = Image.fromarray(np.where(inner < np.asarray(shape), 255, 0).astype(np.uint8))
        image.paste(OUTLINE, (0, 0), edge)
    if image.size == (side, side):
        return image
    square = Image.new("RGB", (side, side), BLANK)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _draw_scale(page: Image.Image, draw: ImageDraw.ImageDraw, top: int, has_mask: bool) -> None:
    """Draw the colours with their values, and the outline of a mask."""
    length, height = 260, 14
    shares = np.linspace(0, 1, length, dtype=np.float32)
    values = np.tile(shares, (height, 1))
    opacity = (0.85 * np.sqrt(values))[..., None]
    bar = (1 - opacity) * 175 + opacity * _colours()[(values * 255).round().astype(int)]
    page.paste(Image.fromarray(bar.round().astype(np.uint8)), (MARGIN, top), rounded_mask(length, height, 4))
    font = sheet_font(12)
    for value in range(int(HIGHEST) + 1):
        text = f"{value}" if value < HIGHEST else f"{value} or more"
        draw.text((MARGIN + length * value / HIGHEST, top + height + 12), text, font=font, fill=MUTED, anchor="mm")
    left = MARGIN + length + 56
    text = "value of the map divided by its mean; an even map is 1"
    draw.text((left, top + height / 2), text, font=font, fill=INK, anchor="lm")
    if has_mask:
        middle = top + height + 12
        draw.line((left, middle, left + 24, middle), fill=OUTLINE, width=3)
        draw.text((left + 32, middle), "outline of the object", font=font, fill=INK, anchor="lm")
