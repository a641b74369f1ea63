"""Card sheet: draws cards in columns with a title, a legend, and the number of cards by colour.

Owns the sizes, colours and fonts of all sheets. Does not choose the images (contact_sheet.py, mixed_sheet.py), read
files or load models.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from diffcore_hf.core.images import UnreadableImage, decode_bytes
from diffcore_hf.publishing.card.text import one_line

INK, MUTED, PAPER, CARD, LINE, BLANK = "#23272f", "#6b7280", "#f7f6f3", "#ffffff", "#e5e2dc", "#f0eeea"
HATCHING = "#dcd9d2"

WIDTH, MARGIN, GAP, PADDING, BETWEEN = 1200, 36, 20, 12, 8
"""Pixels: page width, page margin, gap between cards, padding in a card, gap between the images of a card."""

HEADER, CAPTIONS, TEXT = 86, 28, 100
"""Heights in pixels: of title and legend, of the column captions, of the text under the images."""


@dataclass(frozen=True)
class Card:
    """Images that a sheet shows side by side, and the text under them."""

    images: tuple[bytes | None, ...]
    """Encoded images; None is shown as a placeholder. Every card of a sheet has the same number."""
    name: str
    context: str
    """Context of the prompt; "" if the prompt names none."""
    label: str
    """Text in the label, a small coloured field."""
    number: str
    """Text to the right of the label."""
    colour: str
    """Colour of the label's text and of the number."""
    tint: str
    """Background colour of the label."""


@dataclass(frozen=True)
class _Layout:
    """Sizes and positions of the cards of one sheet, in pixels."""

    columns: int
    card_width: int
    card_height: int
    side: int
    """Side of the square in which an image is drawn."""

    def corner(self, index: int) -> tuple[int, int]:
        """Returns the left and the top edge of a card in pixels."""
        left = MARGIN + index % self.columns * (self.card_width + GAP)
        top = MARGIN + HEADER + CAPTIONS + index // self.columns * (self.card_height + GAP)
        return left, top


