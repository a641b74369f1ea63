"""The sheet of mixed images: a real image, a generated image and the mix of both, side by side.

Owns the choice of the samples and the text under the images. Does not read files or load models: encoded images and
draws are arguments. The layout is in card_sheet.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from diffcore_hf.publishing.pictures.card_sheet import Card, draw_sheet
from diffcore_hf.publishing.pictures.choice import Description, choose_balanced

PIXEL, PATCH = "#2c5f9e", "#96591b"
TINTS = {PIXEL: "#e8f0f9", PATCH: "#f8eee1"}


@dataclass(frozen=True)
class MixedTile:
    """One training sample on the sheet, and the two images from which it was mixed."""

    real: bytes | None
    """Encoded real image; None is shown as a placeholder."""
    generated: bytes | None
    """Encoded generated image; None is shown as a placeholder."""
    mixed: bytes | None
    """Encoded mixed image; None is shown as a placeholder."""
    name: str
    """Class name as in prompts."""
    context: str
    """Context of the generated image; "" if its prompt names none."""
    pixel: bool
    """True for a pixel-wise mix, false for a patch-wise one."""
    generated_into_real: bool
    """Whether a patch of the generated image is put into the real one; false for the other direction."""
    lam: float
    """Lambda of Eq. 6 and 7."""
    share: float
    """Share of the mixed image that is real, in [0, 1]."""


def mixed_sheet(tiles: Sequence[MixedTile], *, title: str, legend: str, columns: int = 2) -> Image.Image:
    """Draws one card for each tile. The sheet is 1200 pixels wide, or less if it has fewer tiles than columns.

    Returns:
        An RGB image; equal arguments give equal pixels.
    """
    return draw_sheet(
        [_card(tile) for tile in tiles],
        title=title,
        legend=legend,
        captions=("real", "generated", "mixed"),
        kinds={PIXEL: "pixel-wise", PATCH: "patch-wise"},
        columns=columns,
        empty="nothing is mixed",
    )


def _card(tile: MixedTile) -> Card:
    colour = PIXEL if tile.pixel else PATCH
    number = f"{100 * tile.share:.0f} % real"
    images = (tile.real, tile.generated, tile.mixed)
    return Card(images, tile.name, tile.context, mix_label(tile), number, colour, TINTS[colour])


def mix_label(tile: MixedTile) -> str:
    """Returns the text for the kind of mixing (Eq. 6 and 7)."""
    if tile.pixel:
        return f"pixel-wise, lambda {tile.lam:.2f}"
    direction = "generated into real" if tile.generated_into_real else "real into generated"
    return f"patch-wise, {direction}, lambda {tile.lam:.2f}"


def choose_mixed(mixes: Sequence[tuple[str, str, bool]], count: int = 12) -> list[int]:
    """Chooses samples of different classes and contexts. Every second sample is patch-wise.

    Args:
        mixes: (class name, context, whether pixel-wise) of each sample.
        count: maximum number of tiles.

    Returns:
        Indices into `mixes`, which depend on the arguments only.
    """
    pixel: dict[Description, list[int]] = defaultdict(list)
    patch: dict[Description, list[int]] = defaultdict(list)
    for index, (name, context, is_pixel) in enumerate(mixes):
        (pixel if is_pixel else patch)[name, context].append(index)
    return choose_balanced(pixel, patch, count, share=1 / 2)
