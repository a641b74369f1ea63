"""The sheet of the closest pairs: kept images beside the real images that are nearest to them.

Owns the text under the images. Does not choose the pairs or read files. The layout is in card_sheet.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from diffcore_hf.publishing.pictures.card_sheet import Card, draw_sheet

CLOSE, USUAL = "#b3423a", "#70757d"
TINTS = {CLOSE: "#faebe9", USUAL: "#eeeeec"}
LEGEND = (
    "Under each pair: the class, the row of the real image, the ratio of the distances to the nearest and second "
    "nearest real image, the similarity"
)


@dataclass(frozen=True)
class CloseTile:
    """One pair on the sheet."""

    real: bytes | None
    """Encoded real image; None is shown as a placeholder."""
    generated: bytes | None
    """Encoded kept image; None is shown as a placeholder."""
    name: str
    """Class name as in prompts."""
    row_id: str
    """Row id of the real image."""
    similarity: float
    """Cosine similarity of the two images."""
    ratio: float
    """Ratio of the distances to the nearest and to the second nearest real image."""
    is_close: bool
    """Whether the ratio is below the 5 % quantile of the ratios of real images."""


def closest_sheet(tiles: Sequence[CloseTile], *, columns: int = 2) -> Image.Image:
    """Draw one card for each pair. Equal arguments give equal pixels.

    Args:
        tiles: the pairs, the closest first.
        columns: number of cards in a row.
    """
    return draw_sheet(
        [_card(tile) for tile in tiles],
        title="Kept images that are closest to a real image",
        legend=LEGEND,
        captions=("real", "generated"),
        kinds={CLOSE: "unusually close", USUAL: "at a usual distance"},
        columns=columns,
        empty="no kept image has a real image of its class to compare with",
    )


def _card(tile: CloseTile) -> Card:
    colour = CLOSE if tile.is_close else USUAL
    label = f"ratio {tile.ratio:.2f}" + (", unusually close" if tile.is_close else "")
    images = (tile.real, tile.generated)
    return Card(images, tile.name, tile.row_id, label, f"{tile.similarity:.3f}", colour, TINTS[colour])
