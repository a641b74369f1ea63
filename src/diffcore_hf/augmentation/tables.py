"""Tables: the rows of the five dataset configurations, computed from the facts and decisions of a run.

Owns the content of the rows. Every function is pure and yields rows in a fixed order, so that the same facts give the
same bytes. Does not own files or shards (export.py), or the layouts `rows` and `mixed` (layouts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from diffcore_hf.augmentation.arrow_tables import arrow_table, finite_or_none, image_cell, number_or_none, windows
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.nearest_images import nearest_columns, shows_unpublished
from diffcore_hf.augmentation.originals import original_rows
from diffcore_hf.augmentation.plan import Unit
from diffcore_hf.augmentation.source.labels import UNLABELLED
from diffcore_hf.core import schema

if TYPE_CHECKING:
    from datasets import Features


class SplitRows(NamedTuple):
    """The rows of one published split."""

    split: str
    """Name of the split of the source that contains these rows."""
    rows: NDArray[np.int64]
    """(n,) int64: indices of the rows, in source order."""


def splits(material: Material) -> dict[str, SplitRows]:
    """Returns the published splits, the augmented split first. Its held-out rows become the split `validation`."""
    source, heldout = material.source, material.plan.heldout
    augmented = source.config.split
    published = {augmented: SplitRows(augmented, np.flatnonzero(~heldout))}
    if heldout.any():
        published["validation"] = SplitRows(augmented, np.flatnonzero(heldout))
    for name, split in source.splits.items():
        if name != augmented:
            published[name] = SplitRows(name, np.arange(len(split)))
    return published


def default_rows(material: Material, published: str) -> Iterator[pa.Table]:
    """Yields the tables of the dataset configuration `default`.

    They have one row per source row, with all columns of the source and the added columns.
    """
    split, rows = splits(material)[published]
    features = added_features(material)
    for window in windows(rows, sizes=material.source.sizes[split]):
        table = original_rows(
            material.source.splits[split],
            window,
            images=material.recipe.include_originals,
            files=material.source.files,
        )
        added = _added(material, window) if published == material.source.config.split else {}
        row_ids = [material.source.row_ids[split][row] for row in window]
        empty = {key: [None] * len(window) for key in features} | {"status": ["not_planned"] * len(window)}
        columns = empty | added | {"row_id": row_ids}
        for key, column in zip(features, arrow_table(columns, features).columns, strict=True):
            table = table.append_column(material.recipe.columns.prefix + key, column)
        yield table


def added_features(material: Material) -> Features:
    """Returns the added columns of the dataset configuration `default`, without the prefix of the recipe."""
    return type(schema.added_features())({**schema.added_features(), **target_features(material)})


def target_features(material: Material) -> dict[str, Any]:
    """Returns the columns of the label of a generated image; {} if the run draws no target classes."""
    return {} if material.plan.targets is None else dict(schema.target_features(material.source.names))


def _added(material: Material, rows: Sequence[int]) -> dict[str, list[Any]]:
    """Returns the added columns for rows of the augmented split."""
    decisions = material.decisions
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in added_features(material)}
    attempts: list[int] = []
    positions: list[int] = []
    for position, row in enumerate(rows):
        index = material.first_unit.get(int(row))
        if index is None:
            columns["status"][position] = "not_planned"
            continue
        unit = material.plan.unit(index)
        columns["context"][position] = unit.context
        columns["prompt"][position] = unit.prompt
        columns["status"][position] = decisions.status[index]
        attempt = int(decisions.counterpart[index])
        if attempt >= 0:
            columns["seed"][position] = material.seed(attempt)
            columns["similarity"][position] = number_or_none(decisions.similarity[attempt])
            for name, values in material.targets_of([unit]).items():
                columns[name][position] = values[0]
            attempts.append(attempt)
            positions.append(position)
    for position, image in zip(positions, material.images(attempts), strict=True):
        columns["generated"][position] = image_cell(image)
    return columns


def generated_rows(material: Material) -> Iterator[pa.Table]:
    """Yields the tables of the dataset configuration `generated`, with one row per kept image.

    An image is included whatever its copy number is. The image and label columns have the same names as in the source.
    """
    source = material.source
    config = source.config
    for window in windows(material.kept):
        units = [material.plan.unit(int(material.attempts.units[attempt])) for attempt in window]
        labels = source.splits[config.split].select_columns([config.label]).with_format("arrow")
        images = material.images(window)
        columns: dict[str, list[Any]] = {
            "image": [image_cell(image) for image in images],
            "row_id": [unit.row_id for unit in units],
            "copy": [unit.copy for unit in units],
            "context": [unit.context for unit in units],
            "similarity": [number_or_none(material.decisions.similarity[attempt]) for attempt in window],
        }
        table = arrow_table(columns, schema.attempts_features())
        table = table.rename_columns([config.image, "row_id", "copy", "context", "similarity"])
        table = with_targets(table, material, units)
        yield table.add_column(1, config.label, labels[[unit.row for unit in units]][config.label])


def with_targets(
    table: pa.Table, material: Material, units: Sequence[Unit | None], shares: Sequence[float] | None = None
) -> pa.Table:
    """Returns a table of images with the columns of their labels, if the run draws target classes.

    Args:
        table: one row per image.
        material: the run.
        units: the unit of each generated image; None for a real image, which has no drawn class.
        shares: share of each image that is generated, in [0, 1]; None: the whole image is generated.
    """
    if material.plan.targets is None:
        return table
    drawn = [(None, None) if unit is None else material.target_of(unit) for unit in units]
    labels = [label for label, _ in drawn]
    weights = [weight for _, weight in drawn]
    if shares is not None:
        weights = [None if weight is None else weight * share for weight, share in zip(weights, shares, strict=True)]
    for (name, feature), values in zip(target_features(material).items(), (labels, weights), strict=True):
        table = table.append_column(name, pa.array(values, feature.pa_type))
    return table


def attempt_rows(material: Material) -> Iterator[pa.Table]:
    """Yields the tables of the dataset configuration `attempts`, with one row per decided attempt."""
    attempts, decisions = material.attempts, material.decisions
    features = attempts_features(material)
    for window in windows(material.sorted_attempts):
        units = [material.plan.unit(int(attempts.units[attempt])) for attempt in window]
        embeddings = [attempts.embeddings[attempt] for attempt in window]
        columns: dict[str, list[Any]] = {
            "row_id": [unit.row_id for unit in units],
            "copy": [unit.copy for unit in units],
            "attempt": [int(attempts.attempts[attempt]) for attempt in window],
            "label": [unit.label for unit in units],
            "prompt": [unit.prompt for unit in units],
            "negative_prompt": [unit.negative_prompt for unit in units],
            "context": [unit.context for unit in units],
            "seed": [material.seed(attempt) for attempt in window],
            "similarity": [number_or_none(decisions.similarity[attempt]) for attempt in window],
            "score": [finite_or_none(decisions.score[attempt]) for attempt in window],
            "bound": [finite_or_none(decisions.bound[attempt]) for attempt in window],
            "class_rank": [int(decisions.class_rank[attempt]) or None for attempt in window],
            "embedding": [None if np.isnan(row).any() else row for row in embeddings],
            "image_sha256": [attempts.image_sha256[attempt] for attempt in window],
            "reason": [decisions.reason[attempt] for attempt in window],
            "image": _published_images(material, window),
            "strength": [unit.strength for unit in units],
            **material.targets_of(units),
            **nearest_columns(material, window),
        }
        columns = {name: columns[name] for name in features}
        yield arrow_table(columns, features)


def attempts_features(material: Material) -> Features:
    """Returns the columns of the dataset configuration `attempts` of a run."""
    plan = material.plan
    return schema.attempts_features(
        targets=plan.targets is not None,
        strength=plan.strengths is not None,
        nearest=bool(material.recipe.filter.compare),
    )


def _published_images(material: Material, window: Sequence[int]) -> list[dict[str, Any] | None]:
    """Returns the images of attempts as they are published. Rejected images are included only if the recipe says so.

    Rejected images that show the picture of an unpublished original are never included.
    """
    reason, all_images = material.decisions.reason, material.recipe.include_rejected
    shown = [
        position
        for position, attempt in enumerate(window)
        if reason[attempt] == "kept" or (all_images and not shows_unpublished(material, attempt))
    ]
    images: list[dict[str, Any] | None] = [None] * len(window)
    contents = material.images([window[position] for position in shown])
    for position, content in zip(shown, contents, strict=True):
        images[position] = image_cell(content)
    return images


def reference_rows(material: Material) -> Iterator[pa.Table]:
    """Yields the tables of the dataset configuration `references`, with one row per real image of every split.

    A row has an embedding only if the run used the row's image.
    """
    source, features = material.source, schema.references_features()
    needed = {*material.plan.references.tolist(), *material.plan.rows.tolist()}
    for split in source.splits:
        with_facts = needed if split == source.config.split else set()
        for window in windows(range(len(source.splits[split]))):
            rows = [_reference_row(material, split, row, row in with_facts) for row in window]
            yield arrow_table({name: [row[name] for row in rows] for name in features}, features)


def _reference_row(material: Material, split: str, row: int, has_facts: bool) -> dict[str, Any]:
    """Returns one row of the dataset configuration `references`.

    Column `reason` states why the row is unlabelled or has no embedding.
    """
    source, facts = material.source, material.references
    row_id, sha256 = source.row_ids[split][row], source.sha256[split][row]
    label = int(source.labels[split][row])
    index = facts.keys.get((row_id, 0, 0)) if has_facts else None
    embedding = facts.embeddings[index] if index is not None else None
    reason = facts.reasons[index] if index is not None else None
    if label == UNLABELLED:
        reason = "unlabelled"
    elif sha256 is None:
        reason = f"unreadable: {source.unreadable[split][row]}"
    return {
        "row_id": row_id,
        "label": label,
        "source_sha256": sha256,
        "embedding": embedding if embedding is not None and embedding.size else None,
        "reason": reason,
    }


def class_rows(material: Material) -> Iterator[pa.Table]:
    """Yields the tables of the dataset configuration `classes`: one row per class with its counts, rates and bound."""
    source, plan = material.source, material.plan
    decisions, features = material.decisions, schema.classes_features()
    count = len(source.names)
    units, text = material.attempts.units, material.embeddings.text
    columns: dict[str, list[Any]] = {
        "label": list(range(count)),
        "name": list(source.names),
        "prompt_name": list(plan.prompt_texts.names),
        "images": _counts(source.labels[source.config.split], count),
        "planned": _counts(plan.shown, count),
        "kept": _counts(plan.shown[units[decisions.reason == "kept"]], count),
        "attempts": _counts(plan.shown[units], count),
        "rejected_generated": [number_or_none(rate) for rate in decisions.rejected_generated],
        "rejected_real": [number_or_none(rate) for rate in material.policy.rejected_real()],
        "bound": [finite_or_none(bound) for bound in decisions.class_bound],
        "given_up": [bool(flag) for flag in decisions.given_up],
        "text_embedding": [None] * count if text is None else list(text),
    }
    for window in windows(range(count)):
        yield arrow_table({name: [values[row] for row in window] for name, values in columns.items()}, features)


def _counts(labels: NDArray[np.int64], classes: int) -> list[int]:
    """Returns the number of rows of each class, without UNLABELLED rows."""
    return np.bincount(labels[labels >= 0], minlength=classes).tolist()
