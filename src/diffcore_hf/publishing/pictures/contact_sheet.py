"""The contact sheet: real and generated images side by side, each with its context, similarity and decision.

Owns which attempts are shown and how every sheet of ours looks (mixed_sheet.py is another). Gets encoded images and
decisions handed in, reads no files and loads no model. Its plots are in histograms.py.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.images import UnreadableImage, decode_bytes
from diffcore_hf.method import checks
from diffcore_hf.publishing.card.text import one_line

INK, MUTED, PAPER, CARD, LINE, BLANK = "#23272f", "#6b7280", "#f7f6f3", "#ffffff", "#e5e2dc", "#f0eeea"
KEPT, REJECTED, UNDECIDED = "#2f7d5b", "#b3423a", "#70757d"
_TINTS = {KEPT: "#e7f3ec", REJECTED: "#faebe9", UNDECIDED: "#eeeeec"}

WIDTH, MARGIN, GAP, PADDING, BETWEEN = 1200, 36, 20, 12, 8
_HEADER, _CAPTIONS, _TEXT = 86, 28, 100  # heights: title and legend, column captions, the text under the images
_LEGEND = "Under each pair: the class, the context it was prompted with, the decision, the similarity of the two images"


@dataclass(frozen=True)
class Card:
    """What a sheet shows together: some images side by side, and what is said of them."""

    images: tuple[bytes | None, ...]
    """Encoded; None: there is none to show. As many on every card of a sheet."""
    name: str
    context: str
    """"" is the dataset's own look."""
    words: str
    """In the pill."""
    number: str
    """At the right."""
    colour: str
    """Of the words and the number."""
    tint: str
    """Of the pill."""


@dataclass(frozen=True)
class Tile:
    """One attempt on the sheet."""

    real: bytes | None  # the encoded image of the row; None: there is none to show
    generated: bytes | None  # the encoded image of the attempt
    name: str  # the class, as prompts call it
    context: str  # "" is the dataset's own look
    similarity: float | None  # S(I, G)
    reason: str  # of the decision: 'kept', 'low_rank', ...; "" before any filter


def contact_sheet(tiles: Sequence[Tile], *, title: str, columns: int = 3, real: bool = True) -> Image.Image:
    """Draw the sheet: a card per tile, `columns` a row, 1200 pixels wide (less for fewer tiles than columns).

    Args:
        tiles: in the order in which they are read.
        title: in one line.
        columns: of cards; without real images twice as many.
        real: whether the real images are shown as well.

    Returns:
        An RGB image; equal arguments give equal pixels.

    Raises:
        UserError: no columns.
    """
    cards = []
    for tile in tiles:
        words, colour = decision_words(tile.reason)
        number = "–" if tile.similarity is None else f"{tile.similarity:.2f}"
        images = (tile.real, tile.generated) if real else (tile.generated,)
        cards.append(Card(images, tile.name, tile.context, words, number, colour, _TINTS[colour]))
    return sheet(
        cards,
        title=title,
        legend=_LEGEND,
        captions=("real", "generated") if real else ("generated",),
        kinds={KEPT: "kept", REJECTED: "rejected", UNDECIDED: "other"},
        columns=columns if real else 2 * columns,
        empty="no attempts yet",
    )


