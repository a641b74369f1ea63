"""Tables: the five configs of the published dataset as rows, derived from source, plan, facts and decisions.

Owns which row holds what. Every function is pure and yields rows in a fixed order, so that the same facts give the
same bytes. Does not own files or shards (export.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from diffcore_hf.augmentation.ledger import read_images
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.originals import original_rows
from diffcore_hf.augmentation.source.labels import UNLABELLED
from diffcore_hf.core import schema, seeding
from diffcore_hf.core.images import UnreadableImage, decode, encode, to_array

if TYPE_CHECKING:
    from datasets import Features

log = logging.getLogger(__name__)

# Rows built at a time; bounds the memory of an export whatever the number of rows.
WINDOW = 256
# Of images that are encoded here at the size of the originals, maybe without loss.
MIXED_WINDOW = 32
_CELL = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def splits(material: Material) -> dict[str, tuple[str, np.ndarray]]:
    """Published split -> (split of the source, its rows); a holdout becomes split validation."""
    source, heldout = material.source, material.plan.heldout
    published = {
        name: (name, np.arange(len(split))) for name, split in source.splits.items() if name != source.config.split
    }
    name = source.config.split
    kept = {name: (name, np.flatnonzero(~heldout))}
    if heldout.any():
        kept["validation"] = (name, np.flatnonzero(heldout))
    return kept | published


def default_rows(material: Material, published: str) -> Iterator[pa.Table]:
    """Config default: one row per source row, all its columns, plus seven."""
    split, rows = splits(material)[published]
    features = schema.added_features()
    for window in _windows(rows):
        table = original_rows(material.source.splits[split], window, images=material.recipe.include_originals)
        added = _added(material, window) if published == material.source.config.split else {}
        row_ids = [material.source.row_ids[split][row] for row in window]
        columns = {key: added.get(key, [None] * len(window)) for key in features} | {"row_id": row_ids}
        for key, column in zip(features, _table(columns, features).columns, strict=True):
            table = table.append_column(material.recipe.columns.prefix + key, column)
        yield table


def _added(material: Material, rows: Sequence[int]) -> dict[str, list[Any]]:
    """The columns beside the rows of the augmented split."""
    source, decisions = material.source, material.decisions
    labels = source.labels[source.config.split]
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in schema.ADDED_COLUMNS}
    places, targets = [], []
    for position, row in enumerate(rows):
        index = material.first_unit.get(int(row))
        if index is None:
            columns["status"][position] = "failed" if labels[row] == UNLABELLED else "not_planned"
            continue
        unit = material.plan.unit(index)
        columns["context"][position] = unit.context
        columns["prompt"][position] = unit.prompt
        columns["status"][position] = decisions.status[index]
        attempt = int(decisions.counterpart[index])
        if attempt >= 0:
            columns["seed"][position] = material.seed(attempt)
            columns["similarity"][position] = _number(decisions.similarity[attempt])
            places.append(material.location(attempt))
            targets.append(position)
    for position, image in zip(targets, read_images(places), strict=True):
        columns["generated"][position] = {"bytes": image, "path": None}
    return columns


def kept_attempts(material: Material) -> list[int]:
    """The counterparts of all copies, in source order."""
    return [attempt for attempt in material.judged if material.decisions.reason[attempt] == "kept"]


def generated_rows(material: Material) -> Iterator[pa.Table]:
    """Config generated: image and label under the source's own names, one row per kept image of any copy."""
    source, attempts = material.source, material.attempts
    config = source.config
    for window in _windows(kept_attempts(material)):
        units = [material.plan.unit(int(attempts.units[attempt])) for attempt in window]
        labels = source.splits[config.split].select_columns([config.label]).with_format("arrow")
        images = read_images([material.location(attempt) for attempt in window])
        similarity = [_number(material.decisions.similarity[attempt]) for attempt in window]
        columns = {
            "image": [{"bytes": image, "path": None} for image in images],
            "row_id": [unit.row_id for unit in units],
            "copy": [unit.copy for unit in units],
            "context": [unit.context for unit in units],
            "similarity": similarity,
        }
        table = _table(columns, schema.attempts_features()).rename_columns([config.image, *list(columns)[1:]])
        yield table.add_column(1, config.label, labels[[unit.row for unit in units]][config.label])


def plain_rows(material: Material, published: str) -> Iterator[pa.Table]:
    """Layout rows: the real images of a split, then (where it is augmented) the kept ones, told by `is_generated`."""
    config = material.source.config
    for table in _real_rows(material, *splits(material)[published]):
        yield _told(table, False)
    if published == config.split:
        for table in generated_rows(material):
            yield _told(table.select([config.image, config.label, "row_id"]), True)


