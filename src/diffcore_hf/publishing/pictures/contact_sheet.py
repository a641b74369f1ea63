"""The contact sheet: real and generated images side by side, with context, similarity and decision.

Owns the choice of the attempts and the text under the images. Does not read files or load models: encoded images and
decisions are arguments. The layout is in card_sheet.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from diffcore_hf.publishing.card.text import one_line
from diffcore_hf.publishing.pictures.card_sheet import Card, draw_sheet
from diffcore_hf.publishing.pictures.choice import Description, choose_balanced

KEPT, REJECTED, UNDECIDED = "#2f7d5b", "#b3423a", "#70757d"
TINTS = {KEPT: "#e7f3ec", REJECTED: "#faebe9", UNDECIDED: "#eeeeec"}
LEGEND = "Under each pair: the class, the context of the prompt, the decision, the similarity of the two images"


@dataclass(frozen=True)
class Tile:
    """One attempt on the sheet."""

    real: bytes | None
    """Encoded image of the row; None is shown as a placeholder."""
    generated: bytes | None
    """Encoded image of the attempt; None is shown as a placeholder."""
    name: str
    """Class name as in prompts."""
    context: str
    """Context of the prompt; "" if the prompt names none."""
    similarity: float | None
    """Cosine similarity of the two images; None if it was not computed."""
    reason: str
    """Reason of the decision: `kept`, `low_rank`, ...; "" if the decision is not shown."""


def contact_sheet(
    tiles: Sequence[Tile], *, title: str, labels: Mapping[str, str], columns: int = 3, real: bool = True
) -> Image.Image:
    """Draws one card for each tile. The sheet is 1200 pixels wide, or less if it has fewer tiles than columns.

    Args:
        tiles: the attempts in reading order.
        title: title in one line.
        labels: reason -> label, for the checks of this run.
        columns: number of cards in a row. If the real images are not shown, a row has twice as many.
        real: whether the real images are shown.

    Returns:
        An RGB image; equal arguments give equal pixels.

    Raises:
        ValueError: columns is below 1.
    """
    return draw_sheet(
        [_card(tile, labels, real) for tile in tiles],
        title=title,
        legend=LEGEND,
        captions=("real", "generated") if real else ("generated",),
        kinds={KEPT: "kept", REJECTED: "rejected", UNDECIDED: "without a decision"},
        columns=columns if real else 2 * columns,
        empty="no attempts yet",
    )


def _card(tile: Tile, labels: Mapping[str, str], real: bool) -> Card:
    label, colour = decision_label(tile.reason, labels)
    number = "–" if tile.similarity is None else f"{tile.similarity:.2f}"
    images = (tile.real, tile.generated) if real else (tile.generated,)
    return Card(images, tile.name, tile.context, label, number, colour, TINTS[colour])


def choose_tiles(attempts: Sequence[tuple[str, str, str]], count: int = 12) -> list[int]:
    """Chooses attempts of different classes and contexts, about a third of them rejected.

    Args:
        attempts: (class name, context, reason) of each attempt, in plan order.
        count: maximum number of tiles.

    Returns:
        Indices into `attempts`, with the rejected ones spread among the kept ones. They depend on the arguments only.
    """
    kept: dict[Description, list[int]] = defaultdict(list)
    rejected: dict[Description, list[int]] = defaultdict(list)
    for index, (name, context, reason) in enumerate(attempts):
        members = (kept if reason == "kept" else rejected)[name, context, reason]
        if len(members) < count:
            members.append(index)
    return choose_balanced(kept, rejected, count, share=1 / 3)


def decision_label(reason: str, labels: Mapping[str, str]) -> tuple[str, str]:
    """Returns the text for a decision, and its colour. If a reason has no label, the reason is the text."""
    cause, _, _ = reason.partition(":")
    if cause == "kept":
        return "✓ kept", KEPT
    if not cause:
        return "decision not shown", UNDECIDED
    return f"✗ rejected: {labels.get(cause, one_line(cause))}", REJECTED
