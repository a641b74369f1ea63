"""Pictures and card facts of a run: joins the records of augmentation with the pictures of publishing.

Owns the choice of the attempts, pairs and classes that are shown. The drawing is in publishing/pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.nearest_images import shows_unpublished
from diffcore_hf.augmentation.plan import Unit
from diffcore_hf.augmentation.source.hashes import image_cells
from diffcore_hf.augmentation.summary import Summary
from diffcore_hf.core.images import ImageFiles, UnreadableImage, decode_bytes, encode, read_bytes, shrink
from diffcore_hf.method import checks
from diffcore_hf.method.arrays import Bools, Embeddings, Ints
from diffcore_hf.method.description import Description
from diffcore_hf.method.thresholds import row_cosines
from diffcore_hf.publishing.card.recorded import recorded_facts
from diffcore_hf.publishing.description.figures import card_rows
from diffcore_hf.publishing.pictures import histograms
from diffcore_hf.publishing.pictures.card_sheet import png_bytes
from diffcore_hf.publishing.pictures.contact_sheet import Tile, choose_tiles
from diffcore_hf.publishing.pictures.contact_sheet import contact_sheet as draw_contact_sheet

SHEET_TILES = 12
MAX_PAIRS = 20_000
MAX_CLASSES = 24
LARGE_IMAGE = 8_000_000
"""Number of encoded bytes above which a sheet holds a small copy of an image, with a shorter side of THUMBNAIL."""
THUMBNAIL = 512
EXAMPLE_PROMPTS = 6
"""Maximum number of prompts on the card, one per class."""


def tiles(material: Material, attempts: Sequence[int], *, decided: bool = True) -> list[Tile]:
    """Returns a tile for each attempt. If `decided` is false, the tiles do not show the decisions."""
    plan = material.plan
    units = [plan.unit(int(material.attempts.units[attempt])) for attempt in attempts]
    image = material.source.config.image
    rows = material.source.rows.select([unit.row for unit in units])
    cells = image_cells(rows, image)
    generated = material.images(attempts)
    shown = []
    for attempt, unit, cell, content in zip(attempts, units, cells, generated, strict=True):
        similarity = float(material.decisions.similarity[attempt])
        tile = Tile(
            real=sheet_bytes(cell, material.source.files),
            generated=content,
            name=plan.prompt_texts.names[unit.target_label],
            context=_context(plan.prompt_texts.names, unit),
            similarity=None if np.isnan(similarity) else similarity,
            reason=str(material.decisions.reason[attempt]) if decided else "",
        )
        shown.append(tile)
    return shown


def _context(names: Sequence[str], unit: Unit) -> str:
    """Returns the context of a unit, after the class of its row if the image has to show another class."""
    if unit.target_label == unit.label:
        return unit.context
    return ", ".join(text for text in (f"from {names[unit.label]}", unit.context) if text)


def sheet_bytes(cell: Mapping[str, Any] | None, files: ImageFiles) -> bytes | None:
    """Returns the encoded bytes of a real image; a small copy of a large one, because a sheet holds several."""
    try:
        content = read_bytes(cell, files) if cell else None
        if content is None or len(content) <= LARGE_IMAGE:
            return content
        return encode(shrink(decode_bytes(content, files.grey_range), THUMBNAIL))
    except UnreadableImage:
        return None


def contact_sheet(material: Material) -> bytes:
    """Draws a balanced choice of attempts, kept and rejected, as PNG. Pictures of unpublished images are left out."""
    plan = material.plan
    unit_of = material.attempts.units
    order = np.lexsort((material.attempts.attempts, unit_of)).tolist()
    order = [attempt for attempt in order if not shows_unpublished(material, attempt)]
    described = [
        (
            plan.prompt_texts.names[plan.shown[unit_of[attempt]]],
            plan.prompt_texts.contexts[plan.contexts[unit_of[attempt]]],
            str(material.decisions.reason[attempt]),
        )
        for attempt in order
    ]
    chosen = [order[position] for position in choose_tiles(described, SHEET_TILES)]
    real = material.recipe.include_originals
    labels = checks.labels(checks.checks_of(material.recipe.filter.checks))
    title = "Real images and their generated counterparts" if real else "Generated images"
    return png_bytes(draw_contact_sheet(tiles(material, chosen), title=title, labels=labels, real=real))


def samples(material: Material, count: int) -> bytes:
    """Draws the first `count` attempts as PNG, sorted by number and then in plan order. No filter is applied.

    Attempt 0 of every unit comes first. A unit has later attempts only if the filter rejected an earlier one. So a
    sheet of later attempts would show worse images than the dataset has.
    """
    attempts = material.attempts
    order = np.lexsort((attempts.units, attempts.attempts)).tolist()[:count]
    shown = tiles(material, order, decided=False)
    return png_bytes(draw_contact_sheet(shown, title=f"{len(shown)} attempts before any filter", labels={}))


def real_pairs(material: Material, label: int | None = None) -> Embeddings:
    """Returns the similarities of pairs of different real images of the same class, for one class or for all classes.

    If there are more than MAX_PAIRS pairs, a seeded random sample is used.
    """
    references = material.embeddings
    labels = range(references.classes) if label is None else [label]
    members = [np.flatnonzero(references.labels == class_label) for class_label in labels]
    left, right = same_class_pairs(members, MAX_PAIRS)
    return row_cosines(references.embeddings[left], references.embeddings[right])


def same_class_pairs(members: Sequence[Ints], most: int, seed: int = 0) -> tuple[Ints, Ints]:
    """Returns all unordered pairs of different members of one class, or `most` of them drawn uniformly.

    Pair k of a class is (i, j) with i < j and k = j (j - 1) / 2 + i. So the cost depends only on the drawn pairs.

    Args:
        members: for each class the rows of its members, (N_k,) int64.
        most: maximum number of pairs.
        seed: seed of the draw.

    Returns:
        Two arrays (P,) int64: the first and the second row of each pair.
    """
    sizes = np.array([len(rows) for rows in members], np.int64)
    ends = np.cumsum(sizes * (sizes - 1) // 2)
    total = int(ends[-1]) if len(ends) else 0
    if total <= most:
        drawn = np.arange(total)
    else:
        drawn = np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))
    class_index = np.searchsorted(ends, drawn, side="right")
    k = drawn - np.concatenate([[0], ends])[class_index]
    j = ((1 + np.sqrt(1 + 8 * k.astype(np.float64))) / 2).astype(np.int64)
    # The square root is rounded, so j can be wrong by one in either direction.
    j -= j * (j - 1) // 2 > k
    j += (j + 1) * j // 2 <= k
    rows = np.concatenate([*members, np.empty(0, np.int64)]).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    return rows[starts[class_index] + k - j * (j - 1) // 2], rows[starts[class_index] + j]


def _kept_and_rejected(material: Material) -> tuple[Bools, Bools]:
    """Returns two masks of the attempts, (M,) bool: kept and rejected."""
    reason = material.decisions.reason
    return reason == "kept", ~np.isin(reason.astype(str), ("", "kept", "crashed"))


def _bounds_similarity(material: Material) -> bool:
    """Returns whether the policy has a threshold on the similarity to the image of the row (`mean` and `fixed`)."""
    return material.recipe.filter.policy.name in ("mean", "fixed")


def histogram(material: Material) -> bytes:
    """Draws a histogram as PNG: similarities between real images, and between real and generated images.

    If the policy has a threshold on these similarities, the histogram shows it.
    """
    decisions = material.decisions
    kept, rejected = _kept_and_rejected(material)
    is_mean = material.recipe.filter.policy.name == "mean"
    return histograms.similarity_histogram(
        real_pairs(material),
        decisions.similarity[kept],
        decisions.similarity[rejected],
        bound=float(np.nanmean(decisions.class_bound)) if _bounds_similarity(material) else None,
        bound_label="threshold tau_k, mean over the classes" if is_mean else "fixed threshold",
        title="Similarity of real images to each other and to their generated images",
    )


def class_histograms(material: Material) -> bytes:
    """Draws the same histogram for each class as PNG. Classes with the most rejections come first."""
    plan = material.plan
    decisions = material.decisions
    kept, rejected = _kept_and_rejected(material)
    labels = plan.shown[material.attempts.units]
    by_rejections = sorted(
        range(len(plan.prompt_texts.names)), key=lambda k: (-np.nan_to_num(decisions.rejected_generated[k]), k)
    )
    classes = [
        histograms.ClassSimilarities(
            name=plan.prompt_texts.names[label],
            real_real=real_pairs(material, label),
            kept=decisions.similarity[kept & (labels == label)],
            rejected=decisions.similarity[rejected & (labels == label)],
            bound=float(decisions.class_bound[label]) if _bounds_similarity(material) else None,
        )
        for label in by_rejections[:MAX_CLASSES]
    ]
    return histograms.class_histograms(classes, title="Similarity to the row's real image, by class")


def recorded_card(material: Material, summary: Summary, description: tuple[Description, str]) -> dict[str, Any]:
    """Returns the facts of the dataset card that no table contains, for diffcore.json.

    Args:
        material: the run.
        summary: its summary.
        description: the figures of the kept images, and the sentence about their sample.
    """
    plan = material.plan
    examples: dict[str, str] = {}
    for index in range(len(plan)):
        unit = plan.unit(index)
        examples.setdefault(plan.prompt_texts.names[unit.target_label], unit.prompt)
        if len(examples) == min(EXAMPLE_PROMPTS, len(plan.prompt_texts.names)):
            break
    negatives: dict[str, None] = {}
    for texts in plan.prompt_texts.negatives:
        negatives |= dict.fromkeys(text for text in texts if text)
    return recorded_facts(
        summary.plain(),
        reasons=checks.reasons(checks.checks_of(material.recipe.filter.checks)),
        example_prompts=list(examples.items()),
        negative_prompts=list(negatives),
        columns_prefix=material.recipe.columns.prefix,
        description=card_rows(description[0]),
        description_note=description[1],
    )
