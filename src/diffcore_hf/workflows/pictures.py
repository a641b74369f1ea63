"""Exhibits: the material of a run in the shapes that publishing shows: tiles, similarities, the facts of a card.

Owns the choice and the joining; with jobs.py the only place that knows both augmentation and publishing. How anything
looks is publishing's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffcore_hf.augmentation.ledger import read_images
from diffcore_hf.augmentation.source.hashes import image_cells
from diffcore_hf.augmentation.summary import Summary
from diffcore_hf.augmentation.tables import Material
from diffcore_hf.core.images import UnreadableImage, read_bytes
from diffcore_hf.method.thresholds import row_cosines
from diffcore_hf.publishing.card.dataset_card import CardFacts
from diffcore_hf.publishing.pictures import contact_sheet as preview
from diffcore_hf.publishing.pictures import histograms

SHEET_TILES = 12
MOST_PAIRS = 20_000
MOST_CLASSES = 24


def tiles(material: Material, attempts: Sequence[int], *, decided: bool = True) -> list[preview.Tile]:
    """A tile for each of some attempts; without `decided` as they were before any filter."""
    plan, assessment = material.plan, material.assessment
    units = [plan.unit(int(assessment.attempts.units[attempt])) for attempt in attempts]
    image = material.source.config.image
    cells = next(image_cells(material.source.rows.select([unit.row for unit in units]), image, max(len(units), 1)), [])
    generated = read_images(material.ledger, [material.place(attempt) for attempt in attempts])
    made = []
    for attempt, unit, cell, content in zip(attempts, units, cells, generated, strict=True):
        similarity = float(assessment.decisions.similarity[attempt])
        made.append(
            preview.Tile(
                real=_bytes(cell),
                generated=content,
                name=plan.words.names[unit.label],
                context=unit.context,
                similarity=None if np.isnan(similarity) else similarity,
                reason=str(assessment.decisions.reason[attempt]) if decided else "",
            )
        )
    return made


def _bytes(cell: Mapping[str, Any] | None) -> bytes | None:
    try:
        return read_bytes(cell) if cell else None
    except UnreadableImage:
        return None


def contact_sheet(material: Material) -> bytes:
    """A balanced choice of attempts, kept and rejected, as PNG."""
    plan, assessment = material.plan, material.assessment
    order = np.argsort(assessment.attempts.units, kind="stable").tolist()
    described = [
        (
            plan.words.names[plan.labels[assessment.attempts.units[attempt]]],
            plan.words.contexts[plan.contexts[assessment.attempts.units[attempt]]],
            str(assessment.decisions.reason[attempt]),
        )
        for attempt in order
    ]
    chosen = [order[place] for place in preview.choose_tiles(described, SHEET_TILES)]
    real = material.recipe.include_originals
    title = "Real images and their generated counterparts" if real else "Generated images"
    return preview.png_bytes(preview.contact_sheet(tiles(material, chosen), title=title, real=real))


def samples(material: Material, count: int) -> bytes:
    """The first attempts of the drawing order, before any filter, as PNG."""
    assessment = material.assessment
    # Attempt 0 of every unit first: later ones exist only where the filter rejected, and would look worse than it is.
    order = np.lexsort((assessment.attempts.units, assessment.attempts.attempts)).tolist()[:count]
    shown = tiles(material, order, decided=False)
    return preview.png_bytes(preview.contact_sheet(shown, title=f"{len(shown)} attempts before any filter"))


def real_pairs(material: Material, label: int | None = None) -> np.ndarray:
    """Similarities of pairs of different real images of one class, or of every class; of very many a seeded draw."""
    references = material.assessment.references
    labels = range(references.classes) if label is None else [label]
    left, right = same_class_pairs([np.flatnonzero(references.labels == one) for one in labels], MOST_PAIRS)
    return row_cosines(references.embeddings[left], references.embeddings[right])


def same_class_pairs(members: Sequence[np.ndarray], most: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unordered pairs of different members of one class: all of them, or a uniform draw where there are more.

    Pair k of a class is (i, j), i < j, with k = j (j - 1) / 2 + i, so a draw costs what it takes, not what there is.

    Args:
        members: for each class the rows of its members, (N_k,) int64.
        most: how many pairs at most.
        seed: of the draw.

    Returns:
        (P,) int64 twice: the rows of each pair.
    """
    sizes = np.array([len(rows) for rows in members], np.int64)
    ends = np.cumsum(sizes * (sizes - 1) // 2)
    total = int(ends[-1]) if len(ends) else 0
    if total <= most:
        drawn = np.arange(total)
    else:
        drawn = np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))
    owner = np.searchsorted(ends, drawn, side="right")
    k = drawn - np.concatenate([[0], ends])[owner]
    j = ((1 + np.sqrt(1 + 8 * k.astype(np.float64))) / 2).astype(np.int64)
    # The root is exact up to rounding: one step either way puts it right.
    j -= j * (j - 1) // 2 > k
    j += (j + 1) * j // 2 <= k
    rows = np.concatenate([*members, np.empty(0, np.int64)]).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    return rows[starts[owner] + k - j * (j - 1) // 2], rows[starts[owner] + j]


def _decided(material: Material) -> tuple[np.ndarray, np.ndarray]:
    """(M,) bool twice: kept, and rejected by whatever reason."""
    reason = material.assessment.decisions.reason
    return reason == "kept", ~np.isin(reason.astype(str), ("", "kept", "superseded", "crashed"))


def histogram(material: Material) -> bytes:
    """Real-real and real-generated similarities with the threshold, as PNG."""
    similarity = material.assessment.decisions.similarity
    kept, rejected = _decided(material)
    # Only these two policies compare with the row's image, so only theirs is a threshold in this space.
    name = material.recipe.filter.policy.name
    bounds = material.assessment.decisions.class_bound
    return histograms.similarity_histogram(
        real_pairs(material),
        similarity[kept],
        similarity[rejected],
        bound=float(np.nanmean(bounds)) if name in ("mean", "fixed") else None,
        bound_label="threshold tau_k, mean over the classes" if name == "mean" else "fixed threshold",
        title="Similarity of real images to each other, and to what was generated for them",
    )


def class_histograms(material: Material) -> bytes:
    """The same by class, the classes with the most rejections first, as PNG."""
    plan, assessment = material.plan, material.assessment
    similarity, decisions = assessment.decisions.similarity, assessment.decisions
    kept, rejected = _decided(material)
    labels = plan.labels[assessment.attempts.units]
    parent = material.recipe.filter.policy.name in ("mean", "fixed")
    worst = sorted(range(len(plan.words.names)), key=lambda k: (-np.nan_to_num(decisions.rejected_generated[k]), k))
    classes = [
        histograms.ClassSimilarities(
            name=plan.words.names[label],
            real_real=real_pairs(material, label),
            kept=similarity[kept & (labels == label)],
            rejected=similarity[rejected & (labels == label)],
            bound=float(decisions.class_bound[label]) if parent else None,
        )
        for label in worst[:MOST_CLASSES]
    ]
    return histograms.class_histograms(classes, title="Similarity to the row's real image, by class")


def card_facts(
    material: Material,
    manifest: Mapping[str, Any],
    summary: Summary,
    comparison: Mapping[str, Any] | None,
    dataset_info: Sequence[Mapping[str, Any]],
) -> CardFacts:
    """All that the card is made of."""
    plan = material.plan
    examples: dict[str, str] = {}
    for index in range(len(plan)):
        unit = plan.unit(index)
        examples.setdefault(plan.words.names[unit.label], unit.prompt)
        if len(examples) == min(6, len(plan.words.names)):
            break
    negatives = dict.fromkeys(text for texts in plan.words.negatives for text in texts if text)
    return CardFacts(
        manifest=manifest,
        summary=summary.plain(),
        example_prompts=list(examples.items()),
        negative_prompts=list(negatives),
        columns_prefix=material.recipe.columns.prefix,
        comparison=comparison,
        dataset_info=dataset_info,
    )
