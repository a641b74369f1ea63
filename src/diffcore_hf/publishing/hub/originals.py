"""Originals: adds the source's images to a dataset that was published without them.

Owns the join. It uses the hash of the image's bytes, which the configuration `references` records. So the order, the
revision and the location of the source do not matter, and no row gets a wrong image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.images import NO_FILES, ImageFiles, UnreadableImage, read_bytes

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def join_originals(
    augmented: DatasetDict,
    references: Dataset,
    source: DatasetDict | Dataset,
    *,
    image: str = "image",
    prefix: str = "",
    files: ImageFiles = NO_FILES,
) -> DatasetDict:
    """Fill the image column of a dataset.

    Args:
        augmented: configuration `default` of a dataset that was published without originals.
        references: configuration `references` of the same dataset.
        source: dataset with the images; it may have fewer splits than `augmented`.
        image: name of the image column in both datasets.
        prefix: `columns.prefix` of the recipe: the prefix of the added columns.
        files: the files that an image cell of the source may name.

    Returns:
        The splits of `augmented` for which the source has images. Every image has the same bytes as in the source.

    Raises:
        UserError: the source has no column `image`, or an image with a recorded hash is not in the source.
    """
    from datasets import DatasetDict, Image, concatenate_datasets

    splits = list(source.values()) if isinstance(source, DatasetDict) else [source]
    for split in splits:
        if image not in split.column_names:
            raise UserError(
                f"the source has no column {image!r}; its columns: {', '.join(split.column_names)}. "
                f"Rename its column of images to {image!r}"
            )
    undecoded = [split.select_columns([image]).cast_column(image, Image(decode=False)) for split in splits]
    images = concatenate_datasets(undecoded)
    index_of = {sha: index for index, sha in enumerate(_hashes(images, image, files))}
    recorded = dict(zip(references["row_id"][:], references["source_sha256"][:], strict=True))
    joined = {}
    for name, rows in augmented.items():
        ids = rows[prefix + "row_id"][:]
        if unknown := [row_id for row_id in ids if row_id not in recorded]:
            raise UserError(
                f"{len(unknown)} of {len(rows)} rows of split {name!r} are not in the dataset configuration references "
                f"(the first is {unknown[0]!r}). Give the dataset as it was published"
            )
        # A row with an image keeps it. In layout `rows` a generated image has the row id of its original.
        empty = rows.with_format("arrow")[:][image].is_null().to_pylist()
        hashes = [recorded[row_id] if is_empty else None for row_id, is_empty in zip(ids, empty, strict=True)]
        missing = [row for row, sha in enumerate(hashes) if sha is not None and sha not in index_of]
        if missing and len(missing) == len(hashes) - hashes.count(None):
            continue  # The source does not have this split.
        if missing:
            raise UserError(
                f"{len(missing)} of {len(rows)} images of split {name!r} are not in the source with the recorded hash "
                f"(the first is {ids[missing[0]]}). Give the source at the revision that the card names"
            )
        indices = [None if sha is None else index_of[sha] for sha in hashes]
        joined[name] = _with_images(rows, images, image, indices)
    if not joined:
        raise UserError("the source has none of this dataset's images. Give the source that the card names")
    return DatasetDict(joined)


def _hashes(rows: Dataset, image: str, files: ImageFiles) -> Iterator[str | None]:
    """Yield the sha256 of each image; None for an image that cannot be read."""
    for batch in rows.with_format("arrow").iter(batch_size=64):
        for cell in batch[image].to_pylist():
            try:
                yield hashlib.sha256(read_bytes(cell, files)).hexdigest()
            except UnreadableImage:
                yield None


def _with_images(rows: Dataset, images: Dataset, image: str, indices: list[int | None]) -> Dataset:
    """Return the rows with the images at the given indices; a row whose index is None keeps its image."""
    from datasets import Image, concatenate_datasets

    own = rows.select_columns([image]).cast_column(image, Image(decode=False))
    both = concatenate_datasets([images, own])
    column = both.select([len(images) + row if index is None else index for row, index in enumerate(indices)])
    joined = concatenate_datasets([rows.remove_columns(image), column], axis=1).select_columns(rows.column_names)
    return joined.cast_column(image, Image())