def _real_rows(material: Material, split: str, rows: Sequence[int], window: int = WINDOW) -> Iterator[pa.Table]:
    """Image, label and row id of rows of the source."""
    config = material.source.config
    for some in _windows(rows, window):
        whole = original_rows(material.source.splits[split], some, images=material.recipe.include_originals)
        table = whole.select([config.image, config.label])
        ids = [material.source.row_ids[split][row] for row in some]
        yield table.append_column("row_id", pa.array(ids, pa.string()))


def _told(table: pa.Table, generated: bool) -> pa.Table:
    return table.append_column("is_generated", pa.array([generated] * len(table), pa.bool_()))


def mixed_rows(material: Material, published: str) -> Iterator[pa.Table]:
    """Layout mixed: the real images of a split, then (where it is augmented) those with a counterpart mixed with it.

    Mixed once and for all (Eq. 6 to 8 with pi 0.5, alpha 1) in the real image's own frame, with the counterpart of
    copy 0. A real image that cannot be decoded is not mixed; how many is logged.
    """
    config = material.source.config
    for table in _real_rows(material, *splits(material)[published]):
        yield _mixing(table, [(False, None, None, 1.0)] * len(table))
    if published != config.split:
        return
    attempts, lost = material.attempts, 0
    kept = [attempt for attempt in kept_attempts(material) if material.plan.copies[attempts.units[attempt]] == 0]
    for window in _windows(kept, MIXED_WINDOW):
        rows = [int(material.plan.rows[attempts.units[attempt]]) for attempt in window]
        [table] = _real_rows(material, config.split, rows)
        generated = read_images([material.location(attempt) for attempt in window])
        reals, ids = table[config.image].to_pylist(), table["row_id"].to_pylist()
        streams = [seeding.generator("mixed", material.recipe.seed, row_id, 0) for row_id in ids]
        found = [
            _mixed(real, {"bytes": content}, stream, material.recipe.image_format)
            for real, content, stream in zip(reals, generated, streams, strict=True)
        ]
        made = [place for place, mixed in enumerate(found) if mixed]
        lost += len(window) - len(made)
        cells = pa.array([{"bytes": found[place][0], "path": None} for place in made], _CELL)
        table = table.take(made).set_column(0, config.image, cells)
        yield _mixing(table, [(True, *found[place][1:]) for place in made])
    if lost:
        log.warning("real images that cannot be decoded, and so have no mixed image: %d", lost)


def _mixed(
    real: Mapping[str, Any] | None, generated: Mapping[str, Any], stream: np.random.Generator, image_format: str
) -> tuple[bytes, str, float, float] | None:
    """One pair mixed and encoded, with kind, lambda and the share that is real; None where the real one is unreadable.

    Raises:
        UnreadableImage: the generated one is damaged.
    """
    import torch

    from diffcore_hf.method.mixing import apply_mix, cover, draw_mix, real_share

    try:
        image = decode(real)
    except UnreadableImage:
        return None
    frame, partner = (torch.from_numpy(to_array(one)).permute(2, 0, 1) for one in (image, decode(generated)))
    height, width = frame.shape[-2:]
    draw = draw_mix(stream, pi=0.5, alpha=1.0)
    mixed = apply_mix(frame, cover(partner, height, width), draw).permute(1, 2, 0).numpy()
    kind = "pixel" if draw.pixel else "patch"
    return encode(mixed, image_format), kind, draw.lam, real_share(draw, height, width)


def _mixing(table: pa.Table, facts: Sequence[tuple[bool, str | None, float | None, float]]) -> pa.Table:
    """Image, label and row id with what layout mixed says of each."""
    features = schema.mixed_features()
    for place, name in enumerate(list(features)[1:]):
        values = pa.array([fact[place] for fact in facts], features.arrow_schema.field(name).type)
        table = table.append_column(name, values)
    return table


