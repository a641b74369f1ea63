"""Originals: images of the source put back into a dataset that was published without them.

Owns the joining. Rows are matched by what config `references` recorded about them, the hash of the image's very bytes:
whatever order, revision or place the source comes in, an image is right or it is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.images import UnreadableImage, read_bytes

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def join_originals(
    augmented: DatasetDict,
    references: Dataset,
    source: DatasetDict | Dataset,
    *,
    image: str = "image",
    prefix: str = "",
) -> DatasetDict:
    """The dataset with its image column filled.

    Args:
        augmented: config `default` of a dataset that was published without originals.
        references: its config `references`.
        source: where the images are; its splits may be fewer than the dataset's.
        image: the column of the images, in both.
        prefix: of our columns, where the dataset was made with `columns.prefix`.

    Returns:
        The splits of `augmented` for which the source has images, every image byte for byte the source's.

    Raises:
        UserError: no such column, or an image that the source does not have as it was.
    """
    from datasets import DatasetDict, Image, concatenate_datasets

    parts = list(source.values()) if isinstance(source, DatasetDict) else [source]
    for part in parts:
        if image not in part.column_names:
            raise UserError(f"the source has no column {image!r}; its columns: {', '.join(part.column_names)}")
    undecoded = [part.select_columns([image]).cast_column(image, Image(decode=False)) for part in parts]
    whole = concatenate_datasets(undecoded)
    place = {sha: number for number, sha in enumerate(_hashes(whole, image))}
    wanted = dict(zip(references["row_id"][:], references["source_sha256"][:], strict=True))
    joined = {}
    for name, rows in augmented.items():
        ids = rows[prefix + "row_id"][:]
        if unknown := [row_id for row_id in ids if row_id not in wanted]:
            raise UserError(
                f"{len(unknown)} of {len(rows)} rows of split {name!r} are not in config references (the first is "
                f"{unknown[0]!r}). Give the dataset as it was published"
            )
        # What has an image keeps it: a generated one of layout `rows` carries the id of its original.
        empty = rows.with_format("arrow")[:][image].is_null().to_pylist()
        hashes = [wanted[row_id] if is_empty else None for row_id, is_empty in zip(ids, empty, strict=True)]
        missing = [row for row, sha in enumerate(hashes) if sha is not None and sha not in place]
        if missing and len(missing) == len(hashes) - hashes.count(None):
            continue  # a split that this source does not have
        if missing:
            raise UserError(
                f"{len(missing)} of {len(rows)} images of split {name!r} are not in the source as they were (the first "
                f"is {ids[missing[0]]}). Give the source at the revision that the card names"
            )
        joined[name] = _filled(rows, whole, image, [None if sha is None else place[sha] for sha in hashes])
    if not joined:
        raise UserError("the source has none of this dataset's images. Give the dataset that its card names")
    return DatasetDict(joined)


def _hashes(rows: Dataset, image: str) -> Iterator[str | None]:
    for batch in rows.with_format("arrow").iter(batch_size=64):
        for cell in batch[image].to_pylist():
            try:
                yield hashlib.sha256(read_bytes(cell)).hexdigest()
            except UnreadableImage:
                yield None


def _filled(rows: Dataset, whole: Dataset, image: str, places: list[int | None]) -> Dataset:
    """The rows with the images at those places in `whole`; where there is none, with what they have."""
    from datasets import Image, concatenate_datasets

    own = rows.select_columns([image]).cast_column(image, Image(decode=False))
    both = concatenate_datasets([whole, own])
    images = both.select([len(whole) + row if place is None else place for row, place in enumerate(places)])
    joined = concatenate_datasets([rows.remove_columns(image), images], axis=1).select_columns(rows.column_names)
    return joined.cast_column(image, Image())
