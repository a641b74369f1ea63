"""The sheet of mixed images: real, generated and what training makes of the two, side by side.

Owns which rows it shows and its words. Gets encoded images and draws handed in, reads no files and loads no model. How
a sheet looks is preview.py's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from diffcore_hf.publishing.pictures.contact_sheet import Card, interleaved, sheet

PIXEL, PATCH = "#2c5f9e", "#96591b"
_TINTS = {PIXEL: "#e8f0f9", PATCH: "#f8eee1"}


@dataclass(frozen=True)
class MixedTile:
    """One training sample on the sheet, and what it was made of."""

    real: bytes | None  # encoded images
    generated: bytes | None
    mixed: bytes | None
    name: str  # the class, as prompts call it
    context: str  # "" is the dataset's own look
    pixel: bool  # pixel-wise; else patch-wise
    generated_into_real: bool  # the direction of the patch
    lam: float  # lambda
    share: float  # of the frame that is real


def mixed_sheet(tiles: Sequence[MixedTile], *, title: str, legend: str, columns: int = 2) -> Image.Image:
    """Draw the sheet: a card per tile, `columns` a row, 1200 pixels wide (less for fewer tiles than columns).

    Returns:
        An RGB image; equal arguments give equal pixels.
    """
    cards = []
    for tile in tiles:
        colour = PIXEL if tile.pixel else PATCH
        images = (tile.real, tile.generated, tile.mixed)
        number = f"{100 * tile.share:.0f} % real"
        cards.append(Card(images, tile.name, tile.context, mix_words(tile), number, colour, _TINTS[colour]))
    return sheet(
        cards,
        title=title,
        legend=legend,
        captions=("real", "generated", "mixed"),
        kinds={PIXEL: "pixel-wise", PATCH: "patch-wise"},
        columns=columns,
        empty="nothing is mixed",
    )


def mix_words(tile: MixedTile) -> str:
    """How the two were mixed (Eq. 6 and 7), in plain words."""
    if tile.pixel:
        return f"pixel-wise, lambda {tile.lam:.2f}"
    direction = "generated into real" if tile.generated_into_real else "real into generated"
    return f"patch-wise, {direction}, lambda {tile.lam:.2f}"


def choose_mixed(mixes: Sequence[tuple[str, str, bool]], count: int = 12) -> list[int]:
    """Which samples a sheet shows: different classes and contexts, every second one patch-wise.

    Args:
        mixes: (class name, context, whether pixel-wise) of each.
        count: how many at most.

    Returns:
        Places in `mixes`: a function of the arguments alone.
    """
    groups: dict[bool, dict[tuple[str, ...], list[int]]] = {True: defaultdict(list), False: defaultdict(list)}
    for place, (name, context, pixel) in enumerate(mixes):
        groups[pixel][name, context].append(place)
    return interleaved(groups[True], groups[False], count, share=1 / 2)