def draw_sheet(
    cards: Sequence[Card],
    *,
    title: str,
    legend: str,
    captions: Sequence[str],
    kinds: Mapping[str, str],
    columns: int,
    empty: str,
) -> Image.Image:
    """Draws cards in columns. The sheet is 1200 pixels wide, or less if it has fewer cards than columns.

    Args:
        cards: the cards in reading order.
        title: title in one line.
        legend: one line that explains the text under the images.
        captions: captions above the columns, one for each image of a card.
        kinds: colour -> name of the cards of that colour; their number is shown at the top.
        columns: number of cards in a row.
        empty: text of a sheet without cards.

    Returns:
        An RGB image; equal arguments give equal pixels.

    Raises:
        ValueError: columns is below 1.
    """
    if columns < 1:
        raise ValueError(f"columns is {columns}: a sheet has at least one")
    card_width = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    side = (card_width - 2 * PADDING - (len(captions) - 1) * BETWEEN) // len(captions)
    layout = _Layout(columns, card_width, PADDING + side + TEXT, side)
    used_columns = min(columns, max(len(cards), 2))
    rows = max(1, -(-len(cards) // columns))
    width = 2 * MARGIN + used_columns * card_width + (used_columns - 1) * GAP
    height = MARGIN + HEADER + CAPTIONS + rows * (layout.card_height + GAP) - GAP + MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    counts = Counter(card.colour for card in cards)
    _draw_header(page, draw, title, legend, [(colour, counts[colour], word) for colour, word in kinds.items()])
    if not cards:
        middle = (width / 2, MARGIN + HEADER + layout.card_height / 2)
        draw.text(middle, empty, font=sheet_font(18), fill=MUTED, anchor="mm")
    for column in range(min(columns, len(cards))):
        _draw_captions(draw, captions, layout, column)
    for index, card in enumerate(cards):
        _draw_card(page, draw, card, layout, index)
    return page


def png_bytes(image: Image.Image) -> bytes:
    """Encodes an image as PNG without metadata, so that equal images give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_header(
    page: Image.Image, draw: ImageDraw.ImageDraw, title: str, legend: str, counts: Sequence[tuple[str, int, str]]
) -> None:
    """Draws the title and the legend on the left, and the number of cards of each colour on the right."""
    right, middle = float(page.width - MARGIN), MARGIN + 16
    for colour, count, word in reversed(counts):
        if count:
            text = f"{count} {word}"
            draw.text((right, middle), text, font=sheet_font(16), fill=INK, anchor="rm")
            right -= sheet_font(16).getlength(text) + 18
            page.paste(colour, (round(right), middle - 5), rounded_mask(11, 11, 5))
            right -= 22
    draw_title(draw, page.width, title, legend, right)


def draw_title(draw: ImageDraw.ImageDraw, width: int, title: str, legend: str, title_end: float | None = None) -> None:
    """Draws the title, the legend and the line below them.

    Args:
        draw: the page.
        width: width of the page in pixels.
        title: title in one line.
        legend: legend in one line.
        title_end: right edge of the title in pixels; None: the margin.
    """
    bold, plain = sheet_font(26, bold=True), sheet_font(14)
    title = fitted(title, bold, (width - MARGIN if title_end is None else title_end) - MARGIN)
    legend = fitted(legend, plain, width - 2 * MARGIN)
    draw.text((MARGIN, MARGIN + 16), title, font=bold, fill=INK, anchor="lm")
    draw.text((MARGIN, MARGIN + 46), legend, font=plain, fill=MUTED, anchor="lm")
    draw.line((MARGIN, MARGIN + 68, width - MARGIN, MARGIN + 68), fill=LINE)


def _draw_captions(draw: ImageDraw.ImageDraw, captions: Sequence[str], layout: _Layout, column: int) -> None:
    left = layout.corner(column)[0] + PADDING
    for position, caption in enumerate(captions):
        middle = left + position * (layout.side + BETWEEN) + layout.side / 2
        draw.text((middle, MARGIN + HEADER + 8), caption, font=sheet_font(14), fill=MUTED, anchor="mm")


def _draw_card(page: Image.Image, draw: ImageDraw.ImageDraw, card: Card, layout: _Layout, index: int) -> None:
    """Draws the images of a card and the text under them."""
    (left, top), width, height, side = layout.corner(index), layout.card_width, layout.card_height, layout.side
    page.paste(LINE, (left, top), rounded_mask(width, height, 12))
    page.paste(CARD, (left + 1, top + 1), rounded_mask(width - 2, height - 2, 11))
    for position, data in enumerate(card.images):
        corner = (left + PADDING + position * (side + BETWEEN), top + PADDING)
        page.paste(_square(data, side), corner, rounded_mask(side, side, 6))
    edge, inner = left + PADDING + 2, width - 2 * PADDING - 4
    below = top + PADDING + side
    bold = sheet_font(18, bold=True)
    draw.text((edge, below + 24), fitted(card.name, bold, inner), font=bold, fill=INK, anchor="ls")
    context = one_line(card.context) or "(no context)"
    draw.text((edge, below + 47), fitted(context, sheet_font(15), inner), font=sheet_font(15), fill=MUTED, anchor="ls")
    number = sheet_font(16, bold=True)
    draw.text((edge + inner, below + 73), card.number, font=number, fill=card.colour, anchor="rm")
    label = fitted(card.label, sheet_font(14), inner - number.getlength(card.number) - 30)
    label_width = round(sheet_font(14).getlength(label)) + 20
    page.paste(card.tint, (edge - 2, below + 60), rounded_mask(label_width, 26, 13))
    draw.text((edge + 8, below + 73), label, font=sheet_font(14), fill=card.colour, anchor="lm")


def _square(data: bytes | None, side: int) -> Image.Image:
    """Returns an image scaled into a square, or a placeholder if the image is missing or cannot be decoded."""
    try:
        image = decode_bytes(data or b"")
    except UnreadableImage:
        return _placeholder(side)
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    scaled = image.resize((width, height), Image.Resampling.LANCZOS)
    if scaled.size == (side, side):
        return scaled
    square = Image.new("RGB", (side, side), BLANK)
    square.paste(scaled, ((side - width) // 2, (side - height) // 2))
    return square


def _placeholder(side: int) -> Image.Image:
    """Draws diagonal hatching in the place of a missing image."""
    image = Image.new("RGB", (side, side), BLANK)
    draw = ImageDraw.Draw(image)
    for start in range(-side, side, 14):
        draw.line((start, side, start + side, 0), fill=HATCHING, width=2)
    font = sheet_font(14)
    half = font.getlength("no image") / 2 + 8
    draw.rounded_rectangle((side / 2 - half, side / 2 - 13, side / 2 + half, side / 2 + 13), 6, fill=BLANK)
    draw.text((side / 2, side / 2), "no image", font=font, fill=MUTED, anchor="mm")
    return image


def fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Returns the text in one line. If it is wider than `width` pixels, returns its start and an ellipsis."""
    line = one_line(text)[:400]
    if font.getlength(line) <= width:
        return line
    short, long = 0, len(line)
    while short < long:
        middle = (short + long + 1) // 2
        if font.getlength(line[:middle].rstrip() + "…") <= width:
            short = middle
        else:
            long = middle - 1
    return line[:short].rstrip() + "…"


@lru_cache(maxsize=16)
def sheet_font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Loads DejaVu Sans from matplotlib, the same font on every machine. Characters that it lacks appear as boxes."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=64)
def rounded_mask(width: int, height: int, radius: int) -> Image.Image:
    """Draws a mask with smooth round corners."""
    mask = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width * 4 - 1, height * 4 - 1), radius * 4, fill=255)
    return mask.resize((width, height), Image.Resampling.LANCZOS)
