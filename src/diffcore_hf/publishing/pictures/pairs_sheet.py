"""The sheet of pairs: images beside the images to which they are closest, by the comparison of their pixels.

Owns the text under the images. Does not choose the pairs or read files. The layout is in card_sheet.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from diffcore_hf.publishing.pictures.card_sheet import Card, draw_sheet

SAME, OTHER = "#b3423a", "#70757d"
TINTS = {SAME: "#faebe9", OTHER: "#eeeeec"}


@dataclass(frozen=True)
class PairTile:
    """One pair on the sheet."""

    images: tuple[bytes | None, bytes | None]
    """The two encoded images; None is shown as a placeholder."""
    name: str
    """Class of the first image."""
    rows: str
    """The row ids of the pair."""
    label: str
    """What the score means for the first image, in a few words."""
    score: float
    """Score of the pair in [-1, 1]."""
    is_same: bool
    """Whether the score means that both images show the same picture."""


def pairs_sheet(
    tiles: Sequence[PairTile], *, title: str, legend: str, captions: tuple[str, str], empty: str, columns: int = 2
) -> Image.Image:
    """Draw one card for each pair. Equal arguments give equal pixels.

    Args:
        tiles: the pairs in reading order.
        title: title in one line.
        legend: one line that explains the text under the images.
        captions: captions above the first and the second images.
        empty: text of a sheet without pairs.
        columns: number of cards in a row.
    """
    return draw_sheet(
        [_card(tile) for tile in tiles],
        title=title,
        legend=legend,
        captions=captions,
        kinds={SAME: "with the same picture", OTHER: "below the bound"},
        columns=columns,
        empty=empty,
    )


def _card(tile: PairTile) -> Card:
    colour = SAME if tile.is_same else OTHER
    return Card(tile.images, tile.name, tile.rows, tile.label, f"{tile.score:.3f}", colour, TINTS[colour])