def sheet(
    cards: Sequence[Card],
    *,
    title: str,
    legend: str,
    captions: Sequence[str],
    kinds: Mapping[str, str],
    columns: int,
    empty: str,
) -> Image.Image:
    """Draw cards, `columns` a row, 1200 pixels wide (less for fewer cards than columns).

    Args:
        cards: in the order in which they are read.
        title: in one line.
        legend: what stands under the images, in one line.
        captions: above each image of a card.
        kinds: colour -> what cards of that colour are, counted at the top.
        columns: of cards.
        empty: said where there is no card.

    Returns:
        An RGB image; equal arguments give equal pixels.

    Raises:
        UserError: no columns.
    """
    if columns < 1:
        raise UserError(f"columns is {columns}: a sheet has at least one")
    cell = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    used = min(columns, max(len(cards), 2))
    rows = -(-len(cards) // columns)
    side = (cell - 2 * PADDING - (len(captions) - 1) * BETWEEN) // len(captions)
    height = PADDING + side + _TEXT
    width = 2 * MARGIN + used * cell + (used - 1) * GAP
    total = MARGIN + _HEADER + _CAPTIONS + max(1, rows) * (height + GAP) - GAP + MARGIN
    page = Image.new("RGB", (width, total), PAPER)
    draw = ImageDraw.Draw(page)
    counts = Counter(card.colour for card in cards)
    _header(page, draw, title, legend, [(colour, counts[colour], word) for colour, word in kinds.items()])
    top = MARGIN + _HEADER
    if not cards:
        draw.text((width / 2, top + height / 2), empty, font=_font(18), fill=MUTED, anchor="mm")
    for column in range(min(columns, len(cards))):
        left = MARGIN + column * (cell + GAP) + PADDING
        for place, word in enumerate(captions):
            middle = left + place * (side + BETWEEN) + side / 2
            draw.text((middle, top + 8), word, font=_font(14), fill=MUTED, anchor="mm")
    for index, card in enumerate(cards):
        left = MARGIN + index % columns * (cell + GAP)
        above = top + _CAPTIONS + index // columns * (height + GAP)
        _card(page, draw, card, left, above, cell, height, side)
    return page


def png_bytes(image: Image.Image) -> bytes:
    """The image as PNG, without metadata: equal images give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def choose_tiles(attempts: Sequence[tuple[str, str, str]], count: int = 12) -> list[int]:
    """Which attempts a sheet shows: different classes and contexts, about a third of them rejected.

    Args:
        attempts: (class name, context, reason) of each, in plan order; superseded ones are never chosen.
        count: how many at most.

    Returns:
        Places in `attempts`: a function of the arguments alone, the rejected spread among the kept.
    """
    groups: dict[bool, dict[tuple[str, ...], list[int]]] = {True: defaultdict(list), False: defaultdict(list)}
    for place, (name, context, reason) in enumerate(attempts):
        members = groups[reason == "kept"][name, context, reason]
        if reason != "superseded" and len(members) < count:
            members.append(place)
    return interleaved(groups[True], groups[False], count, share=1 / 3)


def interleaved(
    most: Mapping[tuple[str, ...], list[int]], others: Mapping[tuple[str, ...], list[int]], count: int, *, share: float
) -> list[int]:
    """A choice of two kinds of places, the one spread evenly among the other.

    Args:
        most: places by what they are like: (class, context, ...).
        others: the same of the other kind.
        count: how many places at most.
        share: of the others, about; more or fewer where there are not enough of a kind.
    """
    many, few = (sum(map(len, groups.values())) for groups in (most, others))
    few = min(few, max(round(count * share), count - many))
    many = min(many, count - few)
    seen: list[Counter] = []
    first, second = _spread(most, many, seen), _spread(others, few, seen)
    total, order = many + few, []
    for place in range(total):
        due = (place + 1) * few // total - place * few // total
        order.append((second if due else first).pop(0))
    return order


def _spread(groups: Mapping[tuple[str, ...], list[int]], count: int, seen: list[Counter]) -> list[int]:
    """Take `count` places, each from the group whose class, then context, ... was seen least."""
    left = {key: list(members) for key, members in groups.items() if members}
    seen += [Counter() for _ in range(len(next(iter(left), ())) - len(seen))]
    chosen = []
    for _ in range(count):
        key = min(left, key=lambda k: (*(counter[word] for counter, word in zip(seen, k, strict=True)), left[k][0]))
        chosen.append(left[key].pop(0))
        for counter, value in zip(seen, key, strict=True):
            counter[value] += 1
        if not left[key]:
            del left[key]
    return chosen


def decision_words(reason: str) -> tuple[str, str]:
    """A decision in plain words, and its colour."""
    cause, _, _ = reason.partition(":")
    if cause == "kept":
        return "✓ kept", KEPT
    if cause == "superseded":
        return "an earlier one is kept", UNDECIDED
    if not cause:
        return "not judged", UNDECIDED
    return f"✗ rejected: {checks.labels().get(cause, one_line(cause))}", REJECTED


def _header(
    page: Image.Image, draw: ImageDraw.ImageDraw, title: str, legend: str, counts: Sequence[tuple[str, int, str]]
) -> None:
    """The title on the left; how many of each colour on the right."""
    right, middle = page.width - MARGIN, MARGIN + 16
    for colour, count, word in reversed(counts):
        if count:
            text = f"{count} {word}"
            draw.text((right, middle), text, font=_font(16), fill=INK, anchor="rm")
            right -= _font(16).getlength(text) + 18
            page.paste(colour, (round(right), middle - 5), _rounded(11, 11, 5))
            right -= 22
    head, below = _fit(title, _font(26, bold=True), right - MARGIN), _fit(legend, _font(14), page.width - 2 * MARGIN)
    draw.text((MARGIN, middle), head, font=_font(26, bold=True), fill=INK, anchor="lm")
    draw.text((MARGIN, MARGIN + 46), below, font=_font(14), fill=MUTED, anchor="lm")
    draw.line((MARGIN, MARGIN + 68, page.width - MARGIN, MARGIN + 68), fill=LINE)


def _card(
    page: Image.Image, draw: ImageDraw.ImageDraw, card: Card, left: int, top: int, width: int, height: int, side: int
) -> None:
    """Some images and what is said of them."""
    page.paste(LINE, (left, top), _rounded(width, height, 12))
    page.paste(CARD, (left + 1, top + 1), _rounded(width - 2, height - 2, 11))
    for place, data in enumerate(card.images):
        at = (left + PADDING + place * (side + BETWEEN), top + PADDING)
        page.paste(_square(data, side), at, _rounded(side, side, 6))
    edge, inner = left + PADDING + 2, width - 2 * PADDING - 4
    below = top + PADDING + side
    draw.text((edge, below + 24), _fit(card.name, _font(18, bold=True), inner), font=_font(18, bold=True), fill=INK,
              anchor="ls")  # fmt: skip
    context = one_line(card.context) or "the dataset's own look"
    draw.text((edge, below + 47), _fit(context, _font(15), inner), font=_font(15), fill=MUTED, anchor="ls")
    draw.text((edge + inner, below + 73), card.number, font=_font(16, bold=True), fill=card.colour, anchor="rm")
    room = inner - _font(16, bold=True).getlength(card.number) - 10
    words = _fit(card.words, _font(14), room - 20)
    pill = round(_font(14).getlength(words)) + 20
    page.paste(card.tint, (edge - 2, below + 60), _rounded(pill, 26, 13))
    draw.text((edge + 8, below + 73), words, font=_font(14), fill=card.colour, anchor="lm")


def _square(data: bytes | None, side: int) -> Image.Image:
    """The image fitted whole into a square; a hatched one where there is none or it cannot be read."""
    try:
        image = decode_bytes(data or b"")
    except UnreadableImage:
        return _placeholder(side)
    size = tuple(max(1, round(length * side / max(image.size))) for length in image.size)
    fitted = image.resize(size, Image.Resampling.LANCZOS)
    if size == (side, side):
        return fitted
    square = Image.new("RGB", (side, side), BLANK)
    square.paste(fitted, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _placeholder(side: int) -> Image.Image:
    """What stands where there is no image: diagonal hatching."""
    image = Image.new("RGB", (side, side), BLANK)
    draw = ImageDraw.Draw(image)
    for start in range(-side, side, 14):
        draw.line((start, side, start + side, 0), fill="#dcd9d2", width=2)
    font = _font(14)
    half = font.getlength("no image") / 2 + 8
    draw.rounded_rectangle((side / 2 - half, side / 2 - 13, side / 2 + half, side / 2 + 13), 6, fill=BLANK)
    draw.text((side / 2, side / 2), "no image", font=font, fill=MUTED, anchor="mm")
    return image


def _fit(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text in one line, cut with an ellipsis where it is wider than `width`."""
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
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib brings it: the same everywhere, many alphabets; boxes for the letters it lacks."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=64)
def _rounded(width: int, height: int, radius: int) -> Image.Image:
    """A mask with smooth round corners."""
    mask = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width * 4 - 1, height * 4 - 1), radius * 4, fill=255)
    return mask.resize((width, height), Image.Resampling.LANCZOS)
