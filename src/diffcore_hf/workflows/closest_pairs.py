"""Closest pairs: the sheet of the generated images that are closest to another image, for people who check them.

Owns the choice of the pairs. The drawing is in publishing/pictures/pairs_sheet.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.nearest_images import COUNTERPART, SPLIT, TRAINING, Nearest, nearest_of, shows_unpublished
from diffcore_hf.augmentation.source.dataset import LoadedSource
from diffcore_hf.augmentation.source.hashes import image_cells
from diffcore_hf.method import checks
from diffcore_hf.method.checks import KEPT
from diffcore_hf.method.copies.closeness import BOUND, CLOSE_REASONS
from diffcore_hf.publishing.card.dataset_card import CLOSEST_PAIRS
from diffcore_hf.publishing.pictures.card_sheet import png_bytes
from diffcore_hf.publishing.pictures.contact_sheet import decision_label
from diffcore_hf.publishing.pictures.pairs_sheet import PairTile, pairs_sheet
from diffcore_hf.workflows.pictures import sheet_bytes

PAIRS = 12
"""Largest number of pairs on the sheet. At least half of the shown pairs are kept images, if enough are."""
LEGEND = (
    "Under each pair: the class, the row of the generated image and of the other one, the decision, the score. "
    f"From {BOUND:g} on, both show the same picture"
)
_KINDS = {SPLIT: "other split", TRAINING: "training", COUNTERPART: "counterpart"}

Pair = tuple[int, Nearest]
"""An attempt and its closest image."""


def closest_pairs(material: Material) -> dict[str, bytes]:
    """Return the sheet of the pairs with the highest scores as PNG under its file name; {} if nothing is compared.

    Without originals, the sheet shows no real image, and no rejected image that shows the picture of one.
    """
    if not material.recipe.filter.compare:
        return {}
    sheet = png_bytes(
        pairs_sheet(
            _tiles(material, choose_pairs(material)),
            title="Generated images and their closest images",
            legend=LEGEND,
            captions=("generated", "closest image"),
            empty="no generated image was compared with another image",
        )
    )
    return {Path(CLOSEST_PAIRS).name: sheet}


def choose_pairs(material: Material, count: int = PAIRS) -> list[Pair]:
    """Return the pairs with the highest scores: images that were rejected for their score, then kept images.

    In each of the two groups, a closest image is shown once. Other rejected images are left out, because the
    comparison did not decide about them.
    """
    rejected: list[Pair] = []
    kept: list[Pair] = []
    for attempt in material.sorted_attempts:
        reason = str(material.decisions.reason[attempt])
        near = nearest_of(material, attempt) if reason in (KEPT, *CLOSE_REASONS) else None
        if near is not None and not shows_unpublished(material, attempt):
            (kept if reason == KEPT else rejected).append((attempt, near))
    rejected, kept = _different(rejected), _different(kept)
    most = max(count - len(kept), count // 2)
    return [*rejected[:most], *kept[: count - len(rejected[:most])]]


def _different(pairs: Sequence[Pair]) -> list[Pair]:
    """Return one pair for each closest image, the highest score first."""
    found: dict[tuple[str, str], Pair] = {}
    for pair in sorted(pairs, key=lambda pair: -pair[1].score):
        found.setdefault((pair[1].kind, pair[1].row_id), pair)
    return list(found.values())


def _tiles(material: Material, pairs: Sequence[Pair]) -> list[PairTile]:
    plan, decisions = material.plan, material.decisions
    units = [plan.unit(int(material.attempts.units[attempt])) for attempt, _ in pairs]
    labels = checks.labels(checks.checks_of(material.recipe.filter.checks))
    generated = material.images([attempt for attempt, _ in pairs])
    others = other_images(material, pairs)
    return [
        PairTile(
            images=images,
            name=plan.prompt_texts.names[unit.target_label],
            rows=f"{unit.row_id} – {near.row_id} ({_KINDS[near.kind]})",
            label=decision_label(str(decisions.reason[attempt]), labels)[0],
            score=near.score,
            is_same=near.score >= BOUND,
        )
        for (attempt, near), unit, images in zip(pairs, units, zip(generated, others, strict=True), strict=True)
    ]


def other_images(material: Material, pairs: Sequence[Pair]) -> list[bytes | None]:
    """Return the encoded closest image of each pair; None for a real image if originals are not published."""
    copied = material.decisions.copied
    found: list[bytes | None] = []
    for attempt, near in pairs:
        if near.kind == COUNTERPART:
            found += material.images([copied[attempt].attempt])
        elif material.recipe.include_originals:
            found.append(_real_image(material.source, near.row_id))
        else:
            found.append(None)
    return found


def _real_image(source: LoadedSource, row_id: str) -> bytes | None:
    """Return the encoded image of a real row of any split."""
    split = row_id.rpartition("/")[0]
    row = source.row_ids[split].index(row_id)
    [cell] = image_cells(source.splits[split].select([row]), source.config.image)
    return sheet_bytes(cell, source.files)