def attempt_rows(material: Material) -> Iterator[pa.Table]:
    """Config attempts: everything that counts, kept or not."""
    attempts, decisions = material.attempts, material.decisions
    features = schema.attempts_features()
    for window in _windows(material.judged):
        units = [material.plan.unit(int(attempts.units[attempt])) for attempt in window]
        shown = [
            position
            for position, attempt in enumerate(window)
            if decisions.reason[attempt] == "kept" or material.recipe.include_rejected
        ]
        images: list[Any] = [None] * len(window)
        for position, image in zip(
            shown, read_images([material.location(window[position]) for position in shown]), strict=True
        ):
            images[position] = {"bytes": image, "path": None} if image else None
        embeddings = [attempts.embeddings[attempt] for attempt in window]
        columns = {
            "row_id": [unit.row_id for unit in units],
            "copy": [unit.copy for unit in units],
            "attempt": [int(attempts.attempts[attempt]) for attempt in window],
            "label": [unit.label for unit in units],
            "prompt": [unit.prompt for unit in units],
            "negative_prompt": [unit.negative_prompt for unit in units],
            "context": [unit.context for unit in units],
            "seed": [material.seed(attempt) for attempt in window],
            "similarity": [_number(decisions.similarity[attempt]) for attempt in window],
            "score": [_finite(decisions.score[attempt]) for attempt in window],
            "bound": [_finite(decisions.bound[attempt]) for attempt in window],
            "class_rank": [int(decisions.class_rank[attempt]) or None for attempt in window],
            "embedding": [None if np.isnan(row).any() else row for row in embeddings],
            "image_sha256": [attempts.image_sha256[attempt] for attempt in window],
            "reason": [decisions.reason[attempt] for attempt in window],
            "image": images,
        }
        yield _table(columns, features)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def reference_rows(material: Material) -> Iterator[pa.Table]:
    """Config references: one row per real image of every split; embeddings only where they were needed."""
    source, plan, facts = material.source, material.plan, material.references
    features = schema.reference_facts()
    needed = {*plan.references.tolist(), *plan.rows.tolist()}
    for split in source.splits:
        for window in _windows(range(len(source.splits[split]))):
            columns: dict[str, list[Any]] = {name: [] for name in features}
            for row in window:
                row_id, sha = source.row_ids[split][row], source.sha256[split][row]
                label = int(source.labels[split][row])
                place = facts.keys.get((row_id, 0, 0)) if split == source.config.split and row in needed else None
                embedding = facts.embeddings[place] if place is not None else None
                reason = facts.reasons[place] if place is not None else None
                if sha is None:
                    reason = reason or "unreadable: no image"
                elif label == UNLABELLED:
                    reason = reason or "unlabelled"
                columns["row_id"].append(row_id)
                columns["label"].append(label)
                columns["source_sha256"].append(sha)
                columns["embedding"].append(embedding if embedding is not None and embedding.size else None)
                columns["reason"].append(reason)
            yield _table(columns, features)


def class_rows(material: Material) -> Iterator[pa.Table]:
    """Config classes: one row per class with its counts, rates and bound."""
    source, plan = material.source, material.plan
    decisions, features = material.decisions, schema.classes_features()
    count = len(source.names)
    kept = [attempt for attempt, reason in enumerate(decisions.reason) if reason == "kept"]
    text = material.embeddings.text
    columns = {
        "label": list(range(count)),
        "name": list(source.names),
        "prompt_name": list(plan.words.names),
        "images": _counts(source.labels[source.config.split], count),
        "planned": _counts(plan.labels, count),
        "kept": _counts(plan.labels[material.attempts.units[kept]], count),
        "attempts": _counts(plan.labels[material.attempts.units], count),
        "rejected_generated": [_number(rate) for rate in decisions.rejected_generated],
        "rejected_real": [_number(rate) for rate in material.policy.rejected_real()],
        "bound": [_finite(bound) for bound in decisions.class_bound],
        "given_up": [bool(flag) for flag in decisions.given_up],
        "text_embedding": [None] * count if text is None else list(text),
    }
    for window in _windows(range(count)):
        yield _table({name: [values[row] for row in window] for name, values in columns.items()}, features)


def _counts(labels: np.ndarray, classes: int) -> list[int]:
    return np.bincount(labels[labels >= 0], minlength=classes).tolist()


def _table(columns: Mapping[str, Sequence[Any]], features: Features) -> pa.Table:
    """Columns in the storage types of their Features."""
    kinds = features.arrow_schema
    return pa.table({name: _array(values, kinds.field(name).type) for name, values in columns.items()})


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column; embeddings go in as arrays, without a detour over Python floats."""
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_list(kind):
        rows = [None if row is None else np.asarray(row, np.float16) for row in values]
        return pa.array(rows, pa.list_(pa.float16())).cast(kind)
    return pa.array(values, kind)


def _windows(rows: Sequence[int] | np.ndarray, size: int | None = None) -> Iterator[list[int]]:
    listed, size = [int(row) for row in rows], size or WINDOW
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
