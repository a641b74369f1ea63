"""The layouts `rows` and `mixed`: rows of one image and its label, for training code that does not use pairs of images.

Owns the rows of these layouts of the dataset configuration `default`. Layout `columns` is in tables.py. Its rows
contain a real image and its counterpart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from diffcore_hf.augmentation.arrow_tables import image_cell, windows
from diffcore_hf.augmentation.marks import mixed_mark
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.originals import original_rows
from diffcore_hf.augmentation.tables import generated_rows, splits, target_features, with_targets
from diffcore_hf.core import schema, seeding
from diffcore_hf.core.image_marks import ImageMark
from diffcore_hf.core.images import UnreadableImage, at_most, decode, encode, to_array

log = logging.getLogger(__name__)

MIXED_WINDOW = 32
"""Number of rows of layout `mixed` that are built at a time. It is small, because mixed images have the size of the
originals."""
MIXED_PIXELS = 16_000_000
"""Largest number of pixels of a mixed image; a larger real image is reduced, because a mix takes 12 bytes a pixel."""
_CELL = pa.struct({"bytes": pa.binary(), "path": pa.string()})


class MixFacts(NamedTuple):
    """The columns that layout `mixed` adds to image, label and row id."""

    is_mixed: bool = False
    kind: str | None = None
    """`pixel` or `patch`; None for a real image."""
    lam: float | None = None
    """lambda in [0, 1]; None for a real image."""
    real_share: float = 1.0
    """Share of the image that is real, in [0, 1]."""


def plain_rows(material: Material, published: str) -> Iterator[pa.Table]:
    """Yields the tables of layout `rows`: the real images of a split, followed by its counterparts.

    Only the augmented split has counterparts.
    """
    config = material.source.config
    for table in _real_rows(material, *splits(material)[published]):
        yield with_targets(_with_origin(table, is_generated=False), material, [None] * len(table))
    if published == config.split:
        targets = target_features(material)
        for table in generated_rows(material):
            rows = _with_origin(table.select([config.image, config.label, "row_id"]), is_generated=True)
            for name in targets:
                rows = rows.append_column(name, table[name])
            yield rows


def mixed_rows(material: Material, published: str) -> Iterator[pa.Table]:
    """Yields the tables of layout `mixed`: the real images of a split, followed by its mixed images.

    Only the augmented split has mixed images. Every real image that has a counterpart of copy 0 is mixed with it once,
    at the size of the real image (Eq. 6 to 8 with pi 0.5, alpha 1). A real image that cannot be decoded is not mixed.
    The number of such images is logged.
    """
    config, mark = material.source.config, mixed_mark(material.run.resolution)
    for table in _real_rows(material, *splits(material)[published]):
        yield with_targets(_with_mix_facts(table, [MixFacts()] * len(table)), material, [None] * len(table))
    if published != config.split:
        return
    units, skipped = material.attempts.units, 0
    kept = [attempt for attempt in material.kept if material.plan.copies[units[attempt]] == 0]
    sizes = material.source.sizes[config.split]
    by_attempt = [sizes[row] for row in material.plan.rows[units].tolist()]
    for window in windows(kept, MIXED_WINDOW, by_attempt):
        rows = np.array([material.plan.rows[units[attempt]] for attempt in window], np.int64)
        table = pa.concat_tables(_real_rows(material, config.split, rows, MIXED_WINDOW))
        generated = material.images(window)
        images: list[bytes] = []
        facts: list[MixFacts] = []
        positions: list[int] = []
        pairs = zip(table[config.image].to_pylist(), generated, table["row_id"].to_pylist(), strict=True)
        for position, (real, content, row_id) in enumerate(pairs):
            stream = seeding.generator("mixed", material.recipe.seed, row_id, 0)
            mixed = _mixed(real, {"bytes": content}, stream, material.recipe.image_format, mark)
            if mixed is None:
                skipped += 1
                continue
            images.append(mixed[0])
            facts.append(mixed[1])
            positions.append(position)
        cells = pa.array([image_cell(image) for image in images], _CELL)
        mixed_table = table.take(pa.array(positions, pa.int64())).set_column(0, config.image, cells)
        chosen = [material.plan.unit(int(units[window[position]])) for position in positions]
        generated_shares = [1 - fact.real_share for fact in facts]
        yield with_targets(_with_mix_facts(mixed_table, facts), material, chosen, generated_shares)
    if skipped:
        log.warning("%d real images cannot be decoded, so they have no mixed image", skipped)


def _real_rows(
    material: Material, split: str, rows: NDArray[np.int64], window: int | None = None
) -> Iterator[pa.Table]:
    """Yields tables with the image, label and row id of rows of the source."""
    config = material.source.config
    for part in windows(rows, window, material.source.sizes[split]):
        originals = original_rows(
            material.source.splits[split],
            part,
            images=material.recipe.include_originals,
            files=material.source.files,
        )
        ids = [material.source.row_ids[split][row] for row in part]
        yield originals.select([config.image, config.label]).append_column("row_id", pa.array(ids, pa.string()))


def _with_origin(table: pa.Table, *, is_generated: bool) -> pa.Table:
    return table.append_column("is_generated", pa.array([is_generated] * len(table), pa.bool_()))


def _with_mix_facts(table: pa.Table, facts: Sequence[MixFacts]) -> pa.Table:
    """Returns a table of image, label and row id with the columns of layout `mixed` appended."""
    features = schema.mixed_features()
    for index, name in enumerate(list(features)[1:]):
        values = pa.array([fact[index] for fact in facts], features.arrow_schema.field(name).type)
        table = table.append_column(name, values)
    return table


def _mixed(
    real: Mapping[str, Any] | None,
    generated: Mapping[str, Any],
    stream: np.random.Generator,
    image_format: Literal["jpeg", "png", "webp"],
    mark: ImageMark,
) -> tuple[bytes, MixFacts] | None:
    """Returns the encoded mix of one pair of images; None if the real image cannot be decoded.

    Args:
        real: cell of the real image; None if the row has no image.
        generated: cell of the generated image.
        stream: the random stream of this pair.
        image_format: format of the result.
        mark: XMP mark of the result.

    Raises:
        UnreadableImage: the generated image cannot be decoded.
    """
    import torch

    from diffcore_hf.method.mixing import apply_mix, cover, draw_mix, real_share

    try:
        real_image = at_most(decode(real), MIXED_PIXELS)
    except UnreadableImage:
        return None
    frame = torch.from_numpy(to_array(real_image)).permute(2, 0, 1)
    counterpart = torch.from_numpy(to_array(decode(generated))).permute(2, 0, 1)
    height, width = frame.shape[-2:]
    draw = draw_mix(stream, pi=0.5, alpha=1.0)
    pixels = apply_mix(frame, cover(counterpart, height, width), draw).permute(1, 2, 0).numpy()
    facts = MixFacts(True, "pixel" if draw.pixel else "patch", draw.lam, real_share(draw, height, width))
    return encode(pixels, image_format, mark), facts
