"""The sheet of training batches: the images of a mixed batch with their labels, one section for each arm.

Owns the layout of the sections and the text of the labels. Does not mix: pixels and labels are arguments. Fonts and
colours of the page are in card_sheet.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from diffcore_hf.publishing.pictures.card_sheet import (
    CARD,
    INK,
    LINE,
    MARGIN,
    MUTED,
    PAPER,
    WIDTH,
    draw_title,
    fitted,
    rounded_mask,
    sheet_font,
)

COLUMNS, LINES = 6, 3
"""Number of images in a row, and largest number of lines of labels under an image."""
_GAP, _HEADER, _NAME, _LINE = 16, 82, 42, 18
_BAR, _TRACK = "#bfd6ef", "#f1f3f5"


@dataclass(frozen=True)
class BatchTile:
    """One image of a batch."""

    pixels: npt.NDArray[np.uint8]
    """(S, S, 3): the image as the network gets it, before normalisation."""
    labels: Mapping[str, float]
    """Weight of each class that has one, the largest first."""


@dataclass(frozen=True)
class BatchSection:
    """The first images of a batch of one arm."""

    name: str
    note: str
    """Text beside the name, such as the options of the mixer; may be empty."""
    tiles: Sequence[BatchTile]


def batch_sheet(sections: Sequence[BatchSection], *, title: str, legend: str) -> Image.Image:
    """Draw the sections below each other. The sheet is 1200 pixels wide.

    Returns:
        An RGB image; equal arguments give equal pixels.
    """
    side = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * _GAP) // COLUMNS
    # The longest list of labels decides the height of a section.
    lines = [max((len(label_lines(tile.labels)) for tile in section.tiles), default=1) for section in sections]
    steps = [side + count * _LINE + 26 for count in lines]
    heights = [_NAME + -(-len(section.tiles) // COLUMNS) * step for section, step in zip(sections, steps, strict=True)]
    page = Image.new("RGB", (WIDTH, MARGIN + _HEADER + sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw_title(draw, WIDTH, title, legend)
    plain = sheet_font(14)
    top = MARGIN + _HEADER
    for section, step, height in zip(sections, steps, heights, strict=True):
        name = sheet_font(18, bold=True)
        draw.text((MARGIN, top + 18), section.name, font=name, fill=INK, anchor="lm")
        left = MARGIN + name.getlength(section.name) + 14
        note = fitted(section.note, plain, WIDTH - MARGIN - left)
        draw.text((left, top + 19), note, font=plain, fill=MUTED, anchor="lm")
        for index, tile in enumerate(section.tiles):
            corner = (MARGIN + index % COLUMNS * (side + _GAP), top + _NAME + index // COLUMNS * step)
            _draw_tile(page, draw, tile, corner, (side, step - 18))
        top += height
    return page


def _draw_tile(
    page: Image.Image, draw: ImageDraw.ImageDraw, tile: BatchTile, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    """Draw an image and its labels. `size` is (side of the image, height of the image with its labels)."""
    (left, top), (side, height) = corner, size
    page.paste(LINE, (left - 5, top - 5), rounded_mask(side + 10, height + 8, 8))
    page.paste(CARD, (left - 4, top - 4), rounded_mask(side + 8, height + 6, 7))
    pixels = Image.fromarray(tile.pixels).resize((side, side), Image.Resampling.LANCZOS)
    page.paste(pixels, corner, rounded_mask(side, side, 5))
    for index, (name, weight) in enumerate(label_lines(tile.labels)):
        middle = top + side + 14 + index * _LINE
        _draw_label(draw, name, weight, (left, middle), side)


def _draw_label(draw: ImageDraw.ImageDraw, name: str, weight: float | None, place: tuple[int, int], side: int) -> None:
    """Draw the name of a class with a bar for its weight; a line without a weight is plain text."""
    left, middle = place
    font = sheet_font(12)
    if weight is None:
        draw.text((left + 4, middle), fitted(name, font, side - 8), font=font, fill=MUTED, anchor="lm")
        return
    share = f"{100 * weight:.0f} %"
    draw.rectangle((left, middle - 7, left + side - 1, middle + 7), fill=_TRACK)
    filled = round(min(max(weight, 0), 1) * (side - 1))
    draw.rectangle((left, middle - 7, left + filled, middle + 7), fill=_BAR)
    name = fitted(name, font, side - font.getlength(share) - 18)
    draw.text((left + 8, middle), name, font=font, fill=INK, anchor="lm")
    draw.text((left + side - 4, middle), share, font=font, fill=INK, anchor="rm")


def label_lines(labels: Mapping[str, float], lines: int = LINES) -> list[tuple[str, float | None]]:
    """Return the classes with the largest weights, and one line for all others if there are too many."""
    ordered = sorted(labels.items(), key=lambda item: -item[1])
    if len(ordered) <= lines:
        return list(ordered)
    shown: list[tuple[str, float | None]] = list(ordered[: lines - 1])
    rest = ordered[lines - 1 :]
    return [*shown, (f"{len(rest)} other classes: {100 * sum(weight for _, weight in rest):.0f} %", None)]
